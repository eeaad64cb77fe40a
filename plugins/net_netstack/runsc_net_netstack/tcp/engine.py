"""TCP of one stack: whose segment it is, connections that begin, and answers to strays
(net/ipv4/tcp_ipv4.c)."""

from __future__ import annotations

from _blake2 import blake2s
from errno import EMSGSIZE
from os import urandom
from time import monotonic_ns

from runsc.abi.inet import TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT, TCP_TIME_WAIT
from runsc.kernel.socket.inet import connection as inet
from runsc.kernel.socket.inet.stack import TIMEWAIT_NS, TimeWait
from runsc.kernel.socket.inet.stream import TcpSocket
from runsc_net_netstack.checksum import total
from runsc_net_netstack.tcp import arrival, output
from runsc_net_netstack.tcp.connection import RTO_INIT, TcpConnection
from runsc_net_netstack.tcp.flow import Flow
from runsc_net_netstack.tcp.request import Request, Requests
from runsc_net_netstack.tcp.segment import ACK, ALIGNED_TS, FIN, HEADER, RST, SYN, Options, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.stack import Loopback
    from runsc_net_netstack.netstack import NetStack

_MASK = 0xFFFFFFFF
_TCP = 6
_MS = 1_000_000
#: How many challenge acknowledgements go out in a second (tcp_challenge_ack_limit; RFC 5961 7).
_CHALLENGES = 1000
_HEADER = 20


class TcpEngine:
    """``now``: the time (ns) of what is being done; ``acks``: connections that owe an acknowledgement when
    this batch of packets has been looked at."""

    __slots__ = (
        "acks", "challenges", "challenges_until", "connections", "loopback", "now", "requests", "secret",
        "stack", "timers",
    )  # fmt: skip

    def __init__(self, stack: NetStack, loopback: Loopback) -> None:
        self.stack = stack
        self.loopback = loopback
        self.connections = loopback.connections
        self.timers = stack.kernel.timers
        self.acks: list[TcpConnection] = []
        self.secret = urandom(32)
        self.now = monotonic_ns()
        self.challenges = 0
        self.challenges_until = 0
        self.requests = Requests(self)

    def touch(self) -> None:
        """Something is done outside a batch of packets."""
        self.now = monotonic_ns()

    def hashed(self, local: Endpoint, remote: Endpoint, salt: int = 0) -> int:
        """32 bits that nobody outside can guess."""
        mixed = local[0] + remote[0] + (local[1] << 48 | remote[1] << 32 | salt & _MASK).to_bytes(8, "big")
        return int.from_bytes(blake2s(mixed, digest_size=4, key=self.secret).digest(), "big")

    def initial_sequence(self, local: Endpoint, remote: Endpoint) -> int:
        """RFC 6528: a clock that ticks every 64 ns, begun at a secret place for each pair of endpoints."""
        return self.hashed(local, remote) + (self.now >> 6) & _MASK

    # -- connections that begin here ------------------------------------------------------------

    def connect(self, socket: TcpSocket) -> None:
        """Send the SYN."""
        assert socket.remote is not None
        self.touch()
        old = self.connections.get((socket.local, socket.remote))
        path = self.stack.path(socket.remote[0], socket.device)
        c = TcpConnection(self, socket, path, self.initial_sequence(socket.local, socket.remote))
        c.ts_offset = self.hashed(socket.local, socket.remote, 1)
        if isinstance(old, TimeWait):
            self.loopback.forget(old)
        self.stack.count("ActiveOpens")
        output.send_syn(c)
        if socket.wire is c:
            c.rto_at = self.now + RTO_INIT
            c.schedule(c.rto_at)

    def forget(self, c: TcpConnection) -> None:
        """A connection has ended."""
        if c in self.acks:
            self.acks.remove(c)

    # -- segments -----------------------------------------------------------------------------

    def receive(
        self, src: bytes, dst: bytes, view: memoryview, at: int, end: int, trusted: bool, index: int
    ) -> None:
        """A segment from ``src`` to the own address ``dst``; ``trusted``: its checksum needs no look."""
        if end - at < _HEADER:
            self.stack.count("TcpInErrs")
            return
        sport, dport, seq, ack, offset, flags, window, _, urgent = HEADER.unpack_from(view, at)
        start = at + (offset >> 4) * 4
        if start < at + _HEADER or start > end:
            self.stack.count("TcpInErrs")
            return
        if not trusted and total(view[at:end], self.stack.pseudo(src, dst, _TCP, end - at)) != 0xFFFF:
            self.stack.count("TcpInCsumErrors")
            return
        self.stack.count("TcpInSegs")
        options: Options | None = None
        tsval = -1
        tsecr = 0
        if start == at + 32 and view[at + 20 : at + 24] == ALIGNED_TS:
            tsval = int.from_bytes(view[at + 24 : at + 28], "big")
            tsecr = int.from_bytes(view[at + 28 : at + 32], "big")
        elif start > at + _HEADER:
            options = parse(view, at + _HEADER, start)
            tsval, tsecr = options.tsval, options.tsecr
        local = (dst, dport)
        remote = (src, sport)
        found = self.connections.get((local, remote))
        if type(found) is TcpSocket:
            c = found.wire
            if type(c) is TcpConnection:
                if flags & SYN and options is None:
                    options = Options()
                    options.tsval, options.tsecr = tsval, tsecr
                arrival.segment(
                    c, flags, seq, ack, window, urgent, options, tsval, tsecr, view, start, end
                )
            return
        if found is not None:
            assert isinstance(found, TimeWait)
            if not self._time_wait(found, flags, seq, tsval, end - start):
                return
        if options is None:
            options = Options()
            options.tsval, options.tsecr = tsval, tsecr
        self._begin(local, remote, flags, seq, ack, window, options, view, start, end, index)

    def flush(self) -> None:
        """A batch of packets has been looked at."""
        acks = self.acks
        while acks:
            c = acks.pop()
            if c.ack_pending:
                output.send_ack(c)

    def _time_wait(self, left: TimeWait, flags: int, seq: int, tsval: int, length: int) -> bool:
        """A segment for what is left of a connection; True if a new one may take its place."""
        remains = left.wire
        if remains is None:
            return False
        if remains.gives_way(flags, seq, tsval):  # type: ignore[attr-defined]
            listener = self.loopback.listener(left.local, left.remote)
            if listener is not None:
                self.loopback.forget(left)
                return True
        if remains.answer(flags, seq, length, self.now // _MS) and left.state == TCP_TIME_WAIT:  # type: ignore[attr-defined]
            left.expires = self.now + TIMEWAIT_NS
            self.loopback.timewait.append((left.expires, left))
        return False

    def _begin(
        self, local: Endpoint, remote: Endpoint, flags: int, seq: int, ack: int, window: int,
        options: Options, view: memoryview, start: int, end: int, index: int,
    ) -> None:  # fmt: skip
        """A segment without a connection: the beginning of one, or a stray."""
        listener = self.loopback.listener(local, remote)
        request = self.requests.find(local, remote)
        if request is not None:
            child = self.requests.answered(request, flags, seq, ack, window, options, end - start)
            if child is not None:
                self._first(child, flags, seq, ack, window, options, view, start, end)
            return
        if listener is None or listener.state != TCP_LISTEN or (listener.device and listener.device != index):
            self.refuse(local, remote, flags, seq, ack, end - start)
            return
        if flags & RST:
            return
        if flags & ACK:
            child = self.requests.cookie_returned(listener, local, remote, seq, ack, window, options)
            if child is not None:
                self._first(child, flags, seq, ack, window, options, view, start, end)
            else:
                self.refuse(local, remote, flags, seq, ack, end - start)
            return
        if flags & SYN and not flags & FIN:
            self.requests.add(listener, local, remote, seq, window, options)

    def _first(
        self, child: TcpSocket, flags: int, seq: int, ack: int, window: int, options: Options,
        view: memoryview, start: int, end: int,
    ) -> None:  # fmt: skip
        """The segment that completed the handshake may hold data."""
        c = child.wire
        if type(c) is TcpConnection and (end > start or flags & FIN):
            arrival.segment(
                c, flags, seq, ack, window, 0, options, options.tsval, options.tsecr, view, start, end
            )

    def child(self, request: Request, listener: TcpSocket, window: int) -> TcpSocket:
        """The handshake is done: the new connection, in the listener's queue."""
        child = inet.make_child(listener, request.local, request.remote)
        path = self.stack.path(request.remote[0], 0)
        c = TcpConnection(self, child, path, request.iss)
        c.irs = request.irs
        c.rcv_nxt = 1
        c.rcv_adv = max(request.window, 1) + 1
        c.snd_una = 1
        c.ts_offset = request.ts_offset
        c.rcv_wscale = request.wscale
        theirs = request.options
        c.negotiated(theirs.mss, theirs.tsval, theirs.sack_ok, theirs.wscale)
        c.ts_recent = max(theirs.tsval, 0)
        c.ts_recent_at = self.now
        c.snd_wnd = c.snd_max_wnd = window << c.snd_wscale
        if request.sent_at and not request.tries:
            c.created = request.sent_at
            arrival.round_trip(c, max(self.now - request.sent_at, 1))
        self.stack.count("PassiveOpens")
        inet.enqueue(child, listener)
        c.restart_keepalive()
        return child

    # -- strays -------------------------------------------------------------------------------

    def refuse(
        self, local: Endpoint, remote: Endpoint, flags: int, seq: int, ack: int, length: int
    ) -> None:
        """A RST for a segment that belongs to nothing (RFC 9293 3.10.7.1)."""
        if flags & RST:
            return
        path = self.stack.path_back(remote[0], local[0])
        if path is None:
            return
        v4 = local[0][:12] == bytes(10) + b"\xff\xff"
        self.refuse_segment(Flow(path, local, remote, v4), flags, seq, ack, length)

    def refuse_segment(self, flow: Flow, flags: int, seq: int, ack: int, length: int) -> None:
        if flags & RST:
            return
        self.stack.count("OutRsts")
        if flags & ACK:
            flow.send(ack, 0, RST, 0, 0, b"", [], 0, 65535)
        else:
            seq = seq + length + (1 if flags & SYN else 0) + (1 if flags & FIN else 0) & _MASK
            flow.send(0, seq, RST | ACK, 0, 0, b"", [], 0, 65535)

    def challenge(self, c: TcpConnection) -> None:
        """Something is odd: let the other end show that it means it (RFC 5961)."""
        if self.now >= self.challenges_until:
            self.challenges_until = self.now + 1_000_000_000
            self.challenges = 0
        self.challenges += 1
        if self.challenges <= _CHALLENGES:
            self.stack.count("TCPChallengeACK")
            output.send_ack(c)

    def failed(self, socket: TcpSocket, seq: int, errno: int, hard: bool, reason: tuple[int, int]) -> None:
        """ICMP is about a segment of a connection: believed if the segment may be under way (RFC 5927 4)."""
        c = socket.wire
        if type(c) is not TcpConnection:
            return
        self.touch()
        place = c.snd_una + ((seq - c.iss - c.snd_una + 0x80000000) & _MASK) - 0x80000000
        if not c.snd_una <= place < max(c.snd_nxt, c.snd_una + 1):
            return
        if errno == EMSGSIZE:
            c.mtu_lowered()
        else:
            c.failed(errno, hard or socket.state in (TCP_SYN_SENT, TCP_SYN_RECV))
