"""Asynchronous I/O contexts of a process (io_setup(2), fs/aio.c).

Reads and writes of files are done when they are submitted, as Linux does those that need no device; only
polls really wait. A context is known by the address of an area of its own in the process: Linux has its ring
of events there, which the C library looks at only if it finds a magic number, and here there is none.
"""

from __future__ import annotations

from collections import deque
from errno import EINPROGRESS
from struct import Struct

from runsc.kernel.errors import LinuxError, WouldBlock
from runsc.kernel.wait import WaitEntry, WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

#: struct io_event: data, obj, res, res2
IO_EVENT = Struct("<QQqq")
#: struct iocb: data, key, rw_flags, opcode, reqprio, fildes, buf, nbytes, offset, reserved2, flags, resfd
IOCB = Struct("<QIiHhIQQqQII")
_ONE = (1).to_bytes(8, "little")


class AioContext:
    """``asked``: the number of events it was made for; ``limit``: how many operations may be under way or
    waiting to be reaped; ``events``: what was done; ``polls``: what waits."""

    __slots__ = ("asked", "events", "limit", "polls", "queue", "released")

    def __init__(self, asked: int, limit: int) -> None:
        self.asked = asked
        self.limit = limit
        self.events: deque[bytes] = deque()
        self.polls: list[AioPoll] = []
        self.queue = WaitQueue()
        self.released = False

    def full(self) -> bool:
        return len(self.events) + len(self.polls) >= self.limit

    def complete(self, task: Task | None, data: int, iocb: int, result: int, eventfd: File | None) -> None:
        """An operation is done: its event can be reaped, its eventfd counts it."""
        self.events.append(IO_EVENT.pack(data, iocb, result, 0))
        if eventfd is not None:
            try:
                eventfd.write(task, _ONE)  # type: ignore[arg-type]
            except WouldBlock:
                pass  # as full as it can be
        self.queue.wake()

    def release(self) -> None:
        """io_destroy, exec or exit: what waits is given up, who waits for events hears of it."""
        self.released = True
        for poll in self.polls.copy():
            poll.stop()
        self.events.clear()
        self.queue.wake()


def in_use(kernel: Kernel) -> int:
    """What all contexts together were made for (fs.aio-nr)."""
    spaces = {id(task.mm): task.mm for task in kernel.tasks.values() if task.mm.aio is not None}
    return sum(context.asked for mm in spaces.values() for context in (mm.aio or {}).values())


class AioPoll:
    """IOCB_CMD_POLL: tells once when ``file`` is ready for one of ``events``."""

    __slots__ = ("context", "data", "entry", "eventfd", "events", "file", "iocb")

    def __init__(
        self, context: AioContext, file: File, events: int, data: int, iocb: int, eventfd: File | None
    ) -> None:
        self.context = context
        self.file = file.get()
        self.events = events
        self.data = data
        self.iocb = iocb
        self.eventfd = eventfd.get() if eventfd is not None else None
        self.entry = WaitEntry(self.woken, events)
        context.polls.append(self)
        queue = file.wait_queue()
        if queue is not None:
            queue.add(self.entry)

    def woken(self, mask: int) -> bool:
        ready = self.file.poll()
        if ready & self.events:
            self.finish(ready)  # all that has come, as the one who wakes tells it
        return False

    def finish(self, result: int) -> None:
        self.context.complete(None, self.data, self.iocb, result, self.eventfd)
        self.stop()

    def stop(self) -> None:
        """Wait no more."""
        if self in self.context.polls:
            self.context.polls.remove(self)
            queue = self.file.wait_queue()
            if queue is not None:
                queue.remove(self.entry)
            # The entry's callback and this would keep each other.
            del self.entry
            self.file.put()
            if self.eventfd is not None:
                self.eventfd.put()

    def cancel(self) -> None:
        """io_cancel(2): its event tells of nothing. Raises EINPROGRESS, which is what success looks like."""
        self.finish(0)
        raise LinuxError(EINPROGRESS)
