"""Options of internet sockets: SOL_SOCKET's that concern the network, SOL_IP (ip(7)) and SOL_IPV6 (ipv6(7)).

Most are numbers that are kept and told; the tables say which, and what they may be.
"""

from __future__ import annotations

from errno import (
    EADDRINUSE,
    EADDRNOTAVAIL,
    EINVAL,
    ENOBUFS,
    ENODATA,
    ENODEV,
    ENOPROTOOPT,
    ENOTCONN,
    EOPNOTSUPP,
    EPERM,
    EPROTO,
)  # fmt: skip
from struct import pack

from runsc.abi.inet import (
    IFNAMSIZ,
    IP_ADD_MEMBERSHIP,
    IP_BIND_ADDRESS_NO_PORT,
    IP_CHECKSUM,
    IP_DROP_MEMBERSHIP,
    IP_FREEBIND,
    IP_HDRINCL,
    IP_LOCAL_PORT_RANGE,
    IP_MINTTL,
    IP_MTU,
    IP_MTU_DISCOVER,
    IP_MULTICAST_ALL,
    IP_MULTICAST_IF,
    IP_MULTICAST_LOOP,
    IP_MULTICAST_TTL,
    IP_NODEFRAG,
    IP_OPTIONS,
    IP_PASSSEC,
    IP_PKTINFO,
    IP_PKTOPTIONS,
    IP_RECVERR,
    IP_RECVERR_RFC4884,
    IP_RECVFRAGSIZE,
    IP_RECVOPTS,
    IP_RECVORIGDSTADDR,
    IP_RECVTOS,
    IP_RECVTTL,
    IP_RETOPTS,
    IP_ROUTER_ALERT,
    IP_TOS,
    IP_TRANSPARENT,
    IP_TTL,
    IP_UNICAST_IF,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    IPV6_ADD_MEMBERSHIP,
    IPV6_ADDRFORM,
    IPV6_AUTOFLOWLABEL,
    IPV6_DROP_MEMBERSHIP,
    IPV6_FREEBIND,
    IPV6_MTU,
    IPV6_MTU_DISCOVER,
    IPV6_MULTICAST_ALL,
    IPV6_MULTICAST_HOPS,
    IPV6_MULTICAST_IF,
    IPV6_MULTICAST_LOOP,
    IPV6_RECVERR,
    IPV6_RECVHOPLIMIT,
    IPV6_RECVPKTINFO,
    IPV6_RECVTCLASS,
    IPV6_TCLASS,
    IPV6_UNICAST_HOPS,
    IPV6_V6ONLY,
    MCAST_JOIN_GROUP,
    MCAST_LEAVE_GROUP,
)  # fmt: skip
from runsc.abi.socket import (
    SO_BINDTODEVICE,
    SO_PASSCRED,
    SO_PASSSEC,
    SO_PEERCRED,
    SO_PEERGROUPS,
    SO_REUSEPORT,
    SOCK_STREAM,
    SOL_SOCKET,
    UCRED,
)  # fmt: skip
from runsc.kernel.credentials import CAP_NET_ADMIN, CAP_NET_RAW
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.devices import devices_of
from runsc.kernel.socket.inet.addresses import LOCAL, MAPPED, is_multicast, is_v4, split4, split6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.inet.socket import InetSocket
    from runsc.kernel.task import Task

# SOL_SOCKET options that only network sockets have (asm-generic/socket.h).
SO_PEERNAME = 28
SO_RXQ_OVFL = 40
SO_WIFI_STATUS = 41
SO_NOFCS = 43
SO_LOCK_FILTER = 44
SO_SELECT_ERR_QUEUE = 45
SO_BUSY_POLL = 46
SO_MAX_PACING_RATE = 47
SO_BPF_EXTENSIONS = 48
SO_INCOMING_CPU = 49
SO_COOKIE = 57
SO_BINDTOIFINDEX = 62
SO_TIMESTAMP_NEW = 63
SO_TIMESTAMPNS_NEW = 64
SO_ATTACH_FILTER = 26
SO_TIMESTAMPING = 37
SO_PEEK_OFF = 42
SO_MEMINFO = 55
SO_ZEROCOPY = 60
SO_TXTIME = 61
SO_TXREHASH = 74

#: SOL_SOCKET numbers that are kept: their default.
_KEPT = {
    SO_RXQ_OVFL: 0, SO_WIFI_STATUS: 0, SO_NOFCS: 0, SO_SELECT_ERR_QUEUE: 0, SO_BUSY_POLL: 0, SO_TIMESTAMP_NEW:
    0, SO_TIMESTAMPNS_NEW: 0, SO_INCOMING_CPU: 0xFFFFFFFF,
}  # fmt: skip

#: SOL_IP switches, and numbers with default, least and most.
_IP_SWITCHES = {
    IP_RECVOPTS: 0, IP_RETOPTS: 0, IP_PKTINFO: 0, IP_RECVTTL: 0, IP_RECVTOS: 0, IP_RECVERR: 0, IP_FREEBIND: 0,
    IP_PASSSEC: 0, IP_RECVORIGDSTADDR: 0, IP_CHECKSUM: 0, IP_RECVFRAGSIZE: 0, IP_RECVERR_RFC4884: 0,
    IP_MULTICAST_LOOP: 1, IP_TRANSPARENT: 0, IP_ROUTER_ALERT: 0,
    IP_BIND_ADDRESS_NO_PORT: 0, IP_NODEFRAG: 0,
}  # fmt: skip
_IP_NUMBERS = {
    IP_TOS: (0, None, None), IP_TTL: (64, 1, 255), IP_MTU_DISCOVER: (1, 0, 5), IP_MINTTL: (0, 0, 255),
    IP_MULTICAST_TTL: (1, 0, 255), IP_MULTICAST_ALL: (1, 0, 1), IP_LOCAL_PORT_RANGE: (0, None, None),
}  # fmt: skip
#: The same of SOL_IPV6; those without a name here are told by their numbers in linux/in6.h.
_IP6_SWITCHES = {
    2: 0, 3: 0, 4: 0, 5: 0, 8: 0, 11: 0, IPV6_RECVERR: 0, IPV6_V6ONLY: 0, 30: 0, 31: 0, IPV6_RECVPKTINFO: 0,
    IPV6_RECVHOPLIMIT: 0, 53: 0, 56: 0, 58: 0, 60: 0, IPV6_RECVTCLASS: 0, IPV6_AUTOFLOWLABEL: 1,
    74: 0, 75: 0, 77: 0, IPV6_FREEBIND: 0, 33: 0, IPV6_MULTICAST_ALL: 1,
}  # fmt: skip
_IP6_NUMBERS = {
    IPV6_UNICAST_HOPS: (64, -1, 255), IPV6_MULTICAST_HOPS: (1, -1, 255), IPV6_MULTICAST_LOOP: (1, 0, 1),
    IPV6_MTU_DISCOVER: (1, 0, 5), IPV6_TCLASS: (0, -1, 255), 73: (0, 0, 255),
    76: (0, None, None), 72: (0x500, None, None),
}  # fmt: skip
#: Extension headers to send: there are never any (IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR, IPV6_DSTOPTS).
_IP6_HEADERS = frozenset((54, 55, 57, 59))
#: What -1 stands for.
_IP6_DEFAULTS = {IPV6_UNICAST_HOPS: 64, IPV6_MULTICAST_HOPS: 1, IPV6_TCLASS: 0}
_LOCAL_MTU4, _LOCAL_MTU6 = 65535, 65536


def freebind(socket: InetSocket) -> bool:
    """May it be bound to an address that isn't there?"""
    levels = socket.levels
    return bool(
        levels.get((IPPROTO_IP, IP_FREEBIND))
        or levels.get((IPPROTO_IP, IP_TRANSPARENT))
        or levels.get((IPPROTO_IPV6, IPV6_FREEBIND))
    )


def multicast_interface(socket: InetSocket, ip: bytes) -> int:
    """The interface that a multicast leaves by, 0 if neither an option nor a route chooses one."""
    if is_v4(ip):
        chosen = socket.levels.get((IPPROTO_IP, IP_MULTICAST_IF), 0)
    else:
        chosen = socket.levels.get((IPPROTO_IPV6, IPV6_MULTICAST_IF), 0)
    wire = socket.stack.wire
    return chosen or socket.device or (wire.multicast_index(ip) if wire is not None else 0)


def _number(value: bytes) -> int:
    return int.from_bytes(value[:4], "little", signed=True)


def _pack(number: int) -> bytes:
    return (number & 0xFFFFFFFF).to_bytes(4, "little")


# -- setting ----------------------------------------------------------------------------------------


def set_option(socket: InetSocket, task: Task, level: int, name: int, value: bytes) -> None:
    """setsockopt(2)."""
    if level == SOL_SOCKET:
        _set_socket(socket, task, name, value)
    elif level == socket.protocol and level in (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE):
        socket.set_protocol(task, name, value)
    elif level == IPPROTO_IP:
        _set_ip(socket, task, name, value)
    elif level == IPPROTO_IPV6 and socket.v6:
        _set_ipv6(socket, task, name, value)
    else:
        raise LinuxError(ENOPROTOOPT)


def _set_socket(socket: InetSocket, task: Task, name: int, value: bytes) -> None:
    if name == SO_BINDTODEVICE:
        wanted = value[: IFNAMSIZ - 1].split(b"\0")[0]
        device = devices_of(task.nsproxy.net).by_name(wanted) if wanted else None
        if wanted and device is None:
            raise LinuxError(ENODEV)
        socket.device = device.index if device is not None else 0
        return
    if len(value) < 4:
        raise LinuxError(EINVAL)
    number = _number(value)
    if name in (SO_PASSCRED, SO_PASSSEC):
        raise LinuxError(EOPNOTSUPP)
    if name == SO_BINDTOIFINDEX:
        if number < 0:
            raise LinuxError(EINVAL)
        socket.device = number
    elif name in _KEPT:
        socket.options[name] = number if name == SO_INCOMING_CPU else int(number != 0)
    elif name == SO_PEEK_OFF:
        if number != -1:
            raise LinuxError(EOPNOTSUPP)
    elif name in (SO_ZEROCOPY, SO_TIMESTAMPING):
        if number:  # nothing would ever come of it
            raise LinuxError(EOPNOTSUPP)
    elif name == SO_MAX_PACING_RATE:
        socket.options[name] = int.from_bytes(value[:8], "little")
    elif name == SO_TXREHASH:
        if not -1 <= number <= 1:
            raise LinuxError(EINVAL)
        socket.options[name] = 1 if number == -1 else number
    elif name == SO_LOCK_FILTER:
        if socket.options.get(name) and not number:
            raise LinuxError(EPERM)
        socket.options[name] = int(number != 0)
    else:
        socket.set_generic(task, SOL_SOCKET, name, value)


def _set_ip(socket: InetSocket, task: Task, name: int, value: bytes) -> None:
    key = (IPPROTO_IP, name)
    stream = socket.kind == SOCK_STREAM
    number = _number(value) if len(value) >= 4 else value[0] if value else 0
    if name in (IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP):
        _membership(socket, task, _mreq4(task, value), name == IP_ADD_MEMBERSHIP)
    elif name in (MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP):
        _membership(socket, task, _group_req(value, 4), name == MCAST_JOIN_GROUP)
    elif name in _IP_SWITCHES:
        if name == IP_TRANSPARENT and number and not (
            task.cred.capable(CAP_NET_ADMIN) or task.cred.capable(CAP_NET_RAW)
        ):
            raise LinuxError(EPERM)
        if name == IP_NODEFRAG:
            raise LinuxError(ENOPROTOOPT)  # of raw sockets alone
        if name == IP_ROUTER_ALERT or (name == IP_RECVFRAGSIZE and stream):
            raise LinuxError(EINVAL)
        socket.levels[key] = int(number != 0)
    elif name == IP_TTL and number == -1:
        socket.levels.pop(key, None)
    elif name == IP_MULTICAST_TTL and number == -1 and not stream:
        socket.levels[key] = 1
    elif name in _IP_NUMBERS:
        _, least, most = _IP_NUMBERS[name]
        if (least is not None and number < least) or (most is not None and number > most):
            raise LinuxError(EINVAL)
        if not value or (name == IP_MULTICAST_TTL and stream):
            raise LinuxError(EINVAL)
        if name == IP_TOS:
            number &= 0xFC if stream else 0xFF
        socket.levels[key] = number
    elif name == IP_MULTICAST_IF:
        if stream:
            raise LinuxError(EINVAL)
        socket.levels[key] = _multicast_if4(task, value)
    elif name == IP_UNICAST_IF:
        index = int.from_bytes(value[:4], "big")
        if len(value) != 4:
            raise LinuxError(EINVAL)
        if index and devices_of(task.nsproxy.net).by_index(index) is None:
            raise LinuxError(EADDRNOTAVAIL)
        socket.levels[key] = number
    elif name == IP_OPTIONS:
        if value.strip(b"\0\1"):
            raise LinuxError(EINVAL)
    elif name in (IP_HDRINCL, IP_PKTOPTIONS, IP_MTU):
        raise LinuxError(ENOPROTOOPT)
    else:
        raise LinuxError(ENOPROTOOPT)


def _set_ipv6(socket: InetSocket, task: Task, name: int, value: bytes) -> None:
    key = (IPPROTO_IPV6, name)
    number = _number(value) if len(value) >= 4 else 0
    if name in (IPV6_ADD_MEMBERSHIP, IPV6_DROP_MEMBERSHIP):
        if len(value) < 20:
            raise LinuxError(EINVAL)
        index = _number(value[16:20])
        _membership(socket, task, (value[:16], index), name == IPV6_ADD_MEMBERSHIP)
    elif name in (MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP):
        _membership(socket, task, _group_req(value, 6), name == MCAST_JOIN_GROUP)
    elif name == IPV6_V6ONLY:
        if len(value) < 4 or socket.num:
            raise LinuxError(EINVAL)
        socket.only6 = number != 0
    elif name in _IP6_SWITCHES:
        if len(value) < 4 and name != IPV6_AUTOFLOWLABEL:
            raise LinuxError(EINVAL)
        socket.levels[key] = int(number != 0)
    elif name in _IP6_NUMBERS:
        if name == IPV6_MULTICAST_HOPS and socket.kind == SOCK_STREAM:
            raise LinuxError(ENOPROTOOPT)
        _, least, most = _IP6_NUMBERS[name]
        if len(value) < 4 or (least is not None and number < least) or (most is not None and number > most):
            raise LinuxError(EINVAL)
        if name == IPV6_TCLASS and socket.kind == SOCK_STREAM and number >= 0:
            number &= 0xFC  # congestion marks are TCP's own
        socket.levels[key] = _IP6_DEFAULTS[name] if number == -1 and name in _IP6_DEFAULTS else number
    elif name == IPV6_MULTICAST_IF:
        if socket.kind == SOCK_STREAM:
            raise LinuxError(ENOPROTOOPT)
        if len(value) < 4:
            raise LinuxError(EINVAL)
        if number and devices_of(task.nsproxy.net).by_index(number) is None:
            raise LinuxError(ENODEV)
        socket.levels[key] = number
    elif name == IPV6_MTU:
        if len(value) < 4 or (number and number < 1280):
            raise LinuxError(EINVAL)
        socket.levels[key] = number
    elif name == IPV6_ADDRFORM:
        raise LinuxError(ENOTCONN if socket.remote is None else ENOPROTOOPT)
    else:
        raise LinuxError(ENOPROTOOPT)


# -- groups -----------------------------------------------------------------------------------------


def _interface_of(task: Task, address: bytes) -> int:
    """The interface with an IPv4 address, 0 if there is none."""
    for device in devices_of(task.nsproxy.net).devices:
        for own in device.addresses:
            if own.ip == address or (len(address) == 4 and own.ip[:1] == b"\x7f" == address[:1]):
                return device.index
    return 0


def _mreq4(task: Task, value: bytes) -> tuple[bytes, int]:
    """Group and interface of a struct ip_mreq or ip_mreqn."""
    if len(value) < 8:
        raise LinuxError(EINVAL)
    index = _number(value[8:12]) if len(value) >= 12 else 0
    if not index and value[4:8] != bytes(4):
        index = _interface_of(task, value[4:8])
    return MAPPED + value[:4], index


def _group_req(value: bytes, version: int) -> tuple[bytes, int]:
    """Group and interface of a struct group_req."""
    if len(value) < 136:
        raise LinuxError(EINVAL)
    address = value[8:136]
    return (split4(address) if version == 4 else split6(address))[0], _number(value)


def _multicast_if4(task: Task, value: bytes) -> int:
    """The interface that IP_MULTICAST_IF chooses: an address, ip_mreq or ip_mreqn."""
    if len(value) < 4:
        raise LinuxError(EINVAL)
    address = value[4:8] if len(value) >= 8 else value[:4]
    index = _number(value[8:12]) if len(value) >= 12 else 0
    if index:
        if devices_of(task.nsproxy.net).by_index(index) is None:
            raise LinuxError(EADDRNOTAVAIL)
        return index
    if address == bytes(4):
        return 0
    index = _interface_of(task, address)
    if not index:
        raise LinuxError(EADDRNOTAVAIL)
    return index


def _membership(socket: InetSocket, task: Task, group: tuple[bytes, int], join: bool) -> None:
    """Join or leave a group at an interface."""
    ip, index = group
    groups = socket.groups()
    if groups is None:
        raise LinuxError(EPROTO)
    if not is_multicast(ip):
        raise LinuxError(EINVAL)
    wire = socket.stack.wire
    if not index and wire is not None:
        index = wire.multicast_index(ip)
        group = (ip, index)
    if devices_of(task.nsproxy.net).by_index(index) is None:
        raise LinuxError(ENODEV)
    if join:
        if group in groups:
            raise LinuxError(EADDRINUSE)
        if len(groups) >= 20:  # net.ipv4.igmp_max_memberships
            raise LinuxError(ENOBUFS)
        groups.add(group)
        if wire is not None and index > 1:
            wire.join(ip, index)
    elif group not in groups:
        raise LinuxError(EADDRNOTAVAIL)
    else:
        groups.discard(group)
        if wire is not None and index > 1:
            wire.leave(ip, index)


# -- getting ----------------------------------------------------------------------------------------


def get_option(socket: InetSocket, task: Task, level: int, name: int, length: int) -> bytes:
    """getsockopt(2)."""
    if level == SOL_SOCKET:
        return _get_socket(socket, task, name, length)
    if level == socket.protocol and level in (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE):
        return socket.get_protocol(task, name, length)
    if level == IPPROTO_IP:
        return _get_ip(socket, name, length)
    if level == IPPROTO_IPV6 and socket.v6:
        return _get_ipv6(socket, name)
    raise LinuxError(EOPNOTSUPP)


def _get_socket(socket: InetSocket, task: Task, name: int, length: int) -> bytes:
    if name == SO_BINDTODEVICE:
        device = devices_of(task.nsproxy.net).by_index(socket.device) if socket.device else None
        if device is None:
            return b""
        if length < IFNAMSIZ:
            raise LinuxError(EINVAL)
        return device.name + b"\0"
    if name in (SO_PASSCRED, SO_PASSSEC):
        raise LinuxError(EOPNOTSUPP)
    if name == SO_PEERCRED:
        return UCRED.pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
    if name == SO_PEERGROUPS:
        raise LinuxError(ENODATA)
    if name == SO_PEERNAME:
        address = socket.getpeername()
        if length > len(address):
            raise LinuxError(EINVAL)
        return address
    if name in _KEPT:
        return _pack(socket.options.get(name, _KEPT[name]))
    if name == SO_MAX_PACING_RATE:
        rate = socket.options.get(name, 0xFFFFFFFFFFFFFFFF)
        return rate.to_bytes(8, "little") if length >= 8 else _pack(min(rate, 0xFFFFFFFF))
    if name == SO_ATTACH_FILTER:
        return b""
    if name in (SO_TIMESTAMPING, SO_TXTIME):
        return bytes(8)
    if name == SO_PEEK_OFF:
        return _pack(-1)
    if name == SO_ZEROCOPY:
        return _pack(0)
    if name == SO_MEMINFO:
        queued = socket.pending_bytes() if not socket.listening() else 0
        return pack("<9I", queued, socket.rcvbuf, socket.unsent_bytes(), socket.sndbuf, 0, 0, 0, 0, 0)
    if name == SO_BPF_EXTENSIONS:
        return _pack(64)
    if name == SO_COOKIE:
        if length < 8:
            raise LinuxError(EINVAL)
        return socket.inode.ino.to_bytes(8, "little")
    if name == SO_BINDTOIFINDEX:
        return _pack(socket.device)
    if name == SO_LOCK_FILTER:
        return _pack(socket.options.get(name, 0))
    if name == SO_TXREHASH and socket.kind == SOCK_STREAM:
        return _pack(socket.options.get(name, 1))
    if name == SO_REUSEPORT:
        return _pack(socket.options.get(name, 0))
    return socket.get_generic(task, SOL_SOCKET, name, length)


def _mtu(socket: InetSocket, ip: bytes) -> int:
    """The longest packet to ``ip``, 0 for the loopback's."""
    wire = socket.stack.wire
    return wire.mtu(ip) if wire is not None and socket.stack.kind_of(ip) != LOCAL else 0


def _get_ip(socket: InetSocket, name: int, length: int) -> bytes:
    key = (IPPROTO_IP, name)
    if name in _IP_SWITCHES:
        number = socket.levels.get(key, _IP_SWITCHES[name])
    elif name in _IP_NUMBERS:
        number = socket.levels.get(key, _IP_NUMBERS[name][0])
    elif name == IP_OPTIONS or (name == IP_PKTOPTIONS and socket.kind == SOCK_STREAM):
        return b""
    elif name == IP_HDRINCL:
        number = 0
    elif name == IP_MTU:
        if socket.remote is None:
            raise LinuxError(ENOTCONN)
        number = _mtu(socket, socket.remote[0]) or _LOCAL_MTU4
    elif name == IP_MULTICAST_IF:
        return bytes(4)
    elif name == IP_UNICAST_IF:
        number = socket.levels.get(key, 0)
    else:
        raise LinuxError(ENOPROTOOPT)
    if 0 < length < 4 and 0 <= number <= 255:
        return bytes((number,))
    return _pack(number)


def _get_ipv6(socket: InetSocket, name: int) -> bytes:
    key = (IPPROTO_IPV6, name)
    if name == IPV6_V6ONLY:
        return _pack(int(socket.only6))
    if name in _IP6_SWITCHES:
        return _pack(socket.levels.get(key, _IP6_SWITCHES[name]))
    if name in _IP6_NUMBERS:
        return _pack(socket.levels.get(key, _IP6_NUMBERS[name][0]))
    if name == IPV6_MTU:
        if socket.remote is None:
            raise LinuxError(ENOTCONN)
        return _pack(socket.levels.get(key, 0) or _mtu(socket, socket.remote[0]) or _LOCAL_MTU6)
    if name == IPV6_MULTICAST_IF:
        return _pack(socket.levels.get(key, 0))
    if name == IPV6_ADDRFORM:
        raise LinuxError(ENOTCONN)
    if name in _IP6_HEADERS:
        return b""
    raise LinuxError(ENOPROTOOPT)

