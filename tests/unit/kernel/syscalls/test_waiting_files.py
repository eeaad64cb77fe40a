"""File calls that wait: pipes, FIFOs, locks; and what a signal or a closed end makes of them."""

from __future__ import annotations

import struct
from errno import EAGAIN, EBADF, EDEADLK, EFAULT, EPIPE
from typing import TYPE_CHECKING

from support import Buffer, Pending, call, make_kernel, make_task, run_ready

from runsc.abi.signal import SIGPIPE, bit
from runsc.kernel.io import CHUNK
from runsc.kernel.syscalls.descriptors import close, dup
from runsc.kernel.syscalls.fcntl import fcntl
from runsc.kernel.syscalls.link import mknod
from runsc.kernel.syscalls.locks import flock
from runsc.kernel.syscalls.open import openat
from runsc.kernel.syscalls.pipe import pipe2
from runsc.kernel.syscalls.read_write import read, readv, write, writev
from runsc.kernel.syscalls.splice import sendfile, splice, tee, vmsplice
from runsc.kernel.task import WORK_SIGNAL

if TYPE_CHECKING:
    from runsc.kernel.task import Task

CWD = -100 & 0xFFFFFFFFFFFFFFFF
O_RDWR_CREAT = 0o102
_FLOCK = struct.Struct("<hh4xqqi4x")
F_SETLK, F_SETLKW, F_OFD_SETLKW = 6, 7, 38


def make_pipe(task: Task, buffer: Buffer, flags: int = 0) -> tuple[int, int]:
    at = buffer.room(8)
    assert call(task, pipe2, at, flags) == 0
    reader, writer = struct.unpack("<ii", buffer.get(at, 8))
    return reader, writer


def pair() -> tuple[Task, Task]:
    """Two processes of one kernel and one file tree."""
    first = make_task(make_kernel())
    return first, make_task(first.kernel, parent=first)


def share_files(first: Task, second: Task) -> None:
    """What fork(2) does to the descriptors."""
    second.files = first.files.fork()


def open_file(task: Task, name: bytes, flags: int) -> int:
    result = call(task, openat, CWD, Buffer(task, 0x10000000 + (1 << 19)).text(name), flags, 0o644)
    assert isinstance(result, int)
    return result


def test_read_waits_for_a_write() -> None:
    reader, writer = pair()
    buffer = Buffer(reader)
    r, w = make_pipe(reader, buffer)
    share_files(reader, writer)
    at = buffer.room(100)
    waiting = call(reader, read, r, at, 100)
    assert isinstance(waiting, Pending)
    assert not waiting.woken()
    assert call(writer, write, w, Buffer(writer).put(b"hello"), 5) == 5
    assert waiting.woken()
    assert waiting.step() == 5
    assert buffer.get(at, 5) == b"hello"


def test_read_ends_when_the_writer_is_gone() -> None:
    reader, writer = pair()
    r, w = make_pipe(reader, Buffer(reader))
    share_files(reader, writer)
    call(reader, close, w)
    waiting = call(reader, read, r, Buffer(reader).room(8), 8)
    assert isinstance(waiting, Pending)
    call(writer, close, w)
    assert waiting.woken()
    assert waiting.step() == 0


def test_a_signal_interrupts_a_read_and_the_descriptor_is_given_back() -> None:
    task = make_task()
    r, _w = make_pipe(task, Buffer(task))
    file = task.files.get(r)
    references = file.refs
    waiting = call(task, read, r, Buffer(task).room(8), 8)
    assert isinstance(waiting, Pending)
    assert file.refs == references + 1
    task.work |= WORK_SIGNAL
    assert waiting.step() == -512
    assert file.refs == references
    task.work = 0


def test_closing_the_descriptor_does_not_end_the_read() -> None:
    """As in Linux: the read holds the file."""
    reader, writer = pair()
    buffer = Buffer(reader)
    r, w = make_pipe(reader, buffer)
    share_files(reader, writer)
    waiting = call(reader, read, r, buffer.room(8), 8)
    assert isinstance(waiting, Pending)
    call(reader, close, r)
    call(writer, close, r)
    assert call(writer, write, w, Buffer(writer).put(b"x"), 1) == 1
    assert waiting.step() == 1


def test_a_nonblocking_read_is_refused() -> None:
    task = make_task()
    r, _w = make_pipe(task, Buffer(task), 0o4000)
    assert call(task, read, r, Buffer(task).room(8), 8) == -EAGAIN


def test_a_large_write_goes_on_as_the_reader_takes() -> None:
    writer, reader = pair()
    r, w = make_pipe(writer, Buffer(writer))
    share_files(writer, reader)
    data = bytes(range(256)) * 800  # 200 KiB, more than the pipe holds
    at = Buffer(writer).put(data)
    waiting = call(writer, write, w, at, len(data))
    assert isinstance(waiting, Pending)
    got = b""
    there = Buffer(reader).room(65536)
    while len(got) < len(data):
        count = call(reader, read, r, there, 65536)
        assert isinstance(count, int)
        got += reader.mm.copy_in(there, count)
        if waiting.result is None:
            waiting.step()
    assert got == data
    assert waiting.result == len(data)


def test_an_interrupted_write_tells_what_was_written() -> None:
    task = make_task()
    _r, w = make_pipe(task, Buffer(task))
    at = Buffer(task).room(100000)
    waiting = call(task, write, w, at, 100000)
    assert isinstance(waiting, Pending)
    task.work |= WORK_SIGNAL
    assert waiting.step() == 65536
    task.work = 0
    # Nothing more fits: now an interruption is just that.
    waiting = call(task, write, w, at, 10)
    assert isinstance(waiting, Pending)
    task.work |= WORK_SIGNAL
    assert waiting.step() == -512


def test_a_write_without_a_reader_sends_sigpipe() -> None:
    task = make_task()
    r, w = make_pipe(task, Buffer(task))
    call(task, close, r)
    for handler, args in (
        (write, (w, Buffer(task).put(b"x"), 1)),
        (vmsplice, (w, _vector(task, b"x"), 1, 0)),
    ):
        task.pending.discard(bit(SIGPIPE))
        assert call(task, handler, *args) == -EPIPE
        assert task.pending.pending & bit(SIGPIPE)
    # Bad memory is found before the pipe is looked at.
    assert call(task, write, w, 8, 1) == -EFAULT


def _vector(task: Task, *parts: bytes) -> int:
    buffer = Buffer(task, 0x10000000 + (3 << 18))
    entries = b"".join(struct.pack("<QQ", buffer.put(part), len(part)) for part in parts)
    at: int = buffer.put(entries)
    return at


def test_the_reader_goes_away_during_a_write() -> None:
    writer, reader = pair()
    r, w = make_pipe(writer, Buffer(writer))
    share_files(writer, reader)
    call(writer, close, r)
    waiting = call(writer, write, w, Buffer(writer).room(100000), 100000)
    assert isinstance(waiting, Pending)
    call(reader, close, r)
    assert waiting.woken()
    # 64 KiB went in: that is the answer, and the signal comes all the same.
    assert waiting.step() == 65536
    assert writer.pending.pending & bit(SIGPIPE)


def test_vectors_over_a_pipe() -> None:
    task = make_task()
    r, w = make_pipe(task, Buffer(task))
    assert call(task, writev, w, _vector(task, b"ab", b"", b"cde"), 3) == 5
    buffer = Buffer(task)
    first, second = buffer.room(3), buffer.room(10)
    entries = buffer.put(struct.pack("<QQQQ", first, 3, second, 10))
    assert call(task, readv, r, entries, 2) == 5
    assert buffer.get(first, 3) + buffer.get(second, 2) == b"abcde"


def test_a_read_longer_than_a_piece() -> None:
    """More than the kernel moves at a time, from a file and to one."""
    task = make_task()
    size = 2 * CHUNK + 5000
    task.mm.map(0x20000000, (size + 4095) & ~4095, 3, 2, None, 0)
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    task.mm.copy_out(0x20000000, data)
    fd = open_file(task, b"big", O_RDWR_CREAT)
    assert call(task, write, fd, 0x20000000, size) == size
    task.mm.copy_out(0x20000000, bytes(size))
    again = open_file(task, b"big", 0)
    assert call(task, read, again, 0x20000000, size + 100) == size
    assert task.mm.copy_in(0x20000000, size) == data
    # Where the memory ends within the transfer, what fits is moved, and the offset with it.
    end = 0x20000000 + ((size + 4095) & ~4095)
    file = task.files.get(again)
    file.pos = 0
    assert call(task, read, again, end - CHUNK - 100, 2 * CHUNK) == CHUNK + 100
    assert file.pos == CHUNK + 100
    assert call(task, write, fd, end - CHUNK - 100, 2 * CHUNK) == CHUNK + 100


# -- FIFOs --------------------------------------------------------------------------------------


def test_opening_a_fifo_waits_for_the_other_side() -> None:
    reader, writer = pair()
    assert call(reader, mknod, Buffer(reader).text(b"fifo"), 0o10644, 0) == 0
    waiting = call(reader, openat, CWD, Buffer(reader).text(b"fifo"), 0, 0)
    assert isinstance(waiting, Pending)
    w = call(writer, openat, CWD, Buffer(writer).text(b"fifo"), 1, 0)
    assert isinstance(w, int)
    r = waiting.step()
    assert isinstance(r, int)
    assert call(writer, write, w, Buffer(writer).put(b"x"), 1) == 1
    assert call(reader, read, r, Buffer(reader).room(8), 8) == 1


def test_an_interrupted_opening_is_no_reader() -> None:
    reader, writer = pair()
    assert call(reader, mknod, Buffer(reader).text(b"fifo"), 0o10644, 0) == 0
    waiting = call(reader, openat, CWD, Buffer(reader).text(b"fifo"), 0, 0)
    assert isinstance(waiting, Pending)
    reader.work |= WORK_SIGNAL
    assert waiting.step() == -512
    assert call(writer, openat, CWD, Buffer(writer).text(b"fifo"), 0o4001, 0) == -6  # ENXIO


# -- locks --------------------------------------------------------------------------------------


def lock(
    task: Task, fd: int, kind: int, start: int = 0, length: int = 0, command: int = F_SETLK
) -> int | Pending:
    at = Buffer(task, 0x10000000 + (1 << 18)).put(_FLOCK.pack(kind, 0, start, length, 0))
    result: int | Pending = call(task, fcntl, fd, command, at)
    return result


def test_a_range_lock_waits_for_another_process() -> None:
    first, second = pair()
    a, b = open_file(first, b"f", O_RDWR_CREAT), open_file(second, b"f", 2)
    assert lock(first, a, 1, 0, 10) == 0
    assert lock(second, b, 0, 5, 1) == -EAGAIN
    assert lock(second, b, 1, 10, 5) == 0
    waiting = lock(second, b, 1, 0, 5, F_SETLKW)
    assert isinstance(waiting, Pending)
    assert lock(first, a, 2, 5, 5) == 0  # not the part that is waited for
    assert waiting.woken()
    assert waiting.step() is None
    assert lock(first, a, 2, 0, 3) == 0
    assert waiting.step() is None
    assert lock(first, a, 0, 0, 10) == 0
    assert waiting.step() is None
    assert lock(first, a, 2) == 0
    assert waiting.step() == 0
    assert lock(first, a, 0, 4, 1) == -EAGAIN


def test_closing_any_descriptor_drops_the_locks_of_the_process() -> None:
    first, second = pair()
    a, other = open_file(first, b"f", O_RDWR_CREAT), open_file(first, b"f", 0)
    b = open_file(second, b"f", 2)
    assert lock(first, a, 1) == 0
    waiting = lock(second, b, 1, command=F_SETLKW)
    assert isinstance(waiting, Pending)
    call(first, close, other)
    assert waiting.step() == 0
    assert first.files.get(a).inode.extra["locks"].ranges[0].owner is second.files  # type: ignore[index]
    call(second, close, b)
    assert "locks" not in (first.files.get(a).inode.extra or {})


def test_locks_of_open_files_outlive_other_descriptors() -> None:
    first, second = pair()
    a, other = open_file(first, b"f", O_RDWR_CREAT), open_file(first, b"f", 0)
    b = open_file(second, b"f", 2)
    assert lock(first, a, 1, command=37) == 0
    assert lock(first, a, 0, command=F_SETLK) == -EAGAIN  # the process itself is somebody else
    copy = call(first, dup, a)
    call(first, close, other)
    call(first, close, a)
    waiting = lock(second, b, 1, command=F_OFD_SETLKW)
    assert isinstance(waiting, Pending)
    call(first, close, copy)
    assert waiting.step() == 0


def test_a_deadlock_is_found() -> None:
    first, second = pair()
    third = make_task(first.kernel, parent=first)
    fds = [open_file(task, b"f", O_RDWR_CREAT) for task in (first, second, third)]
    tasks = (first, second, third)
    for index, task in enumerate(tasks):
        assert lock(task, fds[index], 1, index * 10, 10) == 0
    waits = [lock(tasks[i], fds[i], 1, (i + 1) * 10, 10, F_SETLKW) for i in range(2)]
    assert all(isinstance(wait, Pending) for wait in waits)
    assert lock(third, fds[2], 1, 0, 10, F_SETLKW) == -EDEADLK
    assert lock(third, fds[2], 2, 20, 10) == 0
    assert isinstance(waits[1], Pending)
    assert waits[1].step() == 0


def test_a_lock_does_not_outlive_a_descriptor_closed_meanwhile() -> None:
    first, second = pair()
    a, b = open_file(first, b"f", O_RDWR_CREAT), open_file(second, b"f", 2)
    assert lock(first, a, 1) == 0
    waiting = lock(second, b, 1, command=F_SETLKW)
    assert isinstance(waiting, Pending)
    call(second, close, b)
    assert lock(first, a, 2) == 0
    assert waiting.step() == -EBADF


def test_flock_waits_and_belongs_to_the_open_file() -> None:
    first, second = pair()
    a = open_file(first, b"f", O_RDWR_CREAT)
    share_files(first, second)
    b = open_file(second, b"f", 0)
    assert call(first, flock, a, 2) == 0
    assert call(second, flock, a, 2) == 0  # the same open file
    assert call(second, flock, b, 1 | 4) == -EAGAIN
    waiting = call(second, flock, b, 1)
    assert isinstance(waiting, Pending)
    call(first, close, a)
    assert not waiting.woken()
    waiting.task.work = 0
    second.files.close(a, second)
    assert waiting.woken()
    assert waiting.step() == 0


def test_a_failed_conversion_loses_the_lock() -> None:
    first, second = pair()
    a, b = open_file(first, b"f", O_RDWR_CREAT), open_file(second, b"f", 0)
    assert call(first, flock, a, 1) == 0
    assert call(second, flock, b, 1) == 0
    assert call(first, flock, a, 2 | 4) == -EAGAIN
    assert call(second, flock, b, 2 | 4) == 0


# -- splice -------------------------------------------------------------------------------------


def test_splice_from_a_file_through_a_pipe() -> None:
    task = make_task()
    buffer = Buffer(task)
    r, w = make_pipe(task, buffer)
    a, b = open_file(task, b"a", O_RDWR_CREAT), open_file(task, b"b", O_RDWR_CREAT)
    data = bytes(range(256)) * 40
    assert call(task, write, a, buffer.put(data), len(data)) == len(data)
    offset = buffer.put(struct.pack("<q", 100))
    assert call(task, splice, a, offset, w, 0, 5000, 0) == 5000
    assert buffer.get(offset, 8) == struct.pack("<q", 5100)
    assert call(task, splice, r, 0, b, 0, 3000, 0) == 3000
    assert call(task, splice, r, 0, b, 0, 3000, 0) == 2000
    assert task.files.get(b).pread(task, 10000, 0) == data[100:5100]
    assert call(task, splice, r, 0, b, 0, 3000, 2) == -EAGAIN
    assert call(task, splice, a, 0, b, 0, 10, 0) == -22
    waiting = call(task, splice, r, 0, b, 0, 10, 0)
    assert isinstance(waiting, Pending)
    task.work |= WORK_SIGNAL
    assert waiting.step() == -512


def test_tee_leaves_the_data() -> None:
    task = make_task()
    buffer = Buffer(task)
    r1, w1 = make_pipe(task, buffer)
    r2, w2 = make_pipe(task, buffer)
    assert call(task, write, w1, buffer.put(b"hello"), 5) == 5
    assert call(task, tee, r1, w2, 3, 0) == 3
    at = buffer.room(10)
    assert call(task, read, r2, at, 10) == 3
    assert call(task, read, r1, at, 10) == 5
    assert buffer.get(at, 5) == b"hello"
    assert call(task, tee, r1, w1, 3, 0) == -22
    call(task, close, w1)
    assert call(task, tee, r1, w2, 3, 0) == 0


def test_sendfile_waits_for_the_pipe() -> None:
    task, reader = pair()
    buffer = Buffer(task)
    r, w = make_pipe(task, buffer)
    share_files(task, reader)
    a = open_file(task, b"a", O_RDWR_CREAT)
    file = task.files.get(a)
    file.pwrite(task, b"z" * 150000, 0)
    waiting = call(task, sendfile, w, a, 0, 200000)
    assert isinstance(waiting, Pending)
    assert file.pos == 0
    got = 0
    there = Buffer(reader).room(65536)
    while waiting.result is None:
        got += call(reader, read, r, there, 65536)
        waiting.step()
    assert waiting.result == 150000
    assert file.pos == 150000
    while got < 150000:
        got += call(reader, read, r, there, 65536)
    assert got == 150000


def test_the_loop_runs_what_was_woken() -> None:
    """Through the kernel's own queue, without a test stepping by hand."""
    reader, writer = pair()
    buffer = Buffer(reader)
    r, w = make_pipe(reader, buffer)
    share_files(reader, writer)
    waiting = call(reader, read, r, buffer.room(8), 8)
    assert isinstance(waiting, Pending)
    assert call(writer, write, w, Buffer(writer).put(b"ab"), 2) == 2
    run_ready(writer)
    assert reader.thread.results == [2]  # type: ignore[attr-defined]
