"""/proc/PID/mem: the memory of a process as a file (proc(5))."""

from __future__ import annotations

from errno import EINVAL, EIO

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc.access import check_access
from runsc.kernel.fs.proc.node import ProcFs, ProcInode
from runsc.kernel.vfs.file import SEEK_CUR, SEEK_SET, File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.mm.mm import MemoryManager
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

_MAX_READ = 1 << 20


class MemInode(ProcInode):
    """The node: opening it asks for the right to look into the process."""

    __slots__ = ("target",)

    def __init__(self, fs: ProcFs, target: Task, mode: int, ino: int) -> None:
        super().__init__(fs, ino, mode)
        self.target = target

    def open(self, path: Path, flags: int, task: Task) -> File:
        check_access(task, self.target)
        return MemFile(self, flags, path, self.target.mm)


class MemFile(File):
    """Reads and writes at addresses; it stays with the memory it was opened for, also through an
    execve(2)."""

    __slots__ = ("mm",)

    seekable = True
    is_regular = True

    def __init__(self, inode: MemInode, flags: int, path: Path, mm: MemoryManager) -> None:
        super().__init__(inode, flags, path)
        self.mm = mm

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        if self.mm.released or not count:
            return b""
        data = self.mm.space.read(offset, min(count, _MAX_READ))
        if not data:
            raise LinuxError(EIO)
        return data

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        if self.mm.released or not data:
            return 0
        done = self.mm.space.poke(offset, data)
        if done <= 0:
            raise LinuxError(EIO)
        return done

    def write(self, task: Task, data: bytes) -> int:
        count = self.pwrite(task, data, self.pos)
        self.pos += count
        return count

    def lseek(self, task: Task, offset: int, whence: int) -> int:
        """mem_lseek: any address may be gone to."""
        if whence == SEEK_SET:
            self.pos = offset
        elif whence == SEEK_CUR:
            self.pos += offset
        else:
            raise LinuxError(EINVAL)
        return self.pos
