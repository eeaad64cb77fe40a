"""Small pieces of text in strace's notation: strings, numbers, flags."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMED = {9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}

#: How each byte is written when no digit follows.
_ESCAPED = [_NAMED.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:o}") for byte in range(256)]
#: And when a digit follows, which would be taken for a part of a short octal number.
_BEFORE_DIGIT = [
    text if len(text) == 1 or not text[1].isdigit() else f"\\{byte:03o}" for byte, text in enumerate(_ESCAPED)
]


def quote(data: bytes, cut: bool = False) -> str:
    """``data`` in double quotes, escaped; ``...`` behind it if it was cut."""
    last = len(data) - 1
    parts = []
    for index, byte in enumerate(data):
        if index < last and 0x30 <= data[index + 1] <= 0x39:
            parts.append(_BEFORE_DIGIT[byte])
        else:
            parts.append(_ESCAPED[byte])
    return '"' + "".join(parts) + ('"...' if cut else '"')


def quote_hex(data: bytes, cut: bool = False) -> str:
    """``data`` in double quotes, every byte in hexadecimal."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + ('"...' if cut else '"')


def pointer(value: int) -> str:
    """An address."""
    return f"{value:#x}" if value else "NULL"


def octal(value: int) -> str:
    """Permission bits, with three digits or more."""
    return f"0{value:o}".rjust(3, "0")


def signed32(value: int) -> int:
    """The low 32 bits as a signed number."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def signed64(value: int) -> int:
    """The low 64 bits as a signed number."""
    return ((value & 0xFFFFFFFFFFFFFFFF) ^ 0x8000000000000000) - 0x8000000000000000


def makedev(dev: int) -> str:
    """A device number as userspace has it (makedev(3))."""
    major = dev >> 8 & 0xFFF | dev >> 32 & 0xFFFFF000
    minor = dev & 0xFF | dev >> 12 & 0xFFFFFF00
    return f"makedev({major:#x}, {minor:#x})"


class Flags:
    """A set of flag names. ``unknown``: the prefix for what has no name (``O_???``).

    ``names`` are tried in order and each takes its bits out, so a flag made of several bits stands before
    those it is made of. ``zero`` is written when nothing is set. ``field``: (mask, Enum) of a number kept in
    some of the bits, written first.
    """

    __slots__ = ("field", "names", "unknown", "zero")

    def __init__(
        self,
        unknown: str,
        names: Sequence[tuple[int, str]],
        zero: str = "0",
        field: tuple[int, Enum] | None = None,
    ) -> None:
        self.unknown = unknown
        self.names = tuple(names)
        self.zero = zero
        self.field = field

    def __call__(self, value: int) -> str:
        parts = []
        rest = value
        if self.field is not None:
            mask, enum = self.field
            parts.append(enum(value & mask))
            rest &= ~mask
        elif not value:
            return self.zero
        for bits, name in self.names:
            if rest & bits == bits:
                parts.append(name)
                rest &= ~bits
                if not rest:
                    break
        if rest:
            if not parts:
                return f"{rest:#x} /* {self.unknown} */"
            parts.append(f"{rest:#x}")
        return "|".join(parts)


class Enum:
    """Names of single values; another value is written in hexadecimal with a remark."""

    __slots__ = ("names", "unknown")

    def __init__(self, unknown: str, names: dict[int, str]) -> None:
        self.unknown = unknown
        self.names = names

    def __call__(self, value: int) -> str:
        name = self.names.get(value)
        if name is not None:
            return name
        shown = f"{value & 0xFFFFFFFF:#x}" if value else "0"
        return f"{shown} /* {self.unknown} */"
