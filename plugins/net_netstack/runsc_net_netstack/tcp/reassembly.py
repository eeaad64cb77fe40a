"""What arrived out of order (tcp_data_queue_ofo), and the selective acknowledgements that tell of it (RFC
2018, RFC 2883)."""

from __future__ import annotations

_MASK = 0xFFFFFFFF
#: How many pieces there are at most: a peer that sends single bytes with gaps gets no more of our memory.
MAX_PIECES = 4096


class Reassembly:
    """Pieces behind a gap, sorted and without overlaps, and the ``ranges`` they cover; ``size`` in bytes.

    ``recent``: where the last one came; ``duplicate``: a range that came twice, told once."""

    __slots__ = ("duplicate", "pieces", "ranges", "recent", "size")

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.ranges: list[list[int]] = []
        self.size = 0
        self.recent = 0
        self.duplicate: tuple[int, int] | None = None

    def add(self, start: int, data: bytes) -> None:
        """Keep a piece, or as much of it as is new."""
        end = start + len(data)
        self.recent = start
        gaps: list[tuple[int, int]] = []
        at = start
        for left, right in self.ranges:
            if right <= at:
                continue
            if left >= end:
                break
            if left > at:
                gaps.append((at, left))
            at = max(at, right)
        if at < end:
            gaps.append((at, end))
        if not gaps:
            self.duplicate = (start, end)
            return
        if len(self.pieces) + len(gaps) > MAX_PIECES:
            return
        for left, right in gaps:
            self.pieces.append((left, data[left - start : right - start]))
            self.size += right - left
        self.pieces.sort(key=_start)
        self._cover(start, end)

    def _cover(self, start: int, end: int) -> None:
        ranges = []
        for left, right in self.ranges:
            if right < start or left > end:
                ranges.append([left, right])
            else:
                start, end = min(start, left), max(end, right)
        ranges.append([start, end])
        ranges.sort()
        self.ranges = ranges

    def take(self, nxt: int) -> list[bytes]:
        """The pieces that follow on ``nxt`` without a gap; what is before it is thrown away."""
        out = []
        pieces = self.pieces
        count = 0
        for start, data in pieces:
            if start > nxt:
                break
            count += 1
            self.size -= len(data)
            if start + len(data) > nxt:
                out.append(data[nxt - start :] if start < nxt else data)
                nxt = start + len(data)
        if count:
            del pieces[:count]
        self.ranges = [item for item in self.ranges if item[1] > nxt]
        return out

    def blocks(self, irs: int) -> list[tuple[int, int]]:
        """SACK blocks as sequence numbers: the duplicate, then the range that the last piece fell into, then
        the others."""
        out = []
        if self.duplicate is not None:
            out.append(self.duplicate)
            self.duplicate = None
        first = [item for item in self.ranges if item[0] <= self.recent < item[1]]
        for left, right in [*first, *reversed([item for item in self.ranges if item not in first])][:4]:
            out.append((left, right))
        return [(irs + left & _MASK, irs + right & _MASK) for left, right in out[:4]]

    def clear(self) -> None:
        self.pieces.clear()
        self.ranges.clear()
        self.size = 0


def _start(piece: tuple[int, bytes]) -> int:
    return piece[0]
