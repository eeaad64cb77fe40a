"""read(2), write(2), their positioned and vectored variants, and lseek(2) (fs/read_write.c)."""

from __future__ import annotations

from errno import EBADF, EFAULT, EINVAL, EOPNOTSUPP, ESPIPE

from runsc.abi.fcntl import O_ACCMODE, O_APPEND, O_DSYNC, O_NONBLOCK, O_PATH
from runsc.abi.inotify import IN_ACCESS
from runsc.kernel.errors import LinuxError, WouldBlock
from runsc.kernel.io import (
    CHUNK,
    check_range,
    deliver,
    import_vector,
    pread_vector,
    pwrite_vector,
    read_vector,
    read_waiting,
    write_failed,
    write_regular,
    write_rest,
    write_vector,
    written,
)
from runsc.kernel.mm.usercopy import USER_END
from runsc.kernel.syscalls.decl import (
    Fd,
    InBuf,
    InIovec,
    Off,
    OutBuf,
    OutIovec,
    RwFlags,
    Size,
    Whence,
    syscall,
)
from runsc.kernel.thread_group import RLIM_INFINITY, RLIMIT_FSIZE
from runsc.kernel.vfs.notify import file_event
from runsc.kernel.vfs.truncate import MAX_FILE_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

RWF_HIPRI = 0x01
RWF_DSYNC = 0x02
RWF_SYNC = 0x04
RWF_NOWAIT = 0x08
RWF_APPEND = 0x10
RWF_NOAPPEND = 0x20
_RWF_SUPPORTED = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND

_MODE = O_ACCMODE | O_PATH
_READABLE = (0, 2)
_WRITABLE = (1, 2)
_SEEK_MAX = 4
#: From here on a transfer might reach beyond the largest offset.
_NEAR_END = MAX_FILE_SIZE - CHUNK


@syscall(0)
def read(task: Task, fd: Fd, buf: OutBuf, count: Size) -> Result:
    """read(2)."""
    file = task.files.files.get(fd)
    if file is None or file.flags & _MODE not in _READABLE:
        raise LinuxError(EBADF)
    if count > CHUNK or buf + count > USER_END:
        count = check_range(buf, count)
        return read_vector(task, file, [(buf, count)], count)
    try:
        data = file.read(task, count)
    except WouldBlock:
        if file.flags & O_NONBLOCK or file.wait_queue() is None:
            raise
        return read_waiting(task, file, [(buf, count)], count)
    if not data:
        if file.pos + count > MAX_FILE_SIZE:
            raise LinuxError(EINVAL)
        return 0
    if task.kernel.notify is not None:
        file_event(task.kernel, file, IN_ACCESS)
    length = len(data)
    if task.mm.space.write(buf, data) == length:
        return length
    return deliver(task, file, [(buf, length)], data, True)


@syscall(1)
def write(task: Task, fd: Fd, buf: InBuf, count: Size) -> Result:
    """write(2)."""
    file = task.files.files.get(fd)
    if file is None or file.flags & _MODE not in _WRITABLE:
        raise LinuxError(EBADF)
    if count > CHUNK or buf + count > USER_END:
        count = check_range(buf, count)
        return write_vector(task, file, [(buf, count)], count)
    data = task.mm.space.read(buf, count)
    if len(data) != count:
        data = file.partial_input(data, count)
    if file.is_regular:
        if file.pos + count > MAX_FILE_SIZE:
            raise LinuxError(EINVAL)
        if file.flags & O_DSYNC or task.group.limits[RLIMIT_FSIZE][0] != RLIM_INFINITY:
            return write_regular(task, file, data)
        if task.kernel.notify is not None:
            return written(task, file, file.write(task, data))
        return file.write(task, data)
    try:
        done = file.write(task, data)
    except (LinuxError, OSError) as error:
        return write_failed(task, file, data, None, 0, error)
    if done == len(data):
        return done
    return write_rest(task, file, data, done)


@syscall(17)
def pread64(task: Task, fd: Fd, buf: OutBuf, count: Size, offset: Off) -> Result:
    """pread(2)."""
    if offset < 0:
        raise LinuxError(EINVAL)
    file = task.files.files.get(fd)
    if file is None or file.flags & O_PATH:
        raise LinuxError(EBADF)
    if not file.seekable:
        raise LinuxError(ESPIPE)
    if file.flags & _MODE not in _READABLE:
        raise LinuxError(EBADF)
    if count > CHUNK or buf + count > USER_END or offset > _NEAR_END:
        count = check_range(buf, count)
        check_end(offset, count)
        return pread_vector(task, file, [(buf, count)], count, offset)
    data = file.pread(task, count, offset)
    if not data:
        return 0
    if task.kernel.notify is not None:
        file_event(task.kernel, file, IN_ACCESS)
    length = len(data)
    if task.mm.space.write(buf, data) == length:
        return length
    return deliver(task, file, [(buf, length)], data, False)


@syscall(18)
def pwrite64(task: Task, fd: Fd, buf: InBuf, count: Size, offset: Off) -> Result:
    """pwrite(2)."""
    if offset < 0:
        raise LinuxError(EINVAL)
    file = task.files.files.get(fd)
    if file is None or file.flags & O_PATH:
        raise LinuxError(EBADF)
    if not file.seekable:
        raise LinuxError(ESPIPE)
    if file.flags & _MODE not in _WRITABLE:
        raise LinuxError(EBADF)
    if (
        count > CHUNK
        or buf + count > USER_END
        or not file.is_regular
        or file.flags & O_DSYNC
        or offset > _NEAR_END
        or task.group.limits[RLIMIT_FSIZE][0] != RLIM_INFINITY
    ):
        count = check_range(buf, count)
        check_end(offset, count)
        return pwrite_vector(task, file, [(buf, count)], count, offset)
    data = task.mm.space.read(buf, count)
    if not data and count:
        raise LinuxError(EFAULT)
    if task.kernel.notify is not None:
        return written(task, file, file.pwrite(task, data, offset))
    return file.pwrite(task, data, offset)


def check_end(offset: int, count: int) -> None:
    """rw_verify_area: the transfer must not go beyond the largest offset."""
    if offset + count > MAX_FILE_SIZE:
        raise LinuxError(EINVAL)


# -- vectors ------------------------------------------------------------------------------------


def _readable(task: Task, fd: int, positioned: bool = False) -> File:
    """The file of ``fd``, open for reading; ESPIPE if it has no offsets and one is given."""
    file = task.files.get(fd)
    if positioned and not file.seekable:
        raise LinuxError(ESPIPE)
    if file.flags & _MODE not in _READABLE:
        raise LinuxError(EBADF)
    return file


def _writable(task: Task, fd: int, positioned: bool = False) -> File:
    file = task.files.get(fd)
    if positioned and not file.seekable:
        raise LinuxError(ESPIPE)
    if file.flags & _MODE not in _WRITABLE:
        raise LinuxError(EBADF)
    return file


@syscall(19)
def readv(task: Task, fd: Fd, iov: OutIovec, count: Size) -> Result:
    """readv(2)."""
    file = _readable(task, fd)
    entries, total = import_vector(task, iov, count)
    if not total:
        return 0
    return read_vector(task, file, entries, total)


@syscall(20)
def writev(task: Task, fd: Fd, iov: InIovec, count: Size) -> Result:
    """writev(2)."""
    file = _writable(task, fd)
    entries, total = import_vector(task, iov, count)
    if not total:
        return 0
    return write_vector(task, file, entries, total)


@syscall(295)
def preadv(task: Task, fd: Fd, iov: OutIovec, count: Size, offset: Off) -> Result:
    """preadv(2)."""
    if offset < 0:
        raise LinuxError(EINVAL)
    return _preadv(task, fd, iov, count, offset, 0)


@syscall(296)
def pwritev(task: Task, fd: Fd, iov: InIovec, count: Size, offset: Off) -> Result:
    """pwritev(2)."""
    if offset < 0:
        raise LinuxError(EINVAL)
    return _pwritev(task, fd, iov, count, offset, 0)


def _preadv(task: Task, fd: int, iov: int, count: int, offset: int, flags: int) -> int:
    file = _readable(task, fd, True)
    entries, total = import_vector(task, iov, count)
    if not total:
        return 0
    _check_rwf(flags)
    check_end(offset, total)
    return pread_vector(task, file, entries, total, offset)


def _pwritev(task: Task, fd: int, iov: int, count: int, offset: int, flags: int) -> int:
    file = _writable(task, fd, True)
    entries, total = import_vector(task, iov, count)
    if not total:
        return 0
    _check_rwf(flags)
    check_end(offset, total)
    with _StatusFlags(file, flags):
        done = pwrite_vector(task, file, entries, total, offset)
    if flags & (RWF_DSYNC | RWF_SYNC) and file.is_regular:
        file.fsync(not flags & RWF_SYNC)
    return done


@syscall(327)
def preadv2(
    task: Task, fd: Fd, iov: OutIovec, count: Size, offset: Off, offset_high: Size, flags: RwFlags
) -> Result:
    """preadv2(2); at the file's own offset if ``offset`` is -1. All of the offset is in ``offset``."""
    if offset == -1:
        file = _readable(task, fd)
        entries, total = import_vector(task, iov, count)
        if not total:
            return 0
        _check_rwf(flags)
        return read_vector(task, file, entries, total, bool(flags & RWF_NOWAIT))
    if offset < 0:
        raise LinuxError(EINVAL)
    return _preadv(task, fd, iov, count, offset, flags)


@syscall(328)
def pwritev2(
    task: Task, fd: Fd, iov: InIovec, count: Size, offset: Off, offset_high: Size, flags: RwFlags
) -> Result:
    """pwritev2(2); at the file's own offset if ``offset`` is -1."""
    if offset != -1:
        if offset < 0:
            raise LinuxError(EINVAL)
        return _pwritev(task, fd, iov, count, offset, flags)
    file = _writable(task, fd)
    entries, total = import_vector(task, iov, count)
    if not total:
        return 0
    _check_rwf(flags)
    with _StatusFlags(file, flags):
        result = write_vector(task, file, entries, total, bool(flags & RWF_NOWAIT))
    if flags & (RWF_DSYNC | RWF_SYNC) and file.is_regular:
        file.fsync(not flags & RWF_SYNC)
    return result


def _check_rwf(flags: int) -> None:
    """kiocb_set_rw_flags."""
    if flags & ~_RWF_SUPPORTED:
        raise LinuxError(EOPNOTSUPP)
    if flags & RWF_APPEND and flags & RWF_NOAPPEND:
        raise LinuxError(EINVAL)


class _StatusFlags:
    """O_APPEND of a file, set or cleared for one write (RWF_APPEND, RWF_NOAPPEND)."""

    __slots__ = ("file", "saved")

    def __init__(self, file: File, flags: int) -> None:
        self.file = file
        self.saved = file.flags
        if flags & RWF_APPEND:
            file.flags |= O_APPEND
        elif flags & RWF_NOAPPEND:
            file.flags &= ~O_APPEND

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_exception: object) -> None:
        self.file.flags = self.saved


# -- offsets ------------------------------------------------------------------------------------


@syscall(8)
def lseek(task: Task, fd: Fd, offset: Off, whence: Whence) -> Result:
    """lseek(2)."""
    file = task.files.files.get(fd)
    if file is None or file.flags & O_PATH:
        raise LinuxError(EBADF)
    if whence > _SEEK_MAX:
        raise LinuxError(EINVAL)
    return file.lseek(task, offset, whence)
