"""Calls that would change the machine. A container has none to change.

Who lacks the capability gets EPERM, as anywhere. Who has it gets what a kernel without the feature answers.
"""

from __future__ import annotations

from errno import EINVAL, ENODEV, ENOSYS, EPERM

from runsc.kernel.credentials import (
    CAP_SYS_ADMIN,
    CAP_SYS_BOOT,
    CAP_SYS_MODULE,
    CAP_SYS_PACCT,
    CAP_SYS_RAWIO,
    CAP_SYS_TTY_CONFIG,
)
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import PARTIAL, Fd, Hex, Int, PathPtr, Ptr, Size, StrPtr, UInt, ULong, syscall
from runsc.kernel.tty.tty import hang_up_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_ABSENT = "refused: EPERM without the capability, ENOSYS with it"

_IO_PORTS = 65536
_REBOOT_MAGIC = 0xFEE1DEAD
_REBOOT_MAGICS = (672274793, 85072278, 369367448, 537993216)


def _refuse(task: Task, cap: int, errno: int = ENOSYS) -> int:
    raise LinuxError(errno if task.cred.capable(cap) else EPERM)


@syscall(169, PARTIAL, _ABSENT)
def reboot(task: Task, magic: UInt, magic2: UInt, command: UInt, arg: Ptr) -> Result:
    if not task.cred.capable(CAP_SYS_BOOT):
        raise LinuxError(EPERM)
    if magic != _REBOOT_MAGIC or magic2 not in _REBOOT_MAGICS:
        raise LinuxError(EINVAL)
    raise LinuxError(ENOSYS)


@syscall(163, PARTIAL, _ABSENT)
def acct(task: Task, path: PathPtr) -> Result:
    return _refuse(task, CAP_SYS_PACCT)


@syscall(167, PARTIAL, _ABSENT)
def swapon(task: Task, path: PathPtr, flags: Int) -> Result:
    return _refuse(task, CAP_SYS_ADMIN)


@syscall(168, PARTIAL, _ABSENT)
def swapoff(task: Task, path: PathPtr) -> Result:
    return _refuse(task, CAP_SYS_ADMIN)


@syscall(175, PARTIAL, _ABSENT)
def init_module(task: Task, image: Ptr, length: ULong, params: StrPtr) -> Result:
    return _refuse(task, CAP_SYS_MODULE)


@syscall(176, PARTIAL, _ABSENT)
def delete_module(task: Task, name: StrPtr, flags: UInt) -> Result:
    return _refuse(task, CAP_SYS_MODULE)


@syscall(313, PARTIAL, _ABSENT)
def finit_module(task: Task, fd: Fd, params: StrPtr, flags: Int) -> Result:
    return _refuse(task, CAP_SYS_MODULE)


@syscall(246, PARTIAL, _ABSENT)
def kexec_load(task: Task, entry: Hex, segments: Size, list_: Ptr, flags: Hex) -> Result:
    return _refuse(task, CAP_SYS_BOOT)


@syscall(320, PARTIAL, _ABSENT)
def kexec_file_load(task: Task, kernel: Fd, initrd: Fd, length: Size, line: StrPtr, flags: Hex) -> Result:
    return _refuse(task, CAP_SYS_BOOT)


@syscall(153)
def vhangup(task: Task) -> Result:
    """vhangup(2)."""
    if not task.cred.capable(CAP_SYS_TTY_CONFIG):
        raise LinuxError(EPERM)
    hang_up_own(task)
    return 0


@syscall(172, PARTIAL, "no I/O ports: EPERM without the capability, ENODEV with it")
def iopl(task: Task, level: UInt) -> Result:
    if level > 3:
        raise LinuxError(EINVAL)
    if level == 0:
        return 0
    return _refuse(task, CAP_SYS_RAWIO, ENODEV)


@syscall(173, PARTIAL, "no I/O ports: EPERM without the capability, ENODEV with it")
def ioperm(task: Task, first: ULong, count: ULong, on: Int) -> Result:
    if first + count <= first or first + count > _IO_PORTS:
        raise LinuxError(EINVAL)
    if not on:
        return 0
    return _refuse(task, CAP_SYS_RAWIO, ENODEV)
