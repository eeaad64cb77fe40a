"""What the gofer may do: its files, and nothing else.

Layers, each for what the others can't do: a mount namespace of its own with an empty root, where the user may
have one, so that no path leads anywhere and ".." of a mount leads nowhere; Landlock, for any user, so that
what it reaches lies beneath its mounts; capabilities for files only; and a list of system calls. """

from __future__ import annotations

import os
from errno import EINVAL, ENOSYS, EPERM

from runsc._native import ffi, lib

from runsc.abi.syscalls import NUMBERS
from runsc.plugins.availability import HostCall, int_argument, without
from runsc.sandbox.jail.bpf import KILL_PROCESS, assemble
from runsc.sandbox.jail.capabilities import give_up_all_but
from runsc.sandbox.jail.landlock import enter_trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.sandbox.jail.bpf import AllowList

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID = range(5)
CAP_MKNOD = 27
CAP_SETFCAP = 31

READ_CAPABILITIES = (CAP_DAC_READ_SEARCH,)
WRITE_CAPABILITIES = (CAP_DAC_OVERRIDE, CAP_CHOWN, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP)

_PROT_EXEC = 4

#: A path is the number of a descriptor, or a component relative to one.
CALLS = (
    HostCall("read", "messages"),
    HostCall("write", "the log"),
    HostCall("sendmsg", "replies, and descriptors with them"),
    HostCall("epoll_wait", "wait for messages"),
    HostCall("epoll_pwait", "wait for messages"),
    HostCall("epoll_ctl", "a client has gone"),
    HostCall("close", "descriptors"),
    HostCall("dup", "the descriptor of the watches, for another client"),
    HostCall("fcntl", "the same"),
    HostCall("openat", "look names up, open files"),
    HostCall("newfstatat", "attributes"),
    HostCall("fstat", "attributes"),
    HostCall("statfs", "free space"),
    HostCall("fstatfs", "free space"),
    HostCall("getdents64", "list directories"),
    HostCall("lseek", "rewind directories"),
    HostCall("readlinkat", "symbolic links"),
    HostCall("pread64", "read files, for plain clients"),
    HostCall("getxattr", "extended attributes"),
    HostCall("listxattr", "extended attributes"),
    HostCall("inotify_add_watch", "watch directories"),
    HostCall("inotify_rm_watch", "watch directories"),
    # The interpreter and the C library.
    HostCall("brk", "memory"),
    HostCall("mmap", "memory", without(2, _PROT_EXEC)),
    HostCall("mprotect", "memory", without(2, _PROT_EXEC)),
    HostCall("munmap", "memory"),
    HostCall("mremap", "memory"),
    HostCall("madvise", "memory"),
    HostCall("futex", "locks of the interpreter"),
    HostCall("clock_gettime", "time"),
    HostCall("getpid", "the log"),
    HostCall("rt_sigprocmask", "abort(3)"),
    HostCall("rt_sigaction", "abort(3)"),
    HostCall("rt_sigreturn", "signals"),
    HostCall("exit", "end"),
    HostCall("exit_group", "end"),
    HostCall("restart_syscall", "go on after a stop"),
    HostCall("ioctl", "is the log a terminal?", int_argument(1, 0x5401)),
)

WRITE_CALLS = (
    HostCall("pwrite64", "write files, for plain clients"),
    HostCall("ftruncate", "sizes"),
    HostCall("fsync", "durability"),
    HostCall("fdatasync", "durability"),
    HostCall("syncfs", "durability"),
    HostCall("mkdirat", "make directories"),
    HostCall("mknodat", "make FIFOs, sockets' names, devices"),
    HostCall("symlinkat", "make symbolic links"),
    HostCall("linkat", "make hard links"),
    HostCall("unlinkat", "remove names"),
    HostCall("renameat", "rename"),
    HostCall("renameat2", "rename"),
    HostCall("chmod", "permission bits"),
    HostCall("chown", "owners"),
    HostCall("utimensat", "times"),
    HostCall("setxattr", "extended attributes"),
    HostCall("removexattr", "extended attributes"),
)


def leave_the_tree(roots: Sequence[int]) -> tuple[list[int], str]:
    """Copies of the mounts behind these descriptors, the host's tree left behind; the old descriptors are
    closed. Where this user may not, they are what they were, and why is said ("" otherwise)."""
    detached: list[int] = []
    for fd in roots:
        tree = lib.rn_detached(fd)
        if tree < 0:
            for made in detached:
                os.close(made)
            if -tree not in (EPERM, ENOSYS, EINVAL):
                raise OSError(-tree, os.strerror(-tree))
            return list(roots), "no mount namespace of its own"
        detached.append(tree)
    result = lib.rn_leave_tree()
    if result < 0:
        for made in detached:
            os.close(made)
        return list(roots), f"no mount namespace of its own ({os.strerror(-result)})"
    for fd in roots:
        os.close(fd)
    return detached, ""


def close_jail(roots: Sequence[tuple[int, bool]]) -> str:
    """Give up everything but files beneath ``roots`` (descriptors, and whether they are read-only); what
    couldn't be done, in a few words. Raises ``RunscError``."""
    writable = any(not read_only for _fd, read_only in roots)
    result = lib.rn_no_new_privs()
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    missing = enter_trees(roots)
    give_up_all_but(READ_CAPABILITIES + WRITE_CAPABILITIES if writable else READ_CAPABILITIES)
    allowed: AllowList = {}
    for call in CALLS + WRITE_CALLS if writable else CALLS:
        allowed.setdefault(NUMBERS[call.name], []).append(call.checks)
    program = assemble(allowed, KILL_PROCESS)
    result = lib.rn_seccomp(ffi.from_buffer(program), len(program) // 8)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return missing
