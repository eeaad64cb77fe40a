"""process_madvise(2), process_mrelease(2): memory of another process, by its pidfd."""

from __future__ import annotations

from errno import EINVAL, EPERM, ESRCH

from runsc.kernel.credentials import CAP_SYS_NICE
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.pidfd import pid_of
from runsc.kernel.fs.proc.access import may_access
from runsc.kernel.mm.mm import page_up
from runsc.kernel.mm.vma import PAGE
from runsc.kernel.syscalls.decl import PARTIAL, Advice, Fd, InIovec, Size, UInt, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

_MADV_WILLNEED, _MADV_COLD, _MADV_PAGEOUT, _MADV_COLLAPSE = 3, 20, 21, 25


def _process_of(task: Task, pidfd: int) -> Task:
    """Raises EBADF, ESRCH."""
    target = pid_of(task.files.get(pidfd)).task
    if target is None:
        raise LinuxError(ESRCH)
    return target


@syscall(440, PARTIAL, "advice is checked and accepted; the host pages as it likes")
def process_madvise(
    task: Task, pidfd: Fd, vec: InIovec, vlen: Size, advice: Advice, flags: UInt
) -> int:
    """process_madvise(2): how many bytes were advised."""
    if flags:
        raise LinuxError(EINVAL)
    if vlen > 1024:
        raise LinuxError(EINVAL)
    entries = task.mm.copy_in_iovec(vec, vlen)
    target = _process_of(task, pidfd)
    if advice not in (_MADV_WILLNEED, _MADV_COLD, _MADV_PAGEOUT, _MADV_COLLAPSE):
        raise LinuxError(EINVAL)
    if target.mm.released:
        raise LinuxError(ESRCH)
    if not may_access(task, target):
        raise LinuxError(EPERM)
    if target.mm is not task.mm and not task.cred.capable(CAP_SYS_NICE):
        raise LinuxError(EPERM)
    done = 0
    for base, length in entries:
        error = 0
        if base & (PAGE - 1):
            error = EINVAL
        elif not target.mm.vmas.covered(base, base + page_up(length)):
            error = 12
        if error:
            if done:
                break
            raise LinuxError(error)
        done += length
    return done


@syscall(448)
def process_mrelease(task: Task, pidfd: Fd, flags: UInt) -> int:
    """process_mrelease(2): the memory of a process that is being killed. Here it is given back when the
    process ends, which is at once."""
    if flags:
        raise LinuxError(EINVAL)
    target = _process_of(task, pidfd)
    if target.mm.released or target.group.zombie:
        raise LinuxError(ESRCH)
    if not target.group.exiting:
        raise LinuxError(EINVAL)
    return 0
