"""prctl(2), arch_prctl(2), and calls about the system."""

from __future__ import annotations

import os
from errno import EFAULT, EINVAL, ENOSYS, EPERM
from struct import unpack

import pytest
from support import Buffer, Pending, call, make_task, run_ready

from runsc.abi import prctl as pr
from runsc.abi.registers import FS_BASE, GS_BASE, RAX
from runsc.kernel.credentials import ALL_CAPS
from runsc.kernel.syscalls import identity, info, prctl, privileged, random
from runsc.kernel.syscalls.decl import REGISTERS_SET
from runsc.kernel.version import RELEASE

END = 0x10000000 + (1 << 20)


def test_names() -> None:
    task = make_task()
    buffer = Buffer(task)
    assert call(task, prctl.prctl, pr.PR_SET_NAME, buffer.text(b"short")) == 0
    assert task.comm == b"short"
    assert call(task, prctl.prctl, pr.PR_SET_NAME, buffer.put(b"0123456789abcdefgh")) == 0
    assert task.comm == b"0123456789abcde"
    at = buffer.put(b"\xff" * 16)
    assert call(task, prctl.prctl, pr.PR_GET_NAME, at) == 0
    assert buffer.get(at, 16) == b"0123456789abcde\0"
    # The end of memory is no end of a name, unless the name ends before.
    task.mm.copy_out(END - 4, b"abc\0")
    assert call(task, prctl.prctl, pr.PR_SET_NAME, END - 4) == 0
    assert task.comm == b"abc"
    task.mm.copy_out(END - 4, b"abcd")
    assert call(task, prctl.prctl, pr.PR_SET_NAME, END - 4) == -EFAULT
    assert call(task, prctl.prctl, pr.PR_SET_NAME, END) == -EFAULT
    assert call(task, prctl.prctl, pr.PR_GET_NAME, END - 15) == -EFAULT


def test_values_that_come_back() -> None:
    task = make_task()
    at = Buffer(task).room(8)
    assert call(task, prctl.prctl, pr.PR_SET_PDEATHSIG, 65) == -EINVAL
    assert call(task, prctl.prctl, pr.PR_SET_PDEATHSIG, 64) == 0
    assert call(task, prctl.prctl, pr.PR_GET_PDEATHSIG, at) == 0
    assert task.mm.read_u32(at) == 64
    assert call(task, prctl.prctl, pr.PR_SET_DUMPABLE, 2) == -EINVAL
    assert call(task, prctl.prctl, pr.PR_SET_DUMPABLE, 0) == 0
    assert call(task, prctl.prctl, pr.PR_GET_DUMPABLE) == 0
    assert call(task, prctl.prctl, pr.PR_SET_CHILD_SUBREAPER, 5) == 0
    assert call(task, prctl.prctl, pr.PR_GET_CHILD_SUBREAPER, at) == 0
    assert task.mm.read_u32(at) == 1
    assert call(task, prctl.prctl, pr.PR_SET_TIMERSLACK, 77) == 0
    assert call(task, prctl.prctl, pr.PR_GET_TIMERSLACK) == 77
    assert call(task, prctl.prctl, pr.PR_SET_TIMERSLACK, -1) == 0
    assert call(task, prctl.prctl, pr.PR_GET_TIMERSLACK) == 50000
    assert call(task, prctl.prctl, pr.PR_GET_TSC, at) == 0
    assert task.mm.read_u32(at) == pr.PR_TSC_ENABLE
    assert call(task, prctl.prctl, pr.PR_SET_TSC, pr.PR_TSC_SIGSEGV) == -EINVAL
    assert call(task, prctl.prctl, pr.PR_GET_SECCOMP) == 0


def test_no_new_privileges() -> None:
    task = make_task()
    assert call(task, prctl.prctl, pr.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0
    assert call(task, prctl.prctl, pr.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == -EINVAL
    assert call(task, prctl.prctl, pr.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 1) == -EINVAL
    assert call(task, prctl.prctl, pr.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert call(task, prctl.prctl, pr.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
    assert call(task, prctl.prctl, pr.PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0) == -EINVAL


def test_secure_bits() -> None:
    task = make_task()
    assert call(task, prctl.prctl, pr.PR_SET_SECUREBITS, 0x100) == -EPERM
    assert call(task, prctl.prctl, pr.PR_SET_SECUREBITS, 0x21) == 0
    assert call(task, prctl.prctl, pr.PR_GET_SECUREBITS) == 0x21
    # Keep-capabilities is locked as it is now, and the lock stays.
    assert call(task, prctl.prctl, pr.PR_SET_KEEPCAPS, 1) == -EPERM
    assert call(task, prctl.prctl, pr.PR_SET_SECUREBITS, 0x31) == -EPERM
    assert call(task, prctl.prctl, pr.PR_SET_SECUREBITS, 0x01) == -EPERM
    other = make_task(uid=1)
    assert call(other, prctl.prctl, pr.PR_SET_SECUREBITS, 1) == -EPERM
    assert call(other, prctl.prctl, pr.PR_SET_KEEPCAPS, 2) == -EINVAL
    assert call(other, prctl.prctl, pr.PR_SET_KEEPCAPS, 1) == 0
    assert call(other, prctl.prctl, pr.PR_GET_KEEPCAPS) == 1


def test_bounding_and_ambient_sets() -> None:
    task = make_task()
    assert call(task, prctl.prctl, pr.PR_CAPBSET_READ, 40) == 1
    assert call(task, prctl.prctl, pr.PR_CAPBSET_READ, 41) == -EINVAL
    assert call(task, prctl.prctl, pr.PR_CAPBSET_READ, 1 << 63) == -EINVAL
    assert call(task, prctl.prctl, pr.PR_CAPBSET_DROP, 40) == 0
    assert call(task, prctl.prctl, pr.PR_CAPBSET_READ, 40) == 0
    ambient = pr.PR_CAP_AMBIENT
    assert call(task, prctl.prctl, ambient, pr.PR_CAP_AMBIENT_RAISE, 3, 0, 0) == -EPERM
    task.cred.inheritable = 8
    assert call(task, prctl.prctl, ambient, pr.PR_CAP_AMBIENT_RAISE, 3, 0, 0) == 0
    assert call(task, prctl.prctl, ambient, pr.PR_CAP_AMBIENT_IS_SET, 3, 0, 0) == 1
    assert call(task, prctl.prctl, ambient, pr.PR_CAP_AMBIENT_LOWER, 3, 0, 0) == 0
    assert call(task, prctl.prctl, ambient, pr.PR_CAP_AMBIENT_IS_SET, 3, 0, 0) == 0
    assert call(task, prctl.prctl, ambient, pr.PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0) == -EINVAL
    assert call(task, prctl.prctl, ambient, 9, 3, 0, 0) == -EINVAL
    plain = make_task(uid=1)
    assert call(plain, prctl.prctl, pr.PR_CAPBSET_DROP, 99) == -EPERM


@pytest.mark.parametrize("option", [0, 5, 9, 999, pr.PR_SET_VMA, -1])
def test_what_is_not_there_is_invalid(option: int) -> None:
    assert call(make_task(), prctl.prctl, option, 1, 2, 3, 4) == -EINVAL


def test_segment_bases() -> None:
    task = make_task()
    assert call(task, prctl.arch_prctl, pr.ARCH_SET_FS, 0x1234) == REGISTERS_SET
    assert call(task, prctl.arch_prctl, pr.ARCH_SET_GS, 0x7FFFFFFFEFFF) == REGISTERS_SET
    regs = task.thread.get_regs()
    assert (regs[FS_BASE], regs[GS_BASE], regs[RAX]) == (0x1234, 0x7FFFFFFFEFFF, 0)
    assert call(task, prctl.arch_prctl, pr.ARCH_SET_FS, 0x7FFFFFFFF000) == -EPERM
    at = Buffer(task).room(8)
    assert call(task, prctl.arch_prctl, pr.ARCH_GET_FS, at) == 0
    assert task.mm.read_u64(at) == 0x1234
    assert call(task, prctl.arch_prctl, pr.ARCH_GET_GS, 1) == -EFAULT
    assert call(task, prctl.arch_prctl, 0x3001, at) == -EINVAL


def test_personality_is_kept() -> None:
    task = make_task()
    assert call(task, prctl.personality, 0x40000) == 0
    assert call(task, prctl.personality, 0xFFFFFFFF) == 0x40000
    assert call(task, prctl.personality, 0) == 0x40000


def test_names_of_the_system() -> None:
    task = make_task()
    buffer = Buffer(task)
    assert call(task, info.sethostname, buffer.put(b"box"), 3) == 0
    assert call(task, info.setdomainname, buffer.put(b"x" * 64), 64) == 0
    at = buffer.put(b"\xff" * 400)
    assert call(task, info.uname, at) == 0
    fields = [field.rstrip(b"\0") for field in unpack("65s65s65s65s65s65s", buffer.get(at, 390))]
    assert fields[:3] == [b"Linux", b"box", RELEASE.encode()]
    assert fields[4:] == [b"x86_64", b"x" * 64]
    assert buffer.get(at + 390, 10) == b"\xff" * 10
    assert int(fields[2].split(b".")[0]) >= 6
    assert call(task, info.sethostname, at, 65) == -EINVAL
    assert call(task, info.sethostname, at, -1) == -EINVAL
    assert call(task, info.sethostname, 1, 3) == -EFAULT
    call(task, identity.setuid, 1)
    assert call(task, info.sethostname, 1, 99) == -EPERM


def test_sysinfo_is_laid_out_as_linux_does() -> None:
    task = make_task()
    at = Buffer(task).put(b"\xff" * 120)
    assert call(task, info.sysinfo, at) == 0
    assert task.mm.copy_in(at + 112, 8) == b"\xff" * 8
    fields = unpack("<q9QH6xQQI4x", task.mm.copy_in(at, 112))
    assert fields[4] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert fields[4] > fields[5] > 0
    assert (fields[10], fields[13]) == (1, 1)


def test_the_log_is_empty_and_not_for_everybody() -> None:
    task = make_task()
    at = Buffer(task).room(16)
    assert call(task, info.syslog, 3, at, 16) == 0
    assert call(task, info.syslog, 10, 0, 0) > 0
    assert call(task, info.syslog, 3, 0, 16) == -EINVAL
    assert call(task, info.syslog, 8, 0, 9) == -EINVAL
    assert call(task, info.syslog, 11, 0, 0) == -EINVAL
    assert isinstance(call(task, info.syslog, 2, at, 16), Pending)
    assert call(make_task(uid=1), info.syslog, 3, at, 16) == -EPERM


def test_random_bytes() -> None:
    task = make_task()
    buffer = Buffer(task)
    at = buffer.room(64)
    assert call(task, random.getrandom, at, 64, 0) == 64
    assert len(set(buffer.get(at, 64))) > 16
    assert call(task, random.getrandom, at, 0, 7) == -EINVAL
    assert call(task, random.getrandom, at, 5, 8) == -EINVAL
    assert call(task, random.getrandom, at, 0, 1) == 0
    assert call(task, random.getrandom, 1, 5, 0) == -EFAULT
    assert call(task, random.getrandom, END - 3, 5, 0) == 3


def test_many_random_bytes_are_made_in_steps() -> None:
    task = make_task()
    start = 0x10000000
    pending = call(task, random.getrandom, start, 700_000, 0)
    assert isinstance(pending, Pending)
    while pending.result is None:
        task.kernel.timers.run_due()
        if pending.woken():
            pending.step()
    assert pending.result == 700_000
    assert task.mm.copy_in(start + 699_900, 100) != bytes(100)
    run_ready(task)


def test_a_request_for_more_than_there_is_memory_ends_there() -> None:
    task = make_task()
    pending = call(task, random.getrandom, END - 300_000, 1 << 40, 0)
    assert isinstance(pending, Pending)
    while pending.result is None:
        task.kernel.timers.run_due()
        if pending.woken():
            pending.step()
    assert pending.result == 300_000


@pytest.mark.parametrize(
    ("handler", "args"),
    [
        (privileged.swapon, (0, 0)),
        (privileged.swapoff, (0,)),
        (privileged.acct, (0,)),
        (privileged.init_module, (0, 0, 0)),
        (privileged.delete_module, (0, 0)),
        (privileged.kexec_load, (0, 0, 0, 0)),
        (privileged.reboot, (0xFEE1DEAD, 672274793, 0, 0)),
    ],
)
def test_the_machine_is_not_theirs(handler: object, args: tuple[int, ...]) -> None:
    assert call(make_task(uid=1), handler, *args) == -EPERM
    root = make_task()
    assert root.cred.effective == ALL_CAPS
    assert call(root, handler, *args) == -ENOSYS


def test_io_ports() -> None:
    task = make_task(uid=1)
    assert call(task, privileged.iopl, 4) == -EINVAL
    assert call(task, privileged.iopl, 3) == -EPERM
    assert call(task, privileged.iopl, 0) == 0
    assert call(task, privileged.ioperm, 0, 0, 1) == -EINVAL
    assert call(task, privileged.ioperm, 65535, 2, 1) == -EINVAL
    assert call(task, privileged.ioperm, (1 << 64) - 1, 1, 1) == -EINVAL
    assert call(task, privileged.ioperm, 0x80, 1, 1) == -EPERM
    assert call(task, privileged.ioperm, 0x80, 1, 0) == 0
    assert call(make_task(), privileged.reboot, 1, 2, 3, 4) == -EINVAL
