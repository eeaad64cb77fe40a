"""Moving data between open files and guest memory: the ways of read(2) and write(2) that are not the plain
one.

The plain case, a short transfer that completes at once, is in the system calls themselves. Here are vectors,
transfers longer than ``CHUNK``, waiting, partial faults, RLIMIT_FSIZE and SIGPIPE (fs/read_write.c).
"""

from __future__ import annotations

from errno import EFAULT, EINTR, EPIPE

from runsc.abi.fcntl import O_APPEND, O_DSYNC, O_NONBLOCK, O_SYNC
from runsc.abi.inotify import IN_ACCESS, IN_MODIFY
from runsc.abi.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRNORM
from runsc.abi.signal import SIGPIPE
from runsc.kernel.errors import Interrupted, LinuxError, WouldBlock
from runsc.kernel.mm.usercopy import MAX_RW_COUNT, USER_END
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.thread_group import RLIM_INFINITY, RLIMIT_FSIZE
from runsc.kernel.vfs.notify import file_event
from runsc.kernel.vfs.truncate import exceed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

#: The most that is moved in one piece: what a guest can make the kernel hold at a time.
CHUNK = 1 << 20

READ_EVENTS = POLLIN | POLLRDNORM | POLLHUP | POLLERR | POLLRDHUP
WRITE_EVENTS = POLLOUT | POLLWRNORM | POLLHUP | POLLERR

#: A vector: (address, length) of each buffer.
Vector = list[tuple[int, int]]


def check_range(buf: int, count: int) -> int:
    """access_ok: raises EFAULT for what can't be the guest's; the count, cut to MAX_RW_COUNT."""
    if buf + count > USER_END:
        raise LinuxError(EFAULT)
    return count if count < MAX_RW_COUNT else MAX_RW_COUNT


def import_vector(task: Task, addr: int, count: int) -> tuple[Vector, int]:
    """The guest's iovec and the sum of its lengths (import_iovec). Raises EINVAL, EFAULT."""
    entries = task.mm.copy_in_iovec(addr, count)
    total = 0
    for base, length in entries:
        if base + length > USER_END:
            raise LinuxError(EFAULT)
        total += length
    return entries, total


def split(entries: Vector, count: int) -> tuple[Vector, Vector]:
    """The first ``count`` bytes of a vector, and the rest."""
    head: Vector = []
    for index, (base, length) in enumerate(entries):
        if length > count:
            head.append((base, count))
            return head, [(base + count, length - count), *entries[index + 1 :]]
        head.append((base, length))
        count -= length
    return head, []


def scatter(task: Task, entries: Vector, data: bytes) -> int:
    """Write ``data`` to the vector; how much could be. Raises EFAULT if nothing could."""
    if len(entries) == 1:
        return task.mm.copy_out_partial(entries[0][0], data)
    return task.mm.scatter(entries, data)


# -- reading ------------------------------------------------------------------------------------


def deliver(task: Task, file: File, entries: Vector, data: bytes, moved: bool) -> int:
    """Copy out what was read. ``moved``: the file's offset has moved on by all of it, and goes back by what
    the
    guest's memory did not take."""
    try:
        done = scatter(task, entries, data)
    except LinuxError:
        done = 0
    if task.kernel.notify is not None:
        file_event(task.kernel, file, IN_ACCESS)
    if done < len(data):
        if moved and file.seekable:
            file.pos -= len(data) - done
        if not done:
            raise LinuxError(EFAULT)
    return done


def read_vector(task: Task, file: File, entries: Vector, total: int, nowait: bool = False) -> Result:
    """read(2) at the file's offset into a vector of ``total`` bytes.

    A transfer goes on as long as the file gives as much as was asked for, so only large ones take more than
    one
    round. ``nowait``: RWF_NOWAIT.
    """
    done = 0
    while True:
        step = total - done if total - done < CHUNK else CHUNK
        try:
            data = file.read(task, step)
        except WouldBlock:
            if done:
                return done
            if nowait or file.flags & O_NONBLOCK or file.wait_queue() is None:
                raise
            return read_waiting(task, file, entries, step)
        except (LinuxError, OSError):
            if done:
                return done
            raise
        if not data:
            return done
        head, entries = split(entries, len(data)) if step < total else (entries, [])
        try:
            count = deliver(task, file, head, data, True)
        except LinuxError:
            if done:
                return done
            raise
        done += count
        if count < step or done == total:
            return done


async def read_waiting(task: Task, file: File, entries: Vector, count: int) -> int:
    """Wait until the file has something, and read up to ``count`` bytes of it."""
    file.get()
    deadline = file.read_deadline()
    exclusive = file.readers_take_turns
    try:
        while True:
            if not await task.wait(file.wait_queue(), READ_EVENTS, deadline, exclusive):
                data = file.read(task, count)  # the time is up: EAGAIN if there is still nothing
                break
            try:
                data = file.read(task, count)
            except WouldBlock:
                continue
            break
        return deliver(task, file, entries, data, True) if data else 0
    except Interrupted:
        if deadline is not None:
            raise LinuxError(EINTR) from None  # a wait with a time-out is never made again (sock_intr_errno)
        raise
    finally:
        if exclusive:
            file.next_reader()
        file.put()


def pread_vector(task: Task, file: File, entries: Vector, total: int, offset: int) -> int:
    """pread(2) into a vector."""
    done = 0
    while True:
        step = total - done if total - done < CHUNK else CHUNK
        try:
            data = file.pread(task, step, offset + done)
            if not data:
                return done
            head, entries = split(entries, len(data)) if step < total else (entries, [])
            count = deliver(task, file, head, data, False)
        except (LinuxError, OSError):
            if done:
                return done
            raise
        done += count
        if count < step or done == total:
            return done


# -- writing ------------------------------------------------------------------------------------


class Source:
    """What a write has still to fetch from the guest, a piece at a time."""

    __slots__ = ("entries", "file", "left", "task")

    def __init__(self, task: Task, file: File, entries: Vector, total: int) -> None:
        self.task = task
        self.file = file
        self.entries = entries
        self.left = total

    def next(self) -> bytes:
        """Up to ``CHUNK`` bytes more; b"" at the end, or where the guest's memory ends. Raises EFAULT if a
        piece can't be read at all."""
        count = self.left if self.left < CHUNK else CHUNK
        if count <= 0:
            return b""
        head, self.entries = split(self.entries, count)
        data = self.task.mm.gather(head)
        if len(data) == count:
            self.left -= count
            return data
        self.left = 0
        return self.file.partial_input(data, count)


def written(task: Task, file: File, count: int) -> int:
    """Tell watchers of the ``count`` bytes that were written; ``count`` again."""
    if count and task.kernel.notify is not None:
        file_event(task.kernel, file, IN_MODIFY)
    return count


def write_vector(task: Task, file: File, entries: Vector, total: int, nowait: bool = False) -> Result:
    """write(2) at the file's offset from a vector of ``total`` bytes. ``nowait``: RWF_NOWAIT."""
    source = Source(task, file, entries, total)
    done = 0
    data = b""
    while True:
        try:
            data = source.next()
            if not data and done:
                return done
            if file.is_regular:
                data = limited(task, file, data, None)
            count = written(task, file, file.write(task, data))
        except (LinuxError, OSError) as error:
            return write_failed(task, file, data, source, done, error, nowait)
        done += count
        if count < len(data):
            if nowait or not _goes_on(file):
                return done
            return write_waiting(task, file, data[count:], source, done)
        if source.left <= 0:
            if file.is_regular and file.flags & O_DSYNC:
                file.fsync(file.flags & O_SYNC != O_SYNC)
            return done


def write_regular(task: Task, file: File, data: bytes) -> int:
    """A short write(2) to a regular file that RLIMIT_FSIZE or O_DSYNC concerns."""
    count = written(task, file, file.write(task, limited(task, file, data, None)))
    if file.flags & O_DSYNC:
        file.fsync(file.flags & O_SYNC != O_SYNC)
    return count


def write_rest(task: Task, file: File, data: bytes, done: int) -> Result:
    """A write(2) to a pipe or socket took only ``done`` bytes of ``data``: wait for the rest, if that is
    wanted."""
    if not _goes_on(file):
        return done
    return write_waiting(task, file, data[done:], None, done)


def _goes_on(file: File) -> bool:
    """Does a write that was short wait for room for the rest?"""
    return not (
        file.is_regular or file.flags & O_NONBLOCK or file.wait_queue() is None or not file.writes_all
    )


def write_failed(
    task: Task, file: File, data: bytes, source: Source | None, done: int, error: LinuxError | OSError,
    nowait: bool = False,
) -> Result:  # fmt: skip
    """A write failed with ``error`` when ``done`` bytes were written: wait, answer those, or raise it."""
    if isinstance(error, WouldBlock):
        if nowait or file.flags & O_NONBLOCK or file.wait_queue() is None:
            if done:
                return done
            raise error
        return write_waiting(task, file, data, source, done)
    if error.errno == EPIPE:
        broken_pipe(task, file)
    if done:
        return done
    raise error


async def write_waiting(task: Task, file: File, data: bytes, source: Source | None, done: int) -> int:
    """Wait until the file takes ``data`` and then what ``source`` still has; ``done`` bytes are written
    already.

    An interruption, or an error, after some of it was written answers how much that was.
    """
    file.get()
    deadline = file.write_deadline()
    try:
        while True:
            woken = await task.wait(file.wait_queue(), WRITE_EVENTS, deadline)
            try:
                count = file.write(task, data)
            except WouldBlock:
                if woken:
                    continue
                raise
            done += count
            data = data[count:]
            if not file.writes_all:
                return done
            if not data:
                if source is None or not (data := source.next()):
                    return done
    except Interrupted:
        if done:
            return done
        if deadline is not None:
            raise LinuxError(EINTR) from None
        raise
    except (LinuxError, OSError) as error:
        if error.errno == EPIPE:
            broken_pipe(task, file)
        if done:
            return done
        raise
    finally:
        file.put()


def pwrite_vector(task: Task, file: File, entries: Vector, total: int, offset: int) -> int:
    """pwrite(2) from a vector."""
    source = Source(task, file, entries, total)
    done = 0
    while True:
        try:
            data = source.next()
            if not data and done:
                return done
            if file.is_regular:
                data = limited(task, file, data, offset + done)
            count = written(task, file, file.pwrite(task, data, offset + done))
        except (LinuxError, OSError):
            if done:
                return done
            raise
        done += count
        if count < len(data) or source.left <= 0:
            if file.flags & O_DSYNC and file.is_regular:
                file.fsync(file.flags & O_SYNC != O_SYNC)
            return done


def limited(task: Task, file: File, data: bytes, offset: int | None) -> bytes:
    """What RLIMIT_FSIZE lets be written at ``offset`` (None: the file's); SIGXFSZ and EFBIG if that is
    nothing
    (generic_write_check_limits)."""
    limit = task.group.limits[RLIMIT_FSIZE][0]
    if limit == RLIM_INFINITY or not data or not file.inode.is_reg():
        return data
    if file.flags & O_APPEND:
        file.inode.refresh()
        offset = file.inode.size
    elif offset is None:
        offset = file.pos
    if offset >= limit:
        exceed(task)
    return data[: limit - offset]


def broken_pipe(task: Task, file: File | None = None) -> None:
    """A write found nobody to read: SIGPIPE to the thread, unless ``file`` breaks quietly."""
    if file is not None and not file.sigpipe:
        return
    task.send_signal(SigInfo(SIGPIPE), False)
