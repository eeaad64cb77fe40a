"""timerfd_create(2) (fs/timerfd.c)."""

from __future__ import annotations

from errno import EINVAL
from time import clock_gettime_ns

from runsc.abi.fcntl import O_RDWR
from runsc.abi.poll import POLLIN
from runsc.abi.time import CLOCK_BOOTTIME, CLOCK_BOOTTIME_ALARM, CLOCK_REALTIME, CLOCK_REALTIME_ALARM
from runsc.kernel.clock import monotonic_deadline
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.anon import AnonFile
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.timers import Timer
    from runsc.kernel.vfs.inode import Inode

#: An alarm clock keeps the same time as the clock it is named after; nothing here suspends the machine.
_KEEPS_TIME_OF = {CLOCK_REALTIME_ALARM: CLOCK_REALTIME, CLOCK_BOOTTIME_ALARM: CLOCK_BOOTTIME}


class TimerFd(AnonFile):
    """A timer that is read.

    ``expires``: by the timer's clock, ns (0: disarmed); ``interval``: ns, 0 for once; ``ticks``: expirations
    that were not read yet. A periodic timer that has expired is armed again when it is read or asked: until
    then the missed periods need no events.
    """

    __slots__ = (
        "base", "clock", "expired", "expires", "interval", "kernel", "queue", "settime_flags", "ticks",
        "timer",
    )  # fmt: skip

    def __init__(self, inode: Inode, flags: int, kernel: Kernel, clock: int) -> None:
        super().__init__(inode, O_RDWR | flags)
        self.kernel = kernel
        self.clock = clock
        self.base = _KEEPS_TIME_OF.get(clock, clock)
        self.expires = 0
        self.interval = 0
        self.ticks = 0
        self.expired = False
        self.settime_flags = 0
        self.timer: Timer | None = None
        self.queue = WaitQueue()

    def now(self) -> int:
        return clock_gettime_ns(self.base)

    def set(self, value: int, interval: int, absolute: bool, flags: int) -> None:
        """Arm with the first expiration at or after ``value`` ns (0: disarm)."""
        self._cancel()
        self.ticks = 0
        self.expired = False
        self.interval = interval
        self.expires = 0
        self.settime_flags = flags
        if value:
            self.expires = value if absolute else self.now() + value
            self._arm()

    def left(self) -> tuple[int, int]:
        """(ns until the next expiration, interval), as timerfd_gettime(2) tells; (0, ...) if disarmed."""
        if self.expired and self.interval:
            self.expired = False
            self.ticks += self._forward() - 1
            self._arm()
        if not self.expires or self.expired:
            return 0, self.interval
        return max(self.expires - self.now(), 1), self.interval

    def _arm(self) -> None:
        self.timer = self.kernel.timers.add(monotonic_deadline(self.base, self.expires), self._fire)

    def _cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _fire(self) -> None:
        self.timer = None
        self.expired = True
        self.ticks += 1
        if not self.interval:
            self.expires = 0
        self.queue.wake(POLLIN)

    def _forward(self) -> int:
        """Move ``expires`` beyond now by whole periods; how many (hrtimer_forward)."""
        late = self.now() - self.expires
        if late < 0:
            return 0
        periods = late // self.interval + 1
        self.expires += periods * self.interval
        return periods

    def read(self, task: Task, count: int) -> bytes:
        """How often it has expired since the last read; raises EINVAL for less than eight bytes."""
        if count < 8:
            raise LinuxError(EINVAL)
        if not self.ticks:
            raise WOULD_BLOCK
        ticks = self.ticks
        if self.expired and self.interval:
            ticks += self._forward() - 1
            self._arm()
        self.expired = False
        self.ticks = 0
        return ticks.to_bytes(8, "little")

    def write(self, task: Task, data: bytes) -> int:
        raise LinuxError(EINVAL)

    def poll(self, task: Task | None = None) -> int:
        return POLLIN if self.ticks else 0

    def wait_queue(self) -> WaitQueue:
        return self.queue

    def release(self) -> None:
        self._cancel()

    def describe(self) -> str:
        return "anon_inode:[timerfd]"

    def fdinfo(self) -> str:
        left, interval = self.left()
        second = 1_000_000_000
        return (
            f"clockid: {self.clock}\nticks: {self.ticks}\nsettime flags: 0{self.settime_flags:o}\n"
            f"it_value: ({left // second}, {left % second})\n"
            f"it_interval: ({interval // second}, {interval % second})\n"
        )
