"""What makes file systems out of host directories."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runsc.errors import RunscError
from runsc.filesystem import HostFiles
from runsc.plugins.availability import Availability, HostCall
from runsc_fs_direct.filesystem import DirectFs
from runsc_fs_direct.magic import file_system_magic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.kernel.vfs.inode import FileSystem

#: Each host call and what it is for. Every one that takes a name takes a single component, relative to the
#: descriptor of its directory, and follows no symbolic link.
_HOST_CALLS = (
    ("openat", "open a directory to search, or a regular file to read or write"),
    ("newfstatat", "attributes of a name"),
    ("fstat", "attributes of an open file, and proof that it is the file that was meant"),
    ("fstatfs", "free space, for statfs(2)"),
    ("getdents64", "list a directory"),
    ("readlinkat", "the text of a symbolic link, which the kernel walks itself"),
    ("dup", "list a directory through a second descriptor"),
    ("fcntl", "mark descriptors close-on-exec"),
    ("lseek", "find holes in sparse files, rewind a directory"),
    ("pread64", "read file data"),
    ("pwrite64", "write file data"),
    ("ftruncate", "set a file's size"),
    ("fallocate", "reserve space"),
    ("mmap", "punch holes, together with madvise"),
    ("madvise", "punch holes (MADV_REMOVE)"),
    ("munmap", "end the mapping that a hole was punched through"),
    ("fsync", "make data durable"),
    ("fdatasync", "make data durable"),
    ("mkdirat", "make a directory"),
    ("mknodat", "make a FIFO or a socket's name"),
    ("symlinkat", "make a symbolic link"),
    ("linkat", "make a hard link"),
    ("unlinkat", "remove a name"),
    ("renameat", "rename"),
    ("fchmod", "change permission bits of a regular file or directory"),
    ("fchmodat2", "change permission bits of what can't be opened"),
    ("fchown", "give a new file its owner"),
    ("fchownat", "change the owner of a name"),
    ("utimensat", "change times"),
    ("fgetxattr", "read extended attributes"),
    ("fsetxattr", "change extended attributes"),
    ("flistxattr", "list extended attributes"),
    ("fremovexattr", "remove extended attributes"),
    ("close", "give descriptors back"),
)


class DirectFiles(HostFiles):
    """Host files by this process's own system calls."""

    __slots__ = ("mounted",)

    name = "direct"

    def __init__(self) -> None:
        self.mounted: list[DirectFs] = []

    @classmethod
    def check(cls) -> Availability:
        try:
            fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            return Availability.no(
                f"the host's root directory can't be opened ({error.strerror})",
                "run runsc where it may see the host's files",
            )
        try:
            os.stat(b".", dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)
        note = "" if os.geteuid() == 0 else "files keep the host's access rights for this user"
        return Availability.yes(note)

    @classmethod
    def host_calls(cls) -> Sequence[HostCall]:
        return tuple(HostCall(name, why) for name, why in _HOST_CALLS)

    def mount(self, path: bytes, read_only: bool, shared: bool = False) -> FileSystem:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise RunscError(
                f"can't open {os.fsdecode(path)} on the host: {error.strerror}",
                "check that the path exists and that this user may reach it",
            ) from error
        try:
            fs = DirectFs(fd, path, read_only, shared, file_system_magic(fd))
        except OSError as error:
            raise RunscError(
                f"can't use {os.fsdecode(path)} on the host: {error.strerror}",
                "check that this user may read it" + ("" if read_only else " and write it"),
            ) from error
        finally:
            os.close(fd)
        self.mounted.append(fs)
        return fs

    def close(self) -> None:
        while self.mounted:
            self.mounted.pop().release()
