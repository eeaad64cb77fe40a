"""Clocks: what time it is by each of them, and times that guests hand in (clock_gettime(2), time(7)).

The guest's clocks are the host's, as its vDSO reads them without asking the kernel. All times are in
nanoseconds.
"""

from __future__ import annotations

from errno import EINVAL
from time import clock_getres, clock_gettime_ns, monotonic_ns, time_ns

from runsc.abi.time import (
    CLOCK_BOOTTIME,
    CLOCK_BOOTTIME_ALARM,
    CLOCK_MONOTONIC,
    CLOCK_PROCESS_CPUTIME_ID,
    CLOCK_REALTIME,
    CLOCK_REALTIME_ALARM,
    CLOCK_TAI,
    CLOCK_THREAD_CPUTIME_ID,
    CLOCKFD,
    CPUCLOCK_CLOCK_MASK,
    CPUCLOCK_PERTHREAD_MASK,
    CPUCLOCK_SCHED,
    CPUCLOCK_VIRT,
    KTIME_MAX,
    NSEC_PER_SEC,
    TIMESPEC,
)  # fmt: skip
from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ThreadGroup

#: Clocks that the host keeps and that sleeping on makes sense.
SLEEP_CLOCKS = frozenset((CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI))
#: Clocks that only exist where the machine has a real-time clock that wakes it.
ALARM_CLOCKS = frozenset((CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM))
#: Every clock of the host's (0 to 11 without the gap and the CPU clocks).
HOST_CLOCKS = frozenset((0, 1, 4, 5, 6, 7, 8, 9, 11))


class CpuClock:
    """A CPU-time clock: of a thread, or of a process. ``user_only``: CPUCLOCK_VIRT."""

    __slots__ = ("group", "task", "user_only")

    def __init__(self, group: ThreadGroup, task: Task | None, user_only: bool) -> None:
        self.group = group
        self.task = task
        self.user_only = user_only

    def now(self) -> int:
        """CPU time used so far, ns."""
        user, system = self.group.cpu_time_ns() if self.task is None else self.task.thread.cpu_time_ns()
        return user if self.user_only else user + system

    def speed(self) -> int:
        """How much faster than real time it can run."""
        return 1 if self.task is not None else max(len(self.group.tasks), 1)


def is_clock_fd(clock: int) -> bool:
    """Does ``clock`` name a descriptor of a clock device (/dev/ptp0)? There is none of those."""
    return clock < 0 and clock & (CPUCLOCK_CLOCK_MASK | CPUCLOCK_PERTHREAD_MASK) == CLOCKFD


def cpu_clock(task: Task, clock: int) -> CpuClock | None:
    """The CPU-time clock that ``clock`` names, None if it names another kind; raises EINVAL for a process or
    thread that isn't there."""
    if clock >= 0:
        if clock == CLOCK_PROCESS_CPUTIME_ID:
            return CpuClock(task.group, None, False)
        if clock == CLOCK_THREAD_CPUTIME_ID:
            return CpuClock(task.group, task, False)
        return None
    kind = clock & CPUCLOCK_CLOCK_MASK
    if kind > CPUCLOCK_SCHED:
        raise LinuxError(EINVAL)
    pid = ~(clock >> 3)
    other = task if pid == 0 else task.pid_ns.tasks.get(pid)
    if other is None:
        raise LinuxError(EINVAL)
    if clock & CPUCLOCK_PERTHREAD_MASK:
        if other.group is not task.group:
            raise LinuxError(EINVAL)
        return CpuClock(other.group, other, kind == CPUCLOCK_VIRT)
    if pid and other is not other.group.leader:
        raise LinuxError(EINVAL)
    return CpuClock(other.group, None, kind == CPUCLOCK_VIRT)


def host_now(clock: int) -> int:
    """The time by a clock of the host's."""
    return monotonic_ns() if clock == CLOCK_MONOTONIC else clock_gettime_ns(clock)


def now(task: Task, clock: int) -> int:
    """The time by ``clock``; raises EINVAL for one that isn't there."""
    if clock == CLOCK_MONOTONIC:
        return monotonic_ns()
    if clock == CLOCK_REALTIME:
        return time_ns()
    cpu = cpu_clock(task, clock)
    if cpu is not None:
        return cpu.now()
    if clock not in HOST_CLOCKS:
        raise LinuxError(EINVAL)
    return clock_gettime_ns(clock)  # EINVAL for an alarm clock of a machine without one


def resolution(task: Task, clock: int) -> int:
    """The resolution of ``clock``, ns; raises EINVAL."""
    if cpu_clock(task, clock) is not None:
        return 1 if clock >= 0 or clock & CPUCLOCK_CLOCK_MASK == 2 else NSEC_PER_SEC // 250
    if clock not in HOST_CLOCKS:
        raise LinuxError(EINVAL)
    return max(round(clock_getres(clock) * NSEC_PER_SEC), 1)


def monotonic_deadline(clock: int, when: int) -> int:
    """When CLOCK_MONOTONIC will read as much as ``clock`` does at its time ``when`` (clocks of the host's
    only)."""
    if clock == CLOCK_MONOTONIC or when >= KTIME_MAX:
        return when
    return monotonic_ns() + when - clock_gettime_ns(clock)


def timespec_ns(seconds: int, nanoseconds: int) -> int:
    """A timespec as nanoseconds, at most KTIME_MAX; raises EINVAL if it is not a valid time
    (timespec64_valid)."""
    if seconds < 0 or not 0 <= nanoseconds < NSEC_PER_SEC:
        raise LinuxError(EINVAL)
    return min(seconds * NSEC_PER_SEC + nanoseconds, KTIME_MAX)


def copy_in_timespec(task: Task, addr: int) -> int:
    """The timespec at ``addr`` as nanoseconds; raises EFAULT, EINVAL."""
    seconds, nanoseconds = task.mm.unpack(addr, TIMESPEC)
    return timespec_ns(seconds, nanoseconds)


def pack_timespec(ns: int) -> bytes:
    """``struct timespec`` of a time in nanoseconds."""
    return TIMESPEC.pack(ns // NSEC_PER_SEC, ns % NSEC_PER_SEC)
