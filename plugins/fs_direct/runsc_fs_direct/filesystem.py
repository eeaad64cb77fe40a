"""One host directory (or file) as a file system of the kernel's."""

from __future__ import annotations

import os
from collections import OrderedDict
from resource import RLIMIT_NOFILE, getrlimit
from stat import S_ISDIR, S_ISREG
from weakref import WeakValueDictionary

from runsc._native import lib

from runsc.abi.stat import S_IFMT
from runsc.kernel.vfs.inode import FileSystem, StatFs
from runsc_fs_direct.directory import DirectDirectory
from runsc_fs_direct.inode import DirectFile, DirectInode, DirectNode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.filesystem import HostMount
    from runsc.kernel.vfs.inode import Inode

#: How long attributes are believed, in ns: a second where nobody else is expected to change them, and about
#: as long as one system call takes where others do.
TTL_EXCLUSIVE = 1_000_000_000
TTL_SHARED = 100_000

#: Numbers for the devices of host file systems that are mounted below the root: no mount of the kernel's
#: gets one that high.
_SUBMOUNT_BIT = 0x80000


class DirectFs(FileSystem):
    """A host tree. Inodes are known by the host's device and inode numbers, so hard links are one inode.

    ``idle`` holds the inodes whose descriptors may be closed at any time, least recently used first.
    """

    __slots__ = (
        "devices",
        "host_dev",
        "idle",
        "idle_limit",
        "inodes",
        "magic",
        "root_inode",
        "shared",
        "ttl",
    )

    def __init__(self, fd: int, mount: HostMount) -> None:
        """``fd``: of the root, as ``DirectOpener`` opened it; taken over, unless OSError is raised."""
        super().__init__(
            "direct", os.fsdecode(mount.source), cached=not mount.shared, read_only=mount.read_only
        )
        self.shared = mount.shared
        self.ttl = TTL_SHARED if mount.shared else TTL_EXCLUSIVE
        self.magic = lib.rn_file_system_type(fd)
        soft = getrlimit(RLIMIT_NOFILE)[0]
        self.idle_limit = min(max((soft if soft > 0 else 4096) // 8, 32), 1024)
        self.idle: OrderedDict[DirectInode, None] = OrderedDict()
        self.inodes: WeakValueDictionary[tuple[int, int], DirectInode] = WeakValueDictionary()
        self.devices: dict[int, int] = {}
        st = os.fstat(fd)
        self.host_dev = st.st_dev
        self.root_inode = self.inode_of(st, None, b".")
        self.root_inode.pin_root(fd)

    def root(self) -> Inode:
        return self.root_inode

    def inode_of(self, st: os.stat_result, parent: DirectDirectory | None, name: bytes) -> DirectInode:
        """The inode for what ``name`` in ``parent`` was found to be."""
        key = (st.st_dev, st.st_ino)
        inode = self.inodes.get(key)
        if inode is None or (inode.mode ^ st.st_mode) & S_IFMT:
            mode = st.st_mode
            kind = DirectDirectory if S_ISDIR(mode) else DirectFile if S_ISREG(mode) else DirectNode
            inode = kind(self, st)
            self.inodes[key] = inode
        else:
            inode.load(st)
        if parent is not None:
            inode.parent = parent
            inode.name = name
        return inode

    def device(self, host_dev: int) -> int:
        """The device number that the guest sees for a host device."""
        if host_dev == self.host_dev:
            return self.dev
        number = self.devices.get(host_dev)
        if number is None:
            number = self.devices[host_dev] = len(self.devices)
        minor = _SUBMOUNT_BIT | (os.minor(self.dev) * 256 + number) & (_SUBMOUNT_BIT - 1)
        return os.makedev(0, minor)

    def touch(self, inode: DirectInode) -> None:
        """``inode`` has used its descriptor; the longest unused ones are closed when there are too many."""
        idle = self.idle
        if inode in idle:
            idle.move_to_end(inode)
            return
        idle[inode] = None
        if len(idle) > self.idle_limit:
            oldest, _none = idle.popitem(last=False)
            oldest.close_idle()

    def statfs(self) -> StatFs:
        st = os.fstatvfs(self.root_inode.any_fd())
        return StatFs(
            self.magic, st.f_bsize, st.f_blocks, st.f_bfree, st.f_bavail, st.f_files, st.f_ffree, st.f_namemax
        )

    def release(self) -> None:
        """Close what isn't in use, and the root; idempotent."""
        while self.idle:
            self.idle.popitem()[0].close_idle()
        self.root_inode.unpin_root()
