"""Hostile guests on systrap: they know where the gate and their slots are, and use both as they like.

Whatever they do: the wait goes on, other guests run on, and the offender dies or gets an error.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
import time

import pytest

from runsc.abi import registers
from runsc.abi.syscalls import NUMBERS
from runsc.platform import DEAD, FAULT, SYSCALL, AddressSpaceGone

CODE = 0x100000
CODE2 = 0x108000
DATA = 0x200000
PAGE = 4096
ANON = 0x22
U64 = (1 << 64) - 1
MS = 1_000_000
SYSCALL_UD2 = b"\x0f\x05\x0f\x0b"
MADV_REMOVE = 9

# Of a slot's header (csrc/stub.h).
STATE, SIGNO, SP, CALL, RESULT = 0, 12, 16, 64, 120
ST_EVENT, ST_GO, ST_DONE = 1, 2, 4


class Gate:
    """The gate and the slots of a guest's process."""

    def __init__(self, guest, asm):  # type: ignore[no-untyped-def]
        self.guest = guest
        self.asm = asm
        engine = guest.platform.engine
        self.page = engine.gate
        self.control = engine.gate + PAGE
        self.region = engine.region
        self.slot_size = engine.slot_size
        with open(f"/proc/{guest.thread.host_pid()}/mem", "rb") as memory:
            memory.seek(self.page)
            code = memory.read(PAGE)
        #: a `syscall` in the gate with an undefined instruction behind it: the result can be seen
        self.instruction = self.page + code.index(SYSCALL_UD2)

    def code(self, nr, *args):  # type: ignore[no-untyped-def]
        """Machine code that makes a host call at the gate."""
        order = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
        mov = self.asm.mov
        moves = b"".join(mov(r, a) for r, a in zip(order, args, strict=False))
        return moves + mov("rax", nr) + mov("rbx", self.instruction) + b"\xff\xe3"  # jmp *%rbx

    def call(self, nr, *args):  # type: ignore[no-untyped-def]
        """Make a host call at the gate: its result, or None if that was the guest's end."""
        thread = self.guest.run(self.code(nr, *args))
        if thread.event == DEAD:
            return None
        self.guest.expect_fault(thread, signal.SIGILL)
        result = thread.get_regs()[registers.RAX]
        return result - (1 << 64) if result >> 63 else result


@pytest.fixture
def gate(guest, asm):
    if not hasattr(guest.platform.engine, "gate"):
        pytest.skip("this platform has no gate")
    return Gate(guest, asm)


@pytest.fixture
def other(guest, new_guest, asm):
    """Another guest; it must be able to do everything afterwards."""
    other = new_guest(guest.platform)
    yield other
    guest.space.release()
    other.start(asm.call_loop(39))
    for _ in range(50):
        other.expect_syscall(39).complete(0)
    other.expect_syscall(39)
    space, child = other.space.fork(other.thread)
    other.space.spawn(other.thread).release()
    child.complete(0)
    other.expect_syscall(39)
    space.release()


FORBIDDEN = (
    "open", "openat", "read", "socket", "execve", "ptrace", "kill", "tgkill", "process_vm_readv", "seccomp",
    "fork", "vfork", "clone3", "exit_group", "sigaltstack", "rt_sigaction", "rt_sigprocmask", "dup", "close",
    "setpgid", "io_uring_setup", "arch_prctl", "rseq", "unshare", "getpid", "mount", "bpf", "ioctl",
)  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forbidden_call_is_the_guests_end(gate, other, name):
    assert gate.call(NUMBERS[name], 0, 0, 0) is None


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("clone", (17,)),
        ("clone", (0x8411,)),
        ("clone", (0x3D0F00, DATA)),
        ("mmap", (0x400000, PAGE, 3, 0x11, 0, 0)),
        ("mmap", (0x400000, PAGE, 1, 2, 3, 0)),
        ("mmap", (0x400000, PAGE, 3, 0x21, U64, 0)),
        ("mmap", (0x400000, PAGE, 3, 0x40022, U64, 0)),
        ("madvise", (DATA, PAGE, MADV_REMOVE)),
    ],
)
def test_what_nobody_asked_for_is_refused(gate, other, name, args):
    before = len(os.listdir("/proc/self/task"))
    assert gate.call(NUMBERS[name], *args) == -errno.EPERM
    assert gate.guest.run(gate.asm.call(60)).nr == 60
    assert len(os.listdir("/proc/self/task")) == before


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("write", (1, DATA, 8)),
        ("write", (2, DATA, 1)),
        ("prctl", (1, 0)),
        ("prctl", (4, 0)),
        ("futex", (DATA, 1, 1)),
    ],
)
def test_wrong_arguments_are_the_guests_end(gate, other, name, args):
    assert gate.call(NUMBERS[name], *args) is None


def test_its_own_memory_is_the_guests_own_affair(gate, other):
    assert gate.call(NUMBERS["mmap"], 0x400000, PAGE, 3, ANON | 0x10, U64, 0) == 0x400000
    assert gate.guest.space.write(0x400000, b"x") == 1
    assert gate.call(NUMBERS["munmap"], 0x400000, PAGE) == 0


def test_the_control_page_cannot_be_written(gate, other):
    guest, asm = gate.guest, gate.asm
    guest.expect_fault(guest.run(asm.STORE, rdi=gate.control), signal.SIGSEGV)
    assert gate.call(NUMBERS["mprotect"], gate.control, PAGE, 3) == -errno.EACCES
    guest.expect_fault(guest.run(asm.STORE, rdi=gate.control), signal.SIGSEGV)


def test_the_event_descriptor_can_be_filled(gate, other):
    """It only wakes the loop, and writes to it never block."""
    guest = gate.guest
    with open(f"/proc/{guest.thread.host_pid()}/mem", "rb") as memory:
        memory.seek(gate.control + 8)
        (fd,) = struct.unpack("<I", memory.read(4))
    guest.space.write(DATA, struct.pack("<Q", U64 - 1))
    assert gate.call(NUMBERS["write"], fd, DATA, 8) in (8, -errno.EAGAIN)
    assert gate.call(NUMBERS["write"], fd, DATA, 8) in (8, -errno.EAGAIN)


@pytest.mark.parametrize("what", ["page", "control", "region"])
def test_unmapping_the_platforms_pages(gate, other, what):
    """The process ends at its next call or event, at the latest."""
    guest = gate.guest
    length = {"page": PAGE, "control": PAGE, "region": 16 * gate.slot_size}[what]
    guest.start(gate.code(NUMBERS["munmap"], getattr(gate, what), length))
    assert guest.wait() is guest.thread
    assert guest.thread.event == DEAD
    with pytest.raises(AddressSpaceGone):
        guest.space.map(0x400000, PAGE, 3, ANON, -1, 0)


def test_other_code_in_place_of_the_gate(gate, other):
    """It is the page that the filter knows, not the code: nothing is gained."""
    guest = gate.guest
    second = guest.space.spawn(guest.thread)
    guest.start(gate.code(NUMBERS["mmap"], gate.page, PAGE, 7, ANON | 0x10, U64, 0), second, CODE2)
    assert guest.wait() is second
    assert second.event == DEAD or guest.wait().event == DEAD


@pytest.mark.parametrize("sp", [0, 8, 0x7FFFFFFFF000, U64, 1 << 63, DATA, "region", "end"])
def test_a_forged_event_with_a_wild_frame(gate, other, sp):
    guest, asm = gate.guest, gate.asm
    if sp == "region":
        sp = gate.region + 8
    elif sp == "end":
        sp = gate.region + gate.slot_size - 64
    store = asm.mov("rax", sp) + asm.mov("rdi", gate.region + SP) + asm.STORE
    store += asm.mov("rdi", gate.region + SIGNO) + b"\xc7\x07" + struct.pack("<I", signal.SIGSEGV)
    publish = (
        asm.mov("rdi", gate.region + STATE) + b"\xc7\x07\x01\x00\x00\x00" + asm.FOREVER
    )  # movl $1,(%rdi)
    thread = guest.start(store + publish)
    end = time.monotonic() + 5
    while guest.platform.wait(-1, MS) is None:
        assert time.monotonic() < end
    assert thread.event == DEAD


def test_a_forged_event_while_the_thread_runs(gate, other):
    """A frame that looks right is a system call like any other; the thread that lies runs on meanwhile."""
    guest, asm = gate.guest, gate.asm
    publish = asm.mov("rdi", gate.region + STATE) + b"\xc7\x07\x01\x00\x00\x00" + asm.FOREVER
    thread = guest.start(publish)
    end = time.monotonic() + 5
    while guest.platform.wait(-1, MS) is None:
        assert time.monotonic() < end
    assert thread.event in (SYSCALL, FAULT, DEAD)
    thread.complete(0)
    guest.expect_nothing(20 * MS)
    guest.space.release()


def test_garbage_in_every_slot(gate, other):
    """A sibling overwrites the slot of a thread that is in a call, again and again."""
    guest, asm = gate.guest, gate.asm
    second = guest.space.spawn(guest.thread)
    guest.run(asm.call_loop(39))
    # 1: rdtsc; mov %rax,(%rdi); add $8,%rdi; dec %rcx; jnz 1b; reload, and again
    fill = b"\x0f\x31\x48\x89\x07\x48\x83\xc7\x08\x48\xff\xc9\x75\xf2"
    setup = asm.mov("rdi", gate.region) + asm.mov("rcx", gate.slot_size // 8)
    code = setup + fill
    code += b"\xe9" + struct.pack("<i", -len(code) - 5)
    guest.start(code, second, CODE2)
    end = time.monotonic() + 5
    try:
        while time.monotonic() < end:
            guest.space.map(0x400000, PAGE, 3, ANON, -1, 0)
            thread = guest.platform.wait(-1, 10 * MS)
            if thread is guest.thread and thread.event != DEAD:
                thread.get_regs()
                thread.get_fpu()
                thread.complete(0)
            elif thread is not None and thread.event == DEAD:
                break
    except (AddressSpaceGone, OSError):
        pass
    assert time.monotonic() < end + 5
    guest.space.release()


def test_a_sibling_answers_for_the_handler(gate, other):
    """The result of a command is what the guest says: an error, a success, never the kernel's end."""
    guest, asm = gate.guest, gate.asm
    second = guest.space.spawn(guest.thread)
    guest.run(asm.call(39))
    # 1: movl $DONE,(%rdi); mov %rax,RESULT(%rdi); jmp 1b
    code = asm.mov("rdi", gate.region) + asm.mov("rax", 0x7FFF_FFFF_FFFF) + b"\xc7\x07\x04\x00\x00\x00"
    code += b"\x48\x89\x47" + bytes([RESULT]) + b"\xeb\xf4"
    guest.start(code, second, CODE2)
    start = time.monotonic()
    for _ in range(20):
        for attempt in (
            lambda: guest.space.map(0x400000, PAGE, 3, ANON, -1, 0),
            lambda: guest.space.spawn(guest.thread),
            lambda: guest.space.fork(guest.thread),
            lambda: guest.space.compare_exchange(DATA, 0, 1),
        ):
            try:
                attempt()
            except (AddressSpaceGone, OSError):
                continue
    assert time.monotonic() - start < 20
    guest.space.release()


def test_a_command_that_never_ends(gate, other):
    """A sibling makes the handler sleep in futex(2) instead: the process is killed before long."""
    guest, asm = gate.guest, gate.asm
    second = guest.space.spawn(guest.thread)
    guest.run(asm.call(39))
    guest.space.write(DATA, bytes(8))
    # S_CALL = futex(DATA, FUTEX_WAIT, 0, NULL), for ever
    code = asm.mov("rdi", gate.region + CALL) + asm.mov("rax", NUMBERS["futex"]) + asm.mov("rbx", DATA)
    code += b"\x48\x89\x07\x48\x89\x5f\x08\x48\xc7\x47\x10\x00\x00\x00\x00\x48\xc7\x47\x18\x00\x00\x00\x00"
    code += b"\x48\xc7\x47\x20\x00\x00\x00\x00\xeb" + struct.pack("<b", -33)
    guest.start(code, second, CODE2)
    start = time.monotonic()
    gone = False
    while not gone and time.monotonic() - start < 5:
        try:
            guest.space.map(0x400000, PAGE, 3, ANON, -1, 0)
            guest.space.fork(guest.thread)[0].release()
        except AddressSpaceGone:
            gone = True
        except OSError:
            continue
    assert time.monotonic() - start < 15
    guest.space.release()


def forged_return(gate, signals, stack_flags):
    """Code that returns through the gate from a frame of its own, to CODE2."""
    frame = bytearray(1024)
    struct.pack_into("<QQQii", frame, 0, 0, 0, gate.region + 4096, stack_flags, 0)
    struct.pack_into("<Q", frame, 32, gate.slot_size - 4096)
    struct.pack_into("<Q", frame, 40 + 15 * 8, DATA + 0x8000)  # rsp
    struct.pack_into("<Q", frame, 40 + 16 * 8, CODE2)  # rip
    struct.pack_into("<Q", frame, 40 + 17 * 8, 0x202)  # flags
    struct.pack_into("<HHHH", frame, 40 + 18 * 8, 0x33, 0, 0, 0x2B)
    struct.pack_into("<Q", frame, 296, signals)
    gate.guest.space.write(DATA + 0x1000, bytes(frame))
    return gate.asm.mov("rsp", DATA + 0x1000) + gate.code(NUMBERS["rt_sigreturn"])


@pytest.mark.parametrize("then", ["compute", "call"])
def test_all_signals_blocked(gate, other, then):
    guest, asm = gate.guest, gate.asm
    guest.load(asm.COUNT if then == "compute" else asm.call(39), CODE2)
    guest.start(forged_return(gate, U64, 0))
    if then == "call":
        assert guest.wait().event == DEAD
        return
    guest.expect_nothing(10 * MS)
    guest.thread.interrupt()
    guest.expect_nothing(20 * MS)
    pid = guest.thread.host_pid()
    guest.space.release()
    end = time.monotonic() + 5
    while os.path.exists(f"/proc/{pid}"):
        assert guest.platform.wait(-1, MS) is None
        assert time.monotonic() < end


def test_without_an_alternate_stack(gate, other):
    """The handler runs on the guest's stack and waits in the guest's memory, for ever: it can be killed."""
    guest, asm = gate.guest, gate.asm
    guest.load(asm.call(39), CODE2)
    guest.start(forged_return(gate, 0, 2))
    guest.expect_nothing(20 * MS)
    guest.thread.interrupt()
    guest.expect_nothing(20 * MS)
    guest.space.release()


@pytest.mark.parametrize("seed", range(4))
def test_anywhere_in_the_gate_with_any_registers(gate, other, seed):
    """Jumps to every kind of place; what happens to the guest is its own affair."""
    import random

    chance = random.Random(seed)
    engine_guest = gate.guest
    dead = 0
    for _ in range(60):
        if dead:
            engine_guest = type(engine_guest)(gate.guest.platform)
            dead = 0
        thread = engine_guest.thread
        values = [
            chance.choice((0, DATA, gate.region, gate.page, U64, chance.getrandbits(64))) for _ in range(27)
        ]
        values[registers.RIP] = gate.page + chance.randrange(0x300)
        values[registers.EFLAGS] = 0x202
        thread.set_regs(values)
        thread.resume()
        got = engine_guest.platform.wait(-1, 20 * MS)
        assert got in (None, thread)
        if got is None or thread.event == DEAD:
            dead = 1
            engine_guest.space.release()
            thread.release()
    if not dead:
        engine_guest.space.release()


def test_a_storm_of_refused_calls(gate, other, asm):
    """Two guests: one makes refused calls without end, the other is served."""
    guest = gate.guest
    body = gate.code(NUMBERS["clone"], 17)
    guest.start(body)
    served = 0
    end = time.monotonic() + 10
    other.start(asm.call_loop(39))
    while served < 200:
        assert time.monotonic() < end
        thread = guest.platform.wait(-1, 100 * MS)
        if thread is other.thread:
            served += 1
            thread.complete(0)
        elif thread is guest.thread:
            assert thread.event == FAULT
            regs = thread.get_regs()
            assert regs[registers.RAX] == -errno.EPERM & U64
            regs[registers.RIP] = CODE
            thread.set_regs(regs)
            thread.resume()
    other.thread.interrupt()
    guest.space.release()
    while guest.platform.wait(-1, 100 * MS) is not other.thread:
        assert time.monotonic() < end


def test_a_fork_loop_leaves_nothing(gate, other, leftovers):
    before = leftovers()[0]
    guest = gate.guest
    thread = guest.run(gate.asm.call(57) + gate.asm.call(60))
    spaces = []
    for _ in range(60):
        spaces.append(guest.space.fork(thread)[0])
    for space in spaces:
        space.release()
    assert leftovers()[0] == before
