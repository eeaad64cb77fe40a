"""What a stub may do on the host when a call is injected into it: nothing but what the platform injects."""

from __future__ import annotations

import signal

import pytest

from runsc.abi.syscalls import NUMBERS
from runsc.platform import AddressSpaceGone

DATA = 0x200000
CLONE_PTRACE, CLONE_UNTRACED, CLONE_PARENT = 0x2000, 0x800000, 0x8000

FORBIDDEN = {
    "getpid": (),
    "open": (DATA, 0),
    "openat": (-100, DATA, 0),
    "read": (0, DATA, 1),
    "write": (1, DATA, 1),
    "socket": (2, 1, 0),
    "execve": (DATA, 0, 0),
    "kill": (1, 9),
    "ptrace": (16, 1),
    "process_vm_readv": (1, DATA, 1, DATA, 1, 0),
    "prctl": (1, 0),
    "seccomp": (0, 0, 0),
    "fork": (),
    "vfork": (),
    "clone3": (DATA, 88),
    "clone": (signal.SIGCHLD,),
    "setpgid": (0, 0),
    "mount": (DATA, DATA, DATA),
    "unshare": (0x10000000,),
    "io_uring_setup": (1, DATA),
}


#: How a call is refused: the filter ends the process, or the platform, which was asked, says no.
REFUSED = (AddressSpaceGone, PermissionError)
TIME = 201


@pytest.fixture
def stub(guest):
    if not hasattr(guest.space, "host_call"):
        pytest.skip("this platform injects no calls")
    guest.space.write(DATA, b"/etc/passwd\0")
    return guest.space


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forbidden_call_ends_the_stub(stub, name):
    args = [arg & (1 << 64) - 1 for arg in (*FORBIDDEN[name], 0, 0)]
    with pytest.raises(REFUSED):
        stub.host_call(NUMBERS[name], *args[:6])


@pytest.mark.parametrize(
    "flags",
    [
        CLONE_PTRACE | CLONE_PARENT | signal.SIGCHLD,  # without CLONE_FILES: not as the platform does it
        CLONE_PTRACE | CLONE_UNTRACED | CLONE_PARENT | 0x400 | signal.SIGCHLD,
        CLONE_PTRACE | CLONE_PARENT | 0x400 | signal.SIGCHLD | 1 << 32,
        0x10000000 | signal.SIGCHLD,  # a user name space
    ],
)
def test_a_child_is_made_in_one_way_only(stub, flags):
    with pytest.raises(REFUSED):
        stub.host_call(NUMBERS["clone"], flags, 0)


def test_x32_calls_end_the_stub(stub):
    with pytest.raises(AddressSpaceGone):
        stub.host_call(0x40000000 | NUMBERS["mmap"], 0, 0)


def test_memory_calls_are_answered(stub):
    stub.host_call(NUMBERS["madvise"], DATA, 4096, 4)
    with pytest.raises(OSError, match="Invalid argument"):
        stub.host_call(NUMBERS["munmap"], 1, 4096)
    assert stub.read(DATA, 4) == bytes(4)


def test_children_have_the_filter_too(guest, stub, asm):
    guest.run(asm.call(39))
    space, thread = stub.fork(guest.thread)
    with pytest.raises(AddressSpaceGone):
        space.host_call(NUMBERS["getpid"], 0, 0)
    thread.release()
    space.release()
    second = stub.spawn(guest.thread)
    with open(f"/proc/{second.host_pid()}/status") as file:
        assert "Seccomp:\t2\n" in file.readlines()


def test_the_vsyscall_page(guest, asm):
    """Where the host has one, it asks the filter: time(2) by it must not end the guest."""
    with open("/proc/self/maps") as maps:
        if "[vsyscall]" not in maps.read():
            pytest.skip("the host has no vsyscall page")
    # call *%rax; then exit
    thread = guest.run(b"\xff\xd0" + asm.call(60), rax=0xFFFFFFFFFF600400, rsp=DATA + 0x8000)
    if thread.nr == TIME:  # the platform hands it over like any call
        thread.complete(0)
        assert guest.wait() is thread
    assert thread.nr == 60
