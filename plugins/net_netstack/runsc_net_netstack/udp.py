"""UDP and UDP-Lite on the wire (RFC 768, RFC 3828; net/ipv4/udp.c)."""

from __future__ import annotations

from struct import Struct

from runsc.abi.inet import IPPROTO_UDPLITE
from runsc.kernel.socket.inet.addresses import BROADCAST, MULTICAST
from runsc.kernel.socket.inet.datagram import Datagram, all_receivers
from runsc_net_netstack.checksum import checksum, total

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.ipv4 import Packet
    from runsc_net_netstack.netstack import NetStack

#: Source and destination port, length (UDP-Lite: how much the checksum covers), checksum.
HEADER = Struct("!HHHH")
SIZE = 8
#: Where the checksum stands.
CSUM_AT = 6


def receive(stack: NetStack, packet: Packet, protocol: int, view: memoryview, at: int, end: int) -> None:
    """A datagram: into the queues of those it is for."""
    if end - at < SIZE:
        stack.count("UdpInErrors")
        return
    sport, dport, length, check = HEADER.unpack_from(view, at)
    covered = end - at
    if protocol == IPPROTO_UDPLITE:
        covered = length or covered
        if not SIZE <= covered <= end - at or not check:
            stack.count("UdpInErrors")
            return
    else:
        if not length and len(packet.header) != 20:
            length = end - at
        if not SIZE <= length <= end - at:
            stack.count("UdpInErrors")
            return
        end = at + length
        covered = length
    unchecked = not check and packet.src[:12] == bytes(10) + b"\xff\xff"
    if not packet.trusted and not unchecked:
        whole = end - at if protocol == IPPROTO_UDPLITE else covered
        start = stack.pseudo(packet.src, packet.dst, protocol, whole)
        if not check or total(view[at : at + covered], start) != 0xFFFF:
            stack.count("UdpInCsumErrors")
            return
    loopback = stack.loopback
    table = loopback.udplite if protocol == IPPROTO_UDPLITE else loopback.udp
    source = (packet.src, sport)
    target = (packet.dst, dport)
    index = packet.link.index
    if packet.kind in (BROADCAST, MULTICAST):
        for socket in all_receivers(table, target, source, packet.kind, index):
            if not socket.device or socket.device == index:
                data = bytes(view[at + SIZE : end])
                socket.deliver(Datagram(data, source, target, packet.ttl, packet.tclass, index))
        return
    found = loopback.receiver(table, target, source)
    if found is None or (found.device and found.device != index):
        stack.count("UdpNoPorts")
        stack.port_unreachable(packet, view, at, end)
        return
    stack.count("UdpInDatagrams")
    found.deliver(Datagram(bytes(view[at + SIZE : end]), source, target, packet.ttl, packet.tclass, index))


def build(
    stack: NetStack, source: bytes, destination: bytes, protocol: int, sport: int, dport: int, data: bytes,
    *, offload: bool, checked: bool, coverage: int = 0,
) -> bytes:  # fmt: skip
    """A datagram; ``offload``: the link completes the checksum; ``checked`` False: it has none."""
    length = SIZE + len(data)
    if protocol == IPPROTO_UDPLITE:
        covered = min(coverage, length) if coverage else length
        field = coverage if coverage and coverage < length else 0
        head = HEADER.pack(sport, dport, field, 0)
        start = stack.pseudo(source, destination, protocol, length)
        check = checksum((head + data)[:covered], start) or 0xFFFF
        return HEADER.pack(sport, dport, field, check) + data
    if not checked:
        return HEADER.pack(sport, dport, length, 0) + data
    start = stack.pseudo(source, destination, protocol, length)
    if offload:
        return HEADER.pack(sport, dport, length, start) + data
    check = checksum(HEADER.pack(sport, dport, length, 0) + data, start) or 0xFFFF
    return HEADER.pack(sport, dport, length, check) + data
