"""The memory of a process (struct mm_struct): its areas, and the calls that change them (mm/mmap.c).

The host pages; we decide. Every change is made in our list and in the platform's address space, in an order
that leaves both consistent when the platform refuses.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, ENODEV, ENOMEM, EPERM
from os import urandom

from runsc.kernel.errors import LinuxError
from runsc.kernel.mm.usercopy import UserCopy
from runsc.kernel.mm.vma import (
    MAP_GROWSDOWN,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    Vma,
    VmaList,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.aio import AioContext
    from runsc.kernel.tunables import Tunables
    from runsc.kernel.vfs.file import File
    from runsc.platform import AddressSpace, Thread

#: Free space kept below a growing stack (stack_guard_gap).
STACK_GUARD = 256 * PAGE

MREMAP_MAYMOVE = 1
MREMAP_FIXED = 2
MREMAP_DONTUNMAP = 4


def page_up(value: int) -> int:
    """``value`` rounded up to a page."""
    return (value + PAGE - 1) & ~(PAGE - 1)


def random_pages(bits: int) -> int:
    """A random page-aligned offset below ``2**bits`` pages."""
    return (int.from_bytes(urandom(8), "little") & ((1 << bits) - 1)) * PAGE


class MemoryManager(UserCopy):
    """One address space of the guest; ``users`` tasks share it.

    ``mmap_base``: mappings are placed below it; ``limits``: a function of a RLIMIT_* number.
    The rest are the marks that execve(2) leaves and /proc/PID shows.
    """

    __slots__ = (
        "aio",
        "arg_end",
        "arg_start",
        "auxv",
        "brk",
        "brk_start",
        "end_code",
        "end_data",
        "env_end",
        "env_start",
        "exe",
        "locked_future",
        "mmap_base",
        "peak_pages",
        "released",
        "stack_start",
        "start_code",
        "start_data",
        "total_pages",
        "tunables",
        "users",
        "vmas",
    )

    def __init__(self, space: AddressSpace, tunables: Tunables) -> None:
        self.space = space
        self.tunables = tunables
        self.vmas = VmaList()
        self.users = 1
        self.released = False
        self.exe: File | None = None
        #: contexts of io_setup(2) by their address; None until there is one
        self.aio: dict[int, AioContext] | None = None
        self.clear_marks()
        self.add_initial_areas()

    def clear_marks(self) -> None:
        self.start_code = self.end_code = self.start_data = self.end_data = 0
        self.brk_start = self.brk = 0
        self.stack_start = 0
        self.arg_start = self.arg_end = self.env_start = self.env_end = 0
        self.auxv = b""
        self.locked_future = False
        self.total_pages = 0
        self.peak_pages = 0
        self.mmap_base = self.space.task_size

    def add_initial_areas(self) -> None:
        """List what the platform has mapped from birth."""
        for start, end, name in self.space.initial_areas:
            prot = PROT_READ | PROT_EXEC if name == "[vdso]" else PROT_READ
            self.vmas.insert(Vma(start, end, prot, name=name, fixed=True))

    def grab(self) -> MemoryManager:
        self.users += 1
        return self

    def drop(self) -> None:
        """One user less; the last one gives the memory back."""
        self.users -= 1
        if self.users == 0 and not self.released:
            self.released = True
            self.release_areas()
            self.space.release()

    def release_areas(self) -> None:
        if self.aio is not None:
            for context in self.aio.values():
                context.release()
            self.aio = None
        for vma in self.vmas:
            vma.release()
        self.vmas = VmaList()
        self.set_exe(None)

    def set_exe(self, file: File | None) -> None:
        """The program that runs here: as long as it does, nobody can write its file (deny_write_access)."""
        if file is not None:
            file.get().inode.write_count -= 1
        if self.exe is not None:
            self.exe.inode.write_count += 1
            self.exe.put()
        self.exe = file

    def reset(self) -> None:
        """Empty the address space in place, for execve(2)."""
        self.release_areas()
        self.space.reset()
        self.clear_marks()
        self.add_initial_areas()

    def fork(self, parent: Thread) -> tuple[MemoryManager, Thread]:
        """A copy-on-write copy, with the thread that continues in it."""
        space, thread = self.space.fork(parent)
        new = MemoryManager.__new__(MemoryManager)
        new.space = space
        new.tunables = self.tunables
        new.vmas = VmaList()
        new.users = 1
        new.released = False
        for name in (
            "start_code",
            "end_code",
            "start_data",
            "end_data",
            "brk_start",
            "brk",
            "stack_start",
            "arg_start",
            "arg_end",
            "env_start",
            "env_end",
            "auxv",
            "mmap_base",
            "total_pages",
            "peak_pages",
        ):
            setattr(new, name, getattr(self, name))
        new.locked_future = False
        new.exe = None
        new.aio = None
        new.set_exe(self.exe)
        starts, areas = new.vmas.starts, new.vmas.areas
        for vma in self.vmas:
            if vma.dontfork:
                space.unmap(vma.start, vma.end - vma.start)
                new.total_pages -= (vma.end - vma.start) // PAGE
                continue
            copy = vma.copy(vma.start, vma.end)
            copy.locked = False
            if vma.wipeonfork:
                space.map(vma.start, vma.end - vma.start, vma.prot, MAP_PRIVATE, -1, 0)
            starts.append(copy.start)
            areas.append(copy)
        return new, thread

    # -- figures ------------------------------------------------------------------------------

    def peak_resident(self) -> int:
        """VmHWM as far as it is known: what is resident now, in bytes."""
        if self.released:
            return 0
        return self.space.resident_bytes()

    def data_pages(self) -> int:
        """Pages that RLIMIT_DATA counts: private and writable, but for stacks (is_data_mapping)."""
        return sum(vma.end - vma.start for vma in self.vmas if vma.is_data()) // PAGE

    def locked_bytes(self, start: int = 0, end: int = 0) -> int:
        """VmLck; with a range, only what is in it."""
        if not end:
            return sum(vma.end - vma.start for vma in self.vmas if vma.locked)
        found = [vma for vma in self.vmas.overlapping(start, end) if vma.locked]
        return sum(min(vma.end, end) - max(vma.start, start) for vma in found)

    def virtual_bytes(self) -> int:
        """VmSize."""
        return self.total_pages * PAGE

    # -- mmap ---------------------------------------------------------------------------------

    def check_range(self, addr: int, length: int) -> int:
        """The rounded-up length of a range within the guest's addresses; raises EINVAL or ENOMEM."""
        if addr & (PAGE - 1) or length == 0:
            raise LinuxError(EINVAL)
        rounded = page_up(length)
        if rounded == 0 or rounded < length or addr + rounded > self.space.task_size:
            raise LinuxError(ENOMEM)
        return rounded

    def check_fixed(self, start: int, end: int) -> None:
        """No part of ``[start, end)`` may be the platform's own area."""
        for vma in self.vmas.overlapping(start, end):
            if vma.fixed:
                raise LinuxError(EPERM)

    def check_limits(self, pages: int, limit_as: int, pieces: int = 1) -> None:
        """RLIMIT_AS and the number of areas."""
        if (self.total_pages + pages) * PAGE > limit_as:
            raise LinuxError(ENOMEM)
        if len(self.vmas) + pieces > self.tunables.max_map_count:
            raise LinuxError(ENOMEM)

    def place(self, hint: int, length: int, low_32: bool = False) -> int:
        """Where a mapping of ``length`` goes: at the hint if that is free, else at the highest free place
        below
        ``mmap_base``, else the lowest above; raises ENOMEM."""
        space = self.space
        if hint:
            hint &= ~(PAGE - 1)
            if (
                hint >= space.min_address
                and hint + length <= space.task_size
                and not self.vmas.overlapping(hint, hint + length)
            ):
                below = self.vmas.first_after(hint + length)
                if below is None or not below.grows_down or hint + length + STACK_GUARD <= below.start:
                    return hint
        if low_32:
            found = self.vmas.gap_up(length, 0x40000000, 0x80000000)
        else:
            found = self.vmas.gap(length, space.min_address, self.mmap_base)
            if found is None:
                found = self.vmas.gap_up(length, self.mmap_base, space.task_size)
        if found is None:
            raise LinuxError(ENOMEM)
        return found

    def map(
        self,
        addr: int,
        length: int,
        prot: int,
        flags: int,
        file: File | None,
        offset: int,
        name: str = "",
        grows_down: bool = False,
    ) -> int:
        """Map ``[addr, addr + length)`` (page-aligned, checked), replacing what is there.

        ``file`` None: anonymous, private memory. The address."""
        end = addr + length
        self.check_fixed(addr, end)
        shared = bool(flags & MAP_SHARED) and file is not None
        if file is not None and getattr(file, "maps_zero", False):
            file = None
        fd = -1
        if file is not None:
            fd = file.mmap_fd(prot, shared)
        host_flags = MAP_SHARED if shared else MAP_PRIVATE
        host_flags |= flags & (MAP_POPULATE | MAP_NORESERVE)
        self.space.map(addr, length, prot & 7, host_flags, fd, offset if file is not None else 0)
        for vma in self.vmas.remove(addr, end):
            self.total_pages -= (vma.end - vma.start) // PAGE
            vma.release()
        vma = Vma(
            addr, end, prot & 7, shared, file, offset if file is not None else 0, name, grows_down=grows_down
        )
        vma.locked = bool(flags & MAP_LOCKED) or self.locked_future
        self.vmas.insert(vma)
        self.total_pages += length // PAGE
        self.peak_pages = max(self.peak_pages, self.total_pages)
        return addr

    def unmap(self, addr: int, length: int) -> None:
        """munmap(2) of a checked range."""
        end = addr + length
        touched = self.vmas.overlapping(addr, end)
        if not touched:
            return
        self.check_fixed(addr, end)
        if (
            len(touched) == 1
            and touched[0].start < addr
            and touched[0].end > end
            and len(self.vmas) >= self.tunables.max_map_count
        ):
            raise LinuxError(ENOMEM)
        self.space.unmap(addr, length)
        for vma in self.vmas.remove(addr, end):
            self.total_pages -= (vma.end - vma.start) // PAGE
            vma.release()

    def protect(self, addr: int, length: int, prot: int) -> None:
        """mprotect(2) of a checked range; raises ENOMEM for a hole (what lies before it is changed),
        EACCES for
        a shared mapping of a file that isn't open for writing."""
        end = addr + length
        self.check_fixed(addr, end)
        at = addr
        changed = addr
        try:
            for vma in self.vmas.overlapping(addr, end):
                if vma.start > at:
                    raise LinuxError(ENOMEM)
                if prot & PROT_WRITE and vma.shared and vma.file is not None:
                    if not vma.file.writable() or vma.file.write_sealed():
                        raise LinuxError(EACCES)
                stop = min(vma.end, end)
                self.space.protect(max(vma.start, addr), stop - max(vma.start, addr), prot)
                changed = at = stop
            if at < end:
                raise LinuxError(ENOMEM)
        finally:
            if changed > addr:
                self.vmas.split_at(addr)
                self.vmas.split_at(changed)
                for vma in self.vmas.overlapping(addr, changed):
                    vma.prot = prot
                self.vmas.rejoin(addr, changed)

    def set_brk(self, new: int, limit_data: int, limit_as: int) -> int:
        """brk(2): the new break, or the old one where it can't be."""
        if new < self.brk_start:
            return self.brk
        old_end = page_up(self.brk)
        new_end = page_up(new)
        if new_end == old_end:
            self.brk = new
            return new
        try:
            if new_end < old_end:
                self.unmap(new_end, old_end - new_end)
            else:
                if new - self.brk_start > limit_data or new_end > self.space.task_size:
                    return self.brk
                if self.vmas.overlapping(old_end, new_end + STACK_GUARD):
                    return self.brk
                self.check_limits((new_end - old_end) // PAGE, limit_as)
                self.map(old_end, new_end - old_end, PROT_READ | PROT_WRITE, MAP_PRIVATE, None, 0, "[heap]")
        except (LinuxError, OSError):
            return self.brk
        self.brk = new
        return new

    def remap(self, old: int, old_len: int, new_len: int, flags: int, new: int, limit_as: int) -> int:
        """mremap(2); the address of the mapping afterwards."""
        if flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) or old & (PAGE - 1):
            raise LinuxError(EINVAL)
        if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) and not flags & MREMAP_MAYMOVE:
            raise LinuxError(EINVAL)
        old_len, new_len = page_up(old_len), page_up(new_len)
        if not new_len or (flags & MREMAP_DONTUNMAP and old_len != new_len):
            raise LinuxError(EINVAL)
        vma = self.vmas.find(old)
        if vma is None:
            raise LinuxError(14)
        if vma.fixed:
            raise LinuxError(EINVAL)
        if flags & MREMAP_FIXED:
            if new & (PAGE - 1) or new + new_len > self.space.task_size or new < self.space.min_address:
                raise LinuxError(EINVAL)
            if new < old + old_len and old < new + new_len:
                raise LinuxError(EINVAL)
        if old + max(old_len, PAGE) > vma.end and old_len:
            raise LinuxError(14)
        keep = bool(flags & MREMAP_DONTUNMAP)
        if old_len == 0:
            if not vma.shared:
                raise LinuxError(EINVAL)
            target = new if flags & MREMAP_FIXED else self.place(0, new_len)
            return self.map(target, new_len, vma.prot, MAP_SHARED, vma.file, vma.offset + (old - vma.start))
        if not flags & MREMAP_FIXED and not keep:
            if new_len == old_len:
                return old
            if new_len < old_len:
                self.unmap(old + new_len, old_len - new_len)
                return old
            if (
                old + old_len == vma.end
                and not self.vmas.overlapping(vma.end, old + new_len)
                and old + new_len <= self.space.task_size
            ):
                self.check_limits((new_len - old_len) // PAGE, limit_as)
                self.space.move(old, old_len, old, new_len)
                self.total_pages += (new_len - old_len) // PAGE
                self.peak_pages = max(self.peak_pages, self.total_pages)
                vma.end = old + new_len
                self.vmas.rejoin(vma.start, vma.end)
                return old
            if not flags & MREMAP_MAYMOVE:
                raise LinuxError(ENOMEM)
        if new_len > old_len or keep:
            self.check_limits((new_len if keep else new_len - old_len) // PAGE, limit_as)
        target = new if flags & MREMAP_FIXED else self.place(new if keep else 0, new_len)
        if flags & MREMAP_FIXED:
            self.check_fixed(target, target + new_len)
            self.unmap(target, new_len)
        if new_len < old_len:
            self.unmap(old + new_len, old_len - new_len)
            old_len = new_len
        self.space.move(old, old_len, target, new_len, keep)
        moved = self.vmas.find(old)
        assert moved is not None
        part = moved.copy(old, old + old_len)
        delta = target - old
        part.start += delta
        part.end = target + new_len
        if not keep:
            for gone in self.vmas.remove(old, old + old_len):
                gone.release()
                self.total_pages -= old_len // PAGE
        self.vmas.insert(part)
        self.total_pages += new_len // PAGE
        self.peak_pages = max(self.peak_pages, self.total_pages)
        return target

    def grow_stack(self, addr: int, limit: int | None = None) -> bool:
        """A fault below a growing stack: extend it down to the faulting page. False if that isn't one."""
        vma = self.vmas.first_after(addr)
        if vma is None or not vma.grows_down or addr >= vma.start:
            return False
        start = addr & ~(PAGE - 1)
        if vma.end - start > (limit if limit is not None else 8 << 20):
            return False
        if self.vmas.overlapping(max(start - STACK_GUARD, 0), vma.start):
            return False
        try:
            self.space.map(start, vma.start - start, vma.prot, MAP_PRIVATE, -1, 0)
        except OSError:
            return False
        self.total_pages += (vma.start - start) // PAGE
        index = self.vmas.areas.index(vma)
        self.vmas.starts[index] = start
        vma.start = start
        return True


def check_mmap_file(file: File, prot: int, flags: int, private: bool) -> None:
    """May ``file`` be mapped this way (do_mmap)? Raises EACCES, ENODEV, EPERM."""
    if private:
        if not file.readable():
            raise LinuxError(EACCES)
    else:
        if prot & PROT_WRITE and not file.writable():
            raise LinuxError(EACCES)
        if not file.readable():
            raise LinuxError(EACCES)
    if file.path is not None and prot & PROT_EXEC and file.path.mount.flags & 8:
        raise LinuxError(EPERM)
    if flags & MAP_GROWSDOWN:
        raise LinuxError(EINVAL)
    if file.inode.is_dir():
        raise LinuxError(ENODEV)
