"""Watches on host directories: what others change there is noticed at once (inotify(7)).

A directory is watched from the first name of it that is cached on; the least recently used watch is given up,
and the names forgotten, when there are too many. What the host tells goes two ways: names and attributes that
have changed are looked up anew, and watches of the guest's own are told.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from select import EPOLLIN

from runsc.abi.inotify import (
    IN_ATTRIB,
    IN_CREATE,
    IN_DELETE,
    IN_EXCL_UNLINK,
    IN_IGNORED,
    IN_ISDIR,
    IN_MODIFY,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    INOTIFY_EVENT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.fs.hostfs.directory import HostDirectory
    from runsc.kernel.fs.hostfs.filesystem import HostFs
    from runsc.kernel.kernel import Kernel

#: What is asked for; IN_ONLYDIR and IN_EXCL_UNLINK besides, IN_MODIFY where nobody here writes.
NAMES = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO
MASK = NAMES | IN_ATTRIB | IN_ONLYDIR | IN_EXCL_UNLINK
DATA = IN_MODIFY

#: No more than this many directories of one sandbox are watched.
MAX_WATCHES = 8192


class HostWatcher:
    """The watches of one inotify instance. ``fd``: the instance; the watcher owns it.

    ``quiet``: so far there are few watches, and it doesn't matter which are used most.
    """

    __slots__ = ("directories", "fd", "kernel", "limit", "quiet")

    def __init__(self, fd: int, limit: int = MAX_WATCHES) -> None:
        self.fd = fd
        self.limit = limit
        self.quiet = True
        #: by the watch's number; several where one directory is reached by several mounts
        self.directories: OrderedDict[int, list[HostDirectory]] = OrderedDict()
        self.kernel: Kernel | None = None

    def start(self, kernel: Kernel) -> None:
        """Listen, from the kernel's loop."""
        self.kernel = kernel
        kernel.poller.watch(self.fd, EPOLLIN, self.arrived)

    def close(self) -> None:
        """Idempotent."""
        if self.fd >= 0:
            if self.kernel is not None:
                watch = self.kernel.poller.watches.get(self.fd)
                if watch is not None:
                    watch.close()
            os.close(self.fd)
            self.fd = -1
            for directories in self.directories.values():
                for directory in directories:
                    directory.watch = -1
            self.directories.clear()

    # -- watches ------------------------------------------------------------------------------

    def add(self, directory: HostDirectory) -> None:
        """Watch ``directory``. Where the host has no more watches, names are no longer believed."""
        ops = directory.fs.ops
        number = ops.watch(directory.handle(), directory.watching_data)
        if number < 0 and self.directories:
            self._give_up(len(self.directories) // 4 + 1)
            number = ops.watch(directory.handle(), directory.watching_data)
        if number < 0:
            directory.fs.look_each_time()
            return
        # What was known before the watch began may have changed meanwhile.
        directory.ahead = None
        directory.valid_until = 0
        self.adopt(directory, number)

    def adopt(self, directory: HostDirectory, number: int) -> None:
        """The watch ``number`` was set on ``directory``."""
        directory.watch = number
        self.directories.setdefault(number, []).append(directory)
        count = len(self.directories)
        if count > self.limit:
            self._give_up(self.limit // 8)
        self.quiet = count < self.limit // 2

    def used(self, directory: HostDirectory) -> None:
        self.directories.move_to_end(directory.watch)

    def change(self, directory: HostDirectory) -> None:
        """Another kind of change is of interest now."""
        directory.fs.ops.watch(directory.handle(), directory.watching_data)

    def drop(self, directory: HostDirectory) -> None:
        """``directory`` needs no watch any more."""
        number, directory.watch = directory.watch, -1
        sharing = self.directories.get(number)
        if sharing is not None and directory in sharing:
            sharing.remove(directory)
            if not sharing:
                del self.directories[number]
                directory.fs.ops.unwatch(number)

    def forget(self, fs: HostFs) -> None:
        """``fs`` is released."""
        for directories in list(self.directories.values()):
            for directory in list(directories):
                if directory.fs is fs:
                    self.drop(directory)

    def _give_up(self, count: int) -> None:
        for _ in range(min(count, len(self.directories))):
            for directory in list(self.directories[next(iter(self.directories))]):
                directory.forget_names()
                self.drop(directory)

    # -- what the host tells ------------------------------------------------------------------

    def arrived(self, _events: int = 0) -> None:
        """Read and deal with what there is."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        seen: set[tuple[int, int, bytes]] = set()
        while at + INOTIFY_EVENT.size <= len(data):
            number, mask, cookie, length = INOTIFY_EVENT.unpack_from(data, at)
            at += INOTIFY_EVENT.size
            name = data[at : at + length].rstrip(b"\0")
            at += length
            if mask & IN_Q_OVERFLOW:
                self._overflow()
                continue
            if mask & (IN_ATTRIB | IN_MODIFY):
                # Many of one kind say no more than one.
                if (number, mask, name) in seen:
                    continue
                seen.add((number, mask, name))
            for directory in list(self.directories.get(number, ())):
                self._event(directory, number, mask, cookie, name)

    def _event(self, directory: HostDirectory, number: int, mask: int, cookie: int, name: bytes) -> None:
        if mask & IN_IGNORED:
            # The directory is gone, or its file system was unmounted.
            directory.forget_names()
            sharing = self.directories.get(number)
            if sharing is not None:
                directory.watch = -1
                sharing.remove(directory)
                if not sharing:
                    del self.directories[number]
            return
        if not name:
            directory.attributes_changed()
            return
        if mask & NAMES:
            if directory.name_changed(name, mask):
                self._tell(directory, mask, cookie, name)
        elif mask & (IN_ATTRIB | IN_MODIFY):
            self._child_changed(directory, mask, name)

    def _child_changed(self, directory: HostDirectory, mask: int, name: bytes) -> None:
        kernel = self.kernel
        inode = directory.child_changed(name)
        if kernel is None or kernel.notify is None:
            return
        if inode is not None:
            # What we did ourselves is known already, and was told.
            before = inode.ctime
            inode.refresh()
            if inode.ctime == before:
                return
            kernel.notify.tell(inode, mask)
        self._tell(directory, mask, 0, name)

    def _tell(self, directory: HostDirectory, mask: int, cookie: int, name: bytes) -> None:
        kernel = self.kernel
        if kernel is None or kernel.notify is None:
            return
        told = set()
        for dentry, _cache in directory.cached_below():
            inode = dentry.inode
            if inode is not None and inode not in told:
                told.add(inode)
                kernel.notify.tell(inode, mask & (NAMES | IN_ATTRIB | IN_MODIFY | IN_ISDIR), name, cookie)

    def _overflow(self) -> None:
        for directories in list(self.directories.values()):
            for directory in list(directories):
                directory.forget_names()
