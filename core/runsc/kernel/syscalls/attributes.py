"""chmod(2), chown(2), utimensat(2), truncate(2), umask(2) (fs/open.c, fs/attr.c, fs/utimes.c)."""

from __future__ import annotations

from errno import EBADF, EFAULT, EINVAL, EISDIR, EOPNOTSUPP, EPERM, EROFS, ETXTBSY
from stat import S_ISGID, S_ISUID, S_IXGRP
from struct import Struct
from time import time_ns

from runsc.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_PATH
from runsc.abi.inotify import IN_MODIFY
from runsc.abi.stat import UTIME_NOW, UTIME_OMIT
from runsc.kernel.credentials import CAP_CHOWN, CAP_FSETID
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import (
    AtFlags,
    DirFd,
    Fd,
    InTimespecs2,
    InTimevals2,
    Mode,
    Off,
    PathPtr,
    PathStr,
    Ptr,
    Uid,
    syscall,
)
from runsc.kernel.vfs.inode import SetAttr
from runsc.kernel.vfs.leases import leases_of
from runsc.kernel.vfs.namei import anonymous_path, lookup
from runsc.kernel.vfs.notify import changed, file_event
from runsc.kernel.vfs.operations import require
from runsc.kernel.vfs.permission import MAY_WRITE, check_mount_write, owner_or_capable
from runsc.kernel.vfs.truncate import set_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.inode import Inode
    from runsc.kernel.vfs.leases import Leases

_TIMESPECS = Struct("<qqqq")
_UTIMBUF = Struct("<qq")
_BILLION = 1_000_000_000
#: An id that stays as it is.
_KEEP = 0xFFFFFFFF


def _inode(where: Path) -> Inode:
    inode = where.dentry.inode
    assert inode is not None
    return inode


def _of_fd(task: Task, fd: int) -> Path:
    """The object of a descriptor (not O_PATH)."""
    file = task.files.get(fd)
    return file.path if file.path is not None else anonymous_path(task, file.inode)


# -- mode ---------------------------------------------------------------------------------------


@syscall(95)
def umask(task: Task, mask: Mode) -> Result:
    """umask(2): the old one."""
    old = task.fs.umask
    task.fs.umask = mask & 0o777
    return old


@syscall(90)
def chmod(task: Task, path: PathStr, mode: Mode) -> Result:
    """chmod(2)."""
    return change_mode(task, lookup(task, AT_FDCWD, path), mode)


@syscall(91)
def fchmod(task: Task, fd: Fd, mode: Mode) -> Result:
    """fchmod(2)."""
    return change_mode(task, _of_fd(task, fd), mode)


@syscall(268)
def fchmodat(task: Task, dirfd: DirFd, path: PathStr, mode: Mode) -> Result:
    """fchmodat(2) as the kernel has it: no flags."""
    return change_mode(task, lookup(task, dirfd, path), mode)


@syscall(452)
def fchmodat2(task: Task, dirfd: DirFd, path: PathStr, mode: Mode, flags: AtFlags) -> Result:
    """fchmodat2(2)."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise LinuxError(EINVAL)
    where = lookup(task, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH))
    return change_mode(task, where, mode)


def change_mode(task: Task, where: Path, mode: int) -> int:
    """chmod_common. A symbolic link has no mode to change: EOPNOTSUPP."""
    check_mount_write(where.mount)
    inode = _inode(where)
    inode.refresh()
    cred = task.cred
    if inode.is_symlink():
        raise LinuxError(EOPNOTSUPP)
    if not owner_or_capable(inode, cred):
        raise LinuxError(EPERM)
    mode &= 0o7777
    if (
        mode & S_ISGID
        and not cred.in_group(inode.gid)
        and not cred.inode_capable(CAP_FSETID, inode.uid, inode.gid)
    ):
        mode &= ~S_ISGID
    inode.setattr(SetAttr(mode=mode))
    if task.kernel.notify is not None:
        changed(task.kernel, where.dentry)
    return 0


# -- owner --------------------------------------------------------------------------------------


@syscall(92)
def chown(task: Task, path: PathStr, uid: Uid, gid: Uid) -> Result:
    """chown(2)."""
    return change_owner(task, lookup(task, AT_FDCWD, path), uid, gid)


@syscall(93)
def fchown(task: Task, fd: Fd, uid: Uid, gid: Uid) -> Result:
    """fchown(2)."""
    return change_owner(task, _of_fd(task, fd), uid, gid)


@syscall(94)
def lchown(task: Task, path: PathStr, uid: Uid, gid: Uid) -> Result:
    """lchown(2)."""
    return change_owner(task, lookup(task, AT_FDCWD, path, False), uid, gid)


@syscall(260)
def fchownat(task: Task, dirfd: DirFd, path: PathStr, uid: Uid, gid: Uid, flags: AtFlags) -> Result:
    """fchownat(2)."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise LinuxError(EINVAL)
    where = lookup(task, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH))
    return change_owner(task, where, uid, gid)


def change_owner(task: Task, where: Path, uid: int, gid: int) -> int:
    """chown_common: setuid bits go whoever asks, except of directories."""
    check_mount_write(where.mount)
    inode = _inode(where)
    inode.refresh()
    cred = task.cred
    if cred.user_ns.level:
        asked = (uid, gid)
        uid = uid if uid == _KEEP else cred.user_ns.make_uid(uid)
        gid = gid if gid == _KEEP else cred.user_ns.make_gid(gid)
        if (uid == _KEEP, gid == _KEEP) != (asked[0] == _KEEP, asked[1] == _KEEP):
            raise LinuxError(EINVAL)
    if uid != _KEEP:
        if not (cred.fsuid == inode.uid and uid == inode.uid) and not cred.inode_capable(
            CAP_CHOWN, inode.uid, inode.gid
        ):
            raise LinuxError(EPERM)
    if gid != _KEEP:
        mine = cred.fsuid == inode.uid and (gid == inode.gid or cred.in_group(gid))
        if not mine and not cred.inode_capable(CAP_CHOWN, inode.uid, inode.gid):
            raise LinuxError(EPERM)
    mode: int | None = None
    if not inode.is_dir() and inode.mode & (S_ISUID | S_ISGID):
        mode = inode.mode & 0o7777 & ~S_ISUID
        if mode & S_ISGID and (
            mode & S_IXGRP
            or not (cred.in_group(inode.gid) or cred.inode_capable(CAP_FSETID, inode.uid, inode.gid))
        ):
            mode &= ~S_ISGID
    inode.setattr(SetAttr(mode, None if uid == _KEEP else uid, None if gid == _KEEP else gid))
    if task.kernel.notify is not None:
        changed(task.kernel, where.dentry)
    return 0


# -- times --------------------------------------------------------------------------------------


@syscall(132)
def utime(task: Task, path: PathPtr, times: Ptr) -> Result:
    """utime(2): whole seconds."""
    given = None
    if times:
        atime, mtime = task.mm.unpack(times, _UTIMBUF)
        given = (atime, 0, mtime, 0)
    return set_times(task, AT_FDCWD, path, given, 0)


@syscall(235)
def utimes(task: Task, path: PathPtr, times: InTimevals2) -> Result:
    """utimes(2): microseconds."""
    return set_times(task, AT_FDCWD, path, _from_timevals(task, times), 0)


@syscall(261)
def futimesat(task: Task, dirfd: DirFd, path: PathPtr, times: InTimevals2) -> Result:
    """futimesat(2)."""
    return set_times(task, dirfd, path, _from_timevals(task, times), 0)


def _from_timevals(task: Task, times: int) -> tuple[int, int, int, int] | None:
    if not times:
        return None
    atime, atime_us, mtime, mtime_us = task.mm.unpack(times, _TIMESPECS)
    # UTIME_NOW and UTIME_OMIT have no meaning here.
    if not 0 <= atime_us < 1_000_000 or not 0 <= mtime_us < 1_000_000:
        raise LinuxError(EINVAL)
    return atime, atime_us * 1000, mtime, mtime_us * 1000


@syscall(280)
def utimensat(task: Task, dirfd: DirFd, path: PathPtr, times: InTimespecs2, flags: AtFlags) -> Result:
    """utimensat(2)."""
    given: tuple[int, int, int, int] | None = None
    if times:
        atime, atime_ns, mtime, mtime_ns = task.mm.unpack(times, _TIMESPECS)
        if atime_ns == UTIME_OMIT and mtime_ns == UTIME_OMIT:
            return 0  # nothing to do: not even the path is looked at
        given = (atime, atime_ns, mtime, mtime_ns)
    return set_times(task, dirfd, path, given, flags)


def set_times(task: Task, dirfd: int, path: int, times: tuple[int, int, int, int] | None, flags: int) -> int:
    """do_utimes: ``times`` are seconds and nanoseconds of atime and mtime; None: now. A NULL ``path`` means
    the file ``dirfd`` itself."""
    if not path and dirfd != AT_FDCWD:
        if flags:
            raise LinuxError(EINVAL)
        where = _of_fd(task, dirfd)
    else:
        if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
            raise LinuxError(EINVAL)
        if not path:
            raise LinuxError(EFAULT)
        name = task.mm.copy_in_path(path)
        where = lookup(task, dirfd, name, not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH))
    return _set_times(task, where, times)


def _set_times(task: Task, where: Path, times: tuple[int, int, int, int] | None) -> int:
    """vfs_utimes. Who may write the file may set the time to now; only the owner may set another one."""
    if times is not None:
        for nanoseconds in times[1::2]:
            if nanoseconds not in (UTIME_NOW, UTIME_OMIT) and not 0 <= nanoseconds < _BILLION:
                raise LinuxError(EINVAL)
        if times[1] == times[3] == UTIME_NOW:
            times = None
    check_mount_write(where.mount)
    inode = _inode(where)
    now = time_ns()
    if times is None:
        if not owner_or_capable(inode, task.cred):
            require(inode, task.cred, MAY_WRITE)
        inode.setattr(SetAttr(atime=now, mtime=now))
        if task.kernel.notify is not None:
            changed(task.kernel, where.dentry)
        return 0
    if not owner_or_capable(inode, task.cred):
        raise LinuxError(EPERM)
    atime = _time(times[0], times[1], now)
    mtime = _time(times[2], times[3], now)
    inode.setattr(SetAttr(atime=atime, mtime=mtime))
    if task.kernel.notify is not None:
        changed(task.kernel, where.dentry)
    return 0


def _time(seconds: int, nanoseconds: int, now: int) -> int | None:
    if nanoseconds == UTIME_NOW:
        return now
    if nanoseconds == UTIME_OMIT:
        return None
    return seconds * _BILLION + nanoseconds


# -- size ---------------------------------------------------------------------------------------


@syscall(76)
def truncate(task: Task, path: PathStr, length: Off) -> Result:
    """truncate(2)."""
    if length < 0:
        raise LinuxError(EINVAL)
    where = lookup(task, AT_FDCWD, path)
    inode = _inode(where)
    if inode.is_dir():
        raise LinuxError(EISDIR)
    if not inode.is_reg():
        raise LinuxError(EINVAL)
    if where.mount.fs.read_only:
        raise LinuxError(EROFS)
    require(inode, task.cred, MAY_WRITE)
    check_mount_write(where.mount)
    if inode.write_count < 0:
        raise LinuxError(ETXTBSY)
    leases = leases_of(inode)
    if leases is not None and leases.begin_break(True):
        return _truncate_waiting(task, where, length, leases)
    return _truncate_now(task, where, length)


async def _truncate_waiting(task: Task, where: Path, length: int, leases: Leases) -> int:
    """Who holds a lease is told first, and given time."""
    while leases.begin_break(True):
        await task.wait(leases.queue)
    return _truncate_now(task, where, length)


def _truncate_now(task: Task, where: Path, length: int) -> int:
    set_size(task, _inode(where), length)
    if task.kernel.notify is not None:
        changed(task.kernel, where.dentry, IN_MODIFY)
    return 0


@syscall(77)
def ftruncate(task: Task, fd: Fd, length: Off) -> Result:
    """ftruncate(2)."""
    if length < 0:
        raise LinuxError(EINVAL)
    file = task.files.files.get(fd)
    if file is None or file.flags & O_PATH:
        raise LinuxError(EBADF)
    if not file.inode.is_reg() or not file.writable():
        raise LinuxError(EINVAL)
    set_size(task, file.inode, length)
    if task.kernel.notify is not None:
        file_event(task.kernel, file, IN_MODIFY)
    return 0
