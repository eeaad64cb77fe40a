"""The ptrace platform: making address spaces, waiting for events."""

from __future__ import annotations

import errno
import os
import time

from runsc.abi import xstate
from runsc.platform import FAULT, SYSCALL, AddressSpace, AddressSpaceGone, Platform, Thread
from runsc_platform_ptrace._engine import ffi, lib
from runsc_platform_ptrace.space import PAGE, SMALL, SYS_MUNMAP, PtraceAddressSpace, failed
from runsc_platform_ptrace.thread import EVENT, PtraceThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.plugins.availability import Availability, HostCall

#: What the host kernel's own areas, which the guest keeps, begin with ([vvar_vclock] on newer ones).
_KEPT = ("[vdso]", "[vvar")
#: The end of a 47-bit address space.
_TOP = 0x7FFFFFFFF000

_wait = lib.pe_wait
_unpack = EVENT.unpack_from


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


class PtracePlatform(Platform):
    """Made in the thread that will call everything else: Linux ties tracees to their tracer thread.

    Making one forks this process (sharing the descriptor table) and empties the copy: the
    template of all address spaces. Raises OSError where the host does not allow it.

    While one exists, SIGCHLD is blocked in this thread and handled by the engine.

    What a guest can do without us noticing: call the host's vDSO, and the vsyscall page where the
    host kernel emulates it; both tell it the time and the processor number, no more.
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
        "small",
        "task_size",
        "threads",
        "vdso",
    )

    name = "ptrace"

    def __init__(self) -> None:
        err = ffi.new("int *")
        engine = lib.pe_open(err)
        if not engine:
            raise failed(err[0])
        self.engine = ffi.gc(engine, lib.pe_free)
        self._proc = -1
        self.threads: dict[int, PtraceThread] = {}
        self.small = ffi.new("char[]", SMALL)
        self.clean_fpu = b""
        try:
            self._proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._make_template()
        except BaseException:
            self.close()
            raise

    def _make_template(self) -> None:
        err = ffi.new("int *")
        pointer = lib.pe_template(self.engine, err)
        if not pointer:
            raise failed(err[0])
        self.min_address: int = self.engine.min_address
        self.task_size: int = self.engine.task_size
        self.initial_areas: tuple[tuple[int, int, str], ...] = ()
        self.vdso = 0
        areas = []
        with open(f"/proc/{lib.pe_thread_tid(pointer)}/maps") as maps:
            for line in maps:
                if line.split()[-1].startswith(_KEPT):
                    start, end = (int(x, 16) for x in line.split(None, 1)[0].split("-"))
                    if end <= self.task_size:
                        areas.append((start, end, line.split()[-1]))
        self.initial_areas = tuple(sorted(areas))
        self.vdso = next((start for start, _, name in self.initial_areas if name == "[vdso]"), 0)
        #: What reset unmaps: everything a guest may have mapped.
        self.guest_ranges = _gaps(self.min_address, self.task_size, self.initial_areas)

        template = PtraceAddressSpace(self, pointer)
        self._template = template
        thread = template.new_thread()
        assert isinstance(thread, PtraceThread)
        self._template_thread = thread
        stub: int = self.engine.stub
        for start, end in (
            *_gaps(PAGE, self.task_size, self.initial_areas),
            (stub - PAGE, stub),
            (stub + PAGE, _TOP),
        ):
            if start < end:
                template.host_call(SYS_MUNMAP, start, end - start)
        self.clean_fpu = xstate.initial(thread.get_fpu())
        result = lib.pe_thread_set_fpu(thread.pointer, self.clean_fpu, len(self.clean_fpu))
        if result < 0:
            raise failed(result)
        thread.set_regs([0] * 27)
        # Its last thread stays stopped, and no event of it reaches the kernel.
        thread.release()

    @classmethod
    def check(cls) -> Availability:
        from runsc_platform_ptrace.check import check

        return check()

    @classmethod
    def host_calls(cls) -> Sequence[HostCall]:
        from runsc_platform_ptrace.host_calls import host_calls

        return host_calls()

    def new_address_space(self) -> AddressSpace:
        try:
            return self._template.copy(self._template_thread)
        except AddressSpaceGone:
            raise OSError(errno.ENOMEM, "the host killed the template of guest processes") from None

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

    def resident_bytes(self, tid: int) -> int:
        """VmRSS of the process that ``tid`` belongs to; 0 if the host does not tell."""
        fields = self._read_proc(f"{tid}/statm").split()
        return int(fields[1]) * PAGE if len(fields) > 1 else 0

    def thread_cpu_time_ns(self, tid: int, space: PtraceAddressSpace) -> tuple[int, int]:
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
        lib.pe_close(self.engine)
        if self._proc >= 0:
            os.close(self._proc)
            self._proc = -1
