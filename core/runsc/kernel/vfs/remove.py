"""Taking names away and moving them: unlink(2), rmdir(2), rename(2), link(2) (fs/namei.c).

Each keeps the dentry cache as the file system is: a dentry whose name is gone is dead and out of the cache
(who
has it open still finds its inode there), one that was moved hangs at its new place.
"""

from __future__ import annotations

from errno import EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EROFS, EXDEV
from stat import S_ISVTX

from runsc.abi.fcntl import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT
from runsc.kernel.credentials import CAP_FOWNER
from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.inode import SetAttr
from runsc.kernel.vfs.namei import child_of, fs_cache, lookup_parent
from runsc.kernel.vfs.notify import deleted, linked
from runsc.kernel.vfs.notify import moved as moved_to
from runsc.kernel.vfs.operations import create_name, may_create, require
from runsc.kernel.vfs.permission import MAY_EXEC, MAY_WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Dentry, DentryCache, Path
    from runsc.kernel.vfs.inode import Inode


def may_delete(task: Task, parent: Path, victim: Dentry, directory: bool) -> Inode:
    """May the task take ``victim``'s name out of ``parent``? Its inode (may_delete).

    ``directory``: a directory is to be removed; ENOTDIR and EISDIR say that it is, or isn't, one.
    """
    inode = victim.inode
    if inode is None:
        raise LinuxError(ENOENT)
    place = parent.dentry.inode
    assert place is not None
    cred = task.cred
    require(place, cred, MAY_WRITE | MAY_EXEC)
    if place.mode & S_ISVTX and cred.fsuid not in (inode.uid, place.uid) and not cred.inode_capable(
        CAP_FOWNER, inode.uid, inode.gid
    ):
        inode.refresh()
        if cred.fsuid != inode.uid:
            raise LinuxError(EPERM)
    if directory:
        if not inode.is_dir():
            raise LinuxError(ENOTDIR)
    elif inode.is_dir():
        raise LinuxError(EISDIR)
    if parent.dentry.dead:
        raise LinuxError(ENOENT)
    return inode


def bury(cache: DentryCache, dentry: Dentry) -> None:
    """The name of ``dentry`` is gone."""
    dentry.dead = True
    cache.forget(dentry)
    for child in list(dentry.children.values()):
        cache.forget(child)  # only names that are known not to be there are left in it


def remove_file(task: Task, dirfd: int, path: bytes) -> None:
    """unlink(2)."""
    found = lookup_parent(task, dirfd, path)
    if found.special:
        raise LinuxError(EISDIR)
    parent = found.parent
    if parent.mount.read_only():
        raise LinuxError(EROFS)
    dentry = child_of(task, parent, found.name)
    inode = dentry.inode
    if inode is None:
        raise LinuxError(ENOENT)
    if found.trailing:
        raise LinuxError(EISDIR if inode.is_dir() else ENOTDIR)
    may_delete(task, parent, dentry, False)
    if dentry.mounts:
        raise LinuxError(EBUSY)
    directory = parent.dentry.inode
    assert directory is not None
    directory.unlink(found.name, inode)
    bury(fs_cache(task), dentry)
    if task.kernel.notify is not None:
        deleted(task.kernel, dentry, inode)


def remove_directory(task: Task, dirfd: int, path: bytes) -> None:
    """rmdir(2)."""
    found = lookup_parent(task, dirfd, path)
    if found.special:
        if found.name == b"..":
            raise LinuxError(ENOTEMPTY)
        raise LinuxError(EINVAL if found.name == b"." else EBUSY)
    parent = found.parent
    if parent.mount.read_only():
        raise LinuxError(EROFS)
    dentry = child_of(task, parent, found.name)
    inode = may_delete(task, parent, dentry, True)
    if dentry.mounts:
        raise LinuxError(EBUSY)
    directory = parent.dentry.inode
    assert directory is not None
    directory.rmdir(found.name, inode)
    bury(fs_cache(task), dentry)
    if task.kernel.notify is not None:
        deleted(task.kernel, dentry, inode)


# -- link ---------------------------------------------------------------------------------------


def make_link(task: Task, old: Path, dirfd: int, path: bytes) -> None:
    """link(2): another name for ``old``."""
    found, dentry = create_name(task, dirfd, path, check=False)
    if old.mount is not found.parent.mount:
        raise LinuxError(EXDEV)
    may_create(task, found.parent)
    inode = old.dentry.inode
    directory = found.parent.dentry.inode
    assert inode is not None
    assert directory is not None
    if inode.fs is not directory.fs:
        raise LinuxError(EXDEV)
    if inode.is_dir():
        raise LinuxError(EPERM)
    inode.refresh()
    if inode.nlink == 0 and not (inode.extra and inode.extra.get("linkable")):
        raise LinuxError(ENOENT)
    directory.link(found.name, inode)
    if inode.extra:
        inode.extra.pop("linkable", None)
    dentry.inode = inode
    if task.kernel.notify is not None:
        linked(task.kernel, dentry)


# -- rename -------------------------------------------------------------------------------------


def within(dentry: Dentry, ancestor: Dentry) -> bool:
    """Is ``dentry`` in the tree below ``ancestor``, or that itself?"""
    while dentry is not ancestor:
        if dentry.parent is dentry:
            return False
        dentry = dentry.parent
    return True


def rename(
    task: Task, old_dirfd: int, old_path: bytes, new_dirfd: int, new_path: bytes, flags: int = 0
) -> None:
    """renameat2(2)."""
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT):
        raise LinuxError(EINVAL)
    exchange = bool(flags & RENAME_EXCHANGE)
    if exchange and flags & (RENAME_NOREPLACE | RENAME_WHITEOUT):
        raise LinuxError(EINVAL)
    old = lookup_parent(task, old_dirfd, old_path)
    new = lookup_parent(task, new_dirfd, new_path)
    if old.parent.mount is not new.parent.mount:
        raise LinuxError(EXDEV)
    if old.special:
        raise LinuxError(EBUSY)
    if new.special:
        raise LinuxError(EEXIST if flags & RENAME_NOREPLACE else EBUSY)
    if old.parent.mount.read_only():
        raise LinuxError(EROFS)
    source = child_of(task, old.parent, old.name)
    target = child_of(task, new.parent, new.name)
    if source.inode is None:
        raise LinuxError(ENOENT)
    if target.inode is None:
        if exchange:
            raise LinuxError(ENOENT)
    elif flags & RENAME_NOREPLACE:
        raise LinuxError(EEXIST)
    elif exchange and new.trailing and not target.inode.is_dir():
        raise LinuxError(ENOTDIR)
    if not source.inode.is_dir() and (old.trailing or (new.trailing and not exchange)):
        raise LinuxError(ENOTDIR)
    if within(new.parent.dentry, source):
        raise LinuxError(EINVAL)
    if within(old.parent.dentry, target):
        raise LinuxError(EINVAL if exchange else ENOTEMPTY)
    _rename_dentries(task, old.parent, source, new.parent, target, flags)


def _rename_dentries(
    task: Task, old_parent: Path, source: Dentry, new_parent: Path, target: Dentry, flags: int
) -> None:
    """vfs_rename."""
    moved = source.inode
    replaced = target.inode
    old_dir = old_parent.dentry.inode
    new_dir = new_parent.dentry.inode
    assert moved is not None
    assert old_dir is not None
    assert new_dir is not None
    if moved is replaced:
        return  # two names of one file: nothing is done (rename(2))
    exchange = bool(flags & RENAME_EXCHANGE)
    is_dir = moved.is_dir()
    may_delete(task, old_parent, source, is_dir)
    if replaced is None:
        may_create(task, new_parent)
    else:
        may_delete(task, new_parent, target, replaced.is_dir() if exchange else is_dir)
    if old_dir is not new_dir:
        # A directory that moves gets another "..": that is a write to it.
        if is_dir:
            require(moved, task.cred, MAY_WRITE)
        if exchange and replaced is not None and replaced.is_dir():
            require(replaced, task.cred, MAY_WRITE)
    if source.mounts or target.mounts:
        raise LinuxError(EBUSY)
    old_name, new_name = source.name, target.name
    old_dir.rename(old_name, moved, new_dir, new_name, replaced, flags & ~RENAME_NOREPLACE)
    cache = fs_cache(task)
    if flags & RENAME_WHITEOUT and (task.cred.fsuid or task.cred.fsgid):
        # The file system can't know who is asking: the whiteout is the caller's.
        old_dir.lookup(old_name, task).setattr(SetAttr(uid=task.cred.fsuid, gid=task.cred.fsgid))
    if exchange:
        _place(cache, source, new_parent.dentry, new_name)
        _place(cache, target, old_parent.dentry, old_name)
        if task.kernel.notify is not None and replaced is not None:
            moved_to(task.kernel, moved, old_dir, old_name, new_dir, new_name, None)
            moved_to(task.kernel, replaced, new_dir, new_name, old_dir, old_name, None)
        return
    if replaced is not None:
        bury(cache, target)
    else:
        cache.forget(target)
    if old_parent.dentry.children.get(old_name) is source:
        del old_parent.dentry.children[old_name]
    _place(cache, source, new_parent.dentry, new_name)
    if task.kernel.notify is not None:
        gone = (target, replaced) if replaced is not None else None
        moved_to(task.kernel, moved, old_dir, old_name, new_dir, new_name, gone)


def _place(cache: DentryCache, dentry: Dentry, parent: Dentry, name: bytes) -> None:
    """Hang ``dentry`` at its new place (d_move)."""
    dentry.parent = parent
    dentry.name = name
    cache.add(dentry)
