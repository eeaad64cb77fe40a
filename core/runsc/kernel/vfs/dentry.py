"""Dentries (names that were looked up), paths (a dentry in a mount) and the mount tree.

A dentry with ``inode`` None is negative: the name is known not to be there. The cache is bounded:
``DentryCache`` evicts the oldest leaf that nobody has pinned. A forgotten unpin costs memory, never
correctness.
"""

from __future__ import annotations

from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.vfs.inode import FileSystem, Inode

#: MNT_* flags as mount(2)'s MS_* (linux/mount.h).
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_RELATIME = 1 << 21
#: In ``Mount.locked``: it can't be taken off alone.
MNT_LOCKED = 1 << 40


class Dentry:
    """A name in a directory. ``parent`` of a root is itself. ``dead``: unlinked, or its directory gone.

    ``pins`` counts open files, working directories, mount points and mappings that hold it.
    ``mounts``: how many mounts stand on it.
    """

    __slots__ = ("__weakref__", "children", "dead", "inode", "mounts", "name", "parent", "pins")

    def __init__(self, name: bytes, parent: Dentry | None, inode: Inode | None) -> None:
        self.name = name
        self.parent: Dentry = parent if parent is not None else self
        self.inode = inode
        self.children: dict[bytes, Dentry] = {}
        self.dead = False
        self.mounts = 0
        self.pins = 0

    def is_root(self) -> bool:
        return self.parent is self

    def __repr__(self) -> str:
        return f"Dentry({self.name!r})"


class DentryCache:
    """The bound on cached names: least recently walked leaves go first."""

    __slots__ = ("limit", "lru")

    def __init__(self, limit: int = 16384) -> None:
        self.limit = limit
        self.lru: OrderedDict[Dentry, None] = OrderedDict()

    def add(self, dentry: Dentry) -> None:
        """Put a new dentry in its parent's children, evicting others when there are too many."""
        dentry.parent.children[dentry.name] = dentry
        self.lru[dentry] = None
        if len(self.lru) > self.limit:
            self.shrink(self.limit // 8)

    def forget(self, dentry: Dentry) -> None:
        """Take a dentry (whose name is gone) out of the cache."""
        self.lru.pop(dentry, None)
        if dentry.parent.children.get(dentry.name) is dentry:
            del dentry.parent.children[dentry.name]

    def shrink(self, count: int) -> None:
        """Evict ``count`` unused leaves, oldest first; used ones go to the young end."""
        for _ in range(min(len(self.lru), count * 4)):
            if count <= 0:
                return
            dentry, _none = self.lru.popitem(last=False)
            if dentry.pins or dentry.mounts or dentry.children:
                self.lru[dentry] = None
                continue
            if dentry.parent.children.get(dentry.name) is dentry:
                del dentry.parent.children[dentry.name]
            count -= 1


class Mount:
    """A file system, or part of one, at a place in the tree (struct mount).

    ``root``: the dentry that appears here; ``parent`` and ``point``: the mount and dentry it stands on
    (None for a root). ``flags``: MS_* bits. ``shared``/``master``: peer group ids of propagation, 0 for none.
    """

    __slots__ = ("children", "flags", "fs", "ident", "locked", "master", "parent", "point", "root", "shared")

    def __init__(self, ident: int, fs: FileSystem, root: Dentry, flags: int = 0) -> None:
        self.ident = ident
        self.fs = fs
        self.root = root
        self.flags = flags
        self.parent: Mount | None = None
        self.point: Dentry | None = None
        #: what is mounted in here: the topmost mount on each dentry
        self.children: dict[Dentry, Mount] = {}
        self.shared = 0
        self.master = 0
        #: what a less privileged namespace than the one it came from can't undo: MNT_LOCKED, and MS_* flags
        self.locked = 0

    def read_only(self) -> bool:
        return bool(self.flags & MS_RDONLY) or self.fs.read_only

    def __repr__(self) -> str:
        return f"Mount({self.ident}, {self.fs.name})"


class Path:
    """A place in the tree: a dentry as seen through a mount (struct path). Immutable."""

    __slots__ = ("dentry", "mount")

    def __init__(self, mount: Mount, dentry: Dentry) -> None:
        self.mount = mount
        self.dentry = dentry

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and self.mount is other.mount and self.dentry is other.dentry

    def __hash__(self) -> int:
        return hash((id(self.mount), id(self.dentry)))

    def __repr__(self) -> str:
        return f"Path({self.mount!r}, {self.dentry!r})"
