"""Directories of the host."""

from __future__ import annotations

import os
from errno import EINVAL, EISDIR, ENOENT, EPERM, ESTALE
from stat import S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK, S_ISGID

from runsc.abi.fcntl import O_ACCMODE, O_RDONLY
from runsc.abi.stat import S_IFMT
from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.file import DirectoryFile
from runsc.kernel.vfs.inode import DirEntry
from runsc_fs_direct.inode import OPEN_SAFELY, DirectFile, DirectInode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.fs.regular import DataInode
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import Inode
    from runsc_fs_direct.filesystem import DirectFs

_OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DirectDirectory(DirectInode):
    """A directory. ``fd``: an O_PATH descriptor to look names up by, or -1 while it isn't needed."""

    __slots__ = ("fd", "is_root")

    def __init__(self, fs: DirectFs, st: os.stat_result) -> None:
        super().__init__(fs, st)
        self.fd = -1
        self.is_root = False

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    # -- descriptors --------------------------------------------------------------------------

    def handle(self) -> int:
        """The O_PATH descriptor, opened along the way from the nearest directory that has one.

        Raises ESTALE if another directory has taken the place of this one, ENOENT if it is gone."""
        if self.fd >= 0:
            if not self.is_root:
                self.fs.touch(self)
            return self.fd
        way = [self]
        while way[-1].fd < 0:
            parent = way[-1].parent
            if parent is None:
                raise LinuxError(ESTALE)
            way.append(parent)
        at = way.pop().fd
        while way:
            directory = way.pop()
            fd = os.open(directory.name, _OPEN_DIRECTORY, dir_fd=at)
            directory.fd = fd
            st = os.fstat(fd)
            if st.st_ino != directory.ino or st.st_dev != directory.host_dev:
                directory.close_idle()
                raise LinuxError(ESTALE)
            # The one before was used last, so it is not the one that is closed if there are too many.
            self.fs.touch(directory)
            at = fd
        return at

    def close_idle(self) -> None:
        if self.fd >= 0 and not self.is_root:
            os.close(self.fd)
            self.fd = -1

    def pin_root(self, fd: int) -> None:
        self.fd = fd
        self.is_root = True

    def unpin_root(self) -> None:
        self.is_root = False
        self.close_idle()

    def place(self) -> tuple[int, bytes]:
        if self.parent is None and self.fd >= 0:
            return self.fd, b"."
        return super().place()

    def open_fd(self) -> int:
        # fstat(2) takes an O_PATH descriptor, the calls that change something do not: see ``reload``.
        return -1

    def any_fd(self) -> int:
        return self.handle()

    def reload(self) -> None:
        if self.fd >= 0 and (self.is_root or self.parent is None):
            self.load(os.fstat(self.fd))
        else:
            super().reload()

    def replaced(self, st: os.stat_result) -> None:
        """Another directory in this place is another tree: what is known below is worth nothing."""
        raise LinuxError(ESTALE)

    # -- reading ------------------------------------------------------------------------------

    def open(self, path: Path, flags: int, task: Task) -> File:
        if flags & O_ACCMODE != O_RDONLY:
            raise LinuxError(EISDIR)
        return DirectDirectoryFile(self, flags, path)

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        check_name(name)
        st = os.stat(name, dir_fd=self.fd if self.fd >= 0 else self.handle(), follow_symlinks=False)
        return self.fs.inode_of(st, self, name)

    def find(self, name: bytes, task: Task | None = None) -> DataInode | None:
        check_name(name)
        try:
            st = os.stat(name, dir_fd=self.fd if self.fd >= 0 else self.handle(), follow_symlinks=False)
        except FileNotFoundError:
            return None
        return self.fs.inode_of(st, self, name)

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | OPEN_SAFELY, dir_fd=self.handle())
        try:
            with os.scandir(fd) as entries:
                return [DirEntry(os.fsencode(entry.name), entry.inode(), _type(entry)) for entry in entries]
        finally:
            os.close(fd)

    # -- making -------------------------------------------------------------------------------

    def _made(self, name: bytes, mode: int | None, cred: Credentials) -> DirectInode:
        """The inode of what was just made here, with owner and mode as far as the host allows."""
        directory = self.handle()
        st = os.stat(name, dir_fd=directory, follow_symlinks=False)
        inode = self.fs.inode_of(st, self, name)
        gid = self.gid if self.mode & S_ISGID else cred.fsgid
        if (st.st_uid, st.st_gid) != (cred.fsuid, gid):
            try:
                os.chown(name, cred.fsuid, gid, dir_fd=directory, follow_symlinks=False)
            except PermissionError:
                # An ordinary user's files are that user's; the guest sees who owns them.
                gid = st.st_gid
        if mode is not None and st.st_mode & 0o7777 != mode & 0o7777:
            inode.chmod(mode & 0o7777)
        inode.reload()
        self.checked = 0
        return inode

    def create(self, name: bytes, mode: int, cred: Credentials, rdev: int = 0) -> Inode:
        check_name(name)
        kind = mode & S_IFMT
        directory = self.handle()
        if kind == S_IFREG:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN_SAFELY
            fd = os.open(name, flags, mode & 0o7777, dir_fd=directory)
            try:
                inode = self._made(name, None, cred)
                if inode.mode & 0o7777 != mode & 0o7777:
                    os.fchmod(fd, mode & 0o7777)
                    inode.checked = 0
            except BaseException:
                os.close(fd)
                raise
            assert isinstance(inode, DirectFile)
            # Whoever made it opens it next, perhaps with a mode that would not let it be opened again.
            inode.rw_fd = fd
            self.fs.touch(inode)
            return inode
        if kind == S_IFIFO:
            os.mkfifo(name, mode & 0o7777, dir_fd=directory)
        elif kind == S_IFSOCK or (kind == S_IFCHR and rdev == 0):
            os.mknod(name, mode, 0, dir_fd=directory)
        else:
            raise LinuxError(EPERM)
        return self._made(name, mode, cred)

    def mkdir(self, name: bytes, mode: int, cred: Credentials) -> Inode:
        check_name(name)
        os.mkdir(name, mode & 0o7777, dir_fd=self.handle())
        return self._made(name, mode | self.mode & S_ISGID, cred)

    def symlink(self, name: bytes, target: bytes, cred: Credentials) -> Inode:
        check_name(name)
        os.symlink(target, name, dir_fd=self.handle())
        return self._made(name, None, cred)

    def link(self, name: bytes, inode: Inode) -> None:
        check_name(name)
        assert isinstance(inode, DirectInode)
        directory, old = inode.place()
        os.link(old, name, src_dir_fd=directory, dst_dir_fd=self.handle(), follow_symlinks=False)
        inode.checked = self.checked = 0

    # -- taking away --------------------------------------------------------------------------

    def _gone(self, inode: Inode) -> None:
        """A name of ``inode`` in this directory is no more."""
        assert isinstance(inode, DirectInode)
        self.checked = 0
        inode.nlink = max(inode.nlink - 1, 0)
        if inode.mode & S_IFMT == S_IFDIR:
            inode.nlink = 0

    def unlink(self, name: bytes, inode: Inode) -> None:
        check_name(name)
        os.unlink(name, dir_fd=self.handle())
        self._gone(inode)
        _forget_place(inode, self, name)

    def rmdir(self, name: bytes, inode: Inode) -> None:
        check_name(name)
        os.rmdir(name, dir_fd=self.handle())
        self._gone(inode)
        _forget_place(inode, self, name)

    def rename(
        self, name: bytes, inode: Inode, new_dir: Inode, new_name: bytes, target: Inode | None, flags: int
    ) -> None:
        """Without flags: Python has no renameat2(2)."""
        if flags:
            raise LinuxError(EINVAL)
        check_name(name)
        check_name(new_name)
        assert isinstance(new_dir, DirectDirectory)
        assert isinstance(inode, DirectInode)
        source = self.handle()
        if len(self.fs.idle) >= self.fs.idle_limit:
            self.fs.touch(self)
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=new_dir.handle())
        if target is not None:
            new_dir._gone(target)
            _forget_place(target, new_dir, new_name)
        inode.parent = new_dir
        inode.name = new_name
        inode.checked = self.checked = new_dir.checked = 0


class DirectDirectoryFile(DirectoryFile):
    """An open directory of the host."""

    __slots__ = ()

    def fsync(self, datasync: bool) -> None:
        assert isinstance(self.inode, DirectDirectory)
        if self.inode.fs.read_only:
            return
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | OPEN_SAFELY, dir_fd=self.inode.handle())
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _forget_place(inode: Inode, directory: DirectDirectory, name: bytes) -> None:
    """``name`` in ``directory`` is not the way to ``inode`` any more."""
    assert isinstance(inode, DirectInode)
    if inode.parent is directory and inode.name == name:
        inode.parent = None


def check_name(name: bytes) -> None:
    """A name is one component; the kernel has seen to it, and the host must never be asked for another."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise LinuxError(ENOENT if not name else EINVAL)


def _type(entry: os.DirEntry[str]) -> int:
    """The S_IFMT part of an entry's mode, from the directory itself where it says so."""
    if entry.is_symlink():
        return S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return S_IFDIR
    if entry.is_file(follow_symlinks=False):
        return S_IFREG
    # One of the rare nodes, which Python can only tell apart by looking at the file.
    try:
        return entry.stat(follow_symlinks=False).st_mode & S_IFMT
    except FileNotFoundError:
        return 0
