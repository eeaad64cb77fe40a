"""The walk along a path (path_resolution(7), fs/namei.c)."""

from __future__ import annotations

from errno import EACCES, EEXIST, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV

from runsc.abi.fcntl import AT_FDCWD, NAME_MAX
from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.dentry import Dentry, DentryCache, Path
from runsc.kernel.vfs.fastwalk import quick_lookup, quick_parent
from runsc.kernel.vfs.permission import MAY_EXEC, allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode

#: How many symbolic links one walk may follow (linux/namei.h: MAXSYMLINKS).
MAX_SYMLINKS = 40

#: openat2(2) RESOLVE_* (linux/openat2.h).
RESOLVE_NO_XDEV = 1
RESOLVE_NO_MAGICLINKS = 2
RESOLVE_NO_SYMLINKS = 4
RESOLVE_BENEATH = 8
RESOLVE_IN_ROOT = 16


class Found:
    """Where a walk to the last component ended.

    ``parent``: the directory; ``name``: the last component (b"." or b".." or b"" for the root itself
    have ``special`` set); ``trailing``: a slash followed it.
    """

    __slots__ = ("name", "parent", "special", "trailing")

    def __init__(self, parent: Path, name: bytes, special: bool, trailing: bool) -> None:
        self.parent = parent
        self.name = name
        self.special = special
        self.trailing = trailing


def start_of(task: Task, dirfd: int, path: bytes, resolve: int = 0) -> Path:
    """Where the walk of ``path`` begins: the root, the working directory or ``dirfd``; raises EBADF."""
    if path.startswith(b"/") and not resolve & RESOLVE_IN_ROOT:
        return task.fs.root
    if dirfd == AT_FDCWD:
        return task.fs.cwd
    file = task.files.get_any(dirfd)
    if file.path is None or file.path.dentry.inode is None:
        raise LinuxError(ENOTDIR)
    return file.path


def lookup(
    task: Task, dirfd: int, path: bytes, follow: bool = True, empty_ok: bool = False, resolve: int = 0
) -> Path:
    """The existing object ``path`` names.

    ``follow``: is a symbolic link in the last place followed? ``empty_ok``: AT_EMPTY_PATH. Raises ENOENT,
    ENOTDIR, EACCES, ELOOP, ENAMETOOLONG, EBADF.
    """
    if not path:
        if not empty_ok:
            raise LinuxError(ENOENT)
        if dirfd == AT_FDCWD:
            return task.fs.cwd
        file = task.files.get_any(dirfd)
        if file.path is None:
            return anonymous_path(task, file.inode)
        return file.path
    if not resolve:
        quick = quick_lookup(task, dirfd, path, follow)
        if quick is not None:
            return quick
    walker = Walker(task, resolve)
    found = walker.to_parent(start_of(task, dirfd, path, resolve), path)
    return walker.last(found, follow or found.trailing)


def lookup_parent(task: Task, dirfd: int, path: bytes) -> Found:
    """The directory in which the last component of ``path`` is, or is to be (for mkdir, unlink, rename...).

    A symbolic link in the last place is not followed. Raises ENOENT for an empty path.
    """
    if not path:
        raise LinuxError(ENOENT)
    quick = quick_parent(task, dirfd, path)
    if quick is not None:
        return Found(quick[0], quick[1], False, False)
    return Walker(task).to_parent(start_of(task, dirfd, path), path)


def child_of(task: Task, parent: Path, name: bytes) -> Dentry:
    """The dentry of ``name`` in ``parent``, negative if it isn't there. No mounts are crossed.

    The caller has checked that it may search ``parent``.
    """
    directory = parent.dentry
    cached = directory.children.get(name)
    fs = parent.mount.fs
    if cached is not None and fs.cached:
        return cached
    inode = directory.inode
    assert inode is not None
    if len(name) > NAME_MAX:
        raise LinuxError(ENAMETOOLONG)
    if not directory.dead:
        inode.keep_names(directory, task.fs.namespace.cache)
    found: Inode | None
    try:
        found = inode.lookup(name, task)
    except LinuxError as error:
        if error.errno != ENOENT:
            raise
        found = None
    except FileNotFoundError:
        found = None
    if cached is not None:
        # An uncached file system: the name is looked up each time, but a dentry that something is
        # mounted on or that is in use stays the same object as long as it is the same file.
        if cached.inode is found:
            return cached
        if found is not None and cached.mounts:
            return cached
        fs_cache(task).forget(cached)
    dentry = Dentry(name, directory, found)
    if directory.dead:
        return dentry
    fs_cache(task).add(dentry)
    return dentry


def fs_cache(task: Task) -> DentryCache:
    """The dentry cache the task's mounts share."""
    return task.fs.namespace.cache


def anonymous_path(task: Task, inode: Inode) -> Path:
    """A path for an inode that has no place in the tree (fstatat of a pipe with AT_EMPTY_PATH)."""
    return Path(task.fs.root.mount, Dentry(b"", None, inode))


class Walker:
    """One walk: counts the symbolic links it follows."""

    __slots__ = ("links", "resolve", "start", "task")

    def __init__(self, task: Task, resolve: int = 0) -> None:
        self.task = task
        self.links = 0
        self.resolve = resolve
        self.start: Path | None = None

    def to_parent(self, at: Path, path: bytes) -> Found:
        """Walk everything but the last component of ``path``."""
        if self.start is None:
            self.start = at
        if self.resolve and path.startswith(b"/"):
            if self.resolve & RESOLVE_BENEATH:
                raise LinuxError(EXDEV)
            if not self.resolve & RESOLVE_IN_ROOT:
                at = self.task.fs.root
            else:
                at = self.start
        names = [name for name in path.split(b"/") if name]
        trailing = path.endswith((b"/", b"/."))
        if not names:
            return Found(at, b"", True, True)
        for index in range(len(names) - 1):
            name = names[index]
            if name not in at.dentry.children and at.dentry.inode is not None:
                at.dentry.inode.look_ahead(names[index:])
            at = self.step(at, name)
        self.check_search(at)
        last = names[-1]
        if len(last) > NAME_MAX:
            raise LinuxError(ENAMETOOLONG)
        return Found(at, last, last in (b".", b".."), trailing)

    def check_search(self, at: Path) -> None:
        """``at`` must be a directory that the task may search."""
        inode = at.dentry.inode
        if inode is None:
            raise LinuxError(ENOENT)
        if not inode.is_dir():
            raise LinuxError(ENOTDIR)
        if not allowed(inode, self.task.cred, MAY_EXEC):
            # What is cached may be old: look again before saying no.
            inode.refresh()
            if not allowed(inode, self.task.cred, MAY_EXEC):
                raise LinuxError(EACCES)

    def step(self, at: Path, name: bytes) -> Path:
        """One component on, through mounts and symbolic links; it must be there."""
        self.check_search(at)
        if name == b".":
            return at
        if name == b"..":
            return self.up(at)
        dentry = child_of(self.task, at, name)
        return self.enter(at, dentry, True)

    def enter(self, at: Path, dentry: Dentry, follow: bool) -> Path:
        """From the dentry found in ``at`` to where it leads."""
        inode = dentry.inode
        if inode is None:
            raise LinuxError(ENOENT)
        if inode.is_symlink() and follow and not dentry.mounts:
            return self.follow_link(at, inode)
        path = Path(at.mount, dentry)
        if dentry.mounts:
            path = self.task.fs.namespace.topmost(path)
            if self.resolve & RESOLVE_NO_XDEV and path.mount is not at.mount:
                raise LinuxError(EXDEV)
        return path

    def last(self, found: Found, follow: bool) -> Path:
        """The object that the last component names."""
        if found.special:
            if found.name == b"..":
                self.check_search(found.parent)
                return self.up(found.parent)
            return found.parent
        dentry = child_of(self.task, found.parent, found.name)
        path = self.enter(found.parent, dentry, follow)
        if found.trailing:
            assert path.dentry.inode is not None
            if not path.dentry.inode.is_dir():
                raise LinuxError(ENOTDIR)
        return path

    def up(self, at: Path) -> Path:
        """The parent directory, not beyond the task's root (follow_dotdot)."""
        root = self.task.fs.root
        if self.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT):
            assert self.start is not None
            if at == self.start:
                if self.resolve & RESOLVE_BENEATH:
                    raise LinuxError(EXDEV)
                return at
        mount, dentry = at.mount, at.dentry
        while True:
            if mount is root.mount and dentry is root.dentry:
                return Path(mount, dentry)
            if dentry is mount.root or dentry.is_root():
                if mount.parent is None or mount.point is None:
                    return Path(mount, dentry)
                if self.resolve & RESOLVE_NO_XDEV:
                    raise LinuxError(EXDEV)
                dentry, mount = mount.point, mount.parent
                continue
            return self.task.fs.namespace.topmost(Path(mount, dentry.parent))

    def follow_link(self, at: Path, inode: Inode) -> Path:
        """Follow a symbolic link found in ``at``."""
        self.links += 1
        if self.links > MAX_SYMLINKS or self.resolve & RESOLVE_NO_SYMLINKS:
            raise LinuxError(ELOOP)
        target = inode.follow(self.task)
        if target is not None:
            if self.resolve & (RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT):
                raise LinuxError(ELOOP if self.resolve & RESOLVE_NO_MAGICLINKS else EXDEV)
            return target
        text = inode.readlink(self.task)
        if not text:
            raise LinuxError(ENOENT)
        start = self.task.fs.root if text.startswith(b"/") else at
        found = self.to_parent(start, text)
        return self.last(found, True)

    def open_last(self, found: Found, follow: bool, exclusive: bool) -> tuple[Path, Dentry]:
        """For open(O_CREAT): the directory and the dentry (perhaps negative) of the last component, symbolic
        links followed to the place where the file is or would be."""
        while True:
            if found.special or found.trailing:
                raise LinuxError(EISDIR)
            dentry: Dentry = child_of(self.task, found.parent, found.name)
            inode = dentry.inode
            if inode is None or not inode.is_symlink():
                return found.parent, dentry
            if exclusive:
                raise LinuxError(EEXIST)
            if not follow:
                raise LinuxError(ELOOP)
            self.links += 1
            if self.links > MAX_SYMLINKS or self.resolve & RESOLVE_NO_SYMLINKS:
                raise LinuxError(ELOOP)
            target = inode.follow(self.task)
            if target is not None:
                return target, target.dentry
            text = inode.readlink(self.task)
            start = self.task.fs.root if text.startswith(b"/") else found.parent
            found = self.to_parent(start, text)
