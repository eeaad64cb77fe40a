"""inotify(7): watches, and the queue of events that a descriptor reads (fs/notify/inotify/)."""

from __future__ import annotations

from collections import deque
from errno import EEXIST, EINVAL, ENOSPC, ENOTTY

from runsc.abi.fcntl import O_RDONLY
from runsc.abi.inotify import (
    IN_ALL_EVENTS,
    IN_EXCL_UNLINK,
    IN_IGNORED,
    IN_ISDIR,
    IN_MASK_ADD,
    IN_MASK_CREATE,
    IN_ONESHOT,
    IN_Q_OVERFLOW,
    INOTIFY_EVENT,
)  # fmt: skip
from runsc.abi.ioctl import FIONREAD
from runsc.abi.poll import POLLIN, POLLRDNORM
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.anon import AnonFile
from runsc.kernel.vfs.notify import notifier
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.inode import Inode

#: /proc/sys/fs/inotify: max_queued_events; and a bound on the watches of one descriptor.
MAX_QUEUED_EVENTS = 16384
MAX_WATCHES = 65536
_EVENT_SIZE = INOTIFY_EVENT.size


class Watch:
    """One watched inode (struct inotify_inode_mark)."""

    __slots__ = ("inode", "inotify", "mask", "path", "wd")

    def __init__(self, inotify: Inotify, wd: int, inode: Inode, path: Path, mask: int) -> None:
        self.inotify = inotify
        self.wd = wd
        self.inode = inode
        self.path = path
        self.mask = mask

    def event(self, mask: int, name: bytes, cookie: int, unlinked: bool) -> None:
        if not self.mask & mask & IN_ALL_EVENTS or (unlinked and self.mask & IN_EXCL_UNLINK):
            return
        self.inotify.push(self.wd, mask & (IN_ALL_EVENTS | IN_ISDIR), cookie, name)
        if self.mask & IN_ONESHOT:
            self.gone()

    def gone(self) -> None:
        """The watch ends by itself, or by inotify_rm_watch(2)."""
        if self.inotify.watches.get(self.wd) is self:
            self.inotify.forget(self)
            self.inotify.push(self.wd, IN_IGNORED, 0, b"")


class Inotify(AnonFile):
    """An inotify instance."""

    __slots__ = ("by_inode", "events", "kernel", "next_wd", "queue", "size", "watches")

    sends_sigio = True

    def __init__(self, inode: Inode, flags: int, kernel: Kernel) -> None:
        super().__init__(inode, O_RDONLY | flags)
        self.kernel = kernel
        self.watches: dict[int, Watch] = {}
        self.by_inode: dict[Inode, Watch] = {}
        self.next_wd = 1
        self.events: deque[bytes] = deque()
        #: bytes in the queue
        self.size = 0
        self.queue = WaitQueue()

    def add_watch(self, path: Path, mask: int) -> int:
        """Watch what ``path`` leads to; its watch descriptor. Raises EEXIST (IN_MASK_CREATE), ENOSPC."""
        inode = path.dentry.inode
        assert inode is not None
        watch = self.by_inode.get(inode)
        kept = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK)
        if watch is not None:
            if mask & IN_MASK_CREATE:
                raise LinuxError(EEXIST)
            watch.mask = watch.mask | kept if mask & IN_MASK_ADD else kept
            return watch.wd
        if len(self.watches) >= MAX_WATCHES:
            raise LinuxError(ENOSPC)
        wd = self.next_wd
        self.next_wd = wd % 0x7FFFFFFF + 1
        watch = Watch(self, wd, inode, path, kept)
        self.watches[wd] = watch
        self.by_inode[inode] = watch
        notifier(self.kernel).add(inode, path.dentry, watch)
        return wd

    def forget(self, watch: Watch) -> None:
        del self.watches[watch.wd]
        del self.by_inode[watch.inode]
        notifier(self.kernel).remove(watch.inode, watch.path.dentry, watch)

    def push(self, wd: int, mask: int, cookie: int, name: bytes) -> None:
        """Queue an event, unless it is the same as the last; one IN_Q_OVERFLOW when there are too many."""
        if len(self.events) >= MAX_QUEUED_EVENTS:
            wd, mask, cookie, name = -1, IN_Q_OVERFLOW, 0, b""
        padded = name.ljust((len(name) // _EVENT_SIZE + 1) * _EVENT_SIZE, b"\0") if name else b""
        event = INOTIFY_EVENT.pack(wd, mask, cookie, len(padded)) + padded
        if self.events and self.events[-1] == event:
            return
        self.events.append(event)
        self.size += len(event)
        if self.queue.entries:
            self.queue.wake(POLLIN | POLLRDNORM)

    def read(self, task: Task, count: int) -> bytes:
        """As many events as fit; raises EINVAL if not even the first does, ``WOULD_BLOCK``."""
        events = self.events
        if not events:
            raise WOULD_BLOCK
        parts: list[bytes] = []
        while events and len(events[0]) <= count:
            event = events.popleft()
            self.size -= len(event)
            count -= len(event)
            parts.append(event)
        if not parts:
            raise LinuxError(EINVAL)
        return b"".join(parts)

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        if request == FIONREAD:
            task.mm.write_u32(arg, self.size)
            return 0
        raise LinuxError(ENOTTY)

    def poll(self, task: Task | None = None) -> int:
        return POLLIN | POLLRDNORM if self.events else 0

    def wait_queue(self) -> WaitQueue:
        return self.queue

    def release(self) -> None:
        for watch in tuple(self.watches.values()):
            self.forget(watch)
        self.events.clear()

    def describe(self) -> str:
        return "anon_inode:inotify"

    def fdinfo(self) -> str:
        return "".join(
            f"inotify wd:{watch.wd:x} ino:{watch.inode.ino:x} sdev:{watch.inode.fs.dev:x} "
            f"mask:{watch.mask:x} ignored_mask:0\n"
            for watch in self.watches.values()
        )
