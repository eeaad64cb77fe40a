"""The text of structs in guest memory, by the name that a declaration's ``detail`` uses."""

from __future__ import annotations

from datetime import UTC, datetime
from stat import S_IFMT
from struct import Struct

from runsc.abi.signal import SIGACTION
from runsc.strace import flags
from runsc.strace.text import Flags, octal, pointer, quote, signed32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.strace.view import View

    #: Size in bytes, and the text of that many.
    Layout = tuple[int, Callable[[View, bytes], str]]

_PAIR = Struct("<qq")
_FOUR = Struct("<4q")
_STAT = Struct("<QQQIII4xQqqq6q24x")
_STATX_HEAD = Struct("<IIQIIIH2xQQQ")
_RUSAGE = Struct("<18q")
_LIMITS = Struct("<QQ")

_TYPES = {
    0o140000: "S_IFSOCK",
    0o120000: "S_IFLNK",
    0o100000: "S_IFREG",
    0o060000: "S_IFBLK",
    0o040000: "S_IFDIR",
    0o020000: "S_IFCHR",
    0o010000: "S_IFIFO",
}
_DEVICES = (0o060000, 0o020000)

UTIME_NOW = 0x3FFFFFFF
UTIME_OMIT = 0x3FFFFFFE
_RLIM_INFINITY = 0xFFFFFFFFFFFFFFFF


def mode_text(mode: int) -> str:
    """File type and permission bits."""
    parts = []
    kind = S_IFMT(mode)
    if kind:
        parts.append(_TYPES.get(kind) or f"{kind:#o}")
    for bit, name in ((0o4000, "S_ISUID"), (0o2000, "S_ISGID"), (0o1000, "S_ISVTX")):
        if mode & bit:
            parts.append(name)
    parts.append(octal(mode & 0o777))
    return "|".join(parts)


def sigset_text(mask: int) -> str:
    """A signal set: its members, or those that are missing if most are there."""
    inverted = mask.bit_count() >= 42
    if inverted:
        mask ^= 0xFFFFFFFFFFFFFFFF
    names = []
    while mask:
        number = (mask & -mask).bit_length()
        names.append(flags.SIGNALS[number].removeprefix("SIG"))
        mask &= mask - 1
    return ("~[" if inverted else "[") + " ".join(names) + "]"


def signal_name(number: int) -> str:
    """A signal by name, or its number if it has none."""
    return flags.SIGNALS.get(number) or str(number)


def timespec_text(seconds: int, nanoseconds: int) -> str:
    """As strace does, the fraction without a sign: a negative one is as plainly wrong."""
    return f"{{tv_sec={seconds}, tv_nsec={nanoseconds & 0xFFFFFFFFFFFFFFFF}}}"


def timeval_text(seconds: int, microseconds: int) -> str:
    """Seconds and microseconds."""
    return f"{{tv_sec={seconds}, tv_usec={microseconds & 0xFFFFFFFFFFFFFFFF}}}"


def _date(seconds: int, fraction: int, digits: int) -> str:
    """A remark with the date, for times that are points in time."""
    if not (seconds or fraction) or not 0 <= fraction < 10**digits:
        return ""
    try:
        when = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ""
    if fraction:
        when += f".{fraction:0{digits}d}"
    return f" /* {when}+0000 */"


def _timespec(_view: View, data: bytes) -> str:
    return timespec_text(*_PAIR.unpack(data))


def _timeval(_view: View, data: bytes) -> str:
    return timeval_text(*_PAIR.unpack(data))


def _timespec2(_view: View, data: bytes) -> str:
    parts = []
    for offset in (0, 16):
        seconds, nanoseconds = _PAIR.unpack_from(data, offset)
        if nanoseconds == UTIME_NOW:
            parts.append("UTIME_NOW")
        elif nanoseconds == UTIME_OMIT:
            parts.append("UTIME_OMIT")
        else:
            parts.append(timespec_text(seconds, nanoseconds) + _date(seconds, nanoseconds, 9))
    return f"[{parts[0]}, {parts[1]}]"


def _timeval2(_view: View, data: bytes) -> str:
    parts = []
    for offset in (0, 16):
        seconds, microseconds = _PAIR.unpack_from(data, offset)
        parts.append(timeval_text(seconds, microseconds) + _date(seconds, microseconds, 6))
    return f"[{parts[0]}, {parts[1]}]"


def _itimerval(_view: View, data: bytes) -> str:
    a, b, c, d = _FOUR.unpack(data)
    return f"{{it_interval={timeval_text(a, b)}, it_value={timeval_text(c, d)}}}"


def _itimerspec(_view: View, data: bytes) -> str:
    a, b, c, d = _FOUR.unpack(data)
    return f"{{it_interval={timespec_text(a, b)}, it_value={timespec_text(c, d)}}}"


def _stat(_view: View, data: bytes) -> str:
    mode, rdev, size = (_STAT.unpack(data)[index] for index in (3, 6, 7))
    return f"{{st_mode={mode_text(mode)}, {_size_or_device('st', mode, rdev, size)}, ...}}"


def _size_or_device(prefix: str, mode: int, rdev: int, size: int) -> str:
    if S_IFMT(mode) in _DEVICES:
        major = rdev >> 8 & 0xFFF | rdev >> 32 & 0xFFFFF000
        minor = rdev & 0xFF | rdev >> 12 & 0xFFFFFF00
        return f"{prefix}_rdev=makedev({major:#x}, {minor:#x})"
    return f"{prefix}_size={size}"


def _statx(_view: View, data: bytes) -> str:
    mask, _blksize, attributes, _nlink, _uid, _gid, mode, _ino, size, _blocks = _STATX_HEAD.unpack_from(data)
    return (
        f"{{stx_mask={flags.STATX_MASK(mask)}, stx_attributes={attributes:#x}, ".replace("=0x0,", "=0,")
        + f"stx_mode={mode_text(mode)}, stx_size={size}, ...}}"
    )


_FS_TYPES = {
    0xEF53: "EXT2_SUPER_MAGIC",
    0x01021994: "TMPFS_MAGIC",
    0x9FA0: "PROC_SUPER_MAGIC",
    0x62656572: "SYSFS_MAGIC",
    0x1CD1: "DEVPTS_SUPER_MAGIC",
    0x794C7630: "OVERLAYFS_SUPER_MAGIC",
    0x01021997: "V9FS_MAGIC",
    0x9123683E: "BTRFS_SUPER_MAGIC",
    0x58465342: "XFS_SUPER_MAGIC",
    0x27E0EB: "CGROUP_SUPER_MAGIC",
    0x63677270: "CGROUP2_SUPER_MAGIC",
    0x50495045: "PIPEFS_MAGIC",
    0x534F434B: "SOCKFS_MAGIC",
    0x6969: "NFS_SUPER_MAGIC",
}
_ST_FLAGS = Flags(
    "ST_???",
    [
        (0x20, "ST_VALID"),
        (1, "ST_RDONLY"),
        (2, "ST_NOSUID"),
        (4, "ST_NODEV"),
        (8, "ST_NOEXEC"),
        (0x10, "ST_SYNCHRONOUS"),
        (0x40, "ST_MANDLOCK"),
        (0x400, "ST_NOATIME"),
        (0x800, "ST_NODIRATIME"),
        (0x1000, "ST_RELATIME"),
        (0x2000, "ST_NOSYMFOLLOW"),
    ],
)
_STATFS = Struct("<7QIIQQQ32x")


def _statfs(_view: View, data: bytes) -> str:
    v = _STATFS.unpack(data)
    return (
        f"{{f_type={_FS_TYPES.get(v[0]) or hex(v[0])}, f_bsize={v[1]}, f_blocks={v[2]}, f_bfree={v[3]}, "
        f"f_bavail={v[4]}, f_files={v[5]}, f_ffree={v[6]}, f_fsid={{val=[{_hex(v[7])}, {_hex(v[8])}]}}, "
        f"f_namelen={v[9]}, f_frsize={v[10]}, f_flags={_ST_FLAGS(v[11])}}}"
    )


def _hex(value: int) -> str:
    return f"{value:#x}" if value else "0"


def _utsname(_view: View, data: bytes) -> str:
    names = [quote(data[offset : offset + 65].split(b"\0", 1)[0]) for offset in (0, 65)]
    return f"{{sysname={names[0]}, nodename={names[1]}, ...}}"


def _fdpair(_view: View, data: bytes) -> str:
    return f"[{signed32(int.from_bytes(data[:4], 'little'))}, {signed32(int.from_bytes(data[4:], 'little'))}]"


def _int(_view: View, data: bytes) -> str:
    return f"[{int.from_bytes(data, 'little', signed=True)}]"


def _rusage(_view: View, data: bytes) -> str:
    values = _RUSAGE.unpack(data)
    return f"{{ru_utime={timeval_text(*values[:2])}, ru_stime={timeval_text(*values[2:4])}, ...}}"


def limit_text(value: int) -> str:
    """A resource limit: whole KiB are written as a product."""
    if value == _RLIM_INFINITY:
        return "RLIM64_INFINITY"
    if value > 1024 and value % 1024 == 0:
        return f"{value // 1024}*1024"
    return str(value)


def _rlimit(_view: View, data: bytes) -> str:
    soft, hard = _LIMITS.unpack(data)
    return f"{{rlim_cur={limit_text(soft)}, rlim_max={limit_text(hard)}}}"


def _sigaction(_view: View, data: bytes) -> str:
    handler, options, restorer, mask = SIGACTION.unpack(data)
    shown = {0: "SIG_DFL", 1: "SIG_IGN"}.get(handler) or pointer(handler)
    text = f"{{sa_handler={shown}, sa_mask={sigset_text(mask)}, sa_flags={flags.SA_FLAGS(options)}"
    if options & 0x04000000:
        text += f", sa_restorer={pointer(restorer)}"
    return text + "}"


def _sigset(_view: View, data: bytes) -> str:
    return sigset_text(int.from_bytes(data, "little"))


def _epoll_event(_view: View, data: bytes) -> str:
    return epoll_event_text(data)


def epoll_event_text(data: bytes) -> str:
    """A struct epoll_event (12 bytes, packed)."""
    events = int.from_bytes(data[:4], "little")
    value = int.from_bytes(data[4:12], "little")
    return f"{{events={flags.EPOLL(events)}, data={{u32={value & 0xFFFFFFFF}, u64={value}}}}}"


def _siginfo(_view: View, data: bytes) -> str:
    from runsc.strace.signals import siginfo_bytes_text

    return siginfo_bytes_text(data)


_RESOLVE = Flags(
    "RESOLVE_???",
    [
        (1, "RESOLVE_NO_XDEV"),
        (2, "RESOLVE_NO_MAGICLINKS"),
        (4, "RESOLVE_NO_SYMLINKS"),
        (8, "RESOLVE_BENEATH"),
        (16, "RESOLVE_IN_ROOT"),
        (32, "RESOLVE_CACHED"),
    ],
)


def _open_how(_view: View, data: bytes) -> str:
    options, mode, resolve = Struct("<QQQ").unpack(data)
    text = f"{{flags={flags.OPEN(options)}"
    if options & 0o20000100 or mode:
        text += f", mode={octal(mode)}"
    return f"{text}, resolve={_RESOLVE(resolve)}}}"


#: ``detail`` of a declaration -> its size and text.
LAYOUTS: dict[str, Layout] = {
    "epoll_event": (12, _epoll_event),
    "fdpair": (8, _fdpair),
    "int": (4, _int),
    "itimerspec": (32, _itimerspec),
    "itimerval": (32, _itimerval),
    "off": (8, _int),
    "open_how": (24, _open_how),
    "rlimit": (16, _rlimit),
    "rusage": (144, _rusage),
    "sigaction": (32, _sigaction),
    "siginfo": (128, _siginfo),
    "sigset": (8, _sigset),
    "stat": (144, _stat),
    "statfs": (120, _statfs),
    "statx": (256, _statx),
    "timespec": (16, _timespec),
    "timespec2": (32, _timespec2),
    "timeval": (16, _timeval),
    "timeval2": (32, _timeval2),
    "utsname": (390, _utsname),
}
