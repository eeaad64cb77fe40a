"""The stack of one sandbox: its links, addresses and routes, and the way of packets between links and
sockets."""

from __future__ import annotations

from collections import Counter
from errno import EADDRNOTAVAIL, EMSGSIZE, ENETUNREACH
from os import urandom
from time import monotonic_ns, time_ns

from runsc.abi.inet import (
    IP_MTU_DISCOVER,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    IPV6_MTU_DISCOVER,
    UDP_NO_CHECK6_TX,
    UDPLITE_SEND_CSCOV,
)  # fmt: skip
from runsc.abi.socket import AF_INET, SO_NO_CHECK
from runsc.errors import trace
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.inet.addresses import (
    BROADCAST,
    LIMITED_BROADCAST,
    LOCAL,
    MAPPED,
    MULTICAST,
    REMOTE,
    UNREACHABLE,
    is_link_local,
    is_multicast,
    is_v4,
)  # fmt: skip
from runsc.kernel.socket.inet.datagram import Datagram
from runsc.kernel.socket.inet.options import multicast_interface
from runsc.kernel.socket.inet.stack import loopback
from runsc.kernel.socket.inet.stream import TcpSocket
from runsc.kernel.socket.inet.wire import Wire
from runsc_net_netstack import arp, dockerdns, icmp, icmpv6, ipv4, ipv6, ndp, udp
from runsc_net_netstack.checksum import checksum, fold, words
from runsc_net_netstack.fragments import Fragments
from runsc_net_netstack.groups import Groups
from runsc_net_netstack.link import VNET
from runsc_net_netstack.neighbour import PERMANENT, Neighbours
from runsc_net_netstack.route import MAX_PATHS, Path, RouteTable
from runsc_net_netstack.tcp.engine import TcpEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.control import Sending
    from runsc.kernel.socket.inet.datagram import DatagramSocket
    from runsc_net_netstack.dockerdns import DockerDns
    from runsc_net_netstack.ipv4 import Packet
    from runsc_net_netstack.link import PacketLink
    from runsc_net_netstack.namespace import Namespace
    from runsc_net_netstack.route import RouteEntry

#: How many errors go out in a second (net.ipv4.icmp_msgs_per_sec).
_ERRORS_PER_SECOND = 1000
#: How long a smaller MTU that was heard of counts (net.ipv4.route.mtu_expires).
_MTU_EXPIRES_NS = 600 * 1_000_000_000
#: IP_PMTUDISC_*
_PMTU_DONT, _PMTU_WANT, _PMTU_DO, _PMTU_PROBE, _PMTU_INTERFACE, _PMTU_OMIT = range(6)
_EMPTY_VNET = bytes(VNET.size)
_MAX_REPORTS = 100


class NetStack(Wire):
    """``own``: our addresses (16 bytes) and the link each is on; ``broadcasts``: those of our networks;
    ``believe``: the link, if it says that it has looked at a
    checksum; ``counters``: Linux's names of them."""

    __slots__ = (
        "believe",
        "broadcasts",
        "counters",
        "dns",
        "errors",
        "errors_until",
        "fragments",
        "fragments6",
        "groups",
        "ident",
        "kernel",
        "links",
        "loopback",
        "neighbours",
        "own",
        "paths",
        "prefixes",
        "raw",
        "routes4",
        "routes6",
        "tcp",
    )  # fmt: skip

    def __init__(
        self, kernel: Kernel, links: list[PacketLink], namespace: Namespace, believe: bool,
        dns: DockerDns | None = None,
    ) -> None:  # fmt: skip
        self.kernel = kernel
        self.believe = believe
        self.links: dict[int, PacketLink] = {link.index: link for link in links}
        self.loopback = loopback(kernel)
        self.counters: Counter[str] = Counter()
        self.own: dict[bytes, PacketLink] = {}
        self.broadcasts: dict[bytes, int] = {}
        #: own addresses with their networks, by link: (address, network bits)
        self.prefixes: dict[int, list[tuple[bytes, int]]] = {index: [] for index in self.links}
        for address in namespace.addresses:
            link = self.links[address.index]
            ip = address.ip if len(address.ip) == 16 else MAPPED + address.ip
            self.own[ip] = link
            self.prefixes[link.index].append((ip, address.prefix))
            if address.family == AF_INET:
                self._add_broadcasts(address.ip, address.prefix, address.broadcast, link.index)
        self.routes4, self.routes6 = RouteTable(32), RouteTable(128)
        self.routes4.load([route for route in namespace.routes if route.family == AF_INET])
        self.routes6.load([route for route in namespace.routes if route.family != AF_INET])
        self.paths: dict[tuple[bytes, int], Path] = {}
        self.neighbours = Neighbours(kernel.timers, self._solicit)
        for item in namespace.neighbours:
            self.neighbours.of(self.links[item.index], item.ip).fix(item.hardware, PERMANENT)
        self.fragments, self.fragments6 = Fragments(kernel.timers), Fragments(kernel.timers)
        self.groups = Groups(self)
        self.ident = int.from_bytes(urandom(2), "big")
        self.errors = 0
        self.errors_until = 0
        self.raw: dict[int, list[Any]] = {}
        self.dns = dns
        self.tcp = TcpEngine(self, self.loopback)

    def _add_broadcasts(self, ip: bytes, prefix: int, broadcast: bytes, index: int) -> None:
        if prefix < 31:
            mask = (1 << (32 - prefix)) - 1
            last = (int.from_bytes(ip, "big") | mask).to_bytes(4, "big")
            self.broadcasts[MAPPED + (broadcast if len(broadcast) == 4 else last)] = index

    def start(self) -> None:
        """Begin to receive."""
        self.loopback.wire = self
        if self.dns is not None:
            self.loopback.elsewhere = dockerdns.ADDRESS
            self.dns.start(self.kernel)
        for link in self.links.values():
            link.start(self.kernel.poller, self.frame, self.flush, self.batch, self.failed_inside)
            self.groups.start(link)

    def close(self) -> None:
        """Idempotent."""
        for link in self.links.values():
            link.close()
        if self.dns is not None:
            self.dns.close()
        self.neighbours.close()
        self.fragments.close()
        self.fragments6.close()

    def failed_inside(self, what: str, error: Exception) -> None:
        """Something raised what it should not have: told in the log, at most a hundred times."""
        self.count("InternalErrors")
        if self.counters["InternalErrors"] <= _MAX_REPORTS:
            self.kernel.log.error(f"{what} failed inside the network:\n{trace(error)}")

    def count(self, name: str) -> None:
        self.counters[name] += 1

    def now(self) -> int:
        return self.tcp.now

    @staticmethod
    def midnight_ms() -> int:
        return time_ns() // 1_000_000 % 86_400_000

    # -- frames -------------------------------------------------------------------------------

    def frame(self, link: PacketLink, view: memoryview, start: int, end: int, flags: int) -> None:
        """A frame has arrived. Nothing that is in it makes this raise."""
        if end - start < 14:
            return
        if not view[start] & 1 and view[start : start + 6] != link.hardware:
            return  # somebody else's
        kind = view[start + 12] << 8 | view[start + 13]
        if kind == 0x0800:
            ipv4.receive(self, link, view, start + 14, end, flags)
        elif kind == 0x86DD:
            ipv6.receive(self, link, view, start + 14, end, flags)
        elif kind == 0x0806:
            arp.receive(self, link, view, start + 14, end)

    def flush(self) -> None:
        self.tcp.flush()

    def batch(self) -> None:
        """A batch of frames is about to be looked at."""
        self.tcp.now = monotonic_ns()

    def send_frame(self, link: PacketLink, hardware: bytes, ethertype: bytes, payload: bytes) -> None:
        """Send a frame that isn't an IP packet's."""
        head = hardware + link.hardware + ethertype + payload
        link.send([_EMPTY_VNET + head] if link.header else [head])

    def _solicit(self, link: PacketLink, ip: bytes, hardware: bytes) -> None:
        if len(ip) == 4:
            arp.solicit(self, link, ip, hardware)
        else:
            ndp.solicit(self, link, ip, hardware)

    # -- addresses and routes -----------------------------------------------------------------

    def own_on(self, link: PacketLink, ip: bytes) -> bool:
        """Is it an own address, on any link (as arp_ignore 0 has it)?"""
        return (MAPPED + ip if len(ip) == 4 else ip) in self.own

    def kind_on(self, link: PacketLink, ip: bytes) -> int:
        """What a destination that isn't an own address is, of a packet that came from a link."""
        if ip == LIMITED_BROADCAST or self.broadcasts.get(ip) == link.index:
            return BROADCAST
        return MULTICAST if is_multicast(ip) else UNREACHABLE

    def kind_of(self, ip: bytes) -> int:
        if ip == dockerdns.ADDRESS:
            return REMOTE
        if ip in self.own:
            return LOCAL
        if ip in self.broadcasts or (ip == LIMITED_BROADCAST and self._first_link(True) is not None):
            return BROADCAST
        if is_multicast(ip):
            return MULTICAST
        return REMOTE if self._route(ip) is not None else UNREACHABLE

    def _route(self, ip: bytes, index: int = 0) -> RouteEntry | None:
        return self.routes4.lookup(ip[12:], index) if is_v4(ip) else self.routes6.lookup(ip, index)

    def _first_link(self, v4: bool) -> PacketLink | None:
        """The link of the first address of a family."""
        for ip, link in self.own.items():
            if is_v4(ip) == v4:
                return link
        return None

    def source_for(self, ip: bytes, index: int) -> bytes:
        if ip in self.own:
            return ip
        return self.path(ip, index).source

    def source_on(self, link: PacketLink, ip: bytes) -> bytes:
        """The own address to ask for a neighbour with: of the network that the neighbour is in, else the
        first; 4 or 16 bytes."""
        v4 = len(ip) == 4
        wanted = MAPPED + ip if v4 else ip
        return self._best_source(link, wanted)[12 if v4 else 0 :]

    def _best_source(self, link: PacketLink, ip: bytes) -> bytes:
        """The address of a link that has most in common with a destination (RFC 6724, 5): one of the same
        network first, of IPv6 addresses one of the same scope."""
        v4 = is_v4(ip)
        best = b""
        score = -1
        for own, prefix in self.prefixes.get(link.index, ()):
            if is_v4(own) != v4:
                continue
            bits = 128 - (prefix + 96 if v4 else prefix)
            same = int.from_bytes(own, "big") >> bits == int.from_bytes(ip, "big") >> bits
            points = (2 if same else 0) + (1 if v4 or is_link_local(own) == is_link_local(ip) else 0)
            if points > score:
                best, score = own, points
        if best:
            return best
        for own in self.own:
            if is_v4(own) == v4:
                return own
        raise LinuxError(EADDRNOTAVAIL)

    def address_of(self, index: int, v4: bool) -> bytes:
        for ip, _ in self.prefixes.get(index, ()):
            if is_v4(ip) == v4:
                return ip
        return b""

    def multicast_index(self, ip: bytes) -> int:
        route = self._route(ip)
        if route is not None:
            return route.index
        if not is_v4(ip) and self.links:
            return next(iter(self.links))
        return 0

    def path(self, ip: bytes, index: int = 0) -> Path:
        """The way to ``ip``, through an interface if ``index`` says so. Raises ENETUNREACH, EADDRNOTAVAIL."""
        key = (ip, index)
        found = self.paths.get(key)
        if found is None:
            if len(self.paths) >= MAX_PATHS:
                self.paths.clear()
            found = self.paths[key] = self._find_path(ip, index)
        elif found.expires and found.expires < monotonic_ns():
            found.mtu, found.expires = found.link.mtu, 0
        return found

    def _find_path(self, ip: bytes, index: int) -> Path:
        v4 = is_v4(ip)
        address = ip[12:] if v4 else ip
        route = self._route(ip, index)
        if route is None:
            chosen = self.links.get(index) or (self._first_link(v4) if ip == LIMITED_BROADCAST else None)
            if chosen is None or not (is_multicast(ip) or ip == LIMITED_BROADCAST or index):
                raise LinuxError(ENETUNREACH)
            link, next_hop, source = chosen, address, b""
        else:
            link = self.links[route.index]
            next_hop = route.gateway or address
            source = route.source
        broadcast = self.broadcasts.get(ip) == link.index
        neighbour = self.neighbours.of(link, b"\xff\xff\xff\xff" if broadcast else next_hop)
        if source:
            own = MAPPED + source if v4 else source
        else:
            near = MAPPED + next_hop if len(next_hop) == 4 else next_hop
            own = self._best_source(link, near if v4 else ip)
        return Path(ip, link, neighbour, own)

    def path_back(self, ip: bytes, own: bytes) -> Path | None:
        """The way to who sent a packet to ``own``, if there is one."""
        index = self.own[own].index if is_link_local(ip) and own in self.own else 0
        try:
            return self.path(ip, index)
        except LinuxError:
            return None

    def path_on(self, link: PacketLink, ip: bytes) -> Path | None:
        """The way to an address that is (if it is a neighbour's or a group's) on a certain link."""
        try:
            return self.path(ip, link.index if is_link_local(ip) or is_multicast(ip) else 0)
        except LinuxError:
            return None

    def mtu(self, ip: bytes) -> int:
        found: int = self.path(ip).mtu
        return found

    def mtu_lowered(self, ip: bytes, mtu: int) -> None:
        """A router on the way to ``ip`` takes packets only up to ``mtu``."""
        try:
            path = self.path(ip)
        except LinuxError:
            return
        if mtu < path.mtu:
            path.mtu = mtu
            path.expires = monotonic_ns() + _MTU_EXPIRES_NS

    def next_ident(self) -> int:
        self.ident = (self.ident + 1) & 0xFFFF
        return self.ident

    def may_send_error(self) -> bool:
        now = self.now()
        if now >= self.errors_until:
            self.errors_until = now + 1_000_000_000
            self.errors = 0
        self.errors += 1
        return self.errors <= _ERRORS_PER_SECOND

    @staticmethod
    def pseudo(src: bytes, dst: bytes, protocol: int, length: int) -> int:
        """The sum of a pseudo header; addresses in 16 bytes."""
        if src[:12] == MAPPED:
            return ipv4.pseudo(src[12:], dst[12:], protocol, length)
        return fold(words(src) + words(dst) + protocol + (length >> 16) + (length & 0xFFFF))

    # -- to sockets -----------------------------------------------------------------------------

    def raw_input(self, protocol: int, packet: Packet, view: memoryview, start: int, end: int) -> bool:
        """Give a packet to raw sockets; True if there was one for it."""
        heard = False
        for socket in self.raw.get(protocol, ()):
            heard |= bool(socket.arrived(packet, view, start, end))
        return heard

    def echo_reply(self, packet: Packet, ident: int, message: bytes) -> None:
        """An answer to a ping."""
        v6 = not is_v4(packet.src)
        for owner in list(self.loopback.idents.owners.get(ident, ())):
            socket: DatagramSocket = owner  # type: ignore[assignment]
            if socket.v6 != v6 or (socket.remote is not None and socket.remote[0] != packet.src):
                continue
            index = packet.link.index
            source, target = (packet.src, 0), (packet.dst, 0)
            socket.deliver(Datagram(message, source, target, packet.ttl, packet.tclass, index))

    def port_unreachable(self, packet: Packet, view: memoryview, start: int, end: int) -> None:
        """A datagram to a port that nobody has."""
        if is_v4(packet.src):
            icmp.send_error(self, packet, view, start, end, icmp.UNREACHABLE, icmp.PORT_UNREACHABLE)
        else:
            icmpv6.send_error(self, packet, view, start, end, icmpv6.UNREACHABLE, icmpv6.PORT_UNREACHABLE)

    def failed(
        self, protocol: int, own: bytes, other: bytes, view: memoryview, at: int, end: int, errno: int,
        hard: bool, reason: tuple[int, int], offender: bytes, info: int,
    ) -> None:  # fmt: skip
        """ICMP says that a packet from ``own`` to ``other`` didn't get there; its data from ``at`` on."""
        sport = view[at] << 8 | view[at + 1]
        dport = view[at + 2] << 8 | view[at + 3]
        found: Any
        if protocol == IPPROTO_TCP:
            found = self.loopback.connections.get(((own, sport), (other, dport)))
            if type(found) is TcpSocket and found.wire is not None:
                seq = int.from_bytes(view[at + 4 : at + 8], "big")
                self.tcp.failed(found, seq, errno, hard, reason)
            return
        if protocol in (IPPROTO_UDP, IPPROTO_UDPLITE):
            table = self.loopback.udplite if protocol == IPPROTO_UDPLITE else self.loopback.udp
            found = self.loopback.receiver(table, (own, sport), (other, dport))
            if found is not None:
                if errno == EMSGSIZE:
                    hard = found.levels.get((IPPROTO_IP, IP_MTU_DISCOVER), _PMTU_WANT) != _PMTU_DONT
                found.failed((other, dport), bytes(view[at + 8 : end]), errno, reason, offender, hard, info)
        elif protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6):
            ident = view[at + 4] << 8 | view[at + 5]
            for owner in list(self.loopback.idents.owners.get(ident, ())):
                found = owner
                if found.v6 == (protocol == IPPROTO_ICMPV6):
                    found.failed((other, 0), bytes(view[at:end]), errno, reason, offender, hard, info)
        for socket in self.raw.get(protocol, ()):
            socket.failed_packet(own, other, bytes(view[at:end]), errno, hard, reason, offender, info)

    # -- from sockets ---------------------------------------------------------------------------

    def connect(self, socket: TcpSocket) -> None:
        if self.dns is not None and socket.remote is not None and socket.remote[0] == dockerdns.ADDRESS:
            self.dns.connect(socket)
            return
        self.tcp.connect(socket)

    def send_datagram(
        self, socket: DatagramSocket, target: Endpoint, source: Endpoint, data: bytes, sending: Sending
    ) -> None:
        self.tcp.touch()
        ip = target[0]
        if self.dns is not None and ip == dockerdns.ADDRESS:
            if socket.protocol != IPPROTO_UDP:
                raise LinuxError(ENETUNREACH)
            self.dns.query(socket, target, source, data)
            return
        v4 = is_v4(ip)
        index = sending.index or socket.device
        if not index and is_multicast(ip):
            index = multicast_interface(socket, ip)
        path = self.path(ip, index if index > 1 else 0)
        levels = socket.levels
        if v4:
            discover = levels.get((IPPROTO_IP, IP_MTU_DISCOVER), _PMTU_WANT)
        else:
            discover = levels.get((IPPROTO_IPV6, IPV6_MTU_DISCOVER), _PMTU_WANT)
        protocol = socket.protocol
        own, other = (source[0][12:], ip[12:]) if v4 else (source[0], ip)
        head = ipv4.HEADER.size if v4 else ipv6.SIZE
        csum_at = -1
        if protocol in (IPPROTO_UDP, IPPROTO_UDPLITE):
            fits = head + udp.SIZE + len(data) <= path.mtu
            offload = fits and path.link.csum and protocol == IPPROTO_UDP
            silent = socket.options.get(SO_NO_CHECK) if v4 else levels.get((IPPROTO_UDP, UDP_NO_CHECK6_TX))
            checked = not silent
            coverage = levels.get((IPPROTO_UDP, UDPLITE_SEND_CSCOV), 0)
            message = udp.build(
                self, source[0], ip, protocol, source[1], target[1], data, offload=offload, checked=checked,
                coverage=coverage,
            )  # fmt: skip
            csum_at = udp.CSUM_AT if offload and checked else -1
            self.count("UdpOutDatagrams")
        elif v4:
            message = data[:2] + checksum(data).to_bytes(2, "big") + data[4:]
        else:
            start = self.pseudo(source[0], ip, IPPROTO_ICMPV6, len(data))
            message = data[:2] + checksum(data, start).to_bytes(2, "big") + data[4:]
        if discover in (_PMTU_DO, _PMTU_PROBE) and len(message) + head > path.mtu:
            raise LinuxError(EMSGSIZE)
        if v4:
            fragile = discover in (_PMTU_WANT, _PMTU_DO, _PMTU_PROBE) and len(message) + head <= path.mtu
            ipv4.send(
                self, path, own, other, protocol, message, sending.ttl, sending.tclass, dont_fragment=fragile,
                csum_at=csum_at,
            )  # fmt: skip
        else:
            ipv6.send(
                self, path, own, other, protocol, message, sending.ttl, sending.tclass, csum_at=csum_at
            )

    def join(self, ip: bytes, index: int) -> None:
        self.groups.join(ip, index)

    def leave(self, ip: bytes, index: int) -> None:
        self.groups.leave(ip, index)
