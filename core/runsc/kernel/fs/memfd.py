"""memfd_create(2): files in memory without a place in the tree, and their seals (mm/memfd.c)."""

from __future__ import annotations

from errno import EBUSY, EINVAL, EPERM
from stat import S_IFREG

from runsc.abi.fcntl import O_RDWR
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.regular import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
from runsc.kernel.fs.tmpfs import BOGO_INODE_SIZE, Tmpfs, TmpfsFile, TmpfsRegularFile
from runsc.kernel.mm.vma import PROT_WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import SetAttr

F_SEAL_SEAL = 0x01
F_SEAL_SHRINK = 0x02
F_SEAL_GROW = 0x04
F_SEAL_WRITE = 0x08
F_SEAL_FUTURE_WRITE = 0x10
F_SEAL_EXEC = 0x20
_ALL_SEALS = 0x3F

#: The device number of the kernel's own tmpfs, which no mount shows.
_DEV = 1


class MemfdInode(TmpfsFile):
    """``name``: what /proc shows behind ``memfd:``; ``seals``: F_SEAL_*."""

    __slots__ = ("name", "seals")

    def __init__(self, fs: Tmpfs, mode: int, uid: int, gid: int, name: bytes, seals: int) -> None:
        super().__init__(fs, mode, uid, gid)
        self.nlink = 0
        self.name = name
        self.seals = seals

    def open(self, path: Path | None, flags: int, task: Task) -> File:
        return MemfdFile(self, flags, path)

    def write_data(self, data: bytes, offset: int) -> int:
        """Raises EPERM where a seal forbids it (shmem_write_begin)."""
        if self.seals:
            if self.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
                raise LinuxError(EPERM)
            if self.seals & F_SEAL_GROW and offset + len(data) > self.size:
                # A write is made page by page, and the first that goes beyond the end fails.
                end = self.size & ~4095
                if offset >= end:
                    raise LinuxError(EPERM)
                data = data[: end - offset]
        return super().write_data(data, offset)

    def setattr(self, attr: SetAttr) -> None:
        if attr.size is not None:
            if (attr.size < self.size and self.seals & F_SEAL_SHRINK) or (
                attr.size > self.size and self.seals & F_SEAL_GROW
            ):
                raise LinuxError(EPERM)
        if attr.mode is not None and self.seals & F_SEAL_EXEC and (attr.mode ^ self.mode) & 0o111:
            raise LinuxError(EPERM)
        super().setattr(attr)

    def allocate_data(self, mode: int, offset: int, length: int) -> None:
        if mode & FALLOC_FL_PUNCH_HOLE:
            if self.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
                raise LinuxError(EPERM)
        elif self.seals & F_SEAL_GROW and offset + length > self.size:
            raise LinuxError(EPERM)
        super().allocate_data(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE), offset, length)


class MemfdFile(TmpfsRegularFile):
    """An open memfd."""

    __slots__ = ("memfd",)

    def __init__(self, inode: MemfdInode, flags: int, path: Path | None = None) -> None:
        super().__init__(inode, flags, path)
        self.memfd = inode

    def mmap_fd(self, prot: int, shared: bool) -> int:
        """A sealed file can't be mapped for writing (seal_check_write)."""
        sealed = bool(self.memfd.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        if shared and sealed and prot & PROT_WRITE:
            raise LinuxError(EPERM)
        return self.memfd.host_fd(shared and not sealed and self.writable())

    def write_sealed(self) -> bool:
        return bool(self.memfd.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))

    def add_seals(self, task: Task, seals: int) -> int:
        """F_ADD_SEALS. Raises EPERM, EINVAL; EBUSY for F_SEAL_WRITE while it is mapped for writing."""
        inode = self.memfd
        if not self.writable():
            raise LinuxError(EPERM)
        if seals & ~_ALL_SEALS:
            raise LinuxError(EINVAL)
        if inode.seals & F_SEAL_SEAL:
            raise LinuxError(EPERM)
        if seals & F_SEAL_EXEC and inode.mode & 0o111:
            # An executable file gets sealed against everything, or it could be changed and then run.
            seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
        if seals & F_SEAL_WRITE and not inode.seals & F_SEAL_WRITE and _mapped_writable(task.kernel, inode):
            raise LinuxError(EBUSY)
        inode.seals |= seals
        return 0

    def describe(self) -> str:
        return f"/memfd:{self.memfd.name.decode('utf-8', 'surrogateescape')} (deleted)"


def _mapped_writable(kernel: Kernel, inode: MemfdInode) -> bool:
    """Has any process a shared mapping of it that it may write, or make writable?"""
    seen: set[int] = set()
    for task in kernel.tasks.values():
        if id(task.mm) in seen:
            continue
        seen.add(id(task.mm))
        for vma in task.mm.vmas:
            if vma.shared and vma.file is not None and vma.file.inode is inode and vma.file.writable():
                return True
    return False


def memfd_fs(kernel: Kernel) -> Tmpfs:
    """The file system of all memfds of a kernel, which is mounted nowhere."""
    fs: Tmpfs | None = kernel.extra.get("memfd_fs")
    if fs is None:
        fs = kernel.extra["memfd_fs"] = Tmpfs(size=0, nr_inodes=0)
        fs.dev = _DEV
    return fs


def make_memfd(task: Task, name: bytes, sealable: bool, executable: bool) -> MemfdFile:
    """A new empty file, open for reading and writing."""
    fs = memfd_fs(task.kernel)
    fs.charge_inode(BOGO_INODE_SIZE)
    seals = 0 if sealable else F_SEAL_SEAL
    if not executable:
        seals = F_SEAL_EXEC
    mode = S_IFREG | (0o777 if executable else 0o666)
    return MemfdFile(MemfdInode(fs, mode, task.cred.fsuid, task.cred.fsgid, name, seals), O_RDWR)
