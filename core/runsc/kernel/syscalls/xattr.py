"""Extended attributes: getxattr(2), setxattr(2), listxattr(2), removexattr(2) (fs/xattr.c)."""

from __future__ import annotations

from errno import E2BIG, EINVAL, ENAMETOOLONG, ENODATA, EOPNOTSUPP, EPERM, ERANGE
from stat import S_ISVTX

from runsc.abi.fcntl import AT_FDCWD
from runsc.kernel.credentials import CAP_SETFCAP, CAP_SYS_ADMIN
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import Fd, InBuf, OutBuf, PathStr, Size, StrPtr, XattrFlags, syscall
from runsc.kernel.vfs.namei import anonymous_path, lookup
from runsc.kernel.vfs.operations import require
from runsc.kernel.vfs.permission import MAY_READ, MAY_WRITE, check_mount_write, owner_or_capable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.inode import Inode

XATTR_CREATE = 1
XATTR_REPLACE = 2
#: Longest name, largest value and largest list (linux/limits.h).
XATTR_NAME_MAX = 255
XATTR_SIZE_MAX = 65536
XATTR_LIST_MAX = 65536

_PREFIXES = (b"user.", b"trusted.", b"security.", b"system.")


def _of_path(task: Task, path: bytes, follow: bool) -> Path:
    return lookup(task, AT_FDCWD, path, follow)


def _of_fd(task: Task, fd: int) -> Path:
    file = task.files.get(fd)
    return file.path if file.path is not None else anonymous_path(task, file.inode)


def _name(task: Task, addr: int) -> bytes:
    """The attribute's name; ERANGE if it is empty or too long (import_xattr_name)."""
    try:
        name = task.mm.copy_in_str(addr, XATTR_NAME_MAX + 1)
    except LinuxError as error:
        raise LinuxError(ERANGE if error.errno == ENAMETOOLONG else error.errno) from None
    if not name:
        raise LinuxError(ERANGE)
    return name


def _permit(task: Task, where: Path, name: bytes, mask: int) -> Inode:
    """xattr_permission. The inode."""
    inode = where.dentry.inode
    assert inode is not None
    cred = task.cred
    writes = mask & MAY_WRITE
    if writes:
        check_mount_write(where.mount)
    if name.startswith((b"security.", b"system.")):
        return inode
    if name.startswith(b"trusted."):
        if not cred.capable(CAP_SYS_ADMIN):
            raise LinuxError(EPERM if writes else ENODATA)
        return inode
    if name.startswith(b"user."):
        if not inode.is_reg() and not inode.is_dir():
            raise LinuxError(EPERM if writes else ENODATA)
        if writes and inode.is_dir() and inode.mode & S_ISVTX and not owner_or_capable(inode, cred):
            raise LinuxError(EPERM)
    require(inode, cred, mask)
    return inode


def _check_prefix(name: bytes) -> None:
    """A name of no known kind, or with nothing behind the prefix (xattr_resolve_name)."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            if name == prefix:
                raise LinuxError(EINVAL)
            return
    raise LinuxError(EOPNOTSUPP)


def _check_security(task: Task, name: bytes) -> None:
    """cap_inode_setxattr: who may change what the security modules and file capabilities go by."""
    if name.startswith(b"security."):
        if name == b"security.capability":
            if not task.cred.own_capable(CAP_SETFCAP):
                raise LinuxError(EPERM)
        elif not task.cred.capable(CAP_SYS_ADMIN):
            raise LinuxError(EPERM)


# -- set ----------------------------------------------------------------------------------------


class Setting:
    """Name, value and flags of a setxattr(2), copied in before the file is looked at."""

    __slots__ = ("flags", "name", "value")

    def __init__(self, task: Task, name: int, value: int, size: int, flags: int) -> None:
        if flags & ~(XATTR_CREATE | XATTR_REPLACE):
            raise LinuxError(EINVAL)
        self.name = _name(task, name)
        if size > XATTR_SIZE_MAX:
            raise LinuxError(E2BIG)
        self.value = task.mm.copy_in(value, size)
        self.flags = flags


def _set(task: Task, where: Path, setting: Setting) -> int:
    inode = _permit(task, where, setting.name, MAY_WRITE)
    _check_security(task, setting.name)
    _check_prefix(setting.name)
    inode.setxattr(setting.name, setting.value, setting.flags)
    return 0


@syscall(188)
def setxattr(task: Task, path: PathStr, name: StrPtr, value: InBuf, size: Size, flags: XattrFlags) -> Result:
    """setxattr(2)."""
    setting = Setting(task, name, value, size, flags)
    return _set(task, _of_path(task, path, True), setting)


@syscall(189)
def lsetxattr(task: Task, path: PathStr, name: StrPtr, value: InBuf, size: Size, flags: XattrFlags) -> Result:
    """lsetxattr(2)."""
    setting = Setting(task, name, value, size, flags)
    return _set(task, _of_path(task, path, False), setting)


@syscall(190)
def fsetxattr(task: Task, fd: Fd, name: StrPtr, value: InBuf, size: Size, flags: XattrFlags) -> Result:
    """fsetxattr(2)."""
    setting = Setting(task, name, value, size, flags)
    return _set(task, _of_fd(task, fd), setting)


# -- get ----------------------------------------------------------------------------------------


def _get(task: Task, where: Path, name: bytes, value: int, size: int) -> int:
    inode = _permit(task, where, name, MAY_READ)
    _check_prefix(name)
    data = inode.getxattr(name)
    if size:
        if len(data) > size:
            raise LinuxError(ERANGE)
        task.mm.copy_out(value, data)
    return len(data)


@syscall(191)
def getxattr(task: Task, path: PathStr, name: StrPtr, value: OutBuf, size: Size) -> Result:
    """getxattr(2); ``size`` 0 asks how long the value is."""
    wanted = _name(task, name)
    return _get(task, _of_path(task, path, True), wanted, value, size)


@syscall(192)
def lgetxattr(task: Task, path: PathStr, name: StrPtr, value: OutBuf, size: Size) -> Result:
    """lgetxattr(2)."""
    wanted = _name(task, name)
    return _get(task, _of_path(task, path, False), wanted, value, size)


@syscall(193)
def fgetxattr(task: Task, fd: Fd, name: StrPtr, value: OutBuf, size: Size) -> Result:
    """fgetxattr(2)."""
    wanted = _name(task, name)
    return _get(task, _of_fd(task, fd), wanted, value, size)


# -- list ---------------------------------------------------------------------------------------


def _list(task: Task, where: Path, buf: int, size: int) -> int:
    inode = where.dentry.inode
    assert inode is not None
    names = inode.listxattr()
    if not task.cred.capable(CAP_SYS_ADMIN):
        names = [name for name in names if not name.startswith(b"trusted.")]
    data = b"".join(name + b"\0" for name in names)
    if size:
        if len(data) > size:
            raise LinuxError(ERANGE)
        task.mm.copy_out(buf, data)
    elif len(data) > XATTR_LIST_MAX:
        raise LinuxError(E2BIG)
    return len(data)


@syscall(194)
def listxattr(task: Task, path: PathStr, buf: OutBuf, size: Size) -> Result:
    """listxattr(2)."""
    return _list(task, _of_path(task, path, True), buf, size)


@syscall(195)
def llistxattr(task: Task, path: PathStr, buf: OutBuf, size: Size) -> Result:
    """llistxattr(2)."""
    return _list(task, _of_path(task, path, False), buf, size)


@syscall(196)
def flistxattr(task: Task, fd: Fd, buf: OutBuf, size: Size) -> Result:
    """flistxattr(2)."""
    return _list(task, _of_fd(task, fd), buf, size)


# -- remove -------------------------------------------------------------------------------------


def _remove(task: Task, where: Path, name: bytes) -> int:
    inode = _permit(task, where, name, MAY_WRITE)
    _check_security(task, name)
    _check_prefix(name)
    inode.removexattr(name)
    return 0


@syscall(197)
def removexattr(task: Task, path: PathStr, name: StrPtr) -> Result:
    """removexattr(2)."""
    wanted = _name(task, name)
    return _remove(task, _of_path(task, path, True), wanted)


@syscall(198)
def lremovexattr(task: Task, path: PathStr, name: StrPtr) -> Result:
    """lremovexattr(2)."""
    wanted = _name(task, name)
    return _remove(task, _of_path(task, path, False), wanted)


@syscall(199)
def fremovexattr(task: Task, fd: Fd, name: StrPtr) -> Result:
    """fremovexattr(2)."""
    wanted = _name(task, name)
    return _remove(task, _of_fd(task, fd), wanted)
