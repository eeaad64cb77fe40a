"""What a container's first process finds mounted, made of its spec: root, mounts, devices, masked paths.

All paths are walked inside the container by the kernel's own walk, so that no symbolic link in an image leads
anywhere else.
"""

from __future__ import annotations

import os
from errno import EEXIST, ENODEV, ENOENT, ENOTDIR
from stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IFREG

from runsc.abi.fcntl import AT_FDCWD
from runsc.abi.mount import MOUNT_FLAGS, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY
from runsc.errors import RunscError
from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.dentry import Dentry, Path
from runsc.kernel.vfs.inode import FileSystem, Inode, StatFs
from runsc.kernel.vfs.mounting import bind, change_propagation
from runsc.kernel.vfs.namei import child_of, fs_cache, lookup
from runsc.oci.mounts import parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Mount as KernelMount
    from runsc.oci.mounts import MountOptions
    from runsc.oci.spec import Device, Mount, Spec

_TMPFS_MAGIC = 0x01021994

#: Nodes and links that every container has (config-linux.md, "Default Devices"; runc's default links).
_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)


class NodeFs(FileSystem):
    """A file system that is one file: something to be mounted on a file."""

    __slots__ = ("root_inode",)

    def __init__(self, inode: Inode | None = None, rdev: int = 0) -> None:
        super().__init__("devtmpfs")
        if inode is None:
            inode = Inode(self, 1, S_IFCHR | 0o666, rdev=rdev)
        self.root_inode = inode

    def root(self) -> Inode:
        return self.root_inode

    def statfs(self) -> StatFs:
        return StatFs(_TMPFS_MAGIC)


def mount_all(task: Task, spec: Spec, host: dict[int, FileSystem], warn: list[str]) -> None:
    """Make everything that ``spec`` mounts.

    ``task``: the container's first process, still with all rights. ``host``: the file systems of bind mounts,
    by their index in ``spec.mounts``. ``warn`` collects what the user should know. Raises ``RunscError``.
    """
    for index, mount in enumerate(spec.mounts):
        try:
            _mount_one(task, mount, host.get(index), warn)
        except (LinuxError, OSError) as error:
            reason = os.strerror(error.errno or 0).lower()
            raise RunscError(
                f"can't mount {mount.source or mount.type} on {mount.destination}: {reason}",
                f"see $.mounts[{index}] of config.json",
            ) from None
    _make_devices(task, spec.linux.devices, warn)
    for path in spec.linux.masked_paths:
        _mask(task, os.fsencode(path))
    for path in spec.linux.readonly_paths:
        _make_read_only(task, os.fsencode(path))
    if spec.root.readonly:
        task.fs.namespace.root.flags |= MS_RDONLY


def _mount_one(task: Task, mount: Mount, host: FileSystem | None, warn: list[str]) -> None:
    options = parse_options(mount)
    destination = os.fsencode(mount.destination)
    fs = host if host is not None else _make(task, mount, options, warn)
    is_directory = fs.root().is_dir()
    at = ensure_directory(task, destination) if is_directory else _ensure_file(task, destination)
    if at.dentry.inode is not None and at.dentry.inode.is_dir() != is_directory:
        raise LinuxError(ENOTDIR)
    namespace = task.fs.namespace
    new = namespace.mount(fs, at, options.flags & MOUNT_FLAGS)
    if options.propagation:
        change_propagation(task, Path(new, new.root), options.propagation, True)


def _make(task: Task, mount: Mount, options: MountOptions, warn: list[str]) -> FileSystem:
    """The file system of a mount that isn't the host's."""
    from runsc.kernel.fs.tmpfs import Tmpfs
    from runsc.kernel.syscalls.mount import make_filesystem

    kind = mount.type
    if kind == "devpts":
        return _make_devpts(task, options)
    if kind in ("cgroup", "cgroup2"):
        # Directories that are there and empty: what stands in them elsewhere isn't the sandbox's.
        return Tmpfs(size=0, mode=0o755, source=kind, name=kind)
    data = options.data if kind in ("tmpfs", "ramfs") else []
    try:
        return make_filesystem(task, kind.encode(), os.fsencode(mount.source or kind), data)
    except LinuxError as error:
        if error.errno == ENODEV:
            raise RunscError(
                f"can't mount {mount.destination}: there is no file system type {kind!r}",
                "take it out of config.json, or mount it on the host and bind it",
            ) from None
        raise


def _make_devpts(task: Task, options: MountOptions) -> FileSystem:
    from runsc.kernel.fs.devpts import DevPts

    values = {key: value or b"" for key, value in options.data}

    def number(name: bytes, default: int, base: int) -> int:
        try:
            return int(values[name], base) if name in values else default
        except ValueError:
            raise LinuxError(22) from None

    gid = number(b"gid", -1, 10)
    return DevPts(
        task.kernel,
        None if gid < 0 else gid,
        number(b"mode", 0o600, 8) & 0o7777,
        number(b"ptmxmode", 0, 8) & 0o7777,
    )


# -- places to mount on -------------------------------------------------------------------------


def ensure_directory(task: Task, path: bytes) -> Path:
    """The directory ``path``, made with its parents where they are missing."""
    at = task.fs.root
    done = b""
    for name in [part for part in path.split(b"/") if part]:
        done += b"/" + name
        try:
            at = lookup(task, AT_FDCWD, done)
        except LinuxError as error:
            if error.errno != ENOENT:
                raise
            at = _make_name(task, at, name, True)
        if at.dentry.inode is not None and not at.dentry.inode.is_dir() and done != path.rstrip(b"/"):
            raise LinuxError(ENOTDIR)
    return at


def _ensure_file(task: Task, path: bytes) -> Path:
    """The file ``path``, made empty where it is missing."""
    try:
        return lookup(task, AT_FDCWD, path)
    except LinuxError as error:
        if error.errno != ENOENT:
            raise
    parent, _, name = path.rstrip(b"/").rpartition(b"/")
    return _make_name(task, ensure_directory(task, parent), name, False)


def _make_name(task: Task, parent: Path, name: bytes, directory: bool) -> Path:
    """Make a directory or a file to mount on; in memory only, where nothing can be made for real."""
    dentry = child_of(task, parent, name)
    if dentry.inode is not None:
        # A symbolic link that leads nowhere: what it should lead to is nobody's to make.
        raise LinuxError(ENOENT)
    inode = parent.dentry.inode
    assert inode is not None
    if not parent.mount.read_only():
        try:
            if directory:
                dentry.inode = inode.mkdir(name, 0o755, task.cred)
            else:
                dentry.inode = inode.create(name, S_IFREG | 0o644, task.cred)
            return Path(parent.mount, dentry)
        except (LinuxError, OSError) as error:
            task.kernel.log.debug(f"{name!r} can't be made on its file system: {error}")
    fs_cache(task).forget(dentry)
    made = Dentry(name, parent.dentry, _synthetic(task, directory))
    fs_cache(task).add(made)
    made.pins += 1
    return Path(parent.mount, made)


def _synthetic(task: Task, directory: bool) -> Inode:
    """A directory or file in memory, to stand where a read-only file system has none."""
    from runsc.kernel.fs.tmpfs import Tmpfs

    fs = Tmpfs(size=0, mode=0o755)
    if directory:
        return fs.root()
    return fs.root().create(b"file", S_IFREG | 0o444, task.cred)


# -- devices ------------------------------------------------------------------------------------


def _make_devices(task: Task, devices: list[Device], warn: list[str]) -> None:
    """Nodes and links in /dev."""
    for name, major, minor in _NODES:
        _node(task, f"/dev/{name}", S_IFCHR | 0o666, os.makedev(major, minor), 0, 0, warn)
    for device in devices:
        kind = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}[device.kind]
        rdev = 0 if device.kind == "p" else os.makedev(device.major & 0xFFFFFFFF, device.minor & 0xFFFFFFFF)
        _node(task, device.path, kind | device.mode, rdev, device.uid, device.gid, warn)
    links = list(_LINKS)
    if _exists(task, b"/dev/pts/ptmx"):
        links.append(("ptmx", "pts/ptmx"))
    for name, target in links:
        try:
            at = lookup(task, AT_FDCWD, b"/dev")
            dentry = child_of(task, at, name.encode())
            if dentry.inode is None and at.dentry.inode is not None:
                dentry.inode = at.dentry.inode.symlink(name.encode(), target.encode(), task.cred)
        except (LinuxError, OSError) as error:
            task.kernel.log.debug(f"/dev/{name} can't be made: {error}")


def _exists(task: Task, path: bytes) -> bool:
    try:
        lookup(task, AT_FDCWD, path)
    except LinuxError:
        return False
    return True


def _node(task: Task, path: str, mode: int, rdev: int, uid: int, gid: int, warn: list[str]) -> None:
    from runsc.kernel.vfs.inode import SetAttr

    where = os.fsencode(path)
    parent, _, name = where.rstrip(b"/").rpartition(b"/")
    try:
        at = ensure_directory(task, parent)
        dentry = child_of(task, at, name)
        if dentry.inode is not None:
            return
        assert at.dentry.inode is not None
        dentry.inode = at.dentry.inode.create(name, mode, task.cred, rdev)
        if uid or gid:
            dentry.inode.setattr(SetAttr(uid=uid, gid=gid))
    except (LinuxError, OSError) as error:
        if error.errno != EEXIST:
            warn.append(f"the device {path} can't be made: {os.strerror(error.errno or 0)}")


# -- masked and read-only paths -----------------------------------------------------------------


def _mask(task: Task, path: bytes) -> None:
    """Hide a path: an empty directory over a directory, /dev/null over a file."""
    from runsc.kernel.fs.tmpfs import Tmpfs

    try:
        at = lookup(task, AT_FDCWD, path)
    except LinuxError:
        return  # nothing there to hide
    assert at.dentry.inode is not None
    cover: FileSystem
    if at.dentry.inode.is_dir():
        cover = Tmpfs(size=0, mode=0o755, read_only=True)
    else:
        cover = NodeFs(rdev=os.makedev(1, 3))
    task.fs.namespace.mount(cover, at, MS_RDONLY | MS_NOSUID | MS_NODEV * cover.root().is_dir() | MS_NOEXEC)


def _make_read_only(task: Task, path: bytes) -> None:
    """Bind a path on itself, read-only."""
    try:
        at = lookup(task, AT_FDCWD, path)
    except LinuxError:
        return
    flags = at.mount.flags
    bind(task, at, at, True)
    top: KernelMount = task.fs.namespace.topmost(at).mount
    top.flags = flags | MS_RDONLY
