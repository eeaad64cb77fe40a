"""Putting fragments of packets together (RFC 791 3.2, RFC 8200 4.5, RFC 5722; net/ipv4/inet_fragment.c)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.timers import Timers

#: How long a packet may take (ipfrag_time), how much all may hold (ipfrag_high_thresh), and in how many
#: pieces.
TIMEOUT_NS = 30_000_000_000
MAX_BYTES = 4 << 20
MAX_PIECES = 128
_MAX_PACKET = 65535


class _Partial:
    __slots__ = ("expires", "head", "pieces", "size", "total")

    def __init__(self, expires: int) -> None:
        self.expires = expires
        self.pieces: list[tuple[int, bytes]] = []
        self.size = 0
        #: the length of the whole, -1 until the last fragment has come
        self.total = -1
        #: what came with the first fragment
        self.head: object = None


class Fragments:
    """Packets of which some is here, by a key of the family's choice. Nothing outlives its time-out, which is
    looked at when something is added."""

    __slots__ = ("bytes", "dropped", "partials", "timers")

    def __init__(self, timers: Timers) -> None:
        self.timers = timers
        self.partials: dict[tuple[bytes, bytes, int, int], _Partial] = {}
        self.bytes = 0
        self.dropped = 0

    def add(
        self, key: tuple[bytes, bytes, int, int], offset: int, more: bool, data: bytes, head: object, now: int
    ) -> tuple[bytes, object] | None:
        """One fragment; the whole and what came with its first fragment, if nothing is missing any more.

        What overlaps with other data, or makes the packet too long, throws the packet away."""
        self._expire(now)
        partial = self.partials.get(key)
        if partial is None:
            partial = self.partials[key] = _Partial(now + TIMEOUT_NS)
        end = offset + len(data)
        if (
            not data or end > _MAX_PACKET or (more and len(data) % 8) or len(partial.pieces) >= MAX_PIECES
            or (partial.total >= 0 and (end > partial.total or (not more and end != partial.total)))
        ):  # fmt: skip
            self._drop(key)
            return None
        for start, piece in partial.pieces:
            if start < end and offset < start + len(piece):
                if start == offset and piece == data:
                    return None  # the same once more
                self._drop(key)
                return None
        if not more:
            partial.total = end
            if any(start + len(piece) > end for start, piece in partial.pieces):
                self._drop(key)
                return None
        if not offset:
            partial.head = head
        partial.pieces.append((offset, data))
        partial.size += len(data)
        self.bytes += len(data)
        if partial.size == partial.total:
            del self.partials[key]
            self.bytes -= partial.size
            partial.pieces.sort(key=_offset)
            return b"".join([piece for _, piece in partial.pieces]), partial.head
        while self.bytes > MAX_BYTES and self.partials:
            self._drop(next(iter(self.partials)))
        return None

    def _drop(self, key: tuple[bytes, bytes, int, int]) -> None:
        partial = self.partials.pop(key, None)
        if partial is not None:
            self.bytes -= partial.size
            self.dropped += 1

    def _expire(self, now: int) -> None:
        while self.partials:
            key, oldest = next(iter(self.partials.items()))
            if oldest.expires > now:
                break
            self._drop(key)

    def close(self) -> None:
        self.partials.clear()
        self.bytes = 0


def _offset(piece: tuple[int, bytes]) -> int:
    return piece[0]
