"""ioctl(2): the requests that any file takes; the rest are the file's (fs/ioctl.c)."""

from __future__ import annotations

from errno import EBADF, ENOTTY
from struct import Struct

from runsc.abi.fcntl import O_NONBLOCK, O_PATH
from runsc.abi.inet import FIOGETOWN, FIOSETOWN, SIOCGPGRP, SIOCSPGRP
from runsc.abi.ioctl import FIGETBSZ, FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX, FIONREAD, FIOQSIZE
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import PARTIAL, Fd, Hex, Request, syscall
from runsc.kernel.vfs.fasync import owner_number, set_async, set_owner_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task


_INT = Struct("<i")


@syscall(16, PARTIAL, "the requests of terminals, pipes, sockets and memory devices, and the generic ones")
def ioctl(task: Task, fd: Fd, request: Request, arg: Hex) -> Result:
    """ioctl(2)."""
    file = task.files.files.get(fd)
    if file is None or file.flags & O_PATH:
        raise LinuxError(EBADF)
    if request == FIONBIO:
        if task.mm.read_u32(arg):
            file.flags |= O_NONBLOCK
        else:
            file.flags &= ~O_NONBLOCK
        return 0
    if request == FIOASYNC:
        set_async(file, fd, bool(task.mm.read_u32(arg)))
        return 0
    if request == FIOCLEX:
        task.files.cloexec.add(fd)
        return 0
    if request == FIONCLEX:
        task.files.cloexec.discard(fd)
        return 0
    inode = file.inode
    if request == FIONREAD and inode.is_reg():
        inode.refresh()
        task.mm.write_u32(arg, inode.size - file.pos)
        return 0
    if request == FIOQSIZE:
        if not (inode.is_reg() or inode.is_dir() or inode.is_symlink()):
            raise LinuxError(ENOTTY)
        inode.refresh()
        task.mm.write_u64(arg, inode.size)
        return 0
    if inode.is_socket():
        if request in (FIOSETOWN, SIOCSPGRP):
            set_owner_number(task, file, task.mm.unpack(arg, _INT)[0])
            return 0
        if request in (FIOGETOWN, SIOCGPGRP):
            task.mm.copy_out(arg, _INT.pack(owner_number(task, file)))
            return 0
    if request == FIGETBSZ and (inode.is_reg() or inode.is_dir()):
        task.mm.write_u32(arg, inode.stat().blksize)
        return 0
    return file.ioctl(task, request, arg)
