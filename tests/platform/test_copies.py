"""Memory that a system call names: read and written while the call is being answered."""

from __future__ import annotations

import errno
import os

import pytest

from runsc.abi import registers
from runsc.platform import COPY_COUNTED, COPY_FIXED, COPY_STRING

CODE = 0x100000
DATA = 0x200000
SIZE = 0x10000
PAGE = 4096
FREE = 0x400000
RW = 3
ANON = 0x22
WRITE, RENAME, SLEEP, LAST = 1, 82, 35, 60
MASK = (1 << 64) - 1


@pytest.fixture
def prepared(guest):
    """A guest on a platform that knows what three calls read."""
    guest.platform.prepare(WRITE, ((1, COPY_COUNTED, 1, 2),))
    guest.platform.prepare(RENAME, ((0, COPY_STRING, 0, 0), (1, COPY_STRING, 0, 0)))
    guest.platform.prepare(SLEEP, ((0, COPY_FIXED, 16, 0),))
    return guest


def load_word(asm, address):
    """Machine code that puts the word at ``address`` in rdi and makes a last call."""
    return asm.mov("rdi", address) + b"\x48\x8b\x3f" + asm.mov("rax", LAST) + asm.SYSCALL


@pytest.mark.parametrize("size", [1, 15, 16, 4000, 4096, 20000, SIZE])
def test_a_buffer(prepared, asm, size):
    data = os.urandom(SIZE)
    prepared.space.write(DATA, data)
    # Twice: a platform may make room for a large buffer when it meets the first.
    prepared.run(asm.call(WRITE, 1, DATA, size) + asm.call(WRITE, 1, DATA, size))
    for last in (False, True):
        assert prepared.space.read(DATA, size) == data[:size]
        assert prepared.space.read(DATA + size // 2, size - size // 2) == data[size // 2 : size]
        assert prepared.space.read(DATA, SIZE) == data
        assert prepared.space.read(DATA + 7, 9) == data[7:16]
        prepared.thread.complete(size)
        if not last:
            prepared.expect_syscall(WRITE)


def test_two_strings(prepared, asm):
    prepared.space.write(DATA + PAGE - 5, b"/old\0/new\0")
    prepared.run(asm.call(RENAME, DATA + PAGE - 5, DATA + PAGE))
    assert prepared.space.read(DATA + PAGE - 5, 5) == b"/old\0"
    assert prepared.space.read(DATA + PAGE, 5) == b"/new\0"


@pytest.mark.parametrize("address", [0, 0x300000, DATA + SIZE - 8, 1 << 46, MASK, 0x7FFFFFFFF000 - 8])
def test_memory_that_is_not_there(prepared, asm, address):
    calls = ((SLEEP, address, 0), (WRITE, 1, address, 16), (RENAME, address, DATA))
    prepared.run(b"".join(asm.call(*call) for call in calls))
    expected = 8 if address == DATA + SIZE - 8 else 0
    for nr in (WRITE, RENAME, None):
        assert len(prepared.space.read(address, 16)) == expected
        prepared.thread.complete(-errno.EFAULT)
        if nr is not None:
            prepared.expect_syscall(nr)


def test_a_count_beyond_all_bounds(prepared, asm):
    prepared.run(asm.call(WRITE, 1, DATA, MASK) + asm.call(WRITE, 1, DATA, SIZE + 1))
    assert len(prepared.space.read(DATA, SIZE + 1)) == SIZE
    prepared.thread.complete(0)
    prepared.expect_syscall(WRITE)
    assert len(prepared.space.read(DATA, SIZE + 1)) == SIZE


def test_what_was_written_is_read(prepared, asm):
    prepared.space.write(DATA, b"before")
    prepared.run(asm.call(WRITE, 1, DATA, 6))
    assert prepared.space.read(DATA, 6) == b"before"
    assert prepared.space.write(DATA + 2, b"XX") == 2
    assert prepared.space.read(DATA, 6) == b"beXXre"
    assert prepared.space.write(DATA + 4, b"YY") == 2
    assert prepared.space.read(DATA + 3, 3) == b"XYY"


def test_the_guest_sees_what_was_written(prepared, asm):
    prepared.run(asm.call(WRITE, 1, DATA, 8) + load_word(asm, DATA + 64))
    prepared.space.write(DATA + 64, b"12345678")
    prepared.space.write(DATA + 66, b"--")
    prepared.thread.complete(0)
    assert prepared.expect_syscall(LAST).args[0] == int.from_bytes(b"12--5678", "little")


def test_many_writes(prepared, asm):
    prepared.run(asm.call(WRITE, 1, DATA, 8) + asm.call(WRITE, 1, DATA, SIZE))
    for i in range(100):
        assert prepared.space.write(DATA + 8 * i, bytes([i]) * 8) == 8
    prepared.thread.complete(0)
    prepared.expect_syscall(WRITE)
    assert prepared.space.read(DATA, 800) == b"".join(bytes([i]) * 8 for i in range(100))


def test_large_writes(prepared, asm):
    prepared.space.map(FREE, 4 * SIZE, RW, ANON, -1, 0)
    prepared.run(asm.call(WRITE, 1, DATA, 8) + asm.call(WRITE, 1, DATA, 8))
    data = os.urandom(4 * SIZE)
    for start, end in ((0, SIZE), (SIZE, SIZE + 1), (SIZE + 1, 3 * SIZE), (3 * SIZE, 4 * SIZE)):
        assert prepared.space.write(FREE + start, data[start:end]) == end - start
    prepared.thread.complete(0)
    prepared.expect_syscall(WRITE)
    assert prepared.space.read(FREE, 4 * SIZE) == data


@pytest.mark.parametrize("change", ["unmap", "protect", "replace", "move"])
def test_memory_that_was_taken_away(prepared, asm, change):
    prepared.space.map(FREE, 2 * PAGE, RW, ANON, -1, 0)
    prepared.space.write(FREE, bytes(2 * PAGE))
    prepared.run(asm.call(WRITE, 1, DATA, 8))
    assert prepared.space.write(FREE, b"abc") == 3
    if change == "unmap":
        prepared.space.unmap(FREE, PAGE)
    elif change == "protect":
        prepared.space.protect(FREE, PAGE, 1)
    elif change == "replace":
        prepared.space.map(FREE, PAGE, 1, ANON, -1, 0)
    else:
        prepared.space.move(FREE, PAGE, FREE + 16 * PAGE, PAGE)
        assert prepared.space.read(FREE + 16 * PAGE, 3) == b"abc"
    assert prepared.space.write(FREE, b"def") == 0
    assert prepared.space.write(FREE + PAGE - 2, b"def") == 0
    assert prepared.space.write(FREE + PAGE, b"ghi") == 3
    left = {"protect": b"abc", "replace": bytes(3)}
    assert prepared.space.read(FREE, 3) == left.get(change, b"")


def test_written_before_a_fork(prepared, asm):
    prepared.run(asm.call(WRITE, 1, DATA, 8))
    prepared.space.write(DATA, b"both")
    space, child = prepared.space.fork(prepared.thread)
    assert space.read(DATA, 4) == b"both"
    space.write(DATA, b"only")
    assert prepared.space.read(DATA, 4) == b"both"
    child.release()
    space.release()


def test_written_before_another_thread_goes_on(prepared, asm):
    code = asm.call(WRITE, 1, DATA, 8) + load_word(asm, DATA)
    thread = prepared.run(code)
    other = prepared.space.spawn(thread)
    prepared.start(code, other)
    assert prepared.wait() is other
    prepared.space.write(DATA, b"12345678")
    thread.complete(0)
    assert prepared.wait() is thread
    assert thread.args[0] == int.from_bytes(b"12345678", "little")


def test_an_old_copy_is_not_shown(prepared, asm):
    """The same call again, on memory that has changed, on another thread meanwhile, and not told of."""
    prepared.space.write(DATA, b"first")
    prepared.run(asm.call(WRITE, 1, DATA, 5) + asm.call(WRITE, 1, DATA, 5))
    assert prepared.space.read(DATA, 5) == b"first"
    prepared.platform.prepare(WRITE, ())
    prepared.thread.complete(0)
    prepared.expect_syscall(WRITE)
    prepared.platform.prepare(WRITE, ((1, COPY_COUNTED, 1, 2),))
    assert prepared.platform.wait(-1, 0) is None
    prepared.space.write(DATA, b"other")
    assert prepared.space.read(DATA, 5) == b"other"


def test_a_file_that_is_cut_off(prepared, asm, tmp_path):
    """Memory that can be written vanishes between the write and its being seen: nothing hangs."""
    path = tmp_path / "file"
    path.write_bytes(bytes(PAGE))
    fd = os.open(path, os.O_RDWR)
    prepared.space.map(FREE, PAGE, RW, 1, fd, 0)
    assert prepared.space.write(FREE, b"x") == 1
    prepared.run(asm.call(WRITE, 1, DATA, 8) + asm.call(LAST))
    prepared.space.write(FREE, b"y")
    os.ftruncate(fd, 0)
    os.close(fd)
    prepared.thread.complete(8)
    prepared.expect_syscall(LAST)


def test_registers_survive(prepared, asm):
    values = {name: 0x1111 * (i + 1) for i, name in enumerate(("rbx", "rbp", "r12", "r13", "r14", "r15"))}
    prepared.run(asm.call(WRITE, 1, DATA, 8) + asm.call(LAST), **values)
    prepared.space.write(DATA, b"12345678")
    prepared.thread.complete(0)
    prepared.expect_syscall(LAST)
    regs = prepared.thread.get_regs()
    assert {name: regs[getattr(registers, name.upper())] for name in values} == values
