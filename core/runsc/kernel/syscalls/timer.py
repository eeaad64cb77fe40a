"""alarm(2), getitimer(2), setitimer(2) and the timers of timer_create(2)."""

from __future__ import annotations

from errno import EAGAIN, EINVAL, EOPNOTSUPP

from runsc.abi.signal import NSIG, SIGALRM
from runsc.abi.time import (
    ITIMER_PROF,
    ITIMER_REAL,
    ITIMERVAL,
    NSEC_PER_SEC,
    SIGEV_NONE,
    SIGEV_SIGNAL,
    SIGEV_THREAD,
    SIGEV_THREAD_ID,
    SIGEVENT,
    TIMER_ABSTIME,
    USEC_PER_SEC,
)  # fmt: skip
from runsc.kernel.clock import HOST_CLOCKS, SLEEP_CLOCKS, CpuClock, cpu_clock, is_clock_fd
from runsc.kernel.errors import LinuxError
from runsc.kernel.itimer import PosixTimer, interval_timer
from runsc.kernel.syscalls.decl import (
    Clock,
    InItimerspec,
    InItimerval,
    Int,
    OutItimerspec,
    OutItimerval,
    Ptr,
    UInt,
    syscall,
)  # fmt: skip
from runsc.kernel.syscalls.timerfd import copy_in_itimerspec, pack_itimerspec
from runsc.kernel.thread_group import RLIMIT_SIGPENDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_INT_MAX = 0x7FFFFFFF


@syscall(37)
def alarm(task: Task, seconds: UInt) -> Result:
    """alarm(2): the seconds that were left of the last one, rounded, but not to 0."""
    timer = interval_timer(task.group, ITIMER_REAL)
    left, _interval = timer.left()
    timer.set(min(seconds, _INT_MAX) * NSEC_PER_SEC, 0)
    whole, rest = divmod(left, NSEC_PER_SEC)
    return whole + 1 if rest >= NSEC_PER_SEC // 2 or (rest and not whole) else whole


def _pack_itimerval(value: int, interval: int) -> bytes:
    return ITIMERVAL.pack(
        interval // NSEC_PER_SEC, interval % NSEC_PER_SEC // 1000,
        value // NSEC_PER_SEC, value % NSEC_PER_SEC // 1000,
    )  # fmt: skip


@syscall(36)
def getitimer(task: Task, which: Int, value: OutItimerval) -> Result:
    """getitimer(2)."""
    if not ITIMER_REAL <= which <= ITIMER_PROF:
        raise LinuxError(EINVAL)
    left, interval = interval_timer(task.group, which).left()
    task.mm.copy_out(value, _pack_itimerval(left, interval))
    return 0


@syscall(38)
def setitimer(task: Task, which: Int, new: InItimerval, old: OutItimerval) -> Result:
    """setitimer(2); NULL disarms, as Linux still allows."""
    value = interval = 0
    if new:
        fields = task.mm.unpack(new, ITIMERVAL)
        for seconds, microseconds in (fields[:2], fields[2:]):
            if seconds < 0 or not 0 <= microseconds < USEC_PER_SEC:
                raise LinuxError(EINVAL)
        interval = fields[0] * NSEC_PER_SEC + fields[1] * 1000
        value = fields[2] * NSEC_PER_SEC + fields[3] * 1000
    if not ITIMER_REAL <= which <= ITIMER_PROF:
        raise LinuxError(EINVAL)
    timer = interval_timer(task.group, which)
    before = timer.left()
    timer.set(value, interval)
    if old:
        task.mm.copy_out(old, _pack_itimerval(*before))
    return 0


# -- POSIX timers ---------------------------------------------------------------------------------


def _clock_of(task: Task, clock: int) -> int | CpuClock:
    """The clock a timer is to run by; raises EINVAL, EOPNOTSUPP for one that can't wake anybody."""
    if is_clock_fd(clock):
        raise LinuxError(EOPNOTSUPP)
    cpu = cpu_clock(task, clock)
    if cpu is not None:
        return cpu
    if clock not in SLEEP_CLOCKS:
        raise LinuxError(EOPNOTSUPP if clock in HOST_CLOCKS else EINVAL)
    return clock


@syscall(222)
def timer_create(task: Task, clockid: Clock, sevp: Ptr, timerid: Ptr) -> Result:
    """timer_create(2)."""
    value, signo, notify, tid = 0, SIGALRM, SIGEV_SIGNAL, 0
    if sevp:
        value, signo, notify, tid = task.mm.unpack(sevp, SIGEVENT)
    clock = _clock_of(task, clockid)
    group = task.group
    target = None
    if notify == SIGEV_THREAD_ID:
        target = task.pid_ns.tasks.get(tid)
        if target is None or target.group is not group:
            raise LinuxError(EINVAL)
    if notify in (SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID):
        if not 0 < signo <= NSIG:
            raise LinuxError(EINVAL)
    elif notify != SIGEV_NONE:
        raise LinuxError(EINVAL)
    timers = group.posix_timers
    if timers is None:
        timers = group.posix_timers = {}
    if len(timers) >= task.limit(RLIMIT_SIGPENDING):
        raise LinuxError(EAGAIN)
    ident = max(timers, default=-1) + 1
    if ident > _INT_MAX:
        raise LinuxError(EAGAIN)
    task.mm.write_u32(timerid, ident)
    timers[ident] = PosixTimer(group, ident, clock, notify, signo, value if sevp else ident, target)
    return 0


def _timer_of(task: Task, ident: int) -> PosixTimer:
    timer: PosixTimer | None = (task.group.posix_timers or {}).get(ident)
    if timer is None:
        raise LinuxError(EINVAL)
    return timer


@syscall(223)
def timer_settime(task: Task, timerid: Int, flags: Int, new: InItimerspec, old: OutItimerspec) -> Result:
    """timer_settime(2)."""
    if not new:
        raise LinuxError(EINVAL)
    value, interval = copy_in_itimerspec(task, new)
    timer = _timer_of(task, timerid)
    before = timer.timer.left()
    timer.timer.set(value, interval, bool(flags & TIMER_ABSTIME))
    timer.info = None
    timer.told_overrun = 0
    if old:
        task.mm.copy_out(old, pack_itimerspec(*before))
    return 0


@syscall(224)
def timer_gettime(task: Task, timerid: Int, current: OutItimerspec) -> Result:
    """timer_gettime(2)."""
    task.mm.copy_out(current, pack_itimerspec(*_timer_of(task, timerid).timer.left()))
    return 0


@syscall(225)
def timer_getoverrun(task: Task, timerid: Int) -> Result:
    """timer_getoverrun(2)."""
    return _timer_of(task, timerid).overrun()


@syscall(226)
def timer_delete(task: Task, timerid: Int) -> Result:
    """timer_delete(2)."""
    _timer_of(task, timerid).delete()
    assert task.group.posix_timers is not None
    del task.group.posix_timers[timerid]
    return 0
