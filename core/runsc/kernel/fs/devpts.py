"""devpts: the file system of pseudoterminal slaves, and the multiplexor that makes them (pts(4),
fs/devpts/inode.c)."""

from __future__ import annotations

from errno import EBUSY, EIO, ENOENT, ENOSPC
from os import makedev
from stat import S_IFCHR, S_IFDIR
from time import time_ns

from runsc.abi.fcntl import O_CLOEXEC
from runsc.kernel.credentials import CAP_SYS_ADMIN
from runsc.kernel.errors import LinuxError
from runsc.kernel.tty.file import TtyFile
from runsc.kernel.tty.pty import Pty, PtyMaster, make_pair
from runsc.kernel.tty.tty import take_controlling_terminal
from runsc.kernel.vfs.dentry import Path
from runsc.kernel.vfs.file import DirectoryFile, File
from runsc.kernel.vfs.inode import DirEntry, FileSystem, Inode, StatFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task

DEVPTS_SUPER_MAGIC = 0x1CD1

PTMX_RDEV = makedev(5, 2)
SLAVE_MAJOR = 136

#: How many pairs there can be (/proc/sys/kernel/pty/max).
PTY_MAX = 4096

_PTMX_INO = 2
_FIRST_INO = 3


class DevPts(FileSystem):
    """One instance of devpts: its pairs by index. ``gid``, ``mode``: of new slaves; ``ptmx_mode``: of
    ptmx."""

    __slots__ = ("gid", "kernel", "mode", "pairs", "ptmx", "ptmx_mode", "root_inode", "slaves")

    def __init__(
        self, kernel: Kernel, gid: int | None = 5, mode: int = 0o620, ptmx_mode: int = 0o666
    ) -> None:
        super().__init__("devpts", "devpts", cached=False)
        self.kernel = kernel
        self.gid = gid
        self.mode = mode
        self.ptmx_mode = ptmx_mode
        self.pairs: dict[int, tuple[PtyMaster, Pty]] = {}
        #: the nodes that can be found: those whose master is open
        self.slaves: dict[int, SlaveInode] = {}
        self.root_inode = DevPtsRoot(self)
        self.ptmx = PtmxInode(self)

    def root(self) -> Inode:
        return self.root_inode

    def statfs(self) -> StatFs:
        return StatFs(DEVPTS_SUPER_MAGIC)

    def mount_options(self) -> str:
        gid = "" if self.gid is None else f",gid={self.gid}"
        return f"{gid},mode={self.mode:03o},ptmxmode={self.ptmx_mode:03o}"

    def open_master(self, inode: Inode, path: Path | None, flags: int, task: Task) -> File:
        """A new pair; the master's open file (ptmx_open). Raises ENOSPC."""
        index = 0
        while index in self.pairs:
            index += 1
        if index >= PTY_MAX:
            raise LinuxError(ENOSPC)
        master, slave = make_pair(self.kernel, index, PTMX_RDEV, makedev(SLAVE_MAJOR, index))
        self.pairs[index] = master, slave
        node = SlaveInode(self, index)
        node.uid = task.cred.fsuid
        node.gid = task.cred.fsgid if self.gid is None else self.gid
        self.slaves[index] = node
        self.root_inode.mtime = self.root_inode.ctime = time_ns()
        master.on_close = lambda: self._closed(index)
        slave.on_close = lambda: self._closed(index)
        return TtyFile(master, inode, flags, path)

    def _closed(self, index: int) -> None:
        """One side of a pair was closed: without a master there is no name, without both no pair."""
        master, slave = self.pairs[index]
        if not master.files:
            self.slaves.pop(index, None)
            if not slave.files:
                del self.pairs[index]

    def open_slave(self, index: int, inode: Inode, path: Path | None, flags: int, task: Task) -> File:
        """Open a slave; raises EIO while it is locked or once its master is closed, EBUSY by TIOCEXCL."""
        pair = self.pairs.get(index)
        if pair is None:
            raise LinuxError(EIO)
        master, slave = pair
        if slave.exclusive and not task.cred.capable(CAP_SYS_ADMIN):
            raise LinuxError(EBUSY)
        if slave.locked or not master.files:
            raise LinuxError(EIO)
        file = TtyFile(slave, inode, flags, path)
        take_controlling_terminal(task, slave, flags)
        return file


class DevPtsRoot(Inode):
    """The directory /dev/pts."""

    __slots__ = ("devpts",)

    def __init__(self, fs: DevPts) -> None:
        super().__init__(fs, 1, S_IFDIR | 0o755)
        self.devpts = fs
        self.nlink = 2

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        if name == b"ptmx":
            return self.devpts.ptmx
        if name.isdigit() and (name == b"0" or not name.startswith(b"0")) and len(name) < 8:
            node = self.devpts.slaves.get(int(name))
            if node is not None:
                return node
        raise LinuxError(ENOENT)

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        entries = [DirEntry(b"ptmx", _PTMX_INO, S_IFCHR)]
        entries.extend(
            DirEntry(b"%d" % index, node.ino, S_IFCHR) for index, node in sorted(self.devpts.slaves.items())
        )
        return entries

    def open(self, path: Path, flags: int, task: Task) -> File:
        return DirectoryFile(self, flags, path)


class PtmxInode(Inode):
    """/dev/pts/ptmx: each open makes a pair."""

    __slots__ = ("devpts",)

    def __init__(self, fs: DevPts) -> None:
        super().__init__(fs, _PTMX_INO, S_IFCHR | fs.ptmx_mode, rdev=PTMX_RDEV)
        self.devpts = fs

    def open(self, path: Path, flags: int, task: Task) -> File:
        return self.devpts.open_master(self, path, flags, task)


class SlaveInode(Inode):
    """/dev/pts/N."""

    __slots__ = ("devpts", "index")

    def __init__(self, fs: DevPts, index: int) -> None:
        super().__init__(fs, _FIRST_INO + index, S_IFCHR | fs.mode, rdev=makedev(SLAVE_MAJOR, index))
        self.devpts = fs
        self.index = index

    def open(self, path: Path, flags: int, task: Task) -> File:
        return self.devpts.open_slave(self.index, self, path, flags, task)


def instance_of(task: Task, path: Path | None) -> DevPts:
    """The instance that a ptmx node belongs to: the file system it is in, else the one mounted on ``pts``
    beside it (devpts_mntget); raises ENOENT if there is none."""
    if path is not None:
        fs = path.mount.fs
        if isinstance(fs, DevPts):
            return fs
        beside = path.dentry.parent.children.get(b"pts")
        if beside is not None:
            fs = task.fs.namespace.topmost(Path(path.mount, beside)).mount.fs
            if isinstance(fs, DevPts):
                return fs
    for mount in task.fs.namespace.all_mounts():
        if isinstance(mount.fs, DevPts):
            return mount.fs
    raise LinuxError(ENOENT)


def open_peer(task: Task, master: TtyFile, flags: int) -> int:
    """TIOCGPTPEER: a descriptor of the slave, found through the instance and not through a name."""
    from runsc.kernel.vfs.install import install
    from runsc.kernel.vfs.namei import child_of

    index = master.tty.index
    for mount in task.fs.namespace.all_mounts():
        fs = mount.fs
        if isinstance(fs, DevPts) and fs.pairs.get(index, (None,))[0] is master.tty:
            break
    else:
        raise LinuxError(EIO)
    dentry = child_of(task, Path(mount, mount.root), b"%d" % index)
    if dentry.inode is None:
        raise LinuxError(ENOENT)
    file = fs.open_slave(index, dentry.inode, Path(mount, dentry), flags & ~O_CLOEXEC, task)
    return install(task, file, bool(flags & O_CLOEXEC))
