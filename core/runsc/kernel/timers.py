"""Kernel timers: a heap of deadlines on the monotonic clock, in nanoseconds."""

from __future__ import annotations

from heapq import heappop, heappush
from time import monotonic_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    """A callback at a deadline. ``cancel`` is cheap: the heap drops it when it comes up."""

    __slots__ = ("callback", "deadline", "heap")

    def __init__(self, heap: Timers, deadline: int, callback: Callable[[], object]) -> None:
        self.heap = heap
        self.deadline = deadline
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        if self.callback is not None:
            self.callback = None
            self.heap.note_cancelled()


class Timers:
    """All timers of one kernel."""

    __slots__ = ("cancelled", "heap", "serial")

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Timer]] = []
        self.serial = 0
        self.cancelled = 0

    def add(self, deadline: int, callback: Callable[[], object]) -> Timer:
        """Run ``callback`` when the monotonic clock reaches ``deadline`` (ns)."""
        timer = Timer(self, deadline, callback)
        self.serial += 1
        heappush(self.heap, (deadline, self.serial, timer))
        return timer

    def note_cancelled(self) -> None:
        """Count a cancelled timer; when they are the larger part, throw them all out.

        A server that polls with a time-out of a minute would otherwise pile up dead timers.
        """
        self.cancelled += 1
        if self.cancelled > 64 and self.cancelled * 2 > len(self.heap):
            self.heap = [item for item in self.heap if item[2].callback is not None]
            self.heap.sort()
            self.cancelled = 0

    def run_due(self) -> int:
        """Run what is due. Nanoseconds until the next deadline, or -1 when there is none."""
        heap = self.heap
        while heap:
            deadline, _, timer = heap[0]
            if timer.callback is None:
                heappop(heap)
                self.cancelled = max(0, self.cancelled - 1)
                continue
            left = deadline - monotonic_ns()
            if left > 0:
                return left
            heappop(heap)
            callback, timer.callback = timer.callback, None
            callback()
            heap = self.heap  # a callback may have had the heap rebuilt
        return -1
