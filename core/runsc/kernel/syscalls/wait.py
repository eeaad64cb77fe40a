"""wait4(2) and waitid(2): what became of children (kernel/exit.c)."""

from __future__ import annotations

from errno import EAGAIN, ECHILD, EINVAL, ESRCH
from struct import Struct

from runsc.abi.fcntl import O_NONBLOCK
from runsc.abi.signal import CLD_CONTINUED, CLD_STOPPED, SIGCHLD, SIGCONT, SIGINFO_SIZE
from runsc.kernel.errors import LinuxError
from runsc.kernel.exit import child_status, reap
from runsc.kernel.fs.pidfd import pid_of
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.syscalls.decl import (
    IdType,
    OutInt,
    OutRusage,
    OutSiginfo,
    Pid,
    WaitOptions,
    syscall,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel import pid as ids
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ThreadGroup

WNOHANG = 1
WUNTRACED = 2
WEXITED = 4
WCONTINUED = 8
WNOWAIT = 0x01000000
WNOTHREAD = 0x20000000
WALL = 0x40000000
WCLONE = 0x80000000

P_ALL, P_PID, P_PGID, P_PIDFD = range(4)

_SIGINFO_CHILD = Struct("<iii4xiIi")


class Selection:
    """Which children a wait call is about, and which changes of theirs."""

    __slots__ = ("ident", "kind", "nonblocking", "ns", "options", "pid")

    def __init__(self, task: Task, kind: int, ident: int, options: int) -> None:
        self.ns = task.pid_ns
        self.kind = kind
        self.ident = ident
        self.options = options
        #: of P_PIDFD: whose, and has the descriptor O_NONBLOCK
        self.pid: ids.Pid | None = None
        self.nonblocking = False

    def matches(self, child: ThreadGroup) -> bool:
        if self.kind == P_PIDFD and child.leader.pid is not self.pid:
            return False
        if self.kind == P_PID and child.leader.pid.nr(self.ns) != self.ident:
            return False
        if self.kind == P_PGID and child.process_group.pid.nr(self.ns) != self.ident:
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
        number = child.leader.pid.nr(task.pid_ns)
        if self.rusage:
            task.mm.copy_out(self.rusage, pack_rusage(*waited.rusage))
        if self.status:
            task.mm.copy_out(self.status, waited.status.to_bytes(4, "little"))
        if self.info:
            uid = task.cred.user_ns.uid(child.leader.cred.uid)
            info = SigInfo(SIGCHLD, waited.code, pid=number, uid=uid, status=waited.value)
            task.mm.copy_out(self.info, info.pack()[:SIGINFO_SIZE])
        return number

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
        selection = Selection(task, P_ALL, 0, options | WEXITED)
    elif pid == 0:
        selection = Selection(task, P_PGID, task.group.process_group.pid.nr(task.pid_ns), options | WEXITED)
    elif pid < 0:
        selection = Selection(task, P_PGID, -pid, options | WEXITED)
    else:
        selection = Selection(task, P_PID, pid, options | WEXITED)
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


@syscall(247)
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
    if selection.nonblocking:
        store.put_nothing(task)
        raise LinuxError(EAGAIN)
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
        ident = ident or task.group.process_group.pid.nr(task.pid_ns)
    elif kind == P_PIDFD:
        if ident < 0:
            raise LinuxError(EINVAL)
        file = task.files.files.get(ident)
        selection = Selection(task, kind, ident, options)
        selection.pid = pid_of(file)
        assert file is not None
        selection.nonblocking = bool(file.flags & O_NONBLOCK)
        return selection
    elif kind != P_ALL:
        raise LinuxError(EINVAL)
    return Selection(task, kind, ident, options)
