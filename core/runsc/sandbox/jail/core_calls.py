"""The host calls of the core: of Python's interpreter, the C library, and the kernel's own files.

Each with what it is needed for; a call without a need has no place here.
"""

from __future__ import annotations

from _socket import SO_PEERCRED, SOL_SOCKET
from fcntl import F_ADD_SEALS, F_DUPFD_CLOEXEC, F_GET_SEALS, F_GETFD, F_GETFL, F_SETFD, F_SETFL

from runsc.abi.ioctl import (
    FIOCLEX,
    FIONBIO,
    FIONCLEX,
    FIONREAD,
    TCFLSH,
    TCGETS,
    TCSETS,
    TCXONC,
    TIOCGWINSZ,
    TIOCOUTQ,
    TIOCSWINSZ,
)  # fmt: skip
from runsc.plugins.availability import HostCall, argument, descriptor, int_argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_AT_EMPTY_PATH = 0x1000
_EPOLL_CTL = (1, 2, 3)


def core_calls(pid: int) -> Sequence[HostCall]:
    """The list for the process ``pid``."""
    return (
        # Python and the C library.
        HostCall("brk", "malloc"),
        HostCall("mmap", "malloc; memory files are mapped to punch holes in them"),
        HostCall("munmap", "malloc"),
        HostCall("mremap", "realloc of large blocks"),
        HostCall("madvise", "free gives pages back; MADV_REMOVE punches holes"),
        HostCall("mprotect", "malloc makes an arena larger"),
        HostCall("futex", "locks of the interpreter and the C library"),
        HostCall("sched_yield", "locks of the C library"),
        HostCall("getrandom", "getrandom(2), /dev/urandom, address layout"),
        HostCall("clock_gettime", "clocks the vDSO doesn't answer"),
        HostCall("clock_getres", "Python's time module"),
        HostCall("gettimeofday", "where there is no vDSO"),
        HostCall("time", "where there is no vDSO"),
        HostCall("getpid", "lines of the log; raise(3)"),
        HostCall("gettid", "raise(3)"),
        HostCall("sysinfo", "amount of memory (sysconf)"),
        HostCall("getrusage", "what the kernel itself has used"),
        HostCall("prlimit64", "our own limit on descriptors", int_argument(0, 0, pid), argument(2, 0)),
        HostCall("rt_sigprocmask", "raise(3), abort(3)"),
        HostCall("rt_sigaction", "let SIGTSTP stop the sandbox, and ignore it again; abort(3)"),
        HostCall("rt_sigreturn", "end of a signal handler"),
        HostCall("restart_syscall", "go on with a wait after a stop (Ctrl-Z) of the sandbox"),
        HostCall("kill", "stop the sandbox on Ctrl-Z", int_argument(0, pid)),
        HostCall("tgkill", "abort(3)", int_argument(0, pid)),
        HostCall("exit", "end a thread"),
        HostCall("exit_group", "end"),
        # Descriptors.
        HostCall("read", "pipes, terminals, inherited files; signals passed on by the command line"),
        HostCall("write", "pipes, terminals, inherited files; the log; the report to the command line"),
        HostCall("pread64", "memory files, inherited files, /proc/meminfo"),
        HostCall("pwrite64", "memory files, inherited files"),
        HostCall("lseek", "inherited files; holes in memory files"),
        HostCall("close", "descriptors"),
        HostCall("fstat", "attributes of memory files and inherited files"),
        HostCall("newfstatat", "fstat(3) of the C library", int_argument(3, _AT_EMPTY_PATH)),
        HostCall("fstatfs", "fstatvfs(3) of inherited files"),
        HostCall("fcntl", "flags; a duplicate that exec closes; seals of memory files",
                 int_argument(1, F_GETFL, F_SETFL, F_GETFD, F_SETFD, F_DUPFD_CLOEXEC, F_ADD_SEALS,
                              F_GET_SEALS)),
        HostCall("ioctl", "the sandbox's terminal: settings, size, queues; readable bytes; close-on-exec",
                 int_argument(1, TCGETS, TCSETS, TCFLSH, TCXONC, TIOCGWINSZ, TIOCSWINSZ, TIOCOUTQ, FIONREAD,
                              FIOCLEX, FIONCLEX, FIONBIO)),
        HostCall("memfd_create", "memory files: tmpfs, shared memory"),
        HostCall("ftruncate", "size of memory files and inherited files"),
        HostCall("fallocate", "reserve space in memory files and inherited files"),
        HostCall("fsync", "inherited files"),
        HostCall("fdatasync", "inherited files"),
        HostCall("utimensat", "times of inherited files, by descriptor", argument(1, 0)),
        HostCall("recvfrom", "an inherited socket", argument(4, 0)),
        HostCall("sendto", "an inherited socket, to its peer only", argument(4, 0)),
        HostCall("poll", "readiness of inherited descriptors"),
        HostCall("epoll_ctl", "readiness of inherited descriptors", int_argument(1, *_EPOLL_CTL),
                 descriptor(2)),
        HostCall("epoll_wait", "readiness of inherited descriptors"),
        HostCall("epoll_pwait", "readiness of inherited descriptors"),
    )  # fmt: skip


def control_calls(listener: int) -> Sequence[HostCall]:
    """For the socket that commands talk to a sandbox through (``runsc.sandbox.control``); ``listener``: its
    descriptor."""

    return (
        HostCall("accept4", "a command connects", int_argument(0, listener)),
        HostCall("getsockopt", "whose it is", int_argument(1, SOL_SOCKET), int_argument(2, SO_PEERCRED)),
        HostCall("getsockname", "Python makes a socket object of a descriptor"),
        HostCall("recvmsg", "its requests, and the descriptors that come with them"),
    )
