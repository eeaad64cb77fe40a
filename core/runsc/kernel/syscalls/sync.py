"""sync(2), fsync(2), sync_file_range(2), fadvise64(2), readahead(2), fallocate(2) (fs/sync.c, mm/fadvise.c,
fs/open.c)."""

from __future__ import annotations

from errno import EBADF, EFBIG, EINVAL, EISDIR, ENODEV, EOPNOTSUPP, ESPIPE
from stat import S_IFBLK, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG

from runsc.abi.stat import S_IFMT
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.regular import (
    FALLOC_FL_COLLAPSE_RANGE,
    FALLOC_FL_INSERT_RANGE,
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_UNSHARE_RANGE,
    FALLOC_FL_ZERO_RANGE,
    MAX_OFFSET,
)
from runsc.kernel.syscalls.decl import FallocMode, Fd, FileAdvice, Off, Size, SyncRangeFlags, syscall
from runsc.kernel.thread_group import RLIMIT_FSIZE
from runsc.kernel.vfs.truncate import exceed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_FALLOC_MODES = (
    FALLOC_FL_PUNCH_HOLE
    | FALLOC_FL_COLLAPSE_RANGE
    | FALLOC_FL_ZERO_RANGE
    | FALLOC_FL_INSERT_RANGE
    | FALLOC_FL_UNSHARE_RANGE
)
POSIX_FADV_NOREUSE = 5


@syscall(74)
def fsync(task: Task, fd: Fd) -> Result:
    """fsync(2)."""
    task.files.get(fd).fsync(False)
    return 0


@syscall(75)
def fdatasync(task: Task, fd: Fd) -> Result:
    """fdatasync(2)."""
    task.files.get(fd).fsync(True)
    return 0


@syscall(162)
def sync(task: Task) -> Result:
    """sync(2): every mounted file system."""
    seen: set[int] = set()
    for mount in task.fs.namespace.all_mounts():
        if id(mount.fs) in seen or mount.fs.read_only:
            continue
        seen.add(id(mount.fs))
        try:
            mount.fs.sync()
        except (LinuxError, OSError) as error:
            # sync(2) can't fail; what couldn't be written is told by fsync(2).
            task.kernel.log.warning(f"sync of {mount!r}: {error}")
    return 0


@syscall(306)
def syncfs(task: Task, fd: Fd) -> Result:
    """syncfs(2)."""
    task.files.get(fd).inode.fs.sync()
    return 0


@syscall(277)
def sync_file_range(task: Task, fd: Fd, offset: Off, count: Off, flags: SyncRangeFlags) -> Result:
    """sync_file_range(2): the whole file's data is written, which is more than is asked for."""
    file = task.files.get(fd)
    end = offset + count
    if flags & ~7 or offset < 0 or count < 0 or end > MAX_OFFSET:
        raise LinuxError(EINVAL)
    if file.inode.mode & S_IFMT not in (S_IFREG, S_IFBLK, S_IFDIR, S_IFLNK):
        raise LinuxError(ESPIPE)
    if flags:
        file.fsync(True)
    return 0


@syscall(221)
def fadvise64(task: Task, fd: Fd, offset: Off, length: Off, advice: FileAdvice) -> Result:
    """posix_fadvise(2): the host's page cache has its own mind; only the arguments are checked."""
    file = task.files.get(fd)
    if file.inode.mode & S_IFMT == S_IFIFO:
        raise LinuxError(ESPIPE)
    if length < 0 or not 0 <= advice <= POSIX_FADV_NOREUSE:
        raise LinuxError(EINVAL)
    return 0


@syscall(187)
def readahead(task: Task, fd: Fd, offset: Off, count: Size) -> Result:
    """readahead(2): as with fadvise64(2), only the arguments are checked."""
    file = task.files.get(fd)
    if not file.readable():
        raise LinuxError(EBADF)
    if file.inode.mode & S_IFMT not in (S_IFREG, S_IFBLK):
        raise LinuxError(EINVAL)
    return 0


@syscall(285)
def fallocate(task: Task, fd: Fd, mode: FallocMode, offset: Off, length: Off) -> Result:
    """fallocate(2); which modes there are is the file system's to say."""
    file = task.files.get(fd)
    if offset < 0 or length <= 0:
        raise LinuxError(EINVAL)
    if mode & ~(_FALLOC_MODES | FALLOC_FL_KEEP_SIZE):
        raise LinuxError(EOPNOTSUPP)
    kind = mode & _FALLOC_MODES
    if kind & (kind - 1):
        raise LinuxError(EOPNOTSUPP)  # two at once
    if kind == FALLOC_FL_PUNCH_HOLE and not mode & FALLOC_FL_KEEP_SIZE:
        raise LinuxError(EOPNOTSUPP)
    if kind in (FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE) and mode & FALLOC_FL_KEEP_SIZE:
        raise LinuxError(EOPNOTSUPP)
    if not file.writable():
        raise LinuxError(EBADF)
    what = file.inode.mode & S_IFMT
    if what == S_IFIFO:
        raise LinuxError(ESPIPE)
    if what == S_IFDIR:
        raise LinuxError(EISDIR)
    if what not in (S_IFREG, S_IFBLK):
        raise LinuxError(ENODEV)
    if offset + length > MAX_OFFSET:
        raise LinuxError(EFBIG)
    if kind != FALLOC_FL_PUNCH_HOLE and offset + length > task.group.limits[RLIMIT_FSIZE][0]:
        file.inode.refresh()
        if offset + length > file.inode.size:
            exceed(task)
    file.fallocate(mode, offset, length)
    return 0
