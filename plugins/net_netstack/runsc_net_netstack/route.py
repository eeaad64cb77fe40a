"""Routes (net/ipv4/fib_trie.c, net/ipv6/ip6_fib.c), and paths: what is known of the way to one address."""

from __future__ import annotations

from runsc.kernel.socket.devices import RTN_BROADCAST, RTN_LOCAL, RTN_UNICAST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.link import PacketLink
    from runsc_net_netstack.neighbour import Neighbour
    from runsc_net_netstack.rtnetlink import HostRoute

#: Kinds of routes that lead nowhere.
RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT = 6, 7, 8
_MAIN_TABLES = (253, 254)
#: How many paths are kept.
MAX_PATHS = 4096


class RouteEntry:
    """A route; ``network`` as a number, ``gateway`` and ``source`` in 4 or 16 bytes or empty."""

    __slots__ = ("gateway", "index", "kind", "mask", "network", "prefix", "priority", "source")

    def __init__(self, route: HostRoute, bits: int) -> None:
        self.prefix = route.prefix
        self.mask = (1 << bits) - (1 << (bits - route.prefix))
        self.network = int.from_bytes(route.network, "big") & self.mask
        self.gateway = route.gateway
        self.index = route.index
        self.priority = route.priority
        self.source = route.source
        self.kind = route.kind


class RouteTable:
    """The main table of one family: the narrowest route first, of equals the one with the lower metric."""

    __slots__ = ("bits", "entries")

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.entries: list[RouteEntry] = []

    def load(self, routes: list[HostRoute]) -> None:
        for route in routes:
            if route.table in _MAIN_TABLES and route.kind not in (RTN_LOCAL, RTN_BROADCAST):
                self.entries.append(RouteEntry(route, self.bits))
        self.entries.sort(key=lambda entry: (-entry.prefix, entry.priority))

    def lookup(self, ip: bytes, index: int = 0) -> RouteEntry | None:
        """The route to ``ip``, through the interface ``index`` if that is said."""
        number = int.from_bytes(ip, "big")
        for entry in self.entries:
            if number & entry.mask == entry.network and (not index or entry.index == index):
                return entry if entry.kind == RTN_UNICAST else None
        return None


class Path:
    """The way to one address: ``source``: the own address for it; ``mtu``: of the link, or what was heard
    of on the way (until ``expires``, ns); ``ip`` and ``source`` are in the stack's 16 bytes."""

    __slots__ = ("expires", "ip", "link", "mtu", "neighbour", "source")

    def __init__(self, ip: bytes, link: PacketLink, neighbour: Neighbour, source: bytes) -> None:
        self.ip = ip
        self.link = link
        self.neighbour = neighbour
        self.source = source
        self.mtu = link.mtu
        self.expires = 0
