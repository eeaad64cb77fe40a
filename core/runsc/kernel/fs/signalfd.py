"""signalfd(2) (fs/signalfd.c): signals as data. Whoever reads takes from its own pending signals."""

from __future__ import annotations

from errno import EINVAL
from struct import Struct

from runsc.abi.fcntl import O_RDWR
from runsc.abi.poll import POLLIN
from runsc.abi.signal import SI_QUEUE, SI_TIMER, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGIO, SIGSEGV, SIGTRAP
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.anon import AnonFile
from runsc.kernel.signal import dequeue
from runsc.kernel.wait import WaitEntry, WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.siginfo import SigInfo
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode

#: struct signalfd_siginfo: signo, errno, code, pid, uid, fd, tid, band, overrun, trapno, status, int, ptr,
#: utime, stime, addr, addr_lsb; 128 bytes.
SIGNALFD_SIGINFO = Struct("<IiiIIiIIIIiiQQQQH46x")
#: si_value in a siginfo_t that came whole from the guest.
_RAW = Struct("<16xiIQ")
_SIZE = 128
_U64 = 0xFFFFFFFFFFFFFFFF


def pack_siginfo(info: SigInfo) -> bytes:
    """A signal as signalfd tells it (signalfd_copyinfo)."""
    if info.raw is not None:
        pid, uid, value = _RAW.unpack_from(info.raw.ljust(32, b"\0"))
    else:
        pid, uid, value = info.pid, info.uid, info.value
    fault = info.signo in (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP) and info.code > 0
    child = info.signo == SIGCHLD and info.code > 0
    timer = info.code == SI_TIMER
    band = info.band & 0xFFFFFFFF if info.signo == SIGIO else 0
    low = value & 0xFFFFFFFF
    with_value = info.raw is not None or info.code == SI_QUEUE or timer
    return SIGNALFD_SIGINFO.pack(
        info.signo, info.errno, info.code, 0 if timer else pid & 0xFFFFFFFF, 0 if timer else uid & 0xFFFFFFFF,
        info.fd, info.timer_id & 0xFFFFFFFF if timer else 0, band,
        info.overrun & 0xFFFFFFFF if timer else 0, 0, info.status if child else 0,
        (low ^ 0x80000000) - 0x80000000 if with_value else 0, value & _U64 if with_value else 0,
        info.utime if child else 0, info.stime if child else 0, info.addr & _U64 if fault else 0, 0,
    )  # fmt: skip


class SignalFd(AnonFile):
    """Reads the signals of ``mask`` as records.

    Which signals those are depends on who asks. ``relays``: the queues that arrivals wake in the processes
    that have asked so far (a descriptor may be inherited), each with the entry that passes them on to
    ``queue``.
    """

    __slots__ = ("mask", "queue", "relays")

    def __init__(self, inode: Inode, flags: int, task: Task, mask: int) -> None:
        super().__init__(inode, O_RDWR | flags)
        self.mask = mask
        self.queue = WaitQueue()
        self.relays: dict[WaitQueue, WaitEntry] = {}
        self._listen(task)

    def _listen(self, task: Task) -> None:
        arrival = task.sighand.arrival
        if arrival not in self.relays:
            entry = self.relays[arrival] = WaitEntry(self._arrived)
            arrival.add(entry)

    def _arrived(self, mask: int) -> None:
        self.queue.wake(POLLIN)

    def release(self) -> None:
        for arrival, entry in self.relays.items():
            arrival.remove(entry)
        self.relays.clear()

    def read(self, task: Task, count: int) -> bytes:
        """As many pending signals as fit; raises EINVAL if none would, ``WOULD_BLOCK``."""
        if count < _SIZE:
            raise LinuxError(EINVAL)
        self._listen(task)
        records: list[bytes] = []
        while len(records) < count // _SIZE:
            info = dequeue(task, self.mask)
            if info is None:
                break
            records.append(pack_siginfo(info))
        if not records:
            raise WOULD_BLOCK
        return b"".join(records)

    def write(self, task: Task, data: bytes) -> int:
        raise LinuxError(EINVAL)

    def poll(self, task: Task | None = None) -> int:
        if task is None:
            return 0
        self._listen(task)
        return POLLIN if (task.pending.pending | task.group.pending.pending) & self.mask else 0

    def wait_queue(self) -> WaitQueue:
        return self.queue

    def describe(self) -> str:
        return "anon_inode:[signalfd]"

    def fdinfo(self) -> str:
        return f"sigmask:\t{self.mask:016x}\n"
