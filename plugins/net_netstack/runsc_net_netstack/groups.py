"""Telling routers and switches which multicast groups are wanted: IGMP version 2 (RFC 2236), which all
understand, and MLD version 2 (RFC 3810)."""

from __future__ import annotations

from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.inet.addresses import MAPPED, is_v4
from runsc_net_netstack import ipv4, ipv6
from runsc_net_netstack.checksum import checksum, total
from runsc_net_netstack.ndp import solicited_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.link import PacketLink
    from runsc_net_netstack.netstack import NetStack

_QUERY, _REPORT, _LEAVE = 0x11, 0x16, 0x17
_ALL_HOSTS, _ALL_ROUTERS = b"\xe0\0\0\1", b"\xe0\0\0\2"
_ROUTER_ALERT = b"\x94\x04\0\0"
_MLD_REPORT, _TO_INCLUDE, _TO_EXCLUDE, _IS_EXCLUDE = 143, 3, 4, 2
_MLD_ROUTERS = b"\xff\x02" + bytes(13) + b"\x16"
_ICMPV6 = 58


class Groups:
    """``members``: how many sockets are in a group at an interface."""

    __slots__ = ("members", "stack")

    def __init__(self, stack: NetStack) -> None:
        self.stack = stack
        self.members: dict[tuple[bytes, int], int] = {}

    def start(self, link: PacketLink) -> None:
        """The groups in which our own IPv6 addresses are asked for."""
        for ip, _ in self.stack.prefixes[link.index]:
            if not is_v4(ip):
                self.join(solicited_node(ip), link.index)

    def join(self, ip: bytes, index: int) -> None:
        count = self.members[ip, index] = self.members.get((ip, index), 0) + 1
        if count == 1:
            self._tell(ip, index, True)

    def leave(self, ip: bytes, index: int) -> None:
        count = self.members.get((ip, index), 1) - 1
        if count:
            self.members[ip, index] = count
        elif self.members.pop((ip, index), None) is not None:
            self._tell(ip, index, False)

    def _tell(self, ip: bytes, index: int, joined: bool) -> None:
        link = self.stack.links.get(index)
        if link is None:
            return
        if is_v4(ip):
            if ip[12:] != _ALL_HOSTS:
                self._report4(link, ip[12:], _REPORT if joined else _LEAVE)
        elif ip[1] & 15 > 1 and ip[2:] != bytes(13) + b"\1":
            self._report6(link, ip, _TO_EXCLUDE if joined else _TO_INCLUDE)

    def _report4(self, link: PacketLink, group: bytes, kind: int) -> None:
        message = bytes((kind, 0, 0, 0)) + group
        message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
        target = _ALL_ROUTERS if kind == _LEAVE else group
        source = self.stack.address_of(link.index, True)
        try:
            path = self.stack.path(MAPPED + target, link.index)
        except LinuxError:
            return
        own = source[12:] if source else bytes(4)
        ipv4.send(self.stack, path, own, target, ipv4.IGMP, message, 1, 0xC0, options=_ROUTER_ALERT)

    def _report6(self, link: PacketLink, group: bytes, kind: int) -> None:
        stack = self.stack
        path = stack.path_on(link, _MLD_ROUTERS)
        if path is None:
            return
        source = path.source if path.source[0] == 0xFE else bytes(16)
        message = bytes((_MLD_REPORT, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, 0)) + group
        start = stack.pseudo(source, _MLD_ROUTERS, _ICMPV6, len(message))
        message = message[:2] + checksum(message, start).to_bytes(2, "big") + message[4:]
        # The router alert option, in a hop-by-hop header (RFC 2711).
        head = bytes((_ICMPV6, 0, 5, 2, 0, 0, 1, 0))
        ipv6.send(stack, path, source, _MLD_ROUTERS, ipv6.HOP_BY_HOP, head + message, 1, 0)

    def heard(self, link: PacketLink, view: memoryview, at: int, end: int) -> None:
        """A router asks who is where (IGMP)."""
        if end - at < 8 or view[at] != _QUERY or total(view[at:end]) != 0xFFFF:
            return
        wanted = bytes(view[at + 4 : at + 8])
        for ip, index in list(self.members):
            if index == link.index and is_v4(ip) and wanted in (bytes(4), ip[12:]) and ip[12:] != _ALL_HOSTS:
                self._report4(link, ip[12:], _REPORT)

    def queried6(self, link: PacketLink) -> None:
        """A router asks (MLD)."""
        for ip, index in list(self.members):
            if index == link.index and not is_v4(ip):
                self._report6(link, ip, _IS_EXCLUDE)
