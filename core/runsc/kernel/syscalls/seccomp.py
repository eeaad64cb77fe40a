"""seccomp(2), and the same by prctl(2)."""

from __future__ import annotations

from errno import EFAULT, EINVAL, EOPNOTSUPP
from struct import Struct

from runsc.kernel.errors import LinuxError
from runsc.kernel.seccomp import bpf
from runsc.kernel.seccomp.filter import (
    ACTIONS,
    MODE_DISABLED,
    MODE_FILTER,
    MODE_STRICT,
    check_may_install,
    check_no_listener,
    install,
)
from runsc.kernel.seccomp.notify import NOTIF_SIZE, RESPONSE, Listener, ListenerFile
from runsc.kernel.syscalls.decl import Ptr, UInt, syscall
from runsc.kernel.thread_group import RLIMIT_NOFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

SET_MODE_STRICT, SET_MODE_FILTER, GET_ACTION_AVAIL, GET_NOTIF_SIZES = range(4)
FLAG_TSYNC, FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_NEW_LISTENER, FLAG_TSYNC_ESRCH, FLAG_WAIT_KILLABLE = (
    1, 2, 4, 8, 16, 32,
)  # fmt: skip
_FLAGS = 63

#: struct sock_fprog, struct sock_filter, struct seccomp_notif_sizes.
_FPROG = Struct("<H6xQ")
_INSTRUCTION = Struct("<HBBI")
_SIZES = Struct("<HHH")
_DATA_SIZE = 64


@syscall(317)
def seccomp(task: Task, operation: UInt, flags: UInt, args: Ptr) -> Result:
    """seccomp(2)."""
    if operation == SET_MODE_STRICT:
        if flags or args:
            raise LinuxError(EINVAL)
        return set_strict(task)
    if operation == SET_MODE_FILTER:
        return set_filter(task, flags, args)
    if operation == GET_ACTION_AVAIL:
        if flags:
            raise LinuxError(EINVAL)
        if task.mm.read_u32(args) not in ACTIONS:
            raise LinuxError(EOPNOTSUPP)
        return 0
    if operation == GET_NOTIF_SIZES:
        if flags:
            raise LinuxError(EINVAL)
        task.mm.copy_out(args, _SIZES.pack(NOTIF_SIZE, RESPONSE.size, _DATA_SIZE))
        return 0
    raise LinuxError(EINVAL)


def set_mode(task: Task, mode: int, program: int) -> int:
    """prctl(PR_SET_SECCOMP)."""
    if mode == MODE_STRICT:
        return set_strict(task)
    if mode == MODE_FILTER:
        return set_filter(task, 0, program)
    raise LinuxError(EINVAL)


def set_strict(task: Task) -> int:
    """Nothing but read, write, _exit and rt_sigreturn from now on; EINVAL with filters."""
    if task.seccomp_mode not in (MODE_DISABLED, MODE_STRICT):
        raise LinuxError(EINVAL)
    task.seccomp_mode = MODE_STRICT
    task.regate()
    return 0


def set_filter(task: Task, flags: int, addr: int) -> int:
    """Add a filter. 0; a descriptor with FLAG_NEW_LISTENER; the id of a thread that FLAG_TSYNC failed for."""
    if flags & ~_FLAGS:
        raise LinuxError(EINVAL)
    if flags & FLAG_TSYNC and flags & FLAG_NEW_LISTENER and not flags & FLAG_TSYNC_ESRCH:
        raise LinuxError(EINVAL)
    if flags & FLAG_WAIT_KILLABLE and not flags & FLAG_NEW_LISTENER:
        raise LinuxError(EINVAL)
    count, code = task.mm.unpack(addr, _FPROG)
    if not 0 < count <= bpf.MAX_INSTRUCTIONS:
        raise LinuxError(EINVAL)
    check_may_install(task)
    if not code:
        raise LinuxError(EFAULT)
    program = tuple(_INSTRUCTION.iter_unpack(task.mm.copy_in(code, count * _INSTRUCTION.size)))
    bpf.check(program)
    sync, log, esrch = bool(flags & FLAG_TSYNC), bool(flags & FLAG_LOG), bool(flags & FLAG_TSYNC_ESRCH)
    if not flags & FLAG_NEW_LISTENER:
        return install(task, bpf.Program(program), log, sync, esrch)
    check_no_listener(task)
    listener = Listener(bool(flags & FLAG_WAIT_KILLABLE))
    file = ListenerFile(task, listener).get()
    try:
        fd = task.files.install(file, task.limit(RLIMIT_NOFILE), True)
        try:
            result = install(task, bpf.Program(program), log, sync, esrch, listener)
        except LinuxError:
            task.files.close_quietly(fd, task)
            raise
        if result:
            task.files.close_quietly(fd, task)
            return result
        return fd
    finally:
        file.put()
