"""The filters of a task and what they say to a call (kernel/seccomp.c)."""

from __future__ import annotations

from errno import EACCES, EBUSY, EINVAL, ENOMEM, ENOSYS, ESRCH

from runsc.abi.registers import RAX, RIP
from runsc.abi.signal import SIGKILL, SIGSYS
from runsc.kernel.credentials import CAP_SYS_ADMIN
from runsc.kernel.errors import LinuxError
from runsc.kernel.exit import exit_group, exit_task
from runsc.kernel.seccomp.bpf import AUDIT_ARCH_X86_64, Program
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.signal import dumps_core, force
from runsc.kernel.syscalls.decl import GONE, REGISTERS_SET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.seccomp.notify import Listener
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

    Args = tuple[int, int, int, int, int, int]

MODE_DISABLED, MODE_STRICT, MODE_FILTER = range(3)

RET_KILL_PROCESS = 0x80000000
RET_KILL_THREAD = 0x00000000
RET_TRAP = 0x00030000
RET_ERRNO = 0x00050000
RET_USER_NOTIF = 0x7FC00000
RET_TRACE = 0x7FF00000
RET_LOG = 0x7FFC0000
RET_ALLOW = 0x7FFF0000
ACTIONS = (
    RET_KILL_PROCESS, RET_KILL_THREAD, RET_TRAP, RET_ERRNO, RET_USER_NOTIF, RET_TRACE, RET_LOG, RET_ALLOW,
)  # fmt: skip
_ACTION = 0xFFFF0000
_DATA = 0xFFFF
_MAX_ERRNO = 4095

#: Most instructions of all filters that a call goes through, each counted as four more (MAX_INSNS_PER_PATH).
MAX_PATH = (1 << 18) // 8
_OVERHEAD = 4

#: What strict mode leaves: read, write, _exit, rt_sigreturn.
_STRICT = frozenset((0, 1, 60, 15))

_U64 = 0xFFFFFFFFFFFFFFFF


class Filter:
    """One filter; ``prev``: the one that was there before, which is asked too. Shared by the tasks that
    inherit it. ``listener``: who is told of SECCOMP_RET_USER_NOTIF; ``log``: tell of all that isn't
    allowed."""

    __slots__ = ("depth", "listener", "log", "prev", "program", "size")

    def __init__(self, program: Program, prev: Filter | None, log: bool = False) -> None:
        self.program = program
        self.prev = prev
        self.log = log
        self.listener: Listener | None = None
        self.depth: int = 1 if prev is None else prev.depth + 1
        self.size: int = len(program) + (0 if prev is None else prev.size + _OVERHEAD)

    def count_users(self, change: int) -> None:
        """One task more or less goes through this filter and those before it: a listener hangs up after its
        last."""
        at: Filter | None = self
        while at is not None:
            if at.listener is not None:
                at.listener.count(change)
            at = at.prev

    def descends_from(self, other: Filter | None) -> bool:
        """Is ``other`` this one or one before it (is_ancestor)?"""
        if other is None:
            return True
        at: Filter | None = self
        while at is not None:
            if at is other:
                return True
            at = at.prev
        return False


class Data:
    """struct seccomp_data of a call, by offset; the instruction pointer is looked up when it is asked for."""

    __slots__ = ("args", "number", "task")

    def __init__(self, task: Task, number: int, args: Args) -> None:
        self.task = task
        self.number = number
        self.args = args

    def word(self, offset: int) -> int:
        if offset >= 16:
            return self.args[offset - 16 >> 3] >> (32 if offset & 4 else 0) & 0xFFFFFFFF
        if offset == 0:
            return self.number & 0xFFFFFFFF
        if offset == 4:
            return AUDIT_ARCH_X86_64
        return self.task.thread.get_regs()[RIP] >> (32 if offset == 12 else 0) & 0xFFFFFFFF

    def pack(self) -> bytes:
        return b"".join(self.word(offset).to_bytes(4, "little") for offset in range(0, 64, 4))


def evaluate(task: Task, number: int, args: Args) -> tuple[int, Filter]:
    """The strictest answer of the task's filters, and whose it is: the newest of those that say so."""
    at: Filter | None = task.seccomp
    assert at is not None
    strictest, who = RET_ALLOW, at
    data: Data | None = None
    while at is not None:
        said = at.program.decide(number)
        if said is None:
            if data is None:
                data = Data(task, number, args)
            said = at.program.run(number, data.word)
        if _signed(said) < _signed(strictest):
            strictest, who = said, at
        at = at.prev
    return strictest, who


def _signed(value: int) -> int:
    action = value & _ACTION
    return action - 0x100000000 if action & 0x80000000 else action


def judge(task: Task, args: Args, traced: bool = False) -> Result | None:
    """What becomes of a call: None if it is to be made, else what it answers instead (__seccomp_filter).
    ``traced``: a tracer was asked about it already (SECCOMP_RET_TRACE), and let it pass."""
    number = task.syscall_nr
    if task.seccomp_mode == MODE_STRICT:
        if number in _STRICT:
            return None
        exit_task(task, SIGKILL)
        return GONE
    said, who = evaluate(task, number, args)
    action, data = said & _ACTION, said & _DATA
    if action == RET_ALLOW:
        return None
    kernel = task.kernel
    if action == RET_ERRNO:
        return -min(data, _MAX_ERRNO)
    if action == RET_LOG:
        kernel.log.info(f"seccomp: {task!r} calls {number}")
        return None
    if who.log:
        kernel.log.info(f"seccomp: {task!r} calls {number}: {said:#x}")
    if action == RET_TRAP:
        regs = task.thread.get_regs()
        force(task, _sigsys(number, regs[RIP], data))
        regs[RAX] = number & _U64
        task.thread.set_regs(regs)
        return REGISTERS_SET
    if action == RET_USER_NOTIF:
        if who.listener is None:
            return -ENOSYS
        return who.listener.ask(task, number, args)
    if action == RET_TRACE:
        return None if traced else trace_event(task, args, data)
    group = task.group
    if action == RET_KILL_THREAD and len(group.tasks) > 1:
        exit_task(task, SIGSYS)
    else:
        exit_group(task, SIGSYS | (0x80 if dumps_core(SIGSYS) and task.limit(4) else 0))
    return GONE


def trace_event(task: Task, args: Args, data: int) -> Result:
    """SECCOMP_RET_TRACE: a tracer that wants to know decides; without one the call isn't there."""
    ptrace = task.ptrace
    if ptrace is None or not ptrace.wants_seccomp():
        return -ENOSYS
    return ptrace.seccomp_stop(args, data)


def _sigsys(number: int, addr: int, data: int) -> SigInfo:
    return SigInfo(SIGSYS, 1, addr=addr, value=number, errno=data)


def install(
    task: Task,
    program: Program,
    log: bool = False,
    sync: bool = False,
    esrch: bool = False,
    listener: Listener | None = None,
) -> int:
    """Put a filter on the task (``sync``: on all threads of its process). 0, or with ``sync`` the id of a
    thread that has other filters (ESRCH if ``esrch``). Raises EACCES, EINVAL, ENOMEM."""
    check_may_install(task)
    if task.seccomp_mode == MODE_STRICT:
        raise LinuxError(EINVAL)
    made = Filter(program, task.seccomp, log)
    made.listener = listener
    if made.size > MAX_PATH:
        raise LinuxError(ENOMEM)
    others = [other for other in task.group.tasks if other is not task] if sync else []
    for other in others:
        shared = task.seccomp is not None and task.seccomp.descends_from(other.seccomp)
        if other.seccomp_mode and not shared:
            if esrch:
                raise LinuxError(ESRCH)
            return other.vtid
    for each in (task, *others):
        adopt_filter(each, made)
        if each is not task and task.cred.no_new_privs and not each.cred.no_new_privs:
            cred = each.cred.copy()
            cred.no_new_privs = True
            each.cred = cred
    return 0


def check_may_install(task: Task) -> None:
    """Raise EACCES unless the task can gain no privileges any more, or is privileged."""
    if not task.cred.no_new_privs and not task.cred.own_capable(CAP_SYS_ADMIN):
        raise LinuxError(EACCES)


def adopt_filter(task: Task, made: Filter) -> None:
    """Have the task go through ``made`` (and what is before it) from now on."""
    if task.seccomp is not None:
        task.seccomp.count_users(-1)
    task.seccomp = made
    task.seccomp_mode = MODE_FILTER
    made.count_users(1)
    task.regate()


def has_listener(at: Filter | None) -> bool:
    """Has one of the filters a listener already?"""
    while at is not None:
        if at.listener is not None:
            return True
        at = at.prev
    return False


def check_no_listener(task: Task) -> None:
    if has_listener(task.seccomp):
        raise LinuxError(EBUSY)
