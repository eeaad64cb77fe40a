"""Guest address spaces on systrap: the memory of a host process."""

from __future__ import annotations

import errno
import os
from functools import partial

from runsc.platform import AddressSpace, AddressSpaceGone, Thread
from runsc_platform_systrap._engine import ffi, lib
from runsc_platform_systrap.fast import bind_space
from runsc_platform_systrap.thread import SystrapThread, address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runsc_platform_systrap.platform import SystrapPlatform

PAGE = 4096

# Host system calls made in the stub (x86-64 numbers).
SYS_MMAP = 9
SYS_MPROTECT = 10
SYS_MUNMAP = 11
SYS_MREMAP = 25
SYS_MSYNC = 26
SYS_MADVISE = 28

MAP_FIXED = 0x10
MAP_ANONYMOUS = 0x20
MREMAP_MAYMOVE = 1
MREMAP_FIXED = 2
MREMAP_DONTUNMAP = 4

_U64 = (1 << 64) - 1
_GONE: int = lib.SY_GONE

_call = lib.sy_space_call
_buffer = ffi.buffer


def failed(result: int) -> Exception:
    """The exception for a negative result of the engine."""
    if result == _GONE:
        return AddressSpaceGone()
    return OSError(-result, os.strerror(-result))


class SystrapAddressSpace(AddressSpace):
    __slots__ = (
        "_c",
        "_e",
        "_first",
        "_platform",
        "_released",
        "born_single",
        "initial_areas",
        "min_address",
        "read",
        "task_size",
        "threads",
        "vdso",
        "write",
    )

    # Bound when the space is made (csrc/python.c).
    if TYPE_CHECKING:

        def read(self, addr: int, length: int) -> bytes: ...
        def write(self, addr: int, data: bytes | bytearray | memoryview) -> int: ...

    def __init__(self, platform: SystrapPlatform, thread: Any) -> None:
        """``thread``: the engine's first thread of a space that is new to Python."""
        self._platform = platform
        self._e = platform.engine
        self._c = ffi.gc(lib.sy_thread_space(thread), partial(lib.sy_space_drop, platform.engine))
        self.read, self.write = bind_space(address(self._c))  # type: ignore[assignment, method-assign]
        self.min_address = platform.min_address
        self.task_size = platform.task_size
        self.initial_areas: Sequence[tuple[int, int, str]] = platform.initial_areas
        self.vdso = platform.vdso
        self.threads: dict[int, SystrapThread] = {}
        self._released = False
        #: No second thread was ever made: the process's CPU time is the thread's.
        self.born_single = True
        self._first: SystrapThread | None = SystrapThread(platform, self, thread)

    def host_call(
        self, nr: int, a0: int, a1: int, a2: int = 0, a3: int = 0, a4: int = 0, a5: int = 0
    ) -> None:
        """Have the stub make a host system call whose result is only success or failure."""
        result = _call(self._e, self._c, nr, a0, a1, a2, a3, a4, a5)
        if -4096 < result < 0 or result == _GONE:
            raise failed(result)

    def map(self, addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> None:
        flags |= MAP_FIXED if fd >= 0 else MAP_FIXED | MAP_ANONYMOUS
        self.host_call(SYS_MMAP, addr, length, prot, flags, fd & _U64, offset)

    def unmap(self, addr: int, length: int) -> None:
        self.host_call(SYS_MUNMAP, addr, length)

    def protect(self, addr: int, length: int, prot: int) -> None:
        self.host_call(SYS_MPROTECT, addr, length, prot)

    def move(self, old: int, old_len: int, new: int, new_len: int, keep: bool = False) -> None:
        flags = 0 if old == new else MREMAP_MAYMOVE | MREMAP_FIXED | (MREMAP_DONTUNMAP if keep else 0)
        self.host_call(SYS_MREMAP, old, old_len, new_len, flags, new)

    def advise(self, addr: int, length: int, advice: int) -> None:
        self.host_call(SYS_MADVISE, addr, length, advice)

    def sync(self, addr: int, length: int, flags: int) -> None:
        self.host_call(SYS_MSYNC, addr, length, flags)

    def residency(self, addr: int, length: int) -> bytes:
        pages = (length + PAGE - 1) // PAGE
        vec = ffi.new("char[]", max(pages, 1))
        result = lib.sy_space_mincore(self._e, self._c, addr, pages * PAGE, vec)
        if result < 0:
            raise failed(result)
        return _buffer(vec, pages)[:]  # type: ignore[no-any-return]

    def poke(self, addr: int, data: bytes) -> int:
        if not 0 <= addr < self.task_size:
            return 0
        lib.sy_patch_undo(self._e, self._c, addr, addr + len(data), 1)
        tid = lib.sy_space_tid(self._c)
        if tid == 0:
            raise AddressSpaceGone
        return self._platform.poke(tid, addr, data[: self.task_size - addr])

    def compare_exchange(self, addr: int, expected: int, new: int) -> int:
        if not 0 <= addr < self.task_size:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        found = ffi.new("uint32_t *")
        result = lib.sy_space_cmpxchg(self._e, self._c, addr, expected, new, found)
        if result < 0:
            raise failed(result)
        return int(found[0])

    def new_thread(self) -> Thread:
        thread = self._first
        if thread is None:
            raise OSError(errno.EINVAL, "the first thread was handed out already")
        self._first = None
        return thread

    def _clone(self, parent: Thread, as_thread: bool) -> Any:
        if not isinstance(parent, SystrapThread) or parent.space is not self:
            raise OSError(errno.EINVAL, "the parent is not a thread of this address space")
        err = ffi.new("int *")
        pointer = lib.sy_clone(self._e, parent.pointer, as_thread, err)
        if not pointer:
            raise failed(err[0])
        return pointer

    def spawn(self, parent: Thread) -> Thread:
        pointer = self._clone(parent, True)
        self.born_single = False
        return SystrapThread(self._platform, self, pointer)

    def fork(self, parent: Thread) -> tuple[AddressSpace, Thread]:
        space = self.copy(parent)
        return space, space.new_thread()

    def copy(self, parent: Thread) -> SystrapAddressSpace:
        """As ``fork``; the thread is still to be fetched with ``new_thread``."""
        return SystrapAddressSpace(self._platform, self._clone(parent, False))

    def reset(self) -> None:
        if not self.born_single and lib.sy_space_settle(self._e, self._c) < 0:
            raise AddressSpaceGone
        for start, end in self._platform.guest_ranges:
            self.host_call(SYS_MUNMAP, start, end - start)

    def resident_bytes(self) -> int:
        return self._platform.resident_bytes(lib.sy_space_tid(self._c))

    def release(self) -> None:
        if self._released:
            return
        self._released = True
        self._first = None
        lib.sy_space_release(self._e, self._c)
        for thread in list(self.threads.values()):
            thread.release()
