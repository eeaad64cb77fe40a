"""Reading clocks and sleeping: clock_gettime(2), gettimeofday(2), nanosleep(2) and their kin."""

from __future__ import annotations

from errno import EINVAL, EOPNOTSUPP, EPERM
from time import monotonic_ns, time_ns

from runsc.abi.time import (
    CLOCK_MONOTONIC,
    CLOCK_PROCESS_CPUTIME_ID,
    CLOCK_REALTIME,
    CLOCK_THREAD_CPUTIME_ID,
    KTIME_MAX,
    NSEC_PER_SEC,
    NSEC_PER_TICK,
    STA_UNSYNC,
    TIME_ERROR,
    TIMER_ABSTIME,
    TIMEVAL,
    TIMEX,
    TMS,
    USEC_PER_SEC,
)  # fmt: skip
from runsc.kernel.clock import (
    ALARM_CLOCKS,
    HOST_CLOCKS,
    SLEEP_CLOCKS,
    CpuClock,
    copy_in_timespec,
    cpu_clock,
    is_clock_fd,
    monotonic_deadline,
    now,
    pack_timespec,
    resolution,
)  # fmt: skip
from runsc.kernel.errors import Interrupted, LinuxError, Restart
from runsc.kernel.syscalls.decl import (
    PARTIAL,
    Clock,
    Int,
    InTimespec,
    InTimeval,
    OutTimespec,
    OutTimeval,
    Ptr,
    syscall,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task


@syscall(228)
def clock_gettime(task: Task, clockid: Clock, tp: OutTimespec) -> Result:
    """clock_gettime(2)."""
    task.mm.copy_out(tp, pack_timespec(now(task, clockid)))
    return 0


@syscall(229)
def clock_getres(task: Task, clockid: Clock, res: OutTimespec) -> Result:
    """clock_getres(2)."""
    ns = resolution(task, clockid)
    if res:
        task.mm.copy_out(res, pack_timespec(ns))
    return 0


@syscall(227)
def clock_settime(task: Task, clockid: Clock, tp: InTimespec) -> Result:
    """clock_settime(2): nobody in a sandbox may set the machine's clock."""
    if clockid > CLOCK_REALTIME:
        raise LinuxError(EINVAL)
    copy_in_timespec(task, tp)
    if clockid < 0:
        cpu_clock(task, clockid)
    raise LinuxError(EPERM)


@syscall(96)
def gettimeofday(task: Task, tv: OutTimeval, tz: Ptr) -> Result:
    """gettimeofday(2); the time zone is UTC."""
    if tv:
        ns = time_ns()
        task.mm.copy_out(tv, TIMEVAL.pack(ns // NSEC_PER_SEC, ns % NSEC_PER_SEC // 1000))
    if tz:
        task.mm.copy_out(tz, bytes(8))
    return 0


@syscall(164)
def settimeofday(task: Task, tv: InTimeval, tz: Ptr) -> Result:
    """settimeofday(2): EPERM, after the arguments were looked at."""
    if tv:
        _seconds, microseconds = task.mm.unpack(tv, TIMEVAL)
        if not 0 <= microseconds <= USEC_PER_SEC:
            raise LinuxError(EINVAL)
    if tz:
        task.mm.copy_in(tz, 8)
    raise LinuxError(EPERM)


@syscall(201, name="time")
def time_(task: Task, tloc: Ptr) -> Result:
    """time(2)."""
    seconds = time_ns() // NSEC_PER_SEC
    if tloc:
        task.mm.write_u64(tloc, seconds)
    return seconds


@syscall(100)
def times(task: Task, buf: Ptr) -> Result:
    """times(2): clock ticks of CPU time; answers the ticks since boot."""
    if buf:
        group = task.group
        user, system = group.cpu_time_ns()
        task.mm.copy_out(
            buf,
            TMS.pack(*(ns // NSEC_PER_TICK for ns in (user, system, group.child_cpu_ns, group.child_sys_ns))),
        )
    return monotonic_ns() // NSEC_PER_TICK


def _adjtimex(task: Task, addr: int) -> int:
    raw = task.mm.copy_in(addr, TIMEX.size)
    if int.from_bytes(raw[:4], "little"):
        raise LinuxError(EPERM)
    ns = time_ns()
    # A clock that nobody steers: as the kernel has it before any NTP daemon ran.
    task.mm.copy_out(
        addr,
        TIMEX.pack(
            0, 0, 0, 16_000_000, 16_000_000, STA_UNSYNC, 2, 1, 32_768_000, ns // NSEC_PER_SEC,
            ns % NSEC_PER_SEC // 1000, 10_000, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ),
    )  # fmt: skip
    return TIME_ERROR


@syscall(159, PARTIAL, "reading only")
def adjtimex(task: Task, buf: Ptr) -> Result:
    """adjtimex(2): only reading; changes are EPERM."""
    return _adjtimex(task, buf)


@syscall(305, PARTIAL, "reading only")
def clock_adjtime(task: Task, clockid: Clock, buf: Ptr) -> Result:
    """clock_adjtime(2): only reading, of CLOCK_REALTIME."""
    if clockid != CLOCK_REALTIME:
        known = clockid in HOST_CLOCKS or clockid in (CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID)
        raise LinuxError(EOPNOTSUPP if known or (clockid < 0 and not is_clock_fd(clockid)) else EINVAL)
    return _adjtimex(task, buf)


# -- sleeping -------------------------------------------------------------------------------------


@syscall(35)
def nanosleep(task: Task, request: InTimespec, remaining: OutTimespec) -> Result:
    """nanosleep(2)."""
    ns = copy_in_timespec(task, request)
    return _sleep(task, _sleep_host, min(monotonic_ns() + ns, KTIME_MAX), CLOCK_MONOTONIC, remaining)


@syscall(230)
def clock_nanosleep(
    task: Task, clockid: Clock, flags: Int, request: InTimespec, remaining: OutTimespec
) -> Result:  # fmt: skip
    """clock_nanosleep(2)."""
    if clockid == CLOCK_THREAD_CPUTIME_ID or is_clock_fd(clockid):
        raise LinuxError(EOPNOTSUPP)
    if clockid > CLOCK_THREAD_CPUTIME_ID and clockid not in SLEEP_CLOCKS | ALARM_CLOCKS:
        raise LinuxError(EOPNOTSUPP if clockid in HOST_CLOCKS else EINVAL)
    ns = copy_in_timespec(task, request)
    cpu = cpu_clock(task, clockid)
    if clockid in ALARM_CLOCKS:
        raise LinuxError(EOPNOTSUPP)  # no sandbox wakes the machine
    absolute = bool(flags & TIMER_ABSTIME)
    if cpu is not None:
        if cpu.task is task:
            raise LinuxError(EINVAL)
        until = ns if absolute else cpu.now() + ns
        return _sleep(task, _sleep_cpu, until, cpu, 0 if absolute else remaining, absolute)
    if absolute:
        return _sleep(task, _sleep_host, ns, clockid, 0, True)
    return _sleep(task, _sleep_host, min(monotonic_ns() + ns, KTIME_MAX), CLOCK_MONOTONIC, remaining)


async def _sleep_host(task: Task, until: int, clock: int) -> int:
    """Sleep until ``clock`` reads ``until``."""
    deadline = monotonic_deadline(clock, until)
    while await task.wait(None, deadline=deadline):
        pass
    return 0


async def _sleep_cpu(task: Task, until: int, clock: CpuClock) -> int:
    """Sleep until a CPU-time clock reads ``until``. It is looked at again whenever it may have got there."""
    while (left := until - clock.now()) > 0:
        await task.wait(None, deadline=monotonic_ns() + max(left // clock.speed(), 1_000_000))
    return 0


async def _sleep(
    task: Task, sleep: Callable[..., Coroutine[Any, Any, int]], until: int, clock: Any, remaining: int,
    absolute: bool = False,
) -> int:  # fmt: skip
    """``sleep`` with the rules for interruption: an absolute sleep is made again; of a relative one the
    rest is
    written to ``remaining``, and it goes on to the same end if no handler ran."""
    try:
        return await sleep(task, until, clock)
    except Interrupted as interrupted:
        if absolute:
            raise Restart(None) from interrupted
        if remaining:
            left = until - (monotonic_ns() if clock == CLOCK_MONOTONIC else clock.now())
            task.mm.copy_out(remaining, pack_timespec(max(left, 0)))
        raise Restart(lambda again: _sleep(again, sleep, until, clock, remaining)) from interrupted
