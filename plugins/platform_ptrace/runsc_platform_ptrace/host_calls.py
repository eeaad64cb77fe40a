"""The host system calls of the platform, for the jail's allow-list.

The stubs are forked from this process and inherit its filter if they are made after the jail is
closed; the calls injected into them are therefore here too.
"""

from __future__ import annotations

from runsc.plugins.availability import HostCall

HOST_CALLS = (
    HostCall("ptrace", "stop, inspect and resume guest threads"),
    HostCall("wait4", "learn which guest thread stopped or ended"),
    HostCall("ppoll", "sleep until a guest thread stops or a host descriptor is ready"),
    HostCall("rt_sigprocmask", "keep SIGCHLD blocked outside of the sleep, so that no stop is missed"),
    HostCall("rt_sigtimedwait", "forget a SIGCHLD whose stop was taken already"),
    HostCall("rt_sigreturn", "return from the SIGCHLD handler"),
    HostCall("rt_sigaction", "give SIGCHLD back when the platform is closed"),
    HostCall("gettid", "tell in the SIGCHLD handler whether this is the loop's thread"),
    HostCall("getpid", "address a passed-on SIGCHLD to this process"),
    HostCall("tgkill", "pass SIGCHLD on to the loop's thread when another thread caught it"),
    HostCall("sched_yield", "let a guest thread on the same processor run while spinning for its stop"),
    HostCall("clock_gettime", "bound spins and waits; CPU time of guest processes"),
    HostCall("kill", "end guest processes"),
    HostCall("process_vm_readv", "read guest memory"),
    HostCall("process_vm_writev", "write guest memory"),
    HostCall("openat", "resident size and CPU times of stubs, below the /proc descriptor opened at start"),
    HostCall("read", "resident size and CPU times of stubs"),
    HostCall("close", "resident size and CPU times of stubs"),
    HostCall("clone", "in a stub: new guest processes and threads"),
    HostCall("exit", "in a stub: end a guest thread"),
    HostCall("mmap", "in a stub: map guest memory"),
    HostCall("munmap", "in a stub: unmap guest memory"),
    HostCall("mprotect", "in a stub: protect guest memory"),
    HostCall("mremap", "in a stub: move guest memory"),
    HostCall("madvise", "in a stub: guest's advice on memory"),
    HostCall("msync", "in a stub: write back guest's file mappings"),
    HostCall("mincore", "in a stub: which guest pages are in core"),
    HostCall("restart_syscall", "in a stub: go on with a call that an ignored signal interrupted"),
)
