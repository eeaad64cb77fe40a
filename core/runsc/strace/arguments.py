"""The formatter of each kind of argument that a declaration can name (``decl.Arg.kind``).

A formatter gets the call in view and the argument's index. Those of what the kernel writes run when
the call has ended, the others when it begins.
"""

from __future__ import annotations

from struct import unpack_from

from runsc.strace import flags
from runsc.strace.ioctls import request_text
from runsc.strace.sockets import buffer_text, in_sockaddr, iovec_text, msghdr_text, sockaddr_text
from runsc.strace.structs import LAYOUTS, epoll_event_text, signal_name
from runsc.strace.text import makedev, octal, pointer, quote, signed32, signed64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.syscalls.decl import Arg
    from runsc.strace.view import Formatter, View

#: No more entries of a list are shown.
MOST_ENTRIES = 64
_MOST_STRINGS = 256
_PATH_MAX = 4096


def number32(view: View, index: int) -> str:
    """An int."""
    return str(signed32(view.args[index]))


def unsigned32(view: View, index: int) -> str:
    """An unsigned int."""
    return str(view.args[index] & 0xFFFFFFFF)


def number64(view: View, index: int) -> str:
    """A long."""
    return str(signed64(view.args[index]))


def unsigned64(view: View, index: int) -> str:
    """An unsigned long."""
    return str(view.args[index])


def hexadecimal(view: View, index: int) -> str:
    """A number that is better read in hexadecimal."""
    value = view.args[index]
    return f"{value:#x}" if value else "0"


def address(view: View, index: int) -> str:
    """A pointer, as it is."""
    return pointer(view.args[index])


def directory(view: View, index: int) -> str:
    """A directory's descriptor, or AT_FDCWD."""
    fd = signed32(view.args[index])
    return "AT_FDCWD" if fd == -100 else str(fd)


def user(view: View, index: int) -> str:
    """A user or group id; -1 is nobody's."""
    value = view.args[index] & 0xFFFFFFFF
    return "-1" if value == 0xFFFFFFFF else str(value)


def signal(view: View, index: int) -> str:
    """A signal's number."""
    return signal_name(signed32(view.args[index]))


def mode(view: View, index: int) -> str:
    """Permission bits."""
    return octal(view.args[index] & 0xFFFFFFFF)


def device(view: View, index: int) -> str:
    """A device number."""
    return makedev(view.args[index] & 0xFFFFFFFF)


def clock(view: View, index: int) -> str:
    """A clock's id."""
    return flags.CLOCKS(signed32(view.args[index]))


def whence(view: View, index: int) -> str:
    """Where an offset counts from."""
    return flags.WHENCE(view.args[index] & 0xFFFFFFFF)


def request(view: View, index: int) -> str:
    """An ioctl's number."""
    return request_text(view.args[index] & 0xFFFFFFFF)


def path(view: View, index: int) -> str:
    """A path name: shown whole."""
    addr = view.args[index]
    found = view.text(addr, _PATH_MAX) if addr else None
    return pointer(addr) if found is None else quote(*found)


def string(view: View, index: int) -> str:
    """Another string: cut at the limit."""
    addr = view.args[index]
    found = view.text(addr, view.limit) if addr else None
    return pointer(addr) if found is None else quote(*found)


def in_buffer(view: View, index: int) -> str:
    """A buffer that is given; its length is the next argument."""
    return buffer_text(view, view.args[index], view.args[index + 1])


def out_buffer(view: View, index: int) -> str:
    """A buffer that was filled: with as many bytes as the result says."""
    if view.failed or view.result is None:
        return pointer(view.args[index])
    return buffer_text(view, view.args[index], view.result)


def in_vector(view: View, index: int) -> str:
    """An iovec that is given."""
    return iovec_text(view, view.args[index], signed32(view.args[index + 1]), None)


def out_vector(view: View, index: int) -> str:
    """An iovec that was filled."""
    if view.failed:
        return pointer(view.args[index])
    return iovec_text(view, view.args[index], signed32(view.args[index + 1]), view.result)


def strings(view: View, index: int) -> str:
    """A list of strings that ends with a null pointer."""
    addr = view.args[index]
    if not addr:
        return "NULL"
    parts: list[str] = []
    while True:
        word = view.read(addr, 8)
        if word is None:
            return "[" + ", ".join([*parts, f"... /* {addr:#x} */"]) + "]" if parts else pointer(addr)
        item = int.from_bytes(word, "little")
        if not item:
            break
        if len(parts) == _MOST_STRINGS:
            parts.append("...")
            break
        found = view.text(item, view.limit)
        parts.append(pointer(item) if found is None else quote(*found))
        addr += 8
    return "[" + ", ".join(parts) + "]"


def environment(view: View, index: int) -> str:
    """The environment of execve: how many variables."""
    addr = start = view.args[index]
    if not addr:
        return "NULL"
    count = 0
    while count < 1 << 16:
        word = view.read(addr, 8)
        if word is None:
            return f"{start:#x} /* {count} vars, unterminated */"
        if not any(word):
            break
        count += 1
        addr += 8
    return f"{start:#x} /* {count} var{'' if count == 1 else 's'} */"


def in_struct(detail: str) -> Formatter:
    """A struct that the kernel reads."""
    layout = LAYOUTS.get(detail)
    if layout is None:
        return address
    size, text = layout

    def shown(view: View, index: int) -> str:
        addr = view.args[index]
        data = view.read(addr, size) if addr else None
        return pointer(addr) if data is None else text(view, data)

    return shown


def out_struct(detail: str) -> Formatter:
    """A struct that the kernel writes: an address if the call failed."""
    show = in_struct(detail)

    def shown(view: View, index: int) -> str:
        return pointer(view.args[index]) if view.failed else show(view, index)

    return shown


def flag_set(detail: str, wide: bool) -> Formatter:
    """Flags of 32 bits, or 64 if ``wide``."""
    text = flags.TABLES.get(detail)
    if text is None:
        return hexadecimal
    mask = 0xFFFFFFFFFFFFFFFF if wide else 0xFFFFFFFF

    def shown(view: View, index: int) -> str:
        return text(view.args[index] & mask)

    return shown


def choice(detail: str) -> Formatter:
    """One of several constants."""
    text = flags.TABLES.get(detail)
    if text is None:
        return number32

    def shown(view: View, index: int) -> str:
        return text(signed32(view.args[index]))

    return shown


def poll_entries(view: View, index: int) -> str:
    """The descriptors and events of poll; what came of them stands behind the result."""
    addr = view.args[index]
    count = view.args[index + 1] & 0xFFFFFFFF
    if not addr:
        return "NULL"
    data = view.read_some(addr, 8 * min(count, MOST_ENTRIES))
    if len(data) < 8 and count:
        return pointer(addr)
    parts = []
    for offset in range(0, len(data) - 7, 8):
        fd, events = unpack_from("<iH", data, offset)
        parts.append(f"{{fd={fd}}}" if fd < 0 else f"{{fd={fd}, events={flags.POLL(events)}}}")
    if len(parts) < count:
        parts.append("..." if len(parts) == MOST_ENTRIES else f"... /* {addr + 8 * len(parts):#x} */")
    return "[" + ", ".join(parts) + "]"


def epoll_ready(view: View, index: int) -> str:
    """The events that epoll_wait found."""
    addr = view.args[index]
    if view.failed or view.result is None or not addr:
        return pointer(addr)
    data = view.read_some(addr, 12 * min(view.result, MOST_ENTRIES))
    parts = [epoll_event_text(data[offset : offset + 12]) for offset in range(0, len(data) - 11, 12)]
    if len(parts) < view.result:
        parts.append("...")
    return "[" + ", ".join(parts) + "]"


def directory_entries(view: View, index: int) -> str:
    """How many entries getdents64 gave."""
    addr = view.args[index]
    if view.failed or view.result is None:
        return pointer(addr)
    data = view.read(addr, view.result)
    if data is None:
        return pointer(addr)
    count = offset = 0
    while offset + 19 <= len(data):
        (size,) = unpack_from("<H", data, offset + 16)
        if size < 19:
            break
        offset += size
        count += 1
    return f"{addr:#x} /* {count} entr{'y' if count == 1 else 'ies'} */"


def out_sockaddr(view: View, index: int) -> str:
    """An address that the kernel fills in; its length lies where the next argument points."""
    addr = view.args[index]
    if view.failed or not addr:
        return pointer(addr)
    size = view.read(view.args[index + 1], 4)
    data = None if size is None else view.read(addr, min(int.from_bytes(size, "little"), 128))
    return pointer(addr) if data is None else sockaddr_text(data)


def in_message(view: View, index: int) -> str:
    """A message to send."""
    return msghdr_text(view, view.args[index], None, None)


def out_message(view: View, index: int) -> str:
    """A message that was received."""
    if view.failed:
        return pointer(view.args[index]) if view.length is None else f"{{msg_namelen={view.length}}}"
    return msghdr_text(view, view.args[index], view.result, view.length)


_PLAIN: dict[str, Formatter] = {
    "clock": clock,
    "dev": device,
    "dirents": directory_entries,
    "dirfd": directory,
    "epoll_events": epoll_ready,
    "fd": number32,
    "hex": hexadecimal,
    "inbuf": in_buffer,
    "iniovec": in_vector,
    "inmsghdr": in_message,
    "insockaddr": in_sockaddr,
    "int": number32,
    "ioctl": request,
    "long": number64,
    "mode": mode,
    "off": number64,
    "outbuf": out_buffer,
    "outiovec": out_vector,
    "outmsghdr": out_message,
    "outsockaddr": out_sockaddr,
    "path": path,
    "pid": number32,
    "pollfds": poll_entries,
    "ptr": address,
    "signal": signal,
    "size": unsigned64,
    "str": string,
    "strings": strings,
    "uid": user,
    "uint": unsigned32,
    "ulong": unsigned64,
    "whence": whence,
}

_WITH_DETAIL: dict[str, Callable[[str], Formatter]] = {
    "enum": choice,
    "instruct": in_struct,
    "outstruct": out_struct,
}

#: Kinds that the kernel writes to, but that are shown as they were before the call.
_SHOWN_BEFORE = ("pollfds",)


def formatter(arg: Arg) -> tuple[Formatter, bool]:
    """The formatter of a declared argument, and whether it runs after the call.

    A kind that nobody knows here is shown as an address, so that a new one does no harm.
    """
    late = arg.writes and arg.kind not in _SHOWN_BEFORE
    if arg.kind == "flags":
        return flag_set(arg.detail, arg.convert == "{}"), late
    make = _WITH_DETAIL.get(arg.kind)
    if make is not None:
        return make(arg.detail), late
    return _PLAIN.get(arg.kind, address), late
