"""Synchronous exceptions: kind, code and address as the host kernel would tell a signal handler."""

from __future__ import annotations

import os
import signal

import pytest

from runsc.abi import registers
from runsc.platform import FAULT

CODE = 0x100000
DATA = 0x200000
PAGE = 4096
SEGV_MAPERR, SEGV_ACCERR = 1, 2
BUS_ADRERR = 2
ILL_ILLOPN = 2
FPE_INTDIV = 1
TRAP_TRACE = 2
SI_KERNEL = 0x80
TF = 0x100
NON_CANONICAL = 1 << 63 | 0x1000


@pytest.mark.parametrize("addr", [0, 0x123, 0x7FFF00000000, 0xFFFF800000000000, 0xFFFFFFFFFFFFF000])
def test_read_of_an_unmapped_address(guest, asm, addr):
    thread = guest.run(asm.LOAD, rdi=addr)
    guest.expect_fault(thread, signal.SIGSEGV)
    assert thread.fault.addr == addr
    assert thread.fault.trapno == 14
    assert guest.reg("rip") == CODE


def test_maperr_and_accerr(guest, asm):
    guest.expect_fault(guest.run(asm.STORE, rdi=0x5000000), signal.SIGSEGV, SEGV_MAPERR)
    guest.space.protect(DATA, PAGE, 1)
    guest.expect_fault(guest.run(asm.STORE, rdi=DATA + 8), signal.SIGSEGV, SEGV_ACCERR)
    assert guest.thread.fault.addr == DATA + 8


def test_execute_of_a_page_without_permission(guest, asm):
    thread = guest.run(asm.JMP_RAX, rax=DATA)
    guest.expect_fault(thread, signal.SIGSEGV, SEGV_ACCERR)
    assert thread.fault.addr == DATA == guest.reg("rip")


def test_fault_is_retried_after_the_page_was_mapped(guest, asm):
    thread = guest.run(asm.LOAD + asm.call(60), rdi=0x5000000)
    guest.expect_fault(thread, signal.SIGSEGV, SEGV_MAPERR)
    guest.space.map(0x5000000, PAGE, 3, 0x22, -1, 0)
    assert guest.space.write(0x5000000, b"\x2a") == 1
    thread.resume()
    guest.expect_syscall(60)


def test_non_canonical_address(guest, asm):
    thread = guest.run(asm.LOAD, rdi=NON_CANONICAL)
    guest.expect_fault(thread, signal.SIGSEGV, SI_KERNEL)
    assert thread.fault.addr == 0
    assert thread.fault.trapno == 13


def test_undefined_instruction(guest, asm):
    thread = guest.run(asm.NOP + asm.UD2)
    guest.expect_fault(thread, signal.SIGILL, ILL_ILLOPN)
    assert thread.fault.addr == CODE + 1
    assert thread.fault.trapno == 6


def test_division_by_zero(guest, asm):
    thread = guest.run(asm.DIVIDE_BY_ZERO)
    guest.expect_fault(thread, signal.SIGFPE, FPE_INTDIV)
    assert thread.fault.addr == CODE + 4
    assert thread.fault.trapno == 0


def test_breakpoint(guest, asm):
    thread = guest.run(asm.INT3)
    guest.expect_fault(thread, signal.SIGTRAP, SI_KERNEL)
    assert guest.reg("rip") == CODE + 1
    assert thread.fault.trapno == 3


def test_single_step(guest, asm):
    thread = guest.run(asm.NOP * 4 + asm.call(60), eflags=TF)
    for i in range(1, 4):
        guest.expect_fault(thread, signal.SIGTRAP, TRAP_TRACE)
        assert guest.reg("rip") == CODE + i
        assert guest.reg("eflags") & TF
        thread.resume()
        assert guest.wait() is thread
    regs = thread.get_regs()
    regs[registers.EFLAGS] &= ~TF
    thread.set_regs(regs)
    thread.resume()
    guest.expect_syscall(60)


def test_single_step_over_a_system_call(guest, asm):
    thread = guest.run(asm.SYSCALL + asm.NOP * 3, eflags=TF, rax=39)
    assert (thread.event, thread.nr) == (1, 39)
    thread.complete(5)
    assert guest.wait() is thread
    guest.expect_fault(thread, signal.SIGTRAP)
    assert guest.reg("rax") == 5
    assert guest.reg("rip") in (CODE + 2, CODE + 3)


def test_host_calls_while_stepping(guest, asm):
    thread = guest.run(asm.NOP * 4, eflags=TF)
    guest.space.map(0x300000, PAGE, 3, 0x22, -1, 0)
    assert guest.reg("eflags") & TF
    thread.resume()
    assert guest.wait() is thread
    guest.expect_fault(thread, signal.SIGTRAP, TRAP_TRACE)
    assert guest.reg("rip") == CODE + 2


def test_file_shorter_than_its_mapping(guest, asm):
    fd = os.memfd_create("short")
    os.ftruncate(fd, PAGE)
    guest.space.map(0x300000, 2 * PAGE, 3, 1, fd, 0)
    os.close(fd)
    thread = guest.run(asm.LOAD, rdi=0x300000 + PAGE + 8)
    guest.expect_fault(thread, signal.SIGBUS, BUS_ADRERR)
    assert thread.fault.addr == 0x300000 + PAGE + 8


@pytest.mark.parametrize("rip", [NON_CANONICAL, 0xFFFF800000000000, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFF, 0])
def test_hostile_rip(guest, asm, rip):
    thread = guest.run(asm.JMP_RAX, rax=rip)
    guest.expect_fault(thread, signal.SIGSEGV)
    regs = thread.get_regs()
    regs[registers.RIP] = rip
    thread.set_regs(regs)
    thread.resume()
    assert guest.wait() is thread
    guest.expect_fault(thread, signal.SIGSEGV)
    guest.run(asm.call(60))
    assert thread.nr == 60


@pytest.mark.parametrize("rsp", [NON_CANONICAL, 0, 0xFFFFFFFFFFFFFFFF, 0xFFFF800000000000])
def test_hostile_rsp(guest, asm, rsp):
    thread = guest.run(asm.call(39) + asm.PUSH_RAX, rsp=rsp)
    assert (thread.event, thread.nr) == (1, 39)
    guest.space.map(0x300000, PAGE, 3, 0x22, -1, 0)
    thread.complete(0)
    assert guest.wait() is thread
    assert thread.event == FAULT
    assert thread.fault.signo in (signal.SIGSEGV, signal.SIGBUS)
    assert guest.reg("rsp") == rsp


def test_int80_is_a_fault(guest, asm):
    """As on a kernel without 32-bit support, never a call with a 64-bit number."""
    thread = guest.run(asm.mov("rax", 20) + asm.INT80)
    guest.expect_fault(thread, signal.SIGSEGV, SI_KERNEL)
    assert guest.reg("rip") == CODE + 10
    assert guest.reg("rax") == 20
    regs = thread.get_regs()
    regs[registers.RIP] = CODE + 12
    thread.set_regs(regs)
    guest.load(asm.call(60), CODE + 12)
    thread.resume()
    guest.expect_syscall(60)


def test_32_bit_code_makes_no_calls(guest, asm):
    """A far return into the 32-bit code segment, then int 0x80 there."""
    guest.space.write(DATA, (CODE + 32).to_bytes(8, "little") + (0x23).to_bytes(8, "little"))
    guest.load(b"\xb8\x14\x00\x00\x00\xcd\x80", CODE + 32)
    thread = guest.run(asm.RET_FAR, rsp=DATA)
    guest.expect_fault(thread, signal.SIGSEGV, SI_KERNEL)
    guest.run(asm.call(60))
    assert guest.reg("cs") == registers.USER_CS


def test_32_bit_syscall_instruction(guest, asm):
    guest.space.write(DATA, (CODE + 32).to_bytes(8, "little") + (0x23).to_bytes(8, "little"))
    guest.load(b"\xb8\x14\x00\x00\x00\x0f\x05", CODE + 32)
    thread = guest.run(asm.RET_FAR, rsp=DATA)
    assert thread.event == FAULT
    guest.run(asm.call(60))
    assert thread.nr == 60


def test_the_platforms_own_pages_are_of_no_use(guest, asm):
    """A guest that jumps above its address space gets a system call stop or a fault, like anywhere."""
    top = guest.space.task_size
    for at in (top, top + PAGE, top + PAGE + 2, top + PAGE + 0x10, top + 2 * PAGE - 1):
        thread = guest.run(asm.JMP_RAX, rax=at)
        assert thread.event in (1, FAULT)
        thread = guest.run(asm.STORE, rdi=at)
        guest.expect_fault(thread, signal.SIGSEGV)
