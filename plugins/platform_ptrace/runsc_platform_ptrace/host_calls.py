"""The host system calls of the platform, for the jail's allow-list.

What is injected into stubs isn't here: every stub descends from the template, which is made before the
jail is closed and has a filter of its own (``csrc/filter.c``).
"""

from __future__ import annotations

from os import getpid
from signal import SIGCHLD, SIGKILL

from runsc.plugins.availability import HostCall, argument, int_argument, without
from runsc_platform_ptrace._engine import lib

#: ptrace(2) requests on tracees we have. None of them makes one of another process: a stub's children are
#: traced from birth (CLONE_PTRACE).
REQUESTS = {
    "PEEKDATA": 2,
    "POKEDATA": 5,
    "POKEUSER": 6,
    "CONT": 7,
    "KILL": 8,
    "GETREGS": 12,
    "SETREGS": 13,
    "SYSEMU": 31,
    "GETSIGINFO": 0x4202,
    "GETREGSET": 0x4204,
    "SETREGSET": 0x4205,
    "INTERRUPT": 0x4207,
    "GET_SYSCALL_INFO": 0x420E,
}
_WRITING = 0o20001103  # O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | __O_TMPFILE


def host_calls() -> tuple[HostCall, ...]:
    """The list for this process. On an old kernel, it takes kill(2) to end guest processes."""
    calls = _calls()
    if not lib.pe_kills_by_ptrace():
        kill = HostCall("kill", "end guest processes", without(0, 0x80000000), int_argument(1, SIGKILL))
        calls = (*calls, kill)
    return calls


def _calls() -> tuple[HostCall, ...]:
    return (
        HostCall("ptrace", "stop, inspect and resume guest threads", argument(0, *REQUESTS.values())),
        HostCall("wait4", "learn which guest thread stopped or ended"),
        HostCall("ppoll", "sleep until a guest thread stops or a host descriptor is ready"),
        HostCall("rt_sigprocmask", "keep SIGCHLD blocked outside of the sleep, so that no stop is missed"),
        HostCall("rt_sigtimedwait", "forget a SIGCHLD whose stop was taken already"),
        HostCall("rt_sigreturn", "return from the SIGCHLD handler"),
        HostCall("rt_sigaction", "give SIGCHLD back when the platform is closed"),
        HostCall("gettid", "tell in the SIGCHLD handler whether this is the loop's thread"),
        HostCall("getpid", "address a passed-on SIGCHLD to this process; is it the engine's owner?"),
        HostCall("tgkill", "pass SIGCHLD on to the loop's thread when another thread caught it",
                 int_argument(0, getpid()), int_argument(2, SIGCHLD)),
        HostCall("sched_yield", "let a guest thread on the same processor run while spinning for its stop"),
        HostCall("clock_gettime", "bound spins and waits; CPU time of guest processes"),
        HostCall("process_vm_readv", "read guest memory"),
        HostCall("process_vm_writev", "write guest memory"),
        HostCall("openat", "resident size and CPU times of stubs, below the /proc descriptor opened at start",
                 without(2, _WRITING)),
        HostCall("read", "resident size and CPU times of stubs"),
        HostCall("close", "resident size and CPU times of stubs"),
    )  # fmt: skip
