"""The kvm platform: making a virtual machine, waiting for events."""

from __future__ import annotations

import errno
import os

from runsc.abi import registers, xstate
from runsc.platform import FAULT, SYSCALL, AddressSpace, Platform, Thread
from runsc_platform_kvm._engine import ffi, lib
from runsc_platform_kvm.space import PAGE, SMALL, KvmAddressSpace, failed
from runsc_platform_kvm.thread import EVENT, KvmThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.plugins.availability import Availability, HostCall

DEVICE = "/dev/kvm"

#: What ``way`` may be, and what users are told of it.
WAYS = {
    lib.KV_WAY_USER: "plain: a system call leaves by one permitted `out` in ring 3 (KVM in software)",
    lib.KV_WAY_SUPERVISOR: "plain: a system call leaves by one `out` in ring 0",
}

# The self-test's guest: mov $39,%eax; syscall; mov (%rdi),%rax
_CODE = b"\xb8\x27\x00\x00\x00\x0f\x05\x48\x8b\x07"
_CODE_AT = 0x100000
_NOWHERE = 0x200123
_NR = 39
_PATIENCE_NS = 1_000_000_000
_MAP_PRIVATE_ANONYMOUS = 0x22

_wait = lib.kv_wait
_unpack = EVENT.unpack_from


class SelfTestFailed(OSError):
    """A guest of two instructions did not do what a processor does; ``strerror`` says what."""


class KvmPlatform(Platform):
    """One virtual machine; each guest process is a set of page tables in it.

    Raises OSError where /dev/kvm can't be used, SelfTestFailed where it can't run our guests.
    """

    __slots__ = (
        "clean_fpu",
        "engine",
        "initial_areas",
        "min_address",
        "small",
        "task_size",
        "threads",
        "vdso",
    )

    name = "kvm"

    def __init__(self) -> None:
        err = ffi.new("int *")
        engine = lib.kv_open(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC), err)
        if not engine:
            raise failed(err[0])
        self.engine = ffi.gc(engine, lib.kv_free)
        self.threads: dict[int, KvmThread] = {}
        self.small = ffi.new("char[]", SMALL)
        self.min_address: int = self.engine.min_address
        self.task_size: int = self.engine.task_size
        self.initial_areas: tuple[tuple[int, int, str], ...] = ()
        self.vdso = 0
        self.clean_fpu = b""
        try:
            self._self_test()
        except BaseException:
            self.close()
            raise

    def _self_test(self) -> None:
        """Run a guest, and choose the way of its system calls by what it does."""
        space = self.new_address_space()
        thread = space.new_thread()
        self.clean_fpu = xstate.initial(thread.get_fpu())
        space.map(_CODE_AT, PAGE, 5, _MAP_PRIVATE_ANONYMOUS, -1, 0)
        space.poke(_CODE_AT, _CODE)
        if not self._test_call(thread) or self.engine.ring != 3:
            # A processor that changes to ring 0 may not execute a user's page there.
            if lib.kv_set_way(self.engine, lib.KV_WAY_SUPERVISOR) < 0 or not self._test_call(thread):
                raise SelfTestFailed(errno.ENODEV, "a system call of a guest does not arrive")
        thread.complete(0)
        fault = thread.fault if self.wait(-1, _PATIENCE_NS) is thread and thread.event == FAULT else None
        if fault is None or fault.addr != _NOWHERE or fault.signo != 11:
            raise SelfTestFailed(errno.ENODEV, "a page fault of a guest does not arrive")
        space.release()
        # Threads made now would keep what the jail takes away from this one.
        lib.kv_vcpus_rest(self.engine)

    def _test_call(self, thread: Thread) -> bool:
        regs = [0] * registers.COUNT
        regs[registers.RIP] = _CODE_AT
        regs[registers.RDI] = _NOWHERE
        thread.set_regs(regs)
        thread.resume()
        if self.wait(-1, _PATIENCE_NS) is not thread:
            raise SelfTestFailed(errno.ETIME, "a guest of two instructions does not come to its end")
        return thread.event == SYSCALL and thread.nr == _NR

    def way(self) -> str:
        """How system calls leave the guest, for people."""
        return WAYS[self.engine.way]

    @classmethod
    def check(cls) -> Availability:
        from runsc_platform_kvm.check import check

        return check()

    @classmethod
    def host_calls(cls) -> Sequence[HostCall]:
        from runsc_platform_kvm.host_calls import host_calls

        return host_calls()

    def new_address_space(self) -> AddressSpace:
        err = ffi.new("int *")
        pointer = lib.kv_process_new(self.engine, err)
        if not pointer:
            raise failed(err[0])
        return KvmAddressSpace(self, pointer)

    def wait(self, poll_fd: int, timeout_ns: int) -> Thread | None:
        handle = _wait(self.engine, poll_fd, timeout_ns)
        if not handle:
            return None
        thread = self.threads[handle]
        event = _unpack(thread.view)
        kind = thread.event = event[0]
        if kind == SYSCALL:
            thread.nr = event[1]
            thread.args = event[2:]
        elif kind == FAULT:
            thread.take_fault()
        return thread

    def close(self) -> None:
        self.threads.clear()
        lib.kv_close(self.engine)
