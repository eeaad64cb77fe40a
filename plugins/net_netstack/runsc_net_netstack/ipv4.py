"""IPv4 (RFC 791; net/ipv4/ip_input.c, net/ipv4/ip_output.c)."""

from __future__ import annotations

from errno import EMSGSIZE
from struct import Struct

from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.inet.addresses import BROADCAST, LOCAL, MAPPED, MULTICAST
from runsc_net_netstack import icmp, udp
from runsc_net_netstack.checksum import checksum, fold, total
from runsc_net_netstack.link import DATA_VALID, GSO_NONE, NEEDS_CSUM, VNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.link import PacketLink
    from runsc_net_netstack.netstack import NetStack
    from runsc_net_netstack.route import Path

ETHERTYPE = b"\x08\x00"
ICMP, IGMP, TCP, UDP, UDPLITE = 1, 2, 6, 17, 136
HEADER = Struct("!BBHHHBBH4s4s")
_SIZE = 20
_DF, _MF, _OFFSET = 0x4000, 0x2000, 0x1FFF
_VALID = NEEDS_CSUM | DATA_VALID
#: Options that name a route are refused, as by default (RFC 7126).
_LSRR, _SSRR = 131, 137
EMPTY_VNET = bytes(VNET.size)


class Packet:
    """What the layers above want to know of a packet: addresses in the stack's 16 bytes; ``kind``: what the
    destination is to us; ``header``: of IP, with its options."""

    __slots__ = ("dst", "header", "kind", "link", "src", "tclass", "trusted", "ttl")

    def __init__(
        self, link: PacketLink, src: bytes, dst: bytes, kind: int, ttl: int, tclass: int, trusted: bool,
        header: bytes,
    ) -> None:  # fmt: skip
        self.link = link
        self.src = src
        self.dst = dst
        self.kind = kind
        self.ttl = ttl
        self.tclass = tclass
        self.trusted = trusted
        self.header = header


def receive(stack: NetStack, link: PacketLink, view: memoryview, at: int, end: int, flags: int) -> None:
    """A packet from the link. What isn't for us is dropped: nothing is forwarded."""
    if end - at < _SIZE:
        stack.count("InHdrErrors")
        return
    first, tos, length, ident, fragment, ttl, protocol, _, source, destination = HEADER.unpack_from(view, at)
    start = at + (first & 15) * 4
    if (
        first >> 4 != 4 or start < at + _SIZE or length < start - at or at + length > end
        or total(view[at:start]) != 0xFFFF
    ):  # fmt: skip
        stack.count("InHdrErrors")
        return
    end = at + length
    stack.count("InReceives")
    dst = MAPPED + destination
    src = MAPPED + source
    own = stack.own.get(dst)
    if own is not None:
        kind = LOCAL
    else:
        kind = stack.kind_on(link, dst)
        if kind not in (BROADCAST, MULTICAST):
            stack.count("InAddrErrors")
            return
    if source[0] in (0, 127) or source[0] >= 224 or destination[0] == 127 or src in stack.own:
        if source != bytes(4) or protocol != IGMP:
            stack.count("InAddrErrors")  # no such packet can come from outside
            return
    if start > at + _SIZE and not _options_allowed(view, at + _SIZE, start):
        stack.count("InHdrErrors")
        return
    trusted = bool(flags & (_VALID if stack.believe else NEEDS_CSUM))
    if fragment & (_MF | _OFFSET):
        stack.count("ReasmReqds")
        whole = stack.fragments.add(
            (source, destination, protocol, ident), (fragment & _OFFSET) * 8, bool(fragment & _MF),
            bytes(view[start:end]), (ttl, tos, bytes(view[at:start])), stack.now(),
        )  # fmt: skip
        if whole is None:
            return
        stack.count("ReasmOKs")
        data, head = whole
        assert isinstance(head, tuple)
        ttl, tos, header = head
        view, start, end, trusted = memoryview(data), 0, len(data), False
        packet = Packet(link, src, dst, kind, ttl, tos, trusted, header)
    elif protocol == TCP and kind == LOCAL:
        if stack.raw:
            packet = Packet(link, src, dst, kind, ttl, tos, trusted, bytes(view[at:start]))
            stack.raw_input(protocol, packet, view, start, end)
        stack.tcp.receive(src, dst, view, start, end, trusted, link.index)
        return
    else:
        packet = Packet(link, src, dst, kind, ttl, tos, trusted, bytes(view[at:start]))
    heard = bool(stack.raw) and stack.raw_input(protocol, packet, view, start, end)
    if protocol in (UDP, UDPLITE):
        udp.receive(stack, packet, protocol, view, start, end)
    elif protocol == ICMP:
        icmp.receive(stack, packet, view, start, end)
    elif protocol == TCP:
        if kind == LOCAL:
            stack.tcp.receive(src, dst, view, start, end, trusted, link.index)
    elif protocol == IGMP:
        stack.groups.heard(link, view, start, end)
    elif not heard and kind == LOCAL:
        stack.count("InUnknownProtos")
        icmp.send_error(stack, packet, view, start, end, icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE)


def _options_allowed(view: memoryview, at: int, end: int) -> bool:
    """Are the options well-formed, and do they name no route?"""
    while at < end:
        kind = view[at]
        if kind == 0:
            return True
        if kind == 1:
            at += 1
            continue
        if at + 1 >= end or view[at + 1] < 2 or at + view[at + 1] > end or kind in (_LSRR, _SSRR):
            return False
        at += view[at + 1]
    return True


def send(
    stack: NetStack, path: Path, source: bytes, destination: bytes, protocol: int, payload: bytes, ttl: int,
    tos: int, *, dont_fragment: bool = False, options: bytes = b"", csum_at: int = -1,
) -> None:  # fmt: skip
    """Send a packet between two addresses (4 bytes), in fragments if it has to be. ``csum_at``: the payload's
    checksum stands there and is the pseudo header's sum, for the link to complete; it must not be fragmented.
    Raises EMSGSIZE."""
    size = _SIZE + len(options) + len(payload)
    if size > 65535:
        raise LinuxError(EMSGSIZE)
    ident = stack.next_ident()
    length = _SIZE + len(options)
    first = 0x40 | length >> 2
    if size <= path.mtu:
        flags = _DF if dont_fragment else 0
        head = _header(first, tos, size, ident, flags, ttl, protocol, source, destination, options)
        vnet = EMPTY_VNET
        if csum_at >= 0:
            vnet = VNET.pack(NEEDS_CSUM, GSO_NONE, 0, 0, 14 + length, csum_at)
        path.neighbour.send(vnet, head, [payload])
        return
    if dont_fragment:
        raise LinuxError(EMSGSIZE)
    piece = (path.mtu - length) & ~7
    for offset in range(0, len(payload), piece):
        part = payload[offset : offset + piece]
        flags = offset >> 3 | (_MF if offset + piece < len(payload) else 0)
        size = length + len(part)
        head = _header(first, tos, size, ident, flags, ttl, protocol, source, destination, options)
        path.neighbour.send(EMPTY_VNET, head, [part])
    stack.count("FragCreates")


def _header(
    first: int, tos: int, size: int, ident: int, flags: int, ttl: int, protocol: int, source: bytes,
    destination: bytes, options: bytes,
) -> bytes:  # fmt: skip
    head = HEADER.pack(first, tos, size, ident, flags, ttl, protocol, 0, source, destination) + options
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:]


def pseudo(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """The sum of the pseudo header (RFC 793 3.1), folded."""
    return fold(
        int.from_bytes(source[:2], "big") + int.from_bytes(source[2:], "big")
        + int.from_bytes(destination[:2], "big") + int.from_bytes(destination[2:], "big") + protocol + length
    )  # fmt: skip
