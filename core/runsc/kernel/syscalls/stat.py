"""stat(2), statx(2), access(2), readlink(2) (fs/stat.c, fs/open.c)."""

from __future__ import annotations

from errno import EACCES, EBADF, EINVAL, ENOENT, EROFS
from os import major, minor
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFREG

from runsc.abi.fcntl import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_STATX_SYNC_TYPE,
    AT_SYMLINK_NOFOLLOW,
    X_OK,
)
from runsc.abi.stat import (
    S_IFMT,
    STAT,
    STATX,
    STATX_ATTR_MOUNT_ROOT,
    STATX_BASIC_STATS,
    STATX_BTIME,
    STATX_MNT_ID,
    STATX_MNT_ID_UNIQUE,
    STATX_RESERVED,
)
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import (
    AccessMode,
    AtFlags,
    DirFd,
    Fd,
    Int,
    OutBuf,
    OutStat,
    OutStatx,
    PathPtr,
    PathStr,
    StatxMask,
    syscall,
)
from runsc.kernel.vfs.dentry import MS_NOEXEC
from runsc.kernel.vfs.namei import lookup
from runsc.kernel.vfs.permission import MAY_WRITE, allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.user_ns import UserNamespace
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.inode import Inode, Stat

_STAT_FLAGS = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE
#: Attributes that statx(2) can tell: STATX_ATTR_AUTOMOUNT, _MOUNT_ROOT and _DAX.
_STATX_ATTRIBUTES = 0x203000
#: Where the mount ids start that are never given twice (fs/namespace.c: MNT_UNIQUE_ID_OFFSET).
_UNIQUE_MOUNTS = 1 << 31
_BILLION = 1_000_000_000

_pack_stat = STAT.pack


def pack_stat(stat: Stat, ns: UserNamespace) -> bytes:
    """``struct stat``, its ids as ``ns`` has them."""
    atime = stat.atime
    mtime = stat.mtime
    ctime = stat.ctime
    uid, gid = stat.uid, stat.gid
    if ns.level:
        uid, gid = ns.uid(uid), ns.group_id(gid)
    return _pack_stat(
        stat.dev, stat.ino, stat.nlink, stat.mode, uid, gid, stat.rdev, stat.size, stat.blksize,
        stat.blocks, atime // _BILLION, atime % _BILLION, mtime // _BILLION, mtime % _BILLION,
        ctime // _BILLION, ctime % _BILLION,
    )  # fmt: skip


@syscall(4)
def stat(task: Task, path: PathStr, buf: OutStat) -> Result:
    """stat(2)."""
    inode = lookup(task, AT_FDCWD, path).dentry.inode
    assert inode is not None
    task.mm.copy_out(buf, pack_stat(inode.stat(), task.cred.user_ns))
    return 0


@syscall(5)
def fstat(task: Task, fd: Fd, buf: OutStat) -> Result:
    """fstat(2)."""
    file = task.files.files.get(fd)
    if file is None:
        raise LinuxError(EBADF)
    data = pack_stat(file.inode.stat(), task.cred.user_ns)
    if task.mm.space.write(buf, data) != 144:
        task.mm.copy_out(buf, data)
    return 0


@syscall(6)
def lstat(task: Task, path: PathStr, buf: OutStat) -> Result:
    """lstat(2)."""
    inode = lookup(task, AT_FDCWD, path, False).dentry.inode
    assert inode is not None
    task.mm.copy_out(buf, pack_stat(inode.stat(), task.cred.user_ns))
    return 0


@syscall(262)
def newfstatat(task: Task, dirfd: DirFd, path: PathPtr, buf: OutStat, flags: AtFlags) -> Result:
    """fstatat(2). With AT_EMPTY_PATH the path may be NULL (Linux 6.11)."""
    inode = find(task, dirfd, path, flags).dentry.inode
    assert inode is not None
    task.mm.copy_out(buf, pack_stat(inode.stat(), task.cred.user_ns))
    return 0


def find(task: Task, dirfd: int, path: int, flags: int) -> Path:
    """What fstatat(2) and statx(2) look at; raises EINVAL for flags they don't know."""
    if flags & ~_STAT_FLAGS:
        raise LinuxError(EINVAL)
    if flags & AT_EMPTY_PATH:
        name = task.mm.copy_in_path(path) if path else b""
        return lookup(task, dirfd, name, not flags & AT_SYMLINK_NOFOLLOW, True)
    return lookup(task, dirfd, task.mm.copy_in_path(path), not flags & AT_SYMLINK_NOFOLLOW)


@syscall(332)
def statx(task: Task, dirfd: DirFd, path: PathPtr, flags: AtFlags, mask: StatxMask, buf: OutStatx) -> Result:
    """statx(2)."""
    if mask & STATX_RESERVED or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE:
        raise LinuxError(EINVAL)
    where = find(task, dirfd, path, flags)
    inode = where.dentry.inode
    assert inode is not None
    found = inode.stat()
    given = STATX_BASIC_STATS
    if found.btime and mask & STATX_BTIME:
        given |= STATX_BTIME
    mount = where.mount.ident
    if mask & STATX_MNT_ID_UNIQUE:
        given |= STATX_MNT_ID_UNIQUE
        mount += _UNIQUE_MOUNTS
    else:
        given |= STATX_MNT_ID
    attributes = STATX_ATTR_MOUNT_ROOT if where.dentry is where.mount.root else 0
    data = STATX.pack(
        given,
        found.blksize,
        attributes,
        found.nlink,
        task.cred.user_ns.uid(found.uid),
        task.cred.user_ns.group_id(found.gid),
        found.mode,
        found.ino,
        found.size,
        found.blocks,
        _STATX_ATTRIBUTES,
        *divmod(found.atime, _BILLION),
        *divmod(found.btime, _BILLION),
        *divmod(found.ctime, _BILLION),
        *divmod(found.mtime, _BILLION),
        major(found.rdev),
        minor(found.rdev),
        major(found.dev),
        minor(found.dev),
        mount,
    )
    task.mm.copy_out(buf, data)
    return 0


# -- access -------------------------------------------------------------------------------------


@syscall(21)
def access(task: Task, path: PathStr, mode: AccessMode) -> Result:
    """access(2): with the real ids."""
    return check_access(task, AT_FDCWD, path, mode, 0)


@syscall(269)
def faccessat(task: Task, dirfd: DirFd, path: PathStr, mode: AccessMode) -> Result:
    """faccessat(2) as the kernel has it: no flags."""
    return check_access(task, dirfd, path, mode, 0)


@syscall(439)
def faccessat2(task: Task, dirfd: DirFd, path: PathStr, mode: AccessMode, flags: AtFlags) -> Result:
    """faccessat2(2)."""
    if mode & ~7 or flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise LinuxError(EINVAL)
    return check_access(task, dirfd, path, mode, flags)


def check_access(task: Task, dirfd: int, path: bytes, mode: int, flags: int) -> int:
    """do_faccessat. The walk is made with the real ids too, unless AT_EACCESS."""
    if mode & ~7:
        raise LinuxError(EINVAL)
    saved = task.cred
    if not flags & AT_EACCESS:
        task.cred = real_credentials(saved)
    try:
        where = lookup(task, dirfd, path, not flags & AT_SYMLINK_NOFOLLOW, bool(flags & AT_EMPTY_PATH))
        inode = where.dentry.inode
        assert inode is not None
        return _access(where, inode, task.cred, mode)
    finally:
        task.cred = saved


def _access(where: Path, inode: Inode, cred: Credentials, mode: int) -> int:
    kind = inode.mode & S_IFMT
    if mode & X_OK and kind == S_IFREG and where.mount.flags & MS_NOEXEC:
        raise LinuxError(EACCES)
    if mode & MAY_WRITE and where.mount.fs.read_only and kind not in (S_IFCHR, S_IFBLK):
        raise LinuxError(EROFS)
    if mode and not allowed(inode, cred, mode):
        inode.refresh()
        if not allowed(inode, cred, mode):
            raise LinuxError(EACCES)
    if mode & MAY_WRITE and kind in (S_IFREG, S_IFDIR) and where.mount.read_only():
        raise LinuxError(EROFS)
    return 0


def real_credentials(cred: Credentials) -> Credentials:
    """The credentials access(2) asks for: the real ids, and the capabilities that go with them."""
    if cred.fsuid == cred.uid and cred.fsgid == cred.gid and (cred.uid or cred.effective == cred.permitted):
        if not cred.uid or not cred.effective:
            return cred
    real = cred.copy()
    real.fsuid = cred.uid
    real.fsgid = cred.gid
    # SECURE_NO_SETUID_FIXUP leaves the capabilities as they are.
    if not cred.securebits & 4:
        real.effective = 0 if cred.uid else cred.permitted
    return real


# -- symbolic links -----------------------------------------------------------------------------


@syscall(89)
def readlink(task: Task, path: PathStr, buf: OutBuf, size: Int) -> Result:
    """readlink(2)."""
    return do_readlink(task, AT_FDCWD, path, buf, size)


@syscall(267)
def readlinkat(task: Task, dirfd: DirFd, path: PathStr, buf: OutBuf, size: Int) -> Result:
    """readlinkat(2); an empty path means the link that ``dirfd`` is open on (O_PATH|O_NOFOLLOW)."""
    return do_readlink(task, dirfd, path, buf, size)


def do_readlink(task: Task, dirfd: int, path: bytes, buf: int, size: int) -> int:
    """Copy out what the link says, cut to ``size``, without a NUL."""
    if size <= 0:
        raise LinuxError(EINVAL)
    where = lookup(task, dirfd, path, False, True)
    inode = where.dentry.inode
    assert inode is not None
    if not inode.is_symlink():
        raise LinuxError(ENOENT if not path else EINVAL)
    text = inode.readlink(task)[:size]
    task.mm.copy_out(buf, text)
    return len(text)
