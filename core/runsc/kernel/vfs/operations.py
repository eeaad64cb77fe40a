"""Opening files and making nodes: what open(2), execve(2), bind(2) and others share (fs/namei.c, fs/open.c).

``open_file`` is for callers inside the kernel; ``start_open`` for open(2), which may have to wait for the
other side of a FIFO. A file that is answered here has no references yet: install it, or ``discard`` it.
"""

from __future__ import annotations

from errno import EACCES, EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, ENXIO, EPERM, EROFS, ETXTBSY
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK, S_ISGID, S_IXGRP

from runsc.abi.fcntl import (
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOATIME,
    O_NOCTTY,
    O_NOFOLLOW,
    O_PATH,
    O_TRUNC,
    O_WRONLY,
)
from runsc.abi.inotify import IN_MODIFY, IN_OPEN
from runsc.abi.stat import S_IFMT
from runsc.kernel.credentials import CAP_FSETID, CAP_MKNOD
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.pipe import FifoOpening, open_fifo
from runsc.kernel.vfs.dentry import MS_NODEV, Path
from runsc.kernel.vfs.fastwalk import quick_parent
from runsc.kernel.vfs.file import File, PathFile
from runsc.kernel.vfs.leases import LeaseBreak, break_lease
from runsc.kernel.vfs.namei import Walker, child_of, lookup, lookup_parent, start_of
from runsc.kernel.vfs.notify import created, file_event
from runsc.kernel.vfs.permission import MAY_EXEC, MAY_READ, MAY_WRITE, allowed, owner_or_capable
from runsc.kernel.vfs.truncate import set_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Dentry
    from runsc.kernel.vfs.inode import Inode
    from runsc.kernel.vfs.namei import Found

#: The bit that distinguishes O_TMPFILE from O_DIRECTORY (__O_TMPFILE).
TMPFILE_BIT = 0o20000000

#: What O_PATH leaves of the flags (O_PATH_FLAGS).
_PATH_FLAGS = O_DIRECTORY | O_NOFOLLOW | O_PATH

#: Flags that concern the act of opening, and that F_GETFL doesn't show.
_OPENING_FLAGS = O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC

#: What each access mode asks of the inode (ACC_MODE); mode 3 is for ioctl(2) only, and asks for both.
_ACCESS = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE)


def open_file(task: Task, dirfd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0) -> File:
    """open(2) for callers inside the kernel. ``resolve``: RESOLVE_* of openat2(2).

    Raises what open(2) answers; ``WOULD_BLOCK`` for a FIFO whose other side nobody has opened.
    """
    opened = start_open(task, dirfd, path, flags, mode, resolve)
    if isinstance(opened, (FifoOpening, LeaseBreak)):
        opened.cancel()
        raise WOULD_BLOCK
    return opened


def open_inode(task: Task, path: Path, flags: int) -> File:
    """Open what a walk has found, with the checks that open(2) makes. As ``open_file`` for a FIFO."""
    opened = open_found(task, path, flags)
    if isinstance(opened, (FifoOpening, LeaseBreak)):
        opened.cancel()
        raise WOULD_BLOCK
    return opened


def discard(file: File) -> None:
    """Close a file that nobody has taken a reference to."""
    file.get()
    file.put()


def start_open(
    task: Task, dirfd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0
) -> File | FifoOpening | LeaseBreak:
    """open(2), except that a FIFO may answer an opening to wait for (see ``runsc.kernel.fs.pipe``).

    ``flags`` were checked (build_open_flags): the combinations that are EINVAL don't get here.
    """
    if flags & (O_PATH | TMPFILE_BIT | O_CREAT):
        if flags & O_PATH:
            return _open_place(task, dirfd, path, flags, resolve)
        if flags & TMPFILE_BIT:
            return _open_tmpfile(task, dirfd, path, flags, mode, resolve)
        return _open_creating(task, dirfd, path, flags, mode, resolve)
    return open_found(task, lookup(task, dirfd, path, not flags & O_NOFOLLOW, False, resolve), flags)


def _open_place(task: Task, dirfd: int, path: bytes, flags: int, resolve: int) -> File:
    """O_PATH."""
    where = lookup(task, dirfd, path, not flags & O_NOFOLLOW, False, resolve)
    inode = where.dentry.inode
    assert inode is not None
    if flags & O_DIRECTORY and not inode.is_dir():
        raise LinuxError(ENOTDIR)
    return PathFile(inode, flags & _PATH_FLAGS, where)


def _open_tmpfile(task: Task, dirfd: int, path: bytes, flags: int, mode: int, resolve: int) -> File:
    """O_TMPFILE: a file without a name, in the file system of a directory."""
    from runsc.kernel.vfs.dentry import Dentry

    where = lookup(task, dirfd, path, not flags & O_NOFOLLOW, False, resolve)
    directory = where.dentry.inode
    assert directory is not None
    if not directory.is_dir():
        raise LinuxError(ENOTDIR)
    if where.mount.read_only():
        raise LinuxError(EROFS)
    require(directory, task.cred, MAY_WRITE | MAY_EXEC)
    inode = directory.tmpfile(S_IFREG | _creation_mode(task, directory, mode), task.cred)
    if not flags & O_EXCL:
        # linkat(2) may give it a name although it has none (I_LINKABLE).
        inode.extra = inode.extra or {}
        inode.extra["linkable"] = True
    dentry = Dentry(b"#%d" % inode.ino, where.dentry, inode)
    dentry.dead = True
    return inode.open(Path(where.mount, dentry), flags & ~(_OPENING_FLAGS | O_NOCTTY), task)


def _open_creating(
    task: Task, dirfd: int, path: bytes, flags: int, mode: int, resolve: int
) -> File | FifoOpening | LeaseBreak:
    """O_CREAT: open, or make and open (open_last_lookups, lookup_open)."""
    if not path:
        raise LinuxError(ENOENT)
    quick = quick_parent(task, dirfd, path) if not resolve else None
    dentry = child_of(task, *quick) if quick is not None else None
    if quick is not None and dentry is not None and (dentry.inode is None or not dentry.inode.is_symlink()):
        where = quick[0]
    else:
        walker = Walker(task, resolve)
        found = walker.to_parent(start_of(task, dirfd, path, resolve), path)
        if found.special:
            raise LinuxError(EEXIST if flags & O_EXCL else EISDIR)
        where, dentry = walker.open_last(found, not flags & O_NOFOLLOW, bool(flags & O_EXCL))
    inode = dentry.inode
    if inode is None:
        directory = where.dentry.inode
        assert directory is not None
        if where.dentry.dead:
            raise LinuxError(ENOENT)
        if where.mount.read_only():
            raise LinuxError(EROFS)
        require(directory, task.cred, MAY_WRITE | MAY_EXEC)
        if task.kernel.events is not None:
            task.kernel.events.file_open(task, where, dentry.name, flags)
        inode = directory.create(dentry.name, S_IFREG | _creation_mode(task, directory, mode), task.cred)
        dentry.inode = inode
        # The new file is opened whatever its mode says: no permission is asked for.
        file = inode.open(Path(where.mount, dentry), flags & ~(_OPENING_FLAGS | O_NOCTTY), task)
        if task.kernel.notify is not None:
            created(task.kernel, dentry)
            file_event(task.kernel, file, IN_OPEN)
        return file
    if flags & O_EXCL:
        raise LinuxError(EEXIST)
    place = Path(where.mount, dentry)
    if dentry.mounts:
        place = task.fs.namespace.topmost(place)
        inode = place.dentry.inode
        assert inode is not None
    if inode.is_dir():
        raise LinuxError(EISDIR)
    return open_found(task, place, flags)


def open_found(task: Task, path: Path, flags: int) -> File | FifoOpening | LeaseBreak:
    """Open an existing object (do_open, may_open, do_dentry_open)."""
    inode = path.dentry.inode
    if inode is None:
        raise LinuxError(ENOENT)
    kind = inode.mode & S_IFMT
    access = flags & O_ACCMODE
    mask = _ACCESS[access]
    if flags & O_DIRECTORY and kind != S_IFDIR:
        raise LinuxError(ENOTDIR)
    truncates = False
    if flags & O_TRUNC:
        mask |= MAY_WRITE
        if kind == S_IFREG:
            truncates = True
            if path.mount.read_only():
                raise LinuxError(EROFS)
    if kind != S_IFREG:
        if kind == S_IFDIR:
            if mask & MAY_WRITE:
                raise LinuxError(EISDIR)
        elif kind == S_IFLNK:
            raise LinuxError(ELOOP)
        elif kind in (S_IFCHR, S_IFBLK) and path.mount.flags & MS_NODEV:
            raise LinuxError(EACCES)
    elif mask & MAY_WRITE:
        if path.mount.fs.read_only:
            raise LinuxError(EROFS)
        if inode.write_count < 0:
            require(inode, task.cred, mask)
            raise LinuxError(ETXTBSY)
    if not allowed(inode, task.cred, mask):
        require(inode, task.cred, mask)
    if flags & O_NOATIME and not owner_or_capable(inode, task.cred):
        raise LinuxError(EPERM)
    if access and kind == S_IFREG and path.mount.read_only():
        raise LinuxError(EROFS)
    if task.kernel.events is not None:
        task.kernel.events.file_open(task, path, b"", flags)
    if kind == S_IFIFO:
        fifo = open_fifo(inode, path, flags & ~(_OPENING_FLAGS | O_NOCTTY), task)
        if task.kernel.notify is not None and not isinstance(fifo, FifoOpening):
            file_event(task.kernel, fifo, IN_OPEN)
        return fifo
    if kind == S_IFSOCK:
        raise LinuxError(ENXIO)
    if inode.extra is not None and "leases" in inode.extra:
        how = flags | O_WRONLY if truncates and not access else flags
        waiting = break_lease(inode, how, lambda: _open_now(task, path, flags, truncates))
        if waiting is not None:
            return waiting
    return _open_now(task, path, flags, truncates)


def _open_now(task: Task, path: Path, flags: int, truncates: bool) -> File:
    """The open itself, when all checks are made and nothing is to be waited for."""
    inode = path.dentry.inode
    assert inode is not None
    file = inode.open(path, flags & ~_OPENING_FLAGS, task)
    if flags & O_NOCTTY:
        file.flags &= ~O_NOCTTY
    if truncates:
        try:
            set_size(task, inode, 0)
        except BaseException:
            discard(file)
            raise
    if task.kernel.notify is not None:
        file_event(task.kernel, file, IN_OPEN)
        if truncates:
            file_event(task.kernel, file, IN_MODIFY)
    return file


def require(inode: Inode, cred: Credentials, mask: int) -> None:
    """Raise EACCES unless ``mask`` is allowed. What is cached may be old: look again before saying no."""
    if not allowed(inode, cred, mask):
        inode.refresh()
        if not allowed(inode, cred, mask):
            raise LinuxError(EACCES)


def _creation_mode(task: Task, directory: Inode, mode: int) -> int:
    """The permission bits of a new file: umask, and no S_ISGID for a group that the maker is not in
    (vfs_prepare_mode, mode_strip_sgid)."""
    mode &= 0o7777 & ~task.fs.umask
    if mode & (S_ISGID | S_IXGRP) == (S_ISGID | S_IXGRP) and directory.mode & S_ISGID:
        if not task.cred.in_group(directory.gid) and not task.cred.inode_capable(
            CAP_FSETID, directory.uid, directory.gid
        ):
            mode &= ~S_ISGID
    return mode


# -- new names ----------------------------------------------------------------------------------


def create_name(
    task: Task, dirfd: int, path: bytes, directory: bool = False, check: bool = True
) -> tuple[Found, Dentry]:
    """The negative dentry where a new object is to be made (filename_create).

    Raises EEXIST if something is there; ENOENT for a trailing slash unless a ``directory`` is made, or if the
    parent was removed; EROFS; EACCES unless the parent may be written (``check`` False leaves that out).
    """
    found = lookup_parent(task, dirfd, path)
    if found.special:
        raise LinuxError(EEXIST)
    dentry = child_of(task, found.parent, found.name)
    if dentry.inode is not None:
        raise LinuxError(EEXIST)
    if found.trailing and not directory:
        raise LinuxError(ENOENT)
    if found.parent.mount.read_only():
        raise LinuxError(EROFS)
    if check:
        may_create(task, found.parent)
    return found, dentry


def may_create(task: Task, parent: Path) -> None:
    """May the task make a name in ``parent``? ENOENT if that was removed, EACCES (may_create)."""
    directory = parent.dentry.inode
    assert directory is not None
    if parent.dentry.dead:
        raise LinuxError(ENOENT)
    require(directory, task.cred, MAY_WRITE | MAY_EXEC)


def make_node(task: Task, dirfd: int, path: bytes, mode: int, rdev: int = 0) -> Path:
    """Make a regular file, FIFO, socket or device node; ``mode`` has type and bits, umask is applied here.

    Raises EINVAL for another type, EPERM for a directory or a device without CAP_MKNOD, and what
    mknod(2) does.
    """
    kind = mode & S_IFMT or S_IFREG
    if kind == S_IFDIR:
        raise LinuxError(EPERM)
    if kind not in (S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK):
        raise LinuxError(EINVAL)
    found, dentry = create_name(task, dirfd, path)
    directory = found.parent.dentry.inode
    assert directory is not None
    is_device = kind in (S_IFCHR, S_IFBLK)
    # A device 0:0 is overlayfs's whiteout, which anybody may make.
    if is_device and not task.cred.capable(CAP_MKNOD) and not (kind == S_IFCHR and rdev == 0):
        raise LinuxError(EPERM)
    dentry.inode = directory.create(
        dentry.name, kind | _creation_mode(task, directory, mode), task.cred, rdev if is_device else 0
    )
    if task.kernel.notify is not None:
        created(task.kernel, dentry)
    return Path(found.parent.mount, dentry)


def make_directory(task: Task, dirfd: int, path: bytes, mode: int) -> Path:
    """mkdir(2)."""
    found, dentry = create_name(task, dirfd, path, directory=True)
    directory = found.parent.dentry.inode
    assert directory is not None
    dentry.inode = directory.mkdir(dentry.name, S_IFDIR | mode & 0o1777 & ~task.fs.umask, task.cred)
    if task.kernel.notify is not None:
        created(task.kernel, dentry)
    return Path(found.parent.mount, dentry)


def make_symlink(task: Task, target: bytes, dirfd: int, path: bytes) -> Path:
    """symlink(2). ENOENT for an empty target."""
    if not target:
        raise LinuxError(ENOENT)
    found, dentry = create_name(task, dirfd, path)
    directory = found.parent.dentry.inode
    assert directory is not None
    dentry.inode = directory.symlink(dentry.name, target, task.cred)
    if task.kernel.notify is not None:
        created(task.kernel, dentry)
    return Path(found.parent.mount, dentry)
