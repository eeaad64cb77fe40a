"""Open file descriptions (struct file): what a descriptor points to, shared by dup and fork.

Operations never block. One that can't make progress raises ``WOULD_BLOCK``; the system call then
waits on ``wait_queue()`` for ``poll()`` to change and tries again, unless O_NONBLOCK says otherwise.
"""

from __future__ import annotations

from errno import EBADF, EFAULT, EINVAL, EISDIR, ENOTDIR, ENOTTY, ENXIO, ESPIPE

from runsc.abi.fcntl import O_ACCMODE, O_APPEND, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_WRONLY
from runsc.abi.poll import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.locks import release_file_locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.fs.epoll import EpollItem
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.fasync import Fasync, FileOwner
    from runsc.kernel.vfs.inode import DirEntry, Inode
    from runsc.kernel.wait import WaitQueue

#: What a file without a wait queue answers to poll(2): always ready.
ALWAYS_READY = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM


class File:
    """An open file description.

    ``path``: where it was opened (None for what has no place in the tree, such as an epoll);
    ``flags``: O_* status flags and access mode; ``pos``: the file offset; ``refs``: descriptors (and
    messages in
    flight) that point here; ``release`` runs when it falls to nothing. ``owner``, ``owner_signal``:
    F_SETOWN, F_SETSIG. ``fasync``: tells the owner, while there is O_ASYNC. ``epoll_items``: the
    epolls that watch it, or None.

    Subclasses override what the object can do.
    """

    __slots__ = ("epoll_items", "fasync", "flags", "inode", "owner", "owner_signal", "path", "pos", "refs")

    #: Does lseek(2) make sense, and do pread(2)/pwrite(2)?
    seekable = False
    #: Do reads of regular data always complete at once (regular files, directories)?
    is_regular = False
    #: Does writing where nobody can read any more send SIGPIPE?
    sigpipe = True
    #: Is it counted while it is in a message (sockets that may hold themselves alive)?
    collected = False
    #: Does a write(2) that found room for a part only wait until all is written?
    writes_all = True
    #: May areas that map it become one where they continue each other?
    joins = True
    #: Does it know O_ASYNC (file_operations.fasync)?
    sends_sigio = False
    #: Is only one of those who wait in read(2) woken when something comes? It calls ``next_reader`` then.
    readers_take_turns = False

    def __init__(self, inode: Inode, flags: int, path: Path | None = None) -> None:
        self.inode = inode
        self.flags = flags
        self.path = path
        self.pos = 0
        self.refs = 0
        self.owner: FileOwner | None = None
        self.owner_signal = 0
        self.fasync: Fasync | None = None
        self.epoll_items: list[EpollItem] | None = None
        if path is not None:
            path.dentry.pins += 1

    # -- references ---------------------------------------------------------------------------

    def get(self) -> File:
        """Take a reference."""
        self.refs += 1
        return self

    def put(self) -> None:
        """Give a reference back; the last one closes the file."""
        self.refs -= 1
        if self.refs == 0:
            if self.epoll_items is not None:
                for item in tuple(self.epoll_items):
                    item.remove()
            if self.fasync is not None:
                self.fasync.remove()
                self.fasync = None
            if self.inode.extra is not None:
                release_file_locks(self)
            if self.path is not None:
                self.path.dentry.pins -= 1
            self.release()

    def release(self) -> None:
        """The last reference is gone."""

    def flush(self, task: Task) -> None:
        """A descriptor of ``task``'s that pointed here was closed: close(2)'s errors come from here."""

    # -- access -------------------------------------------------------------------------------

    def readable(self) -> bool:
        return self.flags & (O_ACCMODE | O_PATH) in (O_RDONLY, O_RDWR)

    def writable(self) -> bool:
        return self.flags & (O_ACCMODE | O_PATH) in (O_WRONLY, O_RDWR)

    def nonblocking(self) -> bool:
        return bool(self.flags & O_NONBLOCK)

    def read(self, task: Task, count: int) -> bytes:
        """Up to ``count`` bytes at the offset, which moves on; b"" is the end of the file."""
        data = self.pread(task, count, self.pos)
        self.pos += len(data)
        return data

    def write(self, task: Task, data: bytes) -> int:
        """Write at the offset (the end with O_APPEND), which moves on; how much was written."""
        if self.flags & O_APPEND and data:
            self.inode.refresh()
            self.pos = self.inode.size
        count = self.pwrite(task, data, self.pos)
        self.pos += count
        return count

    def partial_input(self, data: bytes, wanted: int) -> bytes:
        """The guest's memory ends after ``data``, short of the ``wanted`` bytes of a write: what of it is
        written. Raises EFAULT where nothing is: most objects take all or nothing."""
        raise LinuxError(EFAULT)

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        raise LinuxError(EINVAL if self.seekable else ESPIPE)

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        raise LinuxError(EINVAL if self.seekable else ESPIPE)

    def lseek(self, task: Task, offset: int, whence: int) -> int:
        """The new offset. The generic rules for SEEK_SET, _CUR, _END, _DATA and _HOLE of a file without
        holes (lseek(2))."""
        if not self.seekable:
            raise LinuxError(ESPIPE)
        return generic_lseek(self, offset, whence)

    def readdir(self, task: Task) -> list[DirEntry]:
        """The directory's entries from the offset on, . and .. included (see ``DirectoryFile``)."""
        raise LinuxError(ENOTDIR)

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        """ioctl(2) requests of this object; ENOTTY for those it doesn't know."""
        raise LinuxError(ENOTTY)

    def fsync(self, datasync: bool) -> None:
        """EINVAL for what can't be synchronised (pipes, sockets)."""
        raise LinuxError(EINVAL)

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        """fallocate(2). ESPIPE for a pipe, ENODEV for what is no file, EOPNOTSUPP where it can't."""
        raise LinuxError(ESPIPE)

    # -- readiness ----------------------------------------------------------------------------

    def poll(self, task: Task | None = None) -> int:
        """The poll(2) events that hold now (POLLIN..., POLLERR and POLLHUP included)."""
        return ALWAYS_READY

    def wait_queue(self) -> WaitQueue | None:
        """Where to wait for ``poll()`` to change; None: it never does."""
        return None

    def next_reader(self) -> None:
        """One that waited to read waits no more: wake the next one if there is something left."""

    def read_deadline(self) -> int | None:
        """Until when read(2) waits, on the monotonic clock in ns (SO_RCVTIMEO); None: for ever."""
        return None

    def write_deadline(self) -> int | None:
        """The same of write(2) (SO_SNDTIMEO)."""
        return None

    # -- mapping ------------------------------------------------------------------------------

    def mmap_fd(self, prot: int, shared: bool) -> int:
        """A descriptor of the sentry's to map; ENODEV if this can't be mapped. The VFS has checked that
        the file is open for what ``prot`` asks."""
        return self.inode.host_fd(shared and self.writable())

    def write_sealed(self) -> bool:
        """Do seals forbid a shared mapping to become writable, though it is open for writing?"""
        return False

    # -- names --------------------------------------------------------------------------------

    def describe(self) -> str:
        """What /proc/PID/fd/N shows of a file without a place in the tree: ``anon_inode:[eventpoll]``."""
        return f"anon_inode:[{type(self).__name__.lower()}]"

    def fdinfo(self) -> str:
        """More lines for /proc/PID/fdinfo/N."""
        return ""


SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE = range(5)


def generic_lseek(file: File, offset: int, whence: int) -> int:
    """lseek(2) for a file whose size is its inode's (fs/read_write.c: generic_file_llseek)."""
    if whence == SEEK_SET:
        pos = offset
    elif whence == SEEK_CUR:
        pos = file.pos + offset
    elif whence in (SEEK_END, SEEK_DATA, SEEK_HOLE):
        file.inode.refresh()
        size = file.inode.size
        if whence == SEEK_END:
            pos = size + offset
        else:
            if offset < 0 or offset >= size:
                raise LinuxError(ENXIO)
            pos = offset if whence == SEEK_DATA else size
    else:
        raise LinuxError(EINVAL)
    if pos < 0 or pos > 0x7FFFFFFFFFFFFFFF:
        raise LinuxError(EINVAL)
    file.pos = pos
    return pos


class PathFile(File):
    """What O_PATH opens: a place, nothing to read or write."""

    __slots__ = ()

    def read(self, task: Task, count: int) -> bytes:
        raise LinuxError(EBADF)

    def write(self, task: Task, data: bytes) -> int:
        raise LinuxError(EBADF)


class DirectoryFile(File):
    """An open directory: the entries are read once at offset 0 and kept for the offset to count in.

    A rewind reads them anew, as POSIX asks of rewinddir(3).
    """

    __slots__ = ("entries",)

    seekable = True
    is_regular = True

    def __init__(self, inode: Inode, flags: int, path: Path | None = None) -> None:
        super().__init__(inode, flags, path)
        self.entries: list[DirEntry] | None = None

    def read(self, task: Task, count: int) -> bytes:
        raise LinuxError(EISDIR)

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        raise LinuxError(EISDIR)

    def lseek(self, task: Task, offset: int, whence: int) -> int:
        if whence == SEEK_SET:
            pos = offset
        elif whence == SEEK_CUR:
            pos = self.pos + offset
        else:
            raise LinuxError(EINVAL)
        if pos < 0:
            raise LinuxError(EINVAL)
        if pos == 0:
            self.entries = None
        self.pos = pos
        return pos

    def readdir(self, task: Task) -> list[DirEntry]:
        """The entries from ``pos`` on; the caller moves ``pos`` by as many as it took."""
        from runsc.kernel.vfs.inode import DirEntry

        if self.entries is None or self.pos == 0:
            from stat import S_IFDIR

            parent = self.inode
            if self.path is not None and self.path.dentry.parent.inode is not None:
                parent = self.path.dentry.parent.inode
            dots = [DirEntry(b".", self.inode.ino, S_IFDIR), DirEntry(b"..", parent.ino, S_IFDIR)]
            self.entries = dots + self.inode.readdir(task)
        return self.entries[self.pos :]

    def fsync(self, datasync: bool) -> None:
        """Directories synchronise (databases do it after a rename)."""
        self.inode.fs.sync()
