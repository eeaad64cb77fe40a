"""System calls whose arguments depend on one another: what is shown, in which form, what follows the result.

Everything here is by the call's name and index of the argument, and goes before the declaration's own kind.
"""

from __future__ import annotations

from runsc.strace import flags
from runsc.strace.arguments import (
    address,
    environment,
    hexadecimal,
    in_buffer,
    in_struct,
    out_buffer,
    path,
    unsigned64,
)
from runsc.strace.file_calls import (
    FCNTL_BARE,
    fcntl_argument,
    fcntl_note,
    fd_set,
    hex_buffer,
    octal_mode,
    out_string,
    poll_note,
    select_note,
)
from runsc.strace.ioctls import argument_after, argument_before
from runsc.strace.process_calls import (
    arch_prctl_argument,
    clone3_arguments,
    in_cpus,
    in_groups,
    in_stack,
    out_cpus,
    out_groups,
    out_stack,
    prctl_argument,
    prctl_count,
    prctl_note,
    prctl_rest,
    remaining,
    rusage_if_waited,
    sized_sigset,
    sysinfo,
    wait_status,
)
from runsc.strace.sockets import LEVELS, OPTIONS
from runsc.strace.structs import timespec_text, timeval_text
from runsc.strace.text import Enum, Flags, pointer, quote, signed32

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.strace.view import Formatter, View


_O_CREAT_OR_TMPFILE = 0o20000100
_DEVICES = (0o060000, 0o020000)


def _flags32(table: Callable[[int], str]) -> Formatter:
    def shown(view: View, index: int) -> str:
        return table(view.args[index] & 0xFFFFFFFF)

    return shown


# -- sockets --------------------------------------------------------------------------------------


def _option_name(view: View, index: int) -> str:
    table = OPTIONS.get(view.args[1] & 0xFFFFFFFF)
    return table(view.args[index] & 0xFFFFFFFF) if table else f"{view.args[index] & 0xFFFFFFFF:#x}"


def _option_in(view: View, index: int) -> str:
    length = signed32(view.args[4])
    if length != 4:
        return in_buffer(view, index) if length > 0 else pointer(view.args[index])
    data = view.read(view.args[index], 4)
    return pointer(view.args[index]) if data is None else f"[{int.from_bytes(data, 'little', signed=True)}]"


def _option_out(view: View, index: int) -> str:
    size = None if view.failed else view.read(view.args[4], 4)
    length = 0 if size is None else int.from_bytes(size, "little")
    data = view.read(view.args[index], min(length, view.limit)) if length else None
    if data is None:
        return pointer(view.args[index])
    if length != 4:
        return quote(data, length > view.limit)
    return f"[{int.from_bytes(data, 'little', signed=True)}]"


#: Calls with a length that the kernel changes, and the index of its address.
LENGTHS = {"accept": 2, "accept4": 2, "getpeername": 2, "getsockname": 2, "getsockopt": 4, "recvfrom": 5}


def length_at(view: View, index: int) -> int | None:
    """The int that an argument points to."""
    addr = view.args[index]
    data = view.read(addr, 4) if addr else None
    return None if data is None else int.from_bytes(data, "little", signed=True)


def length_text(view: View, index: int) -> str:
    """A length from before the call, and what the call made of it."""
    if view.length is None:
        return pointer(view.args[index])
    after = view.length if view.failed else length_at(view, index)
    return f"[{view.length}]" if after in (view.length, None) else f"[{view.length} => {after}]"


def _protocol(view: View, index: int) -> str:
    family, value = view.args[0] & 0xFFFFFFFF, view.args[index] & 0xFFFFFFFF
    if family in (2, 10):
        return {
            0: "IPPROTO_IP",
            1: "IPPROTO_ICMP",
            6: "IPPROTO_TCP",
            17: "IPPROTO_UDP",
            58: "IPPROTO_ICMPV6",
            255: "IPPROTO_RAW",
        }.get(value) or str(value)
    if family == 16:
        return "NETLINK_ROUTE" if value == 0 else str(value)
    return str(signed32(value))


# -- tables --------------------------------------------------------------------------------------

_TIMER_FLAGS = _flags32(Flags("TIMER_???", [(1, "TIMER_ABSTIME")]))
_FILE_FLAGS = _flags32(flags.FILE_FLAGS)
_EFD = _flags32(Flags("EFD_???", [(1, "EFD_SEMAPHORE"), (0x80000, "EFD_CLOEXEC"), (0x800, "EFD_NONBLOCK")]))
_TFD = _flags32(Flags("TFD_???", [(0x80000, "TFD_CLOEXEC"), (0x800, "TFD_NONBLOCK")]))
_TFD_TIMER = _flags32(Flags("TFD_???", [(1, "TFD_TIMER_ABSTIME"), (2, "TFD_TIMER_CANCEL_ON_SET")]))
_SFD = _flags32(Flags("SFD_???", [(0x80000, "SFD_CLOEXEC"), (0x800, "SFD_NONBLOCK")]))
_IN_INIT = _flags32(Flags("IN_???", [(0x80000, "IN_CLOEXEC"), (0x800, "IN_NONBLOCK")]))
_EPOLL_CREATE = _flags32(Flags("EPOLL_???", [(0x80000, "EPOLL_CLOEXEC")]))
_ACCEPT = _flags32(Flags("SOCK_???", [(0x80000, "SOCK_CLOEXEC"), (0x800, "SOCK_NONBLOCK")]))
_SHUTDOWN = _flags32(Enum("SHUT_???", {0: "SHUT_RD", 1: "SHUT_WR", 2: "SHUT_RDWR"}))
_ITIMER = _flags32(Enum("ITIMER_???", {0: "ITIMER_REAL", 1: "ITIMER_VIRTUAL", 2: "ITIMER_PROF"}))

#: name -> index -> (formatter, whether it runs after the call).
ARGUMENTS: dict[str, dict[int, tuple[Formatter, bool]]] = {
    "accept4": {3: (_ACCEPT, False)},
    "arch_prctl": {1: (arch_prctl_argument, True)},
    "clock_nanosleep": {1: (_TIMER_FLAGS, False), 3: (remaining, True)},
    "clone3": {0: (clone3_arguments, True)},
    "dup3": {2: (_FILE_FLAGS, False)},
    "epoll_create1": {0: (_EPOLL_CREATE, False)},
    "eventfd2": {1: (_EFD, False)},
    "faccessat2": {3: (_flags32(flags.TABLES["at_access"]), False)},
    "execve": {2: (environment, False)},
    "execveat": {3: (environment, False)},
    "fcntl": {2: (fcntl_argument, True)},
    "getcwd": {0: (out_string, True)},
    "getgroups": {1: (out_groups, True)},
    "getitimer": {0: (_ITIMER, False)},
    "getrandom": {0: (hex_buffer, True)},
    "getsockopt": {1: (_flags32(LEVELS), False), 2: (_option_name, False), 3: (_option_out, True)},
    "inotify_init1": {0: (_IN_INIT, False)},
    "mknod": {1: (octal_mode, False)},
    "mknodat": {2: (octal_mode, False)},
    "mmap": {5: (hexadecimal, False)},
    "mremap": {4: (address, False)},
    "nanosleep": {1: (remaining, True)},
    "pipe2": {1: (_FILE_FLAGS, False)},
    "prctl": {
        1: (prctl_argument, True),
        2: (prctl_rest, False),
        3: (prctl_rest, False),
        4: (prctl_rest, False),
    },
    "pselect6": {1: (fd_set, False), 2: (fd_set, False), 3: (fd_set, False)},
    "readlink": {1: (out_buffer, True)},
    "readlinkat": {2: (out_buffer, True)},
    "rt_sigpending": {0: sized_sigset(1, True)},
    "rt_sigprocmask": {1: sized_sigset(3), 2: sized_sigset(3, True)},
    "rt_sigsuspend": {0: sized_sigset(1)},
    "rt_sigtimedwait": {0: sized_sigset(3)},
    "sched_getaffinity": {2: (out_cpus, True)},
    "sched_setaffinity": {2: (in_cpus, False)},
    "select": {
        1: (fd_set, False),
        2: (fd_set, False),
        3: (fd_set, False),
        4: (in_struct("timeval"), False),
    },
    "set_tid_address": {0: (hexadecimal, False)},
    "setgroups": {1: (in_groups, False)},
    "setitimer": {0: (_ITIMER, False)},
    "setsockopt": {1: (_flags32(LEVELS), False), 2: (_option_name, False), 3: (_option_in, False)},
    "shutdown": {1: (_SHUTDOWN, False)},
    "sigaltstack": {0: (in_stack, False), 1: (out_stack, True)},
    "signalfd4": {3: (_SFD, False)},
    "socket": {2: (_protocol, False)},
    "socketpair": {2: (_protocol, False)},
    "statx": {2: (_flags32(flags.TABLES["statx_at"]), False)},
    "symlink": {0: (path, False)},
    "sysinfo": {0: (sysinfo, True)},
    "timerfd_create": {1: (_TFD, False)},
    "timerfd_settime": {1: (_TFD_TIMER, False)},
    "truncate": {1: (unsigned64, False)},
    "wait4": {1: (wait_status, True), 3: (rusage_if_waited, True)},
}


def _open_count(flags_index: int) -> Callable[[View], int]:
    def count(view: View) -> int:
        return flags_index + (2 if view.args[flags_index] & _O_CREAT_OR_TMPFILE else 1)

    return count


def _mknod_count(mode_index: int) -> Callable[[View], int]:
    def count(view: View) -> int:
        return mode_index + (2 if view.args[mode_index] & 0o170000 in _DEVICES else 1)

    return count


#: How many arguments are shown, where that depends on them.
COUNTS: dict[str, Callable[[View], int]] = {
    "fcntl": lambda view: 2 if view.args[1] & 0xFFFFFFFF in FCNTL_BARE else 3,
    "mknod": _mknod_count(1),
    "mknodat": _mknod_count(2),
    "mremap": lambda view: 5 if view.args[3] & 6 else 4,
    "open": _open_count(1),
    "openat": _open_count(2),
    "prctl": prctl_count,
}

#: What follows the result in parentheses.
NOTES: dict[str, Callable[[View], str]] = {
    "fcntl": fcntl_note,
    "poll": poll_note,
    "ppoll": poll_note,
    "prctl": prctl_note,
    "pselect6": select_note(timespec_text),
    "select": select_note(timeval_text),
}

#: Results that aren't decimal numbers.
RESULTS: dict[str, Callable[[int], str]] = {
    "brk": hex,
    "mmap": hex,
    "mremap": hex,
    "shmat": hex,
    "umask": lambda value: f"0{value:02o}" if value else "000",
}


def ioctl_before(view: View, parts: list[str | None]) -> None:
    """ioctl's third argument, where it can be shown at once."""
    parts[2] = argument_before(view)


def ioctl_after(view: View, _index: int) -> str:
    """ioctl's third argument, where the kernel filled it in."""
    return argument_after(view)
