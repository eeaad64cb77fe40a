"""Signals: sigaction(2), sigprocmask(2), sigaltstack(2), kill(2), sigsuspend(2), sigtimedwait(2)..."""

from __future__ import annotations

from errno import EAGAIN, EINTR, EINVAL, ENOMEM, EPERM, ESRCH
from struct import Struct
from time import monotonic_ns

from runsc.abi.registers import RSP
from runsc.abi.signal import (
    MINSIGSTKSZ,
    NSIG,
    SA_EXPOSE_TAGBITS,
    SA_UNSUPPORTED,
    SI_KERNEL,
    SI_TKILL,
    SI_USER,
    SIG_BLOCK,
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    SIG_UNBLOCK,
    SIGACTION,
    SIGCONT,
    SIGINFO_HEAD,
    SIGINFO_SIZE,
    SIGKILL,
    SIGSEGV,
    SIGSTOP,
    SS_AUTODISARM,
    SS_DISABLE,
    SS_ONSTACK,
    STACK_T,
    UNBLOCKABLE,
    bit,
)
from runsc.kernel import sigframe
from runsc.kernel.credentials import CAP_KILL
from runsc.kernel.errors import LinuxError, Restart
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.signal import Action, dequeue, force, is_ignored, recalculate, send_as, set_blocked
from runsc.kernel.syscalls.decl import (
    REGISTERS_SET,
    InSigaction,
    InSigset,
    InTimespec,
    OutSigaction,
    OutSiginfo,
    OutSigset,
    Pid,
    Ptr,
    SigHow,
    Signal,
    Size,
    syscall,
)
from runsc.kernel.task import WORK_RESTORE_MASK
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_TIMESPEC = Struct("<qq")


def copy_in_sigset(task: Task, addr: int, size: int) -> int:
    """A signal set of ``size`` bytes (only 8 is right: EINVAL); unblockable signals are left out."""
    if size != 8:
        raise LinuxError(EINVAL)
    return task.mm.read_u64(addr) & ~UNBLOCKABLE


@syscall(13)
def rt_sigaction(task: Task, signo: Signal, new: InSigaction, old: OutSigaction, size: Size) -> int:
    if size != 8:
        raise LinuxError(EINVAL)
    action = None
    if new:
        handler, flags, restorer, mask = task.mm.unpack(new, SIGACTION)
        action = Action(handler, flags & ~(SA_UNSUPPORTED | SA_EXPOSE_TAGBITS), restorer, mask & ~UNBLOCKABLE)
    if not 1 <= signo <= NSIG or (action is not None and signo in (SIGKILL, SIGSTOP)):
        raise LinuxError(EINVAL)
    before = task.sighand.actions[signo]
    if action is not None:
        task.sighand.actions[signo] = action
        if action.handler in (SIG_IGN, SIG_DFL) and is_ignored(task, signo):
            task.group.pending.discard(bit(signo))
            for other in task.group.tasks:
                other.pending.discard(bit(signo))
                recalculate(other)
    if old:
        task.mm.copy_out(old, SIGACTION.pack(before.handler, before.flags, before.restorer, before.mask))
    return 0


@syscall(14)
def rt_sigprocmask(task: Task, how: SigHow, new: InSigset, old: OutSigset, size: Size) -> int:
    if size != 8:
        raise LinuxError(EINVAL)
    before = task.blocked
    if new:
        mask = task.mm.read_u64(new)
        if how == SIG_BLOCK:
            mask |= before
        elif how == SIG_UNBLOCK:
            mask = before & ~mask
        elif how != SIG_SETMASK:
            raise LinuxError(EINVAL)
        mask &= ~UNBLOCKABLE
        if mask != before:
            set_blocked(task, mask)
    if old:
        task.mm.copy_out(old, before.to_bytes(8, "little"))
    return 0


@syscall(127)
def rt_sigpending(task: Task, out: OutSigset, size: Size) -> int:
    if size > 8:
        raise LinuxError(EINVAL)
    pending = (task.pending.pending | task.group.pending.pending) & task.blocked
    task.mm.copy_out(out, pending.to_bytes(8, "little")[:size])
    return 0


@syscall(15)
def rt_sigreturn(task: Task) -> int:
    try:
        mask = sigframe.pop(task)
    except (LinuxError, OSError):
        force(task, SigInfo(SIGSEGV, SI_KERNEL))
        return REGISTERS_SET
    set_blocked(task, mask)
    return REGISTERS_SET


@syscall(131)
def sigaltstack(task: Task, new: Ptr, old: Ptr) -> int:
    mm = task.mm
    fresh = mm.unpack(new, STACK_T) if new else None
    sp = task.thread.get_regs()[RSP]
    inside = sigframe.on_altstack(task, sp)
    flags = SS_DISABLE if not task.alt_size else (SS_ONSTACK if inside else 0)
    before = STACK_T.pack(task.alt_stack, _signed(flags | task.alt_flags & SS_AUTODISARM), task.alt_size)
    if fresh is not None:
        stack, bits, size = fresh
        bits &= 0xFFFFFFFF
        mode = bits & ~SS_AUTODISARM
        if inside:
            raise LinuxError(EPERM)
        if mode not in (SS_DISABLE, SS_ONSTACK, 0):
            raise LinuxError(EINVAL)
        # What is asked for is so already: granted, however small it is (do_sigaltstack).
        changed = (task.alt_stack, task.alt_size, task.alt_flags & ~SS_DISABLE) != (stack, size, bits)
        if mode == SS_DISABLE:
            task.alt_stack = task.alt_size = 0
            task.alt_flags = SS_DISABLE | bits & SS_AUTODISARM
        elif changed:
            if size < MINSIGSTKSZ:
                raise LinuxError(ENOMEM)
            task.alt_stack, task.alt_size = stack, size
            task.alt_flags = bits & SS_AUTODISARM
    if old:
        mm.copy_out(old, before)
    return 0


def _signed(value: int) -> int:
    return (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


# -- sending ----------------------------------------------------------------------------------


def may_signal(task: Task, target: Task, signo: int) -> bool:
    """Real or effective id matches the target's real or saved one, CAP_KILL, or SIGCONT within the session
    (check_kill_permission)."""
    mine, theirs = task.cred, target.cred
    if target.group is task.group:
        return True
    if mine.euid in (theirs.suid, theirs.uid) or mine.uid in (theirs.suid, theirs.uid):
        return True
    if mine.ns_capable(theirs.user_ns, CAP_KILL):
        return True
    return signo == SIGCONT and target.group.session is task.group.session


def check_signal(signo: int) -> None:
    """Raise EINVAL for what is no signal, nor 0."""
    if not 0 <= signo <= NSIG:
        raise LinuxError(EINVAL)


def sent_by(task: Task, signo: int, code: int) -> SigInfo:
    """A signal that ``task`` sends."""
    return SigInfo(signo, code, pid=task.group.vtgid, uid=task.cred.user_ns.uid(task.cred.uid))


@syscall(62)
def kill(task: Task, pid: Pid, signo: Signal) -> int:
    if pid > 0:
        target = task.pid_ns.tasks.get(pid)
        if target is None:
            raise LinuxError(ESRCH)
        check_signal(signo)
        if not may_signal(task, target, signo):
            raise LinuxError(EPERM)
        if signo:
            send_as(
                task,
                target.group.leader if target.group.leader in target.group.tasks else target,
                sent_by(task, signo, SI_USER),
            )
        return 0
    if pid == -0x80000000:
        raise LinuxError(ESRCH)
    check_signal(signo)
    if pid == -1:
        groups = [
            group
            for group in task.pid_ns.processes()
            if group is not task.group and group.leader.pid.nr(task.pid_ns) != 1
        ]
    else:
        process_group = task.pid_ns.find_process_group(-pid) if pid else task.group.process_group
        groups = list(process_group.members) if process_group is not None else []
    if not groups:
        raise LinuxError(ESRCH)
    allowed = [group for group in groups if may_signal(task, group.leader, signo)]
    if not allowed:
        raise LinuxError(EPERM)
    if signo:
        for group in allowed:
            if not group.zombie:
                send_as(task, group.leader, sent_by(task, signo, SI_USER))
    return 0


def _to_thread(task: Task, tgid: int, tid: int, info: SigInfo) -> int:
    """Send to one thread; ``tgid`` -1: whatever its process is."""
    target = task.pid_ns.tasks.get(tid)
    if target is None or (tgid != -1 and target.group.leader.pid.nr(task.pid_ns) != tgid):
        raise LinuxError(ESRCH)
    check_signal(info.signo)
    if not may_signal(task, target, info.signo):
        raise LinuxError(EPERM)
    if info.signo:
        send_as(task, target, info, group=False)
    return 0


@syscall(200)
def tkill(task: Task, tid: Pid, signo: Signal) -> int:
    if tid <= 0:
        raise LinuxError(EINVAL)
    return _to_thread(task, -1, tid, sent_by(task, signo, SI_TKILL))


@syscall(234)
def tgkill(task: Task, tgid: Pid, tid: Pid, signo: Signal) -> int:
    if tid <= 0 or tgid <= 0:
        raise LinuxError(EINVAL)
    return _to_thread(task, tgid, tid, sent_by(task, signo, SI_TKILL))


def copy_in_siginfo(task: Task, addr: int, signo: int) -> SigInfo:
    """A guest's siginfo_t, as of signal ``signo``."""
    raw = task.mm.copy_in(addr, SIGINFO_SIZE)
    _signo, errno, code = SIGINFO_HEAD.unpack_from(raw)
    return SigInfo(signo, code, errno=errno, raw=raw)


@syscall(129)
def rt_sigqueueinfo(task: Task, pid: Pid, signo: Signal, info: Ptr) -> int:
    made = copy_in_siginfo(task, info, signo)
    if (made.code >= 0 or made.code == SI_TKILL) and pid != task.group.vtgid:
        raise LinuxError(EPERM)
    target = task.pid_ns.tasks.get(pid) if pid > 0 else None
    if target is None:
        raise LinuxError(ESRCH)
    check_signal(signo)
    if not may_signal(task, target, signo):
        raise LinuxError(EPERM)
    if signo:
        send_as(task, target, made)
    return 0


@syscall(297)
def rt_tgsigqueueinfo(task: Task, tgid: Pid, tid: Pid, signo: Signal, info: Ptr) -> int:
    if tid <= 0 or tgid <= 0:
        raise LinuxError(EINVAL)
    made = copy_in_siginfo(task, info, signo)
    if (made.code >= 0 or made.code == SI_TKILL) and tid != task.vtid:
        raise LinuxError(EPERM)
    return _to_thread(task, tgid, tid, made)


# -- waiting ----------------------------------------------------------------------------------


@syscall(34)
def pause(task: Task) -> Result:
    return _sleep_for_handler(task)


async def _sleep_for_handler(task: Task) -> int:
    """Sleep until a handler has run (or the process ends): always EINTR then (ERESTARTNOHAND)."""
    from runsc.kernel.errors import Interrupted

    nothing = WaitQueue()
    while True:
        try:
            await task.wait(nothing)
        except Interrupted:
            raise Restart(None) from None


@syscall(130)
def rt_sigsuspend(task: Task, mask: InSigset, size: Size) -> Result:
    wanted = copy_in_sigset(task, mask, size)
    task.saved_mask = task.blocked
    set_blocked(task, wanted)
    task.work |= WORK_RESTORE_MASK
    return _sleep_for_handler(task)


@syscall(128)
def rt_sigtimedwait(task: Task, these: InSigset, info: OutSiginfo, timeout: InTimespec, size: Size) -> Result:
    if size != 8:
        raise LinuxError(EINVAL)
    wanted = task.mm.read_u64(these) & ~UNBLOCKABLE
    deadline = None
    if timeout:
        seconds, nanoseconds = task.mm.unpack(timeout, _TIMESPEC)
        if seconds < 0 or not 0 <= nanoseconds < 1_000_000_000:
            raise LinuxError(EINVAL)
        deadline = monotonic_ns() + min(seconds * 1_000_000_000 + nanoseconds, 1 << 62)
    found = dequeue(task, wanted)
    if found is not None:
        return _deliver_info(task, found, info)
    if timeout and deadline is not None and deadline <= monotonic_ns():
        raise LinuxError(EAGAIN)
    return _sigtimedwait(task, wanted, info, deadline)


async def _sigtimedwait(task: Task, wanted: int, info: int, deadline: int | None) -> int:
    """Wait with the signals that are waited for unblocked, so that they are not thought ignored
    (do_sigtimedwait)."""
    from runsc.kernel.errors import Interrupted

    before = task.blocked
    task.blocked &= ~wanted
    try:
        while True:
            try:
                woken = await task.wait(task.sighand.arrival, deadline=deadline)
            except Interrupted:
                found = dequeue(task, wanted)
                if found is not None:
                    return _deliver_info(task, found, info)
                raise LinuxError(EINTR) from None
            found = dequeue(task, wanted)
            if found is not None:
                return _deliver_info(task, found, info)
            if not woken and deadline is not None and deadline <= monotonic_ns():
                raise LinuxError(EAGAIN)
    finally:
        task.blocked = before
        recalculate(task)


def _deliver_info(task: Task, found: SigInfo, info: int) -> int:
    if info:
        task.mm.copy_out(info, found.pack())
    return found.signo


@syscall(219)
def restart_syscall(task: Task) -> Result:
    resume, task.restart = task.restart, None
    if resume is None:
        raise LinuxError(EINTR)
    result: Result = resume(task)
    return result
