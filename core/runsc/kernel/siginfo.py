"""siginfo_t as the kernel carries it, and the queues in which signals wait."""

from __future__ import annotations

from struct import Struct

from runsc.abi.signal import (
    SI_KERNEL,
    SI_SIGIO,
    SI_TIMER,
    SIGBUS,
    SIGCHLD,
    SIGFPE,
    SIGILL,
    SIGINFO_HEAD,
    SIGINFO_SIZE,
    SIGIO,
    SIGRTMIN,
    SIGSEGV,
    SIGSYS,
    SIGTRAP,
    bit,
)

_KILL = Struct("<iIQ")  # pid, uid, value
_CHILD = Struct("<iIi4xqq")  # pid, uid, status, utime, stime (clock ticks)
_FAULT = Struct("<Q")
_TIMER = Struct("<iiQ")  # timer id, overrun, value
_POLL = Struct("<qi4x")  # band, fd
_SECCOMP = Struct("<QiI")  # call address, number, architecture


class SigInfo:
    """A signal and what is known of it. ``raw``: a siginfo_t that came whole from rt_sigqueueinfo(2)."""

    __slots__ = (
        "addr",
        "band",
        "code",
        "errno",
        "fd",
        "overrun",
        "pid",
        "raw",
        "signo",
        "status",
        "stime",
        "timer_id",
        "uid",
        "utime",
        "value",
    )

    def __init__(
        self,
        signo: int,
        code: int = 0,
        pid: int = 0,
        uid: int = 0,
        status: int = 0,
        utime: int = 0,
        stime: int = 0,
        value: int = 0,
        addr: int = 0,
        timer_id: int = 0,
        overrun: int = 0,
        band: int = 0,
        fd: int = 0,
        errno: int = 0,
        raw: bytes | None = None,
    ) -> None:
        self.signo = signo
        self.code = code
        self.pid = pid
        self.uid = uid
        self.status = status
        self.utime = utime
        self.stime = stime
        self.value = value
        self.addr = addr
        self.timer_id = timer_id
        self.overrun = overrun
        self.band = band
        self.fd = fd
        self.errno = errno
        self.raw = raw

    def pack(self) -> bytes:
        """The 128 bytes of siginfo_t (the union's member follows from signal and code: siginfo_layout)."""
        if self.raw is not None:
            return SIGINFO_HEAD.pack(self.signo, self.errno, self.code) + self.raw[16:SIGINFO_SIZE].ljust(
                112, b"\0"
            )
        head = SIGINFO_HEAD.pack(self.signo, self.errno, self.code)
        if self.code == SI_TIMER:
            tail = _TIMER.pack(self.timer_id, self.overrun, self.value)
        elif self.code == SI_SIGIO or self.band or (self.signo == SIGIO and 0 < self.code < SI_KERNEL):
            tail = _POLL.pack(self.band, self.fd)
        elif 0 < self.code < SI_KERNEL and self.signo == SIGCHLD:
            tail = _CHILD.pack(self.pid, self.uid, self.status, self.utime, self.stime)
        elif self.code > 0 and self.signo == SIGSYS:
            tail = _SECCOMP.pack(self.addr, self.value, 0xC000003E)
        elif self.code > 0 and self.signo in (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP):
            tail = _FAULT.pack(self.addr)
        else:
            tail = _KILL.pack(self.pid, self.uid, self.value & 0xFFFFFFFFFFFFFFFF)
        return (head + tail).ljust(SIGINFO_SIZE, b"\0")

    def with_uid(self, uid: int) -> SigInfo:
        """The same with the sender's user id as the receiver's user namespace has it."""
        if self.raw is not None:
            raw = self.raw[:20] + uid.to_bytes(4, "little") + self.raw[24:]
            return SigInfo(self.signo, self.code, errno=self.errno, raw=raw)
        return SigInfo(
            self.signo,
            self.code,
            self.pid,
            uid,
            self.status,
            self.utime,
            self.stime,
            self.value,
            errno=self.errno,
        )

    def from_nobody(self) -> SigInfo:
        """The same without the sender's process id, where it has one."""
        if self.raw is not None:
            if self.code in (SI_TIMER, SI_SIGIO) or 0 < self.code < SI_KERNEL:
                return self
            raw = self.raw[:16] + bytes(4) + self.raw[20:]
            return SigInfo(self.signo, self.code, errno=self.errno, raw=raw)
        if not self.pid:
            return self
        return SigInfo(
            self.signo,
            self.code,
            0,
            self.uid,
            self.status,
            self.utime,
            self.stime,
            self.value,
            errno=self.errno,
        )

    def __repr__(self) -> str:
        return f"SigInfo({self.signo}, code={self.code}, pid={self.pid})"


class SignalQueue:
    """Pending signals: a set, and for each the infos that wait (one for the classic signals)."""

    __slots__ = ("infos", "pending")

    def __init__(self) -> None:
        self.pending = 0
        self.infos: dict[int, list[SigInfo]] = {}

    def add(self, info: SigInfo) -> bool:
        """Queue a signal; False if it is a classic one that is pending already."""
        signo = info.signo
        if self.pending & bit(signo):
            if signo < SIGRTMIN:
                return False
            self.infos[signo].append(info)
            return True
        self.pending |= bit(signo)
        self.infos[signo] = [info]
        return True

    def take(self, mask: int) -> SigInfo | None:
        """The next signal of ``mask``: faults first, then the lowest number (kernel: next_signal)."""
        wanted = self.pending & mask
        if not wanted:
            return None
        from runsc.abi.signal import SYNCHRONOUS

        first = wanted & SYNCHRONOUS or wanted
        signo = (first & -first).bit_length()
        infos = self.infos[signo]
        info = infos.pop(0)
        if not infos:
            del self.infos[signo]
            self.pending &= ~bit(signo)
        return info

    def discard(self, mask: int) -> None:
        """Forget every pending signal of ``mask``."""
        gone = self.pending & mask
        while gone:
            signo = (gone & -gone).bit_length()
            gone &= gone - 1
            del self.infos[signo]
        self.pending &= ~mask

    def count(self) -> int:
        """How many signals are queued."""
        return sum(len(infos) for infos in self.infos.values())
