"""mount(2), umount2(2), pivot_root(2) (fs/namespace.c)."""

from __future__ import annotations

import os
from errno import EAGAIN, EBUSY, EINVAL, ENODEV, ENOTDIR, EPERM

from runsc.abi.fcntl import AT_FDCWD
from runsc.abi.mount import (
    MNT_DETACH,
    MNT_EXPIRE,
    MNT_FORCE,
    MS_BIND,
    MS_MGC_MSK,
    MS_MGC_VAL,
    MS_MOVE,
    MS_NOATIME,
    MS_NOUSER,
    MS_PROPAGATION,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SILENT,
    MS_STRICTATIME,
    UMOUNT_NOFOLLOW,
)
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.tmpfs import UNLIMITED, Tmpfs
from runsc.kernel.ipc.mqueue import mqueue_fs
from runsc.kernel.ipc.namespace import ipc_tables
from runsc.kernel.syscalls.decl import PARTIAL, MountFlags, PathPtr, PathStr, StrPtr, UmountFlags, syscall
from runsc.kernel.vfs.mounting import (
    bind,
    change_propagation,
    is_mount_root,
    may_mount,
    move,
    new_mount,
    remount,
    too_revealing,
    unmount,
)
from runsc.kernel.vfs.mounting import pivot_root as do_pivot_root
from runsc.kernel.vfs.namei import lookup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.pid import PidNamespace
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.inode import FileSystem

_PAGE = 4096
#: What the root of a user namespace may mount (FS_USERNS_MOUNT).
_USER_MOUNTABLE = (b"proc", b"sysfs", b"tmpfs", b"ramfs", b"devpts", b"mqueue", b"overlay")


@syscall(165, PARTIAL, "bind, move, remount and new mounts of tmpfs, ramfs, proc, sysfs, devtmpfs, devpts")
def mount(
    task: Task, source: PathPtr, target: PathStr, fstype: StrPtr, flags: MountFlags, data: StrPtr
) -> Result:
    """mount(2)."""
    kind = task.mm.copy_in_path(fstype) if fstype else b""
    device = task.mm.copy_in_path(source) if source else b""
    options = _options(task, data)
    at = lookup(task, AT_FDCWD, target)
    if flags & MS_MGC_MSK == MS_MGC_VAL:
        flags &= ~MS_MGC_MSK
    if flags & MS_NOUSER:
        raise LinuxError(EINVAL)
    if not may_mount(task):
        raise LinuxError(EPERM)
    if not flags & (MS_NOATIME | MS_STRICTATIME):
        flags |= MS_RELATIME
    if flags & MS_REMOUNT:
        if not flags & MS_BIND:
            _reconfigure(at.mount.fs, options)
        remount(task, at, flags, bool(flags & MS_BIND))
    elif flags & MS_BIND:
        if not device:
            raise LinuxError(EINVAL)
        bind(task, lookup(task, AT_FDCWD, device), at, bool(flags & MS_REC))
    elif flags & MS_PROPAGATION:
        wanted = flags & MS_PROPAGATION
        if wanted & (wanted - 1) or flags & ~(MS_PROPAGATION | MS_REC | MS_SILENT | MS_RELATIME):
            raise LinuxError(EINVAL)
        change_propagation(task, at, wanted, bool(flags & MS_REC))
    elif flags & MS_MOVE:
        if not device:
            raise LinuxError(EINVAL)
        move(task, lookup(task, AT_FDCWD, device), at)
    else:
        if not fstype:
            raise LinuxError(EINVAL)
        namespace = task.fs.namespace
        if namespace.user_ns.level:
            if kind not in _USER_MOUNTABLE:
                raise LinuxError(EPERM)
            if kind in (b"proc", b"sysfs") and too_revealing(namespace, kind.decode()):
                raise LinuxError(EPERM)
        fs = make_filesystem(task, kind, device, options, task.pid_ns)
        if fs.root().is_dir() != _is_dir(at):
            raise LinuxError(ENOTDIR)
        new_mount(task, fs, at, flags)
    return 0


def _options(task: Task, addr: int) -> list[tuple[bytes, bytes | None]]:
    """The option string as (key, value) pairs: what can be read of one page (copy_mount_options)."""
    if not addr:
        return []
    raw = task.mm.copy_in_partial(addr, _PAGE).split(b"\0", 1)[0]
    pairs: list[tuple[bytes, bytes | None]] = []
    for part in raw.split(b","):
        if part:
            key, equals, value = part.partition(b"=")
            pairs.append((key, value if equals else None))
    return pairs


def _is_dir(at: Path) -> bool:
    assert at.dentry.inode is not None
    return at.dentry.inode.is_dir()


def make_filesystem(
    task: Task,
    kind: bytes,
    source: bytes,
    options: list[tuple[bytes, bytes | None]],
    pid_ns: PidNamespace | None = None,
) -> FileSystem:
    """A new file system of a type the kernel has; raises ENODEV, EINVAL for bad options. ``pid_ns``: whose
    processes a proc shows (None: all)."""
    kernel = task.kernel
    name = os.fsdecode(source) or "none"
    fs: FileSystem
    if kind in (b"tmpfs", b"ramfs"):
        return _make_tmpfs(kind.decode(), name, options)
    if kind == b"proc":
        from runsc.kernel.fs.proc import make_proc

        fs = make_proc(kernel, pid_ns)
    elif kind == b"sysfs":
        from runsc.kernel.fs.sysfs import make_sysfs

        fs = make_sysfs(kernel)
    elif kind == b"devtmpfs":
        from runsc.kernel.fs.devtmpfs import make_dev

        fs = make_dev(kernel)
    elif kind == b"devpts":
        from runsc.kernel.fs.devpts import DevPts

        fs = DevPts(kernel)
    elif kind == b"mqueue":
        return mqueue_fs(ipc_tables(task))
    else:
        raise LinuxError(ENODEV)
    fs.source = name
    return fs


# -- tmpfs's options: tmpfs(5) ------------------------------------------------------------------


def _number(text: bytes | None, base: int = 10) -> int:
    try:
        value = int(text or b"", base)
    except ValueError:
        raise LinuxError(EINVAL) from None
    if value < 0:
        raise LinuxError(EINVAL)
    return value


def _size(text: bytes | None) -> int:
    """A number with a suffix of k, m, g, t or p (memparse)."""
    text = text or b""
    power = b"kmgtp".find(text[-1:].lower()) + 1 if text else 0
    return _number(text[:-1] if power else text) << 10 * power


def _make_tmpfs(kind: str, source: str, options: list[tuple[bytes, bytes | None]]) -> Tmpfs:
    size: int | None = None
    inodes: int | None = None
    mode = 0o1777 if kind == "tmpfs" else 0o755
    uid = gid = 0
    for key, value in options:
        if kind == "tmpfs" and key == b"size":
            size = _tmpfs_size(value)
        elif kind == "tmpfs" and key == b"nr_blocks":
            size = _size(value) * _PAGE
        elif kind == "tmpfs" and key == b"nr_inodes":
            inodes = _size(value)
        elif key == b"mode":
            mode = _number(value, 8) & 0o7777
        elif kind == "tmpfs" and key == b"uid":
            uid = _number(value)
        elif kind == "tmpfs" and key == b"gid":
            gid = _number(value)
        elif kind == "tmpfs" and key in (b"inode32", b"inode64", b"noswap") and value is None:
            continue  # how numbers are made and where pages go: nothing that can be seen here
        elif kind == "ramfs":
            continue  # ramfs ignores what it doesn't know
        else:
            raise LinuxError(EINVAL)
    if kind == "ramfs":
        size = inodes = 0
    return Tmpfs(size, mode, uid, gid, inodes, source, name=kind)


def _tmpfs_size(value: bytes | None) -> int:
    if value and value.endswith(b"%"):
        ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return _number(value[:-1]) * ram // 100
    return _size(value)


def _reconfigure(fs: FileSystem, options: list[tuple[bytes, bytes | None]]) -> None:
    """The options of a remount: tmpfs can change its size; raises EINVAL for one smaller than what is
    used."""
    if not isinstance(fs, Tmpfs):
        return
    for key, value in options:
        if key == b"size":
            pages = (_tmpfs_size(value) + _PAGE - 1) // _PAGE or UNLIMITED
            if pages < fs.pages_used:
                raise LinuxError(EINVAL)
            fs.max_pages = pages
        elif key not in (b"mode", b"uid", b"gid", b"nr_inodes", b"nr_blocks", b"inode32", b"inode64"):
            raise LinuxError(EINVAL)


# -- umount, pivot_root -------------------------------------------------------------------------


@syscall(166, PARTIAL, "MNT_EXPIRE never unmounts")
def umount2(task: Task, target: PathStr, flags: UmountFlags) -> Result:
    """umount2(2)."""
    if flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW):
        raise LinuxError(EINVAL)
    # A path such as . is looked at through what is mounted on it (LOOKUP_MOUNTPOINT).
    at = task.fs.namespace.topmost(lookup(task, AT_FDCWD, target, not flags & UMOUNT_NOFOLLOW))
    if not may_mount(task):
        raise LinuxError(EPERM)
    if flags & MNT_EXPIRE:
        if flags & (MNT_FORCE | MNT_DETACH):
            raise LinuxError(EINVAL)
        raise LinuxError(EAGAIN)
    if at.mount is task.fs.root.mount and is_mount_root(at) and not flags & MNT_DETACH:
        raise LinuxError(EBUSY)
    unmount(task, at, bool(flags & MNT_DETACH))
    return 0


@syscall(155)
def pivot_root(task: Task, new_root: PathStr, put_old: PathStr) -> Result:
    """pivot_root(2)."""
    if not may_mount(task):
        raise LinuxError(EPERM)
    new = lookup(task, AT_FDCWD, new_root)
    old = lookup(task, AT_FDCWD, put_old)
    for path in (new, old):
        if not _is_dir(path):
            raise LinuxError(ENOTDIR)
    do_pivot_root(task, new, old)
    return 0
