"""The contract of a platform plugin.

A platform runs guest code and reports when it stops.  It knows nothing of
Linux: the kernel decides what a stop means.  Three kinds of object:

``Platform``
    one per sandbox; makes address spaces and waits for events.
``AddressSpace``
    one per guest ``mm``; maps, protects, forks, reads and writes guest memory.
``Thread``
    one per guest task; registers, resumed and stopped.

Ownership and threads
    Everything here is called from the kernel's one loop thread and from no
    other.  A ``Thread`` is *stopped* from the moment ``Platform.wait`` returns
    it until ``complete`` or ``resume`` is called on it; registers may be read
    and written only while it is stopped.  A new thread (``fork``, ``spawn``,
    ``new_thread``) is born stopped.  The kernel calls ``release`` exactly once
    on every thread and every address space it was given.

Errors
    Methods that touch the guest's address space raise ``OSError`` with the
    errno that Linux would give the guest (ENOMEM, EINVAL, EACCES...).  If the host
    process behind an address space is gone, they raise ``AddressSpaceGone``.
    Nothing else may be raised; a platform never dies of what a guest did.

Trust
    The guest may have written anything a guest can write.  What a platform
    hands over (``nr``, ``args``, ``fault``, registers) is a copy that the
    guest can no longer change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    from runsc.plugins.availability import Availability, HostCall

    #: (argument that is the address, COPY_*, size, argument that counts): see ``Platform.prepare``
    CopyAhead: TypeAlias = tuple[int, int, int, int]

#: The version of this contract; a plugin declares the one it was written for.
API_VERSION = 1

# What a thread stopped for (``Thread.event``).
SYSCALL = 1  #: executed ``syscall``: ``nr`` and ``args`` are set, rip is behind the instruction
FAULT = 2  #: a synchronous exception: ``fault`` is set
INTERRUPTED = 3  #: ``interrupt`` took effect; registers are at an instruction boundary
DEAD = 4  #: the host ended it from outside (out-of-memory kill...); only ``release`` may follow

# What lies at an address that a system call names.
COPY_FIXED = 1  #: ``size`` bytes
COPY_STRING = 2  #: a string, of which the first 256 bytes within the page are worth copying
COPY_COUNTED = 3  #: ``size`` bytes times the counting argument


class AddressSpaceGone(Exception):
    """The host process that holds the address space no longer exists."""


class Fault:
    """A synchronous exception, in the terms of ``siginfo_t``.

    ``signo``: SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGTRAP; ``code``: ``si_code``;
    ``addr``: ``si_addr`` (the faulting data address, or the instruction);
    ``trapno``, ``err``: the processor's vector and error code, as a signal
    frame shows them (0 where the platform cannot know).
    """

    __slots__ = ("addr", "code", "err", "signo", "trapno")

    def __init__(self, signo: int, code: int, addr: int, trapno: int = 0, err: int = 0) -> None:
        self.signo = signo
        self.code = code
        self.addr = addr
        self.trapno = trapno
        self.err = err

    def __repr__(self) -> str:
        return f"Fault(signo={self.signo}, code={self.code}, addr={self.addr:#x})"


class Thread(ABC):
    """A guest thread: registers that run until something happens.

    ``owner`` belongs to the kernel (its task).  ``nr`` (signed 32 bit) and ``args``
    (six unsigned 64-bit integers) are valid after a SYSCALL event.
    """

    __slots__ = ("args", "event", "fault", "nr", "owner")

    owner: Any
    event: int
    nr: int
    args: tuple[int, int, int, int, int, int]
    fault: Fault | None

    @abstractmethod
    def complete(self, result: int) -> None:
        """Set the system call's result (a value, or -errno) and let the thread go on.

        Preconditions: stopped, last event was SYSCALL, registers not replaced since.
        The platform may defer the work to the next ``Platform.wait``.
        """

    @abstractmethod
    def resume(self) -> None:
        """Let the thread go on with the registers as they are (``set_regs``).

        The platform may defer the work to the next ``Platform.wait``.
        """

    @abstractmethod
    def get_regs(self) -> list[int]:
        """A copy of the registers, in the order of ``runsc.abi.registers``.

        After a SYSCALL event ``orig_rax`` is the number and ``rax`` is -ENOSYS,
        as ptrace(2) shows them; rcx and r11 hold what the instruction left.
        """

    @abstractmethod
    def set_regs(self, regs: Sequence[int]) -> None:
        """Replace the registers (27 values).

        Segment selectors, non-canonical addresses and privileged flag bits are
        put right by the platform: the values may come from a guest's sigreturn.
        """

    @abstractmethod
    def get_fpu(self) -> bytes:
        """The XSAVE area in standard (not compacted) form, as PTRACE_GETREGSET NT_X86_XSTATE
        gives it: the first 8 bytes of ``sw_reserved`` (offset 464) hold XCR0."""

    @abstractmethod
    def set_fpu(self, area: bytes) -> None:
        """Replace FPU state; ``area`` is as from ``get_fpu`` or a 512-byte FXSAVE area.

        The header and MXCSR are sanitised by the platform. Raises OSError(EINVAL) if the area
        cannot be made sense of; state is then unchanged.
        """

    @abstractmethod
    def interrupt(self) -> None:
        """Make a running thread stop soon, with INTERRUPTED (or another event that
        came first). Does nothing to a stopped thread; at most one INTERRUPTED follows."""

    @abstractmethod
    def release(self) -> None:
        """End the thread, running or stopped; no event of it is returned afterwards.

        Idempotent; never raises.
        """

    def host_pid(self) -> int:
        """The host's id of the thread for diagnosis, or 0 where there is none."""
        return 0

    def cpu_time_ns(self) -> tuple[int, int]:
        """(user, system) CPU time the guest thread has used, in ns; (0, 0) if unknown."""
        return (0, 0)


class AddressSpace(ABC):
    """A guest's memory. The kernel keeps the list of areas; the platform does the paging.

    Addresses and lengths given here are page-aligned and within
    ``[min_address, task_size)``; the kernel checks the guest's.  Mappings are
    always at the address given and replace what was there (MAP_FIXED).  The
    platform's own pages lie outside that range.
    """

    __slots__ = ()

    min_address: int
    task_size: int
    #: (start, end, name) of areas present from birth that the kernel must list: [vvar], [vdso].
    initial_areas: Sequence[tuple[int, int, str]]
    #: Address of the vDSO's ELF header for AT_SYSINFO_EHDR, or 0.
    vdso: int

    @abstractmethod
    def map(self, addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> None:
        """Map ``fd`` (a sentry descriptor; -1: anonymous memory) at ``addr``.

        ``prot``: PROT_*; ``flags``: MAP_PRIVATE or MAP_SHARED, perhaps with
        MAP_NORESERVE, MAP_POPULATE, MAP_LOCKED, MAP_GROWSDOWN is never passed on.
        ``fd`` may be closed by the caller as soon as the call is back.
        """

    @abstractmethod
    def unmap(self, addr: int, length: int) -> None: ...

    @abstractmethod
    def protect(self, addr: int, length: int, prot: int) -> None: ...

    @abstractmethod
    def move(self, old: int, old_len: int, new: int, new_len: int, keep: bool = False) -> None:
        """mremap(MAYMOVE|FIXED): move the pages; ``keep`` leaves the old range mapped and
        empty (MREMAP_DONTUNMAP). ``old == new`` resizes in place."""

    @abstractmethod
    def advise(self, addr: int, length: int, advice: int) -> None:
        """madvise(2) of the host; the kernel passes on only advice that affects pages."""

    @abstractmethod
    def sync(self, addr: int, length: int, flags: int) -> None:
        """msync(2) of the host."""

    @abstractmethod
    def residency(self, addr: int, length: int) -> bytes:
        """mincore(2): one byte a page."""

    @abstractmethod
    def read(self, addr: int, length: int) -> bytes:
        """Up to ``length`` bytes; shorter (perhaps empty) where the next page can't be read.

        Any address may be asked for; those outside the guest's range read as nothing.
        """

    @abstractmethod
    def write(self, addr: int, data: bytes | bytearray | memoryview) -> int:
        """Write as much as is writable by the guest; how many bytes were.

        Pages that the guest cannot write (read-only, the platform's own) are
        never written.
        """

    @abstractmethod
    def poke(self, addr: int, data: bytes) -> int:
        """Like ``write``, but also into private pages that the guest may not write
        (a debugger's breakpoint: FOLL_FORCE)."""

    @abstractmethod
    def compare_exchange(self, addr: int, expected: int, new: int) -> int:
        """Atomically, on the guest's 32-bit word at ``addr`` (4-aligned): if it is
        ``expected``, make it ``new``. The value found. Raises OSError(EFAULT)."""

    @abstractmethod
    def new_thread(self) -> Thread:
        """The first thread of an address space made by ``Platform.new_address_space``;
        all registers zero."""

    @abstractmethod
    def spawn(self, parent: Thread) -> Thread:
        """Another thread in this address space, with a copy of the registers and
        FPU state of ``parent`` (stopped, in this address space)."""

    @abstractmethod
    def fork(self, parent: Thread) -> tuple[AddressSpace, Thread]:
        """A copy-on-write copy of the memory, with one thread that has a copy of the
        registers and FPU state of ``parent``."""

    @abstractmethod
    def reset(self) -> None:
        """Unmap everything except ``initial_areas`` (exec in place).

        Preconditions: exactly one thread is left, and it is stopped.
        """

    @abstractmethod
    def resident_bytes(self) -> int:
        """Memory of the guest in core now (VmRSS), in bytes."""

    @abstractmethod
    def release(self) -> None:
        """End the address space and all threads in it. Idempotent; never raises."""


class Platform(ABC):
    """How guest code is run. Chosen by ``--platform=NAME``."""

    __slots__ = ()

    #: The name users choose it by.
    name: str
    #: The contract version the plugin was written for.
    api_version: int = API_VERSION

    @classmethod
    @abstractmethod
    def check(cls) -> Availability:
        """Does it work here, for this user?  Tries it for real, quickly, and leaves nothing."""

    @classmethod
    def host_calls(cls) -> Sequence[HostCall]:
        """The host system calls it makes once the sandbox runs, each with its reason."""
        return ()

    def capabilities(self) -> Sequence[int]:
        """The Linux capabilities (CAP_* numbers) it needs once the sandbox runs, if the user has them.

        Everything else is given up. Asked when the jail is closed."""
        return ()

    @abstractmethod
    def new_address_space(self) -> AddressSpace:
        """An empty address space (nothing mapped except ``initial_areas``)."""

    def prepare(self, nr: int, ranges: Sequence[CopyAhead]) -> None:  # noqa: B027
        """From now on, the handler of system call ``nr`` will read these ranges of the caller's memory.

        A platform may copy them when the call is made, and answer ``AddressSpace.read`` from the copy
        until the thread goes on or ``wait`` is called. It need not, and may leave out any of them.
        """

    @abstractmethod
    def wait(self, poll_fd: int, timeout_ns: int) -> Thread | None:
        """The next thread that stopped, with its ``event`` set.

        None when ``poll_fd`` (an epoll descriptor) is readable, when ``timeout_ns`` has
        passed (-1: never; 0: only look), or when the host interrupted the wait.
        Guest events and ``poll_fd`` are served fairly: neither starves the other.
        """

    @abstractmethod
    def close(self) -> None:
        """End every guest thread and free what the platform holds. Idempotent."""
