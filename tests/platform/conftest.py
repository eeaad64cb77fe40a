"""The contract suite of platforms: every test runs on every platform listed in ``PLATFORMS``.

Guests are a few machine instructions, written by ``Asm``.
"""

from __future__ import annotations

import importlib
import os
import struct
import time
from typing import TYPE_CHECKING

import pytest

from runsc.abi import registers
from runsc.platform import FAULT, SYSCALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.platform import AddressSpace, Platform, Thread

#: name: (module, class)
PLATFORMS = {
    "kvm": ("runsc_platform_kvm.platform", "KvmPlatform"),
    "ptrace": ("runsc_platform_ptrace.platform", "PtracePlatform"),
    "systrap": ("runsc_platform_systrap.platform", "SystrapPlatform"),
}

#: What a platform can't do without.
DEVICES = {"kvm": "/dev/kvm"}

PAGE = 4096
CODE = 0x100000
DATA = 0x200000
SIZE = 0x10000
PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
RW, RX, RWX = 3, 5, 7
MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS = 1, 2, 0x20
ANON = MAP_PRIVATE | MAP_ANONYMOUS
PATIENCE = 10_000_000_000

GENERAL = {
    "rax": 0, "rcx": 1, "rdx": 2, "rbx": 3, "rsp": 4, "rbp": 5, "rsi": 6, "rdi": 7,
    "r8": 8, "r9": 9, "r10": 10, "r11": 11, "r12": 12, "r13": 13, "r14": 14, "r15": 15,
}  # fmt: skip


class Asm:
    """Machine code of a few instructions (Intel SDM volume 2)."""

    SYSCALL = b"\x0f\x05"
    INT3 = b"\xcc"
    INT80 = b"\xcd\x80"
    UD2 = b"\x0f\x0b"
    NOP = b"\x90"
    FOREVER = b"\xeb\xfe"  # jmp .
    LOAD = b"\x48\x8b\x07"  # mov (%rdi),%rax
    STORE = b"\x48\x89\x07"  # mov %rax,(%rdi)
    DIVIDE_BY_ZERO = b"\x31\xd2\x31\xc9\xf7\xf1"  # xor %edx,%edx; xor %ecx,%ecx; div %ecx
    COUNT = b"\x48\xff\xc3\xeb\xfb"  # 1: inc %rbx; jmp 1b
    LOAD_FS = b"\x64\x48\x8b\x04\x25\x00\x00\x00\x00"  # mov %fs:0,%rax
    LOAD_GS = b"\x65\x48\x8b\x04\x25\x00\x00\x00\x00"  # mov %gs:0,%rax
    LOAD_YMM5 = b"\xc5\xfe\x6f\x2f"  # vmovdqu (%rdi),%ymm5
    STORE_YMM5 = b"\xc5\xfe\x7f\x2f"  # vmovdqu %ymm5,(%rdi)
    STORE_XMM1 = b"\x0f\x11\x0f"  # movups %xmm1,(%rdi)
    JMP_RAX = b"\xff\xe0"
    POPF = b"\x9d"
    PUSH_RAX = b"\x50"
    RET_FAR = b"\x48\xcb"  # lretq

    @staticmethod
    def mov(register: str, value: int) -> bytes:
        number = GENERAL[register]
        return bytes([0x48 | number >> 3, 0xB8 | number & 7]) + struct.pack("<Q", value & (1 << 64) - 1)

    @classmethod
    def call(cls, nr: int, *args: int) -> bytes:
        """A system call."""
        order = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
        code = b"".join(cls.mov(r, a) for r, a in zip(order, args, strict=False))
        return code + cls.mov("rax", nr) + cls.SYSCALL

    @classmethod
    def call_loop(cls, nr: int) -> bytes:
        """Makes one system call for ever."""
        body = cls.mov("rax", nr) + cls.SYSCALL
        return body + b"\xeb" + struct.pack("<b", -len(body) - 2)


class Guest:
    """A guest process with 64 KiB of code (rwx) at CODE and of data (rw) at DATA."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.space: AddressSpace = platform.new_address_space()
        self.thread: Thread = self.space.new_thread()
        self.space.map(CODE, SIZE, RWX, ANON, -1, 0)
        self.space.map(DATA, SIZE, RW, ANON, -1, 0)

    def load(self, code: bytes, at: int = CODE) -> None:
        assert self.space.write(at, code) == len(code)

    def start(self, code: bytes, thread: Thread | None = None, at: int = CODE, **regs: int) -> Thread:
        """Let a stopped thread run ``code``; registers not given are zero."""
        thread = thread or self.thread
        self.load(code, at)
        values = [0] * registers.COUNT
        values[registers.RIP] = at
        for name, value in regs.items():
            values[getattr(registers, name.upper())] = value
        thread.set_regs(values)
        thread.resume()
        return thread

    def run(self, code: bytes, thread: Thread | None = None, at: int = CODE, **regs: int) -> Thread:
        """As ``start``, and wait for its event."""
        thread = self.start(code, thread, at, **regs)
        assert self.wait() is thread
        return thread

    def wait(self) -> Thread:
        """The next event; a wait may come back early without one."""
        end = time.monotonic_ns() + PATIENCE
        while (thread := self.platform.wait(-1, PATIENCE)) is None:
            assert time.monotonic_ns() < end, "no event"
        return thread

    def expect_nothing(self, ns: int) -> None:
        """No event for so long."""
        end = time.monotonic_ns() + ns
        while (left := end - time.monotonic_ns()) > 0:
            thread = self.platform.wait(-1, left)
            assert thread is None, thread.event

    def expect_syscall(self, nr: int) -> Thread:
        thread = self.wait()
        assert (thread.event, thread.nr) == (SYSCALL, nr), (thread.event, thread.nr, thread.fault)
        return thread

    def expect_fault(self, thread: Thread, signo: int, code: int | None = None) -> None:
        assert thread.event == FAULT, (thread.event, thread.nr)
        assert thread.fault is not None
        assert thread.fault.signo == signo, thread.fault
        if code is not None:
            assert thread.fault.code == code, thread.fault

    def host_process(self, thread: Thread | None = None) -> int:
        """The host's process that a thread of the guest is (in)."""
        pid = (thread or self.thread).host_pid()
        if pid == 0:
            pytest.skip("guests are not processes of the host on this platform")
        return pid

    def reg(self, name: str, thread: Thread | None = None) -> int:
        return (thread or self.thread).get_regs()[getattr(registers, name.upper())]


def open_descriptors() -> set[str]:
    return {
        f"{fd}:{os.readlink(f'/proc/self/fd/{fd}')}"
        for fd in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{fd}")
    }


def children() -> set[int]:
    """All child processes of this one, zombies too."""
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as f:
            found.update(int(pid) for pid in f.read().split())
    return found


def make(name: str) -> Platform:
    module, cls = PLATFORMS[name]
    platform: Platform = getattr(importlib.import_module(module), cls)()
    return platform


def _params() -> Iterator[object]:
    for name in sorted(PLATFORMS):
        device = DEVICES.get(name)
        if device is None:
            yield name
        else:
            absent = not os.access(device, os.R_OK | os.W_OK)
            marks = [getattr(pytest.mark, name), pytest.mark.skipif(absent, reason=f"needs {device}")]
            yield pytest.param(name, marks=marks)


@pytest.fixture(params=_params())
def platform_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def device(platform_name: str) -> str | None:
    """The device that the platform opens."""
    return DEVICES.get(platform_name)


@pytest.fixture
def platform_class(platform_name: str) -> tuple[str, str]:
    return PLATFORMS[platform_name]


@pytest.fixture
def platform(platform_name: str) -> Iterator[Platform]:
    before = open_descriptors(), children()
    platform = make(platform_name)
    yield platform
    platform.close()
    assert (open_descriptors(), children()) == before, "descriptors or processes are left"


@pytest.fixture
def guest(platform: Platform) -> Guest:
    return Guest(platform)


@pytest.fixture
def asm() -> type[Asm]:
    return Asm


@pytest.fixture
def new_platform(platform_name: str):  # type: ignore[no-untyped-def]
    return lambda: make(platform_name)


@pytest.fixture
def new_guest():  # type: ignore[no-untyped-def]
    return Guest


@pytest.fixture
def leftovers():  # type: ignore[no-untyped-def]
    return lambda: (open_descriptors(), children())
