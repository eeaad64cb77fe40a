"""sendfile(2), copy_file_range(2), splice(2), tee(2), vmsplice(2): from file to file (fs/splice.c,
fs/read_write.c).

The data goes through the kernel's memory, a piece at a time. What was read from a pipe is taken out of it
only
when the other side has it.
"""

from __future__ import annotations

from errno import EBADF, EFBIG, EINVAL, EISDIR, EOVERFLOW, EPIPE, ESPIPE, EXDEV

from runsc.abi.fcntl import O_APPEND, O_NONBLOCK
from runsc.kernel.errors import Interrupted, LinuxError, WouldBlock
from runsc.kernel.fs.pipe import Pipe, PipeFile
from runsc.kernel.io import (
    READ_EVENTS,
    WRITE_EVENTS,
    broken_pipe,
    import_vector,
    limited,
    read_vector,
    write_vector,
)
from runsc.kernel.mm.usercopy import MAX_RW_COUNT
from runsc.kernel.syscalls.decl import Fd, InIovec, InOutOff, Size, SpliceFlags, UInt, syscall
from runsc.kernel.vfs.truncate import MAX_FILE_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

SPLICE_F_MOVE = 1
SPLICE_F_NONBLOCK = 2
SPLICE_F_MORE = 4
SPLICE_F_GIFT = 8
_SPLICE_FLAGS = 15
_U64 = 0xFFFFFFFFFFFFFFFF

#: What is moved in one piece.
_PIECE = 1 << 18
#: The most one call copies between regular files: both calls may do less than they were asked, and nobody
#: else
#: runs meanwhile.
_COPY_MAX = 16 << 20


def _file(task: Task, fd: int, writing: bool) -> File:
    file = task.files.get(fd)
    if not (file.writable() if writing else file.readable()):
        raise LinuxError(EBADF)
    return file


def _offset(task: Task, addr: int) -> int:
    value = task.mm.read_u64(addr)
    return (value ^ 1 << 63) - (1 << 63)


# -- sendfile -----------------------------------------------------------------------------------


@syscall(40)
def sendfile(task: Task, out_fd: Fd, in_fd: Fd, offset: InOutOff, count: Size) -> Result:
    """sendfile(2)."""
    position: int | None = None
    if offset:
        position = _offset(task, offset)
    source = _file(task, in_fd, False)
    if position is not None and not source.seekable:
        raise LinuxError(ESPIPE)
    if count > MAX_FILE_SIZE or (position is not None and position < 0):
        raise LinuxError(EINVAL)
    target = _file(task, out_fd, True)
    if not source.seekable or source.inode.is_dir() or target.flags & O_APPEND:
        raise LinuxError(EINVAL)
    start = source.pos if position is None else position
    transfer = Transfer(task, source, start, target, min(count, MAX_RW_COUNT))
    if target.is_regular:
        transfer.count = min(transfer.count, _COPY_MAX)
    return _run_sendfile(transfer, offset)


async def _run_sendfile(transfer: Transfer, offset: int) -> int:
    start = transfer.position
    try:
        return await transfer.run()
    finally:
        # How far it came is told even if the rest failed.
        end = start + transfer.done
        if offset:
            transfer.task.mm.write_u64(offset, end)
        else:
            transfer.source.pos = end


class Transfer:
    """A copy from a file with offsets to any file, at that one's own offset. ``done``: bytes so far."""

    __slots__ = ("count", "done", "position", "source", "target", "task")

    def __init__(self, task: Task, source: File, position: int, target: File, count: int) -> None:
        self.task = task
        self.source = source
        self.position = position
        self.target = target
        self.count = count
        self.done = 0

    async def run(self) -> int:
        """Copy until the end, waiting for the target unless it is non-blocking."""
        task, target = self.task, self.target
        self.source.get()
        target.get()
        try:
            while self.done < self.count:
                data = self.source.pread(task, min(_PIECE, self.count - self.done), self.position + self.done)
                if not data:
                    break
                if target.is_regular:
                    data = limited(task, target, data, None)
                try:
                    count = target.write(task, data)
                except WouldBlock:
                    queue = target.wait_queue()
                    if target.flags & O_NONBLOCK or queue is None:
                        raise
                    await task.wait(queue, WRITE_EVENTS, target.write_deadline())
                    continue
                self.done += count
        except (LinuxError, OSError) as error:
            if error.errno == EPIPE:
                broken_pipe(task, target)
            if not self.done:
                raise
        except Interrupted:
            if not self.done:
                raise
        finally:
            self.source.put()
            target.put()
        return self.done


# -- copy_file_range ----------------------------------------------------------------------------


@syscall(326)
def copy_file_range(
    task: Task, in_fd: Fd, in_offset: InOutOff, out_fd: Fd, out_offset: InOutOff, count: Size, flags: UInt
) -> Result:
    """copy_file_range(2): within one file system."""
    if flags:
        raise LinuxError(EINVAL)
    source = task.files.get(in_fd)
    target = task.files.get(out_fd)
    start = _offset(task, in_offset) if in_offset else source.pos
    to = _offset(task, out_offset) if out_offset else target.pos
    for file in (source, target):
        if file.inode.is_dir():
            raise LinuxError(EISDIR)
        if not file.inode.is_reg():
            raise LinuxError(EINVAL)
    if not source.readable() or not target.writable() or target.flags & O_APPEND:
        raise LinuxError(EBADF)
    if source.inode.fs is not target.inode.fs:
        raise LinuxError(EXDEV)
    for position in (start, to):
        if (position & _U64) + count > _U64:
            raise LinuxError(EOVERFLOW)
    if start < 0 or to < 0:
        raise LinuxError(EINVAL)
    source.inode.refresh()
    count = max(min(count, source.inode.size - start, MAX_RW_COUNT), 0)
    if source.inode is target.inode and start < to + count and to < start + count:
        raise LinuxError(EINVAL)
    done = _copy(task, source, start, target, to, min(count, _COPY_MAX))
    if done:
        if in_offset:
            task.mm.write_u64(in_offset, start + done)
        else:
            source.pos = start + done
        if out_offset:
            task.mm.write_u64(out_offset, to + done)
        else:
            target.pos = to + done
    return done


def _copy(task: Task, source: File, start: int, target: File, to: int, count: int) -> int:
    """Copy between regular files at given offsets."""
    done = 0
    while done < count:
        try:
            data = source.pread(task, min(_PIECE, count - done), start + done)
            if not data:
                break
            data = limited(task, target, data, to + done)
            done += target.pwrite(task, data, to + done)
        except (LinuxError, OSError):
            if done:
                break
            raise
    return done


# -- splice -------------------------------------------------------------------------------------


def peek(pipe: Pipe, count: int) -> bytes:
    """Up to ``count`` bytes of what is in the pipe, which stay in it."""
    parts: list[bytes | bytearray | memoryview] = []
    offset = pipe.offset
    for chunk in pipe.chunks:
        if count <= 0:
            break
        part = memoryview(chunk)[offset : offset + count]
        offset = 0
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


@syscall(275)
def splice(
    task: Task,
    in_fd: Fd,
    in_offset: InOutOff,
    out_fd: Fd,
    out_offset: InOutOff,
    count: Size,
    flags: SpliceFlags,
) -> Result:
    """splice(2): one side is a pipe."""
    if not count:
        return 0
    if flags & ~_SPLICE_FLAGS:
        raise LinuxError(EINVAL)
    source = task.files.get(in_fd)
    target = task.files.get(out_fd)
    from_pipe = isinstance(source, PipeFile)
    to_pipe = isinstance(target, PipeFile)
    if (from_pipe and in_offset) or (to_pipe and out_offset):
        raise LinuxError(ESPIPE)
    start = _offset(task, in_offset) if in_offset else None
    to = _offset(task, out_offset) if out_offset else None
    if not source.readable() or not target.writable():
        raise LinuxError(EBADF)
    if not from_pipe and not to_pipe:
        raise LinuxError(EINVAL)
    if from_pipe and to_pipe and source.pipe is target.pipe:  # type: ignore[attr-defined]
        raise LinuxError(EINVAL)
    if (start is not None and not source.seekable) or (to is not None and not target.seekable):
        raise LinuxError(EINVAL)
    if target.flags & O_APPEND and not to_pipe:
        raise LinuxError(EINVAL)
    if (start is not None and start < 0) or (to is not None and to < 0):
        raise LinuxError(EINVAL)
    if to is not None and to > MAX_FILE_SIZE - count:
        raise LinuxError(EFBIG)
    job = Splice(task, source, start, target, to, min(count, MAX_RW_COUNT), bool(flags & SPLICE_F_NONBLOCK))
    return _run_splice(job, in_offset, out_offset)


async def _run_splice(job: Splice, in_offset: int, out_offset: int) -> int:
    done = await job.run()
    if in_offset:
        assert job.start is not None
        job.task.mm.write_u64(in_offset, job.start + done)
    if out_offset:
        assert job.to is not None
        job.task.mm.write_u64(out_offset, job.to + done)
    return done


class Splice:
    """One splice: from ``source`` (at ``start``, or its own offset) to ``target`` (at ``to``)."""

    __slots__ = ("count", "nowait", "source", "start", "target", "task", "to")

    def __init__(
        self,
        task: Task,
        source: File,
        start: int | None,
        target: File,
        to: int | None,
        count: int,
        nowait: bool,
    ) -> None:
        self.task = task
        self.source = source
        self.start = start
        self.target = target
        self.to = to
        self.count = count
        self.nowait = nowait

    async def run(self) -> int:
        """Wait until something can be moved, and move what there is; how much that was."""
        self.source.get()
        self.target.get()
        try:
            while True:
                try:
                    return self.step()
                except WouldBlock:
                    await self.wait()
        except (LinuxError, OSError) as error:
            if error.errno == EPIPE:
                broken_pipe(self.task)
            raise
        finally:
            self.source.put()
            self.target.put()

    async def wait(self) -> None:
        """Wait for the side that isn't ready; raises ``WouldBlock`` if the call may not wait."""
        source, target = self.source, self.target
        pipes_wait = not self.nowait
        queues = []
        for file, events in ((source, READ_EVENTS), (target, WRITE_EVENTS)):
            queue = file.wait_queue()
            if queue is None or file.poll(self.task) & events:
                continue
            if file.flags & O_NONBLOCK or (isinstance(file, PipeFile) and not pipes_wait):
                raise WouldBlock
            queues.append((queue, events))
        if not queues:
            raise WouldBlock
        await self.task.wait_any(queues)

    def step(self) -> int:
        """Move one piece; raises ``WouldBlock`` if either side isn't ready."""
        task, source, target = self.task, self.source, self.target
        count = min(self.count, _PIECE)
        if isinstance(target, PipeFile):
            pipe = target.pipe
            if not pipe.readers:
                raise LinuxError(EPIPE)
            room = (pipe.pages - pipe.used) << 12
            if room <= 0:
                raise WouldBlock
            count = min(count, room)
        if isinstance(source, PipeFile):
            if not source.pipe.chunks:
                return len(source.read(task, count))  # the end of the file, or WouldBlock
            data = peek(source.pipe, count)
            if target.is_regular:
                data = limited(task, target, data, self.to)
            done = target.write(task, data) if self.to is None else target.pwrite(task, data, self.to)
            source.read(task, done)
            return done
        if self.start is not None:
            data = source.pread(task, count, self.start)
        else:
            data = source.read(task, count)
        # There is room for all of it: nothing else ran since that was found.
        return target.write(task, data) if data else 0


@syscall(276)
def tee(task: Task, in_fd: Fd, out_fd: Fd, count: Size, flags: SpliceFlags) -> Result:
    """tee(2): copy what is in a pipe, which keeps it."""
    if flags & ~_SPLICE_FLAGS:
        raise LinuxError(EINVAL)
    if not count:
        return 0
    source = task.files.get(in_fd)
    target = task.files.get(out_fd)
    if not source.readable() or not target.writable():
        raise LinuxError(EBADF)
    if not isinstance(source, PipeFile) or not isinstance(target, PipeFile) or source.pipe is target.pipe:
        raise LinuxError(EINVAL)
    return Tee(task, source, None, target, None, count, bool(flags & SPLICE_F_NONBLOCK)).run()


class Tee(Splice):
    """One tee."""

    __slots__ = ()

    def step(self) -> int:
        source, target = self.source, self.target
        assert isinstance(source, PipeFile)
        assert isinstance(target, PipeFile)
        pipe = target.pipe
        if not pipe.readers:
            raise LinuxError(EPIPE)
        if not source.pipe.chunks:
            if source.pipe.writers:
                raise WouldBlock
            return 0
        room = (pipe.pages - pipe.used) << 12
        if room <= 0:
            raise WouldBlock
        return target.write(self.task, peek(source.pipe, min(self.count, room)))


@syscall(278)
def vmsplice(task: Task, fd: Fd, iov: InIovec, count: Size, flags: UInt) -> Result:
    """vmsplice(2): the pages are copied, as Linux does for the reading side."""
    if flags & ~_SPLICE_FLAGS:
        raise LinuxError(EINVAL)
    file = task.files.get(fd)
    if not isinstance(file, PipeFile):
        raise LinuxError(EBADF)
    entries, total = import_vector(task, iov, count)
    if not total:
        return 0
    nowait = bool(flags & SPLICE_F_NONBLOCK)
    if file.writable():
        return write_vector(task, file, entries, total, nowait)
    return read_vector(task, file, entries, total, nowait)
