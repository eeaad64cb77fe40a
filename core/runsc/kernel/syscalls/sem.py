"""semget(2), semop(2), semtimedop(2), semctl(2) (ipc/sem.c)."""

from __future__ import annotations

from errno import E2BIG, EACCES, EAGAIN, EFBIG, EINTR, EINVAL, ERANGE
from struct import iter_unpack, pack
from time import monotonic_ns

from runsc.abi.ipc import (
    GETALL,
    GETNCNT,
    GETPID,
    GETVAL,
    GETZCNT,
    IPC_INFO,
    IPC_PERM,
    IPC_RMID,
    IPC_SET,
    IPC_STAT,
    SEM_INFO,
    SEM_STAT,
    SEM_STAT_ANY,
    SEM_UNDO,
    SEMBUF,
    SEMID_DS,
    SEMINFO,
    SEMVMX,
    SETALL,
    SETVAL,
)
from runsc.kernel.errors import Interrupted, LinuxError
from runsc.kernel.ipc.ids import READ, WRITE, now, process_of, shown_pid
from runsc.kernel.ipc.namespace import ipc_tables
from runsc.kernel.ipc.sem import SemaphoreSet, Sleeper, create, undo_list
from runsc.kernel.syscalls.decl import Hex, Int, InTimespec, Ptr, UInt, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.ipc.namespace import IpcTables
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

#: What struct seminfo says without SEM_INFO (SEMUSZ, SEMAEM).
_SEMUSZ = 20
_SEMAEM = SEMVMX


@syscall(64)
def semget(task: Task, key: Int, nsems: Int, semflg: Hex) -> int:
    """semget(2)."""
    namespace = ipc_tables(task)
    if nsems < 0 or nsems > namespace.limits.sem_ctlmsl:
        raise LinuxError(EINVAL)

    def check(found: SemaphoreSet) -> None:
        if nsems > len(found.semaphores):
            raise LinuxError(EINVAL)

    return namespace.sem.obtain(
        task.cred, key, semflg, lambda: create(namespace, task, key, nsems, semflg), check
    )


@syscall(65)
def semop(task: Task, semid: Int, sops: Ptr, nsops: UInt) -> Result:
    """semop(2)."""
    return _operate(task, semid, sops, nsops, None)


@syscall(220)
def semtimedop(task: Task, semid: Int, sops: Ptr, nsops: UInt, timeout: InTimespec) -> Result:
    """semtimedop(2)."""
    if not timeout:
        return _operate(task, semid, sops, nsops, None)
    raw = task.mm.copy_in(timeout, 16)
    return _operate(task, semid, sops, nsops, raw)


def _operate(task: Task, semid: int, addr: int, count: int, timeout: bytes | None) -> Result:
    namespace = ipc_tables(task)
    if count > namespace.limits.sem_ctlopm:
        raise LinuxError(E2BIG)
    if count < 1:
        raise LinuxError(EINVAL)
    operations = list(SEMBUF.iter_unpack(task.mm.copy_in(addr, count * SEMBUF.size)))
    if semid < 0:
        raise LinuxError(EINVAL)
    deadline = None
    if timeout is not None:
        seconds, nanoseconds = (
            int.from_bytes(timeout[:8], "little", signed=True),
            int.from_bytes(timeout[8:], "little", signed=True),
        )
        if seconds < 0 or not 0 <= nanoseconds < 1_000_000_000:
            raise LinuxError(EINVAL)
        deadline = monotonic_ns() + seconds * 1_000_000_000 + nanoseconds
    found = namespace.sem.get(semid)
    if max(number for number, _change, _flags in operations) >= len(found.semaphores):
        raise LinuxError(EFBIG)
    undo = undo_list(task) if any(flags & SEM_UNDO for _number, _change, flags in operations) else None
    sleeper = Sleeper(operations, undo, process_of(task))
    if not found.permitted(task.cred, WRITE if sleeper.alters else READ):
        raise LinuxError(EACCES)
    if found.perform(sleeper):
        if sleeper.alters:
            found.changed()
        found.otime = now()
        return 0
    return _sleep(task, found, sleeper, deadline)


async def _sleep(task: Task, found: SemaphoreSet, sleeper: Sleeper, deadline: int | None) -> int:
    """Wait until somebody has done the operations, or they can't be done any more."""
    found.sleepers.append(sleeper)
    try:
        while sleeper.status is None:
            if not await task.wait(sleeper.queue, deadline=deadline) and sleeper.status is None:
                raise LinuxError(EAGAIN)
    except Interrupted:
        # What was done before the signal came counts; the call is never made again.
        if sleeper.status is None:
            raise LinuxError(EINTR) from None
    finally:
        if sleeper in found.sleepers:
            found.sleepers.remove(sleeper)
    if sleeper.status:
        raise LinuxError(sleeper.status)
    return 0


@syscall(66)
def semctl(task: Task, semid: Int, semnum: Int, cmd: Int, arg: Ptr) -> int:
    """semctl(2)."""
    if semid < 0:
        raise LinuxError(EINVAL)
    namespace = ipc_tables(task)
    mm = task.mm
    if cmd in (IPC_INFO, SEM_INFO):
        mm.copy_out(arg, _info(namespace, cmd == SEM_INFO))
        return namespace.sem.max_index()
    if cmd in (IPC_STAT, SEM_STAT, SEM_STAT_ANY):
        found = namespace.sem.get(semid) if cmd == IPC_STAT else namespace.sem.at(semid)
        if cmd != SEM_STAT_ANY:
            found.check(task.cred, READ)
        mm.copy_out(arg, found.pack())
        return 0 if cmd == IPC_STAT else found.ident
    if cmd == SETVAL:
        value = (arg & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
        if not 0 <= value <= SEMVMX:
            raise LinuxError(ERANGE)
        found = namespace.sem.get(semid)
        if not 0 <= semnum < len(found.semaphores):
            raise LinuxError(EINVAL)
        found.check(task.cred, WRITE)
        found.set_values({semnum: value}, process_of(task))
        return 0
    if cmd in (IPC_SET, IPC_RMID):
        given = mm.copy_in(arg, IPC_PERM.size + SEMID_DS.size) if cmd == IPC_SET else b""
        found = namespace.sem.get(semid)
        found.check_owner(task.cred)
        if cmd == IPC_SET:
            found.set_perm(given)
            found.ctime = now()
        else:
            found.remove()
        return 0
    if cmd not in (GETALL, SETALL, GETVAL, GETPID, GETNCNT, GETZCNT):
        raise LinuxError(EINVAL)
    found = namespace.sem.get(semid)
    found.check(task.cred, WRITE if cmd == SETALL else READ)
    if cmd == GETALL:
        values = [semaphore.value for semaphore in found.semaphores]
        mm.copy_out(arg, pack(f"<{len(values)}H", *values))
        return 0
    if cmd == SETALL:
        raw = mm.copy_in(arg, 2 * len(found.semaphores))
        new = {number: value for number, (value,) in enumerate(iter_unpack("<H", raw))}
        if max(new.values()) > SEMVMX:
            raise LinuxError(ERANGE)
        found.set_values(new, process_of(task))
        return 0
    if not 0 <= semnum < len(found.semaphores):
        raise LinuxError(EINVAL)
    if cmd == GETVAL:
        return found.semaphores[semnum].value
    if cmd == GETPID:
        return shown_pid(task, found.semaphores[semnum].pid)
    return found.waiting(semnum, cmd == GETZCNT)


def _info(namespace: IpcTables, usage: bool) -> bytes:
    """struct seminfo: limits, and with SEM_INFO what is in use."""
    limits = namespace.limits
    return SEMINFO.pack(
        limits.sem_ctlmns, limits.sem_ctlmni, limits.sem_ctlmns, limits.sem_ctlmns, limits.sem_ctlmsl,
        limits.sem_ctlopm, limits.sem_ctlopm,
        len(namespace.sem) if usage else _SEMUSZ, SEMVMX,
        namespace.sem_count if usage else _SEMAEM,
    )  # fmt: skip
