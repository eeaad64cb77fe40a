"""What a program has written and the other end hasn't acknowledged."""

from __future__ import annotations

from bisect import bisect_right

#: From so many pieces that were not sent yet on, small ones are joined, up to so many bytes.
_SMALL = 4096
#: Acknowledged pieces are thrown out when there are so many.
_TIDY = 64


class SendBuffer:
    """Pieces of the stream, by the offset at which each begins; ``end``: where the next one will."""

    __slots__ = ("end", "first", "pieces", "starts")

    def __init__(self, start: int) -> None:
        self.starts: list[int] = []
        self.pieces: list[bytes] = []
        #: how many at the front are acknowledged
        self.first = 0
        self.end = start

    def append(self, data: bytes, sent: int) -> None:
        """Add data; what begins behind ``sent`` may still change its shape."""
        pieces = self.pieces
        if pieces and len(data) < _SMALL and self.starts[-1] >= sent and self.first < len(pieces):
            last = pieces[-1]
            if len(last) + len(data) <= _SMALL:
                pieces[-1] = last + data
                self.end += len(data)
                return
        self.starts.append(self.end)
        pieces.append(data)
        self.end += len(data)

    def release(self, una: int) -> None:
        """Everything before ``una`` is acknowledged."""
        first, starts, pieces = self.first, self.starts, self.pieces
        count = len(starts)
        while first < count and starts[first] + len(pieces[first]) <= una:
            pieces[first] = b""
            first += 1
        if first >= _TIDY or first == count:
            del starts[:first]
            del pieces[:first]
            first = 0
        self.first = first

    def slice(self, start: int, end: int) -> list[bytes | memoryview]:
        """The bytes from ``start`` to ``end`` of the stream, in pieces."""
        starts, pieces = self.starts, self.pieces
        number = bisect_right(starts, start) - 1
        piece = pieces[number]
        skip = start - starts[number]
        length = end - start
        if not skip and len(piece) == length:
            return [piece]
        parts: list[bytes | memoryview] = [memoryview(piece)[skip : skip + length]]
        length -= len(parts[0])
        while length > 0:
            number += 1
            piece = pieces[number]
            parts.append(piece if len(piece) <= length else memoryview(piece)[:length])
            length -= len(piece)
        return parts

    def clear(self) -> None:
        self.starts.clear()
        self.pieces.clear()
        self.first = 0
