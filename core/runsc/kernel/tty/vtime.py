"""Non-canonical reads: VMIN and VTIME (termios(3), n_tty_read)."""

from __future__ import annotations

from time import monotonic_ns

from runsc.abi.poll import POLLIN, POLLRDNORM
from runsc.abi.termios import VMIN, VTIME
from runsc.kernel.errors import WOULD_BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.timers import Timer
    from runsc.kernel.wait import WaitQueue

#: The unit of VTIME, in nanoseconds.
_DECISECOND = 100_000_000


class ReadTimer:
    """VTIME of one task's read: when it is to give up, and whether it has."""

    __slots__ = ("expired", "got", "timer")

    def __init__(self) -> None:
        self.timer: Timer | None = None
        self.expired = False
        #: how much was there when the timer was last set
        self.got = 0


class ReadTimers:
    """The reads of one open file that wait for time, by task. ``queue`` is woken when one's time is up."""

    __slots__ = ("kernel", "pending", "queue")

    def __init__(self, kernel: Kernel, queue: WaitQueue) -> None:
        self.kernel = kernel
        self.queue = queue
        self.pending: dict[int, ReadTimer] = {}

    def check(self, task: Task, there: int, count: int, cc: bytes, nonblock: bool) -> None:
        """Return if a read of ``count`` bytes is to take the ``there`` bytes (perhaps none) now; raise
        ``WOULD_BLOCK`` if it is to wait. ``cc``: the control characters of the settings."""
        minimum, tenths = cc[VMIN], cc[VTIME]
        wanted = min(minimum, count) if minimum else 1
        if there >= wanted or (there and nonblock):
            self.forget(task)
            return
        if not tenths:
            if not minimum:
                return
            raise WOULD_BLOCK
        if not nonblock and (not minimum or there) and self._time_is_up(task, there, tenths * _DECISECOND):
            return
        raise WOULD_BLOCK

    def _time_is_up(self, task: Task, there: int, duration: int) -> bool:
        """Start the task's timer, or see whether it has run out. More input starts it anew."""
        if task.coroutine is None:
            # The first look of a new call: an interrupted one has left its timer behind.
            self.forget(task)
        pending = self.pending.get(task.tid)
        if pending is None:
            pending = self.pending[task.tid] = ReadTimer()
        elif pending.expired and there == pending.got:
            del self.pending[task.tid]
            return True
        if pending.timer is None or there != pending.got:
            if pending.timer is not None:
                pending.timer.cancel()
            pending.got = there
            pending.expired = False
            pending.timer = self.kernel.timers.add(monotonic_ns() + duration, lambda: self._expire(pending))
        return False

    def _expire(self, pending: ReadTimer) -> None:
        pending.timer = None
        pending.expired = True
        self.queue.wake(POLLIN | POLLRDNORM)

    def forget(self, task: Task) -> None:
        """The task's read is over."""
        pending = self.pending.pop(task.tid, None)
        if pending is not None and pending.timer is not None:
            pending.timer.cancel()

    def clear(self) -> None:
        """The file is closed."""
        for pending in self.pending.values():
            if pending.timer is not None:
                pending.timer.cancel()
        self.pending.clear()
