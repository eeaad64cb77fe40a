"""Inodes of an overlay: a file of a layer, and how it is copied up before it changes."""

from __future__ import annotations

from errno import EINVAL, ENODATA, ENXIO, EOPNOTSUPP
from stat import S_IFCHR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK

from runsc.abi.stat import S_IFMT
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.regular import DataInode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.fs.overlay.directory import OverlayDirectory
    from runsc.kernel.fs.overlay.filesystem import Overlay
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import Inode, SetAttr, Stat

#: The overlay's own attributes in the layers. One of this name in the overlay is kept below with the
#: prefix twice, so that overlays can be stacked.
PREFIX = b"trusted.overlay."
ESCAPED = PREFIX + b"overlay."
OPAQUE = PREFIX + b"opaque"
REDIRECT = PREFIX + b"redirect"


class OverlayInode(DataInode):
    """A file of an overlay.

    ``real``: the inode of the layer that holds it, which becomes another when it is copied up; ``copied``: it
    is in the upper layer. ``parent``, ``name``: where it was found (parent None: it has no name any more).
    ``device``: the st_dev of a file that lies on another device of the lower file system, or 0.
    ``hides_nothing``: it was made at ``parent``/``name``, where the lower directories had nothing.
    """

    __slots__ = ("copied", "device", "hides_nothing", "name", "parent", "real")

    fs: Overlay

    def __init__(
        self, fs: Overlay, real: DataInode, copied: bool, ino: int, device: int,
        parent: OverlayDirectory | None, name: bytes,
    ) -> None:  # fmt: skip
        # Everything that Inode.__init__ sets, once.
        self.fs = fs
        self.ino = ino
        self.device = device
        self.real = real
        self.copied = copied
        self.parent = parent
        self.name = name
        self.hides_nothing = False
        self.extra = None
        self.write_count = 0
        self.rdev = real.rdev
        self.btime = real.btime
        self.take_over()

    # -- attributes ---------------------------------------------------------------------------

    def take_over(self) -> None:
        """Take over the attributes of ``real``."""
        real = self.real
        self.mode = real.mode
        self.nlink = real.nlink
        self.uid = real.uid
        self.gid = real.gid
        self.size = real.size
        self.atime = real.atime
        self.mtime = real.mtime
        self.ctime = real.ctime

    def refresh(self) -> None:
        self.real.refresh()
        self.take_over()

    def attributes_changed(self) -> None:
        self.real.attributes_changed()
        # Permission is judged by the copy.
        self.refresh()

    def stat(self) -> Stat:
        stat = self.real.stat()
        stat.dev = self.device or self.fs.dev
        stat.ino = self.ino
        return stat

    def setattr(self, attr: SetAttr) -> None:
        if not self.copied:
            self.copy_up(attr.size)
        self.real.setattr(attr)
        self.take_over()

    def truncate(self, size: int) -> None:
        if not self.copied:
            self.copy_up(size)
        self.real.truncate(size)
        self.take_over()

    # -- files --------------------------------------------------------------------------------

    def open(self, path: Path, flags: int, task: Task) -> File:
        kind = self.mode & S_IFMT
        if kind == S_IFREG:
            from runsc.kernel.fs.overlay.file import OverlayFile

            return OverlayFile(self, flags, path)
        if kind == S_IFIFO:
            from runsc.kernel.fs.pipe import open_fifo

            # A FifoOpening, where the open must wait, is the open system call's to deal with.
            return open_fifo(self, path, flags, task)  # type: ignore[return-value]
        if kind in (S_IFSOCK, S_IFLNK):
            raise LinuxError(ENXIO)
        from runsc.kernel.fs.devices import open_device

        return open_device(self, path, flags, task)

    def readlink(self, task: Task | None = None) -> bytes:
        if self.mode & S_IFMT != S_IFLNK:
            raise LinuxError(EINVAL)
        return self.real.readlink(task)

    def host_fd(self, writable: bool) -> int:
        if writable:
            self.copy_up()
        return self.real.host_fd(writable)

    # -- extended attributes ------------------------------------------------------------------

    def getxattr(self, name: bytes) -> bytes:
        return self.real.getxattr(_escape(name))

    def setxattr(self, name: bytes, value: bytes, flags: int) -> None:
        self.copy_up()
        self.real.setxattr(_escape(name), value, flags)
        self.take_over()

    def listxattr(self) -> list[bytes]:
        found = []
        for name in self.real.listxattr():
            if not name.startswith(PREFIX):
                found.append(name)
            elif name.startswith(ESCAPED):
                found.append(PREFIX + name[len(ESCAPED) :])
        return found

    def removexattr(self, name: bytes) -> None:
        escaped = _escape(name)
        if not self.copied:
            # Nothing is copied up for an attribute that isn't there.
            self.real.getxattr(escaped)
            self.copy_up()
        self.real.removexattr(escaped)
        self.take_over()

    # -- data, for an overlay that is itself a layer ------------------------------------------

    def open_data(self, writable: bool) -> None:
        if writable:
            self.copy_up()
        self.real.open_data(writable)

    def close_data(self, writable: bool) -> None:
        self.real.close_data(writable)

    def read_data(self, count: int, offset: int) -> bytes:
        return self.real.read_data(count, offset)

    def write_data(self, data: bytes, offset: int) -> int:
        count = self.real.write_data(data, offset)
        self.take_over()
        return count

    def seek_data(self, offset: int, whence: int) -> int:
        return self.real.seek_data(offset, whence)

    def allocate_data(self, mode: int, offset: int, length: int) -> None:
        self.real.allocate_data(mode, offset, length)
        self.take_over()

    def sync_data(self, datasync: bool) -> None:
        self.real.sync_data(datasync)

    def settle(self, new_dir: OverlayDirectory, new_name: bytes) -> None:
        """Before a file is moved to ``new_dir``: nothing to note down (but see directories)."""

    # -- copying up ---------------------------------------------------------------------------

    def copy_up(self, size: int | None = None) -> None:
        """Bring the file, and the directories above it, into the upper layer, if they aren't there.

        ``size``: no more of the data than this is needed, because the file is truncated next."""
        if self.copied:
            return
        from runsc.kernel.fs.overlay.copyup import copy_up

        copy_up(self, size)


def _escape(name: bytes) -> bytes:
    return ESCAPED + name[len(PREFIX) :] if name.startswith(PREFIX) else name


def own_xattr(real: Inode, name: bytes) -> bytes | None:
    """The value of one of the overlay's own attributes, or None."""
    try:
        return real.getxattr(name)
    except (LinuxError, OSError) as error:
        if error.errno not in (ENODATA, EOPNOTSUPP):
            raise
        return None


def is_whiteout(real: Inode) -> bool:
    """Is this the mark of a name that was taken away (a character device 0:0)?"""
    return real.mode & S_IFMT == S_IFCHR and real.rdev == 0
