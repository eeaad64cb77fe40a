"""Timers that send signals: setitimer(2), alarm(2), timer_create(2) (kernel/time/itimer.c, posix-timers.c).

A timer on a clock of the host's waits in the kernel's heap. One on CPU time is looked at again whenever it
may have got there, ever less often while the process doesn't run.
"""

from __future__ import annotations

from time import monotonic_ns

from runsc.abi.signal import SI_KERNEL, SI_TIMER, SIGALRM, SIGPROF, SIGVTALRM
from runsc.abi.time import ITIMER_PROF, ITIMER_REAL, ITIMER_VIRTUAL, SIGEV_NONE, SIGEV_THREAD_ID
from runsc.kernel.clock import CpuClock, host_now, monotonic_deadline
from runsc.kernel.errors import LinuxError
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.signal import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ThreadGroup
    from runsc.kernel.timers import Timer

#: A periodic timer fires no more often than this, however short its period (the rest counts as overrun).
MIN_PERIOD_NS = 100_000
#: ... and when it was noticed late, not before this many times as long has passed again: many of them would
#: otherwise keep the kernel so busy that no process gets to do anything between two signals.
BACKLOG_FACTOR = 4
#: How often a CPU-time timer is looked at: at most, and at least while its process rests.
MIN_CPU_LOOK_NS = 1_000_000
MAX_CPU_LOOK_NS = 250_000_000
#: The largest overrun count told (DELAYTIMER_MAX).
MAX_OVERRUN = 0x7FFFFFFF


class SignalTimer:
    """A timer of a process.

    ``clock``: a clock id of the host's, or a CPU clock; ``expires``: by that clock, ns, 0 if disarmed;
    ``interval``: ns; ``action(count)`` runs when it expires, with how many periods have passed.
    """

    __slots__ = ("action", "armed", "clock", "expires", "group", "interval", "last_cpu", "look", "timer")

    def __init__(self, group: ThreadGroup, clock: int | CpuClock, action: Callable[[int], None]) -> None:
        self.group = group
        self.clock = clock
        self.action = action
        self.expires = 0
        self.armed = 0
        self.interval = 0
        self.timer: Timer | None = None
        self.last_cpu = -1
        self.look = MIN_CPU_LOOK_NS

    def now(self) -> int:
        clock = self.clock
        return host_now(clock) if isinstance(clock, int) else clock.now()

    def set(self, value: int, interval: int, absolute: bool = False) -> None:
        """Expire ``value`` ns from now (``absolute``: when the clock reads that), then every ``interval``; 0
        disarms."""
        self.cancel()
        self.interval = interval
        if value:
            self.expires = value if absolute else self.now() + value
            self.look = MIN_CPU_LOOK_NS
            self.last_cpu = -1
            self._arm()

    def left(self) -> tuple[int, int]:
        """(ns until it expires, interval); (0, 0) if disarmed. What is due tells 1."""
        if not self.expires:
            return 0, 0
        return max(self.expires - self.now(), 1), self.interval

    def cancel(self) -> None:
        self.expires = 0
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _arm(self, earliest: int = 0) -> None:
        clock = self.clock
        if isinstance(clock, int):
            deadline = monotonic_deadline(clock, self.expires)
        else:
            used = clock.now()
            if used == self.last_cpu:
                self.look = min(self.look * 2, MAX_CPU_LOOK_NS)
            else:
                self.look = MIN_CPU_LOOK_NS
            self.last_cpu = used
            deadline = monotonic_ns() + max((self.expires - used) // clock.speed(), self.look)
        self.armed = max(deadline, earliest)
        self.timer = self.group.kernel.timers.add(self.armed, self._fire)

    def _fire(self) -> None:
        self.timer = None
        if self.group.zombie:
            self.expires = 0
            return
        late = self.now() - self.expires
        if late < 0:
            self._arm()
            return
        count = 1
        if self.interval:
            count += late // self.interval
            self.expires += count * self.interval
            now = monotonic_ns()
            self._arm(now + max(MIN_PERIOD_NS, BACKLOG_FACTOR * (now - self.armed)))
        else:
            self.expires = 0
        self.action(count)


# -- setitimer ------------------------------------------------------------------------------------


class IntervalTimers:
    """The three interval timers of a process."""

    __slots__ = ("group", "timers")

    def __init__(self, group: ThreadGroup) -> None:
        self.group = group
        self.timers = (
            SignalTimer(group, 1, lambda count: self._send(SIGALRM)),
            SignalTimer(group, CpuClock(group, None, True), lambda count: self._send(SIGVTALRM)),
            SignalTimer(group, CpuClock(group, None, False), lambda count: self._send(SIGPROF)),
        )

    def _send(self, signo: int) -> None:
        self.group.send_signal(SigInfo(signo, SI_KERNEL))


def interval_timer(group: ThreadGroup, which: int) -> SignalTimer:
    """The process's ITIMER_REAL, ITIMER_VIRTUAL or ITIMER_PROF."""
    assert which in (ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF)
    if group.itimers is None:
        group.itimers = IntervalTimers(group)
    timer: SignalTimer = group.itimers.timers[which]
    return timer


# -- timer_create ---------------------------------------------------------------------------------


class PosixTimer:
    """A timer of timer_create(2): ``notify`` is SIGEV_*, ``target`` the thread of SIGEV_THREAD_ID.

    While its signal is pending, further expirations only count: ``info`` is the signal last sent.
    """

    __slots__ = ("group", "ident", "info", "notify", "signo", "target", "timer", "told_overrun", "value")

    def __init__(
        self, group: ThreadGroup, ident: int, clock: int | CpuClock, notify: int, signo: int, value: int,
        target: Task | None,
    ) -> None:  # fmt: skip
        self.group = group
        self.ident = ident
        self.notify = notify
        self.signo = signo
        self.value = value
        self.target = target
        self.info: SigInfo | None = None
        self.told_overrun = 0
        self.timer = SignalTimer(group, clock, self._expired)

    def _pending(self) -> bool:
        """Does the signal last sent still wait?"""
        if self.info is None:
            return False
        queue = self.group.pending if self.target is None else self.target.pending
        return any(info is self.info for info in queue.infos.get(self.signo, ()))

    def _expired(self, count: int) -> None:
        if self.notify == SIGEV_NONE:
            return
        if self._pending():
            assert self.info is not None
            self.info.overrun = min(self.info.overrun + count, MAX_OVERRUN)
            return
        self.info = SigInfo(
            self.signo, SI_TIMER, timer_id=self.ident, overrun=min(count - 1, MAX_OVERRUN), value=self.value
        )
        target = self.target if self.notify & SIGEV_THREAD_ID else None
        try:
            if target is None:
                self.group.send_signal(self.info)
            elif target in self.group.tasks:
                send(target, self.info, group=False)
        except LinuxError as error:
            # RLIMIT_SIGPENDING: Linux allots the signal when the timer is made; here an expiration is lost.
            self.group.kernel.log.debug(f"{self.group!r}: the signal of timer {self.ident} is lost: {error}")

    def delete(self) -> None:
        """Never fire again (timer_delete(2), execve(2))."""
        self.timer.cancel()

    def overrun(self) -> int:
        """Expirations that the signal last delivered stands for besides its own (timer_getoverrun(2))."""
        if self.info is not None and not self._pending():
            self.told_overrun = self.info.overrun
        return self.told_overrun


def delete_posix_timers(group: ThreadGroup) -> None:
    """All timers of timer_create(2) go: execve(2), or the end of the process."""
    timers, group.posix_timers = group.posix_timers, None
    for timer in (timers or {}).values():
        timer.delete()


def release_timers(group: ThreadGroup) -> None:
    """The process has ended."""
    delete_posix_timers(group)
    if group.itimers is not None:
        for timer in group.itimers.timers:
            timer.cancel()
        group.itimers = None
