"""The end of tasks and processes, stops, and what the parent is told (kernel/exit.c)."""

from __future__ import annotations

from runsc.abi.signal import (
    CLD_CONTINUED,
    CLD_DUMPED,
    CLD_EXITED,
    CLD_KILLED,
    CLD_STOPPED,
    SA_NOCLDSTOP,
    SA_NOCLDWAIT,
    SI_KERNEL,
    SI_USER,
    SIG_IGN,
    SIGCHLD,
    SIGCONT,
    SIGHUP,
    SIGKILL,
)
from runsc.kernel.itimer import release_timers
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.signal import notify, send, send_as
from runsc.kernel.task import DEAD, WORK_DEAD, WORK_STOP, ZOMBIE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.pid import PidNamespace
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ProcessGroup, ThreadGroup

_TICK_NS = 10_000_000


def exit_group(task: Task, code: int) -> None:
    """End the process of ``task`` with wait status ``code`` (do_group_exit)."""
    group = task.group
    if not group.exiting:
        group.exiting = True
        group.exit_code = code
    for other in list(group.tasks):
        if other is not task:
            exit_task(other, group.exit_code)
    exit_task(task, group.exit_code)


def exit_task(task: Task, code: int) -> None:
    """End one thread; with the last one the process becomes a zombie (do_exit).

    The task may be anywhere: running guest code, asleep in a call, stopped.
    """
    if task.work & WORK_DEAD:
        return
    kernel = task.kernel
    group = task.group
    task.work |= WORK_DEAD
    task.exit_code = code
    task.stop_state = None
    coroutine, task.coroutine = task.coroutine, None
    if coroutine is not None:
        try:
            coroutine.close()
        except RuntimeError as error:
            # A coroutine that ends its own task is running and can't be closed; it sees WORK_DEAD and is
            # dropped.
            if "already executing" not in str(error):
                raise
    if kernel.events is not None:
        kernel.events.exited(task, code)
    if task.seccomp is not None:
        task.seccomp.count_users(-1)
    for hook in kernel.exit_hooks:
        hook(task)
    user, system = task.thread.cpu_time_ns()
    group.cpu_ns += user
    group.sys_ns += system
    last = len(group.tasks) == 1
    if last:
        group.maxrss = max(group.maxrss, task.mm.peak_resident())
    task.thread.release()
    if task.vfork_done is not None:
        task.vfork_done.wake()
        task.vfork_done = None
    task.mm.drop()
    task.files.users -= 1
    if task.files.users == 0:
        task.files.close_all(task)
    task.fs.users -= 1
    if task.fs.users == 0:
        task.fs.release()
    task.sighand.users -= 1
    group.tasks.remove(task)
    task.state = DEAD
    if task is not group.leader:
        kernel.forget_tid(task)
    if last:
        _exit_process(group, code)
    elif task.sighand.arrival.entries:
        task.sighand.arrival.wake()


def _exit_process(group: ThreadGroup, code: int) -> None:
    """The last thread is gone."""
    kernel = group.kernel
    if not group.exiting:
        group.exiting = True
        group.exit_code = code
    group.zombie = True
    group.leader.state = ZOMBIE
    if group.leader.pid.ended is not None:
        group.leader.pid.ended.wake()
    release_timers(group)
    if group.session.leader is group:
        _exit_session(group)
    tied = _process_groups_tied_to(group)
    if group.is_init():
        zap_pid_ns(group.leader.pid_ns)
    _reparent_children(group)
    for process_group in tied:
        _hang_up_orphan(process_group)
    if group.ended is not None:
        group.ended(group)
    if group is kernel.init_group:
        kernel.init_exited(group.exit_code)
        return
    if not notify_parent(group):
        reap(group)


def zap_pid_ns(ns: PidNamespace) -> None:
    """The first process of a pid namespace ends: nobody in it lives on, and no more are made
    (zap_pid_ns_processes). Children of processes outside stay zombies until those wait for them."""
    ns.closed = True
    for other in ns.processes():
        if other is ns.child_reaper or other.zombie:
            continue
        other.exiting = True
        other.exit_code = SIGKILL
        for task in list(other.tasks):
            exit_task(task, SIGKILL)


def _exit_session(group: ThreadGroup) -> None:
    """A session leader ends: its terminal is given up, the foreground group gets SIGHUP and SIGCONT."""
    session = group.session
    session.leader = None
    tty = session.tty
    if tty is not None:
        tty.session_leader_exited(session)
        session.tty = None


def _process_groups_tied_to(group: ThreadGroup) -> list[ProcessGroup]:
    """The process groups that its end may orphan: its own, if its parent was what tied it to the session, and
    those of its children that are in another group of the session (kill_orphaned_pgrp)."""
    tied = []
    own, parent = group.process_group, group.parent
    if parent is not None and parent.session is group.session and parent.process_group is not own:
        tied.append(own)
    for child in group.children:
        other = child.process_group
        if other is not own and child.session is group.session and other not in tied:
            tied.append(other)
    return tied


def _hang_up_orphan(process_group: ProcessGroup) -> None:
    """If the process group is orphaned now, and a member is stopped, all get SIGHUP and SIGCONT."""
    stopped = any(member.stopped and not member.zombie for member in process_group.members)
    if stopped and process_group.orphaned():
        for member in list(process_group.members):
            member.send_signal(SigInfo(SIGHUP, SI_KERNEL))
            member.send_signal(SigInfo(SIGCONT, SI_KERNEL))


def _reparent_children(group: ThreadGroup) -> None:
    """Orphans go to the nearest subreaper, or the namespace's init; where that is the kernel itself, they
    have no parent and are reaped when they end (find_new_reaper)."""
    if not group.children:
        return
    ns = group.leader.pid_ns
    reaper = group.parent
    while reaper is not None and (not reaper.is_subreaper or reaper.exiting):
        # A subreaper of another namespace adopts nobody here.
        reaper = reaper.parent if reaper.leader.pid_ns is ns else None
    if reaper is None or reaper.leader.pid_ns is not ns:
        reaper = ns.child_reaper
    children, group.children = group.children, []
    for child in children:
        child.parent = reaper
        for task in child.tasks:
            if task.pdeath_signal and task is child.leader:
                send_as(
                    group.leader,
                    task,
                    SigInfo(task.pdeath_signal, SI_USER, pid=group.leader.pid.nr(task.pid_ns)),
                )
        if reaper is not None:
            reaper.children.append(child)
            child.exit_signal = SIGCHLD
        if child.zombie and not notify_parent(child):
            reap(child)


def notify_parent(group: ThreadGroup) -> bool:
    """Tell the parent of a zombie. False if nobody will wait for it (do_notify_parent)."""
    parent = group.parent
    if parent is None or parent.zombie:
        return False
    signo = group.exit_signal
    keep = True
    if signo == SIGCHLD:
        action = parent.leader.sighand.actions[SIGCHLD]
        if action.handler == SIG_IGN or action.flags & SA_NOCLDWAIT:
            keep = False
    if signo and (keep or parent.leader.sighand.actions[SIGCHLD].handler != SIG_IGN):
        user, system = group.cpu_ns, group.sys_ns
        status, code = child_status(group.exit_code)
        send(
            parent.leader,
            SigInfo(
                signo,
                code,
                pid=group.leader.pid.nr(parent.leader.pid_ns),
                uid=parent.leader.cred.user_ns.uid(group.leader.cred.uid),
                status=status,
                utime=user // _TICK_NS,
                stime=system // _TICK_NS,
            ),
        )
    parent.child_wait.wake()
    return keep


def child_status(code: int) -> tuple[int, int]:
    """(si_status, si_code) of a wait status."""
    if code & 0x7F == 0:
        return code >> 8 & 0xFF, CLD_EXITED
    return code & 0x7F, CLD_DUMPED if code & 0x80 else CLD_KILLED


def reap(group: ThreadGroup) -> None:
    """A zombie is waited for: nothing is left of it (release_task)."""
    parent = group.parent
    if parent is not None and group in parent.children:
        parent.children.remove(group)
    group.process_group.remove(group)
    group.kernel.forget_tid(group.leader)


def stop_group(group: ThreadGroup, signo: int) -> None:
    """Stop every thread of the process (do_signal_stop)."""
    if group.stopped:
        return
    group.stopped = True
    group.stop_signal = signo
    group.reported_stop = True
    group.continued = False
    for task in group.tasks:
        task.work |= WORK_STOP
        if task.stop_state is None:
            notify(task)
    notify_parent_of_stop(group, continued=False)


def notify_parent_of_stop(group: ThreadGroup, continued: bool) -> None:
    """SIGCHLD for a stop or continuation, unless SA_NOCLDSTOP (do_notify_parent_cldstop)."""
    parent = group.parent
    if parent is None or parent.zombie:
        return
    action = parent.leader.sighand.actions[SIGCHLD]
    if action.handler != SIG_IGN and not action.flags & SA_NOCLDSTOP:
        status, code = (SIGCONT, CLD_CONTINUED) if continued else (group.stop_signal, CLD_STOPPED)
        number = group.leader.pid.nr(parent.leader.pid_ns)
        uid = parent.leader.cred.user_ns.uid(group.leader.cred.uid)
        send(parent.leader, SigInfo(SIGCHLD, code, pid=number, uid=uid, status=status))
    parent.child_wait.wake()
