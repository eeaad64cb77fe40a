"""The host system calls of the platform, for the jail's allow-list."""

from __future__ import annotations

from os import getpid

from runsc.plugins.availability import HostCall, argument, int_argument
from runsc_platform_kvm._engine import lib

#: ioctl(2) requests on the virtual machine and its CPUs (linux/kvm.h). All act on what a descriptor stands
#: for that was opened before the jail was closed, or was made by one of these.
REQUESTS = {
    "KVM_CREATE_VCPU": 0xAE41,
    "KVM_RUN": 0xAE80,
    "KVM_SET_USER_MEMORY_REGION": 0x4020AE46,
    "KVM_SET_CPUID2": 0x4008AE90,
    "KVM_GET_SREGS": 0x8138AE83,
    "KVM_SET_SREGS": 0x4138AE84,
    "KVM_SET_MSRS": 0x4008AE89,
    "KVM_SET_XCRS": 0x4188AEA7,
    "KVM_GET_XSAVE": 0x9000AEA4,
    "KVM_GET_XSAVE2": 0x9000AECF,
    "KVM_SET_XSAVE": 0x5000AEA5,
    "KVM_GET_FPU": 0x81A0AE8C,
    "KVM_GET_VCPU_EVENTS": 0x8040AE9F,
    "KVM_SET_VCPU_EVENTS": 0x4040AEA0,
}

#: A thread as the C library makes it: CLONE_VM FS FILES SIGHAND THREAD SYSVSEM SETTLS PARENT_SETTID
#: CHILD_CLEARTID, and nothing else.
THREAD_FLAGS = 0x3D0F00


def host_calls() -> tuple[HostCall, ...]:
    """The list for this process."""
    return (
        HostCall("ioctl", "run virtual CPUs, make them, set their registers; memory slots",
                 int_argument(1, *REQUESTS.values())),
        HostCall("clone", "a thread for a virtual CPU", argument(0, THREAD_FLAGS)),
        HostCall("set_robust_list", "start of a thread"),
        HostCall("rseq", "start of a thread"),
        HostCall("gettid", "a virtual CPU's thread learns where kicks are to go"),
        HostCall("rt_sigprocmask", "threads of virtual CPUs take no signals but the kick"),
        HostCall("rt_sigreturn", "end of the kick's handler, and of SIGBUS's"),
        HostCall("rt_sigaction", "give SIGBUS back when the platform is closed"),
        HostCall("tgkill", "kick a virtual CPU",
                 int_argument(0, getpid()), int_argument(2, lib.KV_KICK_SIGNAL)),
        HostCall("futex", "orders for the threads of virtual CPUs, locks"),
        HostCall("ppoll", "sleep until a guest stops or a host descriptor is ready"),
        HostCall("poll", "look at the host's descriptors while guests are busy"),
        HostCall("read", "the event that ends the sleep"),
        HostCall("write", "the event that ends the sleep"),
        HostCall("sched_yield", "let a guest on the same processor run while spinning for its stop"),
        HostCall("clock_gettime", "bound spins and waits; CPU time of guest threads"),
        HostCall("mmap", "map donated files into guest memory; a virtual CPU's registers"),
        HostCall("mprotect", "more guest memory; take a guest's translations away"),
        HostCall("mremap", "a file's mapping that becomes longer"),
        HostCall("madvise", "give guest memory back; take a guest's translations away; madvise(2) on files"),
        HostCall("mincore", "mincore(2) on files"),
        HostCall("msync", "msync(2)"),
        HostCall("memfd_create", "shared anonymous memory"),
        HostCall("ftruncate", "shared anonymous memory"),
        HostCall("close", "descriptors"),
    )  # fmt: skip
