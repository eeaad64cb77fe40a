"""shmget(2), shmat(2), shmdt(2), shmctl(2) (ipc/shm.c)."""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOMEM, EPERM

from runsc.abi.ipc import (
    IPC_INFO,
    IPC_PERM,
    IPC_RMID,
    IPC_SET,
    IPC_STAT,
    SHM_EXEC,
    SHM_INFO,
    SHM_INFO_STRUCT,
    SHM_LOCK,
    SHM_LOCKED,
    SHM_RDONLY,
    SHM_REMAP,
    SHM_RND,
    SHM_STAT,
    SHM_STAT_ANY,
    SHM_UNLOCK,
    SHMID_DS,
    SHMINFO,
)
from runsc.kernel.errors import LinuxError
from runsc.kernel.ipc.ids import READ, now, process_of
from runsc.kernel.ipc.namespace import ipc_tables
from runsc.kernel.ipc.shm import SegmentFile, SharedMemorySegment, check_lock, create, note_exit
from runsc.kernel.mm.vma import MAP_SHARED, PAGE, PROT_EXEC, PROT_READ, PROT_WRITE
from runsc.kernel.syscalls.decl import Hex, Int, Ptr, Size, syscall
from runsc.kernel.thread_group import RLIMIT_AS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

_WRITE = 0o222
_EXECUTE = 0o111


@syscall(29)
def shmget(task: Task, key: Int, size: Size, shmflg: Hex) -> int:
    """shmget(2)."""
    namespace = ipc_tables(task)

    def check(segment: SharedMemorySegment) -> None:
        if segment.size < size:
            raise LinuxError(EINVAL)

    return namespace.shm.obtain(
        task.cred, key, shmflg, lambda: create(namespace, task, key, size, shmflg), check
    )


@syscall(30)
def shmat(task: Task, shmid: Int, addr: Ptr, shmflg: Hex) -> int:
    """shmat(2): the address of the attachment."""
    if shmid < 0:
        raise LinuxError(EINVAL)
    fixed = bool(addr)
    if addr & (PAGE - 1):
        if not shmflg & SHM_RND:
            raise LinuxError(EINVAL)
        addr &= ~(PAGE - 1)
        if not addr and shmflg & SHM_REMAP:
            raise LinuxError(EINVAL)
    if not fixed and shmflg & SHM_REMAP:
        raise LinuxError(EINVAL)
    prot, access = PROT_READ, READ
    if not shmflg & SHM_RDONLY:
        prot |= PROT_WRITE
        access |= _WRITE
    if shmflg & SHM_EXEC:
        prot |= PROT_EXEC
        access |= _EXECUTE
    segment = ipc_tables(task).shm.get(shmid)
    if not segment.permitted(task.cred, access):
        raise LinuxError(EACCES)
    mm = task.mm
    length = segment.pages() * PAGE
    if addr:
        if addr + segment.size >= 1 << 64:
            raise LinuxError(EINVAL)
        if not shmflg & SHM_REMAP and mm.vmas.overlapping(addr, addr + segment.size):
            raise LinuxError(EINVAL)
    mm.check_limits(length // PAGE, task.limit(RLIMIT_AS))
    if fixed:
        if addr + length > mm.space.task_size:
            raise LinuxError(ENOMEM)
        if addr < mm.space.min_address:
            raise LinuxError(EPERM)
    else:
        addr = mm.place(0, length)
    hooks = task.kernel.exit_hooks
    if note_exit not in hooks:
        hooks.append(note_exit)
    file = segment.open(bool(prot & PROT_WRITE))
    try:
        mm.map(addr, length, prot, MAP_SHARED, file, 0)
    except (LinuxError, OSError):
        file.release()
        raise
    file.pid = segment.lpid = process_of(task)
    return addr


@syscall(67)
def shmdt(task: Task, addr: Ptr) -> int:
    """shmdt(2): take away the attachment that was made at ``addr``, and whatever is left of it."""
    mm = task.mm
    if addr & (PAGE - 1):
        raise LinuxError(EINVAL)
    segment: SharedMemorySegment | None = None
    end = mm.space.task_size
    for vma in mm.vmas.overlapping(addr, end):
        file = vma.file
        if vma.start >= end:
            break
        if not isinstance(file, SegmentFile) or vma.start - addr != vma.offset:
            continue
        if segment is None:
            segment = file.segment
            end = addr + segment.pages() * PAGE
        elif file.segment is not segment:
            continue
        file.pid = process_of(task)
        mm.unmap(vma.start, vma.end - vma.start)
    if segment is None:
        raise LinuxError(EINVAL)
    return 0


@syscall(31)
def shmctl(task: Task, shmid: Int, cmd: Int, buf: Ptr) -> int:
    """shmctl(2)."""
    if cmd < 0 or shmid < 0:
        raise LinuxError(EINVAL)
    namespace = ipc_tables(task)
    if cmd == IPC_INFO:
        limits = namespace.limits
        # SHMSEG is SHMMNI: there is no limit of its own.
        task.mm.copy_out(
            buf,
            SHMINFO.pack(limits.shm_ctlmax, 1, limits.shm_ctlmni, limits.shm_ctlmni, limits.shm_ctlall),
        )
        return namespace.shm.max_index()
    if cmd == SHM_INFO:
        resident = sum(segment.resident() for segment in namespace.shm)
        data = SHM_INFO_STRUCT.pack(len(namespace.shm), namespace.shm_pages, resident, 0, 0, 0)
        task.mm.copy_out(buf, data)
        return namespace.shm.max_index()
    if cmd in (IPC_STAT, SHM_STAT, SHM_STAT_ANY):
        segment = namespace.shm.get(shmid) if cmd == IPC_STAT else namespace.shm.at(shmid)
        if cmd != SHM_STAT_ANY:
            segment.check(task.cred, READ)
        task.mm.copy_out(buf, segment.pack(task))
        return 0 if cmd == IPC_STAT else segment.ident
    if cmd in (IPC_SET, IPC_RMID):
        given = task.mm.copy_in(buf, IPC_PERM.size + SHMID_DS.size) if cmd == IPC_SET else b""
        segment = namespace.shm.get(shmid)
        segment.check_owner(task.cred)
        if cmd == IPC_SET:
            segment.set_perm(given)
            segment.ctime = now()
        else:
            segment.remove()
        return 0
    if cmd in (SHM_LOCK, SHM_UNLOCK):
        segment = namespace.shm.get(shmid)
        check_lock(segment, task, cmd == SHM_LOCK)
        if cmd == SHM_LOCK:
            segment.mode |= SHM_LOCKED
        else:
            segment.mode &= ~SHM_LOCKED
        return 0
    raise LinuxError(EINVAL)
