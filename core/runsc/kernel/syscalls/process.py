"""Processes: fork(2), clone(2), execve(2), exit(2), wait(2), and the ids getpid(2), setpgid(2), setsid(2)."""

from __future__ import annotations

from errno import EACCES, ECHILD, EINVAL, ENOENT, EPERM, ESRCH
from struct import Struct

from runsc.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_NOFOLLOW, O_RDONLY
from runsc.abi.signal import CLD_CONTINUED, CLD_STOPPED, SIGCHLD, SIGCONT, SIGINFO_SIZE, SIGSEGV
from runsc.kernel.cred_change import commit
from runsc.kernel.cred_exec import exec_credentials
from runsc.kernel.errors import LinuxError
from runsc.kernel.exit import child_status, exit_group, exit_task, reap
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
from runsc.kernel.futex import task_exit
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.syscalls.decl import (
    GONE,
    PARTIAL,
    REGISTERS_SET,
    AtFlags,
    CloneFlags,
    DirFd,
    IdType,
    Int,
    OutInt,
    OutRusage,
    OutSiginfo,
    PathStr,
    Pid,
    Ptr,
    Size,
    StringList,
    WaitOptions,
    syscall,
)
from runsc.kernel.thread_group import ProcessGroup, Session
from runsc.kernel.vfs.dentry import MS_NOSUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ThreadGroup
    from runsc.kernel.vfs.file import File

WNOHANG = 1
WUNTRACED = 2
WEXITED = 4
WCONTINUED = 8
WNOWAIT = 0x01000000
WNOTHREAD = 0x20000000
WALL = 0x40000000
WCLONE = 0x80000000

P_ALL, P_PID, P_PGID, P_PIDFD = range(4)

_CLONE_ARGS = Struct("<11Q")
_SIGINFO_CHILD = Struct("<iii4xiIi")


# -- ids --------------------------------------------------------------------------------------


@syscall(39)
def getpid(task: Task) -> int:
    return task.group.tgid


@syscall(186)
def gettid(task: Task) -> int:
    return task.tid


@syscall(110)
def getppid(task: Task) -> int:
    parent = task.group.parent
    if parent is not None:
        return parent.tgid
    return 0 if task.group.tgid == 1 else 1


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
    return task.group.process_group.pgid


@syscall(121)
def getpgid(task: Task, pid: Pid) -> int:
    return find_group(task, pid).process_group.pgid


@syscall(124)
def getsid(task: Task, pid: Pid) -> int:
    return find_group(task, pid).session.sid


@syscall(109)
def setpgid(task: Task, pid: Pid, pgid: Pid) -> int:
    group = task.group
    pid = pid or group.tgid
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
    destination = task.pid_ns.groups.get(pgid)
    if pgid != pid:
        if destination is None or destination.session is not group.session:
            raise LinuxError(EPERM)
    elif destination is None:
        destination = ProcessGroup(pgid, target.session)
    if destination is not target.process_group:
        target.process_group.remove(target)
        destination.add(target)
    return 0


@syscall(112)
def setsid(task: Task) -> int:
    group = task.group
    tgid = group.tgid
    if group.session.leader is group or tgid in task.pid_ns.groups:
        raise LinuxError(EPERM)
    group.process_group.remove(group)
    session = Session(tgid, task.pid_ns, group)
    ProcessGroup(tgid, session).add(group)
    return tgid


@syscall(218)
def set_tid_address(task: Task, addr: Ptr) -> int:
    task.clear_child_tid = addr
    return task.tid


# -- clone ------------------------------------------------------------------------------------


@syscall(57)
def fork(task: Task) -> Result:
    return clone(task, fork_args())


@syscall(58)
def vfork(task: Task) -> Result:
    return clone(task, CloneArgs(CLONE_VM | CLONE_VFORK, SIGCHLD))


@syscall(56, PARTIAL, "no new namespaces, CLONE_PIDFD or CLONE_PTRACE")
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


@syscall(435, PARTIAL, "no new namespaces, set_tid, cgroup or CLONE_PIDFD")
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


# -- execve -----------------------------------------------------------------------------------


@syscall(59)
def execve(task: Task, path: PathStr, argv: StringList, envp: StringList) -> Result:
    from runsc.kernel.vfs.operations import open_file

    return do_exec(task, open_file(task, AT_FDCWD, path, O_RDONLY).get(), path, argv, envp)


@syscall(322)
def execveat(
    task: Task, dirfd: DirFd, path: PathStr, argv: StringList, envp: StringList, flags: AtFlags
) -> Result:
    from runsc.kernel.vfs.operations import open_file, open_inode

    if flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
        raise LinuxError(EINVAL)
    if not path:
        if not flags & AT_EMPTY_PATH:
            raise LinuxError(ENOENT)
        place = task.files.get_any(dirfd)
        if place.path is None:
            raise LinuxError(EACCES)
        file = open_inode(task, place.path, O_RDONLY)
        name = b"/dev/fd/%d" % dirfd
    else:
        file = open_file(task, dirfd, path, O_RDONLY | (O_NOFOLLOW if flags & AT_SYMLINK_NOFOLLOW else 0))
        name = path if path.startswith(b"/") or dirfd == AT_FDCWD else b"/dev/fd/%d/%s" % (dirfd, path)
    return do_exec(task, file.get(), name, argv, envp)


def do_exec(task: Task, file: File, name: bytes, argv: int, envp: int) -> int:
    """The common part; takes over the reference to ``file``."""
    from runsc.kernel.mm.exec import argument_limit, copy_in_strings

    try:
        budget = argument_limit(task)
        arguments, used = copy_in_strings(task, argv, budget)
        environment, _used = copy_in_strings(task, envp, budget - used)
    except BaseException:
        file.put()
        raise
    return exec_program(task, file, name, arguments or [b""], environment)


def exec_program(task: Task, file: File, name: bytes, argv: list[bytes], env: list[bytes]) -> int:
    """Replace the program of ``task``. REGISTERS_SET, or GONE if it failed too late and the process was
    killed."""
    from runsc.kernel.mm.exec import load, start
    from runsc.kernel.mm.mm import MemoryManager

    program = load(task, file, name, argv, env)
    kernel = task.kernel
    group = task.group
    try:
        for other in list(group.tasks):
            if other is not task:
                exit_task(other, 0)
        task_exit(task)
        _become_leader(task)
        if task.mm.users > 1:
            space = kernel.platform.new_address_space()
            old_thread, old_mm = task.thread, task.mm
            task.mm = MemoryManager(space)
            task.thread = space.new_thread()
            task.thread.owner = task
            old_thread.release()
            old_mm.drop()
        else:
            task.mm.reset()
        if task.vfork_done is not None:
            task.vfork_done.wake()
            task.vfork_done = None
        _reset_for_exec(task)
        secure = _change_credentials(task, program.file)
        try:
            regs = start(task, task.mm, program, task.cred, secure)
            task.thread.set_fpu(kernel.initial_fpu)
            task.thread.set_regs(regs)
        except (LinuxError, OSError) as error:
            kernel.log.info(f"{task!r}: exec of {name!r} failed half-way: {error}")
            exit_group(task, SIGSEGV)
            return GONE
        task.comm = name.rpartition(b"/")[2][:15]
        return REGISTERS_SET
    finally:
        program.release()


def _become_leader(task: Task) -> None:
    """A thread that execs takes the place and the id of its process's leader (de_thread)."""
    group = task.group
    if group.leader is task:
        return
    old = group.leader
    task.kernel.tasks.pop(task.tid, None)
    task.kernel.tasks.pop(old.tid, None)
    task.tid = group.tgid
    task.kernel.tasks[task.tid] = task
    group.leader = task
    task.exit_signal = group.exit_signal


def _reset_for_exec(task: Task) -> None:
    """What a new program does not inherit (begin_new_exec, execve(2) "Effect on process attributes")."""
    if task.sighand.users > 1:
        task.sighand.users -= 1
        task.sighand = task.sighand.fork()
    task.sighand.reset_for_exec()
    if task.files.users > 1:
        task.files.users -= 1
        task.files = task.files.fork()
    task.files.close_on_exec(task)
    task.alt_stack = task.alt_size = 0
    task.alt_flags = 2
    task.pdeath_signal = 0
    task.group.exec_generation += 1
    task.group.exit_signal = SIGCHLD
    if task.group.posix_timers:
        for timer in list(task.group.posix_timers.values()):
            timer.delete()
        task.group.posix_timers = None


def _change_credentials(task: Task, file: File) -> bool:
    """Give the task the credentials that the program brings; whether AT_SECURE is to be set."""
    old = task.cred
    inode = file.inode
    nosuid = file.path is not None and bool(file.path.mount.flags & MS_NOSUID)
    others = task.fs.users > 1
    new, secure = exec_credentials(old, inode.mode, inode.uid, inode.gid, nosuid, others)
    task.group.dumpable = int(old.euid == old.uid and old.egid == old.gid)
    commit(task, new)
    return secure


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


# -- wait -------------------------------------------------------------------------------------


class Selection:
    """Which children a wait call is about, and which changes of theirs."""

    __slots__ = ("ident", "kind", "options")

    def __init__(self, kind: int, ident: int, options: int) -> None:
        self.kind = kind
        self.ident = ident
        self.options = options

    def matches(self, child: ThreadGroup) -> bool:
        if self.kind == P_PID and child.tgid != self.ident:
            return False
        if self.kind == P_PGID and child.process_group.pgid != self.ident:
            return False
        if self.options & WALL:
            return True
        return bool(self.options & WCLONE) == (child.exit_signal != SIGCHLD)


class Waited:
    """A child's change: the child, si_code and si_status, and the wait status."""

    __slots__ = ("child", "code", "rusage", "status", "value")

    def __init__(self, child: ThreadGroup, code: int, value: int, status: int) -> None:
        self.child = child
        self.code = code
        self.value = value
        self.status = status
        user, system = child.cpu_time_ns() if not child.zombie else (child.cpu_ns, child.sys_ns)
        self.rusage = (
            user + child.child_cpu_ns,
            system + child.child_sys_ns,
            max(child.maxrss, child.child_maxrss),
        )


def look(task: Task, selection: Selection) -> Waited | None:
    """A change that can be told now; raises ECHILD if there is no such child (do_wait)."""
    group = task.group
    options = selection.options
    found = False
    for child in group.children:
        if not selection.matches(child):
            continue
        found = True
        if child.zombie:
            if options & WEXITED:
                value, code = child_status(child.exit_code)
                waited = Waited(child, code, value, child.exit_code)
                if not options & WNOWAIT:
                    group.child_cpu_ns += waited.rusage[0]
                    group.child_sys_ns += waited.rusage[1]
                    group.child_maxrss = max(group.child_maxrss, waited.rusage[2])
                    reap(child)
                return waited
            continue
        if child.reported_stop and child.stopped and options & WUNTRACED:
            if not options & WNOWAIT:
                child.reported_stop = False
            return Waited(child, CLD_STOPPED, child.stop_signal, child.stop_signal << 8 | 0x7F)
        if child.continued and options & WCONTINUED:
            if not options & WNOWAIT:
                child.continued = False
            return Waited(child, CLD_CONTINUED, SIGCONT, 0xFFFF)
    if not found:
        raise LinuxError(ECHILD)
    return None


async def _wait_later(task: Task, selection: Selection, store: Store) -> int:
    while True:
        await task.wait(task.group.child_wait)
        waited = look(task, selection)
        if waited is not None:
            return store.put(task, waited)


class Store:
    """Where the answer of a wait call goes."""

    __slots__ = ("info", "rusage", "status")

    def __init__(self, status: int = 0, info: int = 0, rusage: int = 0) -> None:
        self.status = status
        self.info = info
        self.rusage = rusage

    def put(self, task: Task, waited: Waited) -> int:
        child = waited.child
        if self.rusage:
            task.mm.copy_out(self.rusage, pack_rusage(*waited.rusage))
        if self.status:
            task.mm.copy_out(self.status, waited.status.to_bytes(4, "little"))
        if self.info:
            info = SigInfo(
                SIGCHLD, waited.code, pid=child.tgid, uid=child.leader.cred.uid, status=waited.value
            )
            task.mm.copy_out(self.info, info.pack()[:SIGINFO_SIZE])
        return child.tgid

    def put_nothing(self, task: Task) -> None:
        """waitid(2) without a child to tell of: the fields it would have set are 0."""
        if self.info:
            task.mm.copy_out(self.info, _SIGINFO_CHILD.pack(0, 0, 0, 0, 0, 0))


_RUSAGE = Struct("<18q")


def pack_rusage(user_ns: int, system_ns: int, maxrss: int) -> bytes:
    """struct rusage; ``maxrss`` in bytes."""
    return _RUSAGE.pack(
        user_ns // 1_000_000_000,
        user_ns % 1_000_000_000 // 1000,
        system_ns // 1_000_000_000,
        system_ns % 1_000_000_000 // 1000,
        maxrss // 1024,
        *([0] * 13),
    )


@syscall(61)
def wait4(task: Task, pid: Pid, status: OutInt, options: WaitOptions, rusage: OutRusage) -> Result:
    if options & ~(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL) & 0xFFFFFFFF:
        raise LinuxError(EINVAL)
    options &= 0xFFFFFFFF
    if pid == -0x80000000:
        raise LinuxError(ESRCH)
    if pid == -1:
        selection = Selection(P_ALL, 0, options | WEXITED)
    elif pid == 0:
        selection = Selection(P_PGID, task.group.process_group.pgid, options | WEXITED)
    elif pid < 0:
        selection = Selection(P_PGID, -pid, options | WEXITED)
    else:
        selection = Selection(P_PID, pid, options | WEXITED)
    store = Store(status=status, rusage=rusage)
    waited = look(task, selection)
    if waited is not None:
        return store.put(task, waited)
    if options & WNOHANG:
        return 0
    return _wait_later(task, selection, store)


async def _waitid_later(task: Task, selection: Selection, store: Store) -> int:
    try:
        await _wait_later(task, selection, store)
    except LinuxError:
        store.put_nothing(task)
        raise
    return 0


@syscall(247, PARTIAL, "no P_PIDFD")
def waitid(
    task: Task, kind: IdType, ident: Pid, info: OutSiginfo, options: WaitOptions, rusage: OutRusage
) -> Result:
    store = Store(info=info, rusage=rusage)
    try:
        selection = _waitid_selection(task, kind, ident, options & 0xFFFFFFFF)
        waited = look(task, selection)
    except LinuxError:
        # Whatever the outcome, the caller's siginfo_t is written.
        store.put_nothing(task)
        raise
    if waited is not None:
        store.put(task, waited)
        return 0
    if options & WNOHANG:
        store.put_nothing(task)
        return 0
    return _waitid_later(task, selection, store)


def _waitid_selection(task: Task, kind: int, ident: int, options: int) -> Selection:
    """What waitid(2) is to look at; raises EINVAL."""
    if options & ~(WNOHANG | WNOWAIT | WEXITED | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL):
        raise LinuxError(EINVAL)
    if not options & (WEXITED | WUNTRACED | WCONTINUED):
        raise LinuxError(EINVAL)
    if kind == P_PID:
        if ident <= 0:
            raise LinuxError(EINVAL)
    elif kind == P_PGID:
        if ident < 0:
            raise LinuxError(EINVAL)
        ident = ident or task.group.process_group.pgid
    elif kind != P_ALL:
        raise LinuxError(EINVAL)
    return Selection(kind, ident, options)
