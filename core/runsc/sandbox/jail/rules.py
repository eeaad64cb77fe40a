"""From declarations to an allow-list, with the rules that no declaration can get around.

What is declared is reviewed one by one; what stands here holds for all of them: calls nobody may make, calls
that only one kind of plugin may make, calls that must say with which arguments, and checks that are
added to whoever declares them.
"""

from __future__ import annotations

from runsc.abi.syscalls import NUMBERS
from runsc.errors import RunscError
from runsc.plugins.availability import ArgCheck, descriptor, having, without

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runsc.plugins.availability import HostCall
    from runsc.sandbox.jail.bpf import AllowList

_PROT_EXEC = 4
_O_NOFOLLOW = 0o400000

#: No program is started, nothing is reached by an absolute path alone, no right is gained, no name space
#: or mount is changed, the host isn't administered, and there is no second way to make calls (io_uring).
FORBIDDEN = frozenset(
    """
    execve execveat fork vfork uselib personality seccomp
    open creat stat lstat access readlink truncate statfs chdir fchdir chroot mkdir rmdir link unlink symlink
    rename chmod chown lchown mknod utime utimes acct
    setxattr lsetxattr getxattr lgetxattr listxattr llistxattr removexattr lremovexattr
    name_to_handle_at open_by_handle_at
    mount umount2 pivot_root unshare setns move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset
    keyctl add_key request_key
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    init_module finit_module delete_module create_module kexec_load kexec_file_load reboot swapon swapoff
    sethostname setdomainname settimeofday clock_settime adjtimex clock_adjtime iopl ioperm quotactl
    quotactl_fd syslog vhangup nfsservctl fanotify_init lookup_dcookie modify_ldt
    pidfd_open pidfd_getfd process_madvise process_mrelease kcmp move_pages migrate_pages
    tkill rt_sigqueueinfo rt_tgsigqueueinfo setpriority sched_setaffinity sched_setscheduler sched_setattr
    pkey_mprotect remap_file_pages shmat shmget semget msgget mq_open
    """.split()  # noqa: SIM905 - a list of words reads better than one of quotes
)

#: Calls that plugins of one kind only may declare.
RESERVED = {
    **dict.fromkeys(
        ("ptrace", "process_vm_readv", "process_vm_writev", "clone", "clone3", "kill", "pidfd_send_signal"),
        "platform",
    ),
    **dict.fromkeys(("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"), "network"),
}

#: Calls that are several in one: which of them must be said.
NEEDS_CHECKS = frozenset(
    ("ioctl", "fcntl", "prctl", "ptrace", "kill", "pidfd_send_signal", "tgkill", "clone", "prlimit64")
)

#: Added to every declaration. A name is looked up by a descriptor that is held; nothing opened is a symbolic
#: link; no memory of the process is ever executable that wasn't when the jail was closed.
IMPLIED: dict[str, tuple[ArgCheck, ...]] = {
    **dict.fromkeys(
        (
            "newfstatat", "mkdirat", "mknodat", "unlinkat", "readlinkat", "fchmodat", "fchmodat2", "fchownat",
            "utimensat", "faccessat", "faccessat2", "statx",
        ),
        (descriptor(0),),
    ),
    "openat": (descriptor(0), having(2, _O_NOFOLLOW)),
    "openat2": (descriptor(0),),
    "symlinkat": (descriptor(1),),
    "linkat": (descriptor(0), descriptor(2)),
    "renameat": (descriptor(0), descriptor(2)),
    "renameat2": (descriptor(0), descriptor(2)),
    "mmap": (without(2, _PROT_EXEC),),
    "mprotect": (without(2, _PROT_EXEC),),
}  # fmt: skip

CORE = "core"


def allow_list(declared: Iterable[tuple[str, str, Iterable[HostCall]]]) -> AllowList:
    """What may be called, from (kind of plugin or ``CORE``, who declares it, the declarations).

    Raises ``RunscError`` that names who declared what can't be allowed.
    """
    allowed: AllowList = {}
    for kind, who, calls in declared:
        for call in calls:
            name = call.name
            number = NUMBERS.get(name)
            if number is None:
                raise _refused(who, name, "there is no such call")
            if name in FORBIDDEN:
                raise _refused(who, name, "nobody may make it")
            if kind != CORE and RESERVED.get(name, kind) != kind:
                raise _refused(who, name, f"only a {RESERVED[name]} may make it")
            if name in NEEDS_CHECKS and not call.checks:
                raise _refused(who, name, "it must say with which arguments")
            allowed.setdefault(number, []).append((*IMPLIED.get(name, ()), *call.checks))
    return allowed


def absent_calls(allowed: AllowList) -> list[int]:
    """Calls that are to look as if the host's kernel hadn't got them: the C library then makes an older one.

    clone3 has its flags in memory, where no filter sees them; clone has them in a register."""
    clone, clone3 = NUMBERS["clone"], NUMBERS["clone3"]
    return [clone3] if clone in allowed and clone3 not in allowed else []


def _refused(who: str, name: str, why: str) -> RunscError:
    return RunscError(f"{who} asks for the host call {name}: {why}", "update the plugin, or choose another")
