"""FPU state, FS and GS bases, and hostile values."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from runsc.abi import registers
from runsc.platform import FAULT

CODE = 0x100000
DATA = 0x200000
NON_CANONICAL = 1 << 63 | 0x1000
U64 = (1 << 64) - 1


def test_fs_and_gs_base(guest, asm):
    guest.space.write(DATA, struct.pack("<QQ", 111, 222))
    code = asm.LOAD_FS + asm.mov("rdi", DATA + 16) + asm.STORE
    code += asm.LOAD_GS + asm.mov("rdi", DATA + 24) + asm.STORE + asm.call(60)
    thread = guest.run(code, fs_base=DATA, gs_base=DATA + 8)
    assert thread.nr == 60
    assert struct.unpack("<QQ", guest.space.read(DATA + 16, 16)) == (111, 222)
    assert (guest.reg("fs_base"), guest.reg("gs_base")) == (DATA, DATA + 8)
    child = guest.space.spawn(thread)
    space, forked = guest.space.fork(thread)
    for other in (child, forked):
        assert (guest.reg("fs_base", other), guest.reg("gs_base", other)) == (DATA, DATA + 8)
    guest.run(asm.LOAD_FS + asm.call(1), child, CODE + 0x1000, fs_base=DATA + 8)
    space.release()


@pytest.mark.parametrize("base", [NON_CANONICAL, U64, 0xFFFF800000000000, 1 << 47, 0x7FFFFFFFF000])
def test_hostile_bases(guest, asm, base):
    thread = guest.run(asm.call(60), fs_base=base, gs_base=base)
    assert thread.nr == 60
    assert guest.reg("fs_base") < 1 << 47
    assert guest.reg("gs_base") < 1 << 47


def test_hostile_selectors_and_flags(guest, asm):
    thread = guest.thread
    guest.load(asm.call(60))
    for selector in (0, 0x10, 0x18, 0x23, 0x33, 0xFFFF, U64):
        regs = [0] * registers.COUNT
        regs[registers.RIP] = CODE
        for index in ("CS", "SS", "DS", "ES", "FS", "GS"):
            regs[getattr(registers, index)] = selector
        regs[registers.EFLAGS] = U64 & ~0x100
        regs[registers.ORIG_RAX] = 60
        thread.set_regs(regs)
        thread.resume()
        guest.expect_syscall(60)
        after = thread.get_regs()
        assert (after[registers.CS], after[registers.SS]) == (registers.USER_CS, registers.USER_DS)
        assert after[registers.EFLAGS] & 0x3000 == 0, "I/O privilege"
        assert after[registers.EFLAGS] & 0x200, "interrupts"


def test_random_registers_never_hurt(guest, asm):
    thread = guest.thread
    for _ in range(300):
        regs = [int.from_bytes(os.urandom(8), "little") for _ in range(registers.COUNT)]
        thread.set_regs(regs)
        thread.resume()
        assert guest.wait() is thread
        assert thread.event == FAULT
    guest.run(asm.call(60))
    assert thread.nr == 60


def test_fpu_starts_clean(platform, guest, asm):
    """No registers of the sentry's leak into a guest."""
    area = guest.thread.get_fpu()
    assert struct.unpack_from("<H", area, 0) == (0x37F,)
    assert struct.unpack_from("<I", area, 24) == (0x1F80,)
    assert area[32:464] == bytes(432)
    assert struct.unpack_from("<Q", area, 512)[0] & 7 == 0
    guest.run(asm.STORE_YMM5 + asm.call(60), rdi=DATA)
    assert guest.space.read(DATA, 32) == bytes(32)


def test_avx_state_is_kept(guest, asm):
    value = os.urandom(32)
    guest.space.write(DATA, value)
    code = asm.LOAD_YMM5 + asm.call(56) + asm.mov("rdi", DATA + 64) + asm.STORE_YMM5 + asm.call(60)
    thread = guest.run(code, rdi=DATA)
    guest.space.map(0x300000, 4096, 3, 0x22, -1, 0)
    child = guest.space.spawn(thread)
    space, forked = guest.space.fork(thread)
    assert child.get_fpu() == forked.get_fpu() == thread.get_fpu()
    thread.complete(0)
    guest.expect_syscall(60)
    assert guest.space.read(DATA + 64, 32) == value
    forked.set_regs(with_rip(forked, CODE + len(asm.LOAD_YMM5 + asm.call(56))))
    forked.resume()
    guest.expect_syscall(60)
    assert space.read(DATA + 64, 32) == value
    space.release()


def set_fpu(thread, area):
    try:
        thread.set_fpu(area)
    except OSError as e:
        return e.errno
    return 0


def with_rip(thread, rip):
    regs = thread.get_regs()
    regs[registers.RIP] = rip
    return regs


def test_fpu_roundtrip(guest, asm):
    value = os.urandom(32)
    guest.space.write(DATA, value)
    thread = guest.run(asm.LOAD_YMM5 + asm.call(39), rdi=DATA)
    saved = thread.get_fpu()
    assert value[:16] == saved[160 + 5 * 16 : 160 + 6 * 16]
    guest.run(b"\xc5\xd4\x57\xed" + asm.call(39))  # vxorps %ymm5,%ymm5,%ymm5
    assert thread.get_fpu() != saved
    thread.set_fpu(saved)
    assert thread.get_fpu() == saved
    guest.run(asm.STORE_YMM5 + asm.call(60), rdi=DATA + 64)
    assert guest.space.read(DATA + 64, 32) == value


def test_fxsave_area(guest, asm):
    guest.space.write(DATA, os.urandom(32))
    thread = guest.run(asm.LOAD_YMM5 + asm.call(39), rdi=DATA)
    legacy = bytearray(thread.get_fpu()[:512])
    legacy[160 + 16 : 160 + 32] = b"0123456789abcdef"
    thread.set_fpu(bytes(legacy))
    guest.run(asm.STORE_XMM1 + asm.mov("rdi", DATA + 64) + asm.STORE_YMM5 + asm.call(60), rdi=DATA + 32)
    assert guest.space.read(DATA + 32, 16) == b"0123456789abcdef"
    assert guest.space.read(DATA + 64, 32) == guest.space.read(DATA, 16) + bytes(16), "upper half is initial"


def test_hostile_fpu_areas(guest, asm):
    thread = guest.thread
    good = thread.get_fpu()
    for area in (b"", bytes(511), bytes(513), bytes(575)):
        with pytest.raises(OSError) as caught:
            thread.set_fpu(area)
        assert caught.value.errno == errno.EINVAL
        assert thread.get_fpu() == good
    for _ in range(100):
        for size in (512, 576, len(good), len(good) + 64):
            assert set_fpu(thread, os.urandom(size)) in (0, errno.EINVAL)
            assert len(thread.get_fpu()) == len(good)
    mxcsr_mask = struct.unpack_from("<I", good, 28)[0] or 0xFFBF
    assert struct.unpack_from("<I", thread.get_fpu(), 24)[0] & ~mxcsr_mask == 0
    guest.run(asm.call(60))
    assert thread.nr == 60


def test_all_bits_of_the_header(guest, asm):
    area = bytearray(guest.thread.get_fpu())
    area[512:576] = b"\xff" * 64
    area[24:28] = b"\xff" * 4
    assert set_fpu(guest.thread, bytes(area)) in (0, errno.EINVAL)
    guest.run(asm.call(60))
    assert guest.thread.nr == 60
