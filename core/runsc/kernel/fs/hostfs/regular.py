"""Regular files of the host."""

from __future__ import annotations

import os
from errno import EACCES, ENXIO, EOPNOTSUPP, EROFS, ESTALE
from os import pread as os_pread

from runsc._native import lib
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.hostfs.inode import HostInode
from runsc.kernel.fs.hostfs.ops import DEV, INO, OPENED
from runsc.kernel.fs.regular import FALLOC_FL_NO_HIDE_STALE, FALLOC_FL_UNSHARE_RANGE, RegularFile
from runsc.kernel.fs.sparse import next_extent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.fs.hostfs.directory import HostDirectory
    from runsc.kernel.fs.hostfs.filesystem import HostFs
    from runsc.kernel.fs.hostfs.ops import Attributes
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File

#: A read that asks for more than this is cut down to the file's size before memory is taken for it.
_PLAIN_READ = 128 * 1024


class HostFile(HostInode):
    """A regular file.

    One host descriptor for readers and one for writers, shared by all who have it open (``readers``,
    ``writers``). The readers' stays for the next one when the last is gone (``HostFs.idle``); the
    writers' does not, because an open descriptor for writing keeps the host from executing the file.
    ``ro_handle``, ``rw_handle``: what ``ops`` knows them by.
    """

    __slots__ = ("is_root", "readers", "ro_fd", "ro_handle", "rw_fd", "rw_handle", "writers")

    def __init__(
        self, fs: HostFs, attributes: Attributes, parent: HostDirectory | None, name: bytes
    ) -> None:
        self.ro_fd = self.ro_handle = -1
        self.rw_fd = self.rw_handle = -1
        self.readers = 0
        self.writers = 0
        self.is_root = False
        super().__init__(fs, attributes, parent, name)

    def __del__(self) -> None:
        self._close_reading()
        self._close_writing()

    # -- descriptors --------------------------------------------------------------------------

    def open(self, path: Path, flags: int, task: Task) -> File:
        self.refresh()
        return RegularFile(self, flags, path)

    def told_of(self) -> bool:
        """Not of what is done by another name; and not of what is written while somebody here writes to files
        of this directory, or else we would be told of each write of our own."""
        parent = self.parent
        return self.nlink == 1 and not self.fs.shared and parent is not None and parent.watching_data

    def open_handle(self) -> tuple[int, bytes]:
        if self.rw_fd >= 0:
            return self.rw_handle, OPENED
        # One that is only kept for the next reader may be a file whose name is another's by now.
        return (self.ro_handle, OPENED) if self.readers or self.is_root else (-1, b"")

    def reload(self) -> None:
        # Our own descriptor is the shortest way.
        fd = self.rw_fd if self.rw_fd >= 0 else self.ro_fd if self.readers else -1
        if fd >= 0:
            self.load(attributes_of(fd))
        else:
            super().reload()

    def open_host(self, flags: int) -> tuple[int, int]:
        """A new descriptor of this file and its handle; the caller closes it. ESTALE if the name is another
        file's by now and this one is in use."""
        fd, handle, found = self.fs.ops.open(*self.place(), flags)
        try:
            if found[INO] != self.ino or found[DEV] != self.host_dev:
                self.replaced(found)
        except BaseException:
            self.fs.ops.close_file(fd, handle)
            raise
        return fd, handle

    def open_data(self, writable: bool) -> None:
        if writable:
            if self.rw_fd < 0:
                self.rw_fd, self.rw_handle = self._open_for_writing()
            self.writers += 1
        else:
            if self.ro_fd < 0:
                self.ro_fd, self.ro_handle = self.open_host(os.O_RDONLY)
            self.readers += 1

    def _open_for_writing(self) -> tuple[int, int]:
        if self.fs.read_only:
            raise LinuxError(EROFS)
        if self.is_root:
            raise LinuxError(EACCES)  # it could not be opened for writing
        if self.parent is not None:
            self.parent.data_changes_here()
        try:
            return self.open_host(os.O_RDWR)
        except PermissionError:
            return self.open_host(os.O_WRONLY)

    def made(self, fd: int, handle: int) -> None:
        """It was created by ``fd``. Whoever made it opens it next, perhaps with a mode that would not let
        it be opened again."""
        self.rw_fd = fd
        self.rw_handle = handle
        if self.parent is not None:
            self.parent.data_changes_here()
        self.fs.touch(self)

    def close_data(self, writable: bool) -> None:
        if writable:
            self.writers -= 1
            if not self.writers and not self.is_root:
                self._close_writing()
                self.valid_until = 0
        else:
            self.readers -= 1
            if not self.readers and not self.is_root:
                if self.nlink and self.parent is not None:
                    self.fs.touch(self)
                else:
                    self._close_reading()

    def close_idle(self) -> None:
        if not self.is_root:
            if not self.readers:
                self._close_reading()
            if not self.writers:
                self._close_writing()

    def _close_reading(self) -> None:
        if self.ro_fd >= 0:
            fd, self.ro_fd = self.ro_fd, -1
            self.fs.ops.close_file(fd, self.ro_handle)

    def _close_writing(self) -> None:
        if self.rw_fd >= 0:
            fd, self.rw_fd = self.rw_fd, -1
            self.fs.ops.close_file(fd, self.rw_handle)

    def replaced(self, attributes: Attributes) -> None:
        if self.readers or self.writers:
            raise LinuxError(ESTALE)
        super().replaced(attributes)
        self.close_idle()

    def pin_root(self) -> None:
        """A single file: there is no directory to reach it by later, so what was opened serves for all."""
        self.is_root = True
        self.ro_fd, self.rw_fd, self.ro_handle = self.fs.ops.open_root()
        self.rw_handle = self.ro_handle

    def unpin_root(self) -> None:
        self.is_root = False
        self.ro_fd = self.rw_fd = -1  # they are the root's, and go with it

    def host_fd(self, writable: bool) -> int:
        if writable:
            if self.rw_fd < 0:
                raise LinuxError(EACCES)
            # Pages that are written by a mapping change mtime when the host feels like it.
            self.valid_until = 0
            return self.rw_fd
        if self.ro_fd < 0:
            if self.rw_fd >= 0:
                return self.rw_fd
            self.ro_fd, self.ro_handle = self.open_host(os.O_RDONLY)
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
        self.valid_until = 0
        return count

    def end_of_data(self) -> int:
        self.reload()
        return self.size

    def truncate(self, size: int) -> None:
        if self.rw_fd >= 0:
            os.ftruncate(self.rw_fd, size)
        else:
            fd, handle = self.open_host(os.O_WRONLY)
            try:
                os.ftruncate(fd, size)
            finally:
                self.fs.ops.close_file(fd, handle)
        self.size = size
        self.valid_until = 0

    def seek_data(self, offset: int, whence: int) -> int:
        fd = self.ro_fd if self.ro_fd >= 0 else self.rw_fd
        found = next_extent(fd, offset, whence) if offset >= 0 else None
        if found is None:
            raise LinuxError(ENXIO)
        return found

    def allocate_data(self, mode: int, offset: int, length: int) -> None:
        if mode & (FALLOC_FL_NO_HIDE_STALE | FALLOC_FL_UNSHARE_RANGE):
            raise LinuxError(EOPNOTSUPP)
        result = lib.rn_fallocate(self.rw_fd, mode, offset, length)
        self.reload()
        if result < 0:
            raise LinuxError(-result)

    def sync_data(self, datasync: bool) -> None:
        if self.fs.read_only:
            return  # nothing can be dirty through here
        fd = self.rw_fd if self.rw_fd >= 0 else self.ro_fd
        if datasync:
            os.fdatasync(fd)
        else:
            os.fsync(fd)


def attributes_of(fd: int) -> Attributes:
    """fstat(2)."""
    st = os.fstat(fd)
    return (
        st.st_mode, st.st_ino, st.st_dev, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size,
        st.st_blksize, st.st_blocks, st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns,
    )  # fmt: skip
