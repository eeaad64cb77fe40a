"""Inodes of the host: files, links and nodes. Directories are in ``directory``.

An inode knows a directory and a name by which it was found last. A host call on it goes through the
directory's descriptor and that one name, and never follows a symbolic link; what was opened is compared with
what was meant. So neither a name nor a race can lead out of the tree.
"""

from __future__ import annotations

import os
from errno import EACCES, EINVAL, ENODATA, ENXIO, EOPNOTSUPP, EPERM, EROFS, ESTALE
from fcntl import F_GETFL, fcntl
from os import pread as os_pread
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG
from time import monotonic_ns

from runsc.abi.fcntl import O_ACCMODE, O_RDWR
from runsc.abi.stat import S_IFMT
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.regular import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, DataInode, RegularFile
from runsc.kernel.fs.sparse import next_extent, punch_hole
from runsc.kernel.vfs.inode import Stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import SetAttr
    from runsc_fs_direct.directory import DirectDirectory
    from runsc_fs_direct.filesystem import DirectFs

#: Always with an open: nothing is followed, nothing waits, no terminal is taken over.
OPEN_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
#: A read that asks for more than this is cut down to the file's size before memory is taken for it.
_PLAIN_READ = 128 * 1024


class DirectInode(DataInode):
    """A file of the host.

    ``parent``, ``name``: where it was found last; ``parent`` is None for the root and for what was unlinked.
    ``host_dev``, ``ino``: which file it is. ``checked``: when the attributes were read (monotonic ns), or 0
    if they must be read again.
    """

    __slots__ = ("blksize", "blocks", "checked", "host_dev", "name", "parent", "xattr_names")

    fs: DirectFs

    def __init__(self, fs: DirectFs, st: os.stat_result) -> None:
        # Everything that Inode.__init__ sets, once.
        self.fs = fs
        self.ino = st.st_ino
        self.host_dev = st.st_dev
        self.extra = None
        self.btime = 0
        self.parent: DirectDirectory | None = None
        self.name = b""
        self.xattr_names: frozenset[bytes] | None = None
        self.ctime = 0
        self.load(st)

    # -- attributes ---------------------------------------------------------------------------

    def load(self, st: os.stat_result) -> None:
        """Take over what the host says about this file."""
        self.mode = st.st_mode
        self.nlink = st.st_nlink
        self.uid = st.st_uid
        self.gid = st.st_gid
        self.rdev = st.st_rdev
        self.size = st.st_size
        self.blocks = st.st_blocks
        self.blksize = st.st_blksize
        self.atime = st.st_atime_ns
        self.mtime = st.st_mtime_ns
        ctime = st.st_ctime_ns
        if ctime != self.ctime:
            self.ctime = ctime
            self.xattr_names = None
        self.checked = monotonic_ns()

    def refresh(self) -> None:
        if monotonic_ns() - self.checked > self.fs.ttl:
            self.reload()

    def reload(self) -> None:
        """Ask the host again. A file whose name is gone keeps what was known of it."""
        fd = self.open_fd()
        if fd >= 0:
            self.load(os.fstat(fd))
            return
        if self.parent is None:
            self.checked = monotonic_ns()
            return
        try:
            st = os.stat(self.name, dir_fd=self.parent.handle(), follow_symlinks=False)
        except FileNotFoundError:
            self.checked = monotonic_ns()
            return
        if st.st_ino == self.ino and st.st_dev == self.host_dev:
            self.load(st)
        else:
            self.replaced(st)

    def replaced(self, st: os.stat_result) -> None:
        """The host has put another file in this one's place (by rename, as editors and package managers do).

        Nothing is open here, so this inode becomes that file, unless its type is another: then the name must
        be looked up again, and this inode is stale."""
        key = (st.st_dev, st.st_ino)
        if (self.mode ^ st.st_mode) & S_IFMT or key in self.fs.inodes:
            raise LinuxError(ESTALE)
        old = (self.host_dev, self.ino)
        if self.fs.inodes.get(old) is self:
            del self.fs.inodes[old]
        self.fs.inodes[key] = self
        self.host_dev, self.ino = key
        self.load(st)

    def device_number(self) -> int:
        fs = self.fs
        return fs.dev if self.host_dev == fs.host_dev else fs.device(self.host_dev)

    def stat(self) -> Stat:
        fs = self.fs
        if monotonic_ns() - self.checked > fs.ttl:
            self.reload()
        return Stat(
            fs.dev if self.host_dev == fs.host_dev else fs.device(self.host_dev), self.ino, self.mode,
            self.nlink, self.uid, self.gid, self.rdev, self.size, self.blksize, self.blocks, self.atime,
            self.mtime, self.ctime, 0,
        )  # fmt: skip

    def setattr(self, attr: SetAttr) -> None:
        if attr.size is not None:
            self.truncate(attr.size)
        fd = self.open_fd()
        if attr.uid is not None or attr.gid is not None:
            uid = -1 if attr.uid is None else attr.uid
            gid = -1 if attr.gid is None else attr.gid
            if fd >= 0:
                os.chown(fd, uid, gid)
            else:
                directory, name = self.place()
                os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
        if attr.atime is not None or attr.mtime is not None:
            self.refresh()
            times = (
                self.atime if attr.atime is None else attr.atime,
                self.mtime if attr.mtime is None else attr.mtime,
            )
            if fd >= 0:
                os.utime(fd, ns=times)
            else:
                directory, name = self.place()
                os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)
        if attr.mode is not None:
            self.chmod(attr.mode & 0o7777)
        self.reload()

    def chmod(self, mode: int) -> None:
        """Through a descriptor, if the file is one that may be opened; a node is changed by its name."""
        fd = self.open_fd()
        if fd >= 0:
            os.chmod(fd, mode)
            return
        try:
            fd = self.open_host(os.O_RDONLY)
        except OSError as error:
            if error.errno != EACCES:
                raise
            fd = -1
        except LinuxError as error:
            if error.errno != ENXIO:
                raise
        if fd >= 0:
            try:
                os.chmod(fd, mode)
            finally:
                os.close(fd)
            return
        directory, name = self.place()
        os.chmod(name, mode, dir_fd=directory, follow_symlinks=False)

    # -- the way to it ------------------------------------------------------------------------

    def place(self) -> tuple[int, bytes]:
        """The descriptor and the name for a call of the *at family. Raises ESTALE for what has no name."""
        if self.parent is None:
            raise LinuxError(ESTALE)
        return self.parent.handle(), self.name

    def open_fd(self) -> int:
        """A descriptor that is certain to be this very file, or -1."""
        return -1

    def any_fd(self) -> int:
        """A descriptor for calls about the file system."""
        raise LinuxError(ESTALE)

    def open_host(self, flags: int) -> int:
        """A new descriptor of this file; the caller closes it. ENXIO for what is never opened on the host
        (FIFOs, devices, sockets, links); ESTALE if the name is another file's by now."""
        if self.mode & S_IFMT not in (S_IFREG, S_IFDIR):
            raise LinuxError(ENXIO)
        directory, name = self.place()
        fd = os.open(name, flags | OPEN_SAFELY, dir_fd=directory)
        try:
            st = os.fstat(fd)
            if st.st_ino != self.ino or st.st_dev != self.host_dev:
                self.replaced(st)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def close_idle(self) -> None:
        """Close the descriptors that nobody is using."""

    def pin_root(self, fd: int) -> None:
        """This is the root of its file system: take over the descriptor by which it was opened."""
        raise NotImplementedError

    def unpin_root(self) -> None:
        """The file system is released."""

    # -- extended attributes ------------------------------------------------------------------

    def _names(self) -> frozenset[bytes]:
        """The names of the attributes, which are read once; most files have none."""
        self.refresh()
        if self.xattr_names is None:
            try:
                fd, ours = self._xattr_fd()
            except PermissionError:
                # Linux would let anybody who can reach the file see the names; Python needs it open.
                return frozenset()
            if fd < 0:
                return frozenset()
            try:
                self.xattr_names = frozenset(os.fsencode(name) for name in os.listxattr(fd))
            finally:
                if ours:
                    os.close(fd)
        return self.xattr_names

    def _xattr_fd(self) -> tuple[int, bool]:
        """A descriptor to reach attributes by, and whether the caller closes it. -1 for links and nodes."""
        fd = self.open_fd()
        if fd >= 0 and self.mode & S_IFMT == S_IFREG:
            return fd, False
        if self.mode & S_IFMT not in (S_IFREG, S_IFDIR):
            return -1, False
        return self.open_host(os.O_RDONLY), True

    def getxattr(self, name: bytes) -> bytes:
        _check_xattr(name)
        if name not in self._names():
            raise LinuxError(ENODATA)
        fd, ours = self._xattr_fd()
        try:
            return os.getxattr(fd, name)
        finally:
            if ours:
                os.close(fd)

    def setxattr(self, name: bytes, value: bytes, flags: int) -> None:
        _check_xattr(name)
        fd, ours = self._xattr_fd()
        if fd < 0:
            raise LinuxError(EPERM if name.startswith(b"user.") else EOPNOTSUPP)
        try:
            os.setxattr(fd, name, value, flags)
        finally:
            if ours:
                os.close(fd)
        self.xattr_names = None
        self.checked = 0

    def listxattr(self) -> list[bytes]:
        return sorted(name for name in self._names() if not name.startswith(b"system."))

    def removexattr(self, name: bytes) -> None:
        _check_xattr(name)
        if name not in self._names():
            raise LinuxError(ENODATA)
        fd, ours = self._xattr_fd()
        try:
            os.removexattr(fd, name)
        finally:
            if ours:
                os.close(fd)
        self.xattr_names = None
        self.checked = 0


def _check_xattr(name: bytes) -> None:
    """Access control lists (system.*) are the host's affair: as on a file system without them."""
    if not name.startswith((b"user.", b"trusted.", b"security.")):
        raise LinuxError(EOPNOTSUPP)


class DirectNode(DirectInode):
    """A symbolic link, or a node that is never opened on the host: FIFO, socket, device."""

    __slots__ = ("fd", "target")

    def __init__(self, fs: DirectFs, st: os.stat_result) -> None:
        super().__init__(fs, st)
        self.target: bytes | None = None
        self.fd = -1

    def pin_root(self, fd: int) -> None:
        self.fd = fd

    def unpin_root(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def any_fd(self) -> int:
        return self.fd if self.fd >= 0 else super().any_fd()

    def reload(self) -> None:
        if self.fd >= 0:
            self.load(os.fstat(self.fd))
        else:
            super().reload()

    def replaced(self, st: os.stat_result) -> None:
        super().replaced(st)
        self.target = None

    def readlink(self, task: Task | None = None) -> bytes:
        if self.mode & S_IFMT != S_IFLNK:
            raise LinuxError(EINVAL)
        # The text of a link never changes as long as it is the same link.
        if monotonic_ns() - self.checked > self.fs.ttl:
            self.reload()
        if self.target is None:
            directory, name = self.place()
            self.target = os.readlink(name, dir_fd=directory)
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


class DirectFile(DirectInode):
    """A regular file.

    One host descriptor for readers and one for writers, shared by all who have it open (``readers``,
    ``writers``). The readers' stays for the next one when the last is gone (``DirectFs.idle``); the
    writers' does not, because an open descriptor for writing keeps the host from executing the file.
    """

    __slots__ = ("is_root", "readers", "ro_fd", "rw_fd", "writers")

    def __init__(self, fs: DirectFs, st: os.stat_result) -> None:
        super().__init__(fs, st)
        self.ro_fd = -1
        self.rw_fd = -1
        self.readers = 0
        self.writers = 0
        self.is_root = False

    def __del__(self) -> None:
        for fd in (self.ro_fd, self.rw_fd):
            if fd >= 0:
                os.close(fd)

    # -- descriptors --------------------------------------------------------------------------

    def open(self, path: Path, flags: int, task: Task) -> File:
        self.refresh()
        return RegularFile(self, flags, path)

    def open_fd(self) -> int:
        if self.rw_fd >= 0:
            return self.rw_fd
        # One that is only kept for the next reader may be a file whose name is another's by now.
        return self.ro_fd if self.readers or self.is_root else -1

    def any_fd(self) -> int:
        return self.ro_fd if self.ro_fd >= 0 else self.rw_fd

    def open_data(self, writable: bool) -> None:
        if writable:
            if self.rw_fd < 0:
                self.rw_fd = self._open_for_writing()
            self.writers += 1
        else:
            if self.ro_fd < 0:
                self.ro_fd = self.open_host(os.O_RDONLY)
            self.readers += 1

    def _open_for_writing(self) -> int:
        if self.fs.read_only:
            raise LinuxError(EROFS)
        if self.is_root:
            raise LinuxError(EACCES)  # it could not be opened for writing
        try:
            return self.open_host(os.O_RDWR)
        except PermissionError:
            return self.open_host(os.O_WRONLY)

    def close_data(self, writable: bool) -> None:
        if writable:
            self.writers -= 1
            if not self.writers and self.rw_fd >= 0 and not self.is_root:
                os.close(self.rw_fd)
                self.rw_fd = -1
        else:
            self.readers -= 1
            if not self.readers and not self.is_root:
                self.fs.touch(self)

    def close_idle(self) -> None:
        if self.is_root:
            return
        if not self.readers and self.ro_fd >= 0:
            os.close(self.ro_fd)
            self.ro_fd = -1
        if not self.writers and self.rw_fd >= 0:
            os.close(self.rw_fd)
            self.rw_fd = -1

    def replaced(self, st: os.stat_result) -> None:
        if self.readers or self.writers:
            raise LinuxError(ESTALE)
        super().replaced(st)
        self.close_idle()

    def pin_root(self, fd: int) -> None:
        """A single file: there is no directory to reach it by later, so this descriptor serves for all."""
        if fcntl(fd, F_GETFL) & O_ACCMODE == O_RDWR:
            self.rw_fd = os.dup(fd)
        self.ro_fd = fd
        self.is_root = True

    def unpin_root(self) -> None:
        self.is_root = False
        self.close_idle()

    def host_fd(self, writable: bool) -> int:
        if writable:
            if self.rw_fd < 0:
                raise LinuxError(EACCES)
            # Pages that are written by a mapping change mtime when the host feels like it.
            self.checked = 0
            return self.rw_fd
        if self.ro_fd < 0:
            if self.rw_fd >= 0:
                return self.rw_fd
            self.ro_fd = self.open_host(os.O_RDONLY)
            self.fs.touch(self)
        return self.ro_fd

    # -- data ---------------------------------------------------------------------------------

    def read_data(self, count: int, offset: int) -> bytes:
        fd = self.ro_fd if self.ro_fd >= 0 else self.rw_fd
        if count > _PLAIN_READ:
            left = os.fstat(fd).st_size - offset
            count = min(count, max(left, _PLAIN_READ))
        return os_pread(fd, count, offset)

    def write_data(self, data: bytes, offset: int) -> int:
        count = os.pwrite(self.rw_fd, data, offset)
        if offset + count > self.size:
            self.size = offset + count
        # The host knows the times and blocks; they are read when somebody asks.
        self.checked = 0
        return count

    def end_of_data(self) -> int:
        if self.fs.shared:
            self.reload()
        return self.size

    def truncate(self, size: int) -> None:
        if self.rw_fd >= 0:
            os.ftruncate(self.rw_fd, size)
        else:
            fd = self.open_host(os.O_WRONLY)
            try:
                os.ftruncate(fd, size)
            finally:
                os.close(fd)
        self.size = size
        self.checked = 0

    def seek_data(self, offset: int, whence: int) -> int:
        fd = self.ro_fd if self.ro_fd >= 0 else self.rw_fd
        found = next_extent(fd, offset, whence) if offset >= 0 else None
        if found is None:
            raise LinuxError(ENXIO)
        return found

    def allocate_data(self, mode: int, offset: int, length: int) -> None:
        """Mode 0 and punching holes; the host's other modes can't be asked for from Python."""
        if mode == 0:
            os.posix_fallocate(self.rw_fd, offset, length)
        elif mode == FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
            punch_hole(self.rw_fd, offset, offset + length)
        else:
            raise LinuxError(EOPNOTSUPP)
        self.reload()

    def sync_data(self, datasync: bool) -> None:
        if self.fs.read_only:
            return  # nothing can be dirty through here
        fd = self.rw_fd if self.rw_fd >= 0 else self.ro_fd
        if datasync:
            os.fdatasync(fd)
        else:
            os.fsync(fd)
