"""What happens to files, for those who watch (fsnotify).

``kernel.notify`` is None as long as nobody watches anything, and the callers of the functions below test that
before they call. Changes made inside the sandbox are told; what others do to shared files of the host is not.
"""

from __future__ import annotations

from runsc.abi.inotify import (
    IN_ATTRIB,
    IN_CLOSE_NOWRITE,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_ISDIR,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.vfs.dentry import Dentry
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import Inode

    class Watcher(Protocol):
        """One who watches an inode."""

        def event(self, mask: int, name: bytes, cookie: int, unlinked: bool) -> None:
            """``mask``: IN_*; ``name``: of the entry, if the event is of a directory's child; ``unlinked``:
            that child's name is gone."""

        def gone(self) -> None:
            """The inode is no more."""


class Notifier:
    """Who watches which inode, and how many of the pins on dentries are watchers'."""

    __slots__ = ("cookie", "pins", "watchers")

    def __init__(self) -> None:
        self.watchers: dict[Inode, list[Watcher]] = {}
        self.pins: dict[Dentry, int] = {}
        self.cookie = 0

    def add(self, inode: Inode, dentry: Dentry, watcher: Watcher) -> None:
        """Watch ``inode``, known by ``dentry``, which stays in memory meanwhile."""
        self.watchers.setdefault(inode, []).append(watcher)
        dentry.pins += 1
        self.pins[dentry] = self.pins.get(dentry, 0) + 1

    def remove(self, inode: Inode, dentry: Dentry, watcher: Watcher) -> None:
        watchers = self.watchers[inode]
        watchers.remove(watcher)
        if not watchers:
            del self.watchers[inode]
        dentry.pins -= 1
        self.pins[dentry] -= 1
        if not self.pins[dentry]:
            del self.pins[dentry]

    def tell(
        self, inode: Inode, mask: int, name: bytes = b"", cookie: int = 0, unlinked: bool = False
    ) -> None:
        """An event of one inode."""
        watchers = self.watchers.get(inode)
        if watchers is not None:
            for watcher in tuple(watchers):
                watcher.event(mask, name, cookie, unlinked)

    def both(self, dentry: Dentry, inode: Inode, mask: int) -> None:
        """An event of a file, for those who watch it or the directory it is in."""
        if inode.is_dir():
            mask |= IN_ISDIR
        parent = dentry.parent
        if parent is not dentry and parent.inode in self.watchers:
            assert parent.inode is not None
            self.tell(parent.inode, mask, dentry.name, 0, dentry.dead)
        self.tell(inode, mask)

    def link_gone(self, dentry: Dentry, inode: Inode) -> None:
        """A name of ``inode`` is gone: its link count has changed; with the last name, if nobody has it open,
        the file is gone too."""
        self.tell(inode, IN_ATTRIB)
        self.maybe_destroyed(dentry, inode, 0)

    def maybe_destroyed(self, dentry: Dentry, inode: Inode, closing: int) -> None:
        """Tell IN_DELETE_SELF if nothing holds the unlinked file any more, besides ``closing``
        descriptions."""
        if inode not in self.watchers or (inode.nlink and not (inode.is_dir() and dentry.dead)):
            return
        if dentry.pins - self.pins.get(dentry, 0) > closing:
            return
        self.tell(inode, IN_DELETE_SELF)
        for watcher in tuple(self.watchers.get(inode, ())):
            watcher.gone()


def notifier(kernel: Kernel) -> Notifier:
    """The kernel's, made for the first watch."""
    found: Notifier | None = kernel.notify
    if found is None:
        found = kernel.notify = Notifier()
    return found


def file_event(kernel: Kernel, file: File, mask: int) -> None:
    """``file`` was opened, read or written: IN_OPEN, IN_ACCESS, IN_MODIFY."""
    if kernel.notify is not None and file.path is not None:
        kernel.notify.both(file.path.dentry, file.inode, mask)


def file_closed(kernel: Kernel, file: File) -> None:
    """The last reference to ``file`` is about to go."""
    if kernel.notify is not None and file.path is not None:
        dentry = file.path.dentry
        kernel.notify.both(dentry, file.inode, IN_CLOSE_WRITE if file.writable() else IN_CLOSE_NOWRITE)
        if dentry.dead:
            kernel.notify.maybe_destroyed(dentry, file.inode, 1)


def changed(kernel: Kernel, dentry: Dentry, mask: int = IN_ATTRIB) -> None:
    """The attributes of ``dentry``'s inode were changed; or its data, by truncate(2) (IN_MODIFY)."""
    if kernel.notify is not None and dentry.inode is not None:
        kernel.notify.both(dentry, dentry.inode, mask)


def created(kernel: Kernel, dentry: Dentry) -> None:
    """``dentry`` has become the name of a new object."""
    directory = dentry.parent.inode
    if kernel.notify is not None and directory is not None and dentry.inode is not None:
        kernel.notify.tell(directory, IN_CREATE | (IN_ISDIR if dentry.inode.is_dir() else 0), dentry.name)


def linked(kernel: Kernel, dentry: Dentry) -> None:
    """``dentry`` has become another name of an object (link(2))."""
    if kernel.notify is not None and dentry.inode is not None:
        kernel.notify.tell(dentry.inode, IN_ATTRIB)
        created(kernel, dentry)


def deleted(kernel: Kernel, dentry: Dentry, inode: Inode) -> None:
    """The name ``dentry`` of ``inode`` was taken away."""
    notify = kernel.notify
    directory = dentry.parent.inode
    if notify is not None and directory is not None:
        is_dir = inode.is_dir()
        if not is_dir:
            notify.tell(inode, IN_ATTRIB)
            notify.maybe_destroyed(dentry, inode, 0)
            notify.tell(directory, IN_DELETE, dentry.name)
        else:
            notify.maybe_destroyed(dentry, inode, 0)
            notify.tell(directory, IN_DELETE | IN_ISDIR, dentry.name)


def moved(
    kernel: Kernel, inode: Inode, old_dir: Inode, old_name: bytes, new_dir: Inode, new_name: bytes,
    replaced: tuple[Dentry, Inode] | None,
) -> None:  # fmt: skip
    """``inode`` was renamed; ``replaced``: what had the new name before."""
    notify = kernel.notify
    if notify is None:
        return
    notify.cookie = notify.cookie + 1 & 0xFFFFFFFF or 1
    kind = IN_ISDIR if inode.is_dir() else 0
    notify.tell(old_dir, IN_MOVED_FROM | kind, old_name, notify.cookie)
    notify.tell(new_dir, IN_MOVED_TO | kind, new_name, notify.cookie)
    if replaced is not None:
        notify.link_gone(*replaced)
    notify.tell(inode, IN_MOVE_SELF | kind)
