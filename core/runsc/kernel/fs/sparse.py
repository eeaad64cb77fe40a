"""Holes in files of the host's: finding them, and making them without fallocate(2), which Python lacks."""

from __future__ import annotations

import os
from errno import ENXIO
from mmap import MADV_REMOVE, MAP_SHARED, PROT_READ, PROT_WRITE, mmap

from runsc.kernel.vfs.file import SEEK_DATA, SEEK_HOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: How much is mapped at once when a hole is punched: address space, not memory.
_PUNCH = 1 << 40


def next_extent(fd: int, offset: int, whence: int) -> int | None:
    """lseek(2) with SEEK_DATA or SEEK_HOLE; None where there is no more (ENXIO).

    Moves the offset of ``fd``."""
    try:
        return os.lseek(fd, offset, whence)
    except OSError as error:
        if error.errno != ENXIO:
            raise
        return None


def extents(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretches of ``[start, end)`` that hold data."""
    at = start
    while at < end:
        data = next_extent(fd, at, SEEK_DATA)
        if data is None or data >= end:
            return
        hole = next_extent(fd, data, SEEK_HOLE)
        at = end if hole is None else min(hole, end)
        yield data, at


def punch_hole(fd: int, offset: int, end: int, page: int = 4096) -> None:
    """Make ``[offset, end)`` of the file zeros, giving back the whole pages in it (FALLOC_FL_PUNCH_HOLE).

    ``fd`` must be open for reading and writing. Raises EOPNOTSUPP where the host's file system can't.
    """
    size = os.fstat(fd).st_size
    stop = min(end, (size + page - 1) // page * page)
    first, last = (offset + page - 1) // page * page, stop // page * page
    if first < last:
        for start, data_end in list(extents(fd, first, min(last, size))):
            _remove(fd, start // page * page, data_end)
    if last < first:
        # All of it lies within one page.
        _zero(fd, offset, min(stop, size))
        return
    _zero(fd, offset, min(first, size))
    _zero(fd, max(last, offset), min(stop, size))


def _remove(fd: int, start: int, end: int) -> None:
    """Give back the pages of ``[start, end)``, which is page-aligned except at the end of the file."""
    while start < end:
        length = min(end - start, _PUNCH)
        with mmap(fd, length, MAP_SHARED, PROT_READ | PROT_WRITE, offset=start) as area:
            area.madvise(MADV_REMOVE)
        start += length


def _zero(fd: int, start: int, end: int) -> None:
    """Zeros into ``[start, end)``, less than a page, if there is data."""
    if start < end:
        data = next_extent(fd, start, SEEK_DATA)
        if data is not None and data < end:
            os.pwrite(fd, bytes(end - start), start)
