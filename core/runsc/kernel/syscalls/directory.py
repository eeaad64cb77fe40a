"""getdents(2), mkdir(2), rmdir(2), chdir(2), getcwd(2), chroot(2) (fs/readdir.c, fs/namei.c, fs/open.c,
fs/d_path.c)."""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENOENT, ENOTDIR, EPERM, ERANGE

from runsc.abi.fcntl import AT_FDCWD
from runsc.abi.stat import DIRENT64_HEAD, DIRENT_HEAD
from runsc.kernel.credentials import CAP_SYS_CHROOT
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import Dirents, DirFd, Fd, Mode, OutBuf, PathStr, Size, UInt, syscall
from runsc.kernel.vfs.namei import lookup
from runsc.kernel.vfs.operations import make_directory, require
from runsc.kernel.vfs.permission import MAY_EXEC
from runsc.kernel.vfs.remove import remove_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File


@syscall(217)
def getdents64(task: Task, fd: Fd, buf: Dirents, size: UInt) -> Result:
    """getdents64(2)."""
    file = _directory(task, fd)
    parts: list[bytes] = []
    left = size
    offset = file.pos
    for entry in file.readdir(task):
        length = (len(entry.name) + 27) & ~7  # 19 bytes in front, a NUL behind, rounded up to 8
        if length > left:
            if not parts:
                raise LinuxError(EINVAL)
            break
        offset += 1
        parts.append(DIRENT64_HEAD.pack(entry.ino, offset, length, entry.type >> 12))
        parts.append(entry.name.ljust(length - 19, b"\0"))
        left -= length
    return _give(task, file, buf, parts, offset)


@syscall(78)
def getdents(task: Task, fd: Fd, buf: Dirents, size: UInt) -> Result:
    """getdents(2): the old record, which has the type in its last byte."""
    file = _directory(task, fd)
    parts: list[bytes] = []
    left = size
    offset = file.pos
    for entry in file.readdir(task):
        length = (len(entry.name) + 27) & ~7  # 18 bytes in front, a NUL and the type behind
        if length > left:
            if not parts:
                raise LinuxError(EINVAL)
            break
        offset += 1
        parts.append(DIRENT_HEAD.pack(entry.ino, offset, length))
        parts.append(entry.name.ljust(length - 19, b"\0") + bytes((entry.type >> 12,)))
        left -= length
    return _give(task, file, buf, parts, offset)


def _directory(task: Task, fd: int) -> File:
    """The open directory ``fd``; ENOTDIR for something else, ENOENT if it was removed."""
    file = task.files.get(fd)
    if not file.inode.is_dir():
        raise LinuxError(ENOTDIR)
    if file.path is not None and file.path.dentry.dead:
        raise LinuxError(ENOENT)
    return file


def _give(task: Task, file: File, buf: int, parts: list[bytes], offset: int) -> int:
    data = b"".join(parts)
    task.mm.copy_out(buf, data)
    file.pos = offset
    return len(data)


@syscall(83)
def mkdir(task: Task, path: PathStr, mode: Mode) -> Result:
    """mkdir(2)."""
    make_directory(task, AT_FDCWD, path, mode)
    return 0


@syscall(258)
def mkdirat(task: Task, dirfd: DirFd, path: PathStr, mode: Mode) -> Result:
    """mkdirat(2)."""
    make_directory(task, dirfd, path, mode)
    return 0


@syscall(84)
def rmdir(task: Task, path: PathStr) -> Result:
    """rmdir(2)."""
    remove_directory(task, AT_FDCWD, path)
    return 0


# -- places -------------------------------------------------------------------------------------


def _searchable(task: Task, path: bytes) -> Path:
    """A directory the task may make its own (chdir, chroot)."""
    where = lookup(task, AT_FDCWD, path)
    inode = where.dentry.inode
    assert inode is not None
    if not inode.is_dir():
        raise LinuxError(ENOTDIR)
    require(inode, task.cred, MAY_EXEC)
    return where


@syscall(80)
def chdir(task: Task, path: PathStr) -> Result:
    """chdir(2)."""
    task.fs.set_cwd(_searchable(task, path))
    return 0


@syscall(81)
def fchdir(task: Task, fd: Fd) -> Result:
    """fchdir(2)."""
    file = task.files.get_any(fd)
    if not file.inode.is_dir() or file.path is None:
        raise LinuxError(ENOTDIR)
    require(file.inode, task.cred, MAY_EXEC)
    task.fs.set_cwd(file.path)
    return 0


@syscall(161)
def chroot(task: Task, path: PathStr) -> Result:
    """chroot(2)."""
    where = _searchable(task, path)
    if not task.cred.own_capable(CAP_SYS_CHROOT):
        raise LinuxError(EPERM)
    task.fs.set_root(where)
    return 0


@syscall(79)
def getcwd(task: Task, buf: OutBuf, size: Size) -> Result:
    """getcwd(2): the length, with the NUL."""
    fs = task.fs
    if fs.cwd.dentry.dead:
        raise LinuxError(ENOENT)
    text = fs.namespace.path_string(fs.cwd, fs.root) + b"\0"
    if len(text) > size:
        raise LinuxError(ERANGE)
    if task.mm.space.write(buf, text) != len(text):
        raise LinuxError(EFAULT)
    return len(text)
