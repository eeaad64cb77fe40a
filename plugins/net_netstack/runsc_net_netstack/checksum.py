"""The Internet checksum (RFC 1071)."""

from __future__ import annotations

from runsc_net_netstack._netio import ffi, lib

_from_buffer = ffi.from_buffer
_sum = lib.ns_sum


def total(data: bytes | memoryview, initial: int = 0) -> int:
    """The one's complement sum of 16 bits, begun with ``initial``: 0xFFFF for what holds its own checksum."""
    found: int = _sum(_from_buffer(data), len(data), initial)
    return found


def checksum(data: bytes | memoryview, initial: int = 0) -> int:
    """What goes into the checksum field (which is 0 in ``data``)."""
    return total(data, initial) ^ 0xFFFF


def fold(number: int) -> int:
    """A sum of 16-bit words, folded to 16 bits."""
    while number > 0xFFFF:
        number = (number & 0xFFFF) + (number >> 16)
    return number


def words(data: bytes) -> int:
    """The sum of an even number of bytes as words, not folded."""
    return sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
