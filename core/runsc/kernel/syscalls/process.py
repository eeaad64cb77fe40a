"""Processes: fork(2), clone(2), exit(2), and the ids getpid(2), setpgid(2), setsid(2)."""

from __future__ import annotations

from errno import EACCES, EINVAL, EPERM, ESRCH
from struct import Struct

from runsc.abi.signal import SIGCHLD
from runsc.kernel.errors import LinuxError
from runsc.kernel.exit import exit_group, exit_task
from runsc.kernel.fork import (
    CLONE_DETACHED,
    CLONE_INTO_CGROUP,
    CLONE_PARENT_SETTID,
    CLONE_PIDFD,
    CLONE_THREAD,
    CLONE_VFORK,
    CLONE_VM,
    CSIGNAL,
    CloneArgs,
    clone,
    fork_args,
)
from runsc.kernel.syscalls.decl import (
    GONE,
    PARTIAL,
    CloneFlags,
    Int,
    OutInt,
    Pid,
    Ptr,
    Size,
    syscall,
)
from runsc.kernel.thread_group import ProcessGroup, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ThreadGroup

_CLONE_ARGS = Struct("<11Q")


# -- ids --------------------------------------------------------------------------------------


@syscall(39)
def getpid(task: Task) -> int:
    return task.group.vtgid


@syscall(186)
def gettid(task: Task) -> int:
    return task.vtid


@syscall(110)
def getppid(task: Task) -> int:
    parent = task.group.parent
    if parent is not None:
        leader = parent.leader
        return leader.vtid if leader.pid_ns is task.pid_ns else leader.pid.nr(task.pid_ns)
    # Nobody's child: an orphan that the kernel itself adopted, as process 1; or started from outside.
    return 0 if task.pid_ns.level or task.vtid == 1 else 1


def find_group(task: Task, pid: int) -> ThreadGroup:
    """The process with this id (0: the caller's own); raises ESRCH."""
    if pid == 0:
        return task.group
    other = task.pid_ns.tasks.get(pid)
    if other is None:
        raise LinuxError(ESRCH)
    return other.group


@syscall(111)
def getpgrp(task: Task) -> int:
    return task.group.process_group.pid.nr(task.pid_ns)


@syscall(121)
def getpgid(task: Task, pid: Pid) -> int:
    return find_group(task, pid).process_group.pid.nr(task.pid_ns)


@syscall(124)
def getsid(task: Task, pid: Pid) -> int:
    return find_group(task, pid).session.pid.nr(task.pid_ns)


@syscall(109)
def setpgid(task: Task, pid: Pid, pgid: Pid) -> int:
    group = task.group
    pid = pid or group.vtgid
    pgid = pgid or pid
    if pgid < 0:
        raise LinuxError(EINVAL)
    other = task.pid_ns.tasks.get(pid)
    if other is None:
        raise LinuxError(ESRCH)
    target = other.group
    if target.leader is not other:
        raise LinuxError(EINVAL)
    if target.parent is group:
        if target.session is not group.session:
            raise LinuxError(EPERM)
        if target.exec_generation:
            raise LinuxError(EACCES)
    elif target is not group:
        raise LinuxError(ESRCH)
    if target.session.leader is target:
        raise LinuxError(EPERM)
    destination = task.pid_ns.find_process_group(pgid)
    if pgid != pid:
        if destination is None or destination.session is not group.session:
            raise LinuxError(EPERM)
    elif destination is None:
        destination = ProcessGroup(other.pid, target.session)
    if destination is not target.process_group:
        target.process_group.remove(target)
        destination.add(target)
    return 0


@syscall(112)
def setsid(task: Task) -> int:
    group = task.group
    pid = group.leader.pid
    if group.session.leader is group or pid.process_group is not None:
        raise LinuxError(EPERM)
    group.process_group.remove(group)
    ProcessGroup(pid, Session(pid, group)).add(group)
    return group.vtgid


@syscall(218)
def set_tid_address(task: Task, addr: Ptr) -> int:
    task.clear_child_tid = addr
    return task.vtid


# -- clone ------------------------------------------------------------------------------------


@syscall(57)
def fork(task: Task) -> Result:
    return clone(task, fork_args())


@syscall(58)
def vfork(task: Task) -> Result:
    return clone(task, CloneArgs(CLONE_VM | CLONE_VFORK, SIGCHLD))


@syscall(56, PARTIAL, "no CLONE_PTRACE")
def clone_(
    task: Task, flags: CloneFlags, stack: Ptr, parent_tid: OutInt, child_tid: OutInt, tls: Ptr
) -> Result:
    flags &= 0xFFFFFFFF
    signal = flags & CSIGNAL
    flags &= ~CSIGNAL
    if flags & CLONE_PIDFD and flags & (CLONE_PARENT_SETTID | CLONE_DETACHED):
        raise LinuxError(EINVAL)
    if signal > 64:
        raise LinuxError(EINVAL)
    return clone(task, CloneArgs(flags, signal, stack, parent_tid, child_tid, tls, parent_tid))


@syscall(435, PARTIAL, "no new time namespaces, set_tid or cgroup")
def clone3(task: Task, args: Ptr, size: Size) -> Result:
    if size > 4096:
        raise LinuxError(7)
    if size < 64:
        raise LinuxError(EINVAL)
    data = task.mm.copy_in(args, size)
    if any(data[88:]):
        raise LinuxError(7)
    values = _CLONE_ARGS.unpack(data[:88].ljust(88, b"\0"))
    (
        flags,
        pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
        set_tid,
        set_tid_size,
        _cgroup,
    ) = values
    if flags & (CSIGNAL | CLONE_DETACHED) & ~0x80 or flags >> 34 or exit_signal > 64:
        raise LinuxError(EINVAL)
    if flags & CLONE_INTO_CGROUP or set_tid or set_tid_size:
        raise LinuxError(EPERM if set_tid_size else EINVAL)
    if bool(stack) != bool(stack_size):
        raise LinuxError(EINVAL)
    if flags & CLONE_THREAD and exit_signal:
        raise LinuxError(EINVAL)
    top = stack + stack_size if stack else 0
    return clone(task, CloneArgs(flags, exit_signal, top, parent_tid, child_tid, tls, pidfd))


# -- exit -------------------------------------------------------------------------------------


@syscall(60)
def exit_(task: Task, status: Int) -> int:
    group = task.group
    if len(group.tasks) == 1:
        exit_group(task, (status & 0xFF) << 8)
    else:
        exit_task(task, (status & 0xFF) << 8)
    return GONE


@syscall(231)
def exit_group_(task: Task, status: Int) -> int:
    exit_group(task, (status & 0xFF) << 8)
    return GONE
