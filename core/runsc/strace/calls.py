"""System calls whose arguments depend on one another: what is shown, in which form, what follows the result.

Everything here is by the call's name and index of the argument, and goes before the declaration's own kind.
"""

from __future__ import annotations

from struct import unpack_from
from typing import TYPE_CHECKING

from runsc.abi import prctl as pr
from runsc.strace import flags
from runsc.strace.arguments import (
    MOST_ENTRIES,
    address,
    environment,
    hexadecimal,
    in_buffer,
    in_struct,
    out_buffer,
    out_struct,
    path,
    string,
    unsigned64,
)
from runsc.strace.ioctls import argument_after, argument_before
from runsc.strace.signals import wait_status_text
from runsc.strace.sockets import LEVELS, OPTIONS
from runsc.strace.structs import mode_text, signal_name, sigset_text, timespec_text, timeval_text
from runsc.strace.text import Enum, Flags, pointer, quote, quote_hex, signed32

if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.strace.view import Formatter, View

_O_CREAT_OR_TMPFILE = 0o20000100
_DEVICES = (0o060000, 0o020000)


def _flags32(table: Callable[[int], str]) -> Formatter:
    def shown(view: View, index: int) -> str:
        return table(view.args[index] & 0xFFFFFFFF)

    return shown


# -- descriptors and files ------------------------------------------------------------------------


def _octal_mode(view: View, index: int) -> str:
    return mode_text(view.args[index] & 0xFFFF)


def _fcntl_argument(view: View, index: int) -> str:
    command = view.args[1] & 0xFFFFFFFF
    value = view.args[index]
    if command in (0, 1030, 8, 1031):  # DUPFD, DUPFD_CLOEXEC, SETOWN, SETPIPE_SZ
        return str(signed32(value))
    if command == 2:
        return flags.TABLES["fdflags"](value & 0xFFFFFFFF)
    if command == 4:
        return flags.OPEN(value & 0xFFFFFFFF)
    if command in (5, 6, 7, 36, 37, 38):
        return _flock(view, value)
    if command == 10:
        return signal_name(signed32(value))
    if command == 1026:
        return _NOTIFY(value & 0xFFFFFFFF)
    if command == 1033:
        return _SEALS(value & 0xFFFFFFFF)
    if command == 1024:
        return _LOCKS.get(signed32(value)) or f"{value & 0xFFFFFFFF:#x} /* F_??? */"
    return hexadecimal(view, index)


_NOTIFY = Flags(
    "DN_???",
    [
        (1, "DN_ACCESS"),
        (2, "DN_MODIFY"),
        (4, "DN_CREATE"),
        (8, "DN_DELETE"),
        (16, "DN_RENAME"),
        (32, "DN_ATTRIB"),
        (1 << 31, "DN_MULTISHOT"),
    ],
)
_LOCKS = {0: "F_RDLCK", 1: "F_WRLCK", 2: "F_UNLCK"}
_SEALS = Flags(
    "F_SEAL_???",
    [
        (1, "F_SEAL_SEAL"),
        (2, "F_SEAL_SHRINK"),
        (4, "F_SEAL_GROW"),
        (8, "F_SEAL_WRITE"),
        (16, "F_SEAL_FUTURE_WRITE"),
    ],
)
#: fcntl commands without an argument: GETFD, GETFL, GETOWN, GETSIG, GETLEASE, GETPIPE_SZ, GET_SEALS.
_FCNTL_BARE = (1, 3, 9, 11, 1025, 1032, 1034)


def _flock(view: View, addr: int) -> str:
    data = view.read(addr, 32)
    if data is None:
        return pointer(addr)
    kind, origin, start, length, pid = unpack_from("<hh4xqqi", data)
    text = f"{{l_type={_LOCKS.get(kind, kind)}, l_whence={flags.WHENCE(origin & 0xFFFF)}"
    text += f", l_start={start}, l_len={length}"
    if view.args[1] in (5, 36) and view.result is not None:
        text += f", l_pid={pid}"
    return text + "}"


def _fcntl_note(view: View) -> str:
    if view.result is not None and not view.failed:
        command = view.args[1]
        if command == 3:
            return f" (flags {flags.OPEN(view.result)})"
        if command == 1 and view.result:
            return f" (flags {flags.TABLES['fdflags'](view.result)})"
        if command == 1034 and view.result:
            return f" (seals {_SEALS(view.result)})"
    return ""


def _out_string(view: View, index: int) -> str:
    """A path that the kernel wrote."""
    addr = view.args[index]
    if view.failed or not addr:
        return pointer(addr)
    found = view.text(addr, 4096)
    return pointer(addr) if found is None else quote(*found)


def _hex_buffer(view: View, index: int) -> str:
    addr = view.args[index]
    if view.failed or view.result is None:
        return pointer(addr)
    data = view.read(addr, min(view.result, view.limit))
    return pointer(addr) if data is None else quote_hex(data, view.result > view.limit)


# -- waiting for descriptors ----------------------------------------------------------------------


def _fd_set(view: View, index: int) -> str:
    addr = view.args[index]
    return "NULL" if not addr else _members(view, addr) or pointer(addr)


def _members(view: View, addr: int) -> str:
    count = max(0, min(signed32(view.args[0]), 1024))
    data = view.read(addr, (count + 63) // 64 * 8)
    if data is None:
        return ""
    bits = int.from_bytes(data, "little") & (1 << count) - 1
    return "[" + " ".join(str(fd) for fd in range(count) if bits >> fd & 1) + "]"


def _select_note(layout: Callable[[int, int], str]) -> Callable[[View], str]:
    """What select found: the sets that aren't empty, and the time left."""

    def note(view: View) -> str:
        if view.failed or view.result is None:
            return ""
        parts = []
        if view.result == 0:
            return " (Timeout)"
        for index, name in ((1, "in"), (2, "out"), (3, "except")):
            if view.args[index]:
                members = _members(view, view.args[index])
                if members and members != "[]":
                    parts.append(f"{name} {members}")
        data = view.read(view.args[4], 16) if view.args[4] else None
        if data is not None:
            parts.append(f"left {layout(*unpack_from('<qq', data))}")
        return f" ({', '.join(parts)})" if parts else ""

    return note


def _poll_note(view: View) -> str:
    if view.failed or view.result is None:
        return ""
    if view.result == 0:
        return " (Timeout)"
    data = view.read_some(view.args[0], 8 * min(view.args[1] & 0xFFFFFFFF, MOST_ENTRIES))
    parts = []
    for offset in range(0, len(data) - 7, 8):
        fd, revents = unpack_from("<i2xH", data, offset)
        if revents:
            parts.append(f"{{fd={fd}, revents={flags.POLL(revents)}}}")
    return f" ([{', '.join(parts)}])" if parts else ""


# -- processes ------------------------------------------------------------------------------------


def _wait_status(view: View, index: int) -> str:
    addr = view.args[index]
    data = view.read(addr, 4) if addr and not view.failed and view.result else None
    return pointer(addr) if data is None else f"[{wait_status_text(int.from_bytes(data, 'little'))}]"


def _rusage_if_waited(view: View, index: int) -> str:
    return out_struct("rusage")(view, index) if view.result else pointer(view.args[index])


_CLONE_SETTLS, _PARENT_SETTID, _CLEARTID, _SETTID, _PIDFD = 0x80000, 0x100000, 0x200000, 0x1000000, 0x1000


def _clone_flags(value: int) -> str:
    number = value & 0xFF
    rest = value & ~0xFF
    names = flags.CLONE(rest) if rest else ""
    signal = flags.SIGNALS.get(number) or (str(number) if number else "")
    return "|".join(part for part in (names, signal) if part) or "0"


def clone_before(view: View) -> list[str]:
    """clone's arguments that are known at once."""
    return [f"child_stack={pointer(view.args[1])}", f"flags={_clone_flags(view.args[0])}"]


def clone_after(view: View, parts: list[str]) -> list[str]:
    """And those that depend on the flags."""
    options, _stack, parent_tid, child_tid, tls = view.args[:5]
    if options & (_PARENT_SETTID | _PIDFD):
        data = view.read(parent_tid, 4) if not view.failed else None
        shown = pointer(parent_tid) if data is None else f"[{int.from_bytes(data, 'little', signed=True)}]"
        parts.append(f"parent_tid={shown}")
    if options & _CLONE_SETTLS:
        parts.append(f"tls={pointer(tls)}")
    if options & (_SETTID | _CLEARTID):
        parts.append(f"child_tidptr={pointer(child_tid)}")
    return parts


def _clone3_arguments(view: View, index: int) -> str:
    addr = view.args[index]
    data = view.read(addr, min(view.args[1], 88)) if view.args[1] >= 64 else None
    if data is None:
        return pointer(addr)
    options, pidfd, child, parent, signo, stack, size, tls = unpack_from("<8Q", data)
    text = f"{{flags={flags.CLONE(options)}"
    for wanted, name, value in (
        (_PIDFD, "pidfd", pidfd),
        (_SETTID | _CLEARTID, "child_tid", child),
        (_PARENT_SETTID, "parent_tid", parent),
    ):
        if options & wanted:
            text += f", {name}={pointer(value)}"
    text += f", exit_signal={flags.SIGNALS.get(signo) or signo}, stack={pointer(stack)}, stack_size={size:#x}"
    text = text.replace("stack_size=0x0", "stack_size=0")
    if options & _CLONE_SETTLS:
        text += f", tls={pointer(tls)}"
    text += "}"
    if not view.failed and options & _PARENT_SETTID:
        word = view.read(parent, 4)
        if word is not None:
            text += f" => {{parent_tid=[{int.from_bytes(word, 'little', signed=True)}]}}"
    return text


def futex_arguments(view: View) -> list[str]:
    """futex's arguments: which there are, and what they mean, depends on the operation."""
    word, code, value, other, word2, value3 = view.args
    operation = code & 0x7F
    parts = [pointer(word), flags.futex_op(signed32(code))]
    timeout = in_struct("timespec")(view, 3)
    if operation in (7, 8):  # UNLOCK_PI, TRYLOCK_PI
        return parts
    if operation in (6, 13):  # LOCK_PI, LOCK_PI2
        return [*parts, timeout]
    parts.append(str(value & 0xFFFFFFFF))
    bits = value3 & 0xFFFFFFFF
    bitset = "FUTEX_BITSET_MATCH_ANY" if bits == 0xFFFFFFFF else f"{bits:#x}" if bits else "0"
    if operation in (1, 2):  # WAKE, FD
        return parts
    if operation == 0:  # WAIT
        return [*parts, timeout]
    if operation == 9:  # WAIT_BITSET
        return [*parts, timeout, bitset]
    if operation == 10:  # WAKE_BITSET
        return [*parts, bitset]
    if operation == 11:  # WAIT_REQUEUE_PI
        return [*parts, timeout, pointer(word2)]
    if operation in (3, 4, 5, 12):  # REQUEUE, CMP_REQUEUE, WAKE_OP, CMP_REQUEUE_PI
        parts += [str(other & 0xFFFFFFFF), pointer(word2)]
        return parts if operation == 3 else [*parts, f"{bits:#x}" if operation == 5 else str(bits)]
    return [*parts, *(f"{extra:#x}" if extra else "0" for extra in (other, word2, value3))]


# -- prctl ----------------------------------------------------------------------------------------

_PRCTL_OUT_INT = (pr.PR_GET_PDEATHSIG, pr.PR_GET_CHILD_SUBREAPER, pr.PR_GET_TSC)
_PRCTL_NONE = (
    pr.PR_GET_DUMPABLE,
    pr.PR_GET_KEEPCAPS,
    pr.PR_GET_SECUREBITS,
    pr.PR_GET_TIMERSLACK,
    pr.PR_GET_SECCOMP,
    pr.PR_GET_TIMING,
)
_PRCTL_ONE = (
    pr.PR_SET_PDEATHSIG,
    pr.PR_SET_DUMPABLE,
    pr.PR_SET_KEEPCAPS,
    pr.PR_SET_NAME,
    pr.PR_GET_NAME,
    pr.PR_CAPBSET_READ,
    pr.PR_CAPBSET_DROP,
    pr.PR_SET_TIMERSLACK,
    pr.PR_SET_CHILD_SUBREAPER,
    pr.PR_SET_SECUREBITS,
    pr.PR_SET_TIMING,
    pr.PR_SET_TSC,
)


_DUMPABLE = Enum("SUID_DUMP_???", {0: "SUID_DUMP_DISABLE", 1: "SUID_DUMP_USER", 2: "SUID_DUMP_ROOT"})


def _prctl_note(view: View) -> str:
    if signed32(view.args[0]) == pr.PR_GET_DUMPABLE and not view.failed:
        return f" ({_DUMPABLE(view.result or 0)})"
    return ""


def _prctl_count(view: View) -> int:
    option = signed32(view.args[0])
    if option in _PRCTL_NONE:
        return 1
    if option in _PRCTL_ONE or option in _PRCTL_OUT_INT:
        return 2
    return 5


def _prctl_argument(view: View, index: int) -> str:
    option = signed32(view.args[0])
    if option == pr.PR_SET_NAME:
        return string(view, index)
    if option == pr.PR_GET_NAME:
        return _out_string(view, index)
    if option in _PRCTL_OUT_INT:
        return out_struct("int")(view, index)
    if option == pr.PR_SET_PDEATHSIG:
        return flags.SIGNALS.get(view.args[index]) or str(view.args[index])
    if option == pr.PR_SET_DUMPABLE:
        return _DUMPABLE(view.args[index])
    if option in (
        pr.PR_SET_KEEPCAPS,
        pr.PR_SET_NO_NEW_PRIVS,
        pr.PR_GET_NO_NEW_PRIVS,
        pr.PR_SET_TIMERSLACK,
        pr.PR_SET_CHILD_SUBREAPER,
    ):
        return unsigned64(view, index)
    return f"{view.args[index]:#x}" if view.args[index] else "0"


def _prctl_rest(view: View, index: int) -> str:
    if signed32(view.args[0]) in (pr.PR_SET_NO_NEW_PRIVS, pr.PR_GET_NO_NEW_PRIVS):
        return unsigned64(view, index)
    return f"{view.args[index]:#x}" if view.args[index] else "0"


def _arch_prctl_argument(view: View, index: int) -> str:
    if view.args[0] in (pr.ARCH_GET_FS, pr.ARCH_GET_GS) and not view.failed:
        data = view.read(view.args[index], 8)
        if data is not None:
            return f"[{pointer(int.from_bytes(data, 'little'))}]"
    return address(view, index)


# -- lists of numbers -----------------------------------------------------------------------------


def _cpu_set(view: View, addr: int, length: int) -> str:
    data = view.read(addr, min(length, 128))
    if data is None:
        return pointer(addr)
    bits = int.from_bytes(data, "little")
    return "[" + " ".join(str(cpu) for cpu in range(8 * len(data)) if bits >> cpu & 1) + "]"


def _in_cpus(view: View, index: int) -> str:
    return _cpu_set(view, view.args[index], view.args[1] & 0xFFFFFFFF)


def _out_cpus(view: View, index: int) -> str:
    if view.failed or view.result is None:
        return pointer(view.args[index])
    return _cpu_set(view, view.args[index], view.result)


def _groups(view: View, index: int, count: int) -> str:
    addr = view.args[index]
    if not addr:
        return "NULL"
    shown = min(count, MOST_ENTRIES)
    data = view.read(addr, 4 * shown)
    if data is None:
        return pointer(addr)
    parts = [str(gid) for gid in unpack_from(f"<{shown}I", data)]
    return "[" + ", ".join(parts if shown == count else [*parts, "..."]) + "]"


def _in_groups(view: View, index: int) -> str:
    return _groups(view, index, signed32(view.args[0]))


def _out_groups(view: View, index: int) -> str:
    if view.failed or view.result is None or not view.args[0]:
        return pointer(view.args[index])
    return _groups(view, index, view.result)


def _sysinfo(view: View, index: int) -> str:
    data = None if view.failed else view.read(view.args[index], 112)
    if data is None:
        return pointer(view.args[index])
    v = unpack_from("<q9QH6xQQI", data)
    return (
        f"{{uptime={v[0]}, loads=[{v[1]}, {v[2]}, {v[3]}], totalram={v[4]}, freeram={v[5]}, "
        f"sharedram={v[6]}, bufferram={v[7]}, totalswap={v[8]}, freeswap={v[9]}, procs={v[10]}, "
        f"totalhigh={v[11]}, "
        f"freehigh={v[12]}, mem_unit={v[13]}}}"
    )


# -- signals --------------------------------------------------------------------------------------


def _in_stack(view: View, index: int) -> str:
    addr = view.args[index]
    data = view.read(addr, 24) if addr else None
    if data is None:
        return pointer(addr)
    base, options, size = unpack_from("<QI4xQ", data)
    return f"{{ss_sp={pointer(base)}, ss_flags={flags.SS_FLAGS(options)}, ss_size={size}}}"


def _out_stack(view: View, index: int) -> str:
    return pointer(view.args[index]) if view.failed else _in_stack(view, index)


def _remaining(view: View, index: int) -> str:
    """The time left, which is written only when the sleep was interrupted."""
    if view.result in (-4, -516):
        return in_struct("timespec")(view, index)
    return pointer(view.args[index])


def _sized_sigset(size_index: int, late: bool = False) -> tuple[Formatter, bool]:
    """A signal set, if the size that goes with it is the one there is."""

    def shown(view: View, index: int) -> str:
        addr = view.args[index]
        hidden = view.args[size_index] != 8 or (late and view.failed) or not addr
        data = None if hidden else view.read(addr, 8)
        return pointer(addr) if data is None else sigset_text(int.from_bytes(data, "little"))

    return shown, late


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


# -- tables ---------------------------------------------------------------------------------------

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
    "arch_prctl": {1: (_arch_prctl_argument, True)},
    "clock_nanosleep": {1: (_TIMER_FLAGS, False), 3: (_remaining, True)},
    "clone3": {0: (_clone3_arguments, True)},
    "dup3": {2: (_FILE_FLAGS, False)},
    "epoll_create1": {0: (_EPOLL_CREATE, False)},
    "eventfd2": {1: (_EFD, False)},
    "faccessat2": {3: (_flags32(flags.TABLES["at_access"]), False)},
    "execve": {2: (environment, False)},
    "execveat": {3: (environment, False)},
    "fcntl": {2: (_fcntl_argument, True)},
    "getcwd": {0: (_out_string, True)},
    "getgroups": {1: (_out_groups, True)},
    "getitimer": {0: (_ITIMER, False)},
    "getrandom": {0: (_hex_buffer, True)},
    "getsockopt": {1: (_flags32(LEVELS), False), 2: (_option_name, False), 3: (_option_out, True)},
    "inotify_init1": {0: (_IN_INIT, False)},
    "mknod": {1: (_octal_mode, False)},
    "mknodat": {2: (_octal_mode, False)},
    "mmap": {5: (hexadecimal, False)},
    "mremap": {4: (address, False)},
    "nanosleep": {1: (_remaining, True)},
    "pipe2": {1: (_FILE_FLAGS, False)},
    "prctl": {
        1: (_prctl_argument, True),
        2: (_prctl_rest, False),
        3: (_prctl_rest, False),
        4: (_prctl_rest, False),
    },
    "pselect6": {1: (_fd_set, False), 2: (_fd_set, False), 3: (_fd_set, False)},
    "readlink": {1: (out_buffer, True)},
    "readlinkat": {2: (out_buffer, True)},
    "rt_sigpending": {0: _sized_sigset(1, True)},
    "rt_sigprocmask": {1: _sized_sigset(3), 2: _sized_sigset(3, True)},
    "rt_sigsuspend": {0: _sized_sigset(1)},
    "rt_sigtimedwait": {0: _sized_sigset(3)},
    "sched_getaffinity": {2: (_out_cpus, True)},
    "sched_setaffinity": {2: (_in_cpus, False)},
    "select": {
        1: (_fd_set, False),
        2: (_fd_set, False),
        3: (_fd_set, False),
        4: (in_struct("timeval"), False),
    },
    "set_tid_address": {0: (hexadecimal, False)},
    "setgroups": {1: (_in_groups, False)},
    "setitimer": {0: (_ITIMER, False)},
    "setsockopt": {1: (_flags32(LEVELS), False), 2: (_option_name, False), 3: (_option_in, False)},
    "shutdown": {1: (_SHUTDOWN, False)},
    "sigaltstack": {0: (_in_stack, False), 1: (_out_stack, True)},
    "signalfd4": {3: (_SFD, False)},
    "socket": {2: (_protocol, False)},
    "socketpair": {2: (_protocol, False)},
    "statx": {2: (_flags32(flags.TABLES["statx_at"]), False)},
    "symlink": {0: (path, False)},
    "sysinfo": {0: (_sysinfo, True)},
    "timerfd_create": {1: (_TFD, False)},
    "timerfd_settime": {1: (_TFD_TIMER, False)},
    "truncate": {1: (unsigned64, False)},
    "wait4": {1: (_wait_status, True), 3: (_rusage_if_waited, True)},
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
    "fcntl": lambda view: 2 if view.args[1] & 0xFFFFFFFF in _FCNTL_BARE else 3,
    "mknod": _mknod_count(1),
    "mknodat": _mknod_count(2),
    "mremap": lambda view: 5 if view.args[3] & 6 else 4,
    "open": _open_count(1),
    "openat": _open_count(2),
    "prctl": _prctl_count,
}

#: What follows the result in parentheses.
NOTES: dict[str, Callable[[View], str]] = {
    "fcntl": _fcntl_note,
    "poll": _poll_note,
    "ppoll": _poll_note,
    "prctl": _prctl_note,
    "pselect6": _select_note(timespec_text),
    "select": _select_note(timeval_text),
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
    return argument_after(view)
