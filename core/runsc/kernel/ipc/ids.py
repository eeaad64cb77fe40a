"""What the three kinds of System V IPC share: identifiers, keys, owners and permissions (ipc/util.c)."""

from __future__ import annotations

from errno import EACCES, EEXIST, EINVAL, ENOENT, ENOSPC, EPERM
from time import time

from runsc.abi.ipc import IPC_CREAT, IPC_EXCL, IPC_PERM, IPC_PRIVATE
from runsc.kernel.credentials import CAP_IPC_OWNER, CAP_SYS_ADMIN
from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Generic, TypeVar

    from runsc.kernel.credentials import Credentials
    from runsc.kernel.pid import Pid
    from runsc.kernel.task import Task

    T = TypeVar("T", bound="IpcObject")

    class _OfKind(Generic[T]):
        pass

else:

    class _OfKind:
        """Stands for typing.Generic, which costs time to import."""

        __slots__ = ()

        def __class_getitem__(cls, kind):
            return cls

    T = None

#: An identifier is an index of this many bits and, above it, a sequence number (IPCMNI_SHIFT).
INDEX_BITS = 15
_INDEX_MASK = (1 << INDEX_BITS) - 1
_SEQ_MAX = 0x7FFFFFFF >> INDEX_BITS
#: The smallest cycle in which indices are given (ipc_min_cycle).
_MIN_CYCLE = 64

#: What a user must be allowed to do, as permission bits.
READ = 0o444
WRITE = 0o222


def now() -> int:
    """The wall clock in seconds, as the structures hold it."""
    return int(time())


def shown_pid(task: Task, pid: Pid | None) -> int:
    """The process that an object remembers, as ``task`` is to see it; 0 for none, or one it can't see."""
    return 0 if pid is None else pid.nr(task.pid_ns)


def process_of(task: Task) -> Pid:
    """What to remember of a process."""
    return task.group.leader.pid


class IpcObject:
    """One segment, set or queue: who made it, who owns it, and its identifier (struct kern_ipc_perm)."""

    __slots__ = ("cgid", "ctime", "cuid", "deleted", "gid", "ident", "key", "mode", "seq", "uid")

    def __init__(self, key: int, mode: int, cred: Credentials) -> None:
        self.key = key
        self.mode = mode & 0o777
        self.uid = self.cuid = cred.euid
        self.gid = self.cgid = cred.egid
        self.ident = -1
        self.seq = 0
        self.ctime = now()
        #: removed: those who wait on it find out
        self.deleted = False

    def permitted(self, cred: Credentials, flags: int) -> bool:
        """Do the mode bits or CAP_IPC_OWNER give what ``flags`` asks for (ipcperms)?"""
        wanted = flags >> 6 | flags >> 3 | flags
        granted = self.mode
        if cred.euid in (self.cuid, self.uid):
            granted >>= 6
        elif cred.in_group(self.cgid) or cred.in_group(self.gid):
            granted >>= 3
        return not wanted & ~granted & 7 or cred.capable(CAP_IPC_OWNER)

    def check(self, cred: Credentials, flags: int) -> None:
        """Raise EACCES unless ``permitted``."""
        if not self.permitted(cred, flags):
            raise LinuxError(EACCES)

    def check_owner(self, cred: Credentials) -> None:
        """Raise EPERM unless it is the caller's to change or to remove (ipcctl_obtain_check)."""
        if cred.euid not in (self.cuid, self.uid) and not cred.capable(CAP_SYS_ADMIN):
            raise LinuxError(EPERM)

    def pack_perm(self) -> bytes:
        return IPC_PERM.pack(self.key, self.uid, self.gid, self.cuid, self.cgid, self.mode, self.seq)

    def set_perm(self, data: bytes) -> None:
        """Owner and mode from the guest's ``ipc64_perm`` (ipc_update_perm); raises EINVAL."""
        _key, uid, gid, _cuid, _cgid, mode, _seq = IPC_PERM.unpack_from(data)
        if 0xFFFFFFFF in (uid, gid):
            raise LinuxError(EINVAL)
        self.uid, self.gid = uid, gid
        self.mode = self.mode & ~0o777 | mode & 0o777


class IpcIds(_OfKind[T]):
    """The objects of one kind in a namespace, by index and by key."""

    __slots__ = ("by_index", "by_key", "last_index", "next_index", "seq")

    def __init__(self) -> None:
        self.by_index: dict[int, T] = {}
        self.by_key: dict[int, T] = {}
        self.last_index = -1
        self.next_index = 0
        self.seq = 0

    def __iter__(self) -> Iterator[T]:
        """In the order of the indices."""
        return iter([self.by_index[index] for index in sorted(self.by_index)])

    def __len__(self) -> int:
        return len(self.by_index)

    def max_index(self) -> int:
        """The highest index in use, 0 if there is none (ipc_get_maxidx, as *_INFO answer it)."""
        return max(self.by_index, default=0)

    def add(self, item: T, limit: int) -> int:
        """Give a new object its identifier (ipc_addid); raises ENOSPC when there are ``limit`` already."""
        if len(self.by_index) >= limit:
            raise LinuxError(ENOSPC)
        cycle = min(max(len(self.by_index) * 3 // 2, _MIN_CYCLE), 1 << INDEX_BITS)
        index = self._free_index(self.next_index, cycle)
        self.next_index = index + 1
        if index <= self.last_index:
            self.seq += 1
            if self.seq >= _SEQ_MAX:
                self.seq = 0
        self.last_index = index
        item.seq = self.seq
        item.ident = self.seq << INDEX_BITS | index
        self.by_index[index] = item
        if item.key != IPC_PRIVATE:
            self.by_key[item.key] = item
        return item.ident

    def _free_index(self, start: int, end: int) -> int:
        """The first free index from ``start`` on, else from 0 (idr_alloc_cyclic)."""
        for index in range(start, end):
            if index not in self.by_index:
                return index
        for index in range(end):
            if index not in self.by_index:
                return index
        raise LinuxError(ENOSPC)

    def forget_key(self, item: T) -> None:
        """The object can't be found by its key any more."""
        if self.by_key.get(item.key) is item:
            del self.by_key[item.key]
        item.key = IPC_PRIVATE

    def remove(self, item: T) -> None:
        """Take an object out (ipc_rmid)."""
        if self.by_key.get(item.key) is item:
            del self.by_key[item.key]
        self.by_index.pop(item.ident & _INDEX_MASK, None)
        item.deleted = True

    def get(self, ident: int) -> T:
        """The object of an identifier; raises EINVAL."""
        item = self.by_index.get(ident & _INDEX_MASK) if ident >= 0 else None
        if item is None or item.ident != ident:
            raise LinuxError(EINVAL)
        return item

    def at(self, index: int) -> T:
        """The object at an index (*_STAT); raises EINVAL."""
        item = self.by_index.get(index & _INDEX_MASK)
        if item is None:
            raise LinuxError(EINVAL)
        return item

    def obtain(
        self, cred: Credentials, key: int, flags: int, make: Callable[[], int], check: Callable[[T], None]
    ) -> int:
        """The identifier for a key: of what is there, or of what ``make`` makes (ipcget).

        ``check`` raises EINVAL for what is there and doesn't suit."""
        if key == IPC_PRIVATE:
            return make()
        item = self.by_key.get(key)
        if item is None:
            if not flags & IPC_CREAT:
                raise LinuxError(ENOENT)
            return make()
        if flags & IPC_CREAT and flags & IPC_EXCL:
            raise LinuxError(EEXIST)
        check(item)
        item.check(cred, flags)
        return item.ident
