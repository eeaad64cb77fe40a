"""fcntl(2) (fs/fcntl.c). The lock commands are in ``locks``."""

from __future__ import annotations

from errno import EBADF, EINVAL, EPERM
from struct import Struct

from runsc.abi.fcntl import (
    F_ADD_SEALS,
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_DUPFD_QUERY,
    F_GET_SEALS,
    F_GETFD,
    F_GETFL,
    F_GETLEASE,
    F_GETLK,
    F_GETOWN,
    F_GETOWN_EX,
    F_GETPIPE_SZ,
    F_GETSIG,
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_SETFD,
    F_SETFL,
    F_SETLEASE,
    F_SETLK,
    F_SETLKW,
    F_SETOWN,
    F_SETOWN_EX,
    F_SETPIPE_SZ,
    F_SETSIG,
    FD_CLOEXEC,
    O_APPEND,
    O_ASYNC,
    O_DIRECT,
    O_NOATIME,
    O_NONBLOCK,
    O_PATH,
)
from runsc.abi.signal import NSIG
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.memfd import MemfdFile
from runsc.kernel.fs.pipe import pipe_of
from runsc.kernel.fs.tmpfs import TmpfsFile
from runsc.kernel.syscalls.decl import PARTIAL, FcntlCmd, Fd, Hex, syscall
from runsc.kernel.syscalls.locks import get_lock, set_lock
from runsc.kernel.thread_group import RLIMIT_NOFILE
from runsc.kernel.vfs.fasync import (
    F_OWNER_PGRP,
    F_OWNER_PID,
    F_OWNER_TID,
    owner_number,
    owner_of,
    set_async,
    set_owner,
    set_owner_number,
)
from runsc.kernel.vfs.leases import get_lease, set_lease
from runsc.kernel.vfs.mounting import open_files
from runsc.kernel.vfs.permission import owner_or_capable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import Inode

#: What F_SETFL changes.
_SETFL_MASK = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME
#: Commands that O_PATH descriptors know.
_PATH_COMMANDS = (F_DUPFD, F_DUPFD_CLOEXEC, F_DUPFD_QUERY, F_GETFD, F_SETFD, F_GETFL)

#: struct f_owner_ex: type, pid.
_OWNER_EX = Struct("<ii")

F_SEAL_SEAL = 1


@syscall(72, PARTIAL, "no directory notification (F_NOTIFY)")
def fcntl(task: Task, fd: Fd, command: FcntlCmd, arg: Hex) -> Result:
    """fcntl(2)."""
    files = task.files
    file = files.files.get(fd)
    if file is None or (file.flags & O_PATH and command not in _PATH_COMMANDS):
        raise LinuxError(EBADF)
    if command == F_GETFD:
        return FD_CLOEXEC if fd in files.cloexec else 0
    if command == F_SETFD:
        if arg & FD_CLOEXEC:
            files.cloexec.add(fd)
        else:
            files.cloexec.discard(fd)
        return 0
    if command == F_GETFL:
        return file.flags
    if command == F_SETFL:
        return _set_flags(task, fd, file, arg)
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        lowest = arg & 0xFFFFFFFF
        limit = task.limit(RLIMIT_NOFILE)
        if lowest >= limit:
            raise LinuxError(EINVAL)
        return files.install(file, limit, command == F_DUPFD_CLOEXEC, lowest)
    if command in (F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW):
        return set_lock(task, fd, file, command, arg)
    if command in (F_GETLK, F_OFD_GETLK):
        return get_lock(task, file, command, arg)
    return _rare(task, file, fd, command, arg)


def _set_flags(task: Task, fd: int, file: File, arg: int) -> int:
    if arg & O_NOATIME and not file.flags & O_NOATIME and not owner_or_capable(file.inode, task.cred):
        raise LinuxError(EPERM)
    if file.sends_sigio:
        set_async(file, fd, bool(arg & O_ASYNC))
    file.flags = file.flags & ~_SETFL_MASK | arg & _SETFL_MASK
    return 0


def _rare(task: Task, file: File, fd: int, command: int, arg: int) -> int:
    number = (arg & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
    if command == F_GETPIPE_SZ:
        return pipe_of(file).size()
    if command == F_SETPIPE_SZ:
        return pipe_of(file).set_size(task, number)
    if command in (F_SETOWN, F_GETOWN, F_SETOWN_EX, F_GETOWN_EX, F_SETSIG, F_GETSIG):
        return _owner(task, file, command, arg, number)
    if command == F_GET_SEALS:
        if isinstance(file, MemfdFile):
            return file.memfd.seals
        if isinstance(file.inode, TmpfsFile):
            return F_SEAL_SEAL
    elif command == F_ADD_SEALS:
        if isinstance(file, MemfdFile):
            return file.add_seals(task, arg & 0xFFFFFFFF)
        if isinstance(file.inode, TmpfsFile):
            raise LinuxError(EPERM)
    elif command == F_DUPFD_QUERY:
        return int(task.files.get_any(number) is file)
    elif command == F_GETLEASE:
        return get_lease(file)
    elif command == F_SETLEASE:
        return set_lease(task, file, fd, number, lambda inode: _openers(task, inode))
    raise LinuxError(EINVAL)


def _openers(task: Task, inode: Inode) -> tuple[int, int]:
    """How many open files of ``inode`` can only be read, and how many can be written."""
    files = {id(file): file for file in open_files(task.kernel) if file.inode is inode}
    writers = sum(1 for file in files.values() if file.writable())
    readers = sum(1 for file in files.values() if file.readable() and not file.writable())
    return readers, writers


def _owner(task: Task, file: File, command: int, arg: int, number: int) -> int:
    if command == F_GETSIG:
        return file.owner_signal
    if command == F_SETSIG:
        if not 0 <= arg <= NSIG:
            raise LinuxError(EINVAL)
        file.owner_signal = arg
    elif command == F_GETOWN:
        return owner_number(task, file)
    elif command == F_GETOWN_EX:
        task.mm.copy_out(arg, _OWNER_EX.pack(*owner_of(task, file)))
    elif command == F_SETOWN_EX:
        kind, number = task.mm.unpack(arg, _OWNER_EX)
        if kind not in (F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP):
            raise LinuxError(EINVAL)
        set_owner(task, file, kind, number)
    else:
        set_owner_number(task, file, number)
    return 0
