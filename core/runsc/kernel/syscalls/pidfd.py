"""pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2)."""

from __future__ import annotations

from errno import EBADF, EINVAL, EPERM, ESRCH

from runsc.abi.fcntl import O_NONBLOCK
from runsc.abi.signal import SI_TKILL, SI_USER
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.pidfd import PidFd, pid_of
from runsc.kernel.fs.proc.access import may_access
from runsc.kernel.fs.proc.pid import TaskDir
from runsc.kernel.signal import send_as
from runsc.kernel.syscalls.decl import Fd, FdFlags, Pid, Ptr, Signal, UInt, syscall
from runsc.kernel.syscalls.signal import check_signal, copy_in_siginfo, may_signal, sent_by
from runsc.kernel.thread_group import RLIMIT_NOFILE
from runsc.kernel.vfs.install import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel import pid as ids
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task


@syscall(434)
def pidfd_open(task: Task, pid: Pid, flags: FdFlags) -> Result:
    """pidfd_open(2): PIDFD_NONBLOCK."""
    if flags & ~O_NONBLOCK or pid <= 0:
        raise LinuxError(EINVAL)
    found = task.pid_ns.pids.get(pid)
    if found is None:
        raise LinuxError(ESRCH)
    target = found.task
    if target is None or target.group.leader is not target:
        raise LinuxError(EINVAL)
    return install(task, PidFd(task, found, flags), True)


def _process_of(task: Task, fd: int) -> ids.Pid:
    """What a pidfd, or a descriptor of /proc/PID, means; raises EBADF."""
    file = task.files.get_any(fd)
    inode = file.inode
    if isinstance(inode, TaskDir) and not inode.thread:
        return inode.target.pid
    return pid_of(file)


@syscall(424)
def pidfd_send_signal(task: Task, pidfd: Fd, signo: Signal, info: Ptr, flags: UInt) -> Result:
    """pidfd_send_signal(2)."""
    if flags:
        raise LinuxError(EINVAL)
    pid = _process_of(task, pidfd)
    if not task.pid_ns.contains(pid.ns):
        raise LinuxError(EINVAL)
    if info:
        made = copy_in_siginfo(task, info, signo)
        if int.from_bytes((made.raw or b"")[:4], "little", signed=True) != signo:
            raise LinuxError(EINVAL)
        if pid is not task.group.leader.pid and (made.code >= 0 or made.code == SI_TKILL):
            raise LinuxError(EPERM)
    else:
        made = sent_by(task, signo, SI_USER)
    target = pid.task
    if target is None:
        raise LinuxError(ESRCH)
    check_signal(signo)
    if not may_signal(task, target, signo):
        raise LinuxError(EPERM)
    if signo:
        send_as(task, target, made)
    return 0


@syscall(438)
def pidfd_getfd(task: Task, pidfd: Fd, fd: Fd, flags: UInt) -> Result:
    """pidfd_getfd(2): a descriptor of another process, as one of ours that is closed on exec."""
    if flags:
        raise LinuxError(EINVAL)
    target = pid_of(task.files.get(pidfd)).task
    if target is None or target.group.zombie:
        raise LinuxError(ESRCH)
    if not may_access(task, target):
        raise LinuxError(EPERM)
    file = target.files.files.get(fd)
    if file is None:
        raise LinuxError(EBADF)
    return task.files.install(file, task.limit(RLIMIT_NOFILE), True)
