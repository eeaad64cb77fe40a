"""The way back to guest code: signals, stops, restarts (kernel/entry/common.c, arch/x86/kernel/signal.c)."""

from __future__ import annotations

from errno import EINTR

from runsc.abi.registers import ORIG_RAX, RAX, RIP
from runsc.abi.signal import (
    IGNORED_BY_DEFAULT,
    SA_NODEFER,
    SA_RESETHAND,
    SA_RESTART,
    SI_KERNEL,
    SIG_DFL,
    SIG_IGN,
    SIGSEGV,
    SIGSTOP,
    STOPPING,
    UNBLOCKABLE,
    bit,
)
from runsc.kernel import sigframe
from runsc.kernel.errors import Interrupted, LinuxError, Restart, RestartAlways
from runsc.kernel.signal import DEFAULT, SigInfo, dequeue, dumps_core, force, recalculate
from runsc.kernel.task import STOPPED, WORK_DEAD, WORK_RESTORE_MASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

_NR_RESTART_SYSCALL = 219


def return_to_user(task: Task, result: int | None, interrupted: Interrupted | None = None) -> None:
    """Let ``task`` go back to its guest code, after what has to be done first.

    ``result``: of the system call; None if the registers stand as they are to be (a fault, an interruption,
    sigreturn). ``interrupted``: the call was broken off by a signal and may have to be made again.
    """
    from runsc.kernel.exit import exit_group, exit_task, stop_group

    while True:
        if task.work & WORK_DEAD:
            return
        if task.group.exiting:
            exit_task(task, task.group.exit_code)
            return
        if task.group.stopped or task.group.frozen:
            if task.group.stopped:
                task.state = STOPPED
            task.stop_state = (result, interrupted)
            return
        info = dequeue(task, ~task.blocked & 0xFFFFFFFFFFFFFFFF | UNBLOCKABLE)
        if info is None:
            break
        signo = info.signo
        events = task.kernel.events
        if events is not None:
            events.signal(task, info)
        action = task.sighand.actions[signo]
        if action.handler == SIG_IGN and not bit(signo) & UNBLOCKABLE:
            continue
        if action.handler == SIG_DFL or bit(signo) & UNBLOCKABLE:
            if bit(signo) & IGNORED_BY_DEFAULT or (task.group.unkillable and not bit(signo) & UNBLOCKABLE):
                continue
            if bit(signo) & STOPPING:
                if signo != SIGSTOP and task.group.process_group.orphaned():
                    continue
                stop_group(task.group, signo)
                continue
            exit_group(task, signo | (0x80 if dumps_core(signo) and task.limit(4) else 0))
            return
        if _handle(task, info, result, interrupted):
            result = interrupted = None
        else:
            # No room for the frame: the fault replaces it, and goes round the loop.
            result = interrupted = None
            if signo == SIGSEGV:
                task.sighand.actions[SIGSEGV] = DEFAULT
            force(task, SigInfo(SIGSEGV, SI_KERNEL))

    if task.work & WORK_RESTORE_MASK:
        task.work &= ~WORK_RESTORE_MASK
        task.blocked = task.saved_mask
        recalculate(task)
        if task.work:
            return_to_user(task, result, interrupted)
            return
    thread = task.thread
    if interrupted is not None:
        regs = thread.get_regs()
        regs[RIP] -= 2
        if isinstance(interrupted, Restart) and interrupted.resume is not None:
            task.restart = interrupted.resume  # type: ignore[assignment]
            regs[RAX] = _NR_RESTART_SYSCALL
        else:
            regs[RAX] = task.syscall_nr & 0xFFFFFFFF
        regs[ORIG_RAX] = 0xFFFFFFFFFFFFFFFF
        thread.set_regs(regs)
        thread.resume()
    elif result is None:
        thread.resume()
    else:
        thread.complete(result)


def _handle(task: Task, info: SigInfo, result: int | None, interrupted: Interrupted | None) -> bool:
    """Set the thread up to run the handler of ``info``; False if its stack can't take the frame."""
    action = task.sighand.actions[info.signo]
    regs = task.thread.get_regs()
    if interrupted is not None:
        restarts = action.flags & SA_RESTART and not isinstance(interrupted, Restart)
        if restarts or isinstance(interrupted, RestartAlways):
            regs[RIP] -= 2
            regs[RAX] = task.syscall_nr & 0xFFFFFFFF
        else:
            regs[RAX] = -EINTR & 0xFFFFFFFFFFFFFFFF
    elif result is not None:
        regs[RAX] = result & 0xFFFFFFFFFFFFFFFF
    mask = task.saved_mask if task.work & WORK_RESTORE_MASK else task.blocked
    fault = task.thread.fault
    trap = (fault.trapno, fault.err, fault.addr) if fault is not None else (0, 0, 0)
    if action.flags & SA_RESETHAND:
        task.sighand.actions[info.signo] = DEFAULT
    try:
        sigframe.push(task, info, action, regs, mask, trap)
    except LinuxError:
        # The registers still have to be those of the finished call.
        task.thread.set_regs(regs)
        return False
    task.thread.set_regs(regs)
    task.work &= ~WORK_RESTORE_MASK
    blocked = task.blocked | action.mask
    if not action.flags & SA_NODEFER:
        blocked |= bit(info.signo)
    task.blocked = blocked & ~UNBLOCKABLE
    recalculate(task)
    return True
