"""System V shared memory: segments and their attachments (ipc/shm.c).

The bytes of a segment are a file of the kernel's own tmpfs, which is kept as a memfd once it is attached.
Each attachment is a mapping of a ``SegmentFile``; areas count, so that what mmap, fork, exec and exit do to
areas keeps ``nattch`` right.
"""

from __future__ import annotations

from errno import EINVAL, ENOMEM, ENOSPC, EPERM
from stat import S_IFREG

from runsc.abi.fcntl import O_RDONLY, O_RDWR
from runsc.abi.ipc import SHM_DEST, SHM_HUGETLB, SHM_LOCKED, SHM_NORESERVE, SHMID_DS
from runsc.kernel.credentials import CAP_IPC_LOCK
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.memfd import memfd_fs
from runsc.kernel.fs.tmpfs import BOGO_INODE_SIZE, TmpfsFile, TmpfsRegularFile
from runsc.kernel.ipc.ids import IpcObject, now, process_of, shown_pid
from runsc.kernel.mm.overcommit import may_promise
from runsc.kernel.thread_group import RLIMIT_MEMLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.ipc.namespace import IpcTables
    from runsc.kernel.pid import Pid
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

PAGE = 4096


class SharedMemorySegment(IpcObject):
    """A segment (struct shmid_kernel). ``size``: bytes as asked for; ``nattch``: areas that show it;
    ``cpid``, ``lpid``: processes that made it and that used it last; times are in seconds."""

    __slots__ = (
        "atime", "cpid", "dtime", "inode", "lpid", "namespace", "nattch", "size",
    )  # fmt: skip

    def __init__(self, namespace: IpcTables, task: Task, key: int, size: int, mode: int) -> None:
        super().__init__(key, mode, task.cred)
        self.namespace = namespace
        self.size = size
        self.nattch = 0
        self.atime = self.dtime = 0
        self.cpid: Pid | None = process_of(task)
        self.lpid: Pid | None = None
        fs = memfd_fs(namespace.kernel)
        fs.charge_inode(BOGO_INODE_SIZE)
        self.inode = TmpfsFile(fs, S_IFREG | self.mode, task.cred.fsuid, task.cred.fsgid)
        self.inode.nlink = 0
        self.inode.truncate((size + PAGE - 1) & -PAGE)
        self.inode.size = size

    def pages(self) -> int:
        return (self.size + PAGE - 1) // PAGE

    def open(self, writable: bool) -> SegmentFile:
        """A file to map."""
        return SegmentFile(self, O_RDWR if writable else O_RDONLY)

    def attached(self) -> None:
        """One area more shows it (shm_open)."""
        self.nattch += 1
        self.atime = now()

    def detached(self) -> None:
        """One area less; the last one takes a segment that was removed with it (shm_close)."""
        self.nattch -= 1
        self.dtime = now()
        if not self.nattch and (self.mode & SHM_DEST or self.namespace.limits.shm_rmid_forced):
            self.destroy()

    def remove(self) -> None:
        """IPC_RMID: at once, or when the last attachment is gone (do_shm_rmid)."""
        if self.nattch:
            self.mode |= SHM_DEST
            self.namespace.shm.forget_key(self)
        else:
            self.destroy()

    def destroy(self) -> None:
        if self.deleted:
            return
        self.namespace.shm.remove(self)
        self.namespace.shm_pages -= self.pages()

    def pack(self, task: Task) -> bytes:
        """struct shmid64_ds."""
        return self.pack_perm() + SHMID_DS.pack(
            self.size, self.atime, self.dtime, self.ctime, shown_pid(task, self.cpid),
            shown_pid(task, self.lpid), self.nattch,
        )  # fmt: skip

    def resident(self) -> int:
        """Pages that exist."""
        return self.inode.pages()


class SegmentFile(TmpfsRegularFile):
    """What an attachment maps; each reference is an area's."""

    __slots__ = ("pid", "segment")

    #: Areas of an attachment that were split stay so: each counts.
    joins = False

    def __init__(self, segment: SharedMemorySegment, flags: int) -> None:
        super().__init__(segment.inode, flags)
        self.segment = segment
        self.pid: Pid | None = None

    def get(self) -> File:
        self.segment.attached()
        return super().get()

    def put(self) -> None:
        super().put()
        if self.pid is not None:
            self.segment.lpid = self.pid
        self.segment.detached()

    def describe(self) -> str:
        return f"/SYSV{self.segment.key & 0xFFFFFFFF:08x} (deleted)"


def note_exit(task: Task) -> None:
    """The process that ends is the last that used its attachments."""
    if task.mm.users == 1:
        for vma in task.mm.vmas:
            if isinstance(vma.file, SegmentFile):
                vma.file.pid = process_of(task)


def create(namespace: IpcTables, task: Task, key: int, size: int, flags: int) -> int:
    """A new segment's identifier (newseg). Raises EINVAL, ENOSPC, ENOMEM, EPERM."""
    limits = namespace.limits
    if size < 1 or size > limits.shm_ctlmax:
        raise LinuxError(EINVAL)
    pages = (size + PAGE - 1) // PAGE
    if pages * PAGE >= 1 << 64 or namespace.shm_pages + pages > limits.shm_ctlall:
        raise LinuxError(ENOSPC)
    if flags & SHM_HUGETLB:
        # There are no huge pages in the pool; who may not ask for them is told so first.
        raise LinuxError(ENOMEM if task.cred.capable(CAP_IPC_LOCK) else EPERM)
    if size > 0x7FFFFFFFFFFFFFFF:
        raise LinuxError(EINVAL)
    if not flags & SHM_NORESERVE and not may_promise(namespace.kernel, pages):
        raise LinuxError(ENOMEM)
    segment = SharedMemorySegment(namespace, task, key, size, flags)
    ident = namespace.shm.add(segment, limits.shm_ctlmni)
    segment.inode.ino = ident
    namespace.shm_pages += pages
    return ident


def check_lock(segment: SharedMemorySegment, task: Task, lock: bool) -> None:
    """May ``task`` lock or unlock the segment (SHM_LOCK)? Raises EPERM, ENOMEM."""
    cred = task.cred
    if cred.capable(CAP_IPC_LOCK):
        return
    if cred.euid not in (segment.uid, segment.cuid):
        raise LinuxError(EPERM)
    if lock:
        limit = task.limit(RLIMIT_MEMLOCK)
        if not limit:
            raise LinuxError(EPERM)
        mine = sum(
            other.pages() for other in segment.namespace.shm
            if other.mode & SHM_LOCKED and cred.euid == other.cuid
        )  # fmt: skip
        if (mine + segment.pages()) * PAGE > limit:
            raise LinuxError(ENOMEM)
