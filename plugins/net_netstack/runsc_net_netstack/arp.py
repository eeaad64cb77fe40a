"""ARP (RFC 826): finding IPv4 neighbours, and being found (net/ipv4/arp.c)."""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.link import PacketLink
    from runsc_net_netstack.netstack import NetStack

ETHERTYPE = b"\x08\x06"
REQUEST, REPLY = 1, 2
_BROADCAST = b"\xff" * 6
#: Hardware and protocol type and lengths, operation; sender's addresses; target's addresses.
_PACKET = Struct("!HHBBH6s4s6s4s")
#: Ethernet, IPv4, 6, 4.
_KIND = (1, 0x0800, 6, 4)


def parse(view: memoryview, start: int, end: int) -> tuple[int, bytes, bytes, bytes] | None:
    """Operation, sender's hardware and IP address, target's IP address; None for what isn't for IPv4 over
    Ethernet."""
    if end - start < _PACKET.size:
        return None
    *kind, operation, hardware, ip, _, target = _PACKET.unpack_from(view, start)
    return (operation, hardware, ip, target) if tuple(kind) == _KIND else None


def build(operation: int, hardware: bytes, ip: bytes, to_hardware: bytes, target: bytes) -> bytes:
    return _PACKET.pack(*_KIND, operation, hardware, ip, to_hardware, target)


def receive(stack: NetStack, link: PacketLink, view: memoryview, start: int, end: int) -> None:
    """Answer a question about an own address; learn from answers, and from who asks us (arp_process)."""
    found = parse(view, start, end)
    if found is None:
        return
    operation, hardware, ip, target = found
    if hardware[0] & 1 or hardware == link.hardware:
        return
    ours = stack.own_on(link, target)
    if operation == REQUEST and ours:
        if ip != bytes(4):  # else it asks whether it may have the address: answered, but nothing to learn
            stack.neighbours.of(link, ip).learn(hardware, False)
        answer = build(REPLY, link.hardware, target, hardware, ip)
        stack.send_frame(link, hardware, ETHERTYPE, answer)
        return
    entry = stack.neighbours.known(link, ip)
    if entry is not None and (operation == REPLY or ip == target):
        entry.learn(hardware, operation == REPLY and ours)


def solicit(stack: NetStack, link: PacketLink, ip: bytes, hardware: bytes) -> None:
    """Who has ``ip``?"""
    source = stack.source_on(link, ip)
    question = build(REQUEST, link.hardware, source, bytes(6), ip)
    stack.send_frame(link, hardware or _BROADCAST, ETHERTYPE, question)
