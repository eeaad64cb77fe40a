"""Mapping, and reading and writing from outside."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import struct
import time

import pytest

CODE = 0x100000
DATA = 0x200000
PAGE = 4096
FREE = 0x400000
RW = 3
ANON = 0x22
SHARED, PRIVATE = 1, 2


def test_initial_areas(platform):
    space = platform.new_address_space()
    names = [name for _, _, name in space.initial_areas]
    assert set(names) <= {"[vdso]", "[vvar]", "[vvar_vclock]"}
    for start, end, _ in space.initial_areas:
        assert space.min_address <= start < end <= space.task_size
    assert space.min_address >= 0x1000
    assert space.task_size > 1 << 46
    if space.vdso:
        assert space.read(space.vdso, 4) == b"\x7fELF"


def test_nothing_else_is_mapped(guest):
    kept = {(start, end) for start, end, _ in guest.space.initial_areas}
    with open(f"/proc/{guest.host_process()}/maps") as f:
        areas = {tuple(int(x, 16) for x in line.split(None, 1)[0].split("-")) for line in f}
    below = {a for a in areas if guest.space.min_address <= a[0] < guest.space.task_size}
    assert below == kept | {(CODE, CODE + 0x10000), (DATA, DATA + 0x10000)}


def test_read_and_write(guest):
    data = os.urandom(0x10000)
    assert guest.space.write(DATA, data) == len(data)
    assert guest.space.read(DATA, len(data)) == data
    assert guest.space.write(DATA + 5, bytearray(b"abc")) == 3
    assert guest.space.write(DATA + 8, memoryview(b"def")) == 3
    assert guest.space.read(DATA + 5, 6) == b"abcdef"
    assert guest.space.write(DATA, b"") == 0
    assert guest.space.read(DATA, 0) == b""


def test_large_read_and_write(guest):
    size = 3 << 20
    guest.space.map(FREE, size, RW, ANON, -1, 0)
    data = os.urandom(size)
    assert guest.space.write(FREE, data) == size
    assert guest.space.read(FREE, size) == data
    assert guest.space.read(FREE, 2 * size) == data


@pytest.mark.parametrize("hole", ["unmapped", "none"])
def test_transfers_stop_at_the_first_bad_page(guest, hole):
    guest.space.map(FREE, 4 * PAGE, RW, ANON, -1, 0)
    if hole == "unmapped":
        guest.space.unmap(FREE + 2 * PAGE, PAGE)
    else:
        guest.space.protect(FREE + 2 * PAGE, PAGE, 0)
    assert len(guest.space.read(FREE + 100, 3 * PAGE)) == 2 * PAGE - 100
    assert guest.space.write(FREE + 100, bytes(3 * PAGE)) == 2 * PAGE - 100
    assert guest.space.read(FREE + 2 * PAGE, 8) == b""
    assert guest.space.read(FREE + 2 * PAGE - 4, 8) == bytes(4)
    assert guest.space.write(FREE + 2 * PAGE, b"12345678") == 0
    assert guest.space.write(FREE + 2 * PAGE - 4, b"12345678") == 4
    assert guest.space.read(FREE + 3 * PAGE, 8) == bytes(8)


def test_read_only_pages_are_not_written(guest):
    guest.space.map(FREE, 2 * PAGE, RW, ANON, -1, 0)
    guest.space.protect(FREE + PAGE, PAGE, 1)
    assert guest.space.write(FREE, b"x" * 2 * PAGE) == PAGE
    assert guest.space.read(FREE + PAGE, PAGE) == bytes(PAGE)
    assert guest.space.poke(FREE + PAGE + 3, b"\xcc") == 1
    assert guest.space.read(FREE + PAGE, 8) == b"\0\0\0\xcc\0\0\0\0"


def test_poke(guest):
    guest.space.map(FREE, PAGE, 1, ANON, -1, 0)
    assert guest.space.poke(FREE + 5, b"breakpoints") == 11
    assert guest.space.read(FREE, 17) == b"\0" * 5 + b"breakpoints\0"
    assert guest.space.poke(FREE + PAGE, b"x") == 0
    assert guest.space.poke(guest.space.task_size + PAGE, b"x") == 0
    assert guest.space.poke(0, b"x") == 0


@pytest.mark.parametrize("addr", [0, 0x1000, 1 << 47, 1 << 63, (1 << 64) - 8, -8])
def test_addresses_out_of_range(guest, addr):
    assert guest.space.read(addr, 8) == b""
    assert guest.space.write(addr, b"12345678") == 0


def test_the_platforms_own_pages_are_out_of_reach(guest):
    top = guest.space.task_size
    for page in range(3):
        assert guest.space.read(top + page * PAGE, 8) == b""
        assert guest.space.write(top + page * PAGE, b"12345678") == 0
    assert guest.space.read(top - 8, 16) == b""
    guest.space.map(top - PAGE, PAGE, RW, ANON, -1, 0)
    assert guest.space.read(top - 8, 16) == bytes(8)


def test_shared_file(guest):
    fd = os.memfd_create("shared")
    os.ftruncate(fd, 2 * PAGE)
    guest.space.map(FREE, PAGE, RW, SHARED, fd, PAGE)
    with mmap.mmap(fd, 2 * PAGE) as ours:
        os.close(fd)
        ours[PAGE : PAGE + 5] = b"hello"
        assert guest.space.read(FREE, 5) == b"hello"
        guest.space.write(FREE, b"HELLO")
        guest.space.sync(FREE, PAGE, 4)
        assert ours[PAGE : PAGE + 5] == b"HELLO"


def test_private_file(guest):
    fd = os.memfd_create("private")
    os.write(fd, b"abcd" * PAGE)
    guest.space.map(FREE, PAGE, RW, PRIVATE, fd, 0)
    guest.space.write(FREE, b"ABCD")
    assert os.pread(fd, 4, 0) == b"abcd"
    assert guest.space.read(FREE, 8) == b"ABCDabcd"
    os.close(fd)


def test_map_replaces(guest):
    guest.space.write(DATA, b"old")
    guest.space.map(DATA, PAGE, RW, ANON, -1, 0)
    assert guest.space.read(DATA, 3) == b"\0\0\0"


def test_map_errors(guest):
    for fd, prot, flags, want in ((999, 1, SHARED, errno.EBADF), (-1, RW, 0x20, errno.EINVAL)):
        with pytest.raises(OSError) as caught:
            guest.space.map(FREE, PAGE, prot, flags, fd, 0)
        assert caught.value.errno == want
    read_only = os.open("/proc/self/exe", os.O_RDONLY)
    with pytest.raises(OSError) as caught:
        guest.space.map(FREE, PAGE, RW, SHARED, read_only, 0)
    assert caught.value.errno == errno.EACCES
    os.close(read_only)
    with pytest.raises(OSError) as caught:
        guest.space.protect(FREE, PAGE, 1)
    assert caught.value.errno == errno.ENOMEM


def test_unmap_and_protect(guest, asm):
    guest.space.unmap(DATA, PAGE)
    guest.expect_fault(guest.run(asm.LOAD, rdi=DATA), signal.SIGSEGV, 1)
    guest.space.protect(DATA + PAGE, PAGE, 0)
    guest.expect_fault(guest.run(asm.LOAD, rdi=DATA + PAGE), signal.SIGSEGV, 2)
    guest.space.unmap(FREE, PAGE)  # nothing there: no error


def test_move(guest):
    guest.space.write(DATA, b"moved")
    guest.space.move(DATA, PAGE, FREE, PAGE)
    assert guest.space.read(FREE, 5) == b"moved"
    assert guest.space.read(DATA, 5) == b""
    guest.space.move(FREE, PAGE, FREE, 2 * PAGE)
    assert guest.space.read(FREE, 2 * PAGE) == b"moved" + bytes(2 * PAGE - 5)
    guest.space.move(FREE, 2 * PAGE, FREE, PAGE)
    assert guest.space.read(FREE + PAGE, 1) == b""
    guest.space.move(FREE, PAGE, FREE + 0x100000, PAGE, keep=True)
    assert guest.space.read(FREE + 0x100000, 5) == b"moved"
    assert guest.space.read(FREE, 5) == bytes(5)


def test_move_errors(guest):
    with pytest.raises(OSError) as caught:
        guest.space.move(FREE, PAGE, FREE + PAGE, PAGE)
    assert caught.value.errno == errno.EFAULT
    guest.space.map(FREE, 2 * PAGE, RW, ANON, -1, 0)
    with pytest.raises(OSError) as caught:
        guest.space.move(FREE, PAGE, FREE, 2 * PAGE)
    assert caught.value.errno == errno.ENOMEM


def test_advise_and_residency(guest):
    guest.space.map(FREE, 8 * PAGE, RW, ANON, -1, 0)
    assert guest.space.residency(FREE, 8 * PAGE) == bytes(8)
    guest.space.write(FREE + PAGE, b"x" * PAGE)
    guest.space.write(FREE + 5 * PAGE, b"x")
    assert [b & 1 for b in guest.space.residency(FREE, 8 * PAGE)] == [0, 1, 0, 0, 0, 1, 0, 0]
    guest.space.advise(FREE, 8 * PAGE, mmap.MADV_DONTNEED)
    assert guest.space.residency(FREE, 8 * PAGE) == bytes(8)
    with pytest.raises(OSError) as caught:
        guest.space.residency(FREE, 16 * PAGE)
    assert caught.value.errno == errno.ENOMEM
    with pytest.raises(OSError) as caught:
        guest.space.advise(FREE, PAGE, 9999)
    assert caught.value.errno == errno.EINVAL


def test_residency_of_many_pages(guest):
    pages = 10000
    guest.space.map(0x10000000, pages * PAGE, RW, ANON, -1, 0)
    guest.space.write(0x10000000 + 9999 * PAGE, b"x")
    found = guest.space.residency(0x10000000, pages * PAGE)
    assert len(found) == pages
    assert [i for i, b in enumerate(found) if b & 1] == [9999]


def test_resident_bytes(guest):
    before = guest.space.resident_bytes()
    guest.space.map(FREE, 4 << 20, RW, ANON, -1, 0)
    guest.space.write(FREE, b"x" * (4 << 20))
    assert guest.space.resident_bytes() - before == pytest.approx(4 << 20, abs=1 << 19)


def test_compare_exchange(guest):
    guest.space.write(DATA, struct.pack("<II", 5, 77))
    assert guest.space.compare_exchange(DATA, 4, 9) == 5
    assert guest.space.read(DATA, 4) == struct.pack("<I", 5)
    assert guest.space.compare_exchange(DATA, 5, 0xFFFFFFFF) == 5
    assert guest.space.read(DATA, 8) == struct.pack("<II", 0xFFFFFFFF, 77)


@pytest.mark.parametrize("addr", [0, 0x5000000, 1 << 47, 1 << 63, (1 << 64) - 4])
def test_compare_exchange_of_a_bad_address(guest, addr):
    with pytest.raises(OSError) as caught:
        guest.space.compare_exchange(addr, 0, 1)
    assert caught.value.errno == errno.EFAULT


def test_compare_exchange_of_a_read_only_page(guest, asm):
    guest.space.protect(DATA, PAGE, 1)
    with pytest.raises(OSError) as caught:
        guest.space.compare_exchange(DATA, 0, 1)
    assert caught.value.errno == errno.EFAULT
    guest.run(asm.call(60))
    assert guest.thread.nr == 60


def test_compare_exchange_against_a_running_guest(guest, asm):
    """The guest decrements atomically while we increment: no update is lost."""
    # 1: lock decl (%rdi); dec %rsi; jnz 1b
    code = b"\xf0\xff\x0f\x48\xff\xce\x75\xf8" + asm.call(60)
    second = guest.space.spawn(guest.thread)
    guest.space.write(DATA, struct.pack("<I", 1 << 30))
    guest.start(code, rdi=DATA, rsi=3_000_000)
    ours = 0
    while (thread := guest.platform.wait(-1, 0)) is None:
        (value,) = struct.unpack("<I", guest.space.read(DATA, 4))
        if guest.space.compare_exchange(DATA, value, value + 1) == value:
            ours += 1
    assert thread is guest.thread
    (value,) = struct.unpack("<I", guest.space.read(DATA, 4))
    assert value == (1 << 30) - 3_000_000 + ours
    second.release()


def test_reset(guest, asm):
    guest.space.map(FREE, PAGE, RW, ANON, -1, 0)
    guest.space.map(guest.space.task_size - PAGE, PAGE, RW, ANON, -1, 0)
    guest.space.reset()
    for at in (CODE, DATA, FREE, guest.space.task_size - PAGE):
        assert guest.space.read(at, 1) == b""
    if guest.space.vdso:
        assert guest.space.read(guest.space.vdso, 4) == b"\x7fELF"
    guest.space.map(CODE, PAGE, 7, ANON, -1, 0)
    assert guest.run(asm.call(60)).nr == 60


def test_memory_of_a_running_guest(guest, asm):
    """Everything works while no thread is stopped, and the guest does not notice."""
    guest.start(asm.COUNT)
    guest.space.map(FREE, PAGE, RW, ANON, -1, 0)
    assert guest.space.write(FREE, b"abc") == 3
    assert guest.space.poke(FREE + 3, b"def") == 3
    assert guest.space.read(FREE, 6) == b"abcdef"
    assert guest.space.compare_exchange(DATA, 0, 7) == 0
    assert guest.space.residency(FREE, PAGE) == b"\1"
    guest.space.unmap(FREE, PAGE)
    guest.expect_nothing(20_000_000)
    guest.thread.interrupt()
    assert guest.wait() is guest.thread
    assert guest.reg("rip") in (CODE, CODE + 3)
    assert guest.reg("rbx") > 0


def test_vdso_works(guest, asm):
    """clock_gettime from the vDSO makes no system call."""
    space = guest.space
    if not space.vdso:
        pytest.skip("no vDSO")
    start, end = next((s, e) for s, e, name in space.initial_areas if name == "[vdso]")
    entry = start + vdso_symbol(space.read(start, end - start), b"__vdso_clock_gettime")
    # call *%rax; then exit
    thread = guest.run(b"\xff\xd0" + asm.call(60), rax=entry, rdi=1, rsi=DATA, rsp=DATA + 0x8000)
    assert thread.nr == 60
    seconds, nanoseconds = struct.unpack("<QQ", space.read(DATA, 16))
    assert 0 <= nanoseconds < 1_000_000_000
    assert abs(seconds - time.clock_gettime(time.CLOCK_MONOTONIC)) < 5


def vdso_symbol(image: bytes, name: bytes) -> int:
    """The offset of a dynamic symbol in an ELF image (gabi chapter 5)."""
    (phoff,) = struct.unpack_from("<Q", image, 32)
    (phnum,) = struct.unpack_from("<H", image, 56)
    dynamic = next(
        struct.unpack_from("<Q", image, phoff + 56 * i + 8)[0]
        for i in range(phnum)
        if struct.unpack_from("<I", image, phoff + 56 * i)[0] == 2
    )
    tags = {}
    while (entry := struct.unpack_from("<QQ", image, dynamic))[0]:
        tags[entry[0]] = entry[1]
        dynamic += 16
    strings, symbols = tags[5], tags[6]
    for at in range(symbols, strings, 24):
        index, _info, _other, _section, value = struct.unpack_from("<IBBHQ", image, at)
        if image[strings + index : image.index(b"\0", strings + index)] == name:
            return int(value)
    raise LookupError(name)
