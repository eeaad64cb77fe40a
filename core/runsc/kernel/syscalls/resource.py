"""Limits, usage and priority (getrlimit(2), getrusage(2), getpriority(2), ioprio_set(2))."""

from __future__ import annotations

from errno import EACCES, EINVAL, EPERM, ESRCH

from runsc.abi import sched
from runsc.abi.resource import (
    PRIO_PROCESS,
    PRIO_USER,
    RLIM_NLIMITS,
    RLIMIT,
    RUSAGE_CHILDREN,
    RUSAGE_SELF,
    RUSAGE_THREAD,
    pack_rusage,
)
from runsc.kernel.credentials import CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SYS_RESOURCE
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import (
    PARTIAL,
    InRlimit,
    Int,
    OutRlimit,
    OutRusage,
    Pid,
    Resource,
    RusageWho,
    syscall,
)
from runsc.kernel.thread_group import RLIMIT_NICE, RLIMIT_NOFILE
from runsc.kernel.tunables import tunables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ThreadGroup


# -- limits ---------------------------------------------------------------------------------------


@syscall(97)
def getrlimit(task: Task, resource: Resource, rlim: OutRlimit) -> Result:
    if resource >= RLIM_NLIMITS:
        raise LinuxError(EINVAL)
    task.mm.copy_out(rlim, RLIMIT.pack(*task.group.limits[resource]))
    return 0


@syscall(160)
def setrlimit(task: Task, resource: Resource, rlim: InRlimit) -> Result:
    soft, hard = task.mm.unpack(rlim, RLIMIT)
    _set_limit(task, task.group, resource, soft, hard)
    return 0


@syscall(302)
def prlimit64(task: Task, pid: Pid, resource: Resource, new_limit: InRlimit, old_limit: OutRlimit) -> Result:
    new = task.mm.unpack(new_limit, RLIMIT) if new_limit else None
    target = task.pid_ns.tasks.get(pid) if pid else task
    if target is None:
        raise LinuxError(ESRCH)
    _check_prlimit(task, target)
    if resource >= RLIM_NLIMITS:
        raise LinuxError(EINVAL)
    old = target.group.limits[resource]
    if new is not None:
        _set_limit(task, target.group, resource, new[0], new[1])
    if old_limit:
        task.mm.copy_out(old_limit, RLIMIT.pack(*old))
    return 0


def _check_prlimit(task: Task, target: Task) -> None:
    """May ``task`` see and set the limits of ``target``? (check_prlimit_permission)"""
    if target is task:
        return
    cred, other = task.cred, target.cred
    same_user = cred.uid == other.euid == other.suid == other.uid
    if same_user and cred.gid == other.egid == other.sgid == other.gid:
        return
    if not cred.ns_capable(other.user_ns, CAP_SYS_RESOURCE):
        raise LinuxError(EPERM)


def _set_limit(task: Task, group: ThreadGroup, resource: int, soft: int, hard: int) -> None:
    """Set a limit of ``group`` on behalf of ``task`` (do_prlimit)."""
    if resource >= RLIM_NLIMITS or soft > hard:
        raise LinuxError(EINVAL)
    if resource == RLIMIT_NOFILE and hard > tunables(task.kernel).nr_open:
        raise LinuxError(EPERM)
    if hard > group.limits[resource][1] and not task.cred.capable(CAP_SYS_RESOURCE):
        raise LinuxError(EPERM)
    group.limits[resource] = (soft, hard)


# -- usage ----------------------------------------------------------------------------------------


@syscall(98, PARTIAL, "page faults, context switches and block operations are not counted")
def getrusage(task: Task, who: RusageWho, usage: OutRusage) -> Result:
    group = task.group
    if who == RUSAGE_SELF:
        user, system = group.cpu_time_ns()
        maxrss = max(group.maxrss, task.mm.peak_resident())
    elif who == RUSAGE_THREAD:
        user, system = task.thread.cpu_time_ns()
        maxrss = max(group.maxrss, task.mm.peak_resident())
    elif who == RUSAGE_CHILDREN:
        user, system = group.child_cpu_ns, group.child_sys_ns
        maxrss = group.child_maxrss
    else:
        raise LinuxError(EINVAL)
    task.mm.copy_out(usage, pack_rusage(user, system, maxrss // 1024))
    return 0


# -- nice values ----------------------------------------------------------------------------------


@syscall(140)
def getpriority(task: Task, which: Int, who: Int) -> Result:
    """Answers 20 minus the lowest nice value, which is never negative."""
    if not PRIO_PROCESS <= which <= PRIO_USER:
        raise LinuxError(EINVAL)
    best = max((20 - target.nice for target in _whose(task, which - PRIO_PROCESS, who)), default=0)
    if not best:
        raise LinuxError(ESRCH)
    return best


@syscall(141, PARTIAL, "kept, inherited and reported; the host schedules without it")
def setpriority(task: Task, which: Int, who: Int, nice: Int) -> Result:
    if not PRIO_PROCESS <= which <= PRIO_USER:
        raise LinuxError(EINVAL)
    nice = max(-20, min(19, nice))
    error = ESRCH
    for target in _whose(task, which - PRIO_PROCESS, who):
        error = _set_nice(task, target, nice, error)
    if error:
        raise LinuxError(error)
    return 0


def _set_nice(task: Task, target: Task, nice: int, error: int) -> int:
    """Set one task's nice value; the errno to go on with (set_one_prio)."""
    cred = task.cred
    privileged = cred.capable(CAP_SYS_NICE)
    over = privileged or cred.ns_capable(target.cred.user_ns, CAP_SYS_NICE)
    if cred.euid not in (target.cred.uid, target.cred.euid) and not over:
        return EPERM
    if nice < target.nice and 20 - nice > target.limit(RLIMIT_NICE) and not privileged:
        return EACCES
    target.nice = nice
    return 0 if error == ESRCH else error


def _whose(task: Task, kind: int, who: int) -> Iterable[Task]:
    """The tasks that ``who`` means: kind 0 a thread, 1 a process group, 2 a user; 0 is the caller's own."""
    tasks = task.pid_ns.tasks
    if kind == 0:
        target = tasks.get(who) if who else task
        return () if target is None else (target,)
    if kind == 1:
        group = task.pid_ns.find_process_group(who) if who else task.group.process_group
        return () if group is None else [one for member in group.members for one in member.tasks]
    uid = task.cred.user_ns.make_uid(who & 0xFFFFFFFF) if who else task.cred.uid
    return [one for one in tasks.values() if one.cred.uid == uid and not one.group.zombie]


# -- I/O priority ---------------------------------------------------------------------------------


@syscall(251, PARTIAL, "kept, inherited and reported; the host's I/O goes on without it")
def ioprio_set(task: Task, which: Int, who: Int, ioprio: Int) -> Result:
    _check_ioprio(task, ioprio)
    if not sched.IOPRIO_WHO_PROCESS <= which <= sched.IOPRIO_WHO_USER:
        raise LinuxError(EINVAL)
    cred = task.cred
    found = False
    for target in _whose(task, which - sched.IOPRIO_WHO_PROCESS, who):
        if target.cred.uid not in (cred.euid, cred.uid) and not cred.capable(CAP_SYS_NICE):
            raise LinuxError(EPERM)
        target.io_priority = ioprio
        found = True
    if not found:
        raise LinuxError(ESRCH)
    return 0


def _check_ioprio(task: Task, ioprio: int) -> None:
    """Is it a priority, and may the task have it? (ioprio_check_cap)"""
    kind = ioprio >> sched.IOPRIO_CLASS_SHIFT
    level = ioprio & sched.IOPRIO_NR_LEVELS - 1
    if kind == sched.IOPRIO_CLASS_RT:
        if not task.cred.capable(CAP_SYS_ADMIN) and not task.cred.capable(CAP_SYS_NICE):
            raise LinuxError(EPERM)
    elif kind == sched.IOPRIO_CLASS_NONE:
        if level:
            raise LinuxError(EINVAL)
    elif kind not in (sched.IOPRIO_CLASS_BE, sched.IOPRIO_CLASS_IDLE):
        raise LinuxError(EINVAL)


@syscall(252)
def ioprio_get(task: Task, which: Int, who: Int) -> Result:
    if not sched.IOPRIO_WHO_PROCESS <= which <= sched.IOPRIO_WHO_USER:
        raise LinuxError(EINVAL)
    values = [target.io_priority for target in _whose(task, which - sched.IOPRIO_WHO_PROCESS, who)]
    if not values:
        raise LinuxError(ESRCH)
    if len(values) == 1:
        return values[0]
    # The best of several counts; one that was never set counts as its nice value says.
    return min(value or _ioprio_of_nice(task.nice) for value in values)


def _ioprio_of_nice(nice: int) -> int:
    return sched.IOPRIO_CLASS_BE << sched.IOPRIO_CLASS_SHIFT | (nice + 20) // 5
