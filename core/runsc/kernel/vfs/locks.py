"""File locks: byte ranges of a process (POSIX) or an open file (OFD), and whole files (flock) (fs/locks.c).

All locks of a file hang on its inode, in ``extra["locks"]``, as long as there are any or somebody waits. A
range lock's owner is the descriptor table of a process, or the open file; the file of flock(2) is its owner.
"""

from __future__ import annotations

from runsc.abi.fcntl import F_UNLCK, F_WRLCK, LOCK_EX
from runsc.kernel.vfs.leases import release_leases
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.kernel.vfs.fdtable import FdTable
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import Inode

#: The last byte of a range without an end (OFFSET_MAX).
OFFSET_MAX = 0x7FFFFFFFFFFFFFFF


class RangeLock:
    """``[start, end]``, both included. ``kind``: F_RDLCK or F_WRLCK; ``pid``: what F_GETLK tells (-1: an open
    file's)."""

    __slots__ = ("end", "kind", "owner", "pid", "start")

    def __init__(self, owner: object, kind: int, start: int, end: int, pid: int) -> None:
        self.owner = owner
        self.kind = kind
        self.start = start
        self.end = end
        self.pid = pid


class FileLocks:
    """The locks of one inode. ``queue`` is woken when one is given up or weakened."""

    __slots__ = ("flocks", "queue", "ranges")

    def __init__(self) -> None:
        self.ranges: list[RangeLock] = []
        self.flocks: dict[File, int] = {}
        self.queue = WaitQueue()

    # -- ranges -------------------------------------------------------------------------------

    def conflict(self, owner: object, kind: int, start: int, end: int) -> RangeLock | None:
        """A lock of somebody else that stands in the way of ``kind`` on ``[start, end]``."""
        for lock in self.ranges:
            if (
                lock.owner is not owner
                and lock.start <= end
                and start <= lock.end
                and (kind == F_WRLCK or lock.kind == F_WRLCK)
            ):
                return lock
        return None

    def apply(self, owner: object, kind: int, start: int, end: int, pid: int) -> None:
        """Make ``[start, end]`` of ``owner``'s be ``kind`` (F_UNLCK: not locked); nobody is in the way.

        Older locks of the owner are cut or split, equal ones that touch are joined (posix_lock_inode).
        """
        before: list[RangeLock] = []
        kept: list[RangeLock] = []
        after: list[RangeLock] = []
        weakened = met = False
        for lock in self.ranges:
            if lock.owner is not owner:
                # An owner's locks stand together, owners in the order of their first: F_GETLK tells the first
                # that is in the way.
                (after if met else before).append(lock)
                continue
            met = True
            if lock.kind == kind and lock.start <= end + 1 and start <= lock.end + 1:
                start = min(start, lock.start)
                end = max(end, lock.end)
            elif lock.start > end or lock.end < start:
                kept.append(lock)
            else:
                weakened = True
                if lock.start < start:
                    kept.append(RangeLock(owner, lock.kind, lock.start, start - 1, lock.pid))
                if lock.end > end:
                    kept.append(RangeLock(owner, lock.kind, end + 1, lock.end, lock.pid))
        if kind != F_UNLCK:
            kept.append(RangeLock(owner, kind, start, end, pid))
            kept.sort(key=_start)
        self.ranges = before + kept + after
        if weakened:
            self.queue.wake()

    def drop_owner(self, owner: object) -> None:
        """Give up every range of ``owner``'s."""
        kept = [lock for lock in self.ranges if lock.owner is not owner]
        if len(kept) != len(self.ranges):
            self.ranges = kept
            self.queue.wake()

    # -- whole files --------------------------------------------------------------------------

    def try_flock(self, file: File, kind: int) -> bool:
        """flock(2) ``LOCK_SH`` or ``LOCK_EX``. A conversion gives the old lock up first, and does not get it
        back if the new one can't be had."""
        held = self.flocks.get(file)
        if held == kind:
            return True
        if held is not None:
            self.drop_flock(file)
        for other, other_kind in self.flocks.items():
            if other is not file and LOCK_EX in (kind, other_kind):
                return False
        self.flocks[file] = kind
        return True

    def drop_flock(self, file: File) -> None:
        if self.flocks.pop(file, None) is not None:
            self.queue.wake()

    def idle(self) -> bool:
        return not self.ranges and not self.flocks and not self.queue.entries


def _start(lock: RangeLock) -> int:
    return lock.start


def locks_of(inode: Inode) -> FileLocks:
    """The locks of ``inode``."""
    extra = inode.extra
    if extra is None:
        extra = inode.extra = {}
    locks: FileLocks | None = extra.get("locks")
    if locks is None:
        locks = extra["locks"] = FileLocks()
    return locks


def forget_if_idle(inode: Inode) -> None:
    """Let an inode without locks be as small as before."""
    if inode.extra is not None:
        locks: FileLocks | None = inode.extra.get("locks")
        if locks is not None and locks.idle():
            del inode.extra["locks"]


def release_process_locks(file: File, files: FdTable) -> None:
    """A descriptor of ``file`` in ``files`` was closed: all POSIX locks of that table on the inode are gone,
    by
    whatever descriptor they were made (fcntl(2))."""
    extra = file.inode.extra
    locks: FileLocks | None = extra.get("locks") if extra is not None else None
    if locks is not None:
        locks.drop_owner(files)
        forget_if_idle(file.inode)


def release_file_locks(file: File) -> None:
    """An open file is no more: its own locks (OFD, flock) and its lease go."""
    extra = file.inode.extra
    locks: FileLocks | None = extra.get("locks") if extra is not None else None
    if locks is not None:
        locks.drop_owner(file)
        locks.drop_flock(file)
        forget_if_idle(file.inode)
    release_leases(file)


class LockWaits:
    """Who waits for whose range lock, to find deadlocks (posix_locks_deadlock). Only processes are looked at:
    what waits for an open file's lock can't be told to be stuck."""

    __slots__ = ("edges",)

    def __init__(self) -> None:
        self.edges: list[tuple[object, object]] = []

    def would_deadlock(self, waiter: object, holder: object) -> bool:
        """Does ``holder`` wait, perhaps through others, for ``waiter``?"""
        seen: set[int] = set()
        pending = [holder]
        while pending:
            owner = pending.pop()
            if owner is waiter:
                return True
            if id(owner) in seen:
                continue
            seen.add(id(owner))
            pending.extend(blocker for blocked, blocker in self.edges if blocked is owner)
        return False

    def add(self, waiter: object, holder: object) -> None:
        self.edges.append((waiter, holder))

    def remove(self, waiter: object, holder: object) -> None:
        for index, edge in enumerate(self.edges):
            if edge[0] is waiter and edge[1] is holder:
                del self.edges[index]
                return


def lock_waits(extra: dict[str, Any]) -> LockWaits:
    """The waits of one kernel (``kernel.extra``)."""
    waits: LockWaits | None = extra.get("lock_waits")
    if waits is None:
        waits = extra["lock_waits"] = LockWaits()
    return waits
