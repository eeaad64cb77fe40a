"""Sending signals (signal(7), kernel/signal.c). Delivery, on the way back to the guest, is in ``entry``."""

from __future__ import annotations

from errno import EAGAIN

from runsc.abi.signal import (
    CORE_DUMPING,
    IGNORED_BY_DEFAULT,
    NSIG,
    SI_KERNEL,
    SI_USER,
    SIG_DFL,
    SIG_IGN,
    SIGCONT,
    SIGKILL,
    SIGRTMIN,
    STOPPING,
    UNBLOCKABLE,
    bit,
)
from runsc.kernel.errors import LinuxError
from runsc.kernel.siginfo import SigInfo, SignalQueue
from runsc.kernel.task import WORK_SIGNAL, WORK_STOP
from runsc.kernel.thread_group import RLIMIT_SIGPENDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ProcessGroup, ThreadGroup
    from runsc.kernel.wait import WaitQueue

__all__ = [
    "Action",
    "SigInfo",
    "SignalHandlers",
    "SignalQueue",
    "force",
    "recalculate",
    "send",
    "send_as",
    "send_group",
    "set_blocked",
]


class Action:
    """What a process does on a signal (struct k_sigaction). Immutable."""

    __slots__ = ("flags", "handler", "mask", "restorer")

    def __init__(self, handler: int = SIG_DFL, flags: int = 0, restorer: int = 0, mask: int = 0) -> None:
        self.handler = handler
        self.flags = flags
        self.restorer = restorer
        self.mask = mask


DEFAULT = Action()


class SignalHandlers:
    """The actions of a process, by signal number; shared by CLONE_SIGHAND (``users``).

    ``queues``: woken whenever a signal comes that a signalfd or sigtimedwait may want."""

    __slots__ = ("actions", "arrival", "users")

    def __init__(self, actions: list[Action] | None = None) -> None:
        from runsc.kernel.wait import WaitQueue

        self.actions = actions if actions is not None else [DEFAULT] * (NSIG + 1)
        self.users = 1
        self.arrival: WaitQueue = WaitQueue()

    def fork(self) -> SignalHandlers:
        return SignalHandlers(list(self.actions))

    def reset_for_exec(self) -> None:
        """execve(2): caught signals go back to the default, ignored ones stay ignored."""
        self.actions = [action if action.handler == SIG_IGN else DEFAULT for action in self.actions]


def is_ignored(task: Task, signo: int) -> bool:
    """Would the signal do nothing (sig_handler_ignored, and init's immunity)?"""
    handler = task.sighand.actions[signo].handler
    if handler == SIG_IGN:
        return signo != SIGKILL
    if handler != SIG_DFL:
        return False
    if task.group.unkillable:
        return True
    return bool(bit(signo) & IGNORED_BY_DEFAULT)


def send(task: Task, info: SigInfo, group: bool = True, forced: bool = False) -> None:
    """Send ``info`` to the process of ``task`` (``group``), or to that thread alone.

    Raises LinuxError(EAGAIN) when a real-time signal finds the queue full (RLIMIT_SIGPENDING). ``forced``:
    even if it is ignored (a fault; a kill from above the pid namespace whose first process it is for).
    """
    signo = info.signo
    owner = task.group
    if owner.zombie or (not group and task not in owner.tasks):
        return
    mask = bit(signo)
    if mask & STOPPING:
        _discard_everywhere(owner, bit(SIGCONT))
    elif signo == SIGCONT:
        _discard_everywhere(owner, STOPPING)
        continue_group(owner)
    elif signo == SIGKILL and owner.stopped:
        continue_group(owner, silently=True)
    if not forced and not task.blocked & mask and is_ignored(task, signo):
        task.sighand.arrival.wake()
        return
    queue = owner.pending if group else task.pending
    if signo >= SIGRTMIN and queue.pending & mask and info.code not in (SI_USER, SI_KERNEL):
        if queue.count() >= task.limit(RLIMIT_SIGPENDING):
            raise LinuxError(EAGAIN)
    if not queue.add(info):
        return
    task.sighand.arrival.wake()
    target = task if not group else _choose(owner, mask)
    if target is not None:
        notify(target)


def send_as(sender: Task | None, task: Task, info: SigInfo, group: bool = True) -> None:
    """Send ``info`` as ``sender`` (None: someone outside of the sandbox).

    A namespace's first process can be killed and stopped from the namespaces above its own only, and who is
    there has no id that it could be told (send_signal_locked).
    """
    if sender is not None and sender.cred.user_ns is not task.cred.user_ns:
        info = info.with_uid(task.cred.user_ns.uid(sender.cred.uid))
    outside = sender is None or (sender.pid_ns is not task.pid_ns and not sender.pid.nr(task.pid_ns))
    if outside:
        info = info.from_nobody()
    send(task, info, group, outside and bool(bit(info.signo) & UNBLOCKABLE))


def _choose(group: ThreadGroup, mask: int) -> Task | None:
    """The thread that is to take a signal of the process: the leader if it doesn't block it, else another
    (complete_signal)."""
    for task in (group.leader, *group.tasks):
        if task in group.tasks and (not task.blocked & mask or mask & UNBLOCKABLE):
            return task
    return None


def notify(task: Task) -> None:
    """Make a task look at its signals: wake it from its sleep, or interrupt its guest code."""
    task.work |= WORK_SIGNAL
    if task.parked:
        task.wake()
    else:
        task.thread.interrupt()


def _discard_everywhere(group: ThreadGroup, mask: int) -> None:
    group.pending.discard(mask)
    for task in group.tasks:
        task.pending.discard(mask)


def continue_group(group: ThreadGroup, silently: bool = False) -> None:
    """SIGCONT (or a kill) ends a group's stop; the parent may wait for that."""
    if not group.stopped:
        for task in group.tasks:
            task.work &= ~WORK_STOP
        return
    group.stopped = False
    group.stop_signal = 0
    group.reported_stop = False
    for task in group.tasks:
        task.work &= ~WORK_STOP
        if task.stop_state is not None:
            task.wake_stopped()
    if not silently:
        group.continued = True
        from runsc.kernel.exit import notify_parent_of_stop

        notify_parent_of_stop(group, continued=True)


def send_group(process_group: ProcessGroup, info: SigInfo) -> None:
    """Send a signal to every process of a group (from the kernel: terminals)."""
    for member in list(process_group.members):
        member.send_signal(info)


def force(task: Task, info: SigInfo) -> None:
    """A fault, or anything that can't be ignored: a blocked or ignored signal falls back to its default
    action
    (force_sig_info)."""
    mask = bit(info.signo)
    action = task.sighand.actions[info.signo]
    if task.blocked & mask or action.handler == SIG_IGN:
        task.sighand.actions[info.signo] = DEFAULT
        task.blocked &= ~mask
    if action.handler == SIG_DFL or task.sighand.actions[info.signo] is DEFAULT:
        task.group.unkillable = False
    send(task, info, group=False, forced=True)


def deliverable(task: Task) -> int:
    """The set of pending signals that ``task`` may take now."""
    return (task.pending.pending | task.group.pending.pending) & ~(task.blocked & ~UNBLOCKABLE)


def recalculate(task: Task) -> None:
    """Set WORK_SIGNAL to what is true (recalc_sigpending)."""
    if deliverable(task):
        task.work |= WORK_SIGNAL
    else:
        task.work &= ~WORK_SIGNAL


def set_blocked(task: Task, mask: int) -> None:
    """Change the signal mask (sigprocmask(2)); what is no longer blocked is delivered on the way back."""
    newly = mask & ~task.blocked
    task.blocked = mask & ~UNBLOCKABLE
    recalculate(task)
    # A process signal that this thread was to take and now blocks goes to another thread.
    moved = task.group.pending.pending & newly
    if moved:
        for other in task.group.tasks:
            if other is not task and moved & ~other.blocked:
                notify(other)


def dequeue(task: Task, mask: int) -> SigInfo | None:
    """Take the next pending signal of ``mask``, the thread's own before the process's."""
    info = task.pending.take(mask)
    if info is None:
        info = task.group.pending.take(mask)
    recalculate(task)
    return info


def dumps_core(signo: int) -> bool:
    """Is a core dump part of the default action?"""
    return bool(bit(signo) & CORE_DUMPING)
