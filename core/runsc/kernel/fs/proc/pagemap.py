"""/proc/PID/pagemap: a word for each page, of which only whether it is there is told (pagemap.rst)."""

from __future__ import annotations

from errno import EINVAL
from struct import pack

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc.access import check_access
from runsc.kernel.fs.proc.node import ProcFs, ProcInode
from runsc.kernel.vfs.file import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.mm.mm import MemoryManager
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

_PAGE = 4096
_PRESENT = 1 << 63
_FILE_OR_SHARED = 1 << 61
#: Most words of one read.
_MOST = 1 << 16


class PagemapInode(ProcInode):
    """The node: opening it asks for the right to look into the process."""

    __slots__ = ("target",)

    def __init__(self, fs: ProcFs, target: Task, mode: int, ino: int) -> None:
        super().__init__(fs, ino, mode)
        self.target = target

    def open(self, path: Path, flags: int, task: Task) -> File:
        check_access(task, self.target)
        return PagemapFile(self, flags, path, self.target.mm)


class PagemapFile(File):
    """It stays with the memory it was opened for. Frame numbers are 0, as for everybody without
    CAP_SYS_ADMIN in Linux."""

    __slots__ = ("mm",)

    seekable = True
    is_regular = True

    def __init__(self, inode: PagemapInode, flags: int, path: Path, mm: MemoryManager) -> None:
        super().__init__(inode, flags, path)
        self.mm = mm

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        if offset % 8 or count % 8:
            raise LinuxError(EINVAL)
        mm = self.mm
        start = offset // 8 * _PAGE
        if mm.released or start >= mm.space.task_size:
            return b""
        words = min(count // 8, _MOST, (mm.space.task_size - start) // _PAGE)
        end = start + words * _PAGE
        found = [0] * words
        for vma in mm.vmas.overlapping(start, end):
            if vma.fixed:
                continue
            low, high = max(vma.start, start), min(vma.end, end)
            kind = _FILE_OR_SHARED if vma.file is not None else 0
            try:
                resident = mm.space.residency(low, high - low)
            except OSError:
                continue
            first = (low - start) // _PAGE
            for index, there in enumerate(resident):
                if there & 1:
                    found[first + index] = _PRESENT | kind
        return pack(f"<{words}Q", *found)
