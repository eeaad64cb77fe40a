"""New tasks: clone(2) in all its forms (kernel/fork.c)."""

from __future__ import annotations

from errno import EAGAIN, EINVAL, EPERM

from runsc.abi.registers import FS_BASE, ORIG_RAX, RAX, RSP
from runsc.abi.sched import SCHED_RESET_ON_FORK
from runsc.abi.signal import SIGCHLD
from runsc.kernel.errors import LinuxError
from runsc.kernel.namespaces import copy_mount_namespace, copy_namespaces, create_user_ns
from runsc.kernel.siginfo import SignalQueue
from runsc.kernel.task import Task
from runsc.kernel.thread_group import RLIM_INFINITY, RLIMIT_NPROC, ThreadGroup
from runsc.kernel.tunables import tunables
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from runsc.kernel.credentials import Credentials
    from runsc.kernel.nsproxy import NsProxy
    from runsc.kernel.pid import Pid

CSIGNAL = 0xFF
CLONE_VM = 0x100
CLONE_FS = 0x200
CLONE_FILES = 0x400
CLONE_SIGHAND = 0x800
CLONE_PIDFD = 0x1000
CLONE_PTRACE = 0x2000
CLONE_VFORK = 0x4000
CLONE_PARENT = 0x8000
CLONE_THREAD = 0x10000
CLONE_NEWNS = 0x20000
CLONE_SYSVSEM = 0x40000
CLONE_SETTLS = 0x80000
CLONE_PARENT_SETTID = 0x100000
CLONE_CHILD_CLEARTID = 0x200000
CLONE_DETACHED = 0x400000
CLONE_UNTRACED = 0x800000
CLONE_CHILD_SETTID = 0x1000000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_IO = 0x80000000
CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_INTO_CGROUP = 0x200000000
CLONE_NEWTIME = 0x80

NAMESPACES = (
    CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
    | CLONE_NEWTIME
)


class CloneArgs:
    """struct clone_args: what to share, where to put ids, stack and thread pointer."""

    __slots__ = ("child_tid", "exit_signal", "flags", "parent_tid", "pidfd", "set_tid", "stack", "tls")

    def __init__(
        self,
        flags: int,
        exit_signal: int = 0,
        stack: int = 0,
        parent_tid: int = 0,
        child_tid: int = 0,
        tls: int = 0,
        pidfd: int = 0,
        set_tid: Sequence[int] = (),
    ) -> None:
        self.flags = flags
        self.exit_signal = exit_signal
        self.stack = stack
        self.parent_tid = parent_tid
        self.child_tid = child_tid
        self.tls = tls
        self.pidfd = pidfd
        self.set_tid = set_tid


def check_flags(flags: int) -> None:
    """The combinations that make no sense (copy_process), and what isn't here: EINVAL, EPERM."""
    if flags & (CLONE_NEWNS | CLONE_FS) == CLONE_NEWNS | CLONE_FS:
        raise LinuxError(EINVAL)
    if flags & (CLONE_NEWUSER | CLONE_FS) == CLONE_NEWUSER | CLONE_FS:
        raise LinuxError(EINVAL)
    if flags & CLONE_THREAD and not flags & CLONE_SIGHAND:
        raise LinuxError(EINVAL)
    if flags & CLONE_SIGHAND and not flags & CLONE_VM:
        raise LinuxError(EINVAL)
    if flags & CLONE_THREAD and flags & (CLONE_NEWUSER | CLONE_NEWPID):
        raise LinuxError(EINVAL)
    if flags & CLONE_PIDFD and flags & (CLONE_DETACHED | CLONE_THREAD):
        raise LinuxError(EINVAL)
    if flags & CLONE_SIGHAND and flags & CLONE_CLEAR_SIGHAND:
        raise LinuxError(EINVAL)


def clone(task: Task, args: CloneArgs) -> int | Coroutine[Any, Any, int]:
    """Make a child task as ``args`` say; its tid, at once or (CLONE_VFORK) when it has let go of the
    memory."""
    flags = args.flags
    check_flags(flags)
    if flags & CLONE_PARENT and task.group.unkillable:
        raise LinuxError(EINVAL)
    if flags & CLONE_THREAD and task.nsproxy.pid_for_children is not task.pid_ns:
        raise LinuxError(EINVAL)
    cred, nsproxy = task.cred, task.nsproxy
    if flags & NAMESPACES:
        if flags & CLONE_NEWIPC and flags & CLONE_SYSVSEM:
            raise LinuxError(EINVAL)
        if flags & CLONE_NEWUSER:
            cred = create_user_ns(task)
    check_process_limit(task)
    if flags & NAMESPACES:
        nsproxy = copy_namespaces(task, flags, cred)
    pid = nsproxy.pid_for_children.allocate(args.set_tid)
    pidfd = -1
    try:
        if flags & CLONE_PIDFD:
            pidfd = _give_pidfd(task, pid, args.pidfd)
        return _clone(task, args, pid, cred, nsproxy, pidfd)
    except BaseException:
        if pidfd >= 0:
            task.files.close_quietly(pidfd, task)
        pid.drop()
        raise


def _give_pidfd(task: Task, pid: Pid, addr: int) -> int:
    """CLONE_PIDFD: a descriptor of the child's, written to ``addr``; raises EMFILE, EFAULT."""
    from runsc.kernel.fs.pidfd import PidFd
    from runsc.kernel.vfs.install import install

    fd = install(task, PidFd(task, pid, 0), True)
    try:
        task.mm.copy_out(addr, fd.to_bytes(4, "little"))
    except LinuxError:
        task.files.close_quietly(fd, task)
        raise
    return fd


def _clone(
    task: Task, args: CloneArgs, pid: Pid, cred: Credentials, nsproxy: NsProxy, pidfd: int
) -> int | Coroutine[Any, Any, int]:
    """What is left of ``clone`` once the child has its id."""
    flags = args.flags
    kernel = task.kernel
    if flags & CLONE_VM:
        mm = task.mm.grab()
        try:
            thread = mm.space.spawn(task.thread)
        except BaseException:
            mm.drop()
            raise
    else:
        mm, thread = task.mm.fork(task.thread)

    child = Task(kernel, pid, thread, nsproxy)
    tid = pid.nr(task.pid_ns)
    child.mm = mm
    child.cred = cred
    child.comm = task.comm
    child.blocked = task.blocked
    child.pending = SignalQueue()
    child.nice, child.policy, child.sched_priority = task.nice, task.policy, task.sched_priority
    if task.policy & SCHED_RESET_ON_FORK:
        child.policy = child.sched_priority = 0
        child.nice = max(0, task.nice)
    child.personality = task.personality
    child.cpu_mask, child.io_priority = task.cpu_mask, task.io_priority
    child.timer_slack = task.timer_slack
    child.mempolicy = task.mempolicy
    child.oom_score_adj = task.oom_score_adj
    if flags & CLONE_FILES:
        child.files = task.files
        child.files.users += 1
    else:
        child.files = task.files.fork()
        if pidfd >= 0:
            # It is its parent's alone.
            child.files.close_quietly(pidfd, child)
    if flags & CLONE_FS:
        child.fs = task.fs
        child.fs.users += 1
    else:
        child.fs = task.fs.fork()
        if flags & CLONE_NEWNS:
            copy_mount_namespace(kernel, child.fs, cred.user_ns)
    if flags & CLONE_SIGHAND:
        child.sighand = task.sighand
        child.sighand.users += 1
    else:
        child.sighand = task.sighand.fork()
        if flags & CLONE_CLEAR_SIGHAND:
            child.sighand.actions = [
                type(action)() if action.handler != 1 else action for action in child.sighand.actions
            ]
    if flags & CLONE_SYSVSEM:
        if task.sysvsem is None:
            task.sysvsem = {}
        child.sysvsem = task.sysvsem
    if not flags & CLONE_VM or flags & CLONE_VFORK:
        child.alt_stack, child.alt_size, child.alt_flags = task.alt_stack, task.alt_size, task.alt_flags

    _join_group(task, child, args)
    adopt(child)
    if task.seccomp_mode:
        child.seccomp_mode, child.seccomp = task.seccomp_mode, task.seccomp
        if child.seccomp is not None:
            child.seccomp.count_users(1)
        child.regate()

    regs = thread.get_regs()
    regs[RAX] = 0
    regs[ORIG_RAX] = 0xFFFFFFFFFFFFFFFF
    if args.stack:
        regs[RSP] = args.stack
    if flags & CLONE_SETTLS:
        regs[FS_BASE] = args.tls
    try:
        thread.set_regs(regs)
    except OSError:
        from runsc.kernel.exit import exit_task

        child.group.exit_signal = 0
        exit_task(child, 0)
        raise LinuxError(EPERM) from None
    if flags & CLONE_PARENT_SETTID:
        _write_tid(task, args.parent_tid, tid)
    if flags & CLONE_CHILD_SETTID:
        _write_tid(child, args.child_tid, child.vtid)
    if flags & CLONE_CHILD_CLEARTID:
        child.clear_child_tid = args.child_tid
    if child.group.stopped or (child.group is task.group and task.work):
        child.work |= task.work & 3
    if kernel.events is not None:
        kernel.events.started(child)
    if flags & CLONE_VFORK:
        child.vfork_done = WaitQueue()
        result = _wait_for_vfork(task, child, child.vfork_done, tid)
        thread.resume()
        return result
    thread.resume()
    return tid


def _write_tid(task: Task, addr: int, tid: int) -> None:
    """put_user of an id: a bad address is the caller's own fault and changes nothing else (copy_process
    ignores it)."""
    task.mm.space.write(addr, tid.to_bytes(4, "little"))


async def _wait_for_vfork(task: Task, child: Task, done: WaitQueue, tid: int) -> int:
    """CLONE_VFORK: the parent sleeps until the child has exec'd or ended; only a kill wakes it before."""
    while child.vfork_done is done:
        await task.wait(done, interruptible=False)
    return tid


def check_process_limit(task: Task) -> None:
    """EAGAIN beyond kernel.threads-max; or beyond RLIMIT_NPROC, which counts tasks of the real user, unless
    root or with CAP_SYS_RESOURCE or CAP_SYS_ADMIN."""
    if len(task.kernel.tasks) >= tunables(task.kernel).threads_max:
        raise LinuxError(EAGAIN)
    limit = task.limit(RLIMIT_NPROC)
    if limit == RLIM_INFINITY or len(task.kernel.tasks) < limit:
        return
    cred = task.cred
    if cred.uid == 0 or cred.capable(24) or cred.capable(21):
        return
    mine = sum(1 for other in task.kernel.tasks.values() if other.cred.uid == cred.uid)
    if mine >= limit:
        raise LinuxError(EAGAIN)


def _join_group(task: Task, child: Task, args: CloneArgs) -> None:
    """Put the child in its parent's process, or make a process for it."""
    parent = task.group
    if args.flags & CLONE_THREAD:
        child.group = parent
        parent.tasks.append(child)
        return
    father = parent.parent if args.flags & CLONE_PARENT else parent
    group = ThreadGroup(task.kernel, child, father, list(parent.limits))
    group.container = parent.container
    group.exit_signal = parent.exit_signal if args.flags & CLONE_PARENT else args.exit_signal
    group.dumpable = parent.dumpable
    group.oom_score_adj = parent.oom_score_adj
    child.group = group
    child.exit_signal = group.exit_signal
    if father is not None:
        father.children.append(group)
    parent.process_group.add(group)


def adopt(task: Task) -> None:
    """Make a new task known by its id; the first one of a pid namespace becomes its init."""
    pid = task.pid
    pid.attach(task)
    if task.vtid == 1:
        pid.ns.child_reaper = task.group
        task.group.unkillable = True


def fork_args() -> CloneArgs:
    """fork(2)."""
    return CloneArgs(0, SIGCHLD)
