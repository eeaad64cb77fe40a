"""statfs(2) (fs/statfs.c)."""

from __future__ import annotations

from runsc.abi.fcntl import AT_FDCWD
from runsc.abi.stat import (
    ST_NOATIME,
    ST_NODEV,
    ST_NODIRATIME,
    ST_NOEXEC,
    ST_NOSUID,
    ST_RDONLY,
    ST_RELATIME,
    ST_VALID,
    STATFS,
)
from runsc.kernel.syscalls.decl import Fd, OutStatfs, PathStr, syscall
from runsc.kernel.vfs.dentry import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RELATIME,
)
from runsc.kernel.vfs.namei import lookup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Mount
    from runsc.kernel.vfs.inode import FileSystem

_FLAGS = (
    (MS_NOSUID, ST_NOSUID),
    (MS_NODEV, ST_NODEV),
    (MS_NOEXEC, ST_NOEXEC),
    (MS_NOATIME, ST_NOATIME),
    (MS_NODIRATIME, ST_NODIRATIME),
    (MS_RELATIME, ST_RELATIME),
)


def pack_statfs(fs: FileSystem, mount: Mount | None) -> bytes:
    """``struct statfs`` of a file system as ``mount`` shows it."""
    found = fs.statfs()
    flags = ST_VALID
    if mount is not None:
        if mount.read_only():
            flags |= ST_RDONLY
        for bit, shown in _FLAGS:
            if mount.flags & bit:
                flags |= shown
    # The id of a file system on an anonymous device is its number (u64_to_fsid of huge_encode_dev).
    return STATFS.pack(
        found.type,
        found.bsize,
        found.blocks,
        found.bfree,
        found.bavail,
        found.files,
        found.ffree,
        fs.dev,
        found.namelen,
        found.bsize,
        flags,
    )


@syscall(137)
def statfs(task: Task, path: PathStr, buf: OutStatfs) -> Result:
    """statfs(2)."""
    mount = lookup(task, AT_FDCWD, path).mount
    task.mm.copy_out(buf, pack_statfs(mount.fs, mount))
    return 0


@syscall(138)
def fstatfs(task: Task, fd: Fd, buf: OutStatfs) -> Result:
    """fstatfs(2); of an O_PATH descriptor too."""
    file = task.files.get_any(fd)
    if file.path is not None:
        data = pack_statfs(file.path.mount.fs, file.path.mount)
    else:
        data = pack_statfs(file.inode.fs, None)
    task.mm.copy_out(buf, data)
    return 0
