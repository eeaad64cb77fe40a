"""The loopback of one kernel: the tables in which sockets find each other, and its counters."""

from __future__ import annotations

from collections import deque
from time import monotonic_ns

from runsc.abi.inet import TCP_FIN_WAIT2, TCP_TIME_WAIT
from runsc.abi.socket import SO_REUSEADDR, SO_REUSEPORT
from runsc.abi.time import NSEC_PER_SEC
from runsc.kernel.socket.inet.addresses import (
    ANY4,
    ANY6,
    BROADCAST,
    UNREACHABLE,
    is_v4,
    kind_of,
    loopback_like,
)
from runsc.kernel.socket.inet.ports import PortTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import NetNamespace
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.datagram import UdpSocket
    from runsc.kernel.socket.inet.stream import TcpSocket
    from runsc.kernel.socket.inet.wire import Wire

#: How long what is left of a connection keeps its port (TCP_TIMEWAIT_LEN, tcp_fin_timeout).
TIMEWAIT_NS = 60 * NSEC_PER_SEC
#: After this a new connection may take its place (tcp_tw_reuse, which is on for the loopback).
TIMEWAIT_REUSE_NS = NSEC_PER_SEC
#: How many there may be (tcp_max_tw_buckets): the oldest make way.
MAX_TIMEWAIT = 65536


class TimeWait:
    """What is left of a connection whose socket is closed: it keeps the port and the four-tuple.

    ``state``: TCP_FIN_WAIT2 while the other end is open, then TCP_TIME_WAIT; ``expires``: ns on the monotonic
    clock; ``wire``: what is to be known of a connection to another machine."""

    __slots__ = ("chosen", "expires", "family", "local", "only6", "options", "remote", "state", "uid", "wire")

    def __init__(self, socket: TcpSocket, state: int) -> None:
        assert socket.remote is not None
        self.local = socket.local
        self.remote: Endpoint = socket.remote
        self.family = socket.family
        self.only6 = socket.only6
        self.chosen = socket.chosen
        self.options = {key: socket.options.get(key, 0) for key in (SO_REUSEADDR, SO_REUSEPORT)}
        self.uid = socket.uid
        self.state = state
        self.expires = 0
        self.wire = socket.wire.remains() if socket.wire is not None else None


class Loopback:
    """The tables of one kernel.

    ``listeners``: by port; ``connections``: by local and remote endpoint; ``packets``, ``octets``: what went
    through the interface; ``wire``: what leads to other machines, if anything does.
    """

    __slots__ = (
        "connections", "elsewhere", "idents", "listeners", "octets", "packets", "tcp", "timewait", "udp",
        "udplite", "up", "wire",
    )  # fmt: skip

    def __init__(self) -> None:
        self.tcp = PortTable()
        self.udp = PortTable()
        self.udplite = PortTable()
        self.listeners: dict[int, list[TcpSocket]] = {}
        self.connections: dict[tuple[Endpoint, Endpoint], TcpSocket | TimeWait] = {}
        #: with the time when each was to go as of then; ``TimeWait.expires`` may be later by now
        self.timewait: deque[tuple[int, TimeWait]] = deque()
        #: the identifiers of ICMP sockets
        self.idents = PortTable()
        self.packets = 0
        #: is the interface up: does 127.0.0.1 exist
        self.up = True
        self.octets = 0
        self.wire: Wire | None = None
        #: an address of the loopback's that isn't here, but the wire's business
        self.elsewhere = b""

    # -- addresses ----------------------------------------------------------------------------

    def kind_of(self, ip: bytes) -> int:
        """What a destination is."""
        kind = kind_of(ip)
        if self.wire is not None and (kind == UNREACHABLE or ip == self.elsewhere):
            return self.wire.kind_of(ip)
        if not self.up and (self.wire is None or kind <= BROADCAST):
            return UNREACHABLE
        return kind

    def source_for(self, ip: bytes, index: int = 0) -> bytes:
        """The own address of what is sent to ``ip``. Raises ENETUNREACH, EADDRNOTAVAIL."""
        if self.wire is not None and (index > 1 or kind_of(ip) > BROADCAST):
            return self.wire.source_for(ip, index)
        return loopback_like(ip)

    # -- what is left of connections ----------------------------------------------------------

    def linger(self, socket: TcpSocket, state: int) -> TimeWait:
        """Put a ``TimeWait`` in the place of a connection that had it in the tables."""
        left = TimeWait(socket, state)
        self.tcp.claim(left, left.local[1])
        self.connections[left.local, left.remote] = left
        self._start(left)
        return left

    def _start(self, left: TimeWait) -> None:
        left.expires = monotonic_ns() + TIMEWAIT_NS
        self.timewait.append((left.expires, left))
        while len(self.timewait) > MAX_TIMEWAIT:
            self._end(*self.timewait.popleft())

    def _end(self, deadline: int, left: TimeWait) -> None:
        if left.expires == deadline:
            self.forget(left)

    def both_closed(self, left: TimeWait) -> None:
        """The other end is closed, too: a minute more from now."""
        if left.state == TCP_FIN_WAIT2 and left.expires:
            left.state = TCP_TIME_WAIT
            self._start(left)

    def forget(self, left: TimeWait) -> None:
        """Give back what it kept."""
        left.expires = 0
        self.tcp.release(left, left.local[1])
        if self.connections.get((left.local, left.remote)) is left:
            del self.connections[left.local, left.remote]

    def expire(self) -> None:
        """Forget those whose time has come. Called before anybody looks at ports."""
        waiting = self.timewait
        if waiting and waiting[0][0] <= (now := monotonic_ns()):
            while waiting and waiting[0][0] <= now:
                self._end(*waiting.popleft())

    def taken(self, local: Endpoint, remote: Endpoint) -> bool:
        """Is there such a connection? One that has waited for a second makes way (tcp_twsk_unique)."""
        found = self.connections.get((local, remote))
        if found is None:
            return False
        if isinstance(found, TimeWait) and found.state == TCP_TIME_WAIT:
            if found.expires - monotonic_ns() <= TIMEWAIT_NS - TIMEWAIT_REUSE_NS:
                self.forget(found)
                return False
        return True

    # -- finding sockets ----------------------------------------------------------------------

    def listener(self, destination: Endpoint, source: Endpoint) -> TcpSocket | None:
        """Who listens for a connection to ``destination`` (inet_lookup_listener)."""
        found = self.listeners.get(destination[1])
        if not found:
            return None
        if len(found) == 1:
            return found[0] if match(found[0], destination[0]) else None
        best = 0
        group: list[TcpSocket] = []
        for socket in found:
            score = match(socket, destination[0])
            if score > best:
                best, group = score, [socket]
            elif score and score == best:
                group.append(socket)
        if len(group) > 1 and group[0].options.get(SO_REUSEPORT):
            return group[hash(source) % len(group)]
        return group[-1] if group else None

    def receiver(self, table: PortTable, destination: Endpoint, source: Endpoint) -> UdpSocket | None:
        """Whose datagram this is (udp4_lib_lookup2): a connected socket before others, the exact address
        before the wildcards, and of equals the last one bound, or one of the group that shares the port."""
        owners = table.owners.get(destination[1])
        if not owners:
            return None
        best = 0
        group: list[UdpSocket] = []
        for owner in owners:
            socket: UdpSocket = owner  # type: ignore[assignment]
            score = match(socket, destination[0])
            if score and socket.remote is not None:
                score = score + 4 if socket.remote == source else 0
            if score > best:
                best, group = score, [socket]
            elif score and score == best:
                group.append(socket)
        if not group:
            return None
        if len(group) > 1 and best < 4 and group[0].options.get(SO_REUSEPORT):
            return group[hash(source) % len(group)]
        return group[-1]


def match(socket: TcpSocket | UdpSocket, ip: bytes) -> int:
    """How well a socket's own address fits a destination, 0: not at all."""
    own = socket.local[0]
    if own == ip:
        return 3
    if own == ANY4:
        return 2 if is_v4(ip) else 0
    if own == ANY6:
        return 0 if socket.only6 and is_v4(ip) else 1
    return 0


def loopback(net: Kernel | NetNamespace) -> Loopback:
    """The kernel's loopback."""
    found: Loopback | None = net.extra.get("loopback")
    if found is None:
        found = net.extra["loopback"] = Loopback()
    return found
