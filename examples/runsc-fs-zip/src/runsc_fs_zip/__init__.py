"""``--fs=zip``: a sandbox's root out of a zip archive, read-only, without unpacking it.

    runsc --fs=zip do --root=/path/to/root.zip -- /bin/sh

An archive made by ``zip -ry`` keeps modes and symbolic links. What is written goes to runsc's layer in
memory, as with every root.
"""

from __future__ import annotations

import os
import stat
import time
import zipfile
from errno import EROFS
from typing import TYPE_CHECKING

from runsc.errors import RunscError
from runsc.filesystem import HostFiles, HostMount, Opener
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.regular import DataInode, RegularFile
from runsc.kernel.vfs.file import DirectoryFile
from runsc.kernel.vfs.inode import DirEntry, FileSystem, SetAttr
from runsc.plugins.availability import Availability
from runsc.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.config import Config
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File


class ZipInode(DataInode):
    """A member of the archive, or a directory that only the names of others speak of."""

    __slots__ = ("_memory", "children", "info")

    def __init__(self, fs: ZipFs, ino: int, mode: int, info: zipfile.ZipInfo | None) -> None:
        super().__init__(fs, ino, mode)
        self.info = info
        self.children: dict[bytes, ZipInode] = {}
        self._memory = -1
        if info is not None:
            self.size = info.file_size
            self.mtime = self.atime = self.ctime = int(time.mktime((*info.date_time, 0, 0, -1)) * 1e9)

    def content(self) -> bytes:
        """The whole file, unpacked."""
        assert isinstance(self.fs, ZipFs)
        assert self.info is not None
        return self.fs.archive.read(self.info)

    def lookup(self, name: bytes, task: Task | None = None) -> ZipInode:
        try:
            return self.children[name]
        except KeyError:
            raise FileNotFoundError(2, "no such member") from None

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        return [DirEntry(name, inode.ino, inode.mode & 0o170000) for name, inode in self.children.items()]

    def readlink(self, task: Task | None = None) -> bytes:
        return self.content()

    def open(self, path: Path, flags: int, task: Task) -> File:
        kind = DirectoryFile if self.is_dir() else RegularFile
        return kind(self, flags, path)

    def read_data(self, count: int, offset: int) -> bytes:
        return os.pread(self.host_fd(False), count, offset)

    def setattr(self, attr: SetAttr) -> None:
        raise LinuxError(EROFS)

    def host_fd(self, writable: bool) -> int:
        """A memory file with the content, made at first use: what mmap needs, and reads are quick from."""
        if self._memory < 0:
            self._memory = os.memfd_create("runsc-zip", os.MFD_CLOEXEC)
            data = memoryview(self.content())
            while data:
                data = data[os.write(self._memory, data) :]
        return self._memory

    def release(self) -> None:
        """Give the memory file back."""
        if self._memory >= 0:
            os.close(self._memory)
        for child in self.children.values():
            child.release()


class ZipFs(FileSystem):
    """The file system of one archive."""

    __slots__ = ("_root", "archive")

    def __init__(self, fd: int, source: str) -> None:
        super().__init__("zip", source, read_only=True)
        self.archive = zipfile.ZipFile(os.fdopen(fd, "rb"))
        self._root = ZipInode(self, 1, stat.S_IFDIR | 0o755, None)
        for number, info in enumerate(self.archive.infolist(), 2):
            self._add(number, info)

    def _add(self, number: int, info: zipfile.ZipInfo) -> None:
        # ".." is a name like any other here: it is never looked up.
        *parents, name = [os.fsencode(part) for part in info.filename.split("/") if part]
        mode = info.external_attr >> 16 or (0o755 if info.is_dir() else 0o644)
        if not stat.S_IFMT(mode):
            mode |= stat.S_IFDIR if info.is_dir() else stat.S_IFREG
        at = self._root
        for parent in parents:
            at = at.children.setdefault(parent, ZipInode(self, number << 32, stat.S_IFDIR | 0o755, None))
        if name in at.children and stat.S_ISDIR(mode):
            at.children[name].mode = mode
        else:
            at.children[name] = ZipInode(self, number, mode, info)

    def root(self) -> ZipInode:
        return self._root

    def release(self) -> None:
        self._root.release()
        self.archive.close()


class ZipOpener(Opener):
    """Opens the archives, outside of the sandbox."""

    def open(self, mounts: Sequence[HostMount]) -> list[int]:
        opened: list[int] = []
        try:
            for mount in mounts:
                opened.append(os.open(mount.source, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            for fd in opened:
                os.close(fd)
            raise RunscError(
                f"can't open {os.fsdecode(mount.source)}: {error.strerror}", "name a zip archive"
            ) from error
        return opened


class ZipFiles(HostFiles):
    """Makes file systems of archives, inside."""

    name = "zip"

    def __init__(self) -> None:
        self._mounted: list[ZipFs] = []

    @classmethod
    def check(cls) -> Availability:
        return Availability.yes()

    def mount(self, fd: int, mount: HostMount) -> FileSystem:
        source = os.fsdecode(mount.source)
        try:
            self._mounted.append(ZipFs(fd, source))
        except (zipfile.BadZipFile, OSError) as error:
            raise RunscError(
                f"{source} is no zip archive: {error}", "make one with: zip -ry root.zip ."
            ) from error
        return self._mounted[-1]

    def close(self) -> None:
        while self._mounted:
            self._mounted.pop().release()


class ZipPlugin:
    """The plugin as runsc's loader sees it."""

    api_version = 2
    summary = "a root out of a zip archive, read-only"

    @hookimpl
    def check_filesystem(self) -> Availability:
        return Availability.yes()

    @hookimpl
    def open_filesystem(self, config: Config) -> Opener:
        return ZipOpener()

    @hookimpl
    def make_filesystem(self, config: Config) -> HostFiles:
        return ZipFiles()
