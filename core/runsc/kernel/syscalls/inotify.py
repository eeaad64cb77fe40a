"""inotify_init(2), inotify_add_watch(2), inotify_rm_watch(2)."""

from __future__ import annotations

from errno import EINVAL, ENOTDIR

from runsc.abi.fcntl import AT_FDCWD, O_CLOEXEC, O_NONBLOCK
from runsc.abi.inotify import (
    ALL_INOTIFY_BITS,
    IN_DONT_FOLLOW,
    IN_MASK_ADD,
    IN_MASK_CREATE,
    IN_ONLYDIR,
)  # fmt: skip
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.fs.inotify import Inotify
from runsc.kernel.syscalls.decl import Fd, FdFlags, Int, PathPtr, UInt, syscall
from runsc.kernel.vfs.install import install
from runsc.kernel.vfs.namei import lookup
from runsc.kernel.vfs.permission import MAY_READ, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task


def _create(task: Task, flags: int) -> int:
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        raise LinuxError(EINVAL)
    inode = anon_inodes(task.kernel).anon_inode
    return install(task, Inotify(inode, flags & O_NONBLOCK, task.kernel), bool(flags & O_CLOEXEC))


@syscall(253)
def inotify_init(task: Task) -> Result:
    """inotify_init(2)."""
    return _create(task, 0)


@syscall(294)
def inotify_init1(task: Task, flags: FdFlags) -> Result:
    """inotify_init1(2): IN_CLOEXEC, IN_NONBLOCK."""
    return _create(task, flags)


def _inotify_of(task: Task, fd: int) -> Inotify:
    file = task.files.get(fd)
    if not isinstance(file, Inotify):
        raise LinuxError(EINVAL)
    return file


@syscall(254)
def inotify_add_watch(task: Task, fd: Fd, pathname: PathPtr, mask: UInt) -> Result:
    """inotify_add_watch(2)."""
    if not mask & ALL_INOTIFY_BITS:
        raise LinuxError(EINVAL)
    file = task.files.get(fd)
    if mask & IN_MASK_ADD and mask & IN_MASK_CREATE:
        raise LinuxError(EINVAL)
    if not isinstance(file, Inotify):
        raise LinuxError(EINVAL)
    path = lookup(task, AT_FDCWD, task.mm.copy_in_path(pathname), not mask & IN_DONT_FOLLOW)
    inode = path.dentry.inode
    assert inode is not None
    if mask & IN_ONLYDIR and not inode.is_dir():
        raise LinuxError(ENOTDIR)
    check(inode, task.cred, MAY_READ)
    wd = file.add_watch(path, mask)
    # Where others change the files too, that must be heard of: a file's changes come from its directory.
    dentry = path.dentry if inode.is_dir() else path.dentry.parent
    if dentry.inode is not None:
        dentry.inode.be_told(dentry, task.fs.namespace.cache)
    return wd


@syscall(255)
def inotify_rm_watch(task: Task, fd: Fd, wd: Int) -> Result:
    """inotify_rm_watch(2)."""
    watch = _inotify_of(task, fd).watches.get(wd)
    if watch is None:
        raise LinuxError(EINVAL)
    watch.gone()
    return 0
