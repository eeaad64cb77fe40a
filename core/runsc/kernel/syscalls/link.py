"""link(2), symlink(2), unlink(2), rename(2), mknod(2): names of files (fs/namei.c)."""

from __future__ import annotations

from errno import EINVAL, ENOENT

from runsc.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW
from runsc.kernel.credentials import CAP_DAC_READ_SEARCH
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import AtFlags, Dev, DirFd, Mode, PathPtr, PathStr, RenameFlags, syscall
from runsc.kernel.vfs.namei import lookup, lookup_parent
from runsc.kernel.vfs.operations import make_node, make_symlink
from runsc.kernel.vfs.remove import make_link, remove_directory, remove_file
from runsc.kernel.vfs.remove import rename as do_rename

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task


@syscall(86)
def link(task: Task, old: PathStr, new: PathPtr) -> Result:
    """link(2)."""
    target = lookup(task, AT_FDCWD, old, False)
    make_link(task, target, AT_FDCWD, task.mm.copy_in_path(new))
    return 0


@syscall(265)
def linkat(
    task: Task, old_dirfd: DirFd, old: PathStr, new_dirfd: DirFd, new: PathPtr, flags: AtFlags
) -> Result:
    """linkat(2)."""
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise LinuxError(EINVAL)
    empty_ok = bool(flags & AT_EMPTY_PATH)
    if empty_ok and not old and not task.cred.capable(CAP_DAC_READ_SEARCH):
        raise LinuxError(ENOENT)
    target = lookup(task, old_dirfd, old, bool(flags & AT_SYMLINK_FOLLOW), empty_ok)
    make_link(task, target, new_dirfd, task.mm.copy_in_path(new))
    return 0


@syscall(88)
def symlink(task: Task, target: PathStr, path: PathStr) -> Result:
    """symlink(2)."""
    make_symlink(task, target, AT_FDCWD, path)
    return 0


@syscall(266)
def symlinkat(task: Task, target: PathStr, dirfd: DirFd, path: PathStr) -> Result:
    """symlinkat(2)."""
    make_symlink(task, target, dirfd, path)
    return 0


@syscall(87)
def unlink(task: Task, path: PathStr) -> Result:
    """unlink(2)."""
    remove_file(task, AT_FDCWD, path)
    return 0


@syscall(263)
def unlinkat(task: Task, dirfd: DirFd, path: PathStr, flags: AtFlags) -> Result:
    """unlinkat(2)."""
    if flags & ~AT_REMOVEDIR:
        raise LinuxError(EINVAL)
    if flags:
        remove_directory(task, dirfd, path)
    else:
        remove_file(task, dirfd, path)
    return 0


def _second_path(task: Task, old_dirfd: int, old: bytes, new: int) -> bytes:
    """The new name of a rename. If it can't be read, what is wrong with the old one comes first."""
    try:
        return task.mm.copy_in_path(new)
    except LinuxError:
        lookup_parent(task, old_dirfd, old)
        raise


@syscall(82)
def rename(task: Task, old: PathStr, new: PathPtr) -> Result:
    """rename(2)."""
    do_rename(task, AT_FDCWD, old, AT_FDCWD, _second_path(task, AT_FDCWD, old, new))
    return 0


@syscall(264)
def renameat(task: Task, old_dirfd: DirFd, old: PathStr, new_dirfd: DirFd, new: PathPtr) -> Result:
    """renameat(2)."""
    do_rename(task, old_dirfd, old, new_dirfd, _second_path(task, old_dirfd, old, new))
    return 0


@syscall(316)
def renameat2(
    task: Task, old_dirfd: DirFd, old: PathStr, new_dirfd: DirFd, new: PathPtr, flags: RenameFlags
) -> Result:
    """renameat2(2): RENAME_NOREPLACE; RENAME_EXCHANGE and RENAME_WHITEOUT where the file system can."""
    do_rename(task, old_dirfd, old, new_dirfd, _second_path(task, old_dirfd, old, new), flags)
    return 0


@syscall(133)
def mknod(task: Task, path: PathStr, mode: Mode, dev: Dev) -> Result:
    """mknod(2)."""
    make_node(task, AT_FDCWD, path, mode, decode_dev(dev))
    return 0


@syscall(259)
def mknodat(task: Task, dirfd: DirFd, path: PathStr, mode: Mode, dev: Dev) -> Result:
    """mknodat(2)."""
    make_node(task, dirfd, path, mode, decode_dev(dev))
    return 0


def decode_dev(dev: int) -> int:
    """The 32-bit device number of mknod(2) in makedev(3) form: of 12 bits of major and 20 of minor they
    are the
    same number (new_decode_dev)."""
    return dev & 0xFFFFFFFF
