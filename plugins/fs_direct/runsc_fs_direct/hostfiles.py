"""What makes file systems out of host directories."""

from __future__ import annotations

import os

from runsc._native import lib

from runsc.errors import RunscError
from runsc.filesystem import HostFiles
from runsc.kernel.credentials import (
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CAP_FSETID,
    CAP_MKNOD,
)
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.hostfs.filesystem import HostFs
from runsc.kernel.fs.hostfs.ops import OPENED
from runsc.kernel.fs.hostfs.watch import HostWatcher
from runsc.plugins.availability import Availability, HostCall, int_argument, without
from runsc_fs_direct.ops import DirectOps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.filesystem import HostMount
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.vfs.inode import FileSystem

# Each host call and what it is for. Every one that takes a name takes a single component, relative to the
# descriptor of its directory, and follows no symbolic link.

_AT_SYMLINK_NOFOLLOW = 0x100
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_TMPFILE & ~os.O_DIRECTORY

#: Of a tree that is mounted read-only.
READ_CALLS = (
    HostCall("openat", "open a directory to search, or a regular file to read", without(2, _WRITING)),
    HostCall("newfstatat", "attributes of a name"),
    HostCall("fstat", "attributes of an open file, and proof that it is the file that was meant"),
    HostCall("fstatfs", "free space, for statfs(2)"),
    HostCall("getdents64", "list a directory"),
    HostCall("readlinkat", "the text of a symbolic link, which the kernel walks itself"),
    HostCall("lseek", "find holes in sparse files, rewind a directory"),
    HostCall("pread64", "read file data"),
    HostCall("fgetxattr", "read extended attributes"),
    HostCall("flistxattr", "list extended attributes"),
    HostCall("getxattrat", "read extended attributes", int_argument(2, _AT_SYMLINK_NOFOLLOW)),
    HostCall("listxattrat", "list extended attributes", int_argument(2, _AT_SYMLINK_NOFOLLOW)),
    HostCall("inotify_add_watch", "be told of changes that others make in a directory"),
    HostCall("inotify_rm_watch", "not any more"),
    HostCall("close", "give descriptors back"),
)

#: Of one that may be written to, besides.
WRITE_CALLS = (
    HostCall("openat", "open or create a regular file to write"),
    HostCall("pwrite64", "write file data"),
    HostCall("ftruncate", "set a file's size"),
    HostCall("fallocate", "reserve space, punch holes"),
    HostCall("fsync", "make data durable"),
    HostCall("fdatasync", "make data durable"),
    HostCall("syncfs", "make a whole file system durable"),
    HostCall("mkdirat", "make a directory"),
    HostCall("mknodat", "make a FIFO, a socket's name, or a device where the host lets us"),
    HostCall("symlinkat", "make a symbolic link"),
    HostCall("linkat", "make a hard link"),
    HostCall("renameat2", "rename, exchange names, leave a whiteout"),
    HostCall("unlinkat", "remove a name"),
    HostCall("fchmod", "change permission bits of a regular file or directory"),
    HostCall("fchmodat2", "change permission bits of what can't be opened"),
    HostCall("fchown", "give a new file its owner"),
    HostCall("fchownat", "change the owner of a name"),
    HostCall("utimensat", "change times"),
    HostCall("fsetxattr", "change extended attributes"),
    HostCall("fremovexattr", "remove extended attributes"),
    HostCall("setxattrat", "change extended attributes", int_argument(2, _AT_SYMLINK_NOFOLLOW)),
    HostCall("removexattrat", "remove extended attributes", int_argument(2, _AT_SYMLINK_NOFOLLOW)),
)

#: So that root in a sandbox reads what root can read: files of other users, whatever their mode.
READ_CAPABILITIES = (CAP_DAC_READ_SEARCH,)
#: And writes it, and gives files owners and modes.
WRITE_CAPABILITIES = (CAP_DAC_OVERRIDE, CAP_CHOWN, CAP_FOWNER, CAP_FSETID, CAP_MKNOD)


class DirectFiles(HostFiles):
    """Host files by this process's own system calls."""

    __slots__ = ("closed", "may_write", "mounted", "watcher")

    name = "direct"

    def __init__(self) -> None:
        self.mounted: list[HostFs] = []
        #: None where the host lets this user have no (more) inotify instances
        events = lib.rn_inotify()
        self.watcher = HostWatcher(events) if events >= 0 else None
        self.closed = False
        self.may_write = False

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

    def host_calls(self) -> Sequence[HostCall]:
        # What isn't allowed now never will be.
        self.closed = True
        self.may_write = any(not fs.read_only for fs in self.mounted)
        return READ_CALLS + WRITE_CALLS if self.may_write else READ_CALLS

    def capabilities(self) -> Sequence[int]:
        writable = any(not fs.read_only for fs in self.mounted)
        return READ_CAPABILITIES + WRITE_CAPABILITIES if writable else READ_CAPABILITIES

    def mount(self, fd: int, mount: HostMount) -> FileSystem:
        try:
            if self.closed and not (mount.read_only or self.may_write):
                raise RunscError(
                    f"{os.fsdecode(mount.source)} can't be mounted writable: the sandbox was started without"
                    " the right to write files",
                    "use --fs=gofer9p for sandboxes with several containers",
                )
            ops = DirectOps(fd, self.watcher.fd if self.watcher is not None else -1)
            fs = HostFs("direct", ops, mount, ops.stat(fd, OPENED), self.watcher)
        except (OSError, LinuxError) as error:
            os.close(fd)
            raise RunscError(
                f"can't use {os.fsdecode(mount.source)} on the host: {os.strerror(error.errno or 0)}",
                "check that this user may read it" + ("" if mount.read_only else " and write it"),
            ) from error
        except BaseException:
            os.close(fd)
            raise
        self.mounted.append(fs)
        return fs

    def start(self, kernel: Kernel) -> None:
        if self.watcher is not None:
            self.watcher.start(kernel)

    def close(self) -> None:
        while self.mounted:
            self.mounted.pop().release()
        if self.watcher is not None:
            self.watcher.close()
