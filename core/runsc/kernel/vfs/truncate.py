"""Changing a file's size, and what a change of content does to setuid bits (fs/attr.c)."""

from __future__ import annotations

from errno import EFBIG
from stat import S_IFREG, S_ISGID, S_ISUID, S_IXGRP

from runsc.abi.signal import SIGXFSZ
from runsc.abi.stat import S_IFMT
from runsc.kernel.credentials import CAP_FSETID
from runsc.kernel.errors import LinuxError
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.thread_group import RLIMIT_FSIZE
from runsc.kernel.vfs.inode import SetAttr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode

#: The largest offset of a file (MAX_LFS_FILESIZE).
MAX_FILE_SIZE = 0x7FFFFFFFFFFFFFFF


def set_size(task: Task, inode: Inode, size: int) -> None:
    """Make a regular file ``size`` bytes long (do_truncate).

    Raises EFBIG beyond RLIMIT_FSIZE, with SIGXFSZ.
    """
    if size and size > task.group.limits[RLIMIT_FSIZE][0]:
        inode.refresh()
        if size > inode.size:
            exceed(task)
    mode = mode_without_privileges(task, inode)
    inode.setattr(SetAttr(size=size, mode=mode))


def exceed(task: Task) -> None:
    """RLIMIT_FSIZE is exceeded: SIGXFSZ to the thread, EFBIG to the call."""
    task.send_signal(SigInfo(SIGXFSZ), False)
    raise LinuxError(EFBIG)


def mode_without_privileges(task: Task, inode: Inode) -> int | None:
    """The bits that are left when the content of a setuid file changes; None if they stay
    (setattr_should_drop_suidgid)."""
    mode = inode.mode
    if not mode & (S_ISUID | S_ISGID) or mode & S_IFMT != S_IFREG or task.cred.own_capable(CAP_FSETID):
        return None
    new = mode & 0o7777 & ~S_ISUID
    if mode & S_ISGID and (mode & S_IXGRP or not task.cred.in_group(inode.gid)):
        new &= ~S_ISGID
    return new if new != mode & 0o7777 else None


def remove_privileges(task: Task, inode: Inode) -> None:
    """Clear setuid and setgid bits before a write (file_remove_privs)."""
    mode = mode_without_privileges(task, inode)
    if mode is not None:
        inode.setattr(SetAttr(mode=mode))
