"""Pipes and FIFOs (pipe(7), fifo(7); Linux's fs/pipe.c).

A pipe holds a queue of byte strings. As in Linux its capacity counts pages, not bytes: a write that does
not fit into what is left of the last page begins a new one, so many small writes with packet mode, or of odd
sizes, fill a pipe before 65536 bytes are in it.

Opening a FIFO (for the open system call)
    ``open_fifo(inode, path, flags, task)`` answers a ``File`` if the open can succeed now, raises
    ``LinuxError(ENXIO)`` for a non-blocking open for writing without a reader, or answers a ``FifoOpening``
    if the open has to wait for the other side::

        opened = open_fifo(inode, path, flags, task)
        if isinstance(opened, FifoOpening):
            try:
                while (file := opened.try_again()) is None:
                    await task.wait(opened.queue)
            except Interrupted:
                opened.cancel()      # exactly once, and only if try_again never answered a File
                raise

    The opener counts as a reader or writer from ``open_fifo`` on, so that the two sides find each other.

Writing
    ``PipeFile.write`` takes what fits and answers how much that was; it raises ``WOULD_BLOCK`` if that is
    nothing. Up to PIPE_BUF bytes go in whole or not at all. write(2) to a blocking pipe goes on with the rest
    until all is written; only then, or when interrupted, it answers. EPIPE is raised here; SIGPIPE is
    write(2)'s to send.
"""

from __future__ import annotations

from collections import deque
from errno import EBADF, EBUSY, EINVAL, ENOMEM, ENOTTY, ENXIO, EPERM, EPIPE, ESPIPE

from runsc.abi.fcntl import O_ACCMODE, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY
from runsc.abi.ioctl import FIONREAD
from runsc.abi.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from runsc.kernel.credentials import CAP_SYS_RESOURCE
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.tunables import tunables
from runsc.kernel.vfs.file import File
from runsc.kernel.wait import EVERYBODY, WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.inode import Inode

PAGE_SIZE = 4096
#: Writes up to here are atomic.
PIPE_BUF = 4096
#: Pages of a new pipe.
DEFAULT_PAGES = 16
#: The most that anybody gets: the buffers are this process's memory.
HARD_MAX_SIZE = 64 << 20

_READ_EVENTS = POLLIN | POLLRDNORM
_WRITE_EVENTS = POLLOUT | POLLWRNORM
_CLOSE_EVENTS = _READ_EVENTS | _WRITE_EVENTS | POLLERR | POLLHUP


class Packet(bytes):
    """One write in packet mode: a read takes it whole."""

    __slots__ = ()


class Pipe:
    """The buffer between writers and readers.

    ``chunks``: what was written; each is a whole number of pages, or (part of) a single page, so the pages
    that a chunk holds can be told from its length. ``offset``: how much of the first is read already.
    ``used``: pages in use. ``readers``/``writers``: open descriptions for reading and writing; the
    ``*_opened`` counters only grow.
    """

    __slots__ = (
        "chunks", "offset", "pages", "queue", "readers", "readers_opened", "used", "writers",
        "writers_opened",
    )  # fmt: skip

    def __init__(self) -> None:
        self.chunks: deque[bytes | bytearray] = deque()
        self.offset = 0
        self.used = 0
        self.pages = DEFAULT_PAGES
        self.readers = 0
        self.writers = 0
        self.readers_opened = 0
        self.writers_opened = 0
        self.queue = WaitQueue()

    # -- data ---------------------------------------------------------------------------------

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes; b"" at the end (nothing there and no writer). Raises ``WOULD_BLOCK``."""
        chunks = self.chunks
        if not chunks:
            if count and self.writers:
                raise WOULD_BLOCK
            return b""
        if not count:
            return b""
        was_full = self.used >= self.pages
        head = chunks[0]
        offset = self.offset
        if not offset and len(head) <= count and (len(chunks) == 1 or type(head) is Packet):
            # Nearly always: the one chunk, whole.
            chunks.popleft()
            self.used -= (len(head) + 4095) >> 12
            data = bytes(head)
        else:
            data = self._take(count)
        if was_full and self.used < self.pages:
            self.queue.wake(_WRITE_EVENTS)
        return data

    def _take(self, count: int) -> bytes:
        """The general case of ``read``: parts of chunks, or several of them."""
        chunks = self.chunks
        parts: list[bytes | bytearray | memoryview] = []
        while chunks and count:
            head = chunks[0]
            left = len(head) - self.offset
            packet = type(head) is Packet
            if left <= count or packet:
                whole = not self.offset and not packet
                parts.append(head if whole else memoryview(head)[self.offset : self.offset + count])
                chunks.popleft()
                self.offset = 0
                self.used -= (left + 4095) >> 12
                if packet:
                    break
                count -= left
            else:
                parts.append(memoryview(head)[self.offset : self.offset + count])
                self.offset += count
                self.used -= ((left + 4095) >> 12) - ((left - count + 4095) >> 12)
                break
        return b"".join(parts)

    def write(self, data: bytes, packets: bool = False) -> int:
        """Put in as much of ``data`` as fits (all or nothing up to PIPE_BUF); how much that was.

        Raises EPIPE without a reader, ``WOULD_BLOCK`` if nothing fits."""
        length = len(data)
        if not length:
            return 0
        if not self.readers:
            raise LinuxError(EPIPE)
        chunks = self.chunks
        done = 0
        if packets:
            done = self._write_packets(data)
        else:
            odd = length & 4095
            if odd and chunks:
                # What is left of the last page takes the odd part of the length, if that fits whole.
                last = chunks[-1]
                if len(last) + odd <= PAGE_SIZE and type(last) is not Packet:
                    if type(last) is not bytearray:
                        last = chunks[-1] = bytearray(last)
                    last += data if odd == length else data[:odd]
                    done = odd
            room = (self.pages - self.used) << 12
            if done < length and room > 0:
                rest = data[done : done + room] if done or room < length else data
                tail = len(rest) & 4095
                if tail and len(rest) > PAGE_SIZE:
                    chunks.append(rest[:-tail])
                    chunks.append(rest[-tail:])
                else:
                    chunks.append(rest)
                self.used += (len(rest) + 4095) >> 12
                done += len(rest)
        if not done:
            raise WOULD_BLOCK
        queue = self.queue
        if queue.entries:
            queue.wake(_READ_EVENTS)
        return done

    def _write_packets(self, data: bytes) -> int:
        done = 0
        while done < len(data) and self.used < self.pages:
            packet = Packet(data[done : done + PIPE_BUF])
            self.chunks.append(packet)
            self.used += 1
            done += len(packet)
        return done

    def available(self) -> int:
        """Bytes that can be read now (FIONREAD)."""
        return sum(map(len, self.chunks)) - self.offset

    def full(self) -> bool:
        return self.used >= self.pages

    # -- capacity -----------------------------------------------------------------------------

    def size(self) -> int:
        """The capacity in bytes (F_GETPIPE_SZ)."""
        return self.pages << 12

    def set_size(self, task: Task, size: int) -> int:
        """F_SETPIPE_SZ: the capacity becomes at least ``size``, rounded up to a power of two of pages; the
        new one. Raises EINVAL, EPERM beyond the limit, EBUSY if more than that is in use."""
        if size < 0 or size > 1 << 31:
            raise LinuxError(EINVAL)
        pages = 1 << (max(size - 1, 0) >> 12).bit_length()
        if pages << 12 > tunables(task.kernel).pipe_max_size and pages > self.pages:
            if not task.cred.capable(CAP_SYS_RESOURCE):
                raise LinuxError(EPERM)
        if pages << 12 > HARD_MAX_SIZE:
            raise LinuxError(ENOMEM)
        if pages < self.used:
            raise LinuxError(EBUSY)
        was_full = self.full()
        self.pages = pages
        if was_full and not self.full():
            self.queue.wake(_WRITE_EVENTS)
        return pages << 12


class PipeFile(File):
    """One end of a pipe, or a FIFO opened (perhaps for both)."""

    __slots__ = ("hup_after", "pipe")

    sends_sigio = True
    readers_take_turns = True

    def __init__(self, pipe: Pipe, inode: Inode, flags: int, path: Path | None = None) -> None:
        super().__init__(inode, flags, path)
        self.pipe = pipe
        #: POLLHUP is told once a writer was there that opened after this count (-1: at once)
        self.hup_after = -1

    def release(self) -> None:
        pipe = self.pipe
        mode = self.flags & O_ACCMODE
        if mode in (O_RDONLY, O_RDWR):
            pipe.readers -= 1
        if mode in (O_WRONLY, O_RDWR):
            pipe.writers -= 1
        _after_close(pipe, self.inode)

    def read(self, task: Task, count: int) -> bytes:
        if self.flags & O_ACCMODE == O_WRONLY:
            raise LinuxError(EBADF)
        return self.pipe.read(count)

    def write(self, task: Task, data: bytes) -> int:
        if self.flags & O_ACCMODE == O_RDONLY:
            raise LinuxError(EBADF)
        return self.pipe.write(data, bool(self.flags & O_DIRECT))

    def partial_input(self, data: bytes, wanted: int) -> bytes:
        """A pipe fills page after page, and a page that can't be filled ends the write (pipe_write)."""
        return data[: len(data) & ~4095] or super().partial_input(data, wanted)

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        raise LinuxError(ESPIPE)

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        raise LinuxError(ESPIPE)

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        if request == FIONREAD:
            task.mm.write_u32(arg, self.pipe.available())
            return 0
        raise LinuxError(ENOTTY)

    def poll(self, task: Task | None = None) -> int:
        pipe = self.pipe
        mode = self.flags & O_ACCMODE
        events = 0
        if mode != O_WRONLY:
            if pipe.chunks:
                events = POLLIN | POLLRDNORM
            if not pipe.writers and self.hup_after != pipe.writers_opened:
                events |= POLLHUP
        if mode != O_RDONLY:
            if pipe.used < pipe.pages:
                events |= POLLOUT | POLLWRNORM
            if not pipe.readers:
                events |= POLLERR
        return events

    def wait_queue(self) -> WaitQueue:
        return self.pipe.queue

    def next_reader(self) -> None:
        pipe = self.pipe
        if pipe.chunks and pipe.queue.entries:
            pipe.queue.wake(_READ_EVENTS)

    def describe(self) -> str:
        return f"pipe:[{self.inode.ino}]"


def make_pipe(kernel: Kernel, task: Task, flags: int) -> tuple[PipeFile, PipeFile]:
    """A new pipe's ends for reading and writing. ``flags``: O_NONBLOCK and O_DIRECT count."""
    pipe = Pipe()
    pipe.readers = pipe.writers = pipe.readers_opened = pipe.writers_opened = 1
    inode = anon_inodes(kernel).pipe_inode(task.cred)
    inode.extra = {"pipe": pipe}  # an end can be opened again, through /proc/self/fd
    status = flags & (O_NONBLOCK | O_DIRECT)
    return PipeFile(pipe, inode, O_RDONLY | status & O_NONBLOCK), PipeFile(pipe, inode, O_WRONLY | status)


def pipe_of(file: File) -> Pipe:
    """The pipe behind ``file`` (F_SETPIPE_SZ, splice); raises EBADF if it is none."""
    if not isinstance(file, PipeFile):
        raise LinuxError(EBADF)
    return file.pipe


# -- FIFOs --------------------------------------------------------------------------------------


class FifoOpening:
    """An open of a FIFO that waits for the other side (see the top of this module).

    ``queue``: where to wait before ``try_again``.
    """

    __slots__ = ("file", "partners", "queue", "waits_for_writer")

    def __init__(self, file: PipeFile) -> None:
        self.file = file
        self.queue = file.pipe.queue
        self.waits_for_writer = file.flags & O_ACCMODE == O_RDONLY
        self.partners = self._opened()

    def _opened(self) -> int:
        pipe = self.file.pipe
        return pipe.writers_opened if self.waits_for_writer else pipe.readers_opened

    def try_again(self) -> File | None:
        """The file, if a partner has opened since (even if it is gone again); None: wait on."""
        return None if self._opened() == self.partners else self.file

    def cancel(self) -> None:
        """The open is given up: its opener is no reader or writer any more."""
        file = self.file
        if self.waits_for_writer:
            file.pipe.readers -= 1
        else:
            file.pipe.writers -= 1
        _after_close(file.pipe, file.inode)
        if file.path is not None:
            file.path.dentry.pins -= 1


def open_fifo(inode: Inode, path: Path | None, flags: int, task: Task) -> File | FifoOpening:
    """Open a FIFO (fifo(7)); ``flags`` as of open(2). The contract stands at the top of this module."""
    if inode.extra is None:
        inode.extra = {}
    pipe: Pipe | None = inode.extra.get("pipe")
    mode = flags & O_ACCMODE
    if mode not in (O_RDONLY, O_WRONLY, O_RDWR):
        raise LinuxError(EINVAL)
    # Whoever opens an end of pipe(2)'s again does not wait for the other.
    named = inode.fs.name != "pipefs"
    if named and mode == O_WRONLY and flags & O_NONBLOCK and (pipe is None or not pipe.readers):
        raise LinuxError(ENXIO)
    if pipe is None:
        pipe = inode.extra["pipe"] = Pipe()
    file = PipeFile(pipe, inode, flags, path)
    if mode != O_WRONLY:
        pipe.readers += 1
        pipe.readers_opened += 1
    if mode != O_RDONLY:
        pipe.writers += 1
        pipe.writers_opened += 1
    pipe.queue.wake()
    if not named:
        return file
    if mode == O_RDONLY and not pipe.writers:
        if flags & O_NONBLOCK:
            file.hup_after = pipe.writers_opened
            return file
        return FifoOpening(file)
    if mode == O_WRONLY and not pipe.readers:
        return FifoOpening(file)
    return file


def _after_close(pipe: Pipe, inode: Inode) -> None:
    """An end was closed: tell the other side, or forget what is left of a FIFO."""
    if not pipe.readers and not pipe.writers:
        if inode.extra is not None and inode.extra.get("pipe") is pipe:
            del inode.extra["pipe"]
    elif not pipe.readers or not pipe.writers:
        pipe.queue.wake(_CLOSE_EVENTS, EVERYBODY)
