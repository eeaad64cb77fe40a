"""Memory: mmap(2), munmap(2), mprotect(2), mremap(2), brk(2), madvise(2) and what else changes areas."""

from __future__ import annotations

from errno import EAGAIN, EBUSY, EEXIST, EINVAL, ENOMEM, EOVERFLOW, EPERM

from runsc.kernel.credentials import CAP_IPC_LOCK
from runsc.kernel.errors import LinuxError
from runsc.kernel.mm.mm import check_mmap_file, page_up
from runsc.kernel.mm.overcommit import may_promise
from runsc.kernel.mm.shmem import SharedMemory
from runsc.kernel.mm.vma import (
    MAP_32BIT,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_SYNC,
    MAP_TYPE,
    PAGE,
    PROT_EXEC,
    PROT_GROWSDOWN,
    PROT_GROWSUP,
    PROT_READ,
    PROT_WRITE,
)
from runsc.kernel.syscalls.decl import (
    PARTIAL,
    Advice,
    Fd,
    Int,
    MapFlags,
    MremapFlags,
    Off,
    OutBuf,
    Prot,
    Ptr,
    Size,
    ULong,
    syscall,
)
from runsc.kernel.thread_group import RLIM_INFINITY, RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK
from runsc.kernel.tunables import OVERCOMMIT_ALWAYS, tunables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

_KNOWN_FLAGS = 0x1FFFFF

_MADV_NORMAL, _MADV_RANDOM, _MADV_SEQUENTIAL, _MADV_WILLNEED, _MADV_DONTNEED = range(5)
_MADV_FREE = 8
_MADV_REMOVE = 9
_MADV_DONTFORK = 10
_MADV_DOFORK = 11
_MADV_WIPEONFORK = 18
_MADV_KEEPONFORK = 19
_MADV_COLD = 20
_MADV_PAGEOUT = 21
_MADV_POPULATE_READ = 22
_MADV_POPULATE_WRITE = 23
_MADV_DONTNEED_LOCKED = 24
_MADV_COLLAPSE = 25
_HUGE_PAGE = 2 << 20
#: Advice that changes nothing a program can see: accepted, not passed on.
_HINTS = frozenset(
    (
        _MADV_NORMAL,
        _MADV_RANDOM,
        _MADV_SEQUENTIAL,
        12,
        13,
        14,
        15,
        16,
        17,
        _MADV_COLD,
        _MADV_PAGEOUT,
    )
)


@syscall(9)
def mmap(task: Task, addr: Ptr, length: Size, prot: Prot, flags: MapFlags, fd: Fd, offset: Off) -> int:
    if offset & (PAGE - 1):
        raise LinuxError(EINVAL)
    mm = task.mm
    file = None
    if not flags & MAP_ANONYMOUS:
        file = task.files.get(fd)
    if not length:
        raise LinuxError(EINVAL)
    rounded = page_up(length)
    if not rounded or rounded > mm.space.task_size:
        raise LinuxError(ENOMEM)
    kind = flags & MAP_TYPE
    if kind not in (MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE):
        raise LinuxError(EINVAL)
    if (kind == MAP_SHARED_VALIDATE and flags & ~_KNOWN_FLAGS) or flags & MAP_SYNC:
        raise LinuxError(95)
    if offset < 0 or offset + rounded > 0x7FFFFFFFFFFFFFFF:
        raise LinuxError(EOVERFLOW if file is not None else EINVAL)
    if flags & MAP_HUGETLB and file is None:
        raise LinuxError(ENOMEM)  # there are no huge pages in the pool
    prot &= 7
    shared = kind != MAP_PRIVATE
    if file is not None:
        check_mmap_file(file, prot, flags, not shared)
    elif shared and flags & MAP_GROWSDOWN:
        raise LinuxError(EINVAL)
    if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
        if addr & (PAGE - 1):
            raise LinuxError(EINVAL)
        if addr + rounded > mm.space.task_size:
            raise LinuxError(ENOMEM)
        if addr < mm.space.min_address:
            raise LinuxError(EPERM)
        if flags & MAP_FIXED_NOREPLACE and mm.vmas.overlapping(addr, addr + rounded):
            raise LinuxError(EEXIST)
    else:
        addr = mm.place(addr, rounded, bool(flags & MAP_32BIT))
    if flags & MAP_LOCKED or mm.locked_future:
        if flags & MAP_LOCKED and not _may_lock(task):
            raise LinuxError(EPERM)
        _check_memlock(task, rounded)
    mm.check_limits(rounded // PAGE, task.limit(RLIMIT_AS))
    if not shared and prot & PROT_WRITE and not flags & MAP_GROWSDOWN:
        check_data(task, rounded // PAGE)
    if tunables(task.kernel).overcommit_memory == OVERCOMMIT_ALWAYS:
        flags |= MAP_NORESERVE
    if prot & PROT_WRITE and (not shared or file is None) and not flags & MAP_NORESERVE:
        _check_promise(task, rounded // PAGE)
    if file is None and shared:
        kernel = task.kernel
        serial = kernel.extra.get("shared-memory", 1)
        kernel.extra["shared-memory"] = serial + 1
        memory = SharedMemory(rounded, serial).get()
        try:
            return mm.map(addr, rounded, prot, MAP_SHARED, memory, 0)
        finally:
            memory.put()
    return mm.map(
        addr,
        rounded,
        prot,
        (MAP_SHARED if shared else MAP_PRIVATE) | flags & ~MAP_TYPE,
        file,
        offset,
        grows_down=bool(flags & MAP_GROWSDOWN),
    )


@syscall(11)
def munmap(task: Task, addr: Ptr, length: Size) -> int:
    mm = task.mm
    size = mm.space.task_size
    if addr & (PAGE - 1) or addr > size or length > size - addr or not length:
        raise LinuxError(EINVAL)
    mm.unmap(addr, page_up(length))
    return 0


@syscall(10)
def mprotect(task: Task, addr: Ptr, length: Size, prot: Prot) -> int:
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP)
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or addr & (PAGE - 1):
        raise LinuxError(EINVAL)
    if not length:
        return 0
    rounded = page_up(length)
    if not rounded or addr + rounded > task.mm.space.task_size:
        raise LinuxError(ENOMEM)
    if prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | 8):
        raise LinuxError(EINVAL)
    if grows:
        vma = task.mm.vmas.find(addr)
        if vma is None:
            raise LinuxError(ENOMEM)
        if grows == PROT_GROWSUP or not vma.grows_down:
            raise LinuxError(EINVAL)
        rounded += addr - vma.start
        addr = vma.start
    if prot & PROT_WRITE:
        more = sum(
            min(vma.end, addr + rounded) - max(vma.start, addr)
            for vma in task.mm.vmas.overlapping(addr, addr + rounded)
            if not vma.prot & PROT_WRITE and not vma.shared and not vma.grows_down
        ) // PAGE
        if more:
            check_data(task, more)
            if more > 1 << 16:
                _check_promise(task, more)
    task.mm.protect(addr, rounded, prot & 7)
    return 0


@syscall(12)
def brk(task: Task, addr: Ptr) -> int:
    return task.mm.set_brk(addr, task.limit(RLIMIT_DATA), task.limit(RLIMIT_AS))


@syscall(25)
def mremap(task: Task, old: Ptr, old_size: Size, new_size: Size, flags: MremapFlags, new: Ptr) -> int:
    more = page_up(new_size) - page_up(old_size)
    if more > 0:
        vma = task.mm.vmas.find(old)
        if vma is not None and vma.is_data():
            check_data(task, more // PAGE)
            _check_promise(task, more // PAGE)
        if vma is not None and vma.locked:
            _check_memlock(task, more)
    return task.mm.remap(old, old_size, new_size, flags, new, task.limit(RLIMIT_AS))


@syscall(28, PARTIAL, "advice without a visible effect is accepted and not passed on")
def madvise(task: Task, addr: Ptr, length: Size, advice: Advice) -> int:
    mm = task.mm
    known = advice in _HINTS or advice in (
        _MADV_WILLNEED,
        _MADV_DONTNEED,
        _MADV_FREE,
        _MADV_REMOVE,
        _MADV_DONTFORK,
        _MADV_DOFORK,
        _MADV_WIPEONFORK,
        _MADV_KEEPONFORK,
        _MADV_POPULATE_READ,
        _MADV_POPULATE_WRITE,
        _MADV_DONTNEED_LOCKED,
        _MADV_COLLAPSE,
    )
    if not known or addr & (PAGE - 1):
        raise LinuxError(EINVAL)
    rounded = page_up(length)
    if length and not rounded:
        raise LinuxError(EINVAL)
    end = addr + rounded
    if end > 1 << 64:
        raise LinuxError(EINVAL)
    if not rounded:
        return 0
    if advice == _MADV_COLLAPSE:
        # No huge pages are made here; a range without room for one is refused, as in Linux.
        if (addr + _HUGE_PAGE - 1) // _HUGE_PAGE >= end // _HUGE_PAGE:
            raise LinuxError(EINVAL)
        return 0
    touched = mm.vmas.overlapping(addr, end)
    if advice == _MADV_DONTNEED_LOCKED:
        for vma in touched:
            if vma.fixed:
                raise LinuxError(EINVAL)
            start = max(addr, vma.start)
            mm.space.advise(start, min(end, vma.end) - start, _MADV_DONTNEED)
    elif advice in (_MADV_DONTFORK, _MADV_DOFORK, _MADV_WIPEONFORK, _MADV_KEEPONFORK):
        mm.vmas.split_at(addr)
        mm.vmas.split_at(end)
        for vma in mm.vmas.overlapping(addr, end):
            if advice in (_MADV_DONTFORK, _MADV_DOFORK):
                vma.dontfork = advice == _MADV_DONTFORK
            elif advice == _MADV_WIPEONFORK and (vma.file is not None or vma.shared):
                raise LinuxError(EINVAL)
            else:
                vma.wipeonfork = advice == _MADV_WIPEONFORK
        mm.vmas.rejoin(addr, end)
    elif advice not in _HINTS and advice != _MADV_WILLNEED:
        for vma in touched:
            if vma.fixed or (advice == _MADV_DONTNEED and vma.locked):
                raise LinuxError(EINVAL)
            start = max(addr, vma.start)
            mm.space.advise(start, min(end, vma.end) - start, advice)
    if not mm.vmas.covered(addr, end):
        raise LinuxError(ENOMEM)
    return 0


@syscall(26)
def msync(task: Task, addr: Ptr, length: Size, flags: Int) -> int:
    if flags & ~7 or addr & (PAGE - 1) or flags & 5 == 5:
        raise LinuxError(EINVAL)
    rounded = page_up(length)
    if length and not rounded:
        raise LinuxError(ENOMEM)
    mm = task.mm
    end = addr + rounded
    for vma in mm.vmas.overlapping(addr, end):
        if flags & 2 and vma.locked:
            raise LinuxError(EBUSY)
        if vma.shared and vma.file is not None and flags & 4:
            start = max(addr, vma.start)
            mm.space.sync(start, min(end, vma.end) - start, flags)
    if rounded and not mm.vmas.covered(addr, end):
        raise LinuxError(ENOMEM)
    return 0


@syscall(27)
def mincore(task: Task, addr: Ptr, length: Size, vec: OutBuf) -> int:
    mm = task.mm
    if addr & (PAGE - 1):
        raise LinuxError(EINVAL)
    rounded = page_up(length)
    if (
        addr + length > mm.space.task_size
        or (length and not rounded)
        or not mm.vmas.covered(addr, addr + rounded)
    ):
        raise LinuxError(ENOMEM)
    done = 0
    while done < rounded:
        step = min(rounded - done, 4096 * PAGE)
        mm.copy_out(vec + done // PAGE, mm.space.residency(addr + done, step))
        done += step
    return 0


def check_data(task: Task, pages: int) -> None:
    """RLIMIT_DATA for that many more private pages (may_expand_vm); raises ENOMEM."""
    limit = task.limit(RLIMIT_DATA)
    if limit != RLIM_INFINITY and task.mm.data_pages() + pages > limit // PAGE:
        raise LinuxError(ENOMEM)


def _check_promise(task: Task, pages: int) -> None:
    if not may_promise(task.kernel, pages):
        raise LinuxError(ENOMEM)


def _may_lock(task: Task) -> bool:
    """Has the task the right to lock anything at all (can_do_mlock)?"""
    return task.limit(RLIMIT_MEMLOCK) != 0 or task.cred.capable(CAP_IPC_LOCK)


def _check_memlock(task: Task, length: int, start: int = 0) -> None:
    """RLIMIT_MEMLOCK, unless CAP_IPC_LOCK; what is locked already of a range counts once. Raises EAGAIN."""
    limit = task.limit(RLIMIT_MEMLOCK)
    if limit == RLIM_INFINITY or task.cred.capable(CAP_IPC_LOCK):
        return
    locked = task.mm.locked_bytes() + length
    if locked > limit and start:
        locked -= task.mm.locked_bytes(start, start + length)
    if locked > limit:
        raise LinuxError(EAGAIN)


def _lock_range(task: Task, addr: int, length: int, lock: bool) -> int:
    mm = task.mm
    if lock and not _may_lock(task):
        raise LinuxError(EPERM)
    start = addr & ~(PAGE - 1)
    # As in Linux the length may wrap to nothing, which is no error.
    end = start + (page_up(length + (addr & (PAGE - 1))) & 0xFFFFFFFFFFFFFFFF)
    if lock and end > start:
        try:
            _check_memlock(task, end - start, start)
        except LinuxError:
            raise LinuxError(ENOMEM) from None
    if end >= 1 << 64:
        raise LinuxError(EINVAL)
    if start == end:
        return 0
    covered = mm.vmas.covered(start, end)
    mm.vmas.split_at(start)
    mm.vmas.split_at(end)
    for vma in mm.vmas.overlapping(start, end):
        vma.locked = lock
    mm.vmas.rejoin(start, end)
    if not covered:
        raise LinuxError(ENOMEM)
    return 0


@syscall(149, PARTIAL, "accounted and limited; the host decides what stays resident")
def mlock(task: Task, addr: Ptr, length: Size) -> int:
    return _lock_range(task, addr, length, True)


@syscall(325, PARTIAL, "accounted and limited; the host decides what stays resident")
def mlock2(task: Task, addr: Ptr, length: Size, flags: Int) -> int:
    if flags & ~1:
        raise LinuxError(EINVAL)
    return _lock_range(task, addr, length, True)


@syscall(150)
def munlock(task: Task, addr: Ptr, length: Size) -> int:
    return _lock_range(task, addr, length, False)


@syscall(151, PARTIAL, "accounted and limited; the host decides what stays resident")
def mlockall(task: Task, flags: Int) -> int:
    if not flags or flags & ~7 or flags == 4:
        raise LinuxError(EINVAL)
    total = task.mm.virtual_bytes()
    if not task.cred.capable(14):
        limit = task.limit(RLIMIT_MEMLOCK)
        if limit == 0:
            raise LinuxError(EPERM)
        if flags & 1 and total > limit:
            raise LinuxError(ENOMEM)
    if flags & 1:
        for vma in task.mm.vmas:
            vma.locked = True
    task.mm.locked_future = bool(flags & 2)
    return 0


@syscall(152)
def munlockall(task: Task) -> int:
    task.mm.locked_future = False
    for vma in task.mm.vmas:
        vma.locked = False
    return 0


@syscall(216)
def remap_file_pages(task: Task, start: Ptr, size: Size, prot: Prot, pgoff: ULong, flags: MapFlags) -> int:
    start &= ~(PAGE - 1)
    size &= ~(PAGE - 1)
    if prot or not size:
        raise LinuxError(EINVAL)
    vma = task.mm.vmas.find(start)
    if vma is None or not vma.shared or vma.file is None or start + size > vma.end:
        raise LinuxError(EINVAL)
    task.mm.map(start, size, vma.prot, MAP_SHARED, vma.file, pgoff * PAGE)
    return 0
