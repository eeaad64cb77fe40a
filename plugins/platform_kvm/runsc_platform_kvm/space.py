"""Guest address spaces on kvm: page tables of our own."""

from __future__ import annotations

import errno
import os

from runsc.platform import AddressSpace, AddressSpaceGone, Thread
from runsc_platform_kvm._engine import ffi, lib
from runsc_platform_kvm.thread import KvmThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runsc_platform_kvm.platform import KvmPlatform

PAGE = 4096

#: Reads up to this length go through one buffer of the platform.
SMALL = 65536

_GONE: int = lib.KV_GONE

_read = lib.kv_process_read
_write = lib.kv_process_write
_buffer = ffi.buffer
_from_buffer = ffi.from_buffer


def failed(result: int) -> Exception:
    """The exception for a negative result of the engine."""
    if result == _GONE:
        return AddressSpaceGone()
    return OSError(-result, os.strerror(-result))


def _checked(result: int) -> int:
    if result < 0:
        raise failed(result)
    return result


class KvmAddressSpace(AddressSpace):
    __slots__ = (
        "_c",
        "_e",
        "_platform",
        "_released",
        "_started",
        "initial_areas",
        "min_address",
        "task_size",
        "threads",
        "vdso",
    )

    def __init__(self, platform: KvmPlatform, pointer: Any) -> None:
        """``pointer``: the engine's structure, new to Python."""
        self._platform = platform
        self._e = platform.engine
        self._c = ffi.gc(pointer, lib.kv_process_drop)
        self.min_address = platform.min_address
        self.task_size = platform.task_size
        self.initial_areas: Sequence[tuple[int, int, str]] = platform.initial_areas
        self.vdso = platform.vdso
        self.threads: dict[int, KvmThread] = {}
        self._released = False
        self._started = False

    def map(self, addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> None:
        _checked(lib.kv_process_map(self._c, addr, length, prot, flags, fd, offset))

    def unmap(self, addr: int, length: int) -> None:
        _checked(lib.kv_process_unmap(self._c, addr, length))

    def protect(self, addr: int, length: int, prot: int) -> None:
        _checked(lib.kv_process_protect(self._c, addr, length, prot))

    def move(self, old: int, old_len: int, new: int, new_len: int, keep: bool = False) -> None:
        _checked(lib.kv_process_move(self._c, old, old_len, new, new_len, keep))

    def advise(self, addr: int, length: int, advice: int) -> None:
        _checked(lib.kv_process_advise(self._c, addr, length, advice))

    def sync(self, addr: int, length: int, flags: int) -> None:
        _checked(lib.kv_process_sync(self._c, addr, length, flags))

    def residency(self, addr: int, length: int) -> bytes:
        pages = (length + PAGE - 1) // PAGE
        vec = ffi.new("char[]", max(pages, 1))
        _checked(lib.kv_process_residency(self._c, addr, pages * PAGE, vec))
        return _buffer(vec, pages)[:]  # type: ignore[no-any-return]

    def read(self, addr: int, length: int) -> bytes:
        if not 0 <= addr < self.task_size:
            return b""
        if length <= SMALL:
            buf = self._platform.small
        else:
            length = min(length, self.task_size - addr)
            buf = ffi.new("char[]", length)
        n = _read(self._c, addr, buf, length)
        if n < 0:
            raise failed(n)
        return _buffer(buf, n)[:]  # type: ignore[no-any-return]

    def write(self, addr: int, data: bytes | bytearray | memoryview) -> int:
        if not 0 <= addr < self.task_size:
            return 0
        buf = _from_buffer(data)
        n: int = _write(self._c, addr, buf, len(buf))
        if n < 0:
            raise failed(n)
        return n

    def poke(self, addr: int, data: bytes) -> int:
        if not 0 <= addr < self.task_size:
            return 0
        return _checked(lib.kv_process_poke(self._c, addr, data, len(data)))

    def compare_exchange(self, addr: int, expected: int, new: int) -> int:
        if not 0 <= addr < self.task_size:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        found = ffi.new("uint32_t *")
        _checked(lib.kv_process_cmpxchg(self._c, addr, expected, new, found))
        return int(found[0])

    def _thread(self, parent: Any) -> KvmThread:
        err = ffi.new("int *")
        pointer = lib.kv_thread_new(self._e, self._c, parent, err)
        if not pointer:
            raise failed(err[0])
        return KvmThread(self._platform, self, pointer)

    def _pointer_of(self, parent: Thread) -> Any:
        if not isinstance(parent, KvmThread) or parent.space is not self:
            raise OSError(errno.EINVAL, "the parent is not a thread of this address space")
        return parent.pointer

    def new_thread(self) -> Thread:
        if self._started:
            raise OSError(errno.EINVAL, "the first thread was handed out already")
        thread = self._thread(ffi.NULL)
        self._started = True
        return thread

    def spawn(self, parent: Thread) -> Thread:
        return self._thread(self._pointer_of(parent))

    def fork(self, parent: Thread) -> tuple[AddressSpace, Thread]:
        thread = self._pointer_of(parent)
        err = ffi.new("int *")
        pointer = lib.kv_process_fork(self._e, self._c, err)
        if not pointer:
            raise failed(err[0])
        space = KvmAddressSpace(self._platform, pointer)
        space._started = True
        try:
            return space, space._thread(thread)
        except BaseException:
            space.release()
            raise

    def reset(self) -> None:
        _checked(lib.kv_process_reset(self._e, self._c))

    def resident_bytes(self) -> int:
        return int(lib.kv_process_resident(self._c))

    def release(self) -> None:
        if self._released:
            return
        self._released = True
        for thread in list(self.threads.values()):
            thread.release()
        lib.kv_process_release(self._e, self._c)
