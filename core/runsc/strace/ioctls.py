"""Names of ioctl(2) requests, and the arguments of those that carry an int or a window size."""

from __future__ import annotations

from struct import unpack_from

from runsc.strace.text import pointer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.strace.view import View

_TERMINAL = (
    "TCGETS TCSETS TCSETSW TCSETSF TCGETA TCSETA TCSETAW TCSETAF TCSBRK TCXONC TCFLSH TIOCEXCL TIOCNXCL "
    "TIOCSCTTY TIOCGPGRP TIOCSPGRP TIOCOUTQ TIOCSTI TIOCGWINSZ TIOCSWINSZ TIOCMGET TIOCMBIS TIOCMBIC "
    "TIOCMSET TIOCGSOFTCAR TIOCSSOFTCAR FIONREAD TIOCLINUX TIOCCONS TIOCGSERIAL TIOCSSERIAL TIOCPKT FIONBIO "
    "TIOCNOTTY TIOCSETD TIOCGETD TCSBRKP - TIOCSBRK TIOCCBRK TIOCGSID"
)

NAMES: dict[int, str] = {
    **{0x5401 + i: name for i, name in enumerate(_TERMINAL.split()) if name != "-"},
    0x5450: "FIONCLEX",
    0x5451: "FIOCLEX",
    0x5452: "FIOASYNC",
    0x5460: "FIOQSIZE",
    0x80045430: "TIOCGPTN",
    0x40045431: "TIOCSPTLCK",
    0x80045438: "TIOCGPKT",
    0x80045439: "TIOCGPTLCK",
    0x5441: "TIOCGPTPEER",
    0x8905: "SIOCATMARK",
    0x8910: "SIOCGIFNAME",
    0x8912: "SIOCGIFCONF",
    0x8913: "SIOCGIFFLAGS",
    0x8915: "SIOCGIFADDR",
    0x891B: "SIOCGIFNETMASK",
    0x8921: "SIOCGIFMTU",
    0x8927: "SIOCGIFHWADDR",
    0x8933: "SIOCGIFINDEX",
    0x80086601: "FS_IOC_GETFLAGS",
    0x40086602: "FS_IOC_SETFLAGS",
    0x40049409: "BTRFS_IOC_CLONE or FICLONE",
    0x4020940D: "BTRFS_IOC_CLONE_RANGE or FICLONERANGE",
    0xC020660B: "FS_IOC_FIEMAP",
    0x1260: "BLKGETSIZE",
    0x80081272: "BLKGETSIZE64",
}

_DIRECTIONS = ("_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE")

_IN_INT = ("TIOCSPGRP", "FIONBIO", "FIOASYNC", "TIOCSPTLCK", "TIOCPKT", "TIOCSETD")
_OUT_INT = (
    "TIOCGPGRP",
    "TIOCOUTQ",
    "FIONREAD",
    "TIOCGSID",
    "TIOCGPTN",
    "TIOCGETD",
    "TIOCGPTLCK",
    "SIOCATMARK",
)
_BY_VALUE = ("TCSBRK", "TCXONC", "TCFLSH", "TIOCSCTTY", "TCSBRKP")


def request_text(request: int) -> str:
    """A request by name, or taken apart."""
    name = NAMES.get(request)
    if name is not None:
        return name
    direction, size = _DIRECTIONS[request >> 30], request >> 16 & 0x3FFF
    return f"_IOC({direction}, {request >> 8 & 0xFF:#x}, {request & 0xFF:#x}, {size:#x})"


def argument_before(view: View) -> str | None:
    """The third argument where the kernel reads it, or None if it can only be shown after the call."""
    name = NAMES.get(view.args[1] & 0xFFFFFFFF)
    value = view.args[2]
    if name is None:
        return f"{value:#x}" if value else "0"
    if name in _BY_VALUE:
        return str(value)
    if name in _IN_INT:
        data = view.read(value, 4)
        return pointer(value) if data is None else f"[{int.from_bytes(data, 'little', signed=True)}]"
    if name == "TIOCSWINSZ":
        return _window(view, value)
    if name in _OUT_INT or name == "TIOCGWINSZ":
        return None
    return pointer(value)


def argument_after(view: View) -> str:
    """The third argument as the kernel filled it in."""
    value = view.args[2]
    if view.failed:
        return pointer(value)
    if NAMES.get(view.args[1] & 0xFFFFFFFF) == "TIOCGWINSZ":
        return _window(view, value)
    data = view.read(value, 4)
    return pointer(value) if data is None else f"[{int.from_bytes(data, 'little', signed=True)}]"


def _window(view: View, addr: int) -> str:
    data = view.read(addr, 8)
    if data is None:
        return pointer(addr)
    rows, columns, width, height = unpack_from("<4H", data)
    return f"{{ws_row={rows}, ws_col={columns}, ws_xpixel={width}, ws_ypixel={height}}}"
