"""What waits in the queue of a local socket, and what it counts against its sender's buffer."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.scm import Rights, Ucred
    from runsc.kernel.socket.unix import UnixSocket

#: What fits into a buffer's head and into its pages, and what its descriptions take.
_HEAD_MAX = 3776
_DGRAM_HEAD_MAX = 16064
_DGRAM_PAGES_MAX = 17 * 4096
#: A stream's data is cut into pieces of at most this (SKB_MAX_HEAD(0) + UNIX_SKB_FRAGS_SZ).
STREAM_PIECE = _HEAD_MAX + 32768
_SHARED_INFO = 320
_SKBUFF = 256


def _head_size(length: int) -> int:
    """What kmalloc gives for a head of ``length`` bytes and the information behind it."""
    return 1 << max(length + _SHARED_INFO - 1, 511).bit_length()


def stream_cost(length: int) -> int:
    """What a stream's buffer of ``length`` bytes counts (skb->truesize)."""
    if length <= _HEAD_MAX:
        return _head_size(length) + _SKBUFF
    in_pages = min((length - _HEAD_MAX + 4095) & ~4095, length)
    return _head_size(length - in_pages) + _SKBUFF + ((in_pages + 4095) & ~4095)


def datagram_cost(length: int) -> int:
    """What a datagram of ``length`` bytes counts."""
    if length <= _DGRAM_HEAD_MAX:
        return _head_size(length) + _SKBUFF
    in_pages = (min(length - _DGRAM_HEAD_MAX, _DGRAM_PAGES_MAX) + 4095) & ~4095
    return _head_size(max(length - in_pages, 0)) + _SKBUFF + in_pages


class Message:
    """One message in a queue, or a piece of a stream. ``offset``: how much of it was read; ``cost``: what it
    counts against ``sender``'s buffer."""

    __slots__ = ("cost", "cred", "data", "offset", "peeked", "rights", "sender")

    def __init__(
        self, sender: UnixSocket, data: bytes, cost: int, cred: Ucred | None, rights: Rights | None
    ) -> None:
        self.sender = sender
        self.data = data
        self.cost = cost
        self.cred = cred
        self.rights = rights
        self.offset = 0
        self.peeked = False
