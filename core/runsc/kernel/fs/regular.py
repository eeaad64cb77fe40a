"""Regular files: what an inode with data offers, and the open file that reads and writes it.

A file system whose files hold data derives its inodes from ``DataInode`` and opens regular ones as
``RegularFile`` (or a subclass). Overlay stacks any such file system: it calls the inode, not the file.
"""

from __future__ import annotations

from errno import EBADF, EFBIG, EINVAL, ENOENT, ENXIO, EOPNOTSUPP, EXDEV
from stat import S_ISGID, S_ISUID

from runsc.abi.fcntl import O_ACCMODE, O_APPEND, O_RDONLY
from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.file import SEEK_DATA, SEEK_HOLE, File, generic_lseek
from runsc.kernel.vfs.inode import Inode
from runsc.kernel.vfs.truncate import remove_privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

#: The largest file offset (linux/fs.h: MAX_LFS_FILESIZE on 64 bit).
MAX_OFFSET = 0x7FFFFFFFFFFFFFFF
#: The most one read(2) or write(2) moves (linux/fs.h: MAX_RW_COUNT).
MAX_RW_COUNT = 0x7FFFF000

# fallocate(2) modes (linux/falloc.h).
FALLOC_FL_KEEP_SIZE = 0x01
FALLOC_FL_PUNCH_HOLE = 0x02
FALLOC_FL_NO_HIDE_STALE = 0x04
FALLOC_FL_COLLAPSE_RANGE = 0x08
FALLOC_FL_ZERO_RANGE = 0x10
FALLOC_FL_INSERT_RANGE = 0x20
FALLOC_FL_UNSHARE_RANGE = 0x40


class DataInode(Inode):
    """An inode of a file system whose regular files hold data.

    ``*_data`` are called on regular files only. They keep ``size``, ``mtime`` and ``ctime``
    right; access rights and limits were checked before.
    """

    __slots__ = ()

    def find(self, name: bytes, task: Task | None = None) -> DataInode | None:
        """``lookup`` of a directory that answers None for what isn't there: a layer is asked that often."""
        try:
            found = self.lookup(name, task)
        except FileNotFoundError:
            return None
        except LinuxError as error:
            if error.errno != ENOENT:
                raise
            return None
        if not isinstance(found, DataInode):
            raise LinuxError(EXDEV)
        return found

    def device_number(self) -> int:
        """The st_dev of this file: its file system's, unless that spans several devices."""
        return self.fs.dev

    def open_data(self, writable: bool) -> None:
        """Somebody opens the data; every call is matched by a ``close_data``. Raises what the open shall."""

    def close_data(self, writable: bool) -> None:
        """The match of ``open_data``; never raises."""

    def read_data(self, count: int, offset: int) -> bytes:
        """Up to ``count`` bytes from ``offset`` on; b"" at and beyond the end."""
        raise LinuxError(EINVAL)

    def write_data(self, data: bytes, offset: int) -> int:
        """Write at ``offset``, growing the file; how much was written (ENOSPC if nothing can be)."""
        raise LinuxError(EINVAL)

    def end_of_data(self) -> int:
        """The size, up to date: where O_APPEND writes."""
        self.refresh()
        return self.size

    def seek_data(self, offset: int, whence: int) -> int:
        """Where from ``offset`` on the next data (SEEK_DATA) or hole (SEEK_HOLE) is; raises ENXIO.

        Without an override the file is all data up to its end."""
        self.refresh()
        if not 0 <= offset < self.size:
            raise LinuxError(ENXIO)
        return offset if whence == SEEK_DATA else self.size

    def allocate_data(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2); ``offset`` and ``length`` are valid and their sum is in range."""
        raise LinuxError(EOPNOTSUPP)

    def sync_data(self, datasync: bool) -> None:
        """fsync(2), or fdatasync(2)."""

    def accessed(self, flags: int, path: Path | None) -> None:
        """The file was read through ``path``, opened with ``flags``: move atime on, unless others do."""


class RegularFile(File):
    """An open regular file. ``source`` is the inode that holds the data: ``inode``, or one below it.

    The system calls have checked that it is open for what they do.
    """

    __slots__ = ("source",)

    seekable = True
    is_regular = True

    def partial_input(self, data: bytes, wanted: int) -> bytes:
        """A regular file takes what there is (generic_perform_write)."""
        return data or super().partial_input(data, wanted)

    def __init__(self, inode: DataInode, flags: int, path: Path | None = None) -> None:
        if flags & O_ACCMODE == O_RDONLY:
            inode.open_data(False)
        else:
            inode.open_data(True)
            inode.write_count += 1
        super().__init__(inode, flags, path)
        self.source = inode

    def release(self) -> None:
        if self.flags & O_ACCMODE == O_RDONLY:
            self.source.close_data(False)
        else:
            self.source.close_data(True)
            self.inode.write_count -= 1

    def read(self, task: Task, count: int) -> bytes:
        data = self.pread(task, count, self.pos)
        self.pos += len(data)
        return data

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        return self.source.read_data(count, offset)

    def write(self, task: Task, data: bytes) -> int:
        if self.flags & O_APPEND and data:  # writing nothing doesn't even move the offset
            self.pos = self.source.end_of_data()
        count = self._write(task, data, self.pos)
        self.pos += count
        return count

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        if self.flags & O_APPEND:
            # Linux appends whatever the offset says (pwrite(2), BUGS).
            offset = self.source.end_of_data()
        return self._write(task, data, offset)

    def _write(self, task: Task, data: bytes, offset: int) -> int:
        if not data:
            return 0
        if offset + len(data) > MAX_OFFSET:
            if offset >= MAX_OFFSET:
                raise LinuxError(EFBIG)
            data = data[: MAX_OFFSET - offset]
        inode = self.inode
        if inode.mode & (S_ISUID | S_ISGID):
            remove_privileges(task, inode)
        return self.source.write_data(data, offset)

    def lseek(self, task: Task, offset: int, whence: int) -> int:
        if whence in (SEEK_DATA, SEEK_HOLE):
            self.pos = self.source.seek_data(offset, whence)
            return self.pos
        return generic_lseek(self, offset, whence)

    def fsync(self, datasync: bool) -> None:
        self.source.sync_data(datasync)

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        if self.flags & O_ACCMODE == O_RDONLY:
            raise LinuxError(EBADF)
        if offset < 0 or length <= 0:
            raise LinuxError(EINVAL)
        if mode & FALLOC_FL_PUNCH_HOLE and not mode & FALLOC_FL_KEEP_SIZE:
            raise LinuxError(EOPNOTSUPP)
        if offset + length > MAX_OFFSET:
            raise LinuxError(EFBIG)
        self.source.allocate_data(mode, offset, length)
