"""What proc is made of: a file system whose names are looked up afresh, and files whose text is made when
it is read."""

from __future__ import annotations

from errno import EACCES, EINVAL, EIO, ENOENT, EPERM
from stat import S_IFDIR, S_IFLNK, S_IFREG

from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.file import SEEK_CUR, SEEK_SET, DirectoryFile, File
from runsc.kernel.vfs.inode import DirEntry, FileSystem, Inode, SetAttr, StatFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.pid import PidNamespace
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

    #: Makes a file's text for the task that reads it.
    Show = Callable[[Task], str | bytes]
    #: Takes what a task writes; raises ``LinuxError``.
    Store = Callable[[Task, bytes], None]

PROC_SUPER_MAGIC = 0x9FA0
#: Inode numbers of entries that aren't a process's (fs/proc/generic.c: PROC_DYNAMIC_FIRST).
FIRST_INO = 0xF0000000


class ProcFs(FileSystem):
    """A proc file system. Processes' nodes are kept as long as the process is there, so that they stay
    the same."""

    __slots__ = ("kernel", "next_ino", "pid_ns", "root_inode")

    def __init__(self, kernel: Kernel, name: str = "proc", pid_ns: PidNamespace | None = None) -> None:
        super().__init__(name, name, cached=False)
        self.kernel = kernel
        #: whose processes it shows, by their ids there
        self.pid_ns: PidNamespace = pid_ns or kernel.pid_ns
        self.next_ino = FIRST_INO
        self.root_inode: Inode | None = None

    def root(self) -> Inode:
        assert self.root_inode is not None
        return self.root_inode

    def number(self) -> int:
        """The next inode number."""
        self.next_ino += 1
        return self.next_ino

    def statfs(self) -> StatFs:
        return StatFs(PROC_SUPER_MAGIC)


class ProcInode(Inode):
    """Any node of proc. Its attributes can't be changed; truncation, which ``>`` of a shell asks for,
    does nothing."""

    __slots__ = ()

    def setattr(self, attr: SetAttr) -> None:
        if attr.mode is not None or attr.uid is not None or attr.gid is not None:
            raise LinuxError(EPERM)

    def truncate(self, size: int) -> None:
        return


class ProcDir(ProcInode):
    """A directory with entries that stay."""

    __slots__ = ("entries",)

    def __init__(self, fs: ProcFs, mode: int = 0o555, ino: int = 0) -> None:
        super().__init__(fs, ino or fs.number(), S_IFDIR | mode)
        self.entries: dict[bytes, Inode] = {}
        self.nlink = 2

    def add(self, name: str, inode: Inode) -> None:
        """Put an entry in."""
        self.entries[name.encode()] = inode
        if inode.is_dir():
            self.nlink += 1

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        inode = self.entries.get(name)
        if inode is None:
            raise LinuxError(ENOENT)
        return inode

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        return [DirEntry(name, inode.ino, inode.mode & 0o170000) for name, inode in self.entries.items()]

    def open(self, path: Path, flags: int, task: Task) -> File:
        return DirectoryFile(self, flags, path)


class ProcLink(ProcInode):
    """A symbolic link whose target depends on who looks."""

    __slots__ = ("target",)

    def __init__(self, fs: ProcFs, target: Callable[[Task | None], bytes]) -> None:
        super().__init__(fs, fs.number(), S_IFLNK | 0o777)
        self.target = target

    def readlink(self, task: Task | None = None) -> bytes:
        return self.target(task)


class ProcFile(ProcInode):
    """A file: ``show`` makes its text, ``store`` takes what is written (None: nothing can be)."""

    __slots__ = ("show", "store")

    def __init__(
        self, fs: ProcFs, show: Show, store: Store | None = None, mode: int | None = None, ino: int = 0
    ) -> None:
        super().__init__(fs, ino or fs.number(), S_IFREG | (mode or (0o444 if store is None else 0o644)))
        self.show = show
        self.store = store

    def open(self, path: Path, flags: int, task: Task) -> File:
        return TextFile(self, flags, path)


class TextFile(File):
    """An open file of proc. The text is made at the first read, and again by a read from the start
    (seq_file)."""

    __slots__ = ("text",)

    seekable = True
    is_regular = True

    inode: ProcFile

    def __init__(self, inode: ProcFile, flags: int, path: Path | None = None) -> None:
        super().__init__(inode, flags, path)
        self.text: bytes | None = None

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        if self.text is None or offset == 0:
            made = self.inode.show(task)
            self.text = made.encode("utf-8", "surrogateescape") if isinstance(made, str) else made
        return self.text[offset : offset + count]

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        store = self.inode.store
        if store is None:
            raise LinuxError(EIO)
        store(task, data)
        self.text = None
        return len(data)

    def write(self, task: Task, data: bytes) -> int:
        count = self.pwrite(task, data, self.pos)
        self.pos += count
        return count

    def lseek(self, task: Task, offset: int, whence: int) -> int:
        """seq_lseek: from the start or from here, nothing else."""
        if whence == SEEK_SET:
            pos = offset
        elif whence == SEEK_CUR:
            pos = self.pos + offset
        else:
            raise LinuxError(EINVAL)
        if pos < 0:
            raise LinuxError(EINVAL)
        self.pos = pos
        return pos


def parse_int(data: bytes, low: int, high: int) -> int:
    """The number a guest wrote (decimal, or C's 0x and 0 forms), within bounds; raises EINVAL."""
    text = data.split(b"\0", 1)[0].strip()
    sign, digits = (-1, text[1:]) if text[:1] == b"-" else (1, text)
    try:
        if digits[:2].lower() == b"0x":
            value = int(digits[2:], 16)
        elif digits[:1] == b"0" and len(digits) > 1:
            value = int(digits, 8)
        else:
            value = int(digits)
    except ValueError:
        raise LinuxError(EINVAL) from None
    if digits[:1] in (b"+", b"-", b"_") or b"_" in digits:
        raise LinuxError(EINVAL)
    value *= sign
    if not low <= value <= high:
        raise LinuxError(EINVAL)
    return value


def deny(task: Task, data: bytes) -> None:
    """A store that refuses: what the file sets is the host's, or can't be changed here."""
    raise LinuxError(EACCES)
