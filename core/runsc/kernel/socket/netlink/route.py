"""rtnetlink(7): what getifaddrs(3), ``ip link``, ``ip addr`` and ``ip route`` ask.

Requests that would change something are refused: a guest's interfaces are what its sandbox gave it.
"""

from __future__ import annotations

from errno import EINVAL, ENETUNREACH, ENODEV, EOPNOTSUPP, EPERM

from runsc.abi.inet import IFF_UP
from runsc.abi.netlink import (
    FIB_RULE_HDR,
    FR_ACT_TO_TBL,
    FRA_PRIORITY,
    FRA_SUPPRESS_PREFIXLEN,
    FRA_TABLE,
    IFA_ADDRESS,
    IFA_BROADCAST,
    IFA_CACHEINFO,
    IFA_F_PERMANENT,
    IFA_FLAGS,
    IFA_LABEL,
    IFA_LOCAL,
    IFADDRMSG,
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_BROADCAST,
    IFLA_CARRIER,
    IFLA_GROUP,
    IFLA_IFNAME,
    IFLA_LINKMODE,
    IFLA_MTU,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    IFLA_OPERSTATE,
    IFLA_PROMISCUITY,
    IFLA_QDISC,
    IFLA_STATS64,
    IFLA_TXQLEN,
    NLATTR,
    NLM_F_DUMP,
    RTA_CACHEINFO,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTA_UID,
    RTCF_LOCAL,
    RTM_F_CLONED,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETNETCONF,
    RTM_GETQDISC,
    RTM_GETROUTE,
    RTM_GETRULE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    RTMSG,
)  # fmt: skip
from runsc.abi.socket import AF_INET, AF_INET6, AF_UNSPEC
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.devices import (
    RT_TABLE_DEFAULT,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTN_LOCAL,
    RTPROT_KERNEL,
    devices_of,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import NetNamespace
    from runsc.kernel.socket.devices import Address, Device, Route

    #: The type of an answering message, and what is behind its header.
    Answer = tuple[int, bytes]

_FOREVER = 0xFFFFFFFF
#: IF_OPER_UNKNOWN, as the loopback has it when it is up, IF_OPER_DOWN and IF_OPER_UP.
_OPER_UNKNOWN, _OPER_DOWN, _OPER_UP = 0, 2, 6
_RULES = ((0, RT_TABLE_LOCAL), (32766, RT_TABLE_MAIN), (32767, RT_TABLE_DEFAULT))
_DUMPS_EMPTY = frozenset((RTM_GETNEIGH, RTM_GETQDISC, RTM_GETNETCONF))


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    whole = NLATTR.pack(NLATTR.size + len(data), kind) + data
    return whole.ljust((len(whole) + 3) & ~3, b"\0")


def _u32(kind: int, number: int) -> bytes:
    return attribute(kind, number.to_bytes(4, "little"))


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in a request, by type; those that are cut are left out."""
    found = {}
    at = 0
    while at + NLATTR.size <= len(data):
        length, kind = NLATTR.unpack_from(data, at)
        if length < NLATTR.size or at + length > len(data):
            break
        found[kind & 0x3FFF] = data[at + NLATTR.size : at + length]
        at += (length + 3) & ~3
    return found


def answer(net: Kernel | NetNamespace, kind: int, flags: int, body: bytes) -> Iterator[Answer]:
    """The messages that answer a request, as far as they are not its acknowledgement or end.

    Raises EINVAL, ENODEV, ENETUNREACH, EPERM for what would change something, EOPNOTSUPP."""
    if kind & 3 != 2:
        raise LinuxError(EPERM)
    if not body:
        raise LinuxError(EINVAL)
    dump = flags & NLM_F_DUMP == NLM_F_DUMP
    if kind == RTM_GETLINK:
        return _links(net, dump, body)
    if kind == RTM_GETADDR and dump:
        return _addresses(net, body)
    if kind == RTM_GETROUTE:
        return _routes(net, body[0]) if dump else _route_to(net, body)
    if kind == RTM_GETRULE and dump:
        return _rules(body[0])
    if kind in _DUMPS_EMPTY and dump:
        return iter(())
    raise LinuxError(EOPNOTSUPP)


# -- interfaces -------------------------------------------------------------------------------------


def _links(net: Kernel | NetNamespace, dump: bool, body: bytes) -> Iterator[Answer]:
    devices = devices_of(net)
    if dump:
        return ((RTM_NEWLINK, link(device)) for device in devices.devices)
    if len(body) < IFINFOMSG.size:
        raise LinuxError(EINVAL)
    index: int = IFINFOMSG.unpack_from(body)[3]
    name = attributes(body[IFINFOMSG.size :]).get(IFLA_IFNAME, b"").split(b"\0")[0]
    if index <= 0 and not name:
        raise LinuxError(EINVAL)
    device = devices.by_index(index) if index > 0 else devices.by_name(name)
    if device is None:
        raise LinuxError(ENODEV)
    return iter(((RTM_NEWLINK, link(device)),))


def link(device: Device) -> bytes:
    """A struct ifinfomsg with attributes (rtnl_fill_ifinfo)."""
    received, in_octets, sent, out_octets = device.counters()
    state = _OPER_DOWN
    if device.flags & IFF_UP:
        state = _OPER_UNKNOWN if device.index == 1 else _OPER_UP
    counters = (received, sent, in_octets, out_octets, *[0] * 21)
    return b"".join((
        IFINFOMSG.pack(AF_UNSPEC, 0, device.type, device.index, device.flags, 0),
        attribute(IFLA_IFNAME, device.name + b"\0"),
        _u32(IFLA_TXQLEN, device.txqlen),
        attribute(IFLA_OPERSTATE, bytes((state,))),
        attribute(IFLA_LINKMODE, b"\0"),
        _u32(IFLA_MTU, device.mtu),
        _u32(IFLA_GROUP, 0),
        _u32(IFLA_PROMISCUITY, 0),
        _u32(IFLA_NUM_TX_QUEUES, 1),
        _u32(IFLA_NUM_RX_QUEUES, 1),
        attribute(IFLA_CARRIER, bytes((int(device.flags & IFF_UP),))),
        attribute(IFLA_QDISC, b"noqueue\0" if device.flags & IFF_UP else b"noop\0"),
        attribute(IFLA_ADDRESS, device.hardware),
        attribute(IFLA_BROADCAST, device.broadcast),
        attribute(IFLA_STATS64, b"".join(number.to_bytes(8, "little") for number in counters)),
    ))  # fmt: skip


def _addresses(net: Kernel | NetNamespace, body: bytes) -> Iterator[Answer]:
    family = body[0]
    index = IFADDRMSG.unpack_from(body)[4] if len(body) >= IFADDRMSG.size else 0
    for wanted in (AF_INET, AF_INET6):
        if family in (AF_UNSPEC, wanted):
            for device in devices_of(net).devices:
                if index in (0, device.index):
                    for address in device.addresses:
                        if address.family == wanted:
                            yield RTM_NEWADDR, _address(device, address)


def _address(device: Device, address: Address) -> bytes:
    """A struct ifaddrmsg with attributes (inet_fill_ifaddr, inet6_fill_ifaddr)."""
    parts = [
        IFADDRMSG.pack(address.family, address.prefix, IFA_F_PERMANENT, address.scope, device.index),
        attribute(IFA_ADDRESS, address.ip),
    ]
    if address.family == AF_INET:
        parts.append(attribute(IFA_LOCAL, address.ip))
        if address.broadcast:
            parts.append(attribute(IFA_BROADCAST, address.broadcast))
        parts.append(attribute(IFA_LABEL, device.name + b"\0"))
    # preferred and valid for ever; made and changed at boot
    forever = _FOREVER.to_bytes(4, "little")
    parts.append(attribute(IFA_CACHEINFO, forever + forever + bytes(8)))
    parts.append(_u32(IFA_FLAGS, IFA_F_PERMANENT))
    return b"".join(parts)


# -- routes -----------------------------------------------------------------------------------------


def _routes(net: Kernel | NetNamespace, family: int) -> Iterator[Answer]:
    for wanted in (AF_INET, AF_INET6):
        if family in (AF_UNSPEC, wanted):
            for route in devices_of(net).routes:
                if route.family == wanted:
                    yield RTM_NEWROUTE, _route(route, route.network, route.prefix)


def _route(route: Route, destination: bytes, prefix: int) -> bytes:
    """A struct rtmsg with attributes (fib_dump_info)."""
    parts = [
        RTMSG.pack(
            route.family, prefix, 0, 0, route.table, RTPROT_KERNEL, route.scope, route.kind, 0
        ),
        _u32(RTA_TABLE, route.table),
    ]  # fmt: skip
    if prefix:
        parts.append(attribute(RTA_DST, destination))
    if route.family == AF_INET6 or route.priority:
        parts.append(_u32(RTA_PRIORITY, route.priority))
    if route.source:
        parts.append(attribute(RTA_PREFSRC, route.source))
    if route.gateway:
        parts.append(attribute(RTA_GATEWAY, route.gateway))
    parts.append(_u32(RTA_OIF, route.index))
    if route.family == AF_INET6:
        parts.append(attribute(RTA_PREF, b"\0"))
    return b"".join(parts)


def _route_to(net: Kernel | NetNamespace, body: bytes) -> Iterator[Answer]:
    """``ip route get``: the narrowest route that leads to an address."""
    if len(body) < RTMSG.size:
        raise LinuxError(EINVAL)
    destination = attributes(body[RTMSG.size :]).get(RTA_DST, b"")
    if len(destination) != (4 if body[0] == AF_INET else 16):
        raise LinuxError(EINVAL)
    best: Route | None = None
    for route in devices_of(net).routes:
        if route.family == body[0] and _within(destination, route.network, route.prefix):
            if best is None or route.prefix > best.prefix:
                best = route
    if best is None:
        raise LinuxError(ENETUNREACH)
    length = 8 * len(destination)
    flags = RTM_F_CLONED | (RTCF_LOCAL if best.kind == RTN_LOCAL else 0)
    parts = [
        RTMSG.pack(best.family, length, 0, 0, RT_TABLE_MAIN, 0, 0, best.kind, flags),
        _u32(RTA_TABLE, RT_TABLE_MAIN if best.family == AF_INET else best.table),
        attribute(RTA_DST, destination),
        _u32(RTA_OIF, best.index),
    ]
    if best.gateway:
        parts.append(attribute(RTA_GATEWAY, best.gateway))
    parts.append(attribute(RTA_PREFSRC, best.source or destination))
    parts.append(_u32(RTA_UID, 0))
    parts.append(attribute(RTA_CACHEINFO, bytes(32)))
    return iter(((RTM_NEWROUTE, b"".join(parts)),))


def _within(ip: bytes, network: bytes, prefix: int) -> bool:
    shift = 8 * len(ip) - prefix
    return int.from_bytes(ip, "big") >> shift == int.from_bytes(network, "big") >> shift


def _rules(family: int) -> Iterator[Answer]:
    """The rules that every network begins with: look at the tables local, main and default. IPv6 has no
    table default (fib_nl_fill_rule)."""
    for wanted in (AF_INET, AF_INET6):
        if family in (AF_UNSPEC, wanted):
            for priority, table in _RULES if wanted == AF_INET else _RULES[:2]:
                parts = [FIB_RULE_HDR.pack(wanted, 0, 0, 0, table, 0, 0, FR_ACT_TO_TBL, 0)]
                parts.append(_u32(FRA_TABLE, table))
                parts.append(_u32(FRA_SUPPRESS_PREFIXLEN, 0xFFFFFFFF))
                if priority:
                    parts.append(_u32(FRA_PRIORITY, priority))
                yield RTM_NEWRULE, b"".join(parts)
