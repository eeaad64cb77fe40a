"""ICMPv6 (RFC 4443; net/ipv6/icmp.c)."""

from __future__ import annotations

from errno import EACCES, ECONNREFUSED, EHOSTUNREACH, EMSGSIZE, ENETUNREACH, EPROTO

from runsc.kernel.socket.inet.addresses import LOCAL
from runsc_net_netstack import ipv6, ndp
from runsc_net_netstack.checksum import checksum, total

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.ipv4 import Packet
    from runsc_net_netstack.netstack import NetStack

UNREACHABLE, TOO_BIG, TIME_EXCEEDED, PARAMETER = 1, 2, 3, 4
PORT_UNREACHABLE, UNKNOWN_HEADER = 4, 1
ECHO, ECHO_REPLY = 128, 129
MLD_QUERY = 130
_ICMPV6 = 58
_SIZE = 8
#: What a code of UNREACHABLE means, and whether that is final (tab_unreach).
_MEANING = (
    (ENETUNREACH, False), (EACCES, True), (EHOSTUNREACH, False), (EHOSTUNREACH, False), (ECONNREFUSED, True),
    (EACCES, True), (EACCES, True),
)  # fmt: skip
#: An error fits the smallest MTU (RFC 4443 2.4 c).
_QUOTED = 1280 - 40 - 8
_MIN_MTU = 1280


def receive(stack: NetStack, packet: Packet, view: memoryview, at: int, end: int) -> None:
    """A message (icmpv6_rcv)."""
    stack.count("Icmp6InMsgs")
    if end - at < _SIZE - 4:
        stack.count("Icmp6InErrors")
        return
    start = stack.pseudo(packet.src, packet.dst, _ICMPV6, end - at)
    if total(view[at:end], start) != 0xFFFF:
        stack.count("Icmp6InErrors")
        return
    kind, code = view[at], view[at + 1]
    if kind in (ndp.SOLICITATION, ndp.ADVERTISEMENT):
        ndp.receive(stack, packet, kind, view, at, end)
        return
    if kind == MLD_QUERY:
        stack.groups.queried6(packet.link)
        return
    if end - at < _SIZE:
        return
    if kind == ECHO:
        stack.count("Icmp6InEchos")
        own = packet.dst if packet.kind == LOCAL else b""
        answer(stack, packet, bytes((ECHO_REPLY, code, 0, 0)) + bytes(view[at + 4 : end]), own)
    elif kind == ECHO_REPLY:
        if packet.kind == LOCAL:
            ident = view[at + 4] << 8 | view[at + 5]
            stack.echo_reply(packet, ident, bytes(view[at:end]))
    elif kind in (UNREACHABLE, TOO_BIG, TIME_EXCEEDED, PARAMETER) and packet.kind == LOCAL:
        _error(stack, packet, kind, code, view, at, end)


def answer(stack: NetStack, packet: Packet, message: bytes, own: bytes) -> None:
    """Send a message back to who sent a packet, from ``own`` (b"": the usual address)."""
    path = stack.path_on(packet.link, packet.src)
    if path is None:
        return
    source = own or path.source
    start = stack.pseudo(source, packet.src, _ICMPV6, len(message))
    message = message[:2] + checksum(message, start).to_bytes(2, "big") + message[4:]
    stack.count("Icmp6OutMsgs")
    ipv6.send(stack, path, source, packet.src, _ICMPV6, message, 64, 0)


def _error(
    stack: NetStack, packet: Packet, kind: int, code: int, view: memoryview, at: int, end: int
) -> None:
    """Something that we sent didn't get there."""
    quoted = at + _SIZE
    if end - quoted < ipv6.SIZE + 8:
        return
    _, _, protocol, _, own, other = ipv6.HEADER.unpack_from(view, quoted)
    inner = quoted + ipv6.SIZE
    if own not in stack.own:
        return
    if protocol == ipv6.FRAGMENT:
        if view[inner + 2] << 8 & 0xFFF8 or view[inner + 3] & 0xF8 or end - inner < 16:
            return
        protocol = view[inner]
        inner += 8
    info = 0
    if kind == UNREACHABLE:
        if code >= len(_MEANING):
            return
        errno, hard = _MEANING[code]
    elif kind == TOO_BIG:
        errno, hard = EMSGSIZE, True
        info = int.from_bytes(view[at + 4 : at + 8], "big")
        stack.mtu_lowered(other, max(info, _MIN_MTU))
    elif kind == TIME_EXCEEDED:
        errno, hard = EHOSTUNREACH, False
    else:
        errno, hard = EPROTO, code == UNKNOWN_HEADER
        info = int.from_bytes(view[at + 4 : at + 8], "big")
    stack.failed(protocol, own, other, view, inner, end, errno, hard, (kind, code), packet.src, info)


def send_error(
    stack: NetStack, packet: Packet, view: memoryview, start: int, end: int, kind: int, code: int,
    extra: bytes = bytes(4),
) -> None:  # fmt: skip
    """Tell who sent a packet that it can't be delivered, but not too often."""
    if packet.kind != LOCAL or packet.src == bytes(16) or not stack.may_send_error():
        return
    quoted = (packet.header + bytes(view[start : min(end, start + _QUOTED)]))[:_QUOTED]
    answer(stack, packet, bytes((kind, code, 0, 0)) + extra + quoted, packet.dst)
