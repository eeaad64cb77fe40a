"""ICMP (RFC 792, RFC 1122 3.2.2; net/ipv4/icmp.c)."""

from __future__ import annotations

from errno import (
    ECONNREFUSED,
    EHOSTDOWN,
    EHOSTUNREACH,
    EMSGSIZE,
    ENETUNREACH,
    ENONET,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPROTO,
)  # fmt: skip
from struct import Struct

from runsc.kernel.socket.inet.addresses import LOCAL, MAPPED
from runsc_net_netstack import ipv4
from runsc_net_netstack.checksum import checksum, total

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.ipv4 import Packet
    from runsc_net_netstack.netstack import NetStack

ECHO_REPLY, UNREACHABLE, ECHO, TIME_EXCEEDED, PARAMETER, TIMESTAMP, TIMESTAMP_REPLY = 0, 3, 8, 11, 12, 13, 14
PROTOCOL_UNREACHABLE, PORT_UNREACHABLE, FRAGMENTATION_NEEDED = 2, 3, 4
_SIZE = 8
_EMBEDDED = Struct("!BBHHHBBH4s4s")
#: What a code of UNREACHABLE means to a program, and whether that is final (icmp_err_convert).
_MEANING = (
    (ENETUNREACH, False), (EHOSTUNREACH, False), (ENOPROTOOPT, True), (ECONNREFUSED, True), (EMSGSIZE, False),
    (EOPNOTSUPP, False), (ENETUNREACH, True), (EHOSTDOWN, True), (ENONET, True), (ENETUNREACH, True),
    (EHOSTUNREACH, True), (ENETUNREACH, False), (EHOSTUNREACH, False), (EHOSTUNREACH, True),
    (EHOSTUNREACH, True), (EHOSTUNREACH, True),
)  # fmt: skip
#: How much of the packet an error quotes (RFC 1812 4.3.2.3).
_QUOTED = 576 - 20 - 8
#: Sizes of packets to try when a router doesn't say its MTU (RFC 1191 7.1).
_PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 576)


def receive(stack: NetStack, packet: Packet, view: memoryview, at: int, end: int) -> None:
    """A message (icmp_rcv)."""
    stack.count("IcmpInMsgs")
    if end - at < _SIZE or total(view[at:end]) != 0xFFFF:
        stack.count("IcmpInErrors")
        return
    kind, code = view[at], view[at + 1]
    if kind == ECHO:
        if packet.kind == LOCAL:
            stack.count("IcmpInEchos")
            answer(stack, packet, bytes((ECHO_REPLY, code, 0, 0)) + bytes(view[at + 4 : end]))
    elif kind == ECHO_REPLY:
        if packet.kind == LOCAL:
            ident = view[at + 4] << 8 | view[at + 5]
            stack.echo_reply(packet, ident, bytes(view[at:end]))
    elif kind == TIMESTAMP:
        if packet.kind == LOCAL and end - at >= 20:
            stamp = stack.midnight_ms().to_bytes(4, "big") * 2
            answer(stack, packet, bytes((TIMESTAMP_REPLY, 0, 0, 0)) + bytes(view[at + 4 : at + 12]) + stamp)
    elif kind in (UNREACHABLE, TIME_EXCEEDED, PARAMETER) and packet.kind == LOCAL:
        _error(stack, packet, kind, code, view, at, end)


def answer(stack: NetStack, packet: Packet, message: bytes) -> None:
    """Send a message back to who sent a packet."""
    path = stack.path_back(packet.src, packet.dst)
    if path is None:
        return
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    stack.count("IcmpOutMsgs")
    ipv4.send(stack, path, packet.dst[12:], packet.src[12:], ipv4.ICMP, message, 64, packet.tclass)


def _error(
    stack: NetStack, packet: Packet, kind: int, code: int, view: memoryview, at: int, end: int
) -> None:
    """Something that we sent didn't get there: tell who sent it."""
    quoted = at + _SIZE
    if end - quoted < 28:
        return
    first, _, _, _, fragment, _, protocol, _, source, destination = _EMBEDDED.unpack_from(view, quoted)
    inner = quoted + (first & 15) * 4
    if first >> 4 != 4 or inner < quoted + 20 or end - inner < 8 or fragment & 0x1FFF:
        return
    own, other = MAPPED + source, MAPPED + destination
    if own not in stack.own:
        return
    info = 0
    if kind == UNREACHABLE:
        if code > 15:
            return
        errno, hard = _MEANING[code]
        if code == FRAGMENTATION_NEEDED:
            info = view[at + 6] << 8 | view[at + 7]
            length = view[quoted + 2] << 8 | view[quoted + 3]
            if not info:
                info = next((size for size in _PLATEAUS if size < length), 68)
            stack.mtu_lowered(other, max(info, 552))
    elif kind == TIME_EXCEEDED:
        errno, hard = EHOSTUNREACH, False
    else:
        errno, hard = EPROTO, True
        info = view[at + 4]
    stack.failed(
        protocol, own, other, view, inner, end, errno, hard, (kind, code), packet.src, info
    )


def send_error(
    stack: NetStack, packet: Packet, view: memoryview, start: int, end: int, kind: int, code: int
) -> None:
    """Tell who sent a packet that it can't be delivered (icmp_send), but not too often."""
    if packet.kind != LOCAL or packet.src[12] >= 224 or not stack.may_send_error():
        return
    quoted = (packet.header + bytes(view[start : min(end, start + _QUOTED)]))[:_QUOTED]
    answer(stack, packet, bytes((kind, code, 0, 0)) + bytes(4) + quoted)
