"""futex(2), futex_waitv(2), set_robust_list(2), get_robust_list(2)."""

from __future__ import annotations

from errno import EAGAIN, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH, ETIMEDOUT
from time import monotonic_ns

from runsc.abi.futex import (
    FUTEX2_PRIVATE,
    FUTEX2_SIZE_U32,
    FUTEX_BITSET_MATCH_ANY,
    FUTEX_CLOCK_REALTIME,
    FUTEX_CMD_MASK,
    FUTEX_CMP_REQUEUE,
    FUTEX_LOCK_PI,
    FUTEX_LOCK_PI2,
    FUTEX_PRIVATE_FLAG,
    FUTEX_REQUEUE,
    FUTEX_TRYLOCK_PI,
    FUTEX_UNLOCK_PI,
    FUTEX_WAIT,
    FUTEX_WAIT_BITSET,
    FUTEX_WAIT_REQUEUE_PI,
    FUTEX_WAITV,
    FUTEX_WAITV_MAX,
    FUTEX_WAKE,
    FUTEX_WAKE_BITSET,
    FUTEX_WAKE_OP,
    ROBUST_LIST_HEAD,
)  # fmt: skip
from runsc.abi.time import CLOCK_MONOTONIC, CLOCK_REALTIME, KTIME_MAX
from runsc.kernel.clock import copy_in_timespec, monotonic_deadline
from runsc.kernel.credentials import CAP_SYS_PTRACE
from runsc.kernel.errors import Interrupted, LinuxError, Restart, RestartAlways
from runsc.kernel.futex import FutexWaiter, futexes, key_of, wake_op
from runsc.kernel.syscalls.decl import (
    PARTIAL,
    Clock,
    FutexOp,
    InTimespec,
    Pid,
    Ptr,
    Size,
    UInt,
    syscall,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.futex import Key
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

#: Commands that take a time-out, and so a timespec in the fourth argument (futex_cmd_has_timeout).
_TIMED = frozenset((FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_WAIT_REQUEUE_PI))
#: Commands for which FUTEX_CLOCK_REALTIME means something.
_CLOCK_CHOICE = frozenset((FUTEX_WAIT_BITSET, FUTEX_LOCK_PI2, FUTEX_WAIT_REQUEUE_PI))


@syscall(202, PARTIAL, "no FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI; no FUTEX_FD, as in Linux")
def futex(
    task: Task, uaddr: Ptr, op: FutexOp, val: UInt, timeout: InTimespec, uaddr2: Ptr, val3: UInt
) -> Result:  # fmt: skip
    """futex(2)."""
    cmd = op & FUTEX_CMD_MASK
    private = bool(op & FUTEX_PRIVATE_FLAG)
    if cmd == FUTEX_WAKE:
        if op & FUTEX_CLOCK_REALTIME:
            raise LinuxError(ENOSYS)
        return futexes(task.kernel).wake(key_of(task, uaddr, private), _count(val))
    deadline = None
    if cmd in _TIMED and timeout:
        ns = copy_in_timespec(task, timeout)
        if cmd == FUTEX_WAIT:
            deadline = min(monotonic_ns() + ns, KTIME_MAX)
        else:
            realtime = op & FUTEX_CLOCK_REALTIME or cmd == FUTEX_LOCK_PI
            deadline = monotonic_deadline(CLOCK_REALTIME if realtime else CLOCK_MONOTONIC, ns)
    if op & FUTEX_CLOCK_REALTIME and cmd not in _CLOCK_CHOICE:
        raise LinuxError(ENOSYS)
    if cmd == FUTEX_WAIT:
        return _wait(task, uaddr, private, val, deadline, FUTEX_BITSET_MATCH_ANY)
    if cmd == FUTEX_WAIT_BITSET:
        return _wait(task, uaddr, private, val, deadline, val3)
    if cmd == FUTEX_WAKE_BITSET:
        if not val3:
            raise LinuxError(EINVAL)
        return futexes(task.kernel).wake(key_of(task, uaddr, private), _count(val), val3)
    if cmd in (FUTEX_REQUEUE, FUTEX_CMP_REQUEUE):
        # The fourth argument is a number here.
        return _requeue(
            task, uaddr, uaddr2, private, val, timeout, val3 if cmd == FUTEX_CMP_REQUEUE else None
        )
    if cmd == FUTEX_WAKE_OP:
        return _wake_op(task, uaddr, uaddr2, private, val, timeout, val3)
    if cmd in (FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_TRYLOCK_PI):
        key = key_of(task, uaddr, private, True)
        waiter = futexes(task.kernel).lock_pi(task, key, uaddr, cmd != FUTEX_TRYLOCK_PI)
        return 0 if waiter is None else _sleep_pi(task, waiter, deadline)
    if cmd == FUTEX_UNLOCK_PI:
        futexes(task.kernel).unlock_pi(task, key_of(task, uaddr, private, True), uaddr)
        return 0
    raise LinuxError(ENOSYS)


def _count(value: int) -> int:
    """How many to wake: the guest's int; nothing positive still wakes one, as Linux does."""
    return value if 0 < value < 0x80000000 else 1


def _wait(task: Task, addr: int, private: bool, value: int, deadline: int | None, bitset: int) -> Result:
    if not bitset:
        raise LinuxError(EINVAL)
    key = key_of(task, addr, private)
    if task.mm.read_u32(addr) != value:
        raise LinuxError(EAGAIN)
    waiter = FutexWaiter(task, key, addr, bitset)
    futexes(task.kernel).add(waiter)
    return _sleep(task, waiter, value, private, deadline)


async def _sleep(task: Task, waiter: FutexWaiter, value: int, private: bool, deadline: int | None) -> int:
    try:
        while await task.wait(None, deadline=deadline):
            if waiter.woken:
                return 0
        if waiter.woken:
            return 0
        raise LinuxError(ETIMEDOUT)
    except Interrupted as interrupted:
        if waiter.woken:
            return 0
        if deadline is None:
            raise
        addr, bitset = waiter.addr, waiter.bitset
        raise Restart(lambda again: _wait(again, addr, private, value, deadline, bitset)) from interrupted
    finally:
        if not waiter.woken:
            futexes(task.kernel).remove(waiter)


async def _sleep_pi(task: Task, waiter: FutexWaiter, deadline: int | None) -> int:
    """Until the lock was handed over: then the word names this task already."""
    try:
        while await task.wait(None, deadline=deadline):
            if waiter.woken:
                return 0
        if waiter.woken:
            return 0
        raise LinuxError(ETIMEDOUT)
    except Interrupted as interrupted:
        if waiter.woken:
            return 0
        raise RestartAlways from interrupted
    finally:
        if not waiter.woken:
            futexes(task.kernel).remove(waiter)


def _requeue(
    task: Task, addr: int, addr2: int, private: bool, wake: int, requeue: int, expected: int | None
) -> int:  # fmt: skip
    requeue &= 0xFFFFFFFF
    if wake >= 0x80000000 or requeue >= 0x80000000:
        raise LinuxError(EINVAL)
    key = key_of(task, addr, private)
    target = key_of(task, addr2, private)
    if expected is not None and task.mm.read_u32(addr) != expected:
        raise LinuxError(EAGAIN)
    return futexes(task.kernel).requeue(key, target, addr2, wake, requeue)


def _wake_op(task: Task, addr: int, addr2: int, private: bool, wake: int, wake2: int, encoded: int) -> int:
    key = key_of(task, addr, private)
    key2 = key_of(task, addr2, private, True)
    holds = wake_op(task, addr2, encoded)
    all_of_them = futexes(task.kernel)
    woken = all_of_them.wake(key, _count(wake))
    if holds:
        woken += all_of_them.wake(key2, _count(wake2 & 0xFFFFFFFF))
    return woken


# -- several at once ------------------------------------------------------------------------------


@syscall(449)
def futex_waitv(
    task: Task, waiters: Ptr, nr_futexes: UInt, flags: UInt, timeout: InTimespec, clockid: Clock
) -> Result:  # fmt: skip
    """futex_waitv(2): the index of one that was woken."""
    if flags or not 0 < nr_futexes <= FUTEX_WAITV_MAX or not waiters:
        raise LinuxError(EINVAL)
    deadline = None
    if timeout:
        if clockid not in (CLOCK_MONOTONIC, CLOCK_REALTIME):
            raise LinuxError(EINVAL)
        deadline = monotonic_deadline(clockid, copy_in_timespec(task, timeout))
    raw = task.mm.copy_in(waiters, FUTEX_WAITV.size * nr_futexes)
    entries: list[tuple[int, int, bool]] = []
    for value, addr, kind, reserved in FUTEX_WAITV.iter_unpack(raw):
        if kind & ~FUTEX2_PRIVATE != FUTEX2_SIZE_U32 or reserved or value > 0xFFFFFFFF:
            raise LinuxError(EINVAL)
        entries.append((value, addr, bool(kind & FUTEX2_PRIVATE)))
    keys: list[Key] = [key_of(task, addr, private) for _, addr, private in entries]
    for value, addr, _private in entries:
        if task.mm.read_u32(addr) != value:
            raise LinuxError(EAGAIN)
    sleepers = [FutexWaiter(task, key, addr) for key, (_, addr, _) in zip(keys, entries, strict=True)]
    for sleeper in sleepers:
        futexes(task.kernel).add(sleeper)
    return _sleep_any(task, sleepers, deadline)


def _first_woken(sleepers: list[FutexWaiter]) -> int | None:
    # As Linux does, from the end of the list: the last that was woken is what it tells.
    for index in range(len(sleepers) - 1, -1, -1):
        if sleepers[index].woken:
            return index
    return None


async def _sleep_any(task: Task, sleepers: list[FutexWaiter], deadline: int | None) -> int:
    try:
        while await task.wait(None, deadline=deadline):
            index = _first_woken(sleepers)
            if index is not None:
                return index
        index = _first_woken(sleepers)
        if index is not None:
            return index
        raise LinuxError(ETIMEDOUT)
    except Interrupted:
        index = _first_woken(sleepers)
        if index is None:
            raise
        return index
    finally:
        for sleeper in sleepers:
            if not sleeper.woken:
                futexes(task.kernel).remove(sleeper)


# -- robust lists ---------------------------------------------------------------------------------


@syscall(273)
def set_robust_list(task: Task, head: Ptr, length: Size) -> Result:
    """set_robust_list(2)."""
    if length != ROBUST_LIST_HEAD.size:
        raise LinuxError(EINVAL)
    task.robust_list = (head, length)
    return 0


@syscall(274)
def get_robust_list(task: Task, pid: Pid, head: Ptr, length: Ptr) -> Result:
    """get_robust_list(2)."""
    other = task if pid == 0 else task.pid_ns.tasks.get(pid)
    if other is None:
        raise LinuxError(ESRCH)
    if other.group is not task.group and not task.cred.ns_capable(other.cred.user_ns, CAP_SYS_PTRACE):
        mine, theirs = task.cred, other.cred
        uids, gids = {theirs.uid, theirs.euid, theirs.suid}, {theirs.gid, theirs.egid, theirs.sgid}
        if uids != {mine.uid} or gids != {mine.gid}:
            raise LinuxError(EPERM)
    if not head or not length:
        raise LinuxError(EFAULT)
    task.mm.write_u64(length, ROBUST_LIST_HEAD.size)
    task.mm.write_u64(head, other.robust_list[0])
    return 0
