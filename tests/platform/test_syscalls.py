"""System calls: what the guest's `syscall` instruction hands over and what it gets back."""

from __future__ import annotations

import errno

import pytest

from runsc.abi import registers
from runsc.platform import SYSCALL

CODE = 0x100000
DATA = 0x200000
U64 = (1 << 64) - 1


def test_number_and_arguments(guest, asm):
    args = (1, U64, 1 << 63, 0xDEADBEEF, 5, 0x1234567890ABCDEF)
    thread = guest.run(asm.call(257, *args))
    assert (thread.event, thread.nr, thread.args) == (SYSCALL, 257, args)


@pytest.mark.parametrize("rax", [-1, 0x7FFFFFFF, 0x40000001, 1 << 32 | 39])
def test_number_is_the_low_half_of_rax_and_signed(guest, asm, rax):
    thread = guest.run(asm.call(rax))
    low = rax & 0xFFFFFFFF
    assert thread.nr == (low - (1 << 32) if low >> 31 else low)


def test_registers_at_a_system_call(guest, asm):
    code = asm.call(39)
    thread = guest.run(code, rbx=77, r15=88, rsp=0x1000)
    regs = thread.get_regs()
    assert regs[registers.RIP] == CODE + len(code)
    assert regs[registers.RCX] == CODE + len(code)
    assert regs[registers.R11] == regs[registers.EFLAGS]
    assert regs[registers.ORIG_RAX] == 39
    assert regs[registers.RAX] == -errno.ENOSYS & U64
    assert (regs[registers.RBX], regs[registers.R15], regs[registers.RSP]) == (77, 88, 0x1000)


@pytest.mark.parametrize("result", [0, 42, -errno.EPERM, 1 << 62, -4095, -511, -512, -513, -514, -516, -517])
def test_result(guest, asm, result):
    """Also those that a host kernel takes for an order to restart the call."""
    thread = guest.run(asm.call(39) + asm.mov("rdi", DATA) + asm.STORE + asm.call(60))
    thread.complete(result)
    guest.expect_syscall(60)
    assert guest.space.read(DATA, 8) == (result & U64).to_bytes(8, "little")


def test_the_host_never_executes_it(guest, asm):
    """exit_group, fork and kill of the parent would all be noticed."""
    for nr in (231, 57, 60, 62):
        thread = guest.run(asm.call(nr, 0, 9))
        assert thread.nr == nr
        thread.complete(-errno.ENOSYS)
        assert guest.wait() is thread  # the zeros behind: add %al,(%rax)
    assert guest.space.read(CODE, 2) != b""


def test_loop(guest, asm):
    guest.start(asm.call_loop(39))
    for i in range(5000):
        guest.expect_syscall(39).complete(i)
    assert guest.expect_syscall(39).get_regs()[registers.ORIG_RAX] == 39


def test_all_registers_survive_and_can_be_replaced(guest, asm):
    general = ["r15", "r14", "r13", "r12", "rbp", "rbx", "r10", "r9", "r8", "rdx", "rsi", "rdi", "rsp"]
    values = {name: 0x1111111111111111 * (i + 1) & U64 for i, name in enumerate(general)}
    thread = guest.run(asm.SYSCALL, **values, rax=5)
    regs = thread.get_regs()
    assert {name: guest.reg(name) for name in general} == values
    regs[registers.RAX] = 0x1234
    regs[registers.RCX] = 0x5678
    regs[registers.R11] = 0x9ABC
    regs[registers.RBX] = 7
    regs[registers.RIP] = CODE + 64
    guest.load(asm.INT3, CODE + 64)
    thread.set_regs(regs)
    thread.resume()
    assert guest.wait() is thread
    after = thread.get_regs()
    for index in (registers.RAX, registers.RCX, registers.R11, registers.RBX, registers.RSP):
        assert after[index] == regs[index]
    assert after[registers.RIP] == CODE + 65


def test_set_regs_cancels_the_call(guest, asm):
    thread = guest.run(asm.call(39))
    regs = thread.get_regs()
    regs[registers.RIP] = CODE
    regs[registers.RAX] = -512 & U64
    thread.set_regs(regs)
    thread.resume()
    guest.expect_syscall(39)


def test_memory_changes_during_a_call(guest, asm):
    """Host calls made in the stopped thread leave its registers alone."""
    thread = guest.run(asm.call(9, 1, 2, 3, 4, 5, 6), rbx=99)
    before = thread.get_regs()
    guest.space.map(0x300000, 0x1000, 3, 0x22, -1, 0)
    assert thread.get_regs() == before
    assert thread.args == (1, 2, 3, 4, 5, 6)
    guest.load(asm.mov("rdi", DATA) + asm.STORE + asm.call(60), before[registers.RIP])
    thread.complete(0x300000)
    guest.expect_syscall(60)
    assert guest.space.read(DATA, 8) == (0x300000).to_bytes(8, "little")
    assert guest.reg("rbx") == 99
