"""Arguments of calls as values that a program can use."""

from __future__ import annotations

from ipaddress import IPv6Address

from runsc.strace.arguments import formatter
from runsc.strace.sockets import sockaddr_text
from runsc.strace.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.observer import Call, Value

#: Kinds whose value is a number and says all.
_NUMBERS = frozenset(
    (
        "clock", "dev", "dirfd", "enum", "fd", "flags", "hex", "int", "ioctl", "long", "mode", "off", "pid",
        "signal", "size", "uid", "uint", "ulong", "whence",
    )
)
#: Strings in guest memory.
_STRINGS = ("path", "str")
_LIMIT = 1024
_PATH_MAX = 4096


def decode(call: Call, raw: tuple[int, ...]) -> dict[str, Value]:
    """The arguments by name: numbers, bytes for paths and strings, and strace's text for the rest.

    What the call writes is shown once it has ended well, and is an address before.
    """
    view = View(call.task.mm, raw, _LIMIT)
    view.result = call.result
    found: dict[str, Value] = {}
    for index, (name, arg) in enumerate(call.declaration.args):
        value = call.values[index]
        if isinstance(value, bytes) or arg.kind in _NUMBERS:
            found[name] = value
        elif arg.kind in _STRINGS:
            text = view.text(value, _PATH_MAX) if value else None
            found[name] = value if text is None else text[0]
        else:
            show, late = formatter(arg)
            found[name] = value if late and view.failed else show(view, index)
    return found


def socket_address(data: bytes) -> str:
    """A sockaddr as text: ``unix:PATH``, ``IP:PORT``, ``[IP6]:PORT``, or as strace shows it."""
    family = int.from_bytes(data[:2], "little") if len(data) >= 2 else 0
    if family == 1:
        name = data[2:]
        if name[:1] == b"\0":
            return "unix:@" + name[1:].decode("utf-8", "backslashreplace")
        return "unix:" + name.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
    if family == 2 and len(data) >= 8:
        return f"{'.'.join(str(byte) for byte in data[4:8])}:{int.from_bytes(data[2:4], 'big')}"
    if family == 10 and len(data) >= 24:
        return f"[{IPv6Address(data[8:24])}]:{int.from_bytes(data[2:4], 'big')}"
    return sockaddr_text(data)
