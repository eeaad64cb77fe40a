"""Leases: who holds one is told when another opens or truncates the file, which waits until it is given up
(fcntl(2), fs/locks.c).

The leases of a file are in its inode's ``extra["leases"]``, as long as there are any.
"""

from __future__ import annotations

from errno import EACCES, EAGAIN, EINVAL
from time import monotonic_ns

from runsc.abi.fcntl import F_RDLCK, F_UNLCK, F_WRLCK, O_ACCMODE, O_NONBLOCK, O_RDONLY
from runsc.abi.signal import SI_KERNEL, SIGIO
from runsc.kernel.credentials import CAP_LEASE
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.tunables import tunables
from runsc.kernel.vfs.fasync import F_OWNER_PID, POLL_MSG, FileOwner, band_of
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import Inode


class Lease:
    """One lease of ``file``'s holder. ``target``: what it is to become while it is being broken, else the
    same as ``kind``."""

    __slots__ = ("fd", "file", "kind", "leases", "target")

    def __init__(self, leases: Leases, file: File, fd: int, kind: int) -> None:
        self.leases = leases
        self.file = file
        self.fd = fd
        self.kind = kind
        self.target = kind

    def tell(self) -> None:
        """Signal the file's owner that the lease is to be given up (send_sigio)."""
        owner, signo = self.file.owner, self.file.owner_signal
        if owner is None:
            return
        if signo:
            owner.send(SigInfo(signo, POLL_MSG, band=band_of(POLL_MSG), fd=self.fd))
        else:
            owner.send(SigInfo(SIGIO, SI_KERNEL))

    def expire(self) -> None:
        """The holder has had its time: the lease is taken from it."""
        if self in self.leases.held and self.target != self.kind:
            self.leases.change(self, self.target)


class Leases:
    """The leases of one inode; ``queue``: who waits for them to be given up."""

    __slots__ = ("held", "kernel", "queue")

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.held: list[Lease] = []
        self.queue = WaitQueue()

    def of(self, file: File) -> Lease | None:
        for lease in self.held:
            if lease.file is file:
                return lease
        return None

    def conflicting(self, writing: bool) -> list[Lease]:
        """Those in the way of an open (leases_conflict)."""
        return [lease for lease in self.held if writing or lease.kind == F_WRLCK]

    def begin_break(self, writing: bool) -> bool:
        """Tell the holders. True if there is something to wait for."""
        found = self.conflicting(writing)
        for lease in found:
            target = F_UNLCK if writing else F_RDLCK
            if lease.target == target or lease.target == F_UNLCK:
                continue
            if lease.target == lease.kind:
                grace = tunables(self.kernel).lease_break_time * 1_000_000_000
                self.kernel.timers.add(monotonic_ns() + grace, lease.expire)
            lease.target = target
            lease.tell()
        return bool(found)

    def change(self, lease: Lease, kind: int) -> None:
        """It is weakened, or (F_UNLCK) given up."""
        if kind == F_UNLCK:
            self.held.remove(lease)
            extra = lease.file.inode.extra
            if not self.held and extra is not None:
                extra.pop("leases", None)
            lease.file.owner = None
            lease.file.owner_signal = 0
        lease.kind = lease.target = kind
        self.queue.wake()


def leases_of(inode: Inode) -> Leases | None:
    return inode.extra.get("leases") if inode.extra is not None else None


def set_lease(task: Task, file: File, fd: int, kind: int, openers: Callable[[Inode], tuple[int, int]]) -> int:
    """F_SETLEASE. ``openers`` counts who has the inode open for reading only, and for writing.

    Raises EACCES, EINVAL, EAGAIN."""
    inode = file.inode
    found = leases_of(inode)
    lease = found.of(file) if found is not None else None
    if kind == F_UNLCK:
        if found is None or lease is None:
            raise LinuxError(EAGAIN)
        found.change(lease, F_UNLCK)
        return 0
    if task.cred.fsuid != inode.uid and not task.cred.capable(CAP_LEASE):
        raise LinuxError(EACCES)
    if not inode.is_reg() or kind not in (F_RDLCK, F_WRLCK):
        raise LinuxError(EINVAL)
    if not tunables(task.kernel).leases_enable:
        raise LinuxError(EINVAL)
    readers, writers = openers(inode)
    if kind == F_RDLCK:
        if writers:
            raise LinuxError(EAGAIN)
    else:
        own_writer = int(file.writable())
        if writers != own_writer or readers != int(not own_writer):
            raise LinuxError(EAGAIN)
    for other in found.held if found is not None else ():
        if other.file is not file and (kind == F_WRLCK or other.target == F_UNLCK):
            raise LinuxError(EAGAIN)
    if found is None:
        if inode.extra is None:
            inode.extra = {}
        found = inode.extra["leases"] = Leases(task.kernel)
    if lease is None:
        found.held.append(Lease(found, file, fd, kind))
        if file.owner is None:
            file.owner = FileOwner(F_OWNER_PID, task.group.leader.pid, task)
    else:
        lease.fd = fd
        found.change(lease, kind)
    return 0


def get_lease(file: File) -> int:
    """F_GETLEASE: what is held, or what it is to become while it is being broken."""
    found = leases_of(file.inode)
    lease = found.of(file) if found is not None else None
    return F_UNLCK if lease is None else lease.target


def release_leases(file: File) -> None:
    """An open file is no more: so is its lease."""
    found = leases_of(file.inode)
    lease = found.of(file) if found is not None else None
    if found is not None and lease is not None:
        found.change(lease, F_UNLCK)


class LeaseBreak:
    """An open that waits until leases are given up; ``queue``: where to wait before ``try_again``."""

    __slots__ = ("finish", "leases", "queue", "writing")

    def __init__(self, leases: Leases, writing: bool, finish: Callable[[], File]) -> None:
        self.leases = leases
        self.queue = leases.queue
        self.writing = writing
        self.finish = finish

    def try_again(self) -> File | None:
        """The file, if nothing is in the way any more."""
        return None if self.leases.begin_break(self.writing) else self.finish()

    def cancel(self) -> None:
        """The open is given up."""


def break_lease(inode: Inode, flags: int, finish: Callable[[], File]) -> LeaseBreak | None:
    """Before an open with ``flags``: what it has to wait for, if anything. Raises ``WOULD_BLOCK`` for
    O_NONBLOCK."""
    found = leases_of(inode)
    if found is None:
        return None
    writing = flags & O_ACCMODE != O_RDONLY
    if not found.begin_break(writing):
        return None
    if flags & O_NONBLOCK:
        raise WOULD_BLOCK
    return LeaseBreak(found, writing, finish)
