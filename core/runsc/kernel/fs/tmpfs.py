"""tmpfs: a file system in memory (tmpfs(5), mm/shmem.c).

The data of regular files is ``shmem.ShmemData``; everything else is here. Counts of blocks and inodes
are exact: an inode is given back when its last name and its last user are gone.
"""

from __future__ import annotations

import os
from errno import EEXIST, EINVAL, EISDIR, ENODATA, ENOENT, ENOSPC, ENOTEMPTY, ENXIO, EOPNOTSUPP
from stat import S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK, S_ISGID, S_IXGRP
from time import time_ns

from runsc.abi.fcntl import O_ACCMODE, O_NOATIME, O_RDONLY, RENAME_EXCHANGE, RENAME_WHITEOUT
from runsc.abi.stat import S_IFMT
from runsc.kernel.credentials import CAP_FSETID
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.regular import (
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    DataInode,
    RegularFile,
)
from runsc.kernel.fs.shmem import PAGE, MemfdPool, ShmemData
from runsc.kernel.vfs.dentry import MS_NOATIME, MS_NODIRATIME, MS_RDONLY
from runsc.kernel.vfs.file import DirectoryFile, File
from runsc.kernel.vfs.inode import DirEntry, FileSystem, Inode, Stat, StatFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

TMPFS_MAGIC = 0x01021994
#: What a directory entry adds to the size of its directory.
BOGO_DIRENT_SIZE = 20
#: What an inode or a name counts for against ``nr_inodes``; extended attributes count by their bytes.
BOGO_INODE_SIZE = 1024
#: Symbolic links shorter than this take no page.
SHORT_SYMLINK_LEN = 128
#: Of struct simple_xattr, which each extended attribute has in front.
_XATTR_HEADER = 40
#: "no limit" for pages and inode space.
UNLIMITED = 1 << 62

XATTR_CREATE = 1
XATTR_REPLACE = 2
_XATTR_PREFIXES = (b"user.", b"trusted.", b"security.")

_DAY = 86400 * 10**9


class Tmpfs(FileSystem):
    """A tmpfs.

    ``size``: bytes, 0 for no limit, None for half of the memory; ``nr_inodes`` likewise; ``mode``, ``uid``,
    ``gid``: of the root directory; ``memfds``: the pool shared with other tmpfs of the kernel.
    """

    __slots__ = (
        "given_options", "ino_space_limit", "ino_space_used", "max_pages", "memfds", "next_ino", "pages_used",
        "root_inode",
    )  # fmt: skip

    def __init__(
        self, size: int | None = None, mode: int = 0o1777, uid: int = 0, gid: int = 0,
        nr_inodes: int | None = None, source: str = "tmpfs", memfds: MemfdPool | None = None,
        name: str = "tmpfs", read_only: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(name, source, read_only=read_only)
        ram_pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // PAGE
        self.max_pages = ram_pages // 2 if size is None else (size + PAGE - 1) // PAGE or UNLIMITED
        inodes = ram_pages // 2 if nr_inodes is None else nr_inodes
        self.ino_space_limit = inodes * BOGO_INODE_SIZE or UNLIMITED
        self.pages_used = 0
        self.ino_space_used = 0
        self.memfds = memfds if memfds is not None else MemfdPool()
        self.next_ino = 1
        options = ""
        if size is not None:
            options += f",size={(size + 1023) // 1024}k"
        if nr_inodes is not None:
            options += f",nr_inodes={nr_inodes}"
        if mode != 0o1777:
            options += f",mode={mode:o}"
        if uid:
            options += f",uid={uid}"
        if gid:
            options += f",gid={gid}"
        self.given_options = options
        self.charge_inode(BOGO_INODE_SIZE)
        self.root_inode = TmpfsDirectory(self, S_IFDIR | mode & 0o7777, uid, gid)

    def root(self) -> Inode:
        return self.root_inode

    def statfs(self) -> StatFs:
        limited = self.max_pages != UNLIMITED
        free = max(self.max_pages - self.pages_used, 0) if limited else 0
        inodes = self.ino_space_limit != UNLIMITED
        return StatFs(
            TMPFS_MAGIC, PAGE, self.max_pages if limited else 0, free, free,
            self.ino_space_limit // BOGO_INODE_SIZE if inodes else 0,
            (self.ino_space_limit - self.ino_space_used) // BOGO_INODE_SIZE if inodes else 0,
        )  # fmt: skip

    def mount_options(self) -> str:
        return self.given_options

    def release(self) -> None:
        """Forget the tree. What is still open stays until it is closed."""
        self.root_inode.entries = {}

    # -- accounting ---------------------------------------------------------------------------

    def charge_inode(self, space: int) -> None:
        """Count ``space`` against the limit on inodes; raises ENOSPC."""
        if self.ino_space_used + space > self.ino_space_limit:
            raise LinuxError(ENOSPC)
        self.ino_space_used += space

    def charge_page(self) -> None:
        if self.pages_used >= self.max_pages:
            raise LinuxError(ENOSPC)
        self.pages_used += 1

    def number(self) -> int:
        ino = self.next_ino
        self.next_ino += 1
        return ino


class TmpfsInode(DataInode):
    """What all tmpfs inodes have: extended attributes, and their place in the file system's accounts.

    Whoever makes one has charged BOGO_INODE_SIZE for it. A FIFO, socket or device node is exactly this.
    """

    __slots__ = ("xattrs",)

    fs: Tmpfs

    def __init__(self, fs: Tmpfs, mode: int, uid: int, gid: int, rdev: int = 0) -> None:
        super().__init__(fs, fs.number(), mode, uid, gid, rdev)
        self.xattrs: dict[bytes, bytes] | None = None

    def __del__(self) -> None:
        # The last name and the last user are gone: what Linux does in evict_inode. The runtime calls this
        # at once, because nothing on these inodes forms a cycle.
        space = BOGO_INODE_SIZE
        if self.xattrs:
            space += sum(_xattr_space(name, value) for name, value in self.xattrs.items())
        self.fs.ino_space_used -= space

    def pages(self) -> int:
        """Pages of memory that the contents take."""
        return 0

    def stat(self) -> Stat:
        return Stat(
            self.fs.dev, self.ino, self.mode, self.nlink, self.uid, self.gid, self.rdev, self.size, PAGE,
            self.pages() << 3, self.atime, self.mtime, self.ctime, self.btime,
        )  # fmt: skip

    def open(self, path: Path, flags: int, task: Task) -> File:
        kind = self.mode & S_IFMT
        if kind == S_IFIFO:
            from runsc.kernel.fs.pipe import open_fifo

            # A FifoOpening, where the open must wait, is the open system call's to deal with.
            return open_fifo(self, path, flags, task)  # type: ignore[return-value]
        if kind == S_IFSOCK:
            raise LinuxError(ENXIO)
        from runsc.kernel.fs.devices import open_device

        return open_device(self, path, flags, task)

    # -- extended attributes ------------------------------------------------------------------

    def getxattr(self, name: bytes) -> bytes:
        _check_xattr_name(name)
        if self.xattrs is None or name not in self.xattrs:
            raise LinuxError(ENODATA)
        return self.xattrs[name]

    def setxattr(self, name: bytes, value: bytes, flags: int) -> None:
        _check_xattr_name(name)
        old = self.xattrs.get(name) if self.xattrs else None
        if old is not None and flags & XATTR_CREATE:
            raise LinuxError(EEXIST)
        if old is None and flags & XATTR_REPLACE:
            raise LinuxError(ENODATA)
        space = _xattr_space(name, value) - (0 if old is None else _xattr_space(name, old))
        self.fs.charge_inode(space)
        if self.xattrs is None:
            self.xattrs = {}
        self.xattrs[name] = value
        self.ctime = time_ns()

    def listxattr(self) -> list[bytes]:
        return list(self.xattrs) if self.xattrs else []

    def removexattr(self, name: bytes) -> None:
        _check_xattr_name(name)
        if self.xattrs is None or name not in self.xattrs:
            raise LinuxError(ENODATA)
        self.fs.ino_space_used -= _xattr_space(name, self.xattrs.pop(name))
        self.ctime = time_ns()

    def drop_capabilities(self) -> None:
        """The file is written: its file capabilities go (security.capability)."""
        if self.xattrs and b"security.capability" in self.xattrs:
            self.removexattr(b"security.capability")


def _xattr_space(name: bytes, value: bytes) -> int:
    """What an attribute counts for: only user.* ones are limited, the others need privileges."""
    return _XATTR_HEADER + len(name) + 1 + len(value) if name.startswith(b"user.") else 0


def _check_xattr_name(name: bytes) -> None:
    for prefix in _XATTR_PREFIXES:
        if name.startswith(prefix):
            if name == prefix:
                raise LinuxError(EINVAL)
            return
    raise LinuxError(EOPNOTSUPP)


def accessed(inode: Inode, flags: int, path: Path | None, directory: bool = False) -> None:
    """Move atime on, as relatime does (mount(8)): if it is not newer than mtime and ctime, or a day old."""
    now = time_ns()
    if inode.atime > inode.mtime and inode.atime > inode.ctime and now - inode.atime < _DAY:
        return
    if flags & O_NOATIME:
        return
    if path is not None:
        mount_flags = path.mount.flags
        if mount_flags & (MS_NOATIME | MS_RDONLY) or (directory and mount_flags & MS_NODIRATIME):
            return
    inode.atime = now


class TmpfsSymlink(TmpfsInode):
    """A symbolic link."""

    __slots__ = ("target",)

    def __init__(self, fs: Tmpfs, target: bytes, uid: int, gid: int) -> None:
        self.target = b""
        super().__init__(fs, S_IFLNK | 0o777, uid, gid)
        if len(target) >= SHORT_SYMLINK_LEN:
            fs.charge_page()
        self.target = target
        self.size = len(target)

    def __del__(self) -> None:
        self.fs.pages_used -= self.pages()
        super().__del__()

    def pages(self) -> int:
        return 1 if len(self.target) >= SHORT_SYMLINK_LEN else 0

    def readlink(self, task: Task | None = None) -> bytes:
        accessed(self, 0, None)
        return self.target


class TmpfsFile(TmpfsInode):
    """A regular file."""

    __slots__ = ("content",)

    def __init__(self, fs: Tmpfs, mode: int, uid: int, gid: int) -> None:
        super().__init__(fs, mode, uid, gid)
        self.content = ShmemData(fs)

    def __del__(self) -> None:
        content = self.content
        if content.pages or content.fd >= 0:
            content.free()
        if self.xattrs is None:
            self.fs.ino_space_used -= BOGO_INODE_SIZE
        else:
            super().__del__()

    def pages(self) -> int:
        content = self.content
        if content.mapped:
            content.recount()
        return content.pages

    def open(self, path: Path, flags: int, task: Task) -> File:
        return TmpfsRegularFile(self, flags, path)

    def open_data(self, writable: bool) -> None:
        self.content.opens += 1

    def close_data(self, writable: bool) -> None:
        self.content.opens -= 1

    def read_data(self, count: int, offset: int) -> bytes:
        return self.content.read(count, offset)

    def write_data(self, data: bytes, offset: int) -> int:
        content = self.content
        count = content.write(data, offset)
        self.size = content.size
        self.mtime = self.ctime = time_ns()
        if self.xattrs is not None:
            self.drop_capabilities()
        return count

    def truncate(self, size: int) -> None:
        self.content.truncate(size)
        self.size = size
        self.mtime = self.ctime = time_ns()

    def seek_data(self, offset: int, whence: int) -> int:
        return self.content.seek(offset, whence)

    def allocate_data(self, mode: int, offset: int, length: int) -> None:
        if mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE):
            raise LinuxError(EOPNOTSUPP)
        if mode & FALLOC_FL_PUNCH_HOLE:
            self.content.punch(offset, length)
        else:
            self.content.allocate(offset, length, bool(mode & FALLOC_FL_KEEP_SIZE))
        self.size = self.content.size
        self.mtime = self.ctime = time_ns()

    def accessed(self, flags: int, path: Path | None) -> None:
        accessed(self, flags, path)

    def host_fd(self, writable: bool) -> int:
        return self.content.host_fd()


class TmpfsRegularFile(RegularFile):
    """An open regular file of tmpfs: reading moves atime."""

    __slots__ = ()

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        data = self.source.read_data(count, offset)
        accessed(self.inode, self.flags, self.path)
        return data


class TmpfsDirectoryFile(DirectoryFile):
    """An open directory of tmpfs: reading moves atime."""

    __slots__ = ()

    def readdir(self, task: Task) -> list[DirEntry]:
        accessed(self.inode, self.flags, self.path, True)
        return super().readdir(task)


class TmpfsDirectory(TmpfsInode):
    """A directory: names to inodes, in the order in which they were made."""

    __slots__ = ("entries",)

    def __init__(self, fs: Tmpfs, mode: int, uid: int, gid: int) -> None:
        super().__init__(fs, mode, uid, gid)
        self.entries: dict[bytes, TmpfsInode] = {}
        self.nlink = 2
        self.size = 2 * BOGO_DIRENT_SIZE

    def open(self, path: Path, flags: int, task: Task) -> File:
        if flags & O_ACCMODE != O_RDONLY:
            raise LinuxError(EISDIR)
        return TmpfsDirectoryFile(self, flags, path)

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        inode = self.entries.get(name)
        if inode is None:
            raise LinuxError(ENOENT)
        return inode

    def find(self, name: bytes, task: Task | None = None) -> DataInode | None:
        return self.entries.get(name)

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        # Newest first, as Linux lists them.
        entries = reversed(self.entries.items())
        return [DirEntry(name, inode.ino, inode.mode & S_IFMT) for name, inode in entries]

    # -- making -------------------------------------------------------------------------------

    def _insert(self, name: bytes, inode: TmpfsInode) -> None:
        self.entries[name] = inode
        self.size += BOGO_DIRENT_SIZE
        self.mtime = self.ctime = time_ns()

    def _group(self, cred: Credentials) -> int:
        return self.gid if self.mode & S_ISGID else cred.fsgid

    def _check_alive(self) -> None:
        if self.nlink == 0:
            raise LinuxError(ENOENT)

    def create(self, name: bytes, mode: int, cred: Credentials, rdev: int = 0) -> Inode:
        self._check_alive()
        inode = self._new(mode, cred, rdev)
        self._insert(name, inode)
        return inode

    def _new(self, mode: int, cred: Credentials, rdev: int = 0) -> TmpfsInode:
        """A non-directory that belongs to ``cred`` (inode_init_owner)."""
        fs = self.fs
        gid = self._group(cred)
        if (
            self.mode & S_ISGID
            and mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP
            and not cred.in_group(gid)
            and not cred.inode_capable(CAP_FSETID, self.uid, self.gid)
        ):
            mode &= ~S_ISGID
        fs.charge_inode(BOGO_INODE_SIZE)
        if mode & S_IFMT == S_IFREG:
            return TmpfsFile(fs, mode, cred.fsuid, gid)
        return TmpfsInode(fs, mode, cred.fsuid, gid, rdev)

    def mkdir(self, name: bytes, mode: int, cred: Credentials) -> Inode:
        self._check_alive()
        self.fs.charge_inode(BOGO_INODE_SIZE)
        mode = S_IFDIR | mode & 0o7777 | self.mode & S_ISGID
        inode = TmpfsDirectory(self.fs, mode, cred.fsuid, self._group(cred))
        self.nlink += 1
        self._insert(name, inode)
        return inode

    def symlink(self, name: bytes, target: bytes, cred: Credentials) -> Inode:
        self._check_alive()
        self.fs.charge_inode(BOGO_INODE_SIZE)
        inode = TmpfsSymlink(self.fs, target, cred.fsuid, self._group(cred))
        self._insert(name, inode)
        return inode

    def tmpfile(self, mode: int, cred: Credentials) -> Inode:
        inode = self._new(S_IFREG | mode & 0o7777, cred)
        inode.nlink = 0
        return inode

    def link(self, name: bytes, inode: Inode) -> None:
        self._check_alive()
        assert isinstance(inode, TmpfsInode)
        # The first name of a file is paid for with its inode; O_TMPFILE has not had it yet.
        if inode.nlink:
            self.fs.charge_inode(BOGO_INODE_SIZE)
        inode.nlink += 1
        self._insert(name, inode)
        inode.ctime = self.ctime

    # -- taking away --------------------------------------------------------------------------

    def _remove(self, name: bytes) -> TmpfsInode:
        inode = self.entries.pop(name)
        self.size -= BOGO_DIRENT_SIZE
        self.mtime = self.ctime = time_ns()
        return inode

    def _drop_link(self, inode: TmpfsInode) -> None:
        """A name of a non-directory is gone."""
        if inode.nlink > 1:
            self.fs.ino_space_used -= BOGO_INODE_SIZE
        inode.nlink -= 1
        inode.ctime = self.ctime

    def unlink(self, name: bytes, inode: Inode) -> None:
        self._drop_link(self._remove(name))

    def rmdir(self, name: bytes, inode: Inode) -> None:
        assert isinstance(inode, TmpfsDirectory)
        if inode.entries:
            raise LinuxError(ENOTEMPTY)
        self._remove(name)
        self._dead_directory(inode)

    def _dead_directory(self, inode: TmpfsDirectory) -> None:
        self.nlink -= 1
        inode.nlink = 0
        inode.ctime = self.ctime

    def rename(
        self, name: bytes, inode: Inode, new_dir: Inode, new_name: bytes, target: Inode | None, flags: int
    ) -> None:
        assert isinstance(new_dir, TmpfsDirectory)
        assert isinstance(inode, TmpfsInode)
        new_dir._check_alive()
        if flags & RENAME_EXCHANGE:
            assert isinstance(target, TmpfsInode)
            self._exchange(name, inode, new_dir, new_name, target)
            return
        if target is not None and isinstance(target, TmpfsDirectory) and target.entries:
            raise LinuxError(ENOTEMPTY)
        whiteout = None
        if flags & RENAME_WHITEOUT:
            self.fs.charge_inode(BOGO_INODE_SIZE)
            whiteout = TmpfsInode(self.fs, S_IFCHR, 0, 0)
        if target is not None:
            assert isinstance(target, TmpfsInode)
            new_dir._remove(new_name)
            if isinstance(target, TmpfsDirectory):
                new_dir._dead_directory(target)
            else:
                new_dir._drop_link(target)
        self._remove(name)
        new_dir._insert(new_name, inode)
        if inode.is_dir() and new_dir is not self:
            self.nlink -= 1
            new_dir.nlink += 1
        inode.ctime = new_dir.ctime
        if whiteout is not None:
            self._insert(name, whiteout)

    def _exchange(
        self, name: bytes, inode: TmpfsInode, new_dir: TmpfsDirectory, new_name: bytes, target: TmpfsInode
    ) -> None:
        self.entries[name] = target
        new_dir.entries[new_name] = inode
        change = target.is_dir() - inode.is_dir()
        self.nlink += change
        new_dir.nlink -= change
        now = time_ns()
        for changed in (self, new_dir, inode, target):
            changed.ctime = now
        self.mtime = new_dir.mtime = now
