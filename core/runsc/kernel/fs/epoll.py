"""epoll(7) (fs/eventpoll.c).

Each watched file has an ``EpollItem`` in its wait queue. A wake-up puts the item on its epoll's ready list,
so that epoll_wait(2) looks only at files of which something was heard. A level-triggered item that was ready
goes back to the list's end; it leaves the list when it is looked at and isn't ready any more.
"""

from __future__ import annotations

from collections import deque
from errno import EEXIST, EINVAL, ELOOP, ENOENT, ENOSPC
from struct import Struct

from runsc.abi.fcntl import O_RDWR
from runsc.abi.poll import (
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLONESHOT,
    EPOLLWAKEUP,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLRDNORM,
)  # fmt: skip
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.anon import AnonFile
from runsc.kernel.wait import WaitEntry, WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import Inode

#: struct epoll_event: events and data, packed.
EPOLL_EVENT = Struct("<IQ")
#: How deep epolls may watch epolls (EP_MAX_NESTS).
MAX_NESTS = 4
#: How many files one epoll may watch (a bound on what a guest makes us keep; fs.epoll.max_user_watches).
MAX_WATCHES = 1 << 20

#: Bits of ``events`` that say how to report, not what (EP_PRIVATE_BITS).
PRIVATE_BITS = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE
_READABLE = POLLIN | POLLRDNORM


class EpollItem(WaitEntry):
    """One watched file, found by (``file``, ``fd``).

    ``events``: as epoll_ctl(2) was given them; ``mask``: those that wake; 0 after a one-shot was reported.
    ``ready``: on the ready list (or, with ``dead``, still in it but of no account).
    """

    __slots__ = ("data", "dead", "epoll", "events", "fd", "file", "queue", "ready")

    def __init__(self, epoll: Epoll, file: File, fd: int, queue: WaitQueue, events: int, data: int) -> None:
        super().__init__(self.wake_up, events & ~PRIVATE_BITS, bool(events & EPOLLEXCLUSIVE))
        self.epoll = epoll
        self.file = file
        self.fd = fd
        self.queue = queue
        self.events = events
        self.data = data
        self.ready = False
        self.dead = False

    def wake_up(self, mask: int) -> bool:
        """Something happened to the file (ep_poll_callback). True if somebody slept on the epoll."""
        epoll = self.epoll
        if not self.ready:
            self.ready = True
            epoll.ready.append(self)
        return epoll.announce()

    def remove(self) -> None:
        """Watch no more: EPOLL_CTL_DEL, or the file or the epoll is closed."""
        if self.dead:
            return
        self.dead = True
        self.mask = 0
        self.queue.remove(self)
        del self.epoll.items[self.file, self.fd]
        others = self.file.epoll_items
        if others is not None:
            others.remove(self)
            if not others:
                self.file.epoll_items = None
        # The bound method and the file would keep each other and this alive until the collector comes.
        del self.callback

    def poll(self, task: Task | None) -> int:
        """The wanted events that hold now."""
        return self.file.poll(task) & self.mask


class Epoll(AnonFile):
    """An epoll instance."""

    __slots__ = ("items", "queue", "ready", "waiters")

    def __init__(self, inode: Inode) -> None:
        super().__init__(inode, O_RDWR)
        self.items: dict[tuple[File, int], EpollItem] = {}
        self.ready: deque[EpollItem] = deque()
        #: tasks in epoll_wait, woken one at a time
        self.waiters = WaitQueue()
        #: poll(2) of the epoll itself, and epolls that watch this one
        self.queue = WaitQueue()

    # -- what epoll_ctl does ------------------------------------------------------------------

    def add(self, task: Task, file: File, fd: int, queue: WaitQueue, events: int, data: int) -> None:
        """EPOLL_CTL_ADD. Raises EEXIST, ELOOP, ENOSPC."""
        if isinstance(file, Epoll):
            self._check_nesting(file)
        if (file, fd) in self.items:
            raise LinuxError(EEXIST)
        if len(self.items) >= MAX_WATCHES:
            raise LinuxError(ENOSPC)
        item = EpollItem(self, file, fd, queue, events | POLLERR | POLLHUP, data)
        self.items[file, fd] = item
        if file.epoll_items is None:
            file.epoll_items = [item]
        else:
            file.epoll_items.append(item)
        queue.add(item)
        if item.poll(task):
            item.wake_up(item.mask)

    def modify(self, task: Task, file: File, fd: int, events: int, data: int) -> None:
        """EPOLL_CTL_MOD. Raises ENOENT, EINVAL for an exclusive item."""
        item = self.items.get((file, fd))
        if item is None:
            raise LinuxError(ENOENT)
        if item.events & EPOLLEXCLUSIVE:
            raise LinuxError(EINVAL)
        item.events = events | POLLERR | POLLHUP
        item.mask = item.events & ~PRIVATE_BITS
        item.data = data
        if not item.ready and item.poll(task):
            item.wake_up(item.mask)

    def delete(self, file: File, fd: int) -> None:
        """EPOLL_CTL_DEL. Raises ENOENT."""
        item = self.items.get((file, fd))
        if item is None:
            raise LinuxError(ENOENT)
        item.remove()

    def _check_nesting(self, target: Epoll) -> None:
        """ELOOP if watching ``target`` would make a loop or too deep a nest (ep_loop_check)."""
        if target is self or self in target.reachable():
            raise LinuxError(ELOOP)
        if self.depth_above() + 1 + target.depth_below() > MAX_NESTS:
            raise LinuxError(ELOOP)

    def reachable(self) -> set[Epoll]:
        """This epoll and all that it watches, directly or not."""
        seen = {self}
        stack = [self]
        while stack:
            for file, _fd in stack.pop().items:
                if isinstance(file, Epoll) and file not in seen:
                    seen.add(file)
                    stack.append(file)
        return seen

    def depth_below(self) -> int:
        """How many epolls hang below this one at most. Level by level: a dense graph has too many paths."""
        depth = 0
        level = {file for file, _fd in self.items if isinstance(file, Epoll)}
        while level:
            depth += 1
            level = {file for epoll in level for file, _fd in epoll.items if isinstance(file, Epoll)}
        return depth

    def depth_above(self) -> int:
        """How many epolls stand above this one at most."""
        depth = 0
        level = {item.epoll for item in self.epoll_items or ()}
        while level:
            depth += 1
            level = {item.epoll for epoll in level for item in epoll.epoll_items or ()}
        return depth

    # -- readiness ----------------------------------------------------------------------------

    def announce(self) -> bool:
        """The ready list has something: tell who waits for that. True if a task in epoll_wait was woken."""
        woken = bool(self.waiters.entries)
        if woken:
            self.waiters.wake(_READABLE)
        if self.queue.entries:
            self.queue.wake(_READABLE)
        return woken

    def collect(self, task: Task, limit: int) -> list[tuple[EpollItem, int]]:
        """Take up to ``limit`` items that are ready, with their events (ep_send_events)."""
        ready = self.ready
        found: list[tuple[EpollItem, int]] = []
        for _ in range(len(ready)):
            item = ready.popleft()
            if item.dead:
                continue
            events = item.file.poll(task) & item.mask
            if not events:
                item.ready = False
                continue
            found.append((item, events))
            flags = item.events
            if flags & EPOLLONESHOT:
                item.mask = 0
                item.ready = False
            elif flags & EPOLLET:
                item.ready = False
            else:
                ready.append(item)
            if len(found) == limit:
                break
        return found

    def give_back(self, items: list[tuple[EpollItem, int]]) -> None:
        """Undo ``collect`` for items that could not be told to the guest."""
        for item, _ in reversed(items):
            if not item.dead:
                item.mask = item.events & ~PRIVATE_BITS
                if not item.ready:
                    item.ready = True
                    self.ready.appendleft(item)

    def poll(self, task: Task | None = None) -> int:
        ready = self.ready
        while ready:
            item = ready[0]
            if not item.dead:
                if item.poll(task):
                    return _READABLE
                item.ready = False
            ready.popleft()
        return 0

    def wait_queue(self) -> WaitQueue:
        return self.queue

    # -- life ---------------------------------------------------------------------------------

    def release(self) -> None:
        for item in tuple(self.items.values()):
            item.remove()
        self.ready.clear()

    def describe(self) -> str:
        return "anon_inode:[eventpoll]"

    def fdinfo(self) -> str:
        return "".join(
            f"tfd: {item.fd:8d} events: {item.events:8x} data: {item.data:16x}  pos:{item.file.pos} "
            f"ino:{item.file.inode.ino:x} sdev:{item.file.inode.fs.dev:x}\n"
            for item in self.items.values()
        )
