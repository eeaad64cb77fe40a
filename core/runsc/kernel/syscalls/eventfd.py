"""eventfd(2) and eventfd2(2)."""

from __future__ import annotations

from errno import EINVAL

from runsc.abi.fcntl import O_CLOEXEC, O_NONBLOCK
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.fs.eventfd import EventFd
from runsc.kernel.syscalls.decl import EfdFlags, UInt, syscall
from runsc.kernel.vfs.install import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

EFD_SEMAPHORE = 1


def _create(task: Task, initval: int, flags: int) -> int:
    if flags & ~(O_CLOEXEC | O_NONBLOCK | EFD_SEMAPHORE):
        raise LinuxError(EINVAL)
    inode = anon_inodes(task.kernel).anon_inode
    file = EventFd(inode, flags & O_NONBLOCK, initval, bool(flags & EFD_SEMAPHORE))
    return install(task, file, bool(flags & O_CLOEXEC))


@syscall(284)
def eventfd(task: Task, initval: UInt) -> Result:
    """eventfd(2) without flags."""
    return _create(task, initval, 0)


@syscall(290)
def eventfd2(task: Task, initval: UInt, flags: EfdFlags) -> Result:
    """eventfd(2): EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE."""
    return _create(task, initval, flags)
