"""eventfd(2) (fs/eventfd.c)."""

from __future__ import annotations

from errno import EINVAL

from runsc.abi.fcntl import O_RDWR
from runsc.abi.poll import POLLERR, POLLIN, POLLOUT
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.anon import AnonFile
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode

#: The counter never reaches this through write(2).
ULLONG_MAX = 0xFFFFFFFFFFFFFFFF


class EventFd(AnonFile):
    """A 64-bit counter. ``semaphore``: a read takes one, not all."""

    __slots__ = ("count", "queue", "semaphore")

    writes_all = False

    def __init__(self, inode: Inode, flags: int, count: int, semaphore: bool) -> None:
        super().__init__(inode, O_RDWR | flags)
        self.count = count
        self.semaphore = semaphore
        self.queue = WaitQueue()

    def read(self, task: Task, count: int) -> bytes:
        """The counter's eight bytes; raises EINVAL for a smaller buffer, ``WOULD_BLOCK`` at zero."""
        if count < 8:
            raise LinuxError(EINVAL)
        value = self.count
        if not value:
            raise WOULD_BLOCK
        if self.semaphore:
            value = 1
        self.count -= value
        if self.queue.entries:
            self.queue.wake(POLLOUT)
        return value.to_bytes(8, "little")

    def write(self, task: Task, data: bytes) -> int:
        """Add to the counter; raises EINVAL, ``WOULD_BLOCK`` where it would overflow."""
        if len(data) < 8:
            raise LinuxError(EINVAL)
        value = int.from_bytes(data[:8], "little")
        if value == ULLONG_MAX:
            raise LinuxError(EINVAL)
        if ULLONG_MAX - self.count <= value:
            raise WOULD_BLOCK
        self.count += value
        if self.queue.entries:
            self.queue.wake(POLLIN)
        return 8

    def poll(self, task: Task | None = None) -> int:
        count = self.count
        events = POLLIN if count else 0
        if count == ULLONG_MAX:
            events |= POLLERR
        if count < ULLONG_MAX - 1:
            events |= POLLOUT
        return events

    def wait_queue(self) -> WaitQueue:
        return self.queue

    def describe(self) -> str:
        return "anon_inode:[eventfd]"

    def fdinfo(self) -> str:
        return f"eventfd-count: {self.count:16x}\neventfd-semaphore: {int(self.semaphore)}\n"
