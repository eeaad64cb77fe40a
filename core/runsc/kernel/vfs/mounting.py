"""Changes of the mount tree: new mounts, bind mounts, moves, remounts, unmounts, pivots (fs/namespace.c).

The tree itself is ``namespace``; here is what may be done to it, and the errors.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, ELOOP, ENOENT, ENOTDIR, EPERM

from runsc.abi.mount import MOUNT_FLAGS, MS_PRIVATE, MS_RDONLY, MS_SHARED
from runsc.kernel.credentials import CAP_SYS_ADMIN
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.nsfs import NsInode
from runsc.kernel.vfs.dentry import MNT_LOCKED, MS_NOATIME, MS_NODIRATIME, MS_RELATIME, Path
from runsc.kernel.vfs.namespace import LOCKABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Dentry, Mount
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import FileSystem
    from runsc.kernel.vfs.namespace import MountNamespace


_ATIME = MS_NOATIME | MS_NODIRATIME | MS_RELATIME


def may_mount(task: Task) -> bool:
    """May the task change its mount namespace?"""
    return task.cred.ns_capable(task.fs.namespace.user_ns, CAP_SYS_ADMIN)


def too_revealing(namespace: MountNamespace, kind: str) -> bool:
    """May a proc or sysfs not be mounted in a namespace that others than the machine's root own, since none
    can be seen whole there (mount_too_revealing)?"""
    for mount in namespace.all_mounts():
        if mount.fs.name == kind and is_mount_root(Path(mount, mount.root)) and mount.root.is_root():
            if not any(child.locked & MNT_LOCKED for child in mount.children.values()):
                return False
    return True


def is_mount_root(path: Path) -> bool:
    """Is it the root of a mount (path_mounted)?"""
    return path.dentry is path.mount.root


def below(dentry: Dentry, root: Dentry) -> bool:
    """Is ``dentry`` in the tree below ``root``, or that itself?"""
    while dentry is not root:
        if dentry.parent is dentry:
            return False
        dentry = dentry.parent
    return True


def mounts_in(mount: Mount, root: Mount) -> bool:
    """Is ``mount`` ``root``, or does it stand somewhere in it?"""
    at: Mount | None = mount
    while at is not None:
        if at is root:
            return True
        at = at.parent
    return False


# -- users --------------------------------------------------------------------------------------


def open_files(kernel: Kernel) -> Iterator[File]:
    """Every file that a process has open, mapped or runs; some of them more than once."""
    seen: set[int] = set()
    for task in kernel.tasks.values():
        if hasattr(task, "files") and id(task.files) not in seen:
            seen.add(id(task.files))
            yield from task.files.files.values()
        if hasattr(task, "mm") and id(task.mm) not in seen:
            seen.add(id(task.mm))
            if task.mm.exe is not None:
                yield task.mm.exe
            for vma in task.mm.vmas:
                if vma.file is not None:
                    yield vma.file


def in_use(kernel: Kernel, mount: Mount) -> bool:
    """Does a process have something of ``mount`` open, or stand in it?"""
    for task in kernel.tasks.values():
        fs = getattr(task, "fs", None)
        if fs is not None and (fs.cwd.mount is mount or fs.root.mount is mount):
            return True
    return any(file.path is not None and file.path.mount is mount for file in open_files(kernel))


def open_for_writing(kernel: Kernel, mount: Mount) -> bool:
    """Does a process have a file of ``mount`` open for writing?"""
    return any(
        file.path is not None and file.path.mount is mount and file.is_regular and file.writable()
        for file in open_files(kernel)
    )


# -- mounts -------------------------------------------------------------------------------------


def graft(namespace: MountNamespace, mount: Mount, at: Path) -> None:
    """Put a mount on ``at`` (graft_tree); raises ENOTDIR, ENOENT."""
    assert at.dentry.inode is not None
    assert mount.root.inode is not None
    if at.dentry.inode.is_dir() != mount.root.inode.is_dir():
        raise LinuxError(ENOTDIR)
    if at.dentry.dead:
        raise LinuxError(ENOENT)
    namespace.attach(mount, at)


def new_mount(task: Task, fs: FileSystem, at: Path, flags: int) -> None:
    """Mount a new file system (do_new_mount)."""
    namespace = task.fs.namespace
    mount = namespace.new_mount(fs, flags & MOUNT_FLAGS)
    try:
        graft(namespace, mount, at)
    except LinuxError:
        mount.root.pins -= 1
        fs.release()
        raise


def bind(task: Task, source: Path, at: Path, recursive: bool) -> None:
    """Make ``source`` appear at ``at`` too; with what is mounted below it, if ``recursive`` (do_loopback)."""
    namespace = task.fs.namespace
    if not namespace.owns(source.mount) and not isinstance(source.dentry.inode, NsInode):
        raise LinuxError(EINVAL)
    if not recursive and any(
        child.locked & MNT_LOCKED and below(point, source.dentry)
        for point, child in source.mount.children.items()
    ):
        raise LinuxError(EINVAL)
    # The whole copy is made before it is attached: it may be attached within what is copied.
    fs = source.dentry.inode.fs if isinstance(source.dentry.inode, NsInode) else source.mount.fs
    copy = namespace.new_mount(fs, source.mount.flags, source.dentry)
    copy.locked = source.mount.locked & ~MNT_LOCKED
    try:
        if recursive:
            _copy_children(namespace, source.mount, copy, source.dentry)
        graft(namespace, copy, at)
    except LinuxError:
        for mount in _tree(copy):
            mount.root.pins -= 1
            if mount.point is not None:
                mount.point.mounts -= 1
        raise


def _copy_children(namespace: MountNamespace, source: Mount, copy: Mount, root: Dentry) -> None:
    for point, child in list(source.children.items()):
        if below(point, root):
            child_copy = namespace.new_mount(child.fs, child.flags, child.root)
            child_copy.locked = child.locked
            child_copy.parent = copy
            child_copy.point = point
            copy.children[point] = child_copy
            point.mounts += 1
            _copy_children(namespace, child, child_copy, child.root)


def _tree(mount: Mount) -> Iterator[Mount]:
    yield mount
    for child in list(mount.children.values()):
        yield from _tree(child)


def unhook(mount: Mount) -> None:
    """Take a mount off its place; what stands in it goes with it."""
    assert mount.parent is not None
    assert mount.point is not None
    del mount.parent.children[mount.point]
    mount.point.mounts -= 1
    mount.parent = mount.point = None


def move(task: Task, source: Path, at: Path) -> None:
    """MS_MOVE: raises EINVAL unless ``source`` is a mount that stands somewhere, ELOOP for a place within
    it."""
    mount = source.mount
    if not is_mount_root(source) or mount.parent is None or mount.locked & MNT_LOCKED:
        raise LinuxError(EINVAL)
    assert at.dentry.inode is not None
    assert mount.root.inode is not None
    if at.dentry.inode.is_dir() != mount.root.inode.is_dir():
        raise LinuxError(EINVAL)
    if mounts_in(at.mount, mount):
        raise LinuxError(ELOOP)
    unhook(mount)
    task.fs.namespace.attach(mount, at)


def remount(task: Task, at: Path, flags: int, bind_only: bool) -> None:
    """MS_REMOUNT: other flags for a mount, or (not ``bind_only``) for all mounts of its file system.

    Raises EINVAL if ``at`` is no mount, EBUSY for read-only while files are open for writing."""
    if not is_mount_root(at):
        raise LinuxError(EINVAL)
    if at.mount.locked & ~flags & (LOCKABLE & ~_ATIME) or (
        at.mount.locked & _ATIME and (at.mount.flags ^ flags) & _ATIME
    ):
        raise LinuxError(EPERM)
    mounts = [at.mount]
    if not bind_only:
        mounts = [mount for mount in task.fs.namespace.all_mounts() if mount.fs is at.mount.fs]
    if flags & MS_RDONLY:
        for mount in mounts:
            if not mount.flags & MS_RDONLY and open_for_writing(task.kernel, mount):
                raise LinuxError(EBUSY)
    for mount in mounts:
        if mount is at.mount:
            mount.flags = flags & MOUNT_FLAGS
        else:
            mount.flags = mount.flags & ~MS_RDONLY | flags & MS_RDONLY


def change_propagation(task: Task, at: Path, kind: int, recursive: bool) -> None:
    """MS_SHARED and its opposites. Without a second namespace there is nobody to propagate to; the state is
    what /proc/PID/mountinfo shows."""
    if not is_mount_root(at):
        raise LinuxError(EINVAL)
    for mount in _tree(at.mount) if recursive else (at.mount,):
        if kind == MS_SHARED:
            if not mount.shared:
                mount.shared = mount.ident
        else:
            # A slave of nobody is a private mount.
            mount.shared = 0
            if kind == MS_PRIVATE:
                mount.master = 0


def unmount(task: Task, at: Path, lazy: bool) -> None:
    """umount2(2). Raises EINVAL if ``at`` is no mount, EBUSY if it is in use, or others stand in it."""
    mount = at.mount
    namespace = task.fs.namespace
    if not is_mount_root(at):
        raise LinuxError(EINVAL)
    if mount.locked & MNT_LOCKED or not namespace.owns(mount):
        raise LinuxError(EINVAL)
    if mount.parent is None:
        raise LinuxError(EINVAL if mount is not namespace.root or lazy else EBUSY)
    if not lazy and (mount.children or in_use(task.kernel, mount)):
        raise LinuxError(EBUSY)
    used = {mount.fs for mount in _tree(mount) if in_use(task.kernel, mount)}
    gone = {mount.fs for mount in _tree(mount)}
    namespace.detach(mount, True)
    for fs in gone - used:
        if not namespace.mounted(fs):
            fs.release()


def pivot_root(task: Task, new: Path, put_old: Path) -> None:
    """pivot_root(2): the mount ``new`` becomes the root, and the old root stands on ``put_old`` in it."""
    namespace = task.fs.namespace
    root = task.fs.root
    if new.mount is root.mount or put_old.mount is root.mount:
        raise LinuxError(EBUSY)
    if not is_mount_root(root) or not is_mount_root(new) or new.mount.parent is None:
        raise LinuxError(EINVAL)
    if new.mount.locked & MNT_LOCKED or not namespace.owns(new.mount):
        raise LinuxError(EINVAL)
    if not _reachable(put_old, new) or not mounts_in(new.mount, root.mount):
        raise LinuxError(EINVAL)
    old_mount, new_mount_ = root.mount, new.mount
    place = None if old_mount.parent is None else Path(old_mount.parent, old_mount.point or old_mount.root)
    new_mount_.locked |= old_mount.locked & MNT_LOCKED
    old_mount.locked &= ~MNT_LOCKED
    unhook(new_mount_)
    if place is None:
        namespace.root = new_mount_
    else:
        unhook(old_mount)
        namespace.attach(new_mount_, place)
    namespace.attach(old_mount, put_old)
    old_root = Path(old_mount, old_mount.root)
    for other in task.kernel.tasks.values():
        if other.fs.namespace is not namespace:
            continue
        if other.fs.root == old_root:
            other.fs.set_root(new)
        if other.fs.cwd == old_root:
            other.fs.set_cwd(new)


def _reachable(path: Path, root: Path) -> bool:
    """Is ``path`` at or below ``root`` (is_path_reachable)?"""
    mount: Mount | None = path.mount
    dentry = path.dentry
    while mount is not None and mount is not root.mount:
        if mount.point is None:
            return False
        dentry = mount.point
        mount = mount.parent
    return mount is not None and below(dentry, root.dentry)
