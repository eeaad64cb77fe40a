"""The mount namespace: which file system stands where (fs/namespace.c)."""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOTDIR

from runsc.kernel.errors import LinuxError
from runsc.kernel.user_ns import INIT_USER_NS
from runsc.kernel.vfs.dentry import (
    MNT_LOCKED,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_RELATIME,
    Dentry,
    DentryCache,
    Mount,
    Path,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.user_ns import UserNamespace
    from runsc.kernel.vfs.inode import FileSystem

#: The inode number of the first mount namespace.
MNT_INIT_INO = 0xF0000000
#: Flags that a copy in a less privileged namespace keeps (lock_mnt_tree).
LOCKABLE = MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME


class MountFamily:
    """What a mount namespace shares with its copies: the numbers of mounts and of devices, and who they are.
    """

    __slots__ = ("devices", "members", "next_ident")

    def __init__(self) -> None:
        self.next_ident = 1
        self.devices = 0
        self.members: set[MountNamespace] = set()


class MountNamespace:
    """A tree of mounts (mount_namespaces(7)). ``cache``: the dentry cache that all of them share, and the
    namespace's copies too; ``user_ns``: who owns it, and may change it; ``users``: what keeps it (root and
    working directories, open nsfs files): with the last one a copy is taken down. A namespace that isn't a
    copy stays until ``put`` is called once more."""

    __slots__ = ("cache", "family", "inum", "root", "user_ns", "users")

    kind = "mnt"
    flag = 0x20000

    def __init__(self, root_fs: FileSystem, flags: int = 0) -> None:
        self.cache = DentryCache()
        self.family = MountFamily()
        self.family.members.add(self)
        self.user_ns = INIT_USER_NS
        self.inum = MNT_INIT_INO
        self.users = 1
        self.root = self.new_mount(root_fs, flags)

    def new_mount(self, fs: FileSystem, flags: int = 0, root: Dentry | None = None) -> Mount:
        """A mount of ``fs`` (or of the part below ``root``) that stands nowhere yet."""
        if fs.dev == 0:
            self.family.devices += 1
            # Minor numbers of anonymous devices (major 0), as get_anon_bdev gives them.
            fs.dev = self.family.devices + 20
        if root is None:
            root = Dentry(b"/", None, fs.root())
        root.pins += 1
        mount = Mount(self.family.next_ident, fs, root, flags)
        self.family.next_ident += 1
        return mount

    def copy(self, user_ns: UserNamespace, inum: int) -> tuple[MountNamespace, dict[Mount, Mount]]:
        """The same tree of mounts in a namespace of its own, and which mount became which (copy_mnt_ns). In
        one of another user namespace nothing that came from here can be undone piecemeal."""
        new = MountNamespace.__new__(MountNamespace)
        new.cache = self.cache
        new.family = self.family
        new.family.members.add(new)
        new.user_ns = user_ns
        new.inum = inum
        new.users = 0
        copies: dict[Mount, Mount] = {}
        for mount in self.all_mounts():
            made = copies[mount] = new.new_mount(mount.fs, mount.flags, mount.root)
            made.shared, made.master, made.locked = mount.shared, mount.master, mount.locked
            if user_ns is not self.user_ns:
                made.locked |= MNT_LOCKED | mount.flags & LOCKABLE
                made.shared, made.master = 0, mount.shared or mount.master
            if mount.parent is not None and mount.point is not None:
                made.parent = copies[mount.parent]
                made.point = mount.point
                made.parent.children[mount.point] = made
                mount.point.mounts += 1
        new.root = copies[self.root]
        return new, copies

    def owns(self, mount: Mount) -> bool:
        """Does ``mount`` stand in this namespace (check_mnt)?"""
        while mount.parent is not None:
            mount = mount.parent
        return mount is self.root

    def put(self) -> None:
        """One who kept the namespace is gone; with the last one, its mounts."""
        self.users -= 1
        if self.users:
            return
        self.family.members.discard(self)
        gone = list(self.all_mounts())
        for mount in gone:
            mount.root.pins -= 1
            if mount.point is not None:
                mount.point.mounts -= 1
        left = {mount.fs for other in self.family.members for mount in other.all_mounts()}
        for fs in {mount.fs for mount in gone} - left:
            fs.release()

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
        if not lazy and not self.mounted(fs):
            fs.release()

    def mounted(self, fs: FileSystem) -> bool:
        """Does ``fs`` still stand anywhere, in this namespace or a copy?"""
        return any(mount.fs is fs for other in self.family.members for mount in other.all_mounts())

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
