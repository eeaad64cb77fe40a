"""The mount namespace: which file system stands where (fs/namespace.c)."""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOTDIR

from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.dentry import Dentry, DentryCache, Mount, Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.vfs.inode import FileSystem


class MountNamespace:
    """A tree of mounts. ``cache`` is the dentry cache that all of them share."""

    __slots__ = ("cache", "devices", "next_ident", "root")

    def __init__(self, root_fs: FileSystem, flags: int = 0) -> None:
        self.cache = DentryCache()
        self.next_ident = 1
        self.devices = 0
        self.root = self.new_mount(root_fs, flags)

    def new_mount(self, fs: FileSystem, flags: int = 0, root: Dentry | None = None) -> Mount:
        """A mount of ``fs`` (or of the part below ``root``) that stands nowhere yet."""
        if fs.dev == 0:
            self.devices += 1
            fs.dev = self.devices + 20  # minor numbers of anonymous devices (major 0), as get_anon_bdev gives
        if root is None:
            root = Dentry(b"/", None, fs.root())
        root.pins += 1
        mount = Mount(self.next_ident, fs, root, flags)
        self.next_ident += 1
        return mount

    def root_path(self) -> Path:
        return Path(self.root, self.root.root)

    def attach(self, mount: Mount, at: Path) -> None:
        """Put ``mount`` on ``at``, over what is mounted there already."""
        at = self.topmost(at)
        assert at.dentry.inode is not None
        assert mount.root.inode is not None
        if at.dentry.inode.is_dir() != mount.root.inode.is_dir():
            raise LinuxError(ENOTDIR)
        mount.parent = at.mount
        mount.point = at.dentry
        at.mount.children[at.dentry] = mount
        at.dentry.mounts += 1

    def mount(self, fs: FileSystem, at: Path, flags: int = 0) -> Mount:
        """Mount ``fs`` on ``at``."""
        mount = self.new_mount(fs, flags)
        self.attach(mount, at)
        return mount

    def detach(self, mount: Mount, lazy: bool = False) -> None:
        """Take ``mount`` out of the tree; raises EBUSY if it is in use or others stand in it, unless
        ``lazy``."""
        if mount.parent is None or mount.point is None:
            raise LinuxError(EINVAL)
        if not lazy and (mount.children or mount.root.pins > 1 or self._in_use(mount.root)):
            raise LinuxError(EBUSY)
        for child in list(mount.children.values()):
            self.detach(child, lazy)
        del mount.parent.children[mount.point]
        mount.point.mounts -= 1
        mount.root.pins -= 1
        mount.parent = mount.point = None
        fs = mount.fs
        if all(other.fs is not fs for other in self.all_mounts()) and not lazy:
            fs.release()

    def _in_use(self, root: Dentry) -> bool:
        stack = list(root.children.values())
        while stack:
            dentry = stack.pop()
            if dentry.pins:
                return True
            stack.extend(dentry.children.values())
        return False

    def topmost(self, path: Path) -> Path:
        """Through everything mounted on ``path`` (follow_mount)."""
        dentry, mount = path.dentry, path.mount
        while dentry.mounts:
            child = mount.children.get(dentry)
            if child is None:
                break
            mount, dentry = child, child.root
        return path if mount is path.mount else Path(mount, dentry)

    def all_mounts(self) -> Iterator[Mount]:
        """Every mount, parents before children, in the order they were mounted."""
        stack = [self.root]
        found = []
        while stack:
            mount = stack.pop()
            found.append(mount)
            stack.extend(mount.children.values())
        return iter(sorted(found, key=lambda mount: mount.ident))

    def path_string(self, path: Path, root: Path) -> bytes:
        """The absolute name of ``path`` as seen from ``root`` (d_path); ``(unreachable)`` in front if it is
        outside, `` (deleted)`` behind if it was unlinked."""
        names: list[bytes] = []
        mount, dentry = path.mount, path.dentry
        prefix = b"/"
        while not (mount is root.mount and dentry is root.dentry):
            if dentry is mount.root or dentry.is_root():
                if mount.parent is None or mount.point is None:
                    prefix = b"(unreachable)/"
                    break
                dentry, mount = mount.point, mount.parent
                continue
            names.append(dentry.name)
            dentry = dentry.parent
        return prefix + b"/".join(reversed(names)) + (b" (deleted)" if path.dentry.dead else b"")
