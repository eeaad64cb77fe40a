"""Guest threads on kvm."""

from __future__ import annotations

import struct

from runsc.abi import xstate
from runsc.platform import AddressSpaceGone, Fault, Thread
from runsc_platform_kvm._engine import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runsc_platform_kvm.platform import KvmPlatform
    from runsc_platform_kvm.space import KvmAddressSpace

# The public head of struct kv_thread (csrc/engine.h).
EVENT = struct.Struct("=ii6Q")
FAULT = struct.Struct("=iiQii")
REGS = struct.Struct("=27Q")
FAULT_AT = EVENT.size
REGS_AT = FAULT_AT + FAULT.size
VIEW_SIZE = REGS_AT + REGS.size

_NO_ARGS = (0, 0, 0, 0, 0, 0)

_complete = lib.kv_thread_complete
_resume = lib.kv_thread_resume


class KvmThread(Thread):
    """Registers that a virtual CPU runs; it has one from when it first runs on.

    There is no process of the host's for it: ``host_pid`` is 0.
    """

    __slots__ = ("_c", "_e", "_platform", "_space", "handle", "view")

    def __init__(self, platform: KvmPlatform, space: KvmAddressSpace, pointer: Any) -> None:
        self._platform = platform
        self._space = space
        self._e = platform.engine
        self._c = ffi.gc(pointer, lib.kv_thread_drop)
        self.view = ffi.buffer(ffi.cast("char *", pointer), VIEW_SIZE)
        self.handle: int = lib.kv_thread_handle(pointer)
        self.owner = None
        self.event = 0
        self.nr = 0
        self.args = _NO_ARGS
        self.fault = None
        platform.threads[self.handle] = self
        space.threads[self.handle] = self

    @property
    def pointer(self) -> Any:
        """The engine's structure."""
        return self._c

    @property
    def space(self) -> KvmAddressSpace:
        return self._space

    def complete(self, result: int) -> None:
        # Done at once: the guest runs while the loop gets back to its next wait.
        _complete(self._e, self._c, result)

    def resume(self) -> None:
        _resume(self._e, self._c)

    def get_regs(self) -> list[int]:
        return list(REGS.unpack_from(self.view, REGS_AT))

    def set_regs(self, regs: Sequence[int]) -> None:
        REGS.pack_into(self.view, REGS_AT, *regs)
        lib.kv_thread_regs_set(self._c)

    def take_fault(self) -> None:
        """Make ``fault`` of what the engine noted."""
        signo, code, addr, trapno, err = FAULT.unpack_from(self.view, FAULT_AT)
        self.fault = Fault(signo, code, addr, trapno, err)

    def get_fpu(self) -> bytes:
        buf = ffi.new("char[]", xstate.MAX_SIZE)
        size = lib.kv_thread_get_fpu(self._e, self._c, buf, xstate.MAX_SIZE)
        if size == lib.KV_GONE:
            raise AddressSpaceGone
        if size < 0:
            raise OSError(-size, "KVM_GET_XSAVE")
        return ffi.buffer(buf, size)[:]  # type: ignore[no-any-return]

    def set_fpu(self, area: bytes) -> None:
        clean = xstate.sanitise(area, self._platform.clean_fpu)
        result = lib.kv_thread_set_fpu(self._e, self._c, clean, len(clean))
        if result == lib.KV_GONE:
            raise AddressSpaceGone
        if result < 0:
            raise OSError(-result, "XSAVE area")

    def interrupt(self) -> None:
        lib.kv_thread_interrupt(self._e, self._c)

    def release(self) -> None:
        if self._platform.threads.pop(self.handle, None) is None:
            return
        self._space.threads.pop(self.handle, None)
        lib.kv_thread_release(self._e, self._c)

    def cpu_time_ns(self) -> tuple[int, int]:
        """All of it counts as the guest's own: what its exits cost can't be told apart."""
        return (int(lib.kv_thread_cpu_ns(self._c)), 0)
