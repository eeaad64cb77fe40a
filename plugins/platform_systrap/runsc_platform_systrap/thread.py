"""Guest threads on systrap."""

from __future__ import annotations

import struct
from functools import partial

from runsc.abi import xstate
from runsc.platform import AddressSpaceGone, Fault, Thread
from runsc_platform_systrap._engine import ffi, lib
from runsc_platform_systrap.fast import bind_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runsc_platform_systrap.platform import SystrapPlatform
    from runsc_platform_systrap.space import SystrapAddressSpace

# The public head of struct sy_thread (csrc/engine.h); what comes first is told by ``wait``.
FAULT = struct.Struct("=iiQii")
REGS = struct.Struct("=27Q")
FAULT_AT = struct.calcsize("=ii6Q")
REGS_AT = FAULT_AT + FAULT.size
VIEW_SIZE = REGS_AT + REGS.size

_NO_ARGS = (0, 0, 0, 0, 0, 0)

_unpatched = lib.sy_unpatched


def address(pointer: Any) -> int:
    """Where a structure of the engine lies."""
    return int(ffi.cast("uintptr_t", pointer))


class SystrapThread(Thread):
    """One host thread, whose signal handler waits in a slot of shared memory while it is stopped."""

    __slots__ = ("_c", "_e", "_platform", "_space", "complete", "key", "resume", "view")

    # Bound when the thread is made (csrc/python.c). The guest runs while the loop gets back to its next wait.
    if TYPE_CHECKING:

        def complete(self, result: int) -> None: ...
        def resume(self) -> None: ...

    def __init__(self, platform: SystrapPlatform, space: SystrapAddressSpace, pointer: Any) -> None:
        self._platform = platform
        self._space = space
        self._e = platform.engine
        self._c = ffi.gc(pointer, partial(lib.sy_thread_drop, platform.engine))
        self.view = ffi.buffer(ffi.cast("char *", pointer), VIEW_SIZE)
        self.key = address(pointer)
        self.owner = None
        self.event = 0
        self.nr = 0
        self.args = _NO_ARGS
        self.fault = None
        self.complete, self.resume = bind_thread(self, self.key)  # type: ignore[assignment, method-assign]
        # While it is among these, events of it are given to this object.
        platform.threads[self.key] = self
        space.threads[self.key] = self

    @property
    def pointer(self) -> Any:
        """The engine's structure."""
        return self._c

    @property
    def space(self) -> SystrapAddressSpace:
        return self._space

    def get_regs(self) -> list[int]:
        if _unpatched(self._e, self._c) < 0:
            raise AddressSpaceGone
        return list(REGS.unpack_from(self.view, REGS_AT))

    def set_regs(self, regs: Sequence[int]) -> None:
        if _unpatched(self._e, self._c) < 0:
            raise AddressSpaceGone
        REGS.pack_into(self.view, REGS_AT, *regs)
        lib.sy_thread_regs_set(self._e, self._c)

    def take_fault(self) -> None:
        """Make ``fault`` of what the engine noted."""
        signo, code, addr, trapno, err = FAULT.unpack_from(self.view, FAULT_AT)
        self.fault = Fault(signo, code, addr, trapno, err)

    def get_fpu(self) -> bytes:
        buf = ffi.new("char[]", xstate.MAX_SIZE)
        size = lib.sy_thread_get_fpu(self._e, self._c, buf, xstate.MAX_SIZE)
        if size == lib.SY_GONE:
            raise AddressSpaceGone
        if size < 0:
            raise OSError(-size, "the signal frame shows no FPU state")
        return ffi.buffer(buf, size)[:]  # type: ignore[no-any-return]

    def set_fpu(self, area: bytes) -> None:
        clean = xstate.sanitise(area, self._platform.clean_fpu)
        result = lib.sy_thread_set_fpu(self._e, self._c, clean, len(clean))
        if result == lib.SY_GONE:
            raise AddressSpaceGone
        if result < 0:
            raise OSError(-result, "the signal frame has no room for FPU state")

    def interrupt(self) -> None:
        lib.sy_thread_interrupt(self._e, self._c)

    def release(self) -> None:
        if self._platform.threads.pop(self.key, None) is None:
            return
        self._space.threads.pop(self.key, None)
        lib.sy_thread_release(self._e, self._c)

    def host_pid(self) -> int:
        return int(lib.sy_thread_tid(self._c))

    def cpu_time_ns(self) -> tuple[int, int]:
        return self._platform.thread_cpu_time_ns(self.host_pid(), self._space)
