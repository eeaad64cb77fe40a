"""Shared anonymous memory: a memfd of the sentry's that every mapping of it, in every process, shows."""

from __future__ import annotations

import os

from runsc.abi.fcntl import O_RDWR
from runsc.kernel.vfs.file import File
from runsc.kernel.vfs.inode import FileSystem, Inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

_FS = "tmpfs"


class SharedMemory(File):
    """The object behind mmap(MAP_SHARED | MAP_ANONYMOUS), as Linux's /dev/zero (deleted)."""

    __slots__ = ("fd",)

    seekable = True

    def __init__(self, size: int, ino: int) -> None:
        super().__init__(Inode(FileSystem(_FS), ino, 0o100777), O_RDWR)
        self.inode.size = size
        self.inode.nlink = 0
        self.fd = os.memfd_create("runsc-shared", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)

    def mmap_fd(self, prot: int, shared: bool) -> int:
        return self.fd

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        return os.pread(self.fd, count, offset)

    def release(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def describe(self) -> str:
        return "/dev/zero (deleted)"
