"""Directories of the host."""

from __future__ import annotations

from errno import EINVAL, EISDIR, ENOENT, EPERM, ESTALE
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFREG, S_IFSOCK, S_ISGID
from time import monotonic_ns
from weakref import ref

from runsc.abi.fcntl import O_ACCMODE, O_RDONLY, RENAME_EXCHANGE
from runsc.abi.inotify import IN_CREATE, IN_DELETE, IN_MOVED_FROM, IN_MOVED_TO
from runsc.abi.stat import S_IFMT
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.hostfs.inode import FOREVER, HostInode, HostNode
from runsc.kernel.fs.hostfs.ops import DEV, INO, SELF
from runsc.kernel.vfs.file import DirectoryFile
from runsc.kernel.vfs.inode import DirEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.fs.hostfs.filesystem import HostFs
    from runsc.kernel.fs.hostfs.ops import Attributes
    from runsc.kernel.fs.regular import DataInode
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Dentry, DentryCache, Path
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import Inode

#: How long what was fetched ahead may be used where no watch tells of changes, in ns.
_AHEAD = 50_000_000
#: How many of a directory's own changes may wait for their echo from the watch.
_MAX_EXPECTED = 4096


class HostDirectory(HostInode):
    """A directory. ``handle_``: what names are looked up by, or -1 while it isn't needed.

    ``watch``: the number of its watch, or -1. ``watching_data``: the watch tells of written data too.
    ``dentries``: where names of this directory are cached, to be forgotten when the host changes them.
    ``ahead``: attributes of names that were fetched before anybody asked, good until ``ahead_until``;
    ``expected``: changes of our own that the watch will tell of.
    """

    __slots__ = (
        "ahead",
        "ahead_complete",
        "ahead_until",
        "dentries",
        "expected",
        "handle_",
        "is_root",
        "watch",
        "watching_data",
    )

    def __init__(
        self, fs: HostFs, attributes: Attributes, parent: HostDirectory | None, name: bytes
    ) -> None:
        self.handle_ = -1
        self.is_root = False
        self.watch = -1
        self.watching_data = True
        self.dentries: dict[int, tuple[ref[Dentry], DentryCache]] = {}
        self.ahead: dict[bytes, Attributes | None] | None = None
        self.ahead_complete = False
        self.ahead_until = 0
        self.expected: dict[tuple[bytes, int], int] | None = None
        super().__init__(fs, attributes, parent, name)

    def __del__(self) -> None:
        if self.watch >= 0 and self.fs.watcher is not None:
            self.fs.watcher.drop(self)
        if self.handle_ >= 0 and not self.is_root:
            self.fs.ops.close_directory(self.handle_)

    # -- handles ------------------------------------------------------------------------------

    def handle(self) -> int:
        """The handle, opened along the way from the nearest directory that has one.

        Raises ESTALE if another directory has taken the place of this one, ENOENT if it is gone."""
        if self.handle_ >= 0:
            if not self.is_root:
                self.fs.touch(self)
            return self.handle_
        way = [self]
        while way[-1].handle_ < 0:
            parent = way[-1].parent
            if parent is None:
                raise LinuxError(ESTALE)
            way.append(parent)
        at = way.pop().handle_
        while way:
            directory = way.pop()
            handle, found = self.fs.ops.open_directory(at, directory.name)
            if found[INO] != directory.ino or found[DEV] != directory.host_dev:
                self.fs.ops.close_directory(handle)
                raise LinuxError(ESTALE)
            directory.handle_ = handle
            # The one before was used last, so it is not the one that is closed if there are too many.
            self.fs.touch(directory)
            at = handle
        return at

    def close_idle(self) -> None:
        if self.handle_ >= 0 and not self.is_root:
            handle, self.handle_ = self.handle_, -1
            self.fs.ops.close_directory(handle)

    def pin_root(self) -> None:
        self.handle_ = self.fs.ops.root
        self.is_root = True

    def unpin_root(self) -> None:
        self.is_root = False
        self.handle_ = -1  # it is the root's, and goes with it

    def place(self) -> tuple[int, bytes]:
        if self.is_root:
            return self.handle_, SELF
        return super().place()

    def open_handle(self) -> tuple[int, bytes]:
        return (self.handle_, SELF) if self.handle_ >= 0 else (-1, b"")

    def replaced(self, attributes: Attributes) -> None:
        """Another directory in this place is another tree: what is known below is worth nothing."""
        raise LinuxError(ESTALE)

    # -- being told of changes ----------------------------------------------------------------

    def keep_names(self, dentry: Dentry, cache: DentryCache) -> None:
        """Names of this directory are about to be cached below ``dentry``: have the host tell of changes."""
        if self.fs.cached:
            self.be_told(dentry, cache)

    def be_told(self, dentry: Dentry, cache: DentryCache) -> None:
        fs = self.fs
        if fs.watcher is None:
            return
        known = self.dentries.get(id(dentry))
        if known is None or known[0]() is not dentry:
            if len(self.dentries) > 16:
                self.dentries = {key: item for key, item in self.dentries.items() if item[0]() is not None}
            self.dentries[id(dentry)] = (ref(dentry), cache)
        if self.watch < 0:
            fs.watcher.add(self)
        elif not fs.watcher.quiet:
            fs.watcher.used(self)

    def data_changes_here(self) -> None:
        """Somebody here writes to files of this directory: no more need to be told of that."""
        if self.watching_data:
            self.watching_data = False
            if self.watch >= 0 and self.fs.watcher is not None:
                self.fs.watcher.change(self)

    def name_changed(self, name: bytes, mask: int) -> bool:
        """The watch tells that ``name`` has come or gone. False if we did that ourselves."""
        self.valid_until = 0
        expected = self.expected
        if expected:
            key = (name, mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO))
            count = expected.get(key, 0)
            if count:
                if count == 1:
                    del expected[key]
                else:
                    expected[key] = count - 1
                return False
        if self.ahead is not None:
            self.ahead.pop(name, None)
            self.ahead_complete = False
        for dentry, cache in self.cached_below():
            child = dentry.children.get(name)
            if child is not None and not child.mounts:
                if child.inode is not None and mask & (IN_DELETE | IN_MOVED_FROM):
                    child.inode.attributes_changed()
                cache.forget(child)
        return True

    def child_changed(self, name: bytes) -> HostInode | None:
        """The watch tells that ``name``'s attributes or data have changed; the inode, if it is known here."""
        if self.ahead is not None:
            self.ahead.pop(name, None)
        found = None
        for dentry, _cache in self.cached_below():
            child = dentry.children.get(name)
            if child is not None and child.inode is not None:
                found = child.inode
                found.attributes_changed()
        return found  # type: ignore[return-value]

    def forget_names(self) -> None:
        """Nothing tells of changes any more: nothing that was looked up may be believed."""
        self.ahead = None
        self.valid_until = 0
        for dentry, cache in self.cached_below():
            for child in list(dentry.children.values()):
                if child.inode is not None:
                    child.inode.attributes_changed()
                if not child.mounts:
                    cache.forget(child)

    def cached_below(self) -> list[tuple[Dentry, DentryCache]]:
        return [(dentry, cache) for item, cache in self.dentries.values() if (dentry := item()) is not None]

    def expect(self, name: bytes, mask: int) -> None:
        """We change ``name`` ourselves: the watch will tell us so."""
        self.valid_until = 0
        if self.ahead is not None:
            self.ahead.pop(name, None)
        if self.watch >= 0:
            expected = self.expected
            if expected is None or len(expected) > _MAX_EXPECTED:
                expected = self.expected = {}
            key = (name, mask)
            expected[key] = expected.get(key, 0) + 1

    # -- reading ------------------------------------------------------------------------------

    def open(self, path: Path, flags: int, task: Task) -> File:
        if flags & O_ACCMODE != O_RDONLY:
            raise LinuxError(EISDIR)
        return HostDirectoryFile(self, flags, path)

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        found = self.find(name, task)
        if found is None:
            raise LinuxError(ENOENT)
        return found

    def find(self, name: bytes, task: Task | None = None) -> DataInode | None:
        check_name(name)
        fs = self.fs
        if self.ahead is not None:
            if self.ahead_until < monotonic_ns():
                self.ahead = None
            elif name in self.ahead:
                known = self.ahead.pop(name)
                return None if known is None else fs.inode_of(known, self, name)
            elif self.ahead_complete:
                return None
        found = fs.ops.find(self.handle_ if self.handle_ >= 0 else self.handle(), name)
        return None if found is None else fs.inode_of(found, self, name)

    def look_ahead(self, names: list[bytes]) -> None:
        """``names`` lead on from here: ask for all of them at once, where asking is dear."""
        fs = self.fs
        if not fs.ops.remote or self.ahead_complete:
            return
        for name in names:
            if name == b"..":
                return
        at: HostInode = self
        for name, (attributes, number) in zip(names, fs.ops.walk(self.handle(), names), strict=False):
            assert isinstance(at, HostDirectory)
            if number >= 0 and at.watch < 0 and fs.watcher is not None:
                fs.watcher.adopt(at, number)
            if at.ahead is None:
                at.ahead = {}
                at.ahead_complete = False
            at.ahead[name] = attributes
            at.ahead_until = FOREVER if at.watch >= 0 else monotonic_ns() + _AHEAD
            if attributes is None or attributes[0] & S_IFMT != S_IFDIR:
                return
            at = fs.inode_of(attributes, at, name)
            fs.keep_a_moment(at)

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        if self.fs.ops.remote and self.watch < 0 and self.fs.cached and self.fs.watcher is not None:
            self.fs.watcher.add(self)
        names, numbers, types, attributes = self.fs.ops.list(self.handle())
        if attributes is not None and names:
            self.ahead = dict(zip(names, attributes, strict=True))
            self.ahead_complete = self.watch >= 0
            self.ahead_until = FOREVER if self.watch >= 0 else monotonic_ns() + _AHEAD
            self.fs.keep_a_moment(self)
        return list(map(DirEntry, names, numbers, types))

    # -- making -------------------------------------------------------------------------------

    def _made(self, attributes: Attributes, name: bytes) -> HostInode:
        """The inode of what was just made here."""
        return self.fs.inode_of(attributes, self, name)

    def _group(self, cred: Credentials) -> int:
        return self.gid if self.mode & S_ISGID else cred.fsgid

    def create(self, name: bytes, mode: int, cred: Credentials, rdev: int = 0) -> Inode:
        check_name(name)
        kind = mode & S_IFMT
        handle = self.handle()
        ops = self.fs.ops
        if kind == S_IFREG:
            fd, opened, attributes = ops.create(handle, name, mode & 0o7777, cred.fsuid, self._group(cred))
            self.expect(name, IN_CREATE)
            inode = self._made(attributes, name)
            inode.made(fd, opened)
            return inode
        if kind not in (S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK):
            raise LinuxError(EPERM)
        attributes = ops.mknod(handle, name, mode, rdev, cred.fsuid, self._group(cred))
        self.expect(name, IN_CREATE)
        return self._made(attributes, name)

    def mkdir(self, name: bytes, mode: int, cred: Credentials) -> Inode:
        check_name(name)
        mode = (mode | self.mode & S_ISGID) & 0o7777
        attributes = self.fs.ops.mkdir(self.handle(), name, mode, cred.fsuid, self._group(cred))
        self.expect(name, IN_CREATE)
        return self._made(attributes, name)

    def symlink(self, name: bytes, target: bytes, cred: Credentials) -> Inode:
        check_name(name)
        attributes = self.fs.ops.symlink(self.handle(), name, target, cred.fsuid, self._group(cred))
        self.expect(name, IN_CREATE)
        made = self._made(attributes, name)
        if isinstance(made, HostNode):
            made.target = target
        return made

    def tmpfile(self, mode: int, cred: Credentials) -> Inode:
        fd, handle, attributes = self.fs.ops.create_nameless(
            self.handle(), mode & 0o7777, cred.fsuid, self._group(cred)
        )
        made = self.fs.inode_of(attributes, None, b"")
        made.made(fd, handle)
        return made

    def link(self, name: bytes, inode: Inode) -> None:
        check_name(name)
        assert isinstance(inode, HostInode)
        handle, old = inode.open_handle() if inode.parent is None else inode.place()
        self.fs.ops.link(handle, old, self.handle(), name)
        self.expect(name, IN_CREATE)
        inode.valid_until = 0
        if inode.parent is None:
            inode.parent = self
            inode.name = name

    # -- taking away --------------------------------------------------------------------------

    def _gone(self, inode: Inode, name: bytes) -> None:
        """``name``, of ``inode``, is no more."""
        assert isinstance(inode, HostInode)
        inode.nlink = max(inode.nlink - 1, 0) if inode.mode & S_IFMT != S_IFDIR else 0
        inode.valid_until = 0
        if inode.parent is self and inode.name == name:
            inode.parent = None
            if not inode.nlink:
                inode.close_idle()

    def unlink(self, name: bytes, inode: Inode) -> None:
        check_name(name)
        self.fs.ops.unlink(self.handle(), name, False)
        self.expect(name, IN_DELETE)
        self._gone(inode, name)

    def rmdir(self, name: bytes, inode: Inode) -> None:
        check_name(name)
        self.fs.ops.unlink(self.handle(), name, True)
        self.expect(name, IN_DELETE)
        self._gone(inode, name)

    def rename(
        self, name: bytes, inode: Inode, new_dir: Inode, new_name: bytes, target: Inode | None, flags: int
    ) -> None:
        check_name(name)
        check_name(new_name)
        assert isinstance(new_dir, HostDirectory)
        assert isinstance(inode, HostInode)
        source = self.handle()
        if len(self.fs.idle) >= self.fs.idle_limit:
            self.fs.touch(self)
        self.fs.ops.rename(source, name, new_dir.handle(), new_name, flags)
        self.expect(name, IN_MOVED_FROM)
        new_dir.expect(new_name, IN_MOVED_TO)
        exchange = bool(flags & RENAME_EXCHANGE)
        if exchange:
            new_dir.expect(new_name, IN_MOVED_FROM)
            self.expect(name, IN_MOVED_TO)
        if target is not None:
            assert isinstance(target, HostInode)
            if exchange:
                target.parent = self
                target.name = name
                target.valid_until = 0
            else:
                new_dir._gone(target, new_name)
        inode.parent = new_dir
        inode.name = new_name
        inode.valid_until = 0


class HostDirectoryFile(DirectoryFile):
    """An open directory of the host."""

    __slots__ = ()

    def fsync(self, datasync: bool) -> None:
        assert isinstance(self.inode, HostDirectory)
        if not self.inode.fs.read_only:
            self.inode.fs.ops.sync_directory(self.inode.handle())


def check_name(name: bytes) -> None:
    """A name is one component; the kernel has seen to it, and the host must never be asked for another."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise LinuxError(ENOENT if not name else EINVAL)
