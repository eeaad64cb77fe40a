"""One host directory (or file) as a file system of the kernel's."""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from resource import RLIMIT_NOFILE, getrlimit
from stat import S_IFDIR, S_IFREG
from weakref import WeakValueDictionary

from runsc.abi.stat import S_IFMT
from runsc.kernel.fs.hostfs.directory import HostDirectory
from runsc.kernel.fs.hostfs.inode import HostInode, HostNode
from runsc.kernel.fs.hostfs.ops import DEV, INO, MODE, SELF
from runsc.kernel.fs.hostfs.regular import HostFile
from runsc.kernel.vfs.inode import FileSystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.filesystem import HostMount
    from runsc.kernel.fs.hostfs.ops import Attributes, HostOps
    from runsc.kernel.fs.hostfs.watch import HostWatcher
    from runsc.kernel.vfs.inode import Inode, StatFs

#: How long attributes are believed, in ns: a second where nobody else is expected to change them and nothing
#: tells if somebody does, and about as long as one system call takes where others do.
TTL_EXCLUSIVE = 1_000_000_000
TTL_SHARED = 100_000

#: File systems on which every change is made by this host, which therefore can tell of it (inotify): ext,
#: xfs, btrfs, tmpfs, f2fs, zfs, bcachefs, squashfs, erofs, ramfs, iso9660. Others (nfs, cifs, 9p, fuse...)
#: may change behind its back; an overlay may lie on those.
WATCHABLE = frozenset(
    (0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0xF2F52010, 0x2FC12FC1, 0xCA451A4E, 0x73717368, 0xE0F5E1E2,
     0x858458F6, 0x9660)
)  # fmt: skip

#: Numbers for the devices of host file systems that are mounted below the root: no mount of the kernel's
#: gets one that high.
_SUBMOUNT_BIT = 0x80000


class HostFs(FileSystem):
    """A host tree. Inodes are known by the host's device and inode numbers, so hard links are one inode.

    ``idle`` holds the inodes whose descriptors may be closed at any time, least recently used first.
    ``cached``: names that were looked up are believed, because directories are watched for changes by others
    (or there are said to be none); ``watcher`` has the watches, None where there can't be any.
    """

    __slots__ = (
        "devices",
        "host_dev",
        "idle",
        "idle_limit",
        "inodes",
        "magic",
        "moment",
        "ops",
        "root_inode",
        "shared",
        "stacked",
        "ttl",
        "watcher",
    )

    def __init__(
        self, name: str, ops: HostOps, mount: HostMount, root: Attributes, watcher: HostWatcher | None
    ) -> None:
        """``ops``, and ``root``'s attributes: of what was opened. The file system owns ``ops`` now."""
        self.magic = ops.statfs().type
        local = self.magic in WATCHABLE
        self.watcher = watcher
        super().__init__(
            name, os.fsdecode(mount.source), cached=not mount.shared or (local and watcher is not None),
            read_only=mount.read_only,
        )  # fmt: skip
        self.ops = ops
        self.shared = mount.shared
        self.ttl = TTL_SHARED if mount.shared else TTL_EXCLUSIVE
        soft = getrlimit(RLIMIT_NOFILE)[0]
        self.idle_limit = min(max((soft if soft > 0 else 4096) // 8, 32), 1024)
        self.idle: OrderedDict[HostInode, None] = OrderedDict()
        self.inodes: WeakValueDictionary[tuple[int, int], HostInode] = WeakValueDictionary()
        self.devices: dict[int, int] = {}
        #: directories that something was fetched ahead for, which nobody else may hold yet
        self.moment: deque[HostDirectory] = deque(maxlen=64)
        #: file systems that keep names of this one (overlays)
        self.stacked: list[FileSystem] = []
        self.host_dev = root[DEV]
        self.root_inode = self.inode_of(root, None, SELF if root[MODE] & S_IFMT == S_IFDIR else b"")
        self.root_inode.pin_root()

    def root(self) -> Inode:
        return self.root_inode

    def inode_of(self, attributes: Attributes, parent: HostDirectory | None, name: bytes) -> HostInode:
        """The inode for what ``name`` in ``parent`` was found to be."""
        key = (attributes[DEV], attributes[INO])
        inode = self.inodes.get(key)
        if parent is not None and inode is not None and not (inode.mode ^ attributes[MODE]) & S_IFMT:
            inode.parent = parent
            inode.name = name
            inode.load(attributes)
            return inode
        kind = attributes[MODE] & S_IFMT
        made: HostInode
        if kind == S_IFREG:
            made = HostFile(self, attributes, parent, name)
        elif kind == S_IFDIR:
            made = HostDirectory(self, attributes, parent, name)
        else:
            made = HostNode(self, attributes, parent, name)
        self.inodes[key] = made
        return made

    def device(self, host_dev: int) -> int:
        """The device number that the guest sees for a host device."""
        if host_dev == self.host_dev:
            return self.dev
        number = self.devices.get(host_dev)
        if number is None:
            number = self.devices[host_dev] = len(self.devices)
        minor = _SUBMOUNT_BIT | (os.minor(self.dev) * 256 + number) & (_SUBMOUNT_BIT - 1)
        return os.makedev(0, minor)

    def touch(self, inode: HostInode) -> None:
        """``inode`` has used its descriptor; the longest unused ones are closed when there are too many."""
        idle = self.idle
        if inode in idle:
            idle.move_to_end(inode)
            return
        idle[inode] = None
        if len(idle) > self.idle_limit:
            oldest, _none = idle.popitem(last=False)
            oldest.close_idle()

    def keep_a_moment(self, directory: HostInode) -> None:
        if isinstance(directory, HostDirectory):
            self.moment.append(directory)

    def look_each_time(self) -> None:
        """Nothing tells of changes any more: names are looked up anew from now on."""
        self.cached = False
        for fs in self.stacked:
            fs.cached = False

    def stack(self, fs: FileSystem) -> None:
        self.stacked.append(fs)
        if not self.cached:
            fs.cached = False

    def statfs(self) -> StatFs:
        return self.ops.statfs()

    def sync(self) -> None:
        if not self.read_only:
            self.ops.sync()

    def release(self) -> None:
        """Close what isn't in use, and the root; idempotent."""
        self.moment.clear()
        while self.idle:
            self.idle.popitem()[0].close_idle()
        if self.watcher is not None:
            self.watcher.forget(self)
        self.root_inode.unpin_root()
        self.ops.close()
