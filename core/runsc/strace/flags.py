"""The names of flags and constants, by the name that a declaration's ``detail`` uses.

Order matters in a ``Flags``: it is the order in which strace prints them.
"""

from __future__ import annotations

from runsc.abi import fcntl as f
from runsc.abi import poll as p
from runsc.abi import prctl as pr
from runsc.abi import signal as signal_numbers
from runsc.strace.text import Enum, Flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _bits(prefix: str, text: str, first: int = 0) -> list[tuple[int, str]]:
    """Names for consecutive bits; a dash skips one."""
    return [(1 << first + i, prefix + name) for i, name in enumerate(text.split()) if name != "-"]


def _values(prefix: str, text: str, first: int = 0) -> dict[int, str]:
    """Names for consecutive values; a dash skips one."""
    return {first + i: prefix + name for i, name in enumerate(text.split()) if name != "-"}


_ACCESS_MODE = Enum("O_???", {0: "O_RDONLY", 1: "O_WRONLY", 2: "O_RDWR", 3: "O_ACCMODE"})

OPEN = Flags(
    "O_???",
    [
        (f.O_CREAT, "O_CREAT"),
        (f.O_EXCL, "O_EXCL"),
        (f.O_NOCTTY, "O_NOCTTY"),
        (f.O_TRUNC, "O_TRUNC"),
        (f.O_APPEND, "O_APPEND"),
        (f.O_NONBLOCK, "O_NONBLOCK"),
        (f.O_SYNC, "O_SYNC"),
        (f.O_DSYNC, "O_DSYNC"),
        (f.O_SYNC & ~f.O_DSYNC, "__O_SYNC"),
        (f.O_DIRECT, "O_DIRECT"),
        (f.O_LARGEFILE, "O_LARGEFILE"),
        (f.O_NOFOLLOW, "O_NOFOLLOW"),
        (f.O_NOATIME, "O_NOATIME"),
        (f.O_CLOEXEC, "O_CLOEXEC"),
        (f.O_PATH, "O_PATH"),
        (f.O_TMPFILE, "O_TMPFILE"),
        (f.O_TMPFILE & ~f.O_DIRECTORY, "__O_TMPFILE"),
        (f.O_DIRECTORY, "O_DIRECTORY"),
        (f.O_ASYNC, "FASYNC"),
    ],
    field=(f.O_ACCMODE, _ACCESS_MODE),
)
#: O_* flags without an access mode: pipe2, dup3, eventfd2, inotify_init1...
FILE_FLAGS = Flags("O_???", OPEN.names)

_STATX_SYNC = Enum(
    "AT_STATX_???",
    {0: "AT_STATX_SYNC_AS_STAT", 0x2000: "AT_STATX_FORCE_SYNC", 0x4000: "AT_STATX_DONT_SYNC"},
)
_AT = [
    (0x100, "AT_SYMLINK_NOFOLLOW"),
    (0x200, "AT_REMOVEDIR"),
    (0x400, "AT_SYMLINK_FOLLOW"),
    (0x800, "AT_NO_AUTOMOUNT"),
    (0x1000, "AT_EMPTY_PATH"),
    (0x8000, "AT_RECURSIVE"),
]

SIGNALS = {
    **dict(enumerate(signal_numbers.NAMES[1:], 1)),
    signal_numbers.SIGRTMIN: "SIGRTMIN",
    **{number: f"SIGRT_{number - 32}" for number in range(33, 65)},
}

CLOCKS = Enum(
    "CLOCK_???",
    _values(
        "CLOCK_",
        "REALTIME MONOTONIC PROCESS_CPUTIME_ID THREAD_CPUTIME_ID MONOTONIC_RAW REALTIME_COARSE "
        "MONOTONIC_COARSE BOOTTIME REALTIME_ALARM BOOTTIME_ALARM - TAI",
    ),
)
WHENCE = Enum("SEEK_???", _values("SEEK_", "SET CUR END DATA HOLE"))

_FUTEX_NAMES = _values(
    "FUTEX_",
    "WAIT WAKE FD REQUEUE CMP_REQUEUE WAKE_OP LOCK_PI UNLOCK_PI TRYLOCK_PI WAIT_BITSET WAKE_BITSET "
    "WAIT_REQUEUE_PI CMP_REQUEUE_PI LOCK_PI2",
)
_FUTEX_PRIVATE = 128
_FUTEX_REALTIME = 256


def futex_op(value: int) -> str:
    """The operation of futex(2), with its two options."""
    name = _FUTEX_NAMES.get(value & ~(_FUTEX_PRIVATE | _FUTEX_REALTIME))
    if name is None:
        return f"{value & 0xFFFFFFFF:#x} /* FUTEX_??? */"
    if value & _FUTEX_PRIVATE:
        name += "_PRIVATE"
    if value & _FUTEX_REALTIME:
        name += "|FUTEX_CLOCK_REALTIME"
    return name


_SOCK_TYPE = Enum(
    "SOCK_???",
    {
        1: "SOCK_STREAM",
        2: "SOCK_DGRAM",
        3: "SOCK_RAW",
        4: "SOCK_RDM",
        5: "SOCK_SEQPACKET",
        6: "SOCK_DCCP",
        10: "SOCK_PACKET",
    },
)
_SOCK_FLAGS = Flags("SOCK_???", [(0x80000, "SOCK_CLOEXEC"), (0x800, "SOCK_NONBLOCK")])

#: (name without its prefix, bit), in the order in which both kinds of poll print them.
_EVENTS = [
    ("IN", p.POLLIN),
    ("PRI", p.POLLPRI),
    ("OUT", p.POLLOUT),
    ("ERR", p.POLLERR),
    ("HUP", p.POLLHUP),
    ("NVAL", p.POLLNVAL),
    ("RDNORM", p.POLLRDNORM),
    ("RDBAND", p.POLLRDBAND),
    ("WRNORM", p.POLLWRNORM),
    ("WRBAND", p.POLLWRBAND),
    ("MSG", p.POLLMSG),
]
POLL = Flags(
    "POLL???",
    [
        *((bit, "POLL" + name) for name, bit in _EVENTS),
        (0x1000, "POLLREMOVE"),
        (p.POLLRDHUP, "POLLRDHUP"),
    ],
)
EPOLL = Flags(
    "EPOLL???",
    [
        *((bit, "EPOLL" + name) for name, bit in _EVENTS),
        (p.POLLRDHUP, "EPOLLRDHUP"),
        (p.EPOLLEXCLUSIVE, "EPOLLEXCLUSIVE"),
        (p.EPOLLWAKEUP, "EPOLLWAKEUP"),
        (p.EPOLLONESHOT, "EPOLLONESHOT"),
        (p.EPOLLET, "EPOLLET"),
    ],
)

SA_FLAGS = Flags(
    "SA_???",
    [
        (0x04000000, "SA_RESTORER"),
        (0x08000000, "SA_ONSTACK"),
        (0x10000000, "SA_RESTART"),
        (0x40000000, "SA_NODEFER"),
        (0x80000000, "SA_RESETHAND"),
        (4, "SA_SIGINFO"),
        (1, "SA_NOCLDSTOP"),
        (2, "SA_NOCLDWAIT"),
    ],
)
SS_FLAGS = Flags("SS_???", [(1, "SS_ONSTACK"), (2, "SS_DISABLE"), (1 << 31, "SS_AUTODISARM")])

STATX_MASK = Flags(
    "STATX_???",
    [
        (0xFFF, "STATX_ALL"),
        (0x7FF, "STATX_BASIC_STATS"),
        *_bits("STATX_", "TYPE MODE NLINK UID GID ATIME MTIME CTIME INO SIZE BLOCKS BTIME MNT_ID DIOALIGN"),
    ],
)

CLONE = Flags(
    "CLONE_???",
    [
        *_bits(
            "CLONE_",
            "VM FS FILES SIGHAND PIDFD PTRACE VFORK PARENT THREAD NEWNS SYSVSEM SETTLS PARENT_SETTID "
            "CHILD_CLEARTID DETACHED UNTRACED CHILD_SETTID NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET IO "
            "CLEAR_SIGHAND INTO_CGROUP",
            8,
        ),
        (0x80, "CLONE_NEWTIME"),
    ],
)

PR_OPTIONS = Enum(
    "PR_???",
    {
        value: name
        for name, value in vars(pr).items()
        if name.startswith(("PR_SET_", "PR_GET_", "PR_MCE_KILL", "PR_TASK_", "PR_CAPBSET_"))
        and name != "PR_MCE_KILL_DEFAULT"
    }
    | {pr.PR_CAP_AMBIENT: "PR_CAP_AMBIENT", pr.PR_SCHED_CORE: "PR_SCHED_CORE"},
)

RLIMITS = Enum(
    "RLIMIT_???",
    _values(
        "RLIMIT_",
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME",
    ),
)

FAMILIES = Enum(
    "AF_???",
    {
        0: "AF_UNSPEC",
        1: "AF_UNIX",
        2: "AF_INET",
        3: "AF_AX25",
        4: "AF_IPX",
        5: "AF_APPLETALK",
        10: "AF_INET6",
        16: "AF_NETLINK",
        17: "AF_PACKET",
        29: "AF_CAN",
        31: "AF_BLUETOOTH",
        38: "AF_ALG",
        40: "AF_VSOCK",
        44: "AF_XDP",
    },
)

MSG = Flags(
    "MSG_???",
    _bits(
        "MSG_",
        "OOB PEEK DONTROUTE CTRUNC PROBE TRUNC DONTWAIT EOR WAITALL FIN SYN CONFIRM RST ERRQUEUE NOSIGNAL "
        "MORE WAITFORONE - BATCH - - - - - - - ZEROCOPY - - FASTOPEN CMSG_CLOEXEC",
    ),
)

_FCNTL = {
    **_values(
        "F_",
        "DUPFD GETFD SETFD GETFL SETFL GETLK SETLK SETLKW SETOWN GETOWN SETSIG GETSIG GETLK64 SETLK64 "
        "SETLKW64 SETOWN_EX GETOWN_EX GETOWNER_UIDS",
    ),
    **_values("F_OFD_", "GETLK SETLK SETLKW", 36),
    **_values(
        "F_",
        "SETLEASE GETLEASE NOTIFY - - CANCELLK DUPFD_CLOEXEC SETPIPE_SZ GETPIPE_SZ ADD_SEALS GET_SEALS "
        "GET_RW_HINT SET_RW_HINT GET_FILE_RW_HINT SET_FILE_RW_HINT",
        1024,
    ),
}

_MADVISE = {
    **_values(
        "MADV_",
        "NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED - - - FREE REMOVE DONTFORK DOFORK MERGEABLE UNMERGEABLE "
        "HUGEPAGE NOHUGEPAGE DONTDUMP DODUMP WIPEONFORK KEEPONFORK COLD PAGEOUT POPULATE_READ POPULATE_WRITE "
        "DONTNEED_LOCKED COLLAPSE",
    ),
    100: "MADV_HWPOISON",
    101: "MADV_SOFT_OFFLINE",
}


def socket_type(value: int) -> str:
    """The type argument of socket(2), with its flags."""
    text = _SOCK_TYPE(value & 0xF)
    flags = value & 0xFFFFFFF0
    if flags & 0x80800:
        return f"{text}|{_SOCK_FLAGS(flags)}"
    return text if not flags else _SOCK_TYPE(value)


#: ``detail`` of a declaration's flags or enum -> the text of a value (unsigned 64 or signed 32 bit).
TABLES: dict[str, Callable[[int], str]] = {
    "access": Flags("?_OK", [(4, "R_OK"), (2, "W_OK"), (1, "X_OK")], "F_OK"),
    "af": FAMILIES,
    "arch_prctl": Enum(
        "ARCH_???",
        {
            0x1001: "ARCH_SET_GS",
            0x1002: "ARCH_SET_FS",
            0x1003: "ARCH_GET_FS",
            0x1004: "ARCH_GET_GS",
            0x1011: "ARCH_GET_CPUID",
            0x1012: "ARCH_SET_CPUID",
            0x1021: "ARCH_GET_XCOMP_SUPP",
            0x1022: "ARCH_GET_XCOMP_PERM",
            0x1023: "ARCH_REQ_XCOMP_PERM",
            0x2001: "ARCH_MAP_VDSO_X32",
            0x2002: "ARCH_MAP_VDSO_32",
            0x2003: "ARCH_MAP_VDSO_64",
            0x3001: "ARCH_CET_STATUS",
        },
    ),
    "at": Flags("AT_???", _AT),
    "at_access": Flags(
        "AT_???", [(0x100, "AT_SYMLINK_NOFOLLOW"), (0x200, "AT_EACCESS"), (0x1000, "AT_EMPTY_PATH")]
    ),
    "clone": CLONE,
    "close_range": Flags("CLOSE_RANGE_???", [(2, "CLOSE_RANGE_UNSHARE"), (4, "CLOSE_RANGE_CLOEXEC")]),
    "epoll_ctl": Enum("EPOLL_CTL_???", _values("EPOLL_CTL_", "ADD DEL MOD", 1)),
    "fadvise": Enum(
        "POSIX_FADV_???", _values("POSIX_FADV_", "NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED NOREUSE")
    ),
    "falloc": Flags(
        "FALLOC_FL_???",
        _bits(
            "FALLOC_FL_",
            "KEEP_SIZE PUNCH_HOLE NO_HIDE_STALE COLLAPSE_RANGE ZERO_RANGE INSERT_RANGE UNSHARE_RANGE",
        ),
    ),
    "fcntl": Enum("F_???", _FCNTL),
    "fdflags": Flags("FD_???", [(1, "FD_CLOEXEC")]),
    "flock": Flags(
        "LOCK_???", [(1, "LOCK_SH"), (2, "LOCK_EX"), (8, "LOCK_UN"), (4, "LOCK_NB"), (32, "LOCK_MAND")]
    ),
    "futex": futex_op,
    "getrandom": Flags("GRND_???", [(1, "GRND_NONBLOCK"), (2, "GRND_RANDOM"), (4, "GRND_INSECURE")]),
    "idtype": Enum("P_???", {0: "P_ALL", 1: "P_PID", 2: "P_PGID", 3: "P_PIDFD"}),
    "madvise": Enum("MADV_???", _MADVISE),
    "map": Flags(
        "MAP_???",
        [
            (0x10, "MAP_FIXED"),
            (0x20, "MAP_ANONYMOUS"),
            (0x40, "MAP_32BIT"),
            (0x4000, "MAP_NORESERVE"),
            (0x8000, "MAP_POPULATE"),
            (0x10000, "MAP_NONBLOCK"),
            (0x100, "MAP_GROWSDOWN"),
            (0x800, "MAP_DENYWRITE"),
            (0x1000, "MAP_EXECUTABLE"),
            (0x2000, "MAP_LOCKED"),
            (0x20000, "MAP_STACK"),
            (0x40000, "MAP_HUGETLB"),
            (0x80000, "MAP_SYNC"),
            (0x100000, "MAP_FIXED_NOREPLACE"),
        ],
        field=(
            0xF,
            Enum("MAP_???", {0: "MAP_FILE", 1: "MAP_SHARED", 2: "MAP_PRIVATE", 3: "MAP_SHARED_VALIDATE"}),
        ),
    ),
    "memfd": Flags("MFD_???", _bits("MFD_", "CLOEXEC ALLOW_SEALING HUGETLB NOEXEC_SEAL EXEC")),
    "mount": Flags(
        "MS_???",
        _bits(
            "MS_",
            "RDONLY NOSUID NODEV NOEXEC SYNCHRONOUS REMOUNT MANDLOCK DIRSYNC NOSYMFOLLOW - NOATIME "
            "NODIRATIME BIND MOVE REC SILENT POSIXACL UNBINDABLE PRIVATE SLAVE SHARED RELATIME KERNMOUNT "
            "I_VERSION STRICTATIME LAZYTIME",
        ),
    ),
    "mremap": Flags("MREMAP_???", _bits("MREMAP_", "MAYMOVE FIXED DONTUNMAP")),
    "msg": MSG,
    "open": OPEN,
    "prctl": PR_OPTIONS,
    "prot": Flags(
        "PROT_???",
        [
            (1, "PROT_READ"),
            (2, "PROT_WRITE"),
            (4, "PROT_EXEC"),
            (8, "PROT_SEM"),
            (0x1000000, "PROT_GROWSDOWN"),
            (0x2000000, "PROT_GROWSUP"),
        ],
        "PROT_NONE",
    ),
    "rename": Flags("RENAME_???", _bits("RENAME_", "NOREPLACE EXCHANGE WHITEOUT")),
    "rlimit": RLIMITS,
    "rusage": Enum("RUSAGE_???", {0: "RUSAGE_SELF", -1: "RUSAGE_CHILDREN", 1: "RUSAGE_THREAD"}),
    "rwf": Flags("RWF_???", _bits("RWF_", "HIPRI DSYNC SYNC NOWAIT APPEND")),
    "sigprocmask": Enum("SIG_???", {0: "SIG_BLOCK", 1: "SIG_UNBLOCK", 2: "SIG_SETMASK"}),
    "socktype": socket_type,
    "splice": Flags("SPLICE_F_???", _bits("SPLICE_F_", "MOVE NONBLOCK MORE GIFT")),
    "statx": STATX_MASK,
    "statx_at": Flags("AT_???", _AT, field=(0x6000, _STATX_SYNC)),
    "sync_file_range": Flags(
        "SYNC_FILE_RANGE_???", _bits("SYNC_FILE_RANGE_", "WAIT_BEFORE WRITE WAIT_AFTER")
    ),
    "umount": Flags(
        "MNT_???", [(1, "MNT_FORCE"), (2, "MNT_DETACH"), (4, "MNT_EXPIRE"), (8, "UMOUNT_NOFOLLOW")]
    ),
    "wait": Flags(
        "W???",
        [
            (1, "WNOHANG"),
            (4, "WEXITED"),
            (2, "WSTOPPED"),
            (8, "WCONTINUED"),
            (0x1000000, "WNOWAIT"),
            (0x80000000, "__WCLONE"),
            (0x40000000, "__WALL"),
            (0x20000000, "__WNOTHREAD"),
        ],
    ),
    "xattr": Flags("XATTR_???", [(1, "XATTR_CREATE"), (2, "XATTR_REPLACE")]),
}
