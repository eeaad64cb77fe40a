"""Beginning and end: nothing is left behind, two platforms do not disturb each other."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from runsc.platform import API_VERSION, DEAD

MS = 1_000_000


def test_name_and_version(platform, platform_name):
    assert platform.name == platform_name
    assert platform.api_version == API_VERSION


def test_close_leaves_nothing(new_platform, new_guest, asm, leftovers):
    before = leftovers()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handler = signal.getsignal(signal.SIGCHLD)
    for _ in range(3):
        platform = new_platform()
        guests = [new_guest(platform) for _ in range(5)]
        guests[0].start(asm.COUNT)
        guests[1].start(asm.call_loop(39))
        guests[2].space.spawn(guests[2].thread)
        guests[3].space.fork(guests[3].thread)
        guests[4].thread.release()
        platform.wait(-1, MS)
        platform.close()
        platform.close()
        assert leftovers() == before
        for guest in guests:
            guest.thread.release()
            guest.space.release()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    assert signal.getsignal(signal.SIGCHLD) == handler


def test_descriptors_do_not_grow_with_processes(guest, leftovers):
    before, _ = leftovers()
    for _ in range(20):
        space, thread = guest.space.fork(guest.thread)
        space.map(0x300000, 4096, 3, 0x22, -1, 0)
        space.resident_bytes()
        thread.cpu_time_ns()
        thread.release()
        space.release()
    assert leftovers()[0] == before


def test_ended_processes_are_reaped(guest, leftovers):
    _, before = leftovers()
    for _ in range(20):
        space, thread = guest.space.fork(guest.thread)
        thread.release()
        space.release()
    end = time.monotonic() + 5
    while leftovers()[1] != before:
        assert guest.platform.wait(-1, MS) is None
        assert time.monotonic() < end


def test_a_forked_process_that_ends_does_no_harm(new_platform, new_guest, asm):
    """Its copy of the platform's objects is not the platform."""
    platform = new_platform()
    guest = new_guest(platform)
    guest.run(asm.call(39))
    pid = os.fork()
    if pid == 0:
        platform.close()
        del guest, platform
        os._exit(0)
    os.waitpid(pid, 0)
    guest.thread.complete(0)
    assert guest.wait() is guest.thread
    assert guest.thread.event != DEAD
    platform.close()


def test_two_platforms_at_a_time(new_platform, new_guest, asm):
    one, two = new_platform(), new_platform()
    a, b = new_guest(one), new_guest(two)
    a.start(asm.call_loop(1))
    b.start(asm.call_loop(2))
    for _ in range(200):
        a.expect_syscall(1).complete(0)
        b.expect_syscall(2).complete(0)
    one.close()
    for _ in range(200):
        b.expect_syscall(2).complete(0)
    two.close()


def test_guests_end_with_us(platform_class):
    """However we end: all guests are killed by the host."""
    script = textwrap.dedent(
        """
        import importlib, os, signal, sys
        module, cls = sys.argv[1:]
        platform = getattr(importlib.import_module(module), cls)()
        space = platform.new_address_space()
        thread = space.new_thread()
        space.map(0x100000, 4096, 7, 0x22, -1, 0)
        space.write(0x100000, b"\\xeb\\xfe")
        regs = [0] * 27
        regs[16] = 0x100000
        thread.set_regs(regs)
        thread.resume()
        print(thread.host_pid(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *platform_class],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        timeout=20,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    end = time.monotonic() + 5
    while os.path.exists(f"/proc/{pid}") and not is_zombie(pid):
        assert time.monotonic() < end, "the guest runs on"
        time.sleep(0.01)


def is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_check(platform, leftovers):
    before = leftovers()
    start = time.monotonic()
    answer = type(platform).check()
    assert time.monotonic() - start < 1
    assert answer.works, answer
    assert leftovers() == before


def in_a_child(action) -> str:  # type: ignore[no-untyped-def]
    """What ``action`` returns, or the exception it raised, in a forked process."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result = str(action())
        except BaseException as e:
            result = repr(e)
        os.write(w, result.encode())
        os._exit(0)
    os.close(w)
    answer = os.read(r, 4096).decode()
    os.close(r)
    os.waitpid(pid, 0)
    return answer


def become_nobody() -> None:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)


def drop_capabilities() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    assert libc.capset(header, (ctypes.c_uint32 * 6)()) == 0, os.strerror(ctypes.get_errno())


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="is the case anyway")
def test_check_without_privileges(platform, device):
    def action():
        become_nobody()
        answer = type(platform).check()
        if device is not None and not os.access(device, os.R_OK | os.W_OK):
            return not answer.works and device in answer.reason and device in answer.remedy
        return answer.works

    assert in_a_child(action) == "True"


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="has no capabilities to drop")
def test_capabilities_dropped_afterwards(new_platform, new_guest, asm):
    def action():
        platform = new_platform()
        drop_capabilities()
        guest = new_guest(platform)
        guest.run(asm.call(60))
        space, _child = guest.space.fork(guest.thread)
        return space.read(0x100000, 20) == guest.space.read(0x100000, 20) != b""

    assert in_a_child(action) == "True"


def test_in_a_user_namespace(new_platform, new_guest, asm, device):
    def action():
        if os.getuid() == 0:
            become_nobody()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x10000000) != 0:
            return f"skip: unshare: {os.strerror(ctypes.get_errno())}"
        if device is not None and not os.access(device, os.R_OK | os.W_OK):
            return f"skip: an ordinary user may not open {device}"
        platform = new_platform()
        drop_capabilities()
        guest = new_guest(platform)
        guest.run(asm.call(60))
        return guest.space.read(0x100000, 20) != b""

    answer = in_a_child(action)
    if answer.startswith("skip"):
        pytest.skip(answer)
    assert answer == "True"


def test_stubs_have_no_capabilities(guest):
    with open(f"/proc/{guest.host_process()}/status") as f:
        caps = [line.split()[1] for line in f if line.startswith(("CapPrm", "CapEff", "CapInh", "CapAmb"))]
    assert caps == ["0" * 16] * 4


def test_check_when_no_process_can_be_made(platform):
    def action():
        if os.getuid() == 0:
            become_nobody()
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        answer = type(platform).check()
        return answer.works, bool(answer.reason), bool(answer.remedy)

    assert in_a_child(action) == "(False, True, True)"


def test_host_calls(platform, device):
    calls = type(platform).host_calls()
    reasons = [(call.name, call.why) for call in calls]
    assert len(reasons) == len(set(reasons))
    names = [call.name for call in calls]
    assert all(call.why for call in calls)
    assert "ppoll" in names
    if device is None:  # guests are processes of the host
        assert {"wait4", "process_vm_readv"} <= set(names)
