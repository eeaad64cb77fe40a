"""open(2), creat(2), openat2(2) (fs/open.c)."""

from __future__ import annotations

from errno import E2BIG, EAGAIN, EINVAL, EMFILE, ENOENT
from struct import Struct

from runsc.abi.fcntl import (
    AT_FDCWD,
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_LARGEFILE,
    O_NOFOLLOW,
    O_PATH,
    O_TMPFILE,
    O_TRUNC,
    O_WRONLY,
)
from runsc.abi.inotify import IN_OPEN
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.pipe import FifoOpening
from runsc.kernel.syscalls.decl import DirFd, InOpenHow, Mode, OpenFlags, PathStr, Size, syscall
from runsc.kernel.thread_group import RLIMIT_NOFILE
from runsc.kernel.vfs.leases import LeaseBreak
from runsc.kernel.vfs.namei import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)
from runsc.kernel.vfs.notify import file_event
from runsc.kernel.vfs.operations import TMPFILE_BIT, discard, start_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

#: Every flag open(2) knows (VALID_OPEN_FLAGS); it ignores the others, openat2(2) does not.
_VALID_FLAGS = 0o37777703
#: What O_PATH goes together with.
_PATH_FLAGS = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC

#: struct open_how: flags, mode, resolve.
_OPEN_HOW = Struct("<QQQ")
RESOLVE_CACHED = 0x20
_RESOLVE = (
    RESOLVE_NO_XDEV
    | RESOLVE_NO_MAGICLINKS
    | RESOLVE_NO_SYMLINKS
    | RESOLVE_BENEATH
    | RESOLVE_IN_ROOT
    | RESOLVE_CACHED
)


@syscall(2)
def open_(task: Task, path: PathStr, flags: OpenFlags, mode: Mode) -> Result:
    """open(2)."""
    return do_open(task, AT_FDCWD, path, flags | O_LARGEFILE, mode)


@syscall(257)
def openat(task: Task, dirfd: DirFd, path: PathStr, flags: OpenFlags, mode: Mode) -> Result:
    """openat(2)."""
    return do_open(task, dirfd, path, flags | O_LARGEFILE, mode)


@syscall(85)
def creat(task: Task, path: PathStr, mode: Mode) -> Result:
    """creat(2)."""
    return do_open(task, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC | O_LARGEFILE, mode)


@syscall(437)
def openat2(task: Task, dirfd: DirFd, path: PathStr, how: InOpenHow, size: Size) -> Result:
    """openat2(2): like openat(2), but unknown flags are refused, and ``resolve`` limits the walk."""
    if size < _OPEN_HOW.size:
        raise LinuxError(EINVAL)
    if size > 4096:
        raise LinuxError(E2BIG)
    raw = task.mm.copy_in(how, size)
    if any(raw[_OPEN_HOW.size :]):
        raise LinuxError(E2BIG)
    flags, mode, resolve = _OPEN_HOW.unpack_from(raw)
    creates = flags & (O_CREAT | TMPFILE_BIT)
    if (
        flags & ~_VALID_FLAGS
        or resolve & ~_RESOLVE
        or (resolve & RESOLVE_BENEATH and resolve & RESOLVE_IN_ROOT)
        or (mode & ~0o7777 if creates else mode)
        or (flags & O_PATH and flags & ~_PATH_FLAGS)
    ):
        raise LinuxError(EINVAL)
    if resolve & RESOLVE_CACHED and flags & (O_TRUNC | O_CREAT | TMPFILE_BIT):
        # What can't be done from the cache alone has to be asked for without it (openat2(2)).
        raise LinuxError(EAGAIN)
    return do_open(task, dirfd, path, flags, mode, resolve & ~RESOLVE_CACHED)


def check_flags(flags: int) -> int:
    """The flags as they are carried on (build_open_flags); raises EINVAL."""
    flags &= _VALID_FLAGS
    if flags & (O_CREAT | TMPFILE_BIT | O_PATH):
        if flags & (O_DIRECTORY | O_CREAT) == O_DIRECTORY | O_CREAT:
            raise LinuxError(EINVAL)
        if flags & TMPFILE_BIT:
            if flags & O_TMPFILE != O_TMPFILE or not flags & O_ACCMODE:
                raise LinuxError(EINVAL)
        elif flags & O_PATH:
            flags &= _PATH_FLAGS
    return flags


def do_open(task: Task, dirfd: int, path: bytes, flags: int, mode: int, resolve: int = 0) -> Result:
    """Open and install (do_sys_openat2)."""
    flags = check_flags(flags)
    files = task.files
    limit = task.group.limits[RLIMIT_NOFILE][0]
    # Nothing may have happened to the file system when it turns out that no descriptor is free.
    if len(files.files) >= limit:
        if not path:
            raise LinuxError(ENOENT)
        if all(fd in files.files for fd in range(files.next, limit)):
            raise LinuxError(EMFILE)
    opened = start_open(task, dirfd, path, flags, mode, resolve)
    if isinstance(opened, (FifoOpening, LeaseBreak)):
        return _open_waiting(task, opened, bool(flags & O_CLOEXEC))
    try:
        return files.install(opened, limit, bool(flags & O_CLOEXEC))
    except LinuxError:
        discard(opened)
        raise


async def _open_waiting(task: Task, opening: FifoOpening | LeaseBreak, cloexec: bool) -> int:
    """Wait for the other side of a FIFO, or until leases are given up."""
    file: File | None = None
    try:
        while (file := opening.try_again()) is None:
            await task.wait(opening.queue)
    finally:
        if file is None:
            opening.cancel()
    if task.kernel.notify is not None and isinstance(opening, FifoOpening):
        file_event(task.kernel, file, IN_OPEN)
    try:
        return task.files.install(file, task.limit(RLIMIT_NOFILE), cloexec)
    except LinuxError:
        discard(file)
        raise
