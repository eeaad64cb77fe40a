"""Inodes of the host: what all have in common, and links and nodes.

An inode knows a directory and a name by which it was found last. A question about it goes through the
directory's handle and that one name, and never follows a symbolic link; what was opened is compared with
what was meant. So neither a name nor a race can lead out of the tree.
"""

from __future__ import annotations

from errno import EINVAL, ENODATA, ENXIO, EOPNOTSUPP, EPERM, ESTALE
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG
from time import monotonic_ns

from runsc.abi.stat import S_IFMT
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.hostfs.ops import DEV, INO, MODE
from runsc.kernel.fs.regular import DataInode
from runsc.kernel.vfs.inode import Stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.fs.hostfs.directory import HostDirectory
    from runsc.kernel.fs.hostfs.filesystem import HostFs
    from runsc.kernel.fs.hostfs.ops import Attributes
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import SetAttr

#: ``valid_until`` of attributes that are good until something tells of a change.
FOREVER = 1 << 63


class HostInode(DataInode):
    """A file of the host.

    ``parent``, ``name``: where it was found last; ``parent`` is None for the root and for what was unlinked.
    ``host_dev``, ``ino``: which file it is. ``valid_until``: until when the attributes may be believed
    (monotonic ns); 0 if they must be read again.
    """

    __slots__ = ("blksize", "blocks", "host_dev", "name", "parent", "valid_until", "xattr_names")

    fs: HostFs

    def __init__(
        self, fs: HostFs, attributes: Attributes, parent: HostDirectory | None, name: bytes
    ) -> None:
        # Everything that Inode.__init__ sets, once.
        self.fs = fs
        self.ino = attributes[INO]
        self.host_dev = attributes[DEV]
        self.extra = None
        self.write_count = 0
        self.btime = 0
        self.parent = parent
        self.name = name
        self.xattr_names: frozenset[bytes] | None = None
        self.ctime = 0
        self.load(attributes)

    # -- attributes ---------------------------------------------------------------------------

    def load(self, attributes: Attributes) -> None:
        """Take over what the host says about this file."""
        old = self.ctime
        (
            self.mode, _ino, _dev, self.nlink, self.uid, self.gid, self.rdev, self.size, self.blksize,
            self.blocks, self.atime, self.mtime, self.ctime,
        ) = attributes  # fmt: skip
        if self.ctime != old:
            self.xattr_names = None
        parent = self.parent
        if parent is not None and parent.watch >= 0 and self.told_of():
            self.valid_until = FOREVER
        else:
            self.valid_until = monotonic_ns() + self.fs.ttl

    def told_of(self) -> bool:
        """Does the watch on the directory tell of all that changes the attributes?"""
        return not self.fs.shared

    def attributes_changed(self) -> None:
        self.valid_until = 0

    def refresh(self) -> None:
        if self.valid_until < monotonic_ns():
            self.reload()

    def reload(self) -> None:
        """Ask the host again. A file whose name is gone keeps what was known of it."""
        handle, name = self.open_handle()
        if handle >= 0:
            self.load(self.fs.ops.stat(handle, name))
            return
        found = None if self.parent is None else self.fs.ops.find(self.parent.handle(), self.name)
        if found is None:
            self.valid_until = monotonic_ns() + self.fs.ttl
        elif self._is(found):
            self.load(found)
        else:
            self.replaced(found)

    def _is(self, attributes: Attributes) -> bool:
        """Are these this file's? The number of one that is gone may be another's by now."""
        return (
            attributes[INO] == self.ino
            and attributes[DEV] == self.host_dev
            and not (attributes[MODE] ^ self.mode) & S_IFMT
        )

    def replaced(self, attributes: Attributes) -> None:
        """The host has put another file in this one's place (by rename, as editors and package managers do).

        Nothing is open here, so this inode becomes that file, unless its type is another: then the name must
        be looked up again, and this inode is stale."""
        key = (attributes[DEV], attributes[INO])
        if (self.mode ^ attributes[MODE]) & S_IFMT or key in self.fs.inodes:
            raise LinuxError(ESTALE)
        old = (self.host_dev, self.ino)
        if self.fs.inodes.get(old) is self:
            del self.fs.inodes[old]
        self.fs.inodes[key] = self
        self.host_dev, self.ino = key
        self.load(attributes)

    def device_number(self) -> int:
        fs = self.fs
        return fs.dev if self.host_dev == fs.host_dev else fs.device(self.host_dev)

    def stat(self) -> Stat:
        if self.valid_until < monotonic_ns():
            self.reload()
        fs = self.fs
        return Stat(
            fs.dev if self.host_dev == fs.host_dev else fs.device(self.host_dev), self.ino, self.mode,
            self.nlink, self.uid, self.gid, self.rdev, self.size, self.blksize, self.blocks, self.atime,
            self.mtime, self.ctime, 0,
        )  # fmt: skip

    def setattr(self, attr: SetAttr) -> None:
        ops = self.fs.ops
        if attr.size is not None:
            self.truncate(attr.size)
        handle, name = self.way()
        if attr.uid is not None or attr.gid is not None:
            uid = -1 if attr.uid is None else attr.uid
            gid = -1 if attr.gid is None else attr.gid
            ops.chown(handle, name, uid, gid)
        if attr.atime is not None or attr.mtime is not None:
            self.refresh()
            ops.set_times(
                handle,
                name,
                self.atime if attr.atime is None else attr.atime,
                self.mtime if attr.mtime is None else attr.mtime,
            )
        if attr.mode is not None:
            ops.chmod(handle, name, attr.mode & 0o7777)
        self.reload()

    def made(self, fd: int, handle: int) -> None:
        """It was created by ``fd``, which is its own from now on. Regular files only."""
        raise LinuxError(ESTALE)

    # -- the way to it ------------------------------------------------------------------------

    def place(self) -> tuple[int, bytes]:
        """The handle and name it is found by. Raises ESTALE for what has no name."""
        if self.parent is None:
            raise LinuxError(ESTALE)
        return self.parent.handle(), self.name

    def open_handle(self) -> tuple[int, bytes]:
        """A handle that is certain to be this very file, and the name that goes with it; or -1."""
        return -1, b""

    def way(self) -> tuple[int, bytes]:
        """The better of the two. What is found by its name is made sure to be this file."""
        handle, name = self.open_handle()
        if handle >= 0:
            return handle, name
        self.check_place()
        return self.place()

    def check_place(self) -> None:
        """Is the name this file's still? ESTALE, ELOOP or ENOENT if not; a file that has merely been replaced
        by another of its type is that from now on."""
        handle, name = self.place()
        found = self.fs.ops.stat(handle, name)
        if not self._is(found):
            self.replaced(found)

    def close_idle(self) -> None:
        """Close the descriptors that nobody is using."""

    def pin_root(self) -> None:
        """This is the root of its file system, reached by ``ops.root``."""

    def unpin_root(self) -> None:
        """The file system is released."""

    # -- extended attributes ------------------------------------------------------------------

    def _names(self) -> frozenset[bytes]:
        """The names of the attributes, which are read once; most files have none."""
        self.refresh()
        names = self.xattr_names
        if names is None:
            try:
                names = frozenset(self.fs.ops.listxattr(*self.way()))
            except PermissionError:
                # Linux would let anybody who can reach the file see the names; the host needs it open.
                return frozenset()
            self.xattr_names = names
        return names

    def getxattr(self, name: bytes) -> bytes:
        _check_xattr(name)
        if name not in self._names():
            raise LinuxError(ENODATA)
        return self.fs.ops.getxattr(*self.way(), name)

    def setxattr(self, name: bytes, value: bytes, flags: int) -> None:
        _check_xattr(name)
        if name.startswith(b"user.") and self.mode & S_IFMT not in (S_IFREG, S_IFDIR):
            raise LinuxError(EPERM)
        self.fs.ops.setxattr(*self.way(), name, value, flags)
        self.xattr_names = None
        self.valid_until = 0

    def listxattr(self) -> list[bytes]:
        return sorted(name for name in self._names() if not name.startswith(b"system."))

    def removexattr(self, name: bytes) -> None:
        _check_xattr(name)
        if name not in self._names():
            raise LinuxError(ENODATA)
        self.fs.ops.removexattr(*self.way(), name)
        self.xattr_names = None
        self.valid_until = 0


def _check_xattr(name: bytes) -> None:
    """Access control lists (system.*) are the host's affair: as on a file system without them."""
    if not name.startswith((b"user.", b"trusted.", b"security.")):
        raise LinuxError(EOPNOTSUPP)


class HostNode(HostInode):
    """A symbolic link, or a node that is never opened on the host: FIFO, socket, device."""

    __slots__ = ("target",)

    def __init__(
        self, fs: HostFs, attributes: Attributes, parent: HostDirectory | None, name: bytes
    ) -> None:
        self.target: bytes | None = None
        super().__init__(fs, attributes, parent, name)

    def open_handle(self) -> tuple[int, bytes]:
        return (self.fs.ops.root, self.name) if self.parent is None and not self.name else (-1, b"")

    def load(self, attributes: Attributes) -> None:
        if attributes[-1] != self.ctime:
            self.target = None  # another link, of the same number
        super().load(attributes)

    def readlink(self, task: Task | None = None) -> bytes:
        if self.mode & S_IFMT != S_IFLNK:
            raise LinuxError(EINVAL)
        # The text of a link never changes as long as it is the same link.
        if self.valid_until < monotonic_ns():
            self.reload()
        if self.target is None:
            self.target = self.fs.ops.readlink(*self.place())
        return self.target

    def open(self, path: Path, flags: int, task: Task) -> File:
        kind = self.mode & S_IFMT
        if kind == S_IFIFO:
            from runsc.kernel.fs.pipe import open_fifo

            # A FifoOpening, where the open must wait, is the open system call's to deal with.
            return open_fifo(self, path, flags, task)  # type: ignore[return-value]
        if kind in (S_IFCHR, S_IFBLK):
            from runsc.kernel.fs.devices import open_device

            return open_device(self, path, flags, task)
        raise LinuxError(ENXIO)
