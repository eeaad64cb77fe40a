"""Scheduling (sched_setaffinity(2), sched_setscheduler(2), sched_setattr(2), getcpu(2)).

The host schedules the guest's threads. Policies, priorities and affinities are checked, kept, inherited and
reported as Linux does it, but not imposed on the host.
"""

from __future__ import annotations

from errno import E2BIG, EFAULT, EINVAL, EPERM, ESRCH

from runsc.abi import sched as abi
from runsc.kernel.credentials import CAP_SYS_NICE
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import PARTIAL, Int, OutInt, OutTimespec, Pid, Ptr, UInt, syscall
from runsc.kernel.thread_group import RLIMIT_NICE, RLIMIT_RTPRIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_NOT_IMPOSED = "kept, inherited and reported; the host schedules without it"

#: sched_setscheduler's marks for what stays as it is.
_KEEP_POLICY = -1

_REALTIME = (abi.SCHED_FIFO, abi.SCHED_RR)
_FAIR = (abi.SCHED_NORMAL, abi.SCHED_BATCH)
_PAGE = 4096


@syscall(24)
def sched_yield(task: Task) -> Result:
    """Other tasks have their turn anyway before the loop comes back to this one."""
    return 0


def _target(task: Task, pid: int) -> Task:
    target = task.pid_ns.tasks.get(pid) if pid else task
    if target is None:
        raise LinuxError(ESRCH)
    return target


def _same_owner(task: Task, target: Task) -> bool:
    return task.cred.euid in (target.cred.euid, target.cred.uid)


# -- affinity -------------------------------------------------------------------------------------


def _all_cpus(task: Task) -> int:
    mask = 0
    for cpu in task.kernel.cpus:
        mask |= 1 << cpu
    return mask


@syscall(203, PARTIAL, _NOT_IMPOSED)
def sched_setaffinity(task: Task, pid: Pid, length: UInt, mask: Ptr) -> Result:
    everything = _all_cpus(task)
    size = _mask_bytes(task)
    wanted = int.from_bytes(task.mm.copy_in(mask, min(length, size)), "little") & everything
    target = _target(task, pid)
    if not _same_owner(task, target) and not task.cred.ns_capable(
        target.cred.user_ns, CAP_SYS_NICE
    ):
        raise LinuxError(EPERM)
    if not wanted:
        raise LinuxError(EINVAL)
    target.cpu_mask = wanted
    return 0


@syscall(204)
def sched_getaffinity(task: Task, pid: Pid, length: UInt, mask: Ptr) -> Result:
    if length * 8 <= max(task.kernel.cpus) or length % 8:
        raise LinuxError(EINVAL)
    target = _target(task, pid)
    size = min(length, _mask_bytes(task))
    task.mm.copy_out(mask, (target.cpu_mask or _all_cpus(task)).to_bytes(size, "little"))
    return size


def _mask_bytes(task: Task) -> int:
    """The size of the kernel's CPU mask: whole 64-bit words."""
    return max(task.kernel.cpus) // 64 * 8 + 8


@syscall(309, PARTIAL, "answers a CPU the task may run on, not the one it runs on")
def getcpu(task: Task, cpu: OutInt, node: OutInt, cache: Ptr) -> Result:
    mask = task.cpu_mask or _all_cpus(task)
    if cpu:
        task.mm.write_u32(cpu, (mask & -mask).bit_length() - 1)
    if node:
        task.mm.write_u32(node, 0)
    return 0


# -- policies -------------------------------------------------------------------------------------


@syscall(146)
def sched_get_priority_max(task: Task, policy: Int) -> Result:
    if policy in _REALTIME:
        return abi.MAX_RT_PRIORITY
    if policy in (*_FAIR, abi.SCHED_IDLE, abi.SCHED_DEADLINE):
        return 0
    raise LinuxError(EINVAL)


@syscall(147)
def sched_get_priority_min(task: Task, policy: Int) -> Result:
    if policy in _REALTIME:
        return 1
    if policy in (*_FAIR, abi.SCHED_IDLE, abi.SCHED_DEADLINE):
        return 0
    raise LinuxError(EINVAL)


@syscall(145)
def sched_getscheduler(task: Task, pid: Pid) -> Result:
    if pid < 0:
        raise LinuxError(EINVAL)
    return _target(task, pid).policy


@syscall(143)
def sched_getparam(task: Task, pid: Pid, param: OutInt) -> Result:
    if not param or pid < 0:
        raise LinuxError(EINVAL)
    task.mm.write_u32(param, _target(task, pid).sched_priority)
    return 0


@syscall(144, PARTIAL, _NOT_IMPOSED)
def sched_setscheduler(task: Task, pid: Pid, policy: Int, param: Ptr) -> Result:
    if policy < 0:
        raise LinuxError(EINVAL)
    return _set_scheduler(task, pid, policy, param)


@syscall(142, PARTIAL, _NOT_IMPOSED)
def sched_setparam(task: Task, pid: Pid, param: Ptr) -> Result:
    return _set_scheduler(task, pid, _KEEP_POLICY, param)


def _set_scheduler(task: Task, pid: int, policy: int, param: int) -> int:
    if not param or pid < 0:
        raise LinuxError(EINVAL)
    priority = task.mm.read_u32(param)
    target = _target(task, pid)
    if policy == _KEEP_POLICY:
        reset = bool(target.policy & abi.SCHED_RESET_ON_FORK)
        policy = target.policy & ~abi.SCHED_RESET_ON_FORK
    else:
        reset = bool(policy & abi.SCHED_RESET_ON_FORK)
        policy &= ~abi.SCHED_RESET_ON_FORK
    _change(task, target, policy, priority, target.nice, reset)
    return 0


def _change(task: Task, target: Task, policy: int, priority: int, nice: int, reset: bool) -> None:
    """Change policy, priority and nice value (__sched_setscheduler)."""
    # The deadline policy promises what the host would have to keep: it is refused like a bad parameter.
    if policy not in (*_REALTIME, *_FAIR, abi.SCHED_IDLE):
        raise LinuxError(EINVAL)
    if priority > abi.MAX_RT_PRIORITY or (policy in _REALTIME) != (priority != 0):
        raise LinuxError(EINVAL)
    if _needs_privilege(task, target, policy, priority, nice, reset) and not task.cred.capable(CAP_SYS_NICE):
        raise LinuxError(EPERM)
    target.policy = policy | (abi.SCHED_RESET_ON_FORK if reset else 0)
    target.sched_priority = priority
    if policy in _FAIR:
        target.nice = nice


def _needs_privilege(task: Task, target: Task, policy: int, priority: int, nice: int, reset: bool) -> bool:
    """Does the change need CAP_SYS_NICE? (user_check_sched_setscheduler)"""
    old = target.policy & ~abi.SCHED_RESET_ON_FORK
    if policy in _FAIR and nice < target.nice and 20 - nice > target.limit(RLIMIT_NICE):
        return True
    if policy in _REALTIME:
        limit = target.limit(RLIMIT_RTPRIO)
        if policy != old and not limit:
            return True
        if priority > target.sched_priority and priority > limit:
            return True
    if old == abi.SCHED_IDLE and policy != abi.SCHED_IDLE and 20 - target.nice > target.limit(RLIMIT_NICE):
        return True
    if not _same_owner(task, target):
        return True
    return bool(target.policy & abi.SCHED_RESET_ON_FORK) and not reset


@syscall(148)
def sched_rr_get_interval(task: Task, pid: Pid, interval: OutTimespec) -> Result:
    """A round-robin task's slice is Linux's default, 100 ms; the others' are the host's and unknown: 0."""
    if pid < 0:
        raise LinuxError(EINVAL)
    policy = _target(task, pid).policy & ~abi.SCHED_RESET_ON_FORK
    nanoseconds = 100_000_000 if policy == abi.SCHED_RR else 0
    task.mm.copy_out(interval, bytes(8) + nanoseconds.to_bytes(8, "little"))
    return 0


@syscall(314, PARTIAL, _NOT_IMPOSED + "; no deadline policy, no utilization clamps")
def sched_setattr(task: Task, pid: Pid, attr: Ptr, flags: UInt) -> Result:
    if not attr or pid < 0 or flags:
        raise LinuxError(EINVAL)
    mm = task.mm
    size = mm.read_u32(attr) or abi.SCHED_ATTR_SIZE_VER0
    if size < abi.SCHED_ATTR_SIZE_VER0 or size > _PAGE:
        _too_big(task, attr)
    data = mm.copy_in(attr, size)
    if any(data[abi.SCHED_ATTR_SIZE_VER0 + 8 :]):
        _too_big(task, attr)
    fields = abi.SCHED_ATTR.unpack_from(data)
    policy, options, nice, priority = fields[1], fields[2], fields[3], fields[4]
    nice = max(-20, min(19, nice))
    if policy >= 1 << 31:
        raise LinuxError(EINVAL)
    target = _target(task, pid)
    if options & abi.SCHED_FLAG_KEEP_POLICY:
        policy = target.policy & ~abi.SCHED_RESET_ON_FORK
    if options & abi.SCHED_FLAG_KEEP_PARAMS:
        priority, nice = target.sched_priority, target.nice
    if options & ~(abi.SCHED_FLAG_ALL & ~abi.SCHED_FLAG_UTIL_CLAMP):
        raise LinuxError(EINVAL)
    _change(task, target, policy, priority, nice, bool(options & abi.SCHED_FLAG_RESET_ON_FORK))
    return 0


def _too_big(task: Task, attr: int) -> None:
    """Tell the caller which size we know, and refuse."""
    task.mm.write_u32(attr, abi.SCHED_ATTR_SIZE_VER0 + 8)
    raise LinuxError(E2BIG)


@syscall(315)
def sched_getattr(task: Task, pid: Pid, attr: Ptr, size: UInt, flags: UInt) -> Result:
    if not attr or pid < 0 or size > _PAGE or size < abi.SCHED_ATTR_SIZE_VER0 or flags:
        raise LinuxError(EINVAL)
    target = _target(task, pid)
    reset = bool(target.policy & abi.SCHED_RESET_ON_FORK)
    policy = target.policy & ~abi.SCHED_RESET_ON_FORK
    nice = target.nice if policy in _FAIR else 0
    data = abi.SCHED_ATTR.pack(
        abi.SCHED_ATTR_SIZE_VER0, policy, int(reset), nice, target.sched_priority, 0, 0, 0
    )
    if task.mm.copy_out_partial(attr, data) != len(data):
        raise LinuxError(EFAULT)
    return 0
