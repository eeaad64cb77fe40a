"""prctl(2), arch_prctl(2) and personality(2)."""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENODEV, EPERM

from runsc.abi import prctl as abi
from runsc.abi.capability import (
    SECBIT_KEEP_CAPS,
    SECBIT_KEEP_CAPS_LOCKED,
    SECBIT_NO_CAP_AMBIENT_RAISE,
    SECURE_ALL_BITS,
    SECURE_ALL_LOCKS,
)
from runsc.abi.registers import FS_BASE, GS_BASE, RAX
from runsc.kernel.cred_change import commit
from runsc.kernel.credentials import ALL_CAPS, CAP_SETPCAP, CAP_SYS_RESOURCE
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import PARTIAL, REGISTERS_SET, ArchPrctlOp, Hex, PrctlOp, UInt, ULong, syscall
from runsc.kernel.syscalls.seccomp import set_mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

    Operation = Callable[[Task, int, int, int, int], int]

#: Longest name of a task, with its NUL (linux/sched.h).
TASK_COMM_LEN = 16

#: The kernel's default slack of timers, in ns.
DEFAULT_TIMER_SLACK = 50_000

#: User addresses end here (TASK_SIZE_MAX without 5-level paging).
TASK_SIZE_MAX = 0x7FFFFFFFF000

_HIGHEST_SIGNAL = 64
_QUERY_PERSONALITY = 0xFFFFFFFF


def _set_pdeathsig(task: Task, signo: int, _a3: int, _a4: int, _a5: int) -> int:
    if signo > _HIGHEST_SIGNAL:
        raise LinuxError(EINVAL)
    task.pdeath_signal = signo
    return 0


def _get_pdeathsig(task: Task, addr: int, _a3: int, _a4: int, _a5: int) -> int:
    task.mm.write_u32(addr, task.pdeath_signal)
    return 0


def _get_dumpable(task: Task, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    return task.group.dumpable


def _set_dumpable(task: Task, value: int, _a3: int, _a4: int, _a5: int) -> int:
    if value not in (0, 1):
        raise LinuxError(EINVAL)
    task.group.dumpable = value
    return 0


def _set_name(task: Task, addr: int, _a3: int, _a4: int, _a5: int) -> int:
    data = task.mm.copy_in_partial(addr, TASK_COMM_LEN - 1)
    end = data.find(0)
    if end < 0 and len(data) < TASK_COMM_LEN - 1:
        raise LinuxError(EFAULT)
    task.comm = data if end < 0 else data[:end]
    return 0


def _get_name(task: Task, addr: int, _a3: int, _a4: int, _a5: int) -> int:
    task.mm.copy_out(addr, task.comm[: TASK_COMM_LEN - 1].ljust(TASK_COMM_LEN, b"\0"))
    return 0


def _get_timing(task: Task, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    return 0  # PR_TIMING_STATISTICAL, the only one there is


def _set_timing(task: Task, value: int, _a3: int, _a4: int, _a5: int) -> int:
    if value:
        raise LinuxError(EINVAL)
    return 0


def _get_seccomp(task: Task, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    return task.seccomp_mode


def _set_seccomp(task: Task, mode: int, program: int, _a4: int, _a5: int) -> int:
    return set_mode(task, mode, program)


def _get_tsc(task: Task, addr: int, _a3: int, _a4: int, _a5: int) -> int:
    task.mm.write_u32(addr, abi.PR_TSC_ENABLE)
    return 0


def _set_tsc(task: Task, value: int, _a3: int, _a4: int, _a5: int) -> int:
    if value != abi.PR_TSC_ENABLE:
        raise LinuxError(EINVAL)
    return 0


def _get_keepcaps(task: Task, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    return int(bool(task.cred.securebits & SECBIT_KEEP_CAPS))


def _set_keepcaps(task: Task, value: int, _a3: int, _a4: int, _a5: int) -> int:
    if value > 1:
        raise LinuxError(EINVAL)
    if task.cred.securebits & SECBIT_KEEP_CAPS_LOCKED:
        raise LinuxError(EPERM)
    new = task.cred.copy()
    new.securebits = new.securebits & ~SECBIT_KEEP_CAPS | (SECBIT_KEEP_CAPS if value else 0)
    commit(task, new)
    return 0


def _get_securebits(task: Task, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    return task.cred.securebits


def _set_securebits(task: Task, bits: int, _a3: int, _a4: int, _a5: int) -> int:
    old = task.cred
    locked = (old.securebits & SECURE_ALL_LOCKS) >> 1
    if (
        locked & (old.securebits ^ bits)
        or old.securebits & SECURE_ALL_LOCKS & ~bits
        or bits & ~(SECURE_ALL_BITS | SECURE_ALL_LOCKS)
        or not old.own_capable(CAP_SETPCAP)
    ):
        raise LinuxError(EPERM)
    new = old.copy()
    new.securebits = bits
    commit(task, new)
    return 0


def _capbset_read(task: Task, cap: int, _a3: int, _a4: int, _a5: int) -> int:
    if not _valid_cap(cap):
        raise LinuxError(EINVAL)
    return task.cred.bounding >> cap & 1


def _capbset_drop(task: Task, cap: int, _a3: int, _a4: int, _a5: int) -> int:
    if not task.cred.own_capable(CAP_SETPCAP):
        raise LinuxError(EPERM)
    if not _valid_cap(cap):
        raise LinuxError(EINVAL)
    new = task.cred.copy()
    new.bounding &= ~(1 << cap)
    commit(task, new)
    return 0


def _cap_ambient(task: Task, operation: int, cap: int, a4: int, a5: int) -> int:
    if operation == abi.PR_CAP_AMBIENT_CLEAR_ALL:
        if cap or a4 or a5:
            raise LinuxError(EINVAL)
        new = task.cred.copy()
        new.ambient = 0
        commit(task, new)
        return 0
    if not _valid_cap(cap) or a4 or a5:
        raise LinuxError(EINVAL)
    cred = task.cred
    if operation == abi.PR_CAP_AMBIENT_IS_SET:
        return cred.ambient >> cap & 1
    if operation not in (abi.PR_CAP_AMBIENT_RAISE, abi.PR_CAP_AMBIENT_LOWER):
        raise LinuxError(EINVAL)
    bit = 1 << cap
    new = cred.copy()
    if operation == abi.PR_CAP_AMBIENT_LOWER:
        new.ambient &= ~bit
    else:
        if not cred.permitted & cred.inheritable & bit or cred.securebits & SECBIT_NO_CAP_AMBIENT_RAISE:
            raise LinuxError(EPERM)
        new.ambient |= bit
    commit(task, new)
    return 0


def _valid_cap(cap: int) -> bool:
    # The number is compared first: a guest's may be far too large to shift by.
    return cap < 64 and bool(ALL_CAPS >> cap & 1)


def _set_timerslack(task: Task, slack: int, _a3: int, _a4: int, _a5: int) -> int:
    # The argument is a signed long: nothing below one is a slack.
    task.timer_slack = slack if 0 < slack < 1 << 63 else DEFAULT_TIMER_SLACK
    return 0


def _get_timerslack(task: Task, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    return task.timer_slack


def _mce_kill_get(task: Task, a2: int, a3: int, a4: int, a5: int) -> int:
    if a2 or a3 or a4 or a5:
        raise LinuxError(EINVAL)
    return abi.PR_MCE_KILL_DEFAULT


def _set_mm(task: Task, _a2: int, _a3: int, _a4: int, _a5: int) -> int:
    raise LinuxError(EINVAL if task.cred.capable(CAP_SYS_RESOURCE) else EPERM)


def _set_subreaper(task: Task, value: int, _a3: int, _a4: int, _a5: int) -> int:
    task.group.is_subreaper = bool(value)
    return 0


def _get_subreaper(task: Task, addr: int, _a3: int, _a4: int, _a5: int) -> int:
    task.mm.write_u32(addr, int(task.group.is_subreaper))
    return 0


def _set_no_new_privs(task: Task, value: int, a3: int, a4: int, a5: int) -> int:
    if value != 1 or a3 or a4 or a5:
        raise LinuxError(EINVAL)
    new = task.cred.copy()
    new.no_new_privs = True
    commit(task, new)
    return 0


def _get_no_new_privs(task: Task, a2: int, a3: int, a4: int, a5: int) -> int:
    if a2 or a3 or a4 or a5:
        raise LinuxError(EINVAL)
    return int(task.cred.no_new_privs)


def _get_tid_address(task: Task, addr: int, _a3: int, _a4: int, _a5: int) -> int:
    task.mm.write_u64(addr, task.clear_child_tid)
    return 0


_OPERATIONS: dict[int, Operation] = {
    abi.PR_SET_PDEATHSIG: _set_pdeathsig,
    abi.PR_GET_PDEATHSIG: _get_pdeathsig,
    abi.PR_GET_DUMPABLE: _get_dumpable,
    abi.PR_SET_DUMPABLE: _set_dumpable,
    abi.PR_GET_KEEPCAPS: _get_keepcaps,
    abi.PR_SET_KEEPCAPS: _set_keepcaps,
    abi.PR_GET_TIMING: _get_timing,
    abi.PR_SET_TIMING: _set_timing,
    abi.PR_SET_NAME: _set_name,
    abi.PR_GET_NAME: _get_name,
    abi.PR_GET_SECCOMP: _get_seccomp,
    abi.PR_SET_SECCOMP: _set_seccomp,
    abi.PR_CAPBSET_READ: _capbset_read,
    abi.PR_CAPBSET_DROP: _capbset_drop,
    abi.PR_GET_TSC: _get_tsc,
    abi.PR_SET_TSC: _set_tsc,
    abi.PR_GET_SECUREBITS: _get_securebits,
    abi.PR_SET_SECUREBITS: _set_securebits,
    abi.PR_SET_TIMERSLACK: _set_timerslack,
    abi.PR_GET_TIMERSLACK: _get_timerslack,
    abi.PR_MCE_KILL_GET: _mce_kill_get,
    abi.PR_SET_MM: _set_mm,
    abi.PR_SET_CHILD_SUBREAPER: _set_subreaper,
    abi.PR_GET_CHILD_SUBREAPER: _get_subreaper,
    abi.PR_SET_NO_NEW_PRIVS: _set_no_new_privs,
    abi.PR_GET_NO_NEW_PRIVS: _get_no_new_privs,
    abi.PR_GET_TID_ADDRESS: _get_tid_address,
    abi.PR_CAP_AMBIENT: _cap_ambient,
}


@syscall(157, PARTIAL, "no PR_SET_MM, PR_SET_VMA, huge page or speculation control: EINVAL")
def prctl(task: Task, option: PrctlOp, arg2: ULong, arg3: ULong, arg4: ULong, arg5: ULong) -> Result:
    operation = _OPERATIONS.get(option)
    if operation is None:
        raise LinuxError(EINVAL)
    return operation(task, arg2, arg3, arg4, arg5)


@syscall(158, PARTIAL, "no CPUID faulting, XSAVE permissions or shadow stacks")
def arch_prctl(task: Task, code: ArchPrctlOp, addr: Hex) -> Result:
    if code in (abi.ARCH_SET_FS, abi.ARCH_SET_GS):
        if addr >= TASK_SIZE_MAX:
            raise LinuxError(EPERM)
        regs = task.thread.get_regs()
        regs[FS_BASE if code == abi.ARCH_SET_FS else GS_BASE] = addr
        regs[RAX] = 0
        task.thread.set_regs(regs)
        return REGISTERS_SET
    if code == abi.ARCH_GET_FS:
        task.mm.write_u64(addr, task.thread.get_regs()[FS_BASE])
        return 0
    if code == abi.ARCH_GET_GS:
        task.mm.write_u64(addr, task.thread.get_regs()[GS_BASE])
        return 0
    if code == abi.ARCH_GET_CPUID:
        return 1
    if code == abi.ARCH_SET_CPUID:
        raise LinuxError(ENODEV)
    raise LinuxError(EINVAL)


@syscall(135, PARTIAL, "kept and reported, without effect")
def personality(task: Task, persona: UInt) -> Result:
    old = task.personality
    if persona != _QUERY_PERSONALITY:
        task.personality = persona
    return old
