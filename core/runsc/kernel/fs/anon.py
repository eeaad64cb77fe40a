"""Inodes without a place in the tree: pipes, sockets, and the one that eventfds and their like share.

Linux has a pseudo file system for each (pipefs, sockfs, anon_inodefs); here they differ in their device
number and in the type of the inodes.
"""

from __future__ import annotations

from stat import S_IFIFO, S_IFSOCK

from runsc.kernel.vfs.file import File
from runsc.kernel.vfs.inode import FileSystem, Inode, StatFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task

PIPEFS_MAGIC = 0x50495045
SOCKFS_MAGIC = 0x534F434B
ANON_INODE_FS_MAGIC = 0x09041934

# Device numbers of the pseudo file systems: below those that mounts get.
_ANON_DEV, _SOCK_DEV, _PIPE_DEV = 8, 9, 10


class PseudoFs(FileSystem):
    """A file system that is never mounted; ``magic`` is what fstatfs(2) of its files tells."""

    __slots__ = ("magic",)

    def __init__(self, name: str, magic: int, dev: int) -> None:
        super().__init__(name)
        self.magic = magic
        self.dev = dev

    def statfs(self) -> StatFs:
        return StatFs(self.magic)


class AnonymousInodes:
    """Makes the inodes of one kernel's pipes and sockets, numbered as they come."""

    __slots__ = ("anon_fs", "anon_inode", "next_ino", "pipefs", "sockfs")

    def __init__(self) -> None:
        self.pipefs = PseudoFs("pipefs", PIPEFS_MAGIC, _PIPE_DEV)
        self.sockfs = PseudoFs("sockfs", SOCKFS_MAGIC, _SOCK_DEV)
        self.anon_fs = PseudoFs("anon_inodefs", ANON_INODE_FS_MAGIC, _ANON_DEV)
        self.next_ino = 1000
        #: eventfd, timerfd, signalfd, epoll and inotify files all have this one, as in Linux; no type bits
        self.anon_inode = Inode(self.anon_fs, self.number(), 0o600)

    def number(self) -> int:
        """The next inode number."""
        self.next_ino += 1
        return self.next_ino

    def pipe_inode(self, cred: Credentials) -> Inode:
        """The inode of a new pipe."""
        return Inode(self.pipefs, self.number(), S_IFIFO | 0o600, cred.fsuid, cred.fsgid)

    def socket_inode(self, cred: Credentials) -> Inode:
        """The inode of a new socket."""
        return Inode(self.sockfs, self.number(), S_IFSOCK | 0o777, cred.fsuid, cred.fsgid)


class AnonFile(File):
    """A file that is only a descriptor: eventfd, timerfd, signalfd, epoll, inotify."""

    __slots__ = ()

    def lseek(self, task: Task, offset: int, whence: int) -> int:
        """Nothing to seek in, and no error (noop_llseek)."""
        return self.pos


def anon_inodes(kernel: Kernel) -> AnonymousInodes:
    """The kernel's maker of anonymous inodes."""
    found: AnonymousInodes | None = kernel.extra.get("anon_inodes")
    if found is None:
        found = kernel.extra["anon_inodes"] = AnonymousInodes()
    return found
