"""flock(2), and the lock commands of fcntl(2) (fs/locks.c)."""

from __future__ import annotations

from errno import EAGAIN, EBADF, EDEADLK, EINVAL, EOVERFLOW
from struct import Struct

from runsc.abi.fcntl import (
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_RDLCK,
    F_SETLKW,
    F_UNLCK,
    F_WRLCK,
    LOCK_EX,
    LOCK_NB,
    LOCK_SH,
    LOCK_UN,
)
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import Fd, FlockOp, syscall
from runsc.kernel.vfs.file import SEEK_CUR, SEEK_END, SEEK_SET
from runsc.kernel.vfs.locks import OFFSET_MAX, FileLocks, forget_if_idle, lock_waits, locks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

#: struct flock: type, whence, start, len, pid.
FLOCK = Struct("<hh4xqqi4x")

_LOCK_MAND = 32
_OFD = (F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW)


@syscall(73)
def flock(task: Task, fd: Fd, operation: FlockOp) -> Result:
    """flock(2)."""
    kind = operation & ~LOCK_NB
    if kind & _LOCK_MAND:
        task.files.get(fd)
        return 0  # mandatory locks are gone since Linux 5.15; the request is taken and ignored
    if kind not in (LOCK_SH, LOCK_EX, LOCK_UN):
        raise LinuxError(EINVAL)
    file = task.files.get(fd)
    if kind != LOCK_UN and not file.readable() and not file.writable():
        raise LinuxError(EBADF)
    locks = locks_of(file.inode)
    if kind == LOCK_UN:
        locks.drop_flock(file)
        forget_if_idle(file.inode)
        return 0
    if locks.try_flock(file, kind):
        return 0
    if operation & LOCK_NB:
        raise LinuxError(EAGAIN)
    return _wait_flock(task, file, locks, kind)


async def _wait_flock(task: Task, file: File, locks: FileLocks, kind: int) -> int:
    file.get()
    try:
        while True:
            await task.wait(locks.queue)
            if locks_of(file.inode).try_flock(file, kind):
                return 0
    finally:
        file.put()
        forget_if_idle(file.inode)


# -- fcntl(2) -----------------------------------------------------------------------------------


def _range(file: File, whence: int, start: int, length: int) -> tuple[int, int]:
    """First and last byte (flock64_to_posix_lock); raises EINVAL, EOVERFLOW."""
    if whence == SEEK_SET:
        base = 0
    elif whence == SEEK_CUR:
        base = file.pos
    elif whence == SEEK_END:
        file.inode.refresh()
        base = file.inode.size
    else:
        raise LinuxError(EINVAL)
    if start > OFFSET_MAX - base:
        raise LinuxError(EOVERFLOW)
    start += base
    if start < 0:
        raise LinuxError(EINVAL)
    if length > 0:
        if length - 1 > OFFSET_MAX - start:
            raise LinuxError(EOVERFLOW)
        return start, start + length - 1
    if length < 0:
        if start + length < 0:
            raise LinuxError(EINVAL)
        return start + length, start - 1
    return start, OFFSET_MAX


def get_lock(task: Task, file: File, command: int, addr: int) -> int:
    """F_GETLK, F_OFD_GETLK: who would be in the way?"""
    raw = task.mm.copy_in(addr, FLOCK.size)
    kind, whence, start, length, pid = FLOCK.unpack(raw)
    if kind not in (F_RDLCK, F_WRLCK) and not (command == F_OFD_GETLK and kind == F_UNLCK):
        raise LinuxError(EINVAL)
    first, last = _range(file, whence, start, length)
    owner: object = task.files
    if command == F_OFD_GETLK:
        if pid:
            raise LinuxError(EINVAL)
        owner = file
    locks = locks_of(file.inode)
    found = locks.conflict(owner, kind, first, last)
    forget_if_idle(file.inode)
    if found is None:
        task.mm.copy_out(addr, F_UNLCK.to_bytes(2, "little") + raw[2:])
    else:
        span = 0 if found.end == OFFSET_MAX else found.end - found.start + 1
        task.mm.copy_out(addr, FLOCK.pack(found.kind, SEEK_SET, found.start, span, _shown(task, found.pid)))
    return 0


def _shown(task: Task, holder: int) -> int:
    """The id of a lock's holder as ``task`` is told it (locks_translate_pid); -1 for an open file's."""
    if holder <= 0 or not task.pid_ns.level:
        return holder
    pid = task.kernel.pid_ns.pids.get(holder)
    return pid.nr(task.pid_ns) if pid is not None else 0


def set_lock(task: Task, fd: int, file: File, command: int, addr: int) -> Result:
    """F_SETLK, F_SETLKW and the same of open files."""
    kind, whence, start, length, pid = task.mm.unpack(addr, FLOCK)
    first, last = _range(file, whence, start, length)
    if kind not in (F_RDLCK, F_WRLCK, F_UNLCK):
        raise LinuxError(EINVAL)
    if (kind == F_RDLCK and not file.readable()) or (kind == F_WRLCK and not file.writable()):
        raise LinuxError(EBADF)
    owner: object = task.files
    holder = task.group.tgid
    if command in _OFD:
        if pid:
            raise LinuxError(EINVAL)
        owner, holder = file, -1
    locks = locks_of(file.inode)
    if kind == F_UNLCK or locks.conflict(owner, kind, first, last) is None:
        locks.apply(owner, kind, first, last, holder)
        forget_if_idle(file.inode)
        return 0
    if command not in (F_SETLKW, F_OFD_SETLKW):
        raise LinuxError(EAGAIN)
    return _wait_lock(task, fd, file, owner, (kind, first, last, holder))


async def _wait_lock(
    task: Task, fd: int, file: File, owner: object, wanted: tuple[int, int, int, int]
) -> int:
    """Sleep until nobody is in the way; EDEADLK if those in the way wait for us."""
    kind, first, last, holder = wanted
    waits = lock_waits(task.kernel.extra)
    file.get()
    try:
        while True:
            locks = locks_of(file.inode)
            found = locks.conflict(owner, kind, first, last)
            if found is None:
                if owner is task.files and task.files.files.get(fd) is not file:
                    # Another thread has closed the descriptor meanwhile: the lock must not outlive it.
                    raise LinuxError(EBADF)
                locks.apply(owner, kind, first, last, holder)
                return 0
            blocker = found.owner
            if owner is not file:
                if waits.would_deadlock(owner, blocker):
                    raise LinuxError(EDEADLK)
                waits.add(owner, blocker)
            try:
                await task.wait(locks.queue)
            finally:
                if owner is not file:
                    waits.remove(owner, blocker)
    finally:
        file.put()
        forget_if_idle(file.inode)
