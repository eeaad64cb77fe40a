"""Neighbour discovery (RFC 4861): IPv6's ARP (net/ipv6/ndisc.c). Routers' advertisements are not listened
to: the sandbox keeps the addresses and routes that its namespace had."""

from __future__ import annotations

from runsc.kernel.socket.inet.addresses import is_multicast
from runsc_net_netstack import ipv6
from runsc_net_netstack.checksum import checksum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.ipv4 import Packet
    from runsc_net_netstack.link import PacketLink
    from runsc_net_netstack.netstack import NetStack

SOLICITATION, ADVERTISEMENT = 135, 136
_ICMPV6 = 58
_HOPS = 255
_SOURCE, _TARGET = 1, 2
_SOLICITED, _OVERRIDE = 0x40, 0x20
_ALL_NODES = b"\xff\x02" + bytes(13) + b"\1"
#: ff02::1:ff00:0/104, with the last three bytes of the address (RFC 4291 2.7.1).
_SOLICITED_NODE = b"\xff\x02" + bytes(9) + b"\1\xff"


def solicited_node(ip: bytes) -> bytes:
    """The group in which whoever has ``ip`` is asked for it."""
    return _SOLICITED_NODE + ip[13:]


def _option(view: memoryview, at: int, end: int, wanted: int) -> bytes | None:
    """A hardware address among the options, b"" if there is none; None if the options are malformed."""
    found = b""
    while at < end:
        if at + 2 > end or not view[at + 1] or at + 8 * view[at + 1] > end:
            return None
        if view[at] == wanted and view[at + 1] == 1:
            found = bytes(view[at + 2 : at + 8])
        at += 8 * view[at + 1]
    return found


def receive(stack: NetStack, packet: Packet, kind: int, view: memoryview, at: int, end: int) -> None:
    """A question or an answer; one that a router has passed on is none (the hop limit shows it)."""
    if packet.ttl != _HOPS or view[at + 1] or end - at < 24:
        return
    target = bytes(view[at + 8 : at + 24])
    if is_multicast(target):
        return
    link = packet.link
    if kind == SOLICITATION:
        hardware = _option(view, at + 24, end, _SOURCE)
        if hardware is None or not stack.own_on(link, target):
            return
        if packet.src == bytes(16):
            # Somebody wants to have the address: tell all that it is taken.
            _advertise(stack, link, target, _ALL_NODES, 0)
            return
        if hardware and not hardware[0] & 1:
            stack.neighbours.of(link, packet.src).learn(hardware, False)
        _advertise(stack, link, target, packet.src, _SOLICITED)
        return
    hardware = _option(view, at + 24, end, _TARGET)
    entry = stack.neighbours.known(link, target)
    if hardware is None or entry is None:
        return
    flags = view[at + 4]
    if not hardware:
        hardware = entry.hardware
    if hardware and not hardware[0] & 1:
        if entry.hardware and hardware != entry.hardware and not flags & _OVERRIDE:
            return
        entry.learn(hardware, bool(flags & _SOLICITED))


def _send(stack: NetStack, link: PacketLink, source: bytes, target: bytes, message: bytes) -> None:
    start = stack.pseudo(source, target, _ICMPV6, len(message))
    message = message[:2] + checksum(message, start).to_bytes(2, "big") + message[4:]
    path = stack.path_on(link, target)
    if path is not None:
        ipv6.send(stack, path, source, target, _ICMPV6, message, _HOPS, 0)


def _advertise(stack: NetStack, link: PacketLink, own: bytes, target: bytes, flags: int) -> None:
    message = bytes((ADVERTISEMENT, 0, 0, 0, flags | _OVERRIDE, 0, 0, 0)) + own
    _send(stack, link, own, target, message + bytes((_TARGET, 1)) + link.hardware)


def solicit(stack: NetStack, link: PacketLink, ip: bytes, hardware: bytes) -> None:
    """Who has ``ip``? Asked of its group, or of who had it."""
    source = stack.source_on(link, ip)
    message = bytes((SOLICITATION, 0, 0, 0, 0, 0, 0, 0)) + ip + bytes((_SOURCE, 1)) + link.hardware
    if not hardware:
        _send(stack, link, source, solicited_node(ip), message)
        return
    start = stack.pseudo(source, ip, _ICMPV6, len(message))
    message = message[:2] + checksum(message, start).to_bytes(2, "big") + message[4:]
    head = ipv6.HEADER.pack(0x60000000, len(message), _ICMPV6, _HOPS, source, ip)
    stack.send_frame(link, hardware, b"\x86\xdd", head + message)
