"""The x86-64 signal frame: pushed before a handler runs, popped by rt_sigreturn(2)
(arch/x86/kernel/signal_64.c).

    struct rt_sigframe { char *pretcode; struct ucontext uc; struct siginfo info; }   /* 440 bytes */

with the FPU state above it, aligned to 64 bytes.
"""

from __future__ import annotations

from struct import Struct

from runsc.abi.registers import (
    CS,
    DS,
    EFLAGS,
    ES,
    ORIG_RAX,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    RAX,
    RBP,
    RBX,
    RCX,
    RDI,
    RDX,
    RIP,
    RSI,
    RSP,
    SS,
    USER_CS,
    USER_DS,
    USER_EFLAGS,
)
from runsc.abi.signal import SA_ONSTACK, SA_RESTORER, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK
from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.siginfo import SigInfo
    from runsc.kernel.signal import Action
    from runsc.kernel.task import Task

#: uc_flags, uc_link, uc_stack.
_HEAD = Struct("<QQQi4xQ")
#: struct sigcontext: 18 registers, four selectors, err, trapno, oldmask, cr2, fpstate, reserved.
_CONTEXT = Struct("<18Q4H4QQ64x")
#: struct _fpx_sw_bytes, at offset 464 of the FXSAVE area: magic1, extended_size, xfeatures, xstate_size.
_SW_BYTES = Struct("<IIQI")
_MAGIC1 = 0x46505853
_MAGIC2 = (0x46505845).to_bytes(4, "little")
_SW_OFFSET = 464

FRAME_SIZE = 8 + _HEAD.size + _CONTEXT.size + 8 + 128
_UC_FLAGS = 1 | 2 | 4  # UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
_ORDER = (R8, R9, R10, R11, R12, R13, R14, R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, EFLAGS)
_TF = 0x100
_DF = 0x400
_RF = 0x10000


def on_altstack(task: Task, sp: int) -> bool:
    """Is ``sp`` within the alternate stack? Never with SS_AUTODISARM (sas_ss_flags)."""
    if task.alt_flags & SS_AUTODISARM or not task.alt_size:
        return False
    return task.alt_stack < sp <= task.alt_stack + task.alt_size


def push(
    task: Task, info: SigInfo, action: Action, regs: list[int], mask: int, trap: tuple[int, int, int]
) -> None:
    """Build the frame in guest memory and point ``regs`` at the handler.

    ``mask``: the signal set to restore afterwards; ``trap``: (trapno, err, cr2) of the last fault. Raises
    LinuxError(EFAULT) if the stack can't take it: the caller forces SIGSEGV.
    """
    if not action.flags & SA_RESTORER:
        raise LinuxError(14)
    area = task.thread.get_fpu()
    sp = regs[RSP] - 128  # the red zone
    entering = False
    if action.flags & SA_ONSTACK and task.alt_size and not on_altstack(task, regs[RSP]):
        sp = task.alt_stack + task.alt_size
        entering = True
    elif on_altstack(task, regs[RSP]) and not on_altstack(task, sp - FRAME_SIZE - len(area)):
        raise LinuxError(14)  # the alternate stack overflows
    fpu_at = (sp - len(area) - 4) & ~63
    at = ((fpu_at - FRAME_SIZE) & ~15) - 8
    if at < 0 or (entering and at < task.alt_stack):
        raise LinuxError(14)

    features = int.from_bytes(area[_SW_OFFSET : _SW_OFFSET + 8], "little")
    sw = _SW_BYTES.pack(_MAGIC1, len(area) + 4, features, len(area))
    fpu = area[:_SW_OFFSET] + sw + bytes(512 - _SW_OFFSET - len(sw)) + area[512:] + _MAGIC2

    stack_flags = task.alt_flags if task.alt_flags & SS_AUTODISARM or not task.alt_size else 0
    if not task.alt_size:
        stack_flags |= SS_DISABLE
    elif on_altstack(task, regs[RSP]):
        stack_flags |= SS_ONSTACK
    frame = b"".join(
        (
            action.restorer.to_bytes(8, "little"),
            _HEAD.pack(_UC_FLAGS, 0, task.alt_stack, _signed(stack_flags), task.alt_size),
            _CONTEXT.pack(
                *(regs[index] for index in _ORDER),
                regs[CS] & 0xFFFF,
                0,
                0,
                regs[SS] & 0xFFFF,
                trap[1],
                trap[0],
                mask,
                trap[2],
                fpu_at,
            ),
            mask.to_bytes(8, "little"),
            info.pack(),
        )
    )
    gap = fpu_at - at - len(frame)
    task.mm.copy_out(at, frame + bytes(gap) + fpu)
    if task.alt_flags & SS_AUTODISARM and entering:
        task.alt_stack = task.alt_size = 0
        task.alt_flags = SS_DISABLE

    regs[RDI] = info.signo
    regs[RSI] = at + 8 + _HEAD.size + _CONTEXT.size + 8
    regs[RDX] = at + 8
    regs[RAX] = 0
    regs[RSP] = at
    regs[RIP] = action.handler
    regs[CS] = USER_CS
    regs[SS] = USER_DS
    regs[DS] = regs[ES] = 0
    regs[EFLAGS] &= ~(_DF | _RF | _TF)
    regs[ORIG_RAX] = 0xFFFFFFFFFFFFFFFF


def pop(task: Task) -> int:
    """rt_sigreturn(2): put back what the frame says, which the guest may have changed at will.

    The signal mask that the frame holds. Raises LinuxError(EFAULT) for a frame that can't be read: the caller
    forces SIGSEGV.
    """
    regs = task.thread.get_regs()
    at = regs[RSP] - 8
    body = task.mm.copy_in(at + 8, _HEAD.size + _CONTEXT.size + 8)
    _flags, _link, stack, stack_flags, stack_size = _HEAD.unpack_from(body, 0)
    values = _CONTEXT.unpack_from(body, _HEAD.size)
    mask = int.from_bytes(body[_HEAD.size + _CONTEXT.size :], "little")
    for index, value in zip(_ORDER, values, strict=False):
        regs[index] = value
    regs[EFLAGS] = regs[EFLAGS] & USER_EFLAGS | 0x202
    regs[CS] = USER_CS
    regs[SS] = USER_DS
    regs[ORIG_RAX] = 0xFFFFFFFFFFFFFFFF
    fpu_at = values[26]
    area = read_fpu(task, fpu_at) if fpu_at else b""
    task.thread.set_regs(regs)
    if area:
        try:
            task.thread.set_fpu(area)
        except OSError as error:
            raise LinuxError(14) from error
    else:
        task.thread.set_fpu(task.kernel.initial_fpu)
    restore_altstack(task, stack, stack_flags & 0xFFFFFFFF, stack_size)
    return mask


def read_fpu(task: Task, at: int) -> bytes:
    """The FPU area of a frame: whole if its magic numbers hold, else the 512 bytes of FXSAVE."""
    legacy = task.mm.copy_in(at, 512)
    magic, extended, _features, size = _SW_BYTES.unpack_from(legacy, _SW_OFFSET)
    ours = len(task.kernel.initial_fpu)
    if magic != _MAGIC1 or size < 576 or size > ours or extended < size + 4:
        return legacy
    whole = task.mm.copy_in(at, size + 4)
    if whole[size:] != _MAGIC2:
        return legacy
    return whole[:size].ljust(ours, b"\0")


def restore_altstack(task: Task, stack: int, flags: int, size: int) -> None:
    """The frame's uc_stack becomes the alternate stack again, if it makes sense (restore_altstack)."""
    mode = flags & ~SS_AUTODISARM
    if mode & SS_DISABLE:
        if not on_altstack(task, task.thread.get_regs()[RSP]):
            task.alt_stack = task.alt_size = 0
            task.alt_flags = SS_DISABLE
    elif mode in (0, SS_ONSTACK) and size >= 2048 and not on_altstack(task, task.thread.get_regs()[RSP]):
        task.alt_stack = stack
        task.alt_size = size
        task.alt_flags = flags & SS_AUTODISARM


def _signed(value: int) -> int:
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
