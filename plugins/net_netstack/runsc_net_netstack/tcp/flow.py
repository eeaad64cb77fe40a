"""Segments on their way out: headers of Ethernet, IP and TCP for one pair of endpoints, made in one go."""

from __future__ import annotations

from struct import Struct

from runsc_net_netstack.checksum import checksum, fold, words
from runsc_net_netstack.link import GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc_net_netstack.route import Path

_IP4 = Struct("!BBHHHBBH4s4sHHIIBBHHH")
_IP6 = Struct("!IHBB16s16sHHIIBBHHH")
_ETHERNET, IP4_SIZE, IP6_SIZE, TCP_SIZE = 14, 20, 40, 20
_DONT_FRAGMENT = 0x4000
_TCP = 6
#: Where the checksum stands in a TCP header.
_CSUM_AT = 16
_EMPTY_VNET = bytes(VNET.size)


class Flow:
    """Two endpoints and the ``path`` between them; ``unreachable`` is called if there is nobody at its other
    end. ``octets``: what a packet has in front of TCP's options."""

    __slots__ = (
        "base", "dport", "dst", "head", "ident", "path", "pseudo", "sport", "src", "tos", "ttl",
        "unreachable", "v4", "vnet",
    )  # fmt: skip

    def __init__(
        self, path: Path, local: Endpoint, remote: Endpoint, v4: bool,
        unreachable: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.path = path
        self.v4 = v4
        self.src, self.dst = (local[0][12:], remote[0][12:]) if v4 else (local[0], remote[0])
        self.sport, self.dport = local[1], remote[1]
        self.unreachable = unreachable
        self.ident = self.sport ^ self.dport
        self.pseudo = words(self.src) + words(self.dst) + _TCP
        self.head = IP4_SIZE if v4 else IP6_SIZE
        self.vnet = VNET.pack(NEEDS_CSUM, GSO_NONE, 0, 0, _ETHERNET + self.head, _CSUM_AT)
        self.mark(0, 64)

    def mark(self, tos: int, ttl: int) -> None:
        """Set the type of service (traffic class) and the time to live (hop limit)."""
        self.tos = tos
        self.ttl = ttl
        self.base = (
            0x4500 + tos + _DONT_FRAGMENT + (ttl << 8) + _TCP + words(self.src) + words(self.dst)
        )

    def room(self) -> int:
        """The most that fits a packet besides the headers of IP and TCP."""
        return self.path.mtu - self.head - TCP_SIZE

    def send(
        self, seq: int, ack: int, flags: int, window: int, urgent: int, options: bytes,
        parts: list[bytes | memoryview], length: int, mss: int,
    ) -> None:  # fmt: skip
        """Send a segment with ``length`` bytes of data in ``parts``; what is longer than ``mss`` the link
        cuts."""
        path = self.path
        link = path.link
        header = TCP_SIZE + len(options)
        size = header + length
        offload = link.csum
        if not offload:
            check = 0
        elif length > mss:
            check = fold(self.pseudo + size)
            kind = GSO_TCPV4 if self.v4 else GSO_TCPV6
            vnet = VNET.pack(
                NEEDS_CSUM, kind, _ETHERNET + self.head + header, mss, _ETHERNET + self.head, _CSUM_AT
            )
        else:
            check = fold(self.pseudo + size)
            vnet = self.vnet
        if not offload:
            vnet = _EMPTY_VNET
        if self.v4:
            self.ident = self.ident + 1 + length // mss & 0xFFFF
            total = size + IP4_SIZE
            head = _IP4.pack(
                0x45, self.tos, total, self.ident, _DONT_FRAGMENT, self.ttl, _TCP,
                fold(self.base + total + self.ident) ^ 0xFFFF, self.src, self.dst,
                self.sport, self.dport, seq, ack, header << 2, flags, window, check, urgent,
            )  # fmt: skip
        else:
            head = _IP6.pack(
                0x60000000 | self.tos << 20, size, _TCP, self.ttl, self.src, self.dst,
                self.sport, self.dport, seq, ack, header << 2, flags, window, check, urgent,
            )  # fmt: skip
        head += options
        if not offload:
            segment = b"".join([head[self.head :], *parts])
            check = checksum(segment, fold(self.pseudo + size))
            at = self.head + _CSUM_AT
            head = head[:at] + check.to_bytes(2, "big") + head[at + 2 :]
        neighbour = path.neighbour
        if neighbour.header and neighbour.state != 4:  # the usual case: known, and not STALE
            neighbour.used = True
            link.send([vnet + neighbour.header + head if link.header else neighbour.header + head, *parts])
        else:
            neighbour.send(vnet, head, parts, self.unreachable)
