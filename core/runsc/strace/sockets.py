"""Socket addresses, messages and options in strace's notation."""

from __future__ import annotations

from socket import AF_INET6, inet_ntop
from struct import Struct, unpack_from

from runsc.strace import flags
from runsc.strace.text import Enum, pointer, quote, signed32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.strace.view import View

_MSGHDR = Struct("<QI4xQQQQi4x")
_CMSG = Struct("<Qii")

#: No more control messages or vectors are shown.
_MOST = 64


def sockaddr_text(data: bytes) -> str:
    """A socket address of any family."""
    if len(data) < 2:
        return quote(data)
    family = int.from_bytes(data[:2], "little")
    if family == 1:
        path = data[2:110]
        if not path:
            return "{sa_family=AF_UNIX}"
        if path[0] == 0:
            return f"{{sa_family=AF_UNIX, sun_path=@{quote(path[1:])}}}"
        return f"{{sa_family=AF_UNIX, sun_path={quote(path.split(bytes(1), 1)[0])}}}"
    if family == 2 and len(data) >= 8:
        (port,) = unpack_from(">H", data, 2)
        host = ".".join(map(str, data[4:8]))
        return f'{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr("{host}")}}'
    if family == 10 and len(data) >= 24:
        port, flow = unpack_from(">HI", data, 2)
        text = (
            f"{{sa_family=AF_INET6, sin6_port=htons({port}), sin6_flowinfo=htonl({flow}), "
            f'inet_pton(AF_INET6, "{inet_ntop(AF_INET6, data[8:24])}", &sin6_addr)'
        )
        if len(data) >= 28:
            text += f", sin6_scope_id={int.from_bytes(data[24:28], 'little')}"
        return text + "}"
    if family == 16 and len(data) >= 12:
        pid, groups = unpack_from("<II", data, 4)
        return f"{{sa_family=AF_NETLINK, nl_pid={pid}, nl_groups={groups:08x}}}"
    return f"{{sa_family={flags.FAMILIES(family)}, sa_data={quote(data[2:])}}}"


def in_sockaddr(view: View, index: int) -> str:
    """An address that the caller gives; its length is the next argument."""
    addr = view.args[index]
    if not addr:
        return "NULL"
    length = signed32(view.args[index + 1]) if index + 1 < len(view.args) else 0
    data = view.read(addr, min(length, 128)) if length > 0 else None
    return pointer(addr) if data is None else sockaddr_text(data)


def iovec_text(view: View, addr: int, count: int, filled: int | None) -> str:
    """An iovec; ``filled``: how many bytes of it hold data (None: all of it)."""
    if not addr:
        return "NULL"
    if count <= 0:
        return "[]" if count == 0 else pointer(addr)
    parts = []
    left = filled
    for index in range(count):
        if index == _MOST:
            parts.append("...")
            break
        entry = view.read(addr + 16 * index, 16)
        if entry is None:
            if not parts:
                return pointer(addr)
            parts.append(f"... /* {addr + 16 * index:#x} */")
            break
        base, length = unpack_from("<QQ", entry)
        shown = length if left is None else min(left, length)
        if left is not None:
            left -= shown
        parts.append(f"{{iov_base={buffer_text(view, base, shown)}, iov_len={length}}}")
    return "[" + ", ".join(parts) + "]"


def buffer_text(view: View, addr: int, length: int) -> str:
    """``length`` bytes at ``addr``, or as many as the limit lets through."""
    if not addr:
        return "NULL"
    data = view.read(addr, min(length, view.limit))
    return pointer(addr) if data is None else quote(data, length > view.limit)


_SCM = Enum("SCM_???", {1: "SCM_RIGHTS", 2: "SCM_CREDENTIALS", 3: "SCM_SECURITY", 29: "SO_TIMESTAMP"})


def _control_text(view: View, addr: int, length: int) -> str:
    data = view.read(addr, min(length, 4096))
    if data is None:
        return pointer(addr)
    parts: list[str] = []
    offset = 0
    while offset + 16 <= len(data) and len(parts) < _MOST:
        size, level, kind = _CMSG.unpack_from(data, offset)
        if size < 16:
            break
        body = data[offset + 16 : offset + size]
        text = f"{{cmsg_len={size}, cmsg_level={LEVELS(level)}, cmsg_type="
        if level == 1:
            text += _SCM(kind)
        else:
            text += f"{kind:#x}"
        if level == 1 and kind == 1:
            fds = [str(number) for number in unpack_from(f"<{len(body) // 4}i", body)]
            text += f", cmsg_data=[{', '.join(fds)}]"
        elif level == 1 and kind == 2 and len(body) >= 12:
            pid, uid, gid = unpack_from("<iII", body)
            text += f", cmsg_data={{pid={pid}, uid={uid}, gid={gid}}}"
        elif body:
            text += f", cmsg_data={quote(body[: view.limit], len(body) > view.limit)}"
        parts.append(text + "}")
        offset += size + 7 & ~7
    return "[" + ", ".join(parts) + "]"


def msghdr_text(view: View, addr: int, filled: int | None, name_size: int | None) -> str:
    """A struct msghdr. ``filled``: bytes received, or None for one to send; ``name_size``: room for
    the name before the call, or None."""
    if not addr:
        return "NULL"
    data = view.read(addr, _MSGHDR.size)
    if data is None:
        return pointer(addr)
    name, name_length, iov, iov_count, control, control_length, options = _MSGHDR.unpack(data)
    shown = view.read(name, min(name_length, 128)) if name and name_length else None
    length = str(name_length)
    if name_size is not None and name_size != name_length:
        length = f"{name_size} => {name_length}"
    text = f"{{msg_name={pointer(name) if shown is None else sockaddr_text(shown)}, msg_namelen={length}, "
    text += f"msg_iov={iovec_text(view, iov, min(iov_count, 1024), filled)}, msg_iovlen={iov_count}, "
    if control_length and control:
        text += f"msg_control={_control_text(view, control, control_length)}, "
    return f"{text}msg_controllen={control_length}, msg_flags={flags.MSG(options & 0xFFFFFFFF)}}}"


LEVELS = Enum(
    "SOL_???",
    {
        0: "SOL_IP",
        1: "SOL_SOCKET",
        6: "SOL_TCP",
        17: "SOL_UDP",
        41: "SOL_IPV6",
        58: "SOL_ICMPV6",
        255: "SOL_RAW",
        263: "SOL_PACKET",
        270: "SOL_NETLINK",
    },
)

SOCKET_OPTIONS = Enum(
    "SO_???",
    {
        1: "SO_DEBUG",
        2: "SO_REUSEADDR",
        3: "SO_TYPE",
        4: "SO_ERROR",
        5: "SO_DONTROUTE",
        6: "SO_BROADCAST",
        7: "SO_SNDBUF",
        8: "SO_RCVBUF",
        9: "SO_KEEPALIVE",
        10: "SO_OOBINLINE",
        11: "SO_NO_CHECK",
        12: "SO_PRIORITY",
        13: "SO_LINGER",
        14: "SO_BSDCOMPAT",
        15: "SO_REUSEPORT",
        16: "SO_PASSCRED",
        17: "SO_PEERCRED",
        18: "SO_RCVLOWAT",
        19: "SO_SNDLOWAT",
        20: "SO_RCVTIMEO_OLD",
        21: "SO_SNDTIMEO_OLD",
        22: "SO_SECURITY_AUTHENTICATION",
        23: "SO_SECURITY_ENCRYPTION_TRANSPORT",
        24: "SO_SECURITY_ENCRYPTION_NETWORK",
        25: "SO_BINDTODEVICE",
        26: "SO_ATTACH_FILTER",
        27: "SO_DETACH_FILTER",
        28: "SO_PEERNAME",
        29: "SO_TIMESTAMP_OLD",
        30: "SO_ACCEPTCONN",
        31: "SO_PEERSEC",
        32: "SO_SNDBUFFORCE",
        33: "SO_RCVBUFFORCE",
        34: "SO_PASSSEC",
        35: "SO_TIMESTAMPNS_OLD",
        36: "SO_MARK",
        37: "SO_TIMESTAMPING_OLD",
        38: "SO_PROTOCOL",
        39: "SO_DOMAIN",
        40: "SO_RXQ_OVFL",
    },
)
TCP_OPTIONS = Enum(
    "TCP_???",
    {
        1: "TCP_NODELAY",
        2: "TCP_MAXSEG",
        3: "TCP_CORK",
        4: "TCP_KEEPIDLE",
        5: "TCP_KEEPINTVL",
        6: "TCP_KEEPCNT",
        7: "TCP_SYNCNT",
        8: "TCP_LINGER2",
        9: "TCP_DEFER_ACCEPT",
        10: "TCP_WINDOW_CLAMP",
        11: "TCP_INFO",
        12: "TCP_QUICKACK",
        13: "TCP_CONGESTION",
        18: "TCP_USER_TIMEOUT",
        23: "TCP_FASTOPEN",
    },
)
IPV6_OPTIONS = Enum(
    "IPV6_???", {26: "IPV6_V6ONLY", 49: "IPV6_RECVPKTINFO", 66: "IPV6_RECVTCLASS", 67: "IPV6_TCLASS"}
)
IP_OPTIONS = Enum(
    "IP_???",
    {1: "IP_TOS", 2: "IP_TTL", 8: "IP_PKTINFO", 10: "IP_MTU_DISCOVER", 11: "IP_RECVERR", 15: "IP_FREEBIND"},
)

#: Names of options, by level.
OPTIONS = {0: IP_OPTIONS, 1: SOCKET_OPTIONS, 6: TCP_OPTIONS, 41: IPV6_OPTIONS}
