"""Data in memory: the regular files of tmpfs (mm/shmem.c).

A small file is a bytearray. One that grows large, has holes that matter, is allocated ahead or is
mapped becomes a memfd of the host, which keeps sparse files sparse and can be mapped into the guest.
Either way the pages a file holds are counted and charged to the file system, exactly as Linux does.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from errno import EFBIG, ENFILE, ENOSPC, ENXIO
from os import pread as os_pread
from os import pwrite as os_pwrite
from resource import RLIMIT_NOFILE, getrlimit

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.regular import MAX_OFFSET, MAX_RW_COUNT
from runsc.kernel.fs.sparse import extents, next_extent, punch_hole
from runsc.kernel.vfs.file import SEEK_DATA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.fs.tmpfs import Tmpfs

PAGE = 4096
#: Files up to this size are kept as bytearrays as long as nobody maps them.
SMALL = 1 << 20
#: The largest memfd that is worth copying back into the sentry to free its descriptor.
DEMOTE = 16 << 20


class MemfdPool:
    """The bound on how many descriptors the files in memory hold, shared by all tmpfs of a kernel.

    At the limit the least recently used memfd that nobody has open is turned back into a bytearray.
    """

    __slots__ = ("files", "limit")

    def __init__(self, limit: int = 0) -> None:
        if not limit:
            soft = getrlimit(RLIMIT_NOFILE)[0]
            limit = (soft if soft > 0 else 1 << 20) // 2
        self.limit = limit
        self.files: OrderedDict[int, ShmemData] = OrderedDict()

    def open(self, owner: ShmemData) -> int:
        """A new, empty memfd for ``owner``; raises ENFILE if there are too many and all are in use."""
        if len(self.files) >= self.limit and not self._demote_one():
            raise LinuxError(ENFILE)
        fd = os.memfd_create("tmpfs", os.MFD_CLOEXEC)
        self.files[fd] = owner
        return fd

    def close(self, fd: int) -> None:
        del self.files[fd]
        os.close(fd)

    def _demote_one(self) -> bool:
        for owner in list(self.files.values()):
            if not owner.opens and owner.size <= DEMOTE:
                owner.to_bytes()
                return True
            # In use: not among the first to be looked at next time.
            self.files.move_to_end(owner.fd)
        return False


class ShmemData:
    """The bytes of one file, without name or owner.

    ``size``: bytes; ``pages``: how many pages are allocated and charged; ``opens``: who may have it mapped.
    ``data``: the bytes, if ``fd`` is -1; ``holes``: pages of ``data`` that were never written, or None.
    ``dense``: with a memfd, every page before this byte offset is known to be allocated; ``mapped``: the
    guest may have allocated more of them.
    """

    __slots__ = ("data", "dense", "fd", "fs", "holes", "mapped", "opens", "pages", "size")

    def __init__(self, fs: Tmpfs) -> None:
        self.fs = fs
        self.size = 0
        self.pages = 0
        self.opens = 0
        self.data = bytearray()
        self.holes: set[int] | None = None
        self.fd = -1
        self.dense = 0
        self.mapped = False

    def free(self) -> None:
        """Give everything back; the object is not used again."""
        self.fs.pages_used -= self.pages
        self.pages = 0
        if self.fd >= 0:
            self.fs.memfds.close(self.fd)
            self.fd = -1

    # -- reading and writing ------------------------------------------------------------------

    def read(self, count: int, offset: int) -> bytes:
        left = self.size - offset
        if left <= 0:
            return b""
        if count > left:
            count = left
        if self.fd >= 0:
            return os_pread(self.fd, min(count, MAX_RW_COUNT), offset)
        if count <= 2048:
            return bytes(self.data[offset : offset + count])
        return bytes(memoryview(self.data)[offset : offset + count])

    def write(self, data: bytes, offset: int) -> int:
        """As much of ``data`` as there is room for; raises ENOSPC if that is nothing."""
        end = offset + len(data)
        if self.fd < 0:
            size = self.size
            if self.holes is None:
                if end <= size:
                    self.data[offset:end] = data
                    return len(data)
                if offset == size and end <= SMALL:
                    # Appending: nearly all files are written so.
                    need = ((end + 4095) >> 12) - self.pages
                    fs = self.fs
                    if fs.pages_used + need <= fs.max_pages:
                        fs.pages_used += need
                        self.pages += need
                        self.data += data
                        self.size = end
                        return len(data)
            return self._write_small(data, offset)
        if end <= self.dense:
            count = os_pwrite(self.fd, data, offset)
        else:
            count = self._write_sparse(data, offset)
        if offset + count > self.size:
            self.size = offset + count
        return count

    def _write_small(self, data: bytes, offset: int) -> int:
        """Write into the bytearray where it has holes, grows beyond a gap, grows large or no room is left."""
        end = offset + len(data)
        if end > SMALL and (end > self.size or self.holes is not None):
            try:
                self.to_memfd()
            except (LinuxError, OSError):
                # Out of descriptors: data goes on in the bytearray, as long as that needs no gap.
                if offset > self.size:
                    raise
            else:
                return self.write(data, offset)
        first, last = offset >> 12, (end - 1) >> 12
        allocated = (self.size + 4095) >> 12
        holes = self.holes
        fs = self.fs
        room = fs.max_pages - fs.pages_used
        new = 0
        for page in range(first, last + 1):
            if page >= allocated or (holes is not None and page in holes):
                if new == room:
                    # Full within the range: what comes before is written (generic_perform_write).
                    end = page << 12
                    break
                new += 1
        if end <= offset:
            raise LinuxError(ENOSPC)
        self._extend(max(self.size, end), min(end, offset) if offset > self.size else None)
        if self.holes is not None:
            self.holes.difference_update(range(first, ((end - 1) >> 12) + 1))
            if not self.holes:
                self.holes = None
        self.data[offset:end] = data[: end - offset]
        self.pages += new
        fs.pages_used += new
        return end - offset

    def _extend(self, size: int, gap_end: int | None) -> None:
        """Make the bytearray ``size`` bytes long; whole pages up to ``gap_end`` become holes."""
        grow = size - self.size
        if grow <= 0:
            return
        if gap_end is not None:
            gap = range((self.size + 4095) >> 12, (gap_end + 4095) >> 12)
            if gap:
                self.holes = self.holes or set()
                self.holes.update(gap)
        self.data.extend(bytes(grow))
        self.size = size

    def _write_sparse(self, data: bytes, offset: int) -> int:
        """Write into a memfd where pages may be missing."""
        fs = self.fs
        end = offset + len(data)
        known = max(offset, self.dense) >> 12
        if fs.pages_used + ((end + 4095) >> 12) - known > fs.max_pages:
            count = self._write_by_pages(data, offset)
        else:
            count = os_pwrite(self.fd, data, offset)
            self.recount()
        if offset <= self.dense < offset + count:
            self.dense = (offset + count + 4095) & ~4095
        return count

    def _write_by_pages(self, data: bytes, offset: int) -> int:
        """Write as far as the file system has room; which pages are there already only the attempt tells."""
        fs = self.fs
        done = 0
        view = memoryview(data)
        while done < len(data):
            at = offset + done
            step = min(PAGE - (at & 4095), len(data) - done)
            size = os.fstat(self.fd).st_size
            os_pwrite(self.fd, view[done : done + step], at)
            self.recount()
            if fs.pages_used > fs.max_pages:
                punch_hole(self.fd, at & ~4095, (at & ~4095) + PAGE)
                os.ftruncate(self.fd, size)
                self.recount()
                break
            done += step
        if not done:
            raise LinuxError(ENOSPC)
        return done

    def recount(self) -> None:
        """Charge what the memfd really holds (the guest allocates pages through its mappings, too)."""
        pages = os.fstat(self.fd).st_blocks >> 3
        self.fs.pages_used += pages - self.pages
        self.pages = pages

    # -- size and holes -----------------------------------------------------------------------

    def truncate(self, size: int) -> None:
        if size > MAX_OFFSET:
            raise LinuxError(EFBIG)
        if self.fd < 0 and size > max(SMALL, self.size):
            self.to_memfd()
        if self.fd >= 0:
            if size <= self.size or size > os.fstat(self.fd).st_size:
                # Growing into what is allocated ahead (FALLOC_FL_KEEP_SIZE) gives nothing of it back.
                os.ftruncate(self.fd, size)
            self.size = size
            if size < self.dense:
                self.dense = (size + 4095) & ~4095
            self.recount()
            return
        if size >= self.size:
            self._extend(size, size)
            return
        kept = (size + 4095) >> 12
        gone = ((self.size + 4095) >> 12) - kept
        if self.holes is not None:
            beyond = {page for page in self.holes if page >= kept}
            gone -= len(beyond)
            self.holes = (self.holes - beyond) or None
        del self.data[size:]
        self.size = size
        self.pages -= gone
        self.fs.pages_used -= gone

    def seek(self, offset: int, whence: int) -> int:
        """SEEK_DATA and SEEK_HOLE; raises ENXIO."""
        if not 0 <= offset < self.size:
            raise LinuxError(ENXIO)
        if self.fd >= 0:
            found = next_extent(self.fd, offset, whence)
            if found is None or (found >= self.size and whence == SEEK_DATA):
                raise LinuxError(ENXIO)
            return min(found, self.size)
        holes = self.holes or ()
        page = offset >> 12
        end = (self.size + 4095) >> 12
        while page < end and (page in holes) == (whence == SEEK_DATA):
            page += 1
        if page >= end:
            if whence == SEEK_DATA:
                raise LinuxError(ENXIO)
            return self.size
        return max(offset, page << 12)

    def allocate(self, offset: int, length: int, keep_size: bool) -> None:
        """fallocate(2) modes 0 and FALLOC_FL_KEEP_SIZE; all or nothing."""
        self.to_memfd()
        fs = self.fs
        end = offset + length
        # Linux compares the whole range with the limit first (shmem_fallocate).
        range_pages = ((end + 4095) >> 12) - (offset >> 12)
        room = fs.max_pages - fs.pages_used
        if range_pages > fs.max_pages or range_pages - self.pages > room:
            raise LinuxError(ENOSPC)
        if range_pages <= room:
            os.posix_fallocate(self.fd, offset, length)
        else:
            self._allocate_by_pages(offset & ~4095, end)
        if offset <= self.dense < end:
            self.dense = (end + 4095) & ~4095
        self.recount()
        if not keep_size and end > self.size:
            self.size = end
        # With KEEP_SIZE the memfd stays longer than the file: its size is never shown.

    def _allocate_by_pages(self, start: int, end: int) -> None:
        """Allocate what is missing in ``[start, end)``, and give it back if there isn't room for it all."""
        fs = self.fs
        size = os.fstat(self.fd).st_size
        new = []
        for at in range(start, end, PAGE):
            before = self.pages
            os.posix_fallocate(self.fd, at, PAGE)
            self.recount()
            if self.pages > before:
                new.append(at)
            if fs.pages_used > fs.max_pages:
                for page in new:
                    punch_hole(self.fd, page, page + PAGE)
                os.ftruncate(self.fd, size)
                self.recount()
                raise LinuxError(ENOSPC)

    def punch(self, offset: int, length: int) -> None:
        """FALLOC_FL_PUNCH_HOLE: whole pages are given back, the rest becomes zeros."""
        end = min(offset + length, (self.size + 4095) & ~4095 if self.fd < 0 else MAX_OFFSET)
        if offset >= end:
            return
        first, last = (offset + 4095) >> 12, end >> 12
        if self.fd < 0:
            stop = min(end, self.size)
            self.data[offset:stop] = bytes(max(stop - offset, 0))
            holes = self.holes or set()
            new = set(range(first, last)) - holes
            self.pages -= len(new)
            self.fs.pages_used -= len(new)
            self.holes = (holes | new) or None
            return
        punch_hole(self.fd, offset, end)
        self.dense = min(self.dense, offset & ~4095)
        self.recount()

    # -- forms --------------------------------------------------------------------------------

    def to_memfd(self) -> None:
        """Keep the data in a memfd from now on. Raises ENFILE, ENOMEM if there is none to be had."""
        if self.fd >= 0:
            self.fs.memfds.files.move_to_end(self.fd)
            return
        fd = self.fs.memfds.open(self)
        os.ftruncate(fd, self.size)
        view = memoryview(self.data)
        holes = self.holes or ()
        at = 0
        while at < self.size:
            stop = min(at + PAGE, self.size) if holes else self.size
            if at >> 12 not in holes:
                at += os_pwrite(fd, view[at:stop], at)
            else:
                at = stop
        view.release()
        self.dense = 0 if holes else (self.size + 4095) & ~4095
        self.data = bytearray()
        self.holes = None
        self.fd = fd
        self.recount()

    def to_bytes(self) -> None:
        """Back into a bytearray, so that the memfd can go; only while nobody has the file open."""
        fd = self.fd
        data = bytearray(self.size)
        holes = set(range((self.size + 4095) >> 12))
        for start, end in list(extents(fd, 0, self.size)):
            data[start:end] = os_pread(fd, end - start, start)
            holes.difference_update(range(start >> 12, (end + 4095) >> 12))
        pages = ((self.size + 4095) >> 12) - len(holes)
        self.fs.pages_used += pages - self.pages
        self.pages = pages
        self.data = data
        self.holes = holes or None
        self.mapped = False
        self.fd = -1
        self.fs.memfds.close(fd)

    def host_fd(self) -> int:
        """The memfd, for mapping; raises ENFILE, ENOMEM."""
        self.to_memfd()
        self.mapped = True
        return self.fd
