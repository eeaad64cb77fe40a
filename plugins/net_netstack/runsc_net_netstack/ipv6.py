"""IPv6 (RFC 8200; net/ipv6/ip6_input.c, net/ipv6/ip6_output.c)."""

from __future__ import annotations

from errno import EMSGSIZE
from struct import Struct

from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.inet.addresses import LOCAL, MULTICAST
from runsc_net_netstack import icmpv6, udp
from runsc_net_netstack.ipv4 import EMPTY_VNET, ICMP, TCP, UDP, UDPLITE, Packet
from runsc_net_netstack.link import DATA_VALID, GSO_NONE, NEEDS_CSUM, VNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.link import PacketLink
    from runsc_net_netstack.netstack import NetStack
    from runsc_net_netstack.route import Path

#: Version, traffic class and flow label; payload length, next header, hop limit, addresses.
HEADER = Struct("!IHBB16s16s")
SIZE = 40
HOP_BY_HOP, ROUTING, FRAGMENT, ICMPV6, NONE, OPTIONS = 0, 43, 44, 58, 59, 60
_FRAGMENT = Struct("!BxHI")
_VALID = NEEDS_CSUM | DATA_VALID
#: How many extension headers are looked through.
_MAX_HEADERS = 8
_MIN_MTU = 1280


def receive(stack: NetStack, link: PacketLink, view: memoryview, at: int, end: int, flags: int) -> None:
    """A packet from the link."""
    if end - at < SIZE:
        stack.count("Ip6InHdrErrors")
        return
    first, length, protocol, hops, src, dst = HEADER.unpack_from(view, at)
    if first >> 28 != 6 or at + SIZE + length > end:
        stack.count("Ip6InHdrErrors")
        return
    stack.count("Ip6InReceives")
    start, end = at + SIZE, at + SIZE + length
    kind = LOCAL if dst in stack.own else stack.kind_on(link, dst)
    loops = (src[:15] == bytes(15) and src[15] == 1) or src[:12] == bytes(10) + b"\xff\xff"
    if kind not in (LOCAL, MULTICAST) or src[0] == 0xFF or loops or src in stack.own:
        stack.count("Ip6InAddrErrors")
        return
    header = bytes(view[at:start])
    trusted = bool(flags & (_VALID if stack.believe else NEEDS_CSUM))
    packet = Packet(link, src, dst, kind, hops, first >> 20 & 0xFF, trusted, header)
    _payload(stack, packet, protocol, view, start, end)


def _payload(
    stack: NetStack, packet: Packet, protocol: int, view: memoryview, start: int, end: int, depth: int = 0
) -> None:
    """Go through the extension headers to what the packet holds."""
    before = -1
    while protocol in (HOP_BY_HOP, ROUTING, FRAGMENT, OPTIONS):
        depth += 1
        if depth > _MAX_HEADERS or end - start < 8 or (protocol == HOP_BY_HOP and before >= 0):
            stack.count("Ip6InHdrErrors")
            return
        following = view[start]
        if protocol == FRAGMENT:
            _fragment(stack, packet, following, view, start, end, depth)
            return
        size = (view[start + 1] + 1) * 8
        if size > end - start or (protocol == ROUTING and view[start + 3]):
            stack.count("Ip6InHdrErrors")
            return
        if protocol != ROUTING and not _options_known(view, start + 2, start + size):
            return
        before = protocol
        protocol = following
        start += size
    if protocol == ICMP:
        return
    heard = bool(stack.raw) and stack.raw_input(protocol, packet, view, start, end)
    if protocol == TCP:
        if packet.kind == LOCAL:
            stack.tcp.receive(packet.src, packet.dst, view, start, end, packet.trusted, packet.link.index)
    elif protocol in (UDP, UDPLITE):
        udp.receive(stack, packet, protocol, view, start, end)
    elif protocol == ICMPV6:
        icmpv6.receive(stack, packet, view, start, end)
    elif protocol != NONE and not heard and packet.kind == LOCAL:
        stack.count("Ip6InUnknownProtos")
        pointer = (SIZE - 2).to_bytes(4, "big")
        icmpv6.send_error(stack, packet, view, start, end, icmpv6.PARAMETER, icmpv6.UNKNOWN_HEADER, pointer)


def _options_known(view: memoryview, at: int, end: int) -> bool:
    """Are the options whole, and none of those that must be understood (RFC 8200 4.2)?"""
    while at < end:
        kind = view[at]
        if kind == 0:
            at += 1
            continue
        if at + 1 >= end or at + 2 + view[at + 1] > end:
            return False
        if kind >> 6 and kind != 0xC2:
            return False
        at += 2 + view[at + 1]
    return True


def _fragment(
    stack: NetStack, packet: Packet, protocol: int, view: memoryview, start: int, end: int, depth: int
) -> None:
    _, place, ident = _FRAGMENT.unpack_from(view, start)
    data = bytes(view[start + 8 : end])
    stack.count("Ip6ReasmReqds")
    if not place & 0xFFF9:
        _payload(stack, packet, protocol, memoryview(data), 0, len(data), depth)  # all of it (RFC 6946)
        return
    whole = stack.fragments6.add(
        (packet.src, packet.dst, 0, ident), place & 0xFFF8, bool(place & 1), data, (protocol, packet),
        stack.now(),
    )  # fmt: skip
    if whole is None:
        return
    stack.count("Ip6ReasmOKs")
    found, head = whole
    protocol, packet = head  # type: ignore[misc]
    packet.trusted = False
    _payload(stack, packet, protocol, memoryview(found), 0, len(found), depth)


def send(
    stack: NetStack, path: Path, source: bytes, destination: bytes, protocol: int, payload: bytes, hops: int,
    tclass: int, *, csum_at: int = -1,
) -> None:  # fmt: skip
    """Send a packet, in fragments if it has to be; see ``ipv4.send``. Raises EMSGSIZE."""
    if len(payload) > 65535:
        raise LinuxError(EMSGSIZE)
    first = 0x60000000 | tclass << 20
    if SIZE + len(payload) <= path.mtu:
        head = HEADER.pack(first, len(payload), protocol, hops, source, destination)
        vnet = EMPTY_VNET
        if csum_at >= 0:
            vnet = VNET.pack(NEEDS_CSUM, GSO_NONE, 0, 0, 14 + SIZE, csum_at)
        path.neighbour.send(vnet, head, [payload])
        return
    ident = stack.next_ident() << 16 | stack.next_ident()
    piece = (max(path.mtu, _MIN_MTU) - SIZE - 8) & ~7
    for offset in range(0, len(payload), piece):
        part = payload[offset : offset + piece]
        more = offset + piece < len(payload)
        head = HEADER.pack(first, 8 + len(part), FRAGMENT, hops, source, destination)
        head += bytes((protocol, 0)) + (offset | more).to_bytes(2, "big") + ident.to_bytes(4, "big")
        path.neighbour.send(EMPTY_VNET, head, [part])
    stack.count("Ip6FragCreates")
