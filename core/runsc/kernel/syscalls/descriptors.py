"""close(2), close_range(2), dup(2): what concerns descriptors and not the files behind them (fs/file.c)."""

from __future__ import annotations

from errno import EBADF, EINVAL

from runsc.abi.fcntl import O_CLOEXEC
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import CloseRangeFlags, Fd, OpenFlags, UInt, syscall
from runsc.kernel.thread_group import RLIMIT_NOFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

CLOSE_RANGE_UNSHARE = 2
CLOSE_RANGE_CLOEXEC = 4


@syscall(3)
def close(task: Task, fd: Fd) -> Result:
    """close(2)."""
    task.files.close(fd, task)
    return 0


@syscall(436)
def close_range(task: Task, first: UInt, last: UInt, flags: CloseRangeFlags) -> Result:
    """close_range(2)."""
    if flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) or first > last:
        raise LinuxError(EINVAL)
    files = task.files
    if flags & CLOSE_RANGE_UNSHARE and files.users > 1:
        # The others keep the table as it is.
        task.files = files.fork()
        files.users -= 1
        files = task.files
    found = [fd for fd in files.files if first <= fd <= last]
    if flags & CLOSE_RANGE_CLOEXEC:
        files.cloexec.update(found)
    else:
        for fd in sorted(found):
            files.close_quietly(fd, task)
    return 0


@syscall(32)
def dup(task: Task, fd: Fd) -> Result:
    """dup(2)."""
    return task.files.install(task.files.get_any(fd), task.limit(RLIMIT_NOFILE))


@syscall(33)
def dup2(task: Task, old: Fd, new: Fd) -> Result:
    """dup2(2)."""
    if old == new:
        task.files.get_any(old)
        return old
    return _replace(task, old, new, False)


@syscall(292)
def dup3(task: Task, old: Fd, new: Fd, flags: OpenFlags) -> Result:
    """dup3(2)."""
    if flags & ~O_CLOEXEC or old == new:
        raise LinuxError(EINVAL)
    return _replace(task, old, new, bool(flags & O_CLOEXEC))


def _replace(task: Task, old: int, new: int, cloexec: bool) -> int:
    if new < 0 or new >= task.limit(RLIMIT_NOFILE):
        raise LinuxError(EBADF)
    task.files.install_at(new, task.files.get_any(old), cloexec, task)
    return new
