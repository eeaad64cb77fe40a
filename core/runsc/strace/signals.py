"""siginfo_t in strace's notation, and how a process ended."""

from __future__ import annotations

from struct import Struct

from runsc.abi import signal as s
from runsc.strace.structs import signal_name
from runsc.strace.text import pointer

_HEAD = Struct("<iii4x")
_KILL = Struct("<iIQ")
_CHILD = Struct("<iIi4xqq")
_TIMER = Struct("<iiQ")
_POLL = Struct("<qi")
_CALL = Struct("<QiI")

_GENERAL = {
    s.SI_USER: "SI_USER",
    s.SI_KERNEL: "SI_KERNEL",
    s.SI_QUEUE: "SI_QUEUE",
    s.SI_TIMER: "SI_TIMER",
    s.SI_MESGQ: "SI_MESGQ",
    s.SI_ASYNCIO: "SI_ASYNCIO",
    s.SI_SIGIO: "SI_SIGIO",
    s.SI_TKILL: "SI_TKILL",
}
_SPECIAL = {
    s.SIGILL: (
        "ILL_ILLOPC",
        "ILL_ILLOPN",
        "ILL_ILLADR",
        "ILL_ILLTRP",
        "ILL_PRVOPC",
        "ILL_PRVREG",
        "ILL_COPROC",
        "ILL_BADSTK",
    ),
    s.SIGFPE: (
        "FPE_INTDIV",
        "FPE_INTOVF",
        "FPE_FLTDIV",
        "FPE_FLTOVF",
        "FPE_FLTUND",
        "FPE_FLTRES",
        "FPE_FLTINV",
        "FPE_FLTSUB",
    ),
    s.SIGSEGV: ("SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR"),
    s.SIGBUS: ("BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"),
    s.SIGTRAP: ("TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT"),
    s.SIGCHLD: ("CLD_EXITED", "CLD_KILLED", "CLD_DUMPED", "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"),
    s.SIGIO: ("POLL_IN", "POLL_OUT", "POLL_MSG", "POLL_ERR", "POLL_PRI", "POLL_HUP"),
    s.SIGSYS: ("SYS_SECCOMP", "SYS_USER_DISPATCH"),
}


def code_name(signo: int, code: int) -> str:
    """``si_code`` by name."""
    general = _GENERAL.get(code)
    if general is not None:
        return general
    special = _SPECIAL.get(signo, ())
    if 0 < code <= len(special):
        return special[code - 1]
    return f"{code & 0xFFFFFFFF:#x}"


def siginfo_bytes_text(data: bytes) -> str:
    """A siginfo_t (128 bytes)."""
    signo, errno, code = _HEAD.unpack_from(data)
    if signo == 0:
        return "{}"
    text = f"{{si_signo={signal_name(signo)}, si_code={code_name(signo, code)}"
    if errno:
        text += f", si_errno={errno}"
    if code == s.SI_TIMER:
        timer, overrun, value = _TIMER.unpack_from(data, 16)
        shown = f"{timer:#x}" if timer else "0"
        return f"{text}, si_timerid={shown}, si_overrun={overrun}, {_value(value)}}}"
    if code == s.SI_SIGIO or (signo == s.SIGIO and 0 < code < s.SI_KERNEL):
        band, fd = _POLL.unpack_from(data, 16)
        return f"{text}, si_band={band}, si_fd={fd}}}"
    if signo == s.SIGCHLD and 0 < code < s.SI_KERNEL:
        pid, uid, status, user, system = _CHILD.unpack_from(data, 16)
        shown = str(status) if code == s.CLD_EXITED else signal_name(status)
        return f"{text}, si_pid={pid}, si_uid={uid}, si_status={shown}, si_utime={user}, si_stime={system}}}"
    if signo in (s.SIGILL, s.SIGFPE, s.SIGSEGV, s.SIGBUS, s.SIGTRAP) and code > 0:
        return f"{text}, si_addr={pointer(int.from_bytes(data[16:24], 'little'))}}}"
    if signo == s.SIGSYS and code > 0:
        addr, number, arch = _CALL.unpack_from(data, 16)
        return f"{text}, si_call_addr={pointer(addr)}, si_syscall={number}, si_arch={arch:#x}}}"
    if code == s.SI_KERNEL:
        return text + "}"
    pid, uid, value = _KILL.unpack_from(data, 16)
    if code == s.SI_USER or (code == s.SI_TKILL and not value):
        return f"{text}, si_pid={pid}, si_uid={uid}}}"
    return f"{text}, si_pid={pid}, si_uid={uid}, {_value(value)}}}"


def _value(value: int) -> str:
    number = ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
    return f"si_value={{sival_int={number}, sival_ptr={pointer(value)}}}"


def wait_status_text(status: int) -> str:
    """A wait status, as the macros of wait(2) take it apart."""
    low = status & 0x7F
    if status & 0xFFFF == 0xFFFF:
        return "{WIFCONTINUED(s)}"
    if low == 0x7F:
        return f"{{WIFSTOPPED(s) && WSTOPSIG(s) == {signal_name(status >> 8 & 0xFF)}}}"
    if low == 0:
        return f"{{WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}}}"
    dumped = " && WCOREDUMP(s)" if status & 0x80 else ""
    return f"{{WIFSIGNALED(s) && WTERMSIG(s) == {signal_name(low)}{dumped}}}"


def ending_text(status: int) -> str:
    """How a task ended, by its wait status."""
    if status & 0x7F == 0:
        return f"+++ exited with {status >> 8 & 0xFF} +++"
    dumped = " (core dumped)" if status & 0x80 else ""
    return f"+++ killed by {signal_name(status & 0x7F)}{dumped} +++"
