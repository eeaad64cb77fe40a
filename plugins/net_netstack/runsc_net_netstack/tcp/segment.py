"""TCP headers and options (RFC 9293 3.1, RFC 7323, RFC 2018)."""

from __future__ import annotations

from struct import Struct

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128

#: Ports, sequence number, acknowledgement, data offset, flags, window, checksum, urgent pointer.
HEADER = Struct("!HHIIBBHHH")
_TIMESTAMPS = Struct("!II")
_BLOCK = Struct("!II")
_EOL, _NOP, _MSS, _WSCALE, _SACK_OK, _SACK, _TS = 0, 1, 2, 3, 4, 5, 8
#: NOP, NOP, and the head of the timestamps option: what nearly every segment has and nothing else.
ALIGNED_TS = b"\x01\x01\x08\x0a"
#: The largest window scale that counts (RFC 7323 2.3).
MAX_WSCALE = 14


class Options:
    """The options of a segment; -1 and None for what isn't there."""

    __slots__ = ("mss", "sack", "sack_ok", "tsecr", "tsval", "wscale")

    def __init__(self) -> None:
        self.mss = -1
        self.wscale = -1
        self.sack_ok = False
        self.tsval = -1
        self.tsecr = 0
        self.sack: list[tuple[int, int]] | None = None


def parse(view: memoryview, at: int, end: int) -> Options:
    """The options between two offsets. What is cut off or has an absurd length ends the list."""
    found = Options()
    while at < end:
        kind = view[at]
        if kind == _NOP:
            at += 1
            continue
        if kind == _EOL or at + 1 >= end:
            break
        length = view[at + 1]
        if length < 2 or at + length > end:
            break
        if kind == _TS and length == 10:
            found.tsval, found.tsecr = _TIMESTAMPS.unpack_from(view, at + 2)
        elif kind == _SACK and length % 8 == 2 and length > 2:
            found.sack = [_BLOCK.unpack_from(view, place) for place in range(at + 2, at + length, 8)]
        elif kind == _MSS and length == 4:
            found.mss = view[at + 2] << 8 | view[at + 3]
        elif kind == _WSCALE and length == 3:
            found.wscale = min(view[at + 2], MAX_WSCALE)
        elif kind == _SACK_OK and length == 2:
            found.sack_ok = True
        at += length
    return found


def syn_options(mss: int, wscale: int, sack_ok: bool, tsval: int, tsecr: int) -> bytes:
    """What goes with a SYN; ``wscale`` and ``tsval`` -1 for none. A multiple of four bytes."""
    out = bytes((_MSS, 4)) + mss.to_bytes(2, "big")
    if tsval >= 0:
        out += (bytes((_SACK_OK, 2)) if sack_ok else b"\1\1") + bytes((_TS, 10))
        out += _TIMESTAMPS.pack(tsval, tsecr)
    elif sack_ok:
        out += b"\1\1" + bytes((_SACK_OK, 2))
    if wscale >= 0:
        out += bytes((_NOP, _WSCALE, 3, wscale))
    return out


def ack_options(tsval: int, tsecr: int, blocks: list[tuple[int, int]]) -> bytes:
    """What goes with later segments: timestamps (``tsval`` -1 for none), and SACK blocks as far as they
    fit."""
    out = ALIGNED_TS + _TIMESTAMPS.pack(tsval, tsecr) if tsval >= 0 else b""
    blocks = blocks[: 3 if tsval >= 0 else 4]
    if blocks:
        out += bytes((_NOP, _NOP, _SACK, 2 + 8 * len(blocks)))
        out += b"".join([_BLOCK.pack(*block) for block in blocks])
    return out
