"""The host system calls of the platform, for the jail's allow-list.

What stubs do isn't here: every stub descends from the template, which is made before the jail is closed and
has a filter of its own (csrc/filter.c).
"""

from __future__ import annotations

from os import getpid
from signal import SIGCHLD, SIGCONT, SIGKILL, SIGURG

from runsc.plugins.availability import HostCall, argument, int_argument, without

FUTEX_WAKE = 1
NOTIF_RECV = 0xC0502100
NOTIF_SEND = 0xC0182101
MADV_POPULATE_WRITE = 23
F_ADD_SEALS = 1033
MAP_SHARED, MAP_PRIVATE_ANONYMOUS = 1, 0x22
PROT_RW = 3
_WRITING = 0o20001101  # O_WRONLY | O_CREAT | O_TRUNC | __O_TMPFILE


def host_calls() -> tuple[HostCall, ...]:
    """The list for this process."""
    return (
        HostCall("futex", "wake a guest thread that waits in its slot", int_argument(1, FUTEX_WAKE)),
        HostCall("ppoll", "sleep until a guest thread stops or a host descriptor is ready"),
        HostCall("poll", "look for a host call of a stub that wants to be confirmed"),
        HostCall("ioctl", "receive and confirm the host calls that stubs were told to make",
                 int_argument(1, NOTIF_RECV, NOTIF_SEND)),
        HostCall("sched_yield", "let a woken guest thread on the same processor run while spinning for it"),
        HostCall("wait4", "learn which guest process has ended or was stopped from outside"),
        HostCall("waitid", "tell a new guest process from a stranger"),
        HostCall("rt_sigprocmask", "keep SIGCHLD blocked outside of the sleep, so that no end is missed"),
        HostCall("rt_sigreturn", "return from the SIGCHLD handler"),
        HostCall("rt_sigaction", "give SIGCHLD back when the platform is closed"),
        HostCall("gettid", "tell in the SIGCHLD handler whether this is the loop's thread"),
        HostCall("getpid", "address a passed-on SIGCHLD to this process; is it the engine's owner?"),
        HostCall("tgkill", "stop a computing guest thread; does a new thread exist?",
                 without(0, 0x80000000), int_argument(2, 0, SIGURG)),
        HostCall("tgkill", "pass SIGCHLD on to the loop's thread when another thread caught it",
                 int_argument(0, getpid()), int_argument(2, SIGCHLD)),
        HostCall("getcpu", "spin only while a guest runs on another processor (if the vDSO is silent)"),
        HostCall("clock_gettime", "bound spins and waits; CPU time of guest processes"),
        HostCall("pidfd_send_signal", "end guest processes; let one go on that was stopped from outside",
                 int_argument(1, SIGKILL, SIGCONT)),
        HostCall("memfd_create", "memory shared with a new guest process"),
        HostCall("ftruncate", "memory shared with a new guest process"),
        HostCall("fcntl", "fix the size of memory shared with guests", int_argument(1, F_ADD_SEALS)),
        HostCall("mmap", "map memory shared with a new guest process",
                 argument(2, PROT_RW), argument(3, MAP_SHARED, MAP_PRIVATE_ANONYMOUS)),
        HostCall("munmap", "unmap memory shared with a guest process that has ended"),
        HostCall("madvise", "have a slot's memory before writing", int_argument(2, MADV_POPULATE_WRITE)),
        HostCall("process_vm_readv", "read guest memory"),
        HostCall("process_vm_writev", "write guest memory"),
        HostCall("openat", "resident size and CPU times of stubs, their memory for debuggers; below the "
                 "/proc descriptor opened at start", without(2, _WRITING)),
        HostCall("read", "resident size and CPU times of stubs; the event descriptor"),
        HostCall("pwrite64", "a debugger's breakpoints in guest memory"),
        HostCall("close", "resident size and CPU times of stubs; memory shared with guests"),
    )  # fmt: skip
