"""Inodes and file systems: what every file system implements (Documentation/filesystems/vfs.rst).

A file system subclasses ``FileSystem`` and ``Inode``. The VFS has checked permissions, read-only
mounts and name lengths before it calls an operation here; the operation checks what only the file
system knows, and raises ``LinuxError`` (or lets an ``OSError`` of the host through, whose errno the
guest then sees). Nothing here blocks on the guest.

Times are nanoseconds since the epoch.
"""

from __future__ import annotations

from errno import EINVAL, EISDIR, ENODATA, ENODEV, ENOTDIR, ENXIO, EOPNOTSUPP, EPERM
from stat import S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK
from time import time_ns

from runsc.abi.stat import S_IFMT
from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.kernel.credentials import Credentials
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Dentry, DentryCache, Path
    from runsc.kernel.vfs.file import File


class Stat:
    """What stat(2) tells. ``blocks`` counts 512 bytes; ``dev`` and ``rdev`` are in makedev(3) form."""

    __slots__ = (
        "atime",
        "blksize",
        "blocks",
        "btime",
        "ctime",
        "dev",
        "gid",
        "ino",
        "mode",
        "mtime",
        "nlink",
        "rdev",
        "size",
        "uid",
    )

    def __init__(
        self,
        dev: int,
        ino: int,
        mode: int,
        nlink: int,
        uid: int,
        gid: int,
        rdev: int,
        size: int,
        blksize: int,
        blocks: int,
        atime: int,
        mtime: int,
        ctime: int,
        btime: int = 0,
    ) -> None:
        self.dev = dev
        self.ino = ino
        self.mode = mode
        self.nlink = nlink
        self.uid = uid
        self.gid = gid
        self.rdev = rdev
        self.size = size
        self.blksize = blksize
        self.blocks = blocks
        self.atime = atime
        self.mtime = mtime
        self.ctime = ctime
        self.btime = btime


class StatFs:
    """What statfs(2) tells: counts in blocks of ``bsize`` bytes."""

    __slots__ = ("bavail", "bfree", "blocks", "bsize", "ffree", "files", "flags", "namelen", "type")

    def __init__(
        self,
        type: int,  # noqa: A002 - its name in statfs(2)
        bsize: int = 4096,
        blocks: int = 0,
        bfree: int = 0,
        bavail: int = 0,
        files: int = 0,
        ffree: int = 0,
        namelen: int = 255,
        flags: int = 0,
    ) -> None:
        self.type = type
        self.bsize = bsize
        self.blocks = blocks
        self.bfree = bfree
        self.bavail = bavail
        self.files = files
        self.ffree = ffree
        self.namelen = namelen
        self.flags = flags


class FileSystem:
    """A superblock: one mounted instance of a file system.

    ``name`` is the type shown in /proc/mounts; ``dev`` its device number (the kernel gives it at
    mount). ``cached`` False: names are looked up afresh on every walk (proc, whose files come and go
    by themselves). ``read_only``: nothing in it can be changed, whatever the mount says.
    """

    __slots__ = ("cached", "dev", "name", "read_only", "source")

    def __init__(self, name: str, source: str = "none", cached: bool = True, read_only: bool = False) -> None:
        self.name = name
        self.source = source
        self.cached = cached
        self.read_only = read_only
        self.dev = 0

    def root(self) -> Inode:
        """The inode of the root directory: the same object every time."""
        raise NotImplementedError(f"{type(self).__name__} has no root()")  # an abstract class, never mounted

    def stack(self, fs: FileSystem) -> None:
        """``fs`` keeps names of this file system, so it can't be ``cached`` where this one isn't."""
        if not self.cached:
            fs.cached = False

    def statfs(self) -> StatFs:
        raise LinuxError(EOPNOTSUPP)

    def mount_options(self) -> str:
        """What /proc/mounts shows behind ro/rw and the flags, starting with a comma, or nothing."""
        return ""

    def sync(self) -> None:
        """Write what is dirty to where it survives (syncfs(2))."""

    def release(self) -> None:
        """The last mount is gone: give back what the file system holds on the host."""


class SetAttr:
    """The attributes that a call changes: None stays as it is (struct iattr).

    ``atime``/``mtime`` in ns. The VFS has checked that the caller may (chown, chmod, utimes), cleared
    setuid bits where they go, and passes the new ``mode`` bits without the type. ``size``: truncate(2).
    """

    __slots__ = ("atime", "gid", "mode", "mtime", "size", "uid")

    def __init__(
        self,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        atime: int | None = None,
        mtime: int | None = None,
    ) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.atime = atime
        self.mtime = mtime


class DirEntry:
    """One name in a directory. ``type`` is the S_IF* part of the mode, or 0 when it isn't known."""

    __slots__ = ("ino", "name", "type")

    def __init__(self, name: bytes, ino: int, type: int) -> None:  # noqa: A002 - Linux's own word
        self.name = name
        self.ino = ino
        self.type = type


class Inode:
    """A file, whatever its names. ``mode`` has type and permission bits.

    The plain attributes are the truth for in-kernel file systems. A file system whose files change
    elsewhere overrides ``refresh``, which brings them up to date. ``slots`` for subclasses: they add
    their own, so that a hundred thousand inodes stay cheap.

    ``extra`` is the VFS's: locks, watches, the pipe of a FIFO, the socket bound here; None until needed.
    """

    __slots__ = (
        "__weakref__",
        "atime",
        "btime",
        "ctime",
        "extra",
        "fs",
        "gid",
        "ino",
        "mode",
        "mtime",
        "nlink",
        "rdev",
        "size",
        "uid",
        "write_count",
    )

    def __init__(
        self, fs: FileSystem, ino: int, mode: int, uid: int = 0, gid: int = 0, rdev: int = 0
    ) -> None:
        self.fs = fs
        self.ino = ino
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.rdev = rdev
        self.size = 0
        self.nlink = 1
        self.atime = self.mtime = self.ctime = self.btime = time_ns()
        self.extra: dict[str, Any] | None = None
        #: how many open files can write it; negative: how many processes run it (i_writecount)
        self.write_count = 0

    # -- what it is ---------------------------------------------------------------------------

    def is_dir(self) -> bool:
        return self.mode & S_IFMT == S_IFDIR

    def is_reg(self) -> bool:
        return self.mode & S_IFMT == S_IFREG

    def is_symlink(self) -> bool:
        return self.mode & S_IFMT == S_IFLNK

    def is_fifo(self) -> bool:
        return self.mode & S_IFMT == S_IFIFO

    def is_socket(self) -> bool:
        return self.mode & S_IFMT == S_IFSOCK

    # -- attributes ---------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring the attributes up to date (nothing to do where they are the truth)."""

    def stat(self) -> Stat:
        """The attributes, for stat(2)."""
        self.refresh()
        return Stat(
            self.fs.dev,
            self.ino,
            self.mode,
            self.nlink,
            self.uid,
            self.gid,
            self.rdev,
            self.size,
            4096,
            (self.size + 511) // 512,
            self.atime,
            self.mtime,
            self.ctime,
            self.btime,
        )

    def setattr(self, attr: SetAttr) -> None:
        """Change attributes and set ctime. Size is changed only of regular files."""
        if attr.size is not None:
            self.truncate(attr.size)
        if attr.mode is not None:
            self.mode = self.mode & S_IFMT | attr.mode & 0o7777
        if attr.uid is not None:
            self.uid = attr.uid
        if attr.gid is not None:
            self.gid = attr.gid
        if attr.atime is not None:
            self.atime = attr.atime
        if attr.mtime is not None:
            self.mtime = attr.mtime
        self.ctime = time_ns()

    def truncate(self, size: int) -> None:
        raise LinuxError(EINVAL)

    def attributes_changed(self) -> None:
        """Somebody else has changed the attributes, or the data (for a file system that believes what it has
        read)."""

    # -- directories --------------------------------------------------------------------------

    def keep_names(self, dentry: Dentry, cache: DentryCache) -> None:
        """A name of this directory is about to be looked up, and what is found to be kept in ``cache``,
        below ``dentry``. A file system whose names others change sees to it that they are forgotten then."""

    def be_told(self, dentry: Dentry, cache: DentryCache) -> None:
        """Somebody in here watches this directory, known by ``dentry``, for changes: a file system whose
        files others change tells the kernel's ``notify`` of them from now on, as far as it can."""

    def look_ahead(self, names: list[bytes]) -> None:
        """A walk will look up these names next, each in what the one before leads to, as far as that are
        directories. Only for a file system that is slow to ask; it raises nothing that a lookup would not."""

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        """The inode of ``name`` in this directory; raises ENOENT. ``task`` is who asks (proc/self)."""
        raise LinuxError(ENOTDIR)

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        """All entries except . and .., in a stable order."""
        raise LinuxError(ENOTDIR)

    def create(self, name: bytes, mode: int, cred: Credentials, rdev: int = 0) -> Inode:
        """Make a regular file, FIFO, socket or device node (by the type in ``mode``).

        The VFS knows that ``name`` is not there. Owner: ``cred.fsuid``/``fsgid`` (or the directory's
        group, if it has S_ISGID)."""
        raise LinuxError(EPERM)

    def mkdir(self, name: bytes, mode: int, cred: Credentials) -> Inode:
        raise LinuxError(EPERM)

    def symlink(self, name: bytes, target: bytes, cred: Credentials) -> Inode:
        raise LinuxError(EPERM)

    def link(self, name: bytes, inode: Inode) -> None:
        """Another name for ``inode`` (of the same file system, not a directory)."""
        raise LinuxError(EPERM)

    def unlink(self, name: bytes, inode: Inode) -> None:
        """Take away the name of a file that is not a directory."""
        raise LinuxError(EPERM)

    def rmdir(self, name: bytes, inode: Inode) -> None:
        """Take away an empty directory; raises ENOTEMPTY."""
        raise LinuxError(EPERM)

    def rename(
        self, name: bytes, inode: Inode, new_dir: Inode, new_name: bytes, target: Inode | None, flags: int
    ) -> None:
        """Move ``name`` to ``new_dir``/``new_name``, replacing ``target`` if it is there.

        The VFS has checked types (directory over directory), loops and that both are one file
        system. ``flags``: RENAME_NOREPLACE is the VFS's; RENAME_EXCHANGE and RENAME_WHITEOUT are the
        file system's, EINVAL if it can't. A directory ``target`` must be empty: ENOTEMPTY."""
        raise LinuxError(EPERM)

    def tmpfile(self, mode: int, cred: Credentials) -> Inode:
        """A regular file without a name (O_TMPFILE)."""
        raise LinuxError(EOPNOTSUPP)

    # -- files --------------------------------------------------------------------------------

    def open(self, path: Path, flags: int, task: Task) -> File:
        """An open file description (the VFS has checked permissions; O_CREAT and O_EXCL are done,
        O_TRUNC of a regular file is done by the VFS through ``truncate`` afterwards)."""
        if self.is_dir():
            raise LinuxError(EISDIR)
        raise LinuxError(ENXIO)

    def readlink(self, task: Task | None = None) -> bytes:
        """The target of a symbolic link."""
        raise LinuxError(EINVAL)

    def follow(self, task: Task) -> Path | None:
        """A magic link (/proc/PID/fd/N, cwd, root, exe): the very object, without a walk. None: an
        ordinary link, whose text is walked."""
        return None

    # -- extended attributes: names with their prefix ("user.x") ------------------------------

    def getxattr(self, name: bytes) -> bytes:
        """The value; raises ENODATA, or EOPNOTSUPP where the file system has none."""
        raise LinuxError(EOPNOTSUPP)

    def setxattr(self, name: bytes, value: bytes, flags: int) -> None:
        """``flags``: XATTR_CREATE, XATTR_REPLACE."""
        raise LinuxError(EOPNOTSUPP)

    def listxattr(self) -> list[bytes]:
        return []

    def removexattr(self, name: bytes) -> None:
        raise LinuxError(ENODATA if self.listxattr() else EOPNOTSUPP)

    # -- mapping ------------------------------------------------------------------------------

    def host_fd(self, writable: bool) -> int:
        """A descriptor of the sentry's that holds this file's pages, for mmap by the platform.

        It stays the inode's; the same bytes at the same offsets as read(2) gives. Raises ENODEV for
        a file that can't be mapped."""
        raise LinuxError(ENODEV)
