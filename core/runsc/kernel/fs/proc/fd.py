"""The descriptors of a process: fd and fdinfo (proc(5), fs/proc/fd.c)."""

from __future__ import annotations

from errno import EACCES, ENOENT
from stat import S_IFDIR, S_IFLNK

from runsc.abi.fcntl import O_CLOEXEC
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc.access import check_access, may_access
from runsc.kernel.fs.proc.node import ProcFile, ProcFs, ProcInode
from runsc.kernel.vfs.file import DirectoryFile, File
from runsc.kernel.vfs.inode import DirEntry, Inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

_INFO_BIT = 1 << 18


def parse_fd(name: bytes) -> int:
    """A descriptor's number from its name; raises ENOENT for what is none."""
    if not name.isdigit() or (name.startswith(b"0") and name != b"0") or len(name) > 9:
        raise LinuxError(ENOENT)
    return int(name)


def open_files(target: Task) -> dict[int, File]:
    """The descriptors of a task, none if it has ended."""
    return target.files.files if target.files.users > 0 else {}


class FdDirectory(ProcInode):
    """/proc/PID/fd, or fdinfo (``info``)."""

    __slots__ = ("info", "target")

    fs: ProcFs

    def __init__(self, fs: ProcFs, target: Task, ino: int, info: bool) -> None:
        super().__init__(fs, ino, S_IFDIR | (0o555 if info else 0o500))
        self.target = target
        self.info = info
        self.nlink = 2

    def refresh(self) -> None:
        self.uid, self.gid = self.target.cred.euid, self.target.cred.egid
        if not self.info:
            self.size = len(open_files(self.target))

    def _node(self, fd: int) -> Inode:
        ino = self.ino << 16 | fd & 0xFFFF
        node: ProcInode
        if self.info:
            target = self.target
            node = ProcFile(self.fs, lambda reader: show_fdinfo(target, fd), mode=0o444, ino=ino | _INFO_BIT)
        else:
            node = FdLink(self.fs, self.target, fd, ino)
        node.uid, node.gid = self.target.cred.euid, self.target.cred.egid
        return node

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        fd = parse_fd(name)
        if fd not in open_files(self.target):
            raise LinuxError(ENOENT)
        return self._node(fd)

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        kind = 0o100000 if self.info else S_IFLNK
        return [
            DirEntry(b"%d" % fd, self.ino << 16 | fd & 0xFFFF, kind) for fd in sorted(open_files(self.target))
        ]

    def open(self, path: Path, flags: int, task: Task) -> File:
        if task.group is not self.target.group and self.info:
            check_access(task, self.target)
        return DirectoryFile(self, flags, path)


class FdLink(ProcInode):
    """/proc/PID/fd/N: the very file. Its permission bits show how it is open."""

    __slots__ = ("fd", "target")

    def __init__(self, fs: ProcFs, target: Task, fd: int, ino: int) -> None:
        super().__init__(fs, ino, S_IFLNK)
        self.target = target
        self.fd = fd
        self.size = 64
        self.refresh()

    def _file(self, reader: Task | None) -> File:
        if reader is not None and not may_access(reader, self.target):
            raise LinuxError(EACCES)
        file = open_files(self.target).get(self.fd)
        if file is None:
            raise LinuxError(ENOENT)
        return file

    def refresh(self) -> None:
        file = open_files(self.target).get(self.fd)
        if file is not None:
            self.mode = S_IFLNK | (0o500 if file.readable() else 0) | (0o300 if file.writable() else 0)

    def readlink(self, task: Task | None = None) -> bytes:
        file = self._file(task)
        if file.path is None:
            return file.describe().encode()
        fs = (task or self.target).fs
        return fs.namespace.path_string(file.path, fs.root)

    def follow(self, task: Task) -> Path | None:
        file = self._file(task)
        if file.path is not None:
            return file.path
        from runsc.kernel.vfs.namei import anonymous_path

        return anonymous_path(task, file.inode)


def show_fdinfo(target: Task, fd: int) -> str:
    """/proc/PID/fdinfo/N."""
    file = open_files(target).get(fd)
    if file is None:
        raise LinuxError(ENOENT)
    flags = file.flags | (O_CLOEXEC if fd in target.files.cloexec else 0)
    mount = file.path.mount.ident if file.path is not None else 0
    return f"pos:\t{file.pos}\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{file.inode.ino}\n{file.fdinfo()}"
