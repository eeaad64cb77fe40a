"""Arguments of calls about files and descriptors that depend on one another (see ``runsc.strace.calls``)."""

from __future__ import annotations

from struct import unpack_from

from runsc.strace import flags
from runsc.strace.arguments import (
    MOST_ENTRIES,
    hexadecimal,
)
from runsc.strace.structs import mode_text, signal_name
from runsc.strace.text import Flags, pointer, quote, quote_hex, signed32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.strace.view import View


def octal_mode(view: View, index: int) -> str:
    """A file's type and permission bits, of mknod."""
    return mode_text(view.args[index] & 0xFFFF)


def fcntl_argument(view: View, index: int) -> str:
    """What goes with the command."""
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
FCNTL_BARE = (1, 3, 9, 11, 1025, 1032, 1034)


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


def fcntl_note(view: View) -> str:
    """The result's flags by name."""
    if view.result is not None and not view.failed:
        command = view.args[1]
        if command == 3:
            return f" (flags {flags.OPEN(view.result)})"
        if command == 1 and view.result:
            return f" (flags {flags.TABLES['fdflags'](view.result)})"
        if command == 1034 and view.result:
            return f" (seals {_SEALS(view.result)})"
    return ""


def out_string(view: View, index: int) -> str:
    """A path that the kernel wrote."""
    addr = view.args[index]
    if view.failed or not addr:
        return pointer(addr)
    found = view.text(addr, 4096)
    return pointer(addr) if found is None else quote(*found)


def hex_buffer(view: View, index: int) -> str:
    """A filled buffer whose bytes are no text."""
    addr = view.args[index]
    if view.failed or view.result is None:
        return pointer(addr)
    data = view.read(addr, min(view.result, view.limit))
    return pointer(addr) if data is None else quote_hex(data, view.result > view.limit)


# -- waiting for descriptors ----------------------------------------------------------------------


def fd_set(view: View, index: int) -> str:
    """A descriptor set as it is given."""
    addr = view.args[index]
    return "NULL" if not addr else _members(view, addr) or pointer(addr)


def _members(view: View, addr: int) -> str:
    count = max(0, min(signed32(view.args[0]), 1024))
    data = view.read(addr, (count + 63) // 64 * 8)
    if data is None:
        return ""
    bits = int.from_bytes(data, "little") & (1 << count) - 1
    return "[" + " ".join(str(fd) for fd in range(count) if bits >> fd & 1) + "]"


def select_note(layout: Callable[[int, int], str]) -> Callable[[View], str]:
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


def poll_note(view: View) -> str:
    """The descriptors that are ready."""
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
