"""Virtual memory areas (struct vm_area_struct) and their ordered list."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.vfs.file import File

PAGE = 4096

PROT_NONE = 0
PROT_READ = 1
PROT_WRITE = 2
PROT_EXEC = 4
PROT_GROWSDOWN = 0x01000000
PROT_GROWSUP = 0x02000000

MAP_SHARED = 0x01
MAP_PRIVATE = 0x02
MAP_SHARED_VALIDATE = 0x03
MAP_TYPE = 0x0F
MAP_FIXED = 0x10
MAP_ANONYMOUS = 0x20
MAP_32BIT = 0x40
MAP_GROWSDOWN = 0x0100
MAP_DENYWRITE = 0x0800
MAP_EXECUTABLE = 0x1000
MAP_LOCKED = 0x2000
MAP_NORESERVE = 0x4000
MAP_POPULATE = 0x8000
MAP_NONBLOCK = 0x10000
MAP_STACK = 0x20000
MAP_HUGETLB = 0x40000
MAP_SYNC = 0x80000
MAP_FIXED_NOREPLACE = 0x100000


class Vma:
    """One area: ``[start, end)``, the same protection and backing throughout.

    ``prot``: PROT_*; ``shared``: MAP_SHARED; ``file``: the open file that is mapped (a reference is held),
    or None; ``offset``: of ``start`` in it, bytes; ``name``: what /proc/PID/maps shows of an area without a
    file (``[heap]``, ``[stack]``, ``[vdso]``); ``fixed``: an area of the platform's, not to be changed by
    the guest;
    ``grows_down``: a stack; ``locked``: mlock(2); ``dontfork``: MADV_DONTFORK; ``wipeonfork``:
    MADV_WIPEONFORK.
    """

    __slots__ = (
        "dontfork",
        "end",
        "file",
        "fixed",
        "grows_down",
        "locked",
        "mempolicy",
        "name",
        "offset",
        "prot",
        "shared",
        "start",
        "wipeonfork",
    )

    def __init__(
        self,
        start: int,
        end: int,
        prot: int,
        shared: bool = False,
        file: File | None = None,
        offset: int = 0,
        name: str = "",
        fixed: bool = False,
        grows_down: bool = False,
    ) -> None:
        self.start = start
        self.end = end
        self.prot = prot
        self.shared = shared
        self.file = file
        self.offset = offset
        self.name = name
        self.fixed = fixed
        self.grows_down = grows_down
        self.locked = False
        self.dontfork = False
        self.wipeonfork = False
        #: mbind(2): (mode, nodes), None for the task's own
        self.mempolicy: tuple[int, int] | None = None
        if file is not None:
            file.get()

    def copy(self, start: int, end: int) -> Vma:
        """The part ``[start, end)`` as an area of its own."""
        new = Vma(
            start,
            end,
            self.prot,
            self.shared,
            self.file,
            self.offset + (start - self.start) if self.file else 0,
            self.name,
            self.fixed,
            self.grows_down,
        )
        new.locked = self.locked
        new.dontfork = self.dontfork
        new.wipeonfork = self.wipeonfork
        new.mempolicy = self.mempolicy
        return new

    def is_data(self) -> bool:
        """Does RLIMIT_DATA count it?"""
        return self.prot & PROT_WRITE != 0 and not self.shared and not self.grows_down and not self.fixed

    def release(self) -> None:
        """Give the file back."""
        if self.file is not None:
            self.file.put()
            self.file = None

    def mergeable(self, other: Vma) -> bool:
        """Does ``other``, which begins where this one ends, continue it (can_vma_merge_after)?"""
        return (
            self.end == other.start
            and self.prot == other.prot
            and self.shared == other.shared
            and self.file is other.file
            and (
                self.file is None
                or (self.offset + (self.end - self.start) == other.offset and self.file.joins)
            )
            and self.name == other.name
            and self.grows_down == other.grows_down
            and self.locked == other.locked
            and self.dontfork == other.dontfork
            and self.wipeonfork == other.wipeonfork
            and self.mempolicy == other.mempolicy
            and not self.fixed
            and not other.fixed
        )

    def __repr__(self) -> str:
        return f"Vma({self.start:#x}-{self.end:#x} prot={self.prot} {self.name})"


class VmaList:
    """The areas of an address space, in order, never overlapping."""

    __slots__ = ("areas", "below", "bounds", "hole", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.areas: list[Vma] = []
        #: what ``gap`` knows of its last ``bounds``: no hole that begins at ``below`` or above is larger than
        #: ``hole`` bytes
        self.bounds = (0, 0)
        self.below = 0
        self.hole = 0

    def __iter__(self) -> Iterator[Vma]:
        return iter(self.areas)

    def __len__(self) -> int:
        return len(self.areas)

    def find(self, addr: int) -> Vma | None:
        """The area that contains ``addr``."""
        index = bisect_right(self.starts, addr) - 1
        if index >= 0:
            vma = self.areas[index]
            if addr < vma.end:
                return vma
        return None

    def first_after(self, addr: int) -> Vma | None:
        """The first area that ends beyond ``addr`` (find_vma)."""
        index = max(bisect_right(self.starts, addr) - 1, 0)
        while index < len(self.areas):
            if self.areas[index].end > addr:
                return self.areas[index]
            index += 1
        return None

    def overlapping(self, start: int, end: int) -> list[Vma]:
        """The areas that touch ``[start, end)``, in order."""
        index = max(bisect_right(self.starts, start) - 1, 0)
        found = []
        while index < len(self.areas):
            vma = self.areas[index]
            if vma.start >= end:
                break
            if vma.end > start:
                found.append(vma)
            index += 1
        return found

    def covered(self, start: int, end: int) -> bool:
        """Is every byte of ``[start, end)`` in some area?"""
        at = start
        for vma in self.overlapping(start, end):
            if vma.start > at:
                return False
            at = vma.end
        return at >= end

    def insert(self, vma: Vma) -> Vma:
        """Put an area in (its place is free), joined with its neighbours where they continue each other.

        The area that now covers it."""
        index = bisect_right(self.starts, vma.start)
        if index > 0 and self.areas[index - 1].mergeable(vma):
            before = self.areas[index - 1]
            before.end = vma.end
            vma.release()
            vma = before
            index -= 1
        else:
            self.starts.insert(index, vma.start)
            self.areas.insert(index, vma)
        if index + 1 < len(self.areas) and vma.mergeable(self.areas[index + 1]):
            after = self.areas.pop(index + 1)
            self.starts.pop(index + 1)
            vma.end = after.end
            after.release()
        return vma

    def split_at(self, addr: int) -> None:
        """Make ``addr`` a border between areas, if it lies within one."""
        vma = self.find(addr)
        if vma is None or vma.start == addr:
            return
        tail = vma.copy(addr, vma.end)
        vma.end = addr
        index = bisect_right(self.starts, addr)
        self.starts.insert(index, addr)
        self.areas.insert(index, tail)

    def remove(self, start: int, end: int) -> list[Vma]:
        """Take ``[start, end)`` out, splitting what sticks out; the areas taken (not yet released)."""
        self.split_at(start)
        self.split_at(end)
        taken = self.overlapping(start, end)
        if taken:
            first = bisect_right(self.starts, taken[0].start) - 1
            del self.starts[first : first + len(taken)]
            del self.areas[first : first + len(taken)]
            self._hole_at(first)
        return taken

    def _hole_at(self, index: int) -> None:
        """There is a hole before ``areas[index]`` that was not there, or was smaller."""
        low, high = self.bounds
        end = self.starts[index] if index < len(self.starts) else high
        if end > self.below:
            start = self.areas[index - 1].end if index else low
            self.hole = max(self.hole, end - start)

    def rejoin(self, start: int, end: int) -> None:
        """Merge areas in and around ``[start, end)`` that continue each other (after a change of
        protection)."""
        for vma in [*self.overlapping(max(start - 1, 0), end + 1)]:
            index = bisect_right(self.starts, vma.start) - 1
            if index < 0 or self.areas[index] is not vma or index == 0:
                continue
            before = self.areas[index - 1]
            if before.mergeable(vma):
                before.end = vma.end
                self.areas.pop(index)
                self.starts.pop(index)
                vma.release()

    def gap(self, length: int, low: int, high: int) -> int | None:
        """The highest free ``[addr, addr + length)`` within ``[low, high)`` (vm_unmapped_area, top down).

        A process of a thousand threads asks this thousands of times: what was found too small is not looked
        at again (``below``, ``hole``).
        """
        bounds = (low, high)
        if bounds == self.bounds and length > self.hole:
            end = self.below
        else:
            self.bounds = bounds
            self.hole = 0
            end = high
        areas = self.areas
        for index in range(bisect_left(self.starts, end) - 1, -1, -1):
            vma = areas[index]
            free = end - max(vma.end, low)
            if free >= length:
                break
            if free > self.hole:
                self.hole = free
            end = vma.start
            if end <= low:
                break
        self.below = end
        return end - length if end - low >= length else None

    def gap_up(self, length: int, low: int, high: int) -> int | None:
        """The lowest free ``[addr, addr + length)`` within ``[low, high)``."""
        at = low
        for vma in self.areas:
            if vma.end <= at:
                continue
            if vma.start - at >= length:
                break
            at = vma.end
        return at if at + length <= high else None
