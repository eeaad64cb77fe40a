"""select(2) and pselect(2) (fs/select.c)."""

from __future__ import annotations

from errno import EBADF, EINVAL
from struct import Struct

from runsc.abi.fcntl import O_PATH
from runsc.abi.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)  # fmt: skip
from runsc.abi.time import KTIME_MAX, NSEC_PER_SEC, TIMEVAL, USEC_PER_SEC
from runsc.kernel.clock import copy_in_timespec, pack_timespec
from runsc.kernel.errors import LinuxError
from runsc.kernel.sigmask import copy_in_sigset
from runsc.kernel.syscalls.decl import InOutFdset, Int, InTimespec, InTimeval, Ptr, syscall
from runsc.kernel.syscalls.poll import timed_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

_IN_SET = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR | POLLNVAL
_OUT_SET = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR | POLLNVAL
_EX_SET = POLLPRI | POLLNVAL
_EVENTS = (_IN_SET, _OUT_SET, _EX_SET)

_SIGSET_ARG = Struct("<QQ")


def _table_size(task: Task) -> int:
    """How many descriptors Linux's table would have room for: bits beyond are not looked at
    (alloc_fdtable)."""
    highest = max(task.files.files, default=0)
    return 64 if highest < 64 else 128 << (highest // 128).bit_length()


def _bits(value: int) -> list[int]:
    """The numbers of the bits that are set."""
    found = []
    while value:
        low = value & -value
        found.append(low.bit_length() - 1)
        value ^= low
    return found


class _Selection:
    """What one call waits for: its files, each with the wanted events, and where the sets are."""

    __slots__ = ("addrs", "files", "size", "task", "wanted")

    def __init__(self, task: Task, n: int, addrs: tuple[int, int, int]) -> None:
        if n < 0:
            raise LinuxError(EINVAL)
        n = min(n, _table_size(task))
        self.task = task
        self.addrs = addrs
        self.size = (n + 63) // 64 * 8
        within = (1 << n) - 1
        copy_in = task.mm.copy_in
        sets = [int.from_bytes(copy_in(addr, self.size), "little") & within if addr else 0 for addr in addrs]
        self.wanted: list[tuple[int, int]] = []
        self.files: list[File] = []
        for fd in _bits(sets[0] | sets[1] | sets[2]):
            file = task.files.files.get(fd)
            if file is None or file.flags & O_PATH:
                raise LinuxError(EBADF)
            mask = sum(1 << which for which in range(3) if sets[which] >> fd & 1)
            self.wanted.append((fd, mask))
            self.files.append(file)

    def scan(self) -> tuple[int, list[int]]:
        """How many bits are to be set, and the three sets."""
        found = [0, 0, 0]
        count = 0
        for (fd, mask), file in zip(self.wanted, self.files, strict=True):
            events = file.poll(self.task)
            for which in range(3):
                if mask >> which & 1 and events & _EVENTS[which]:
                    found[which] |= 1 << fd
                    count += 1
        return count, found

    def write_back(self, count: int, found: list[int]) -> int:
        for addr, value in zip(self.addrs, found, strict=True):
            if addr:
                self.task.mm.copy_out(addr, value.to_bytes(self.size, "little"))
        return count

    async def wait(self, deadline: int | None) -> int:
        queues = []
        for (_fd, mask), file in zip(self.wanted, self.files, strict=True):
            queue = file.wait_queue()
            if queue is not None:
                events = POLLERR | POLLHUP
                for which in range(3):
                    if mask >> which & 1:
                        events |= _EVENTS[which]
                queues.append((queue, events))
        for file in self.files:
            file.get()
        try:
            while await self.task.wait_any(queues, deadline):
                count, found = self.scan()
                if count:
                    return self.write_back(count, found)
            return self.write_back(*self.scan())
        finally:
            for file in self.files:
                file.put()


def do_select(task: Task, n: int, addrs: tuple[int, int, int], deadline: int | None, now: bool) -> Result:
    """Look at the three sets until one has something to tell or ``deadline`` is there; ``now``: only look."""
    selection = _Selection(task, n, addrs)
    count, found = selection.scan()
    if count or now:
        return selection.write_back(count, found)
    return selection.wait(deadline)


def _pack_timeval(ns: int) -> bytes:
    return TIMEVAL.pack(ns // NSEC_PER_SEC, ns % NSEC_PER_SEC // 1000)


@syscall(23)
def select(
    task: Task, n: Int, readfds: InOutFdset, writefds: InOutFdset, exceptfds: InOutFdset, timeout: InTimeval
) -> Result:
    """select(2); the time left is written back to ``timeout``."""
    ns = None
    if timeout:
        seconds, microseconds = task.mm.unpack(timeout, TIMEVAL)
        # Linux carries whole seconds out of the microseconds here, then checks the result (kern_select).
        extra = abs(microseconds) // USEC_PER_SEC * (1 if microseconds >= 0 else -1)
        seconds += extra
        microseconds -= extra * USEC_PER_SEC
        if seconds < 0 or microseconds < 0:
            raise LinuxError(EINVAL)
        ns = min(seconds * NSEC_PER_SEC + microseconds * 1000, KTIME_MAX)
    addrs = (readfds, writefds, exceptfds)
    return timed_call(
        task, ns, timeout, _pack_timeval, None, lambda deadline, now: do_select(task, n, addrs, deadline, now)
    )


@syscall(270)
def pselect6(
    task: Task, n: Int, readfds: InOutFdset, writefds: InOutFdset, exceptfds: InOutFdset, timeout: InTimespec,
    sig: Ptr,
) -> Result:  # fmt: skip
    """pselect(2); ``sig`` points to the address and the size of a signal set."""
    mask_addr, mask_size = task.mm.unpack(sig, _SIGSET_ARG) if sig else (0, 0)
    ns = copy_in_timespec(task, timeout) if timeout else None
    mask = copy_in_sigset(task, mask_addr, mask_size)
    addrs = (readfds, writefds, exceptfds)
    return timed_call(
        task, ns, timeout, pack_timespec, mask, lambda deadline, now: do_select(task, n, addrs, deadline, now)
    )
