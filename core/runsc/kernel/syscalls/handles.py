"""name_to_handle_at(2), open_by_handle_at(2): no file system here has handles that outlive a look-up
(fs/fhandle.c)."""

from __future__ import annotations

from errno import EINVAL, EOPNOTSUPP, EPERM

from runsc.abi.fcntl import AT_EMPTY_PATH, AT_SYMLINK_FOLLOW
from runsc.kernel.credentials import CAP_DAC_READ_SEARCH
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import PARTIAL, AtFlags, DirFd, Fd, OpenFlags, PathStr, Ptr, syscall
from runsc.kernel.vfs.namei import lookup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_AT_HANDLE_FID = 0x200
_AT_HANDLE_MNT_ID_UNIQUE = 1


@syscall(303, PARTIAL, "no file system has handles: EOPNOTSUPP")
def name_to_handle_at(
    task: Task, dirfd: DirFd, path: PathStr, handle: Ptr, mount_id: Ptr, flags: AtFlags
) -> Result:
    """name_to_handle_at(2)."""
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH | _AT_HANDLE_FID | _AT_HANDLE_MNT_ID_UNIQUE):
        raise LinuxError(EINVAL)
    lookup(task, dirfd, path, bool(flags & AT_SYMLINK_FOLLOW), bool(flags & AT_EMPTY_PATH))
    raise LinuxError(EOPNOTSUPP)


@syscall(304, PARTIAL, "no file system has handles: EOPNOTSUPP")
def open_by_handle_at(task: Task, mount_fd: Fd, handle: Ptr, flags: OpenFlags) -> Result:
    """open_by_handle_at(2)."""
    if not task.cred.capable(CAP_DAC_READ_SEARCH):
        raise LinuxError(EPERM)
    task.files.get_any(mount_fd)
    raise LinuxError(EOPNOTSUPP)
