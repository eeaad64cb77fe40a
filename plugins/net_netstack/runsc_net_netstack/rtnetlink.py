"""Asking the host's kernel for interfaces, addresses, routes and neighbours, and taking addresses away
(rtnetlink(7)).

Only used before the jail is closed, in the network namespace that is taken over.
"""

from __future__ import annotations

import os
from _socket import AF_NETLINK, SOCK_RAW, socket
from struct import Struct

from runsc.abi.socket import AF_INET, AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SOCK_CLOEXEC = 0o2000000
_NLMSGHDR = Struct("<IHHII")
_IFINFOMSG = Struct("<BxHiII")
_IFADDRMSG = Struct("<BBBBI")
_RTMSG = Struct("<BBBBBBBBI")
_NDMSG = Struct("<BxxxiHBB")
_F_REQUEST, _F_ACK, _F_DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
_IFLA_ADDRESS, _IFLA_BROADCAST, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_TXQLEN = 1, 2, 3, 4, 10, 13
_IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_GSO_MAX_SIZE = 18, 1, 41
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 6, 7, 15
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT = 0x80
_TYPE_MASK = 0x3FFF
_ROOM = 1 << 17


class HostLink:
    """An interface: ``kind`` is what the host calls it ("veth", "bridge", b"" for hardware); ``master``: the
    number of the bridge or bond that it is a part of, 0 if none."""

    __slots__ = (
        "broadcast", "flags", "gso_max", "hardware", "index", "kind", "master", "mtu", "name", "txqlen",
        "type",
    )  # fmt: skip

    def __init__(self, body: bytes) -> None:
        _, self.type, self.index, self.flags, _ = _IFINFOMSG.unpack_from(body)
        found = attributes(body[_IFINFOMSG.size :])
        self.name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0")
        self.mtu = _number(found.get(_IFLA_MTU, b""))
        self.txqlen = _number(found.get(_IFLA_TXQLEN, b""))
        self.hardware = found.get(_IFLA_ADDRESS, b"")
        self.broadcast = found.get(_IFLA_BROADCAST, b"")
        self.master = _number(found.get(_IFLA_MASTER, b""))
        self.gso_max = _number(found.get(_IFLA_GSO_MAX_SIZE, b"")) or 65536
        self.kind = attributes(found.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"").rstrip(b"\0")


class HostAddress:
    """An address; ``body`` is the message that told of it, good for taking it away."""

    __slots__ = ("body", "broadcast", "family", "flags", "index", "ip", "peer", "prefix", "scope")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.family, self.prefix, flags, self.scope, self.index = _IFADDRMSG.unpack_from(body)
        found = attributes(body[_IFADDRMSG.size :])
        self.peer = found.get(_IFA_ADDRESS, b"")
        self.ip = found.get(_IFA_LOCAL) or self.peer
        self.broadcast = found.get(_IFA_BROADCAST, b"")
        self.flags = _number(found[_IFA_FLAGS]) if _IFA_FLAGS in found else flags


class HostRoute:
    """A route; ``network`` and ``gateway`` are empty if they are not said."""

    __slots__ = (
        "family", "gateway", "index", "kind", "network", "prefix", "priority", "protocol", "scope", "source",
        "table",
    )  # fmt: skip

    def __init__(self, body: bytes) -> None:
        self.family, self.prefix, _, _, table, self.protocol, self.scope, self.kind, _ = (
            _RTMSG.unpack_from(body)
        )
        found = attributes(body[_RTMSG.size :])
        self.network = found.get(_RTA_DST, b"")
        self.gateway = found.get(_RTA_GATEWAY, b"")
        self.index = _number(found.get(_RTA_OIF, b""))
        self.priority = _number(found.get(_RTA_PRIORITY, b""))
        self.source = found.get(_RTA_PREFSRC, b"")
        self.table = _number(found[_RTA_TABLE]) if _RTA_TABLE in found else table


class HostNeighbour:
    """A neighbour's hardware address that somebody has set for good."""

    __slots__ = ("hardware", "index", "ip")

    def __init__(self, index: int, ip: bytes, hardware: bytes) -> None:
        self.index = index
        self.ip = ip
        self.hardware = hardware


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in a message, by type."""
    found = {}
    at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 2], "little")
        if length < 4 or at + length > len(data):
            break
        found[int.from_bytes(data[at + 2 : at + 4], "little") & _TYPE_MASK] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


class RtNetlink:
    """A conversation with the host's kernel. ``close`` ends it; errors are ``OSError``."""

    __slots__ = ("sequence", "socket")

    def __init__(self) -> None:
        self.socket = socket(AF_NETLINK, SOCK_RAW | _SOCK_CLOEXEC, 0)
        self.sequence = 0

    def close(self) -> None:
        self.socket.close()

    def _request(self, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
        self.sequence += 1
        header = _NLMSGHDR.pack(_NLMSGHDR.size + len(body), kind, _F_REQUEST | flags, self.sequence, 0)
        self.socket.send(header + body)
        while True:
            data = self.socket.recv(_ROOM)
            at = 0
            while at + _NLMSGHDR.size <= len(data):
                length, answer, _, sequence, _ = _NLMSGHDR.unpack_from(data, at)
                if length < _NLMSGHDR.size:
                    break
                body = data[at + _NLMSGHDR.size : at + length]
                at += (length + 3) & ~3
                if sequence != self.sequence:
                    continue
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    error = -int.from_bytes(body[:4], "little", signed=True)
                    if error:
                        raise OSError(error, os.strerror(error))
                    return
                yield answer, body

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        for _, answer in self._request(kind, _F_DUMP, body):
            yield answer

    def links(self) -> list[HostLink]:
        return [HostLink(body) for body in self._dump(RTM_GETLINK, bytes(_IFINFOMSG.size))]

    def addresses(self) -> list[HostAddress]:
        return [HostAddress(body) for body in self._dump(RTM_GETADDR, bytes(_IFADDRMSG.size))]

    def routes(self) -> list[HostRoute]:
        return [
            HostRoute(body)
            for family in (AF_INET, AF_INET6)
            for body in self._dump(RTM_GETROUTE, bytes((family,)).ljust(_RTMSG.size, b"\0"))
        ]

    def neighbours(self) -> list[HostNeighbour]:
        """The permanent ones."""
        found = []
        for body in self._dump(RTM_GETNEIGH, bytes(_NDMSG.size)):
            _, index, state, _, _ = _NDMSG.unpack_from(body)
            told = attributes(body[_NDMSG.size :])
            if state & _NUD_PERMANENT and len(told.get(_NDA_LLADDR, b"")) == 6:
                found.append(HostNeighbour(index, told.get(_NDA_DST, b""), told[_NDA_LLADDR]))
        return found

    def remove(self, address: HostAddress) -> None:
        """Take an address from its interface."""
        for _ in self._request(RTM_DELADDR, _F_ACK, address.body):
            raise AssertionError("an acknowledgement is all that comes")
