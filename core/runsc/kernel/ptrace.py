"""Tracing (ptrace(2), kernel/ptrace.c): what a tracee keeps, its stops, and how it goes on.

A tracee stops in one of two places. In a system call (entry, exit, events of clone and exec) a coroutine of
the call sleeps. On the way back to its guest code (a signal, an interruption, a stop of its process)
``return_to_user`` gives up, having left in ``stop_state`` what it was about to do. Its registers are in both
cases what the guest would see: the result of a finished call is written to them first.
"""

from __future__ import annotations

from errno import ENOSYS

from runsc.abi.ptrace import (
    PTRACE_EVENT_EXIT,
    PTRACE_EVENT_SECCOMP,
    PTRACE_EVENT_STOP,
    PTRACE_O_EXITKILL,
    PTRACE_O_TRACECLONE,
    PTRACE_O_TRACEEXIT,
    PTRACE_O_TRACESECCOMP,
    PTRACE_O_TRACESYSGOOD,
)
from runsc.abi.registers import EFLAGS, ORIG_RAX, R8, R9, R10, RAX, RDI, RDX, RSI
from runsc.abi.signal import (
    CLD_TRAPPED,
    SI_USER,
    SIG_IGN,
    SIGCHLD,
    SIGKILL,
    SIGSTOP,
    SIGTRAP,
    STOPPING,
    bit,
)
from runsc.kernel.errors import Interrupted, LinuxError
from runsc.kernel.gate import call, filtered
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.signal import deliverable, force, notify, send
from runsc.kernel.syscalls.decl import GONE, REGISTERS_SET
from runsc.kernel.task import TRACED, WORK_DEAD, WORK_TRAP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

    Args = tuple[int, int, int, int, int, int]

#: What PTRACE_GET_SYSCALL_INFO tells of a stop.
NONE, ENTRY, EXIT, SECCOMP = range(4)

#: Stops by what they came from.
BY_CALL, BY_SIGNAL, BY_EVENT, BY_GROUP = range(4)

_TRAP_FLAG = 0x100
_U64 = 0xFFFFFFFFFFFFFFFF
_MINUS_ENOSYS = -ENOSYS & _U64
_ERESTARTSYS = -512 & _U64


class Ptrace:
    """What is known of a task that is traced.

    ``tracer``: by whom; ``seized``: by PTRACE_SEIZE; ``options``: PTRACE_O_*; ``stop``: the signal word of
    the stop that it is in (None while it runs), ``kind`` where that came from, ``info`` the signal,
    ``message`` for PTRACE_GETEVENTMSG; ``reported``: wait has told of the stop; ``calls``: stop at system
    calls (PTRACE_SYSCALL), ``emulate``: and don't make them (PTRACE_SYSEMU); ``step``: PTRACE_SINGLESTEP.
    """

    __slots__ = (
        "call_data", "calls", "emulate", "info", "injected", "kind", "listening", "message", "options",
        "phase", "reported", "seized", "step", "stop", "task", "told_group", "tracer", "trap",
    )  # fmt: skip

    def __init__(self, task: Task, tracer: Task, seized: bool, options: int) -> None:
        self.task = task
        self.tracer = tracer
        self.seized = seized
        self.options = options
        self.stop: int | None = None
        self.kind = BY_SIGNAL
        self.info: SigInfo | None = None
        self.message = 0
        self.reported = False
        self.calls = self.emulate = self.step = False
        self.phase = NONE
        #: SECCOMP_RET_DATA of the stop
        self.call_data = 0
        #: what the tracer wants delivered, when the tracee comes by: a signal, or False for none
        self.injected: SigInfo | bool | None = None
        #: PTRACE_INTERRUPT, or a seized child's first stop
        self.trap = False
        #: PTRACE_LISTEN: it stays stopped, and its tracer hears of what happens
        self.listening = False
        #: the stop of its process was reported, and it was let go on all the same
        self.told_group = False

    # -- stopping ------------------------------------------------------------------------------

    def watches_calls(self) -> bool:
        return self.calls or self.emulate or self.step

    def wants(self, option: int) -> bool:
        return bool(self.options & option)

    def wants_seccomp(self) -> bool:
        return bool(self.options & PTRACE_O_TRACESECCOMP)

    def halt(self, code: int, kind: int, info: SigInfo | None = None, message: int = 0) -> None:
        """Stop with ``code`` (signal, event << 8), and tell the tracer."""
        task = self.task
        self.stop = code
        self.kind = kind
        self.info = info if info is not None else SigInfo(SIGTRAP, code, pid=task.group.vtgid)
        self.message = message
        self.reported = False
        self.listening = False
        task.state = TRACED
        self.clear_step()
        self.tell(code)

    def clear_step(self) -> None:
        """The trap flag was ours, not the guest's."""
        if self.step:
            regs = self.task.thread.get_regs()
            if regs[EFLAGS] & _TRAP_FLAG:
                regs[EFLAGS] &= ~_TRAP_FLAG
                self.task.thread.set_regs(regs)

    def tell(self, code: int) -> None:
        """SIGCHLD for the tracer, and its wait (do_notify_parent_cldstop)."""
        tracer = self.tracer
        if not tracer.group.zombie:
            leader = tracer.group.leader
            action = leader.sighand.actions[SIGCHLD]
            if action.handler != SIG_IGN and not action.flags & 1:
                number = self.task.pid.nr(leader.pid_ns)
                uid = leader.cred.user_ns.uid(self.task.cred.uid)
                send(leader, SigInfo(SIGCHLD, CLD_TRAPPED, pid=number, uid=uid, status=code & 0x7F))
            tracer.group.child_wait.wake()

    async def sleep(self) -> None:
        """Until the tracer lets it go on; raises Interrupted when it is killed."""
        task = self.task
        while self.stop is not None:
            if task.work & WORK_DEAD or deliverable(task) & bit(SIGKILL):
                self.stop = None
                raise Interrupted
            await task.wait(None, interruptible=False)
        task.state = "R"

    async def event(self, event: int, message: int = 0) -> None:
        """An event stop in a system call."""
        self.halt(SIGTRAP | event << 8, BY_EVENT, message=message)
        await self.sleep()

    # -- going on ------------------------------------------------------------------------------

    def resume(self, signal: int, calls: bool = False, step: bool = False, emulate: bool = False) -> None:
        """PTRACE_CONT and its kin: let a stopped tracee go on, with ``signal`` in place of the one that it
        stopped for."""
        task = self.task
        self.calls, self.step, self.emulate = calls, step, emulate
        task.regate()
        kind, info = self.kind, self.info
        if kind == BY_SIGNAL:
            if not signal:
                self.injected = False
            elif info is not None and info.signo == signal:
                self.injected = info
            else:
                self.injected = self._from_tracer(signal)
        elif kind == BY_CALL and signal:
            send(task, self._from_tracer(signal), group=False)
        self.go_on()

    def _from_tracer(self, signal: int) -> SigInfo:
        tracer = self.tracer
        return SigInfo(
            signal, SI_USER, pid=tracer.group.leader.pid.nr(self.task.pid_ns),
            uid=self.task.cred.user_ns.uid(tracer.cred.uid),
        )  # fmt: skip

    def go_on(self) -> None:
        """Leave the stop."""
        task = self.task
        self.stop = None
        self.reported = False
        self.listening = False
        task.state = "R"
        if self.step:
            regs = task.thread.get_regs()
            regs[EFLAGS] |= _TRAP_FLAG
            task.thread.set_regs(regs)
        if task.coroutine is not None:
            task.wake()
        elif task.stop_state is not None:
            task.wake_stopped()

    def interrupt(self) -> None:
        """PTRACE_INTERRUPT: stop at the next opportunity. One that listens is told of at once."""
        if self.listening:
            self.listening = False
            self.reported = False
            self.tell(self.stop or SIGTRAP)
            return
        self.trap = True
        self.task.work |= WORK_TRAP
        notify(self.task)

    # -- system calls --------------------------------------------------------------------------

    async def traced_call(self, args: Args) -> int:
        """A system call with its two stops, or none of its own if it is emulated."""
        task = self.task
        if self.calls or self.emulate:
            emulated = self.emulate
            regs = task.thread.get_regs()
            regs[RAX] = _MINUS_ENOSYS
            regs[ORIG_RAX] = task.syscall_nr & _U64
            task.thread.set_regs(regs)
            await self._call_stop(ENTRY)
            regs = task.thread.get_regs()
            number = (regs[ORIG_RAX] & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
            args = (regs[RDI], regs[RSI], regs[RDX], regs[R10], regs[R8], regs[R9])
            if number == -1 or emulated:
                return await self._after(None)
            task.syscall_nr = number
        try:
            made = filtered(task, args)
            result = made if isinstance(made, int) else await made
        except LinuxError as error:
            result = -error.errno
        except Interrupted:
            if task.ptrace is self and self.calls:
                regs = task.thread.get_regs()
                regs[RAX] = _ERESTARTSYS
                task.thread.set_regs(regs)
                await self._call_stop(EXIT)
            raise
        if result == GONE:
            return GONE
        return await self._after(result)

    async def _after(self, result: int | None) -> int:
        """The stop behind a call; ``result`` None: the registers say what it answers."""
        task = self.task
        if task.ptrace is not self or task.work & WORK_DEAD:
            if result is None:
                return REGISTERS_SET
            return result
        if result is not None and result != REGISTERS_SET:
            regs = task.thread.get_regs()
            regs[RAX] = result & _U64
            task.thread.set_regs(regs)
        if self.calls:
            await self._call_stop(EXIT)
        if self.step and task.ptrace is self:
            self.clear_step()
            force(task, SigInfo(SIGTRAP, 2, addr=task.thread.get_regs()[16]))
        regs = task.thread.get_regs()
        # Nothing is to be made again: that is over.
        regs[ORIG_RAX] = _U64
        task.thread.set_regs(regs)
        return REGISTERS_SET

    async def _call_stop(self, phase: int) -> None:
        self.phase = phase
        good = 0x80 if self.options & PTRACE_O_TRACESYSGOOD else 0
        self.halt(SIGTRAP | good, BY_CALL, message=1 if phase == ENTRY else 2)
        try:
            await self.sleep()
        finally:
            self.phase = NONE

    async def seccomp_stop(self, args: Args, data: int) -> int:
        """SECCOMP_RET_TRACE: the tracer may change the call, or answer it (number -1)."""
        from runsc.kernel.seccomp.filter import judge

        task = self.task
        regs = task.thread.get_regs()
        regs[RAX] = _MINUS_ENOSYS
        regs[ORIG_RAX] = task.syscall_nr & _U64
        task.thread.set_regs(regs)
        self.phase, self.call_data = SECCOMP, data
        try:
            await self.event(PTRACE_EVENT_SECCOMP, data)
        finally:
            self.phase = NONE
        regs = task.thread.get_regs()
        number = (regs[ORIG_RAX] & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
        if number < 0:
            result = regs[RAX]
            return result - (1 << 64) if result >> 63 else result
        task.syscall_nr = number
        args = (regs[RDI], regs[RSI], regs[RDX], regs[R10], regs[R8], regs[R9])
        answer = judge(task, args, traced=True)
        if answer is None:
            answer = call(task, args)
        return answer if isinstance(answer, int) else await answer

    # -- on the way back -----------------------------------------------------------------------

    def stops_return(self, result: int | None, interrupted: Interrupted | None) -> bool:
        """Called before anything else on the way back to the guest: is it to stop here?"""
        task = self.task
        if self.stop is not None:
            if deliverable(task) & bit(SIGKILL):
                self.stop = None
                task.state = "R"
                return False
            task.stop_state = (result, interrupted)
            return True
        group = task.group
        if group.stopped:
            if not self.told_group or self.trap:
                self.trap = False
                task.work &= ~WORK_TRAP
                self.told_group = True
                event = PTRACE_EVENT_STOP << 8 if self.seized else 0
                self.leave(result, interrupted)
                self.halt(group.stop_signal | event, BY_GROUP)
                return True
            return False
        if self.told_group:
            self.told_group = False
        if self.trap:
            self.trap = False
            task.work &= ~WORK_TRAP
            self.leave(result, interrupted)
            self.halt(SIGTRAP | PTRACE_EVENT_STOP << 8, BY_GROUP)
            return True
        return False

    def leave(self, result: int | None, interrupted: Interrupted | None) -> None:
        """Write to the registers what the guest would see, and keep what is to be done later."""
        task = self.task
        if result is not None or interrupted is not None:
            regs = task.thread.get_regs()
            if interrupted is not None:
                regs[RAX] = _ERESTARTSYS
                regs[ORIG_RAX] = task.syscall_nr & _U64
            elif result is not None:
                regs[RAX] = result & _U64
            task.thread.set_regs(regs)
        task.stop_state = (None, interrupted)

    def still_restarts(self) -> bool:
        """May an interrupted call be made again: has the tracer left the registers at it?"""
        regs = self.task.thread.get_regs()
        return regs[ORIG_RAX] >> 63 == 0 and regs[RAX] == _ERESTARTSYS

    def signal_stop(self, info: SigInfo, result: int | None, interrupted: Interrupted | None) -> None:
        """Stop for a signal that is about to be delivered."""
        self.leave(result, interrupted)
        self.halt(info.signo, BY_SIGNAL, info)


# -- attaching and letting go -------------------------------------------------------------------


def attach(task: Task, tracer: Task, seized: bool = False, options: int = 0) -> Ptrace:
    """``tracer`` traces ``task`` from now on."""
    made = task.ptrace = Ptrace(task, tracer, seized, options)
    group = tracer.group
    if group.traced is None:
        group.traced = []
    group.traced.append(task)
    return made


def unlink(task: Task) -> None:
    """Nobody traces ``task`` any more; it stays where it is."""
    ptrace = task.ptrace
    if ptrace is None:
        return
    task.ptrace = None
    task.work &= ~WORK_TRAP
    traced = ptrace.tracer.group.traced
    if traced is not None and task in traced:
        traced.remove(task)
    task.regate()


def detach(task: Task, signal: int = 0) -> None:
    """PTRACE_DETACH, or the tracer ends: the tracee goes on as if it had never been traced; into the stop of
    its process, if that is stopped."""
    ptrace = task.ptrace
    assert ptrace is not None
    was_stopped = ptrace.stop is not None
    ptrace.step = ptrace.calls = ptrace.emulate = False
    ptrace.clear_step()
    unlink(task)
    if task.work & WORK_DEAD:
        return
    if was_stopped:
        if ptrace.kind == BY_SIGNAL and signal:
            info = ptrace.info
            if info is None or info.signo != signal:
                info = ptrace._from_tracer(signal)
            send(task, info, group=False)
        elif signal:
            send(task, ptrace._from_tracer(signal), group=False)
        ptrace.go_on()


def tracer_exits(tracer: Task) -> None:
    """The tracer's process has ended: its tracees are let go, or killed if it asked for that
    (exit_ptrace)."""
    traced, tracer.group.traced = tracer.group.traced, None
    for task in traced or ():
        ptrace = task.ptrace
        if ptrace is None:
            continue
        if ptrace.wants(PTRACE_O_EXITKILL):
            send(task, SigInfo(SIGKILL, SI_USER))
        tracer.group.traced = [task]
        detach(task)
        tracer.group.traced = None
        release_dead(task)


def release_dead(task: Task) -> None:
    """A tracee that is dead waits for nobody any more."""
    from runsc.kernel.exit import notify_parent, reap

    if task.work & WORK_DEAD:
        if task is not task.group.leader:
            task.kernel.forget_tid(task)
        elif task.group.zombie and not notify_parent(task.group):
            reap(task.group)


def new_child(parent: Task, child: Task, seized_stop: bool) -> None:
    """A child of a tracee that its tracer follows starts stopped (ptrace_init_task)."""
    ptrace = parent.ptrace
    assert ptrace is not None
    made = attach(child, ptrace.tracer, ptrace.seized, ptrace.options)
    if ptrace.seized:
        made.trap = True
        child.work |= WORK_TRAP
    else:
        child.pending.add(SigInfo(SIGSTOP, 0))
        child.work |= 1


def exit_event(ptrace: Ptrace) -> bool:
    return bool(ptrace.options & PTRACE_O_TRACEEXIT)


__all__ = [
    "BY_CALL",
    "BY_EVENT",
    "BY_GROUP",
    "BY_SIGNAL",
    "PTRACE_EVENT_EXIT",
    "PTRACE_O_TRACECLONE",
    "STOPPING",
    "Ptrace",
    "attach",
    "detach",
    "new_child",
    "tracer_exits",
    "unlink",
]
