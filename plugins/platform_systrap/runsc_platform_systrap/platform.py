"""The systrap platform: making address spaces, waiting for events."""

from __future__ import annotations

import errno
import os
import time

from runsc.abi import xstate
from runsc.platform import COPY_FIXED, AddressSpace, AddressSpaceGone, Platform, Thread
from runsc_platform_systrap._engine import ffi, lib
from runsc_platform_systrap.fast import bind_engine
from runsc_platform_systrap.space import PAGE, SYS_MUNMAP, SystrapAddressSpace, failed
from runsc_platform_systrap.thread import SystrapThread, address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.platform import CopyAhead
    from runsc.plugins.availability import Availability, HostCall

#: What the host kernel's own areas, which the guest keeps, begin with ([vvar_vclock] on newer ones).
_KEPT = ("[vdso]", "[vvar")
PROT_RW = 3
MAP_PRIVATE = 2
#: The end of a 47-bit address space.
_TOP = 0x7FFFFFFFF000


def _gaps(start: int, end: int, kept: Sequence[tuple[int, int, str]]) -> list[tuple[int, int]]:
    """What of ``[start, end)`` is not in ``kept`` (sorted)."""
    gaps = []
    for low, high, _name in kept:
        if start < low:
            gaps.append((start, low))
        start = max(start, high)
    if start < end:
        gaps.append((start, end))
    return gaps


class SystrapPlatform(Platform):
    """Made in the thread that will call everything else: its end is the end of all guests.

    Making one forks this process (sharing the descriptor table) and empties the copy: the
    template of all address spaces. Raises OSError where the host does not allow it.

    While one exists, SIGCHLD is blocked in this thread and handled by the engine.

    What a guest can do without us noticing: call the host's vDSO, which tells it the time and the processor
    number, and jump into the gate (csrc/filter.c), where it can change nothing but its own process.
    """

    __slots__ = (
        "_proc",
        "_template",
        "_template_thread",
        "clean_fpu",
        "engine",
        "guest_ranges",
        "initial_areas",
        "min_address",
        "task_size",
        "threads",
        "vdso",
        "wait",
    )

    name = "systrap"

    # Bound when the engine is open (csrc/python.c).
    if TYPE_CHECKING:

        def wait(self, poll_fd: int, timeout_ns: int) -> Thread | None: ...

    def __init__(self, patch: bool = True) -> None:
        """``patch``: let call sites that are hot jump into the stub (csrc/patch.c)."""
        err = ffi.new("int *")
        engine = lib.sy_open(patch, err)
        if not engine:
            raise failed(err[0])
        self.engine = ffi.gc(engine, lib.sy_free)
        self._proc = -1
        self.threads: dict[int, SystrapThread] = {}
        self.wait = bind_engine(address(engine))  # type: ignore[assignment, method-assign]
        self.clean_fpu = b""
        try:
            self._proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._make_template()
        except BaseException:
            self.close()
            raise

    def _make_template(self) -> None:
        err = ffi.new("int *")
        pointer = lib.sy_template(self.engine, err)
        if not pointer:
            raise failed(err[0])
        self.min_address: int = self.engine.min_address
        self.task_size: int = self.engine.task_size
        self.initial_areas: tuple[tuple[int, int, str], ...] = ()
        self.vdso = 0
        areas = []
        with open(f"/proc/{lib.sy_thread_tid(pointer)}/maps") as maps:
            for line in maps:
                if line.split()[-1].startswith(_KEPT):
                    start, end = (int(x, 16) for x in line.split(None, 1)[0].split("-"))
                    if end <= self.task_size:
                        areas.append((start, end, line.split()[-1]))
        self.initial_areas = tuple(sorted(areas))
        self.vdso = next((start for start, _, name in self.initial_areas if name == "[vdso]"), 0)
        #: What reset unmaps: everything a guest may have mapped.
        self.guest_ranges = _gaps(self.min_address, self.task_size, self.initial_areas)

        template = SystrapAddressSpace(self, pointer)
        self._template = template
        thread = template.new_thread()
        assert isinstance(thread, SystrapThread)
        self._template_thread = thread
        gate: int = self.engine.gate
        region: int = self.engine.region
        for start, end in (
            *_gaps(self.min_address, self.task_size, self.initial_areas),
            (self.task_size, self.engine.thunks_at),
            (gate - PAGE, gate),
            (gate + 2 * PAGE, region),
            (region + lib.SY_FIRST_SLOTS * self.engine.slot_size, _TOP),
        ):
            if start < end:
                template.host_call(SYS_MUNMAP, start, end - start)
        at = self.min_address
        template.map(at, PAGE, PROT_RW, MAP_PRIVATE, -1, 0)
        if template.write(at, b"r") != 1 or template.read(at, 1) != b"r":
            raise OSError(errno.EPERM, "the host forbids access to the memory of guest processes")
        template.unmap(at, PAGE)
        self.clean_fpu = xstate.initial(thread.get_fpu())
        result = lib.sy_thread_set_fpu(self.engine, thread.pointer, self.clean_fpu, len(self.clean_fpu))
        if result < 0:
            raise failed(result)
        thread.set_regs([0] * 27)
        # Its last thread stays stopped, and no event of it reaches the kernel.
        thread.release()

    @classmethod
    def check(cls) -> Availability:
        from runsc_platform_systrap.check import check

        return check()

    @classmethod
    def host_calls(cls) -> Sequence[HostCall]:
        from runsc_platform_systrap.host_calls import host_calls

        return host_calls()

    def new_address_space(self) -> AddressSpace:
        try:
            return self._template.copy(self._template_thread)
        except AddressSpaceGone:
            raise OSError(errno.ENOMEM, "the host killed the template of guest processes") from None

    def prepare(self, nr: int, ranges: Sequence[CopyAhead]) -> None:
        plan = 0
        for index, (argument, kind, size, counter) in enumerate(ranges[:2]):
            if kind == COPY_FIXED:
                detail = size
            else:
                detail = counter | size << 3
            plan |= (argument | kind << 3 | detail << 5) << 16 * index
        lib.sy_ahead(self.engine, nr, plan)

    def resident_bytes(self, tid: int) -> int:
        """VmRSS of the process that ``tid`` belongs to; 0 if the host does not tell."""
        fields = self._read_proc(f"{tid}/statm").split()
        return int(fields[1]) * PAGE if len(fields) > 1 else 0

    def thread_cpu_time_ns(self, tid: int, space: SystrapAddressSpace) -> tuple[int, int]:
        """CPU time of a thread. Of a process's only thread the host's clocks tell; of others
        /proc, if it can be read (how it splits up, to the tick only)."""
        if tid == 0:
            return (0, 0)
        if space.born_single:
            # Clock ids of another process (include/linux/posix-timers.h): ~pid << 3 | which.
            try:
                total = time.clock_gettime_ns(~tid << 3 | 2)
                user = time.clock_gettime_ns(~tid << 3 | 1)
            except OSError:
                return (0, 0)
            return (min(user, total), max(total - user, 0))
        fields = self._read_proc(f"{tid}/stat").rpartition(")")[2].split()
        if len(fields) < 13:
            return (0, 0)
        tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        user, system = int(fields[11]) * tick, int(fields[12]) * tick
        exact = self._read_proc(f"{tid}/schedstat").split()
        if exact:
            total = int(exact[0])
            user = total * user // (user + system) if user + system else total
            system = total - user
        return (user, system)

    def poke(self, tid: int, addr: int, data: bytes) -> int:
        """Write to guest memory as a debugger does, whatever its protection (FOLL_FORCE).

        How much was written. Raises AddressSpaceGone, or OSError where /proc can't be used.
        """
        try:
            fd = os.open(f"{tid}/mem", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._proc)
        except (FileNotFoundError, ProcessLookupError):
            raise AddressSpaceGone from None
        try:
            return os.pwrite(fd, data, addr)
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            return 0
        finally:
            os.close(fd)

    def _read_proc(self, path: str) -> str:
        """A file of /proc, or nothing where the process has ended or the sandbox is jailed."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._proc)
        except OSError:
            return ""
        try:
            return os.read(fd, 4096).decode("ascii", "replace")
        except OSError:
            return ""
        finally:
            os.close(fd)

    def close(self) -> None:
        self.threads.clear()
        lib.sy_close(self.engine)
        if self._proc >= 0:
            os.close(self._proc)
            self._proc = -1
