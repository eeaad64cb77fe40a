"""signalfd(2) and signalfd4(2)."""

from __future__ import annotations

from errno import EINVAL

from runsc.abi.fcntl import O_CLOEXEC, O_NONBLOCK
from runsc.abi.signal import UNBLOCKABLE
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.fs.signalfd import SignalFd
from runsc.kernel.syscalls.decl import Fd, FdFlags, InSigset, Size, syscall
from runsc.kernel.vfs.install import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task


def _signalfd(task: Task, fd: int, mask_addr: int, size: int, flags: int) -> int:
    if size != 8:
        raise LinuxError(EINVAL)
    mask = task.mm.read_u64(mask_addr) & ~UNBLOCKABLE
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        raise LinuxError(EINVAL)
    if fd == -1:
        inode = anon_inodes(task.kernel).anon_inode
        return install(task, SignalFd(inode, flags & O_NONBLOCK, task, mask), bool(flags & O_CLOEXEC))
    file = task.files.get(fd)
    if not isinstance(file, SignalFd):
        raise LinuxError(EINVAL)
    file.mask = mask
    file.queue.wake()
    return fd


@syscall(282)
def signalfd(task: Task, fd: Fd, mask: InSigset, sigsetsize: Size) -> Result:
    """signalfd(2) without flags."""
    return _signalfd(task, fd, mask, sigsetsize, 0)


@syscall(289)
def signalfd4(task: Task, fd: Fd, mask: InSigset, sigsetsize: Size, flags: FdFlags) -> Result:
    """signalfd(2): SFD_CLOEXEC, SFD_NONBLOCK."""
    return _signalfd(task, fd, mask, sigsetsize, flags)
