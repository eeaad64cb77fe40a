"""The short way along a path: everything is in the dentry cache, and nothing on the way needs a decision.

Nearly all walks are like that. Whatever isn't (a name not looked up yet, a symbolic link to follow, ``..``, a
directory that not everybody may search, a file system whose names are not cached) is answered None, and
``namei`` takes the long way from the start (in Linux: RCU-walk and REF-walk).
"""

from __future__ import annotations

from errno import ENOENT

from runsc.abi.fcntl import AT_FDCWD
from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.dentry import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

#: Type and execute bits of a mode, and what they are of a directory that everybody may search.
_SEARCH_MASK = 0o170111
_SEARCHABLE = 0o040111

_SLASH = 47


def quick_lookup(task: Task, dirfd: int, path: bytes, follow: bool) -> Path | None:
    """What ``path`` names, if the short way leads there. Raises ENOENT for a name known not to be there."""
    fs = task.fs
    if path[0] == _SLASH:
        at = fs.root
    elif dirfd == AT_FDCWD:
        at = fs.cwd
    else:
        file = task.files.files.get(dirfd)
        if file is None or file.path is None:
            return None
        at = file.path
    mount = at.mount
    dentry = at.dentry
    inode = dentry.inode
    if inode is None or not mount.fs.cached:
        return None
    for name in path.split(b"/"):
        if not name:
            continue
        if inode.mode & _SEARCH_MASK != _SEARCHABLE:
            return None
        child = dentry.children.get(name)
        if child is None:
            return None
        inode = child.inode
        if inode is None:
            raise LinuxError(ENOENT)
        dentry = child
        if child.mounts:
            above = mount.children.get(child)
            if above is not None:
                mount = above
                dentry = above.root
                inode = dentry.inode
                if inode is None or dentry.mounts or not mount.fs.cached:
                    return None
    kind = inode.mode & 0o170000
    if kind == 0o120000 and follow:
        return None
    if kind != 0o040000 and path[-1] == _SLASH:
        return None
    return Path(mount, dentry)


def quick_parent(task: Task, dirfd: int, path: bytes) -> tuple[Path, bytes] | None:
    """The directory of the last component of ``path``, and that component, if the short way leads there."""
    head, _slash, name = path.rpartition(b"/")
    if name in (b"", b".", b"..") or len(name) > 255:
        return None
    if head:
        parent = quick_lookup(task, dirfd, head, True)
    elif path[0] == _SLASH:
        parent = task.fs.root
    elif dirfd == AT_FDCWD:
        parent = task.fs.cwd
    else:
        return None
    if parent is None:
        return None
    inode = parent.dentry.inode
    if inode is None or inode.mode & _SEARCH_MASK != _SEARCHABLE:
        return None
    return parent, name
