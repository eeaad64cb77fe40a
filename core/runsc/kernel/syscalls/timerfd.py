"""timerfd_create(2), timerfd_settime(2), timerfd_gettime(2)."""

from __future__ import annotations

from errno import EINVAL, EPERM

from runsc.abi.fcntl import O_CLOEXEC, O_NONBLOCK
from runsc.abi.time import (
    CLOCK_BOOTTIME,
    CLOCK_BOOTTIME_ALARM,
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    CLOCK_REALTIME_ALARM,
    ITIMERSPEC,
    NSEC_PER_SEC,
    TFD_TIMER_ABSTIME,
    TFD_TIMER_CANCEL_ON_SET,
)  # fmt: skip
from runsc.kernel.clock import timespec_ns
from runsc.kernel.credentials import CAP_WAKE_ALARM
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.fs.timerfd import TimerFd
from runsc.kernel.syscalls.decl import Clock, Fd, FdFlags, InItimerspec, Int, OutItimerspec, syscall
from runsc.kernel.vfs.install import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_ALARMS = (CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM)
_CLOCKS = (CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, *_ALARMS)


def pack_itimerspec(value: int, interval: int) -> bytes:
    """``struct itimerspec`` of two times in ns."""
    return ITIMERSPEC.pack(
        interval // NSEC_PER_SEC, interval % NSEC_PER_SEC, value // NSEC_PER_SEC, value % NSEC_PER_SEC
    )


def copy_in_itimerspec(task: Task, addr: int) -> tuple[int, int]:
    """(value, interval) in ns of the itimerspec at ``addr``; raises EFAULT, EINVAL."""
    seconds, nanoseconds, value_seconds, value_nanoseconds = task.mm.unpack(addr, ITIMERSPEC)
    return timespec_ns(value_seconds, value_nanoseconds), timespec_ns(seconds, nanoseconds)


@syscall(283)
def timerfd_create(task: Task, clockid: Clock, flags: FdFlags) -> Result:
    """timerfd_create(2)."""
    if flags & ~(O_CLOEXEC | O_NONBLOCK) or clockid not in _CLOCKS:
        raise LinuxError(EINVAL)
    if clockid in _ALARMS and not task.cred.capable(CAP_WAKE_ALARM):
        raise LinuxError(EPERM)
    inode = anon_inodes(task.kernel).anon_inode
    return install(task, TimerFd(inode, flags & O_NONBLOCK, task.kernel, clockid), bool(flags & O_CLOEXEC))


def _timer_of(task: Task, fd: int) -> TimerFd:
    file = task.files.get(fd)
    if not isinstance(file, TimerFd):
        raise LinuxError(EINVAL)
    return file


@syscall(286)
def timerfd_settime(task: Task, fd: Fd, flags: Int, new: InItimerspec, old: OutItimerspec) -> Result:
    """timerfd_settime(2). TFD_TIMER_CANCEL_ON_SET never cancels: nobody sets the clock in here."""
    value, interval = copy_in_itimerspec(task, new)
    if flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET):
        raise LinuxError(EINVAL)
    timer = _timer_of(task, fd)
    before = timer.left()
    timer.set(value, interval, bool(flags & TFD_TIMER_ABSTIME), flags)
    if old:
        task.mm.copy_out(old, pack_itimerspec(*before))
    return 0


@syscall(287)
def timerfd_gettime(task: Task, fd: Fd, current: OutItimerspec) -> Result:
    """timerfd_gettime(2)."""
    task.mm.copy_out(current, pack_itimerspec(*_timer_of(task, fd).left()))
    return 0
