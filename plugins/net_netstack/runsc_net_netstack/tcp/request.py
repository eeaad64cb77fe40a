"""Connections that others begin, until the handshake is done (struct request_sock), and SYN cookies for
when there are too many (net/ipv4/syncookies.c)."""

from __future__ import annotations

from runsc.abi.inet import IPPROTO_TCP, TCP_LISTEN, TCP_MAXSEG, TCP_WINDOW_CLAMP
from runsc.kernel.socket.inet.stream import window_of
from runsc_net_netstack.tcp.connection import RMEM_MAX, RTO_INIT, RTO_MAX, SYNACK_RETRIES
from runsc_net_netstack.tcp.flow import Flow
from runsc_net_netstack.tcp.segment import ACK, RST, SYN, Options, syn_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.stream import TcpSocket
    from runsc.kernel.timers import Timer
    from runsc_net_netstack.tcp.engine import TcpEngine

_MASK = 0xFFFFFFFF
_HALF = 0x80000000
#: How many there are at most for all listeners (tcp_max_syn_backlog), and the least for one.
MAX_REQUESTS, MIN_REQUESTS = 1024, 8
#: Segment sizes that a cookie can tell of.
_COOKIE_MSS = (536, 1300, 1440, 1460, 4312, 8960, 16344, 65495)
#: How long a cookie counts: it holds the time in these units, and the one before is taken too.
_COOKIE_NS = 64 * 1_000_000_000
_COOKIE_TICKS = 2
_MS = 1_000_000
#: Below the timestamp of a cookie: the window scale (15: none), and selective acknowledgements.
_TS_BITS = 6
_NO_WSCALE = 15


class Request:
    """One that was asked for: ``iss``, ``irs``: where both streams begin; ``window``: what was promised;
    ``wscale``: of our windows; ``options``: theirs."""

    __slots__ = (
        "flow", "irs", "iss", "listener", "local", "options", "remote", "sent_at", "timer", "tries",
        "ts_offset", "window", "wscale",
    )  # fmt: skip

    def __init__(self, local: Endpoint, remote: Endpoint, irs: int, iss: int, options: Options) -> None:
        self.local = local
        self.remote = remote
        self.irs = irs
        self.iss = iss
        self.options = options
        self.listener: TcpSocket | None = None
        self.flow: Flow | None = None
        self.window = 0
        self.wscale = 0
        self.ts_offset = 0
        self.tries = 0
        self.sent_at = 0
        self.timer: Timer | None = None


class Requests:
    """All requests of one stack, and how many each listener has."""

    __slots__ = ("counts", "engine", "found")

    def __init__(self, engine: TcpEngine) -> None:
        self.engine = engine
        self.found: dict[tuple[Endpoint, Endpoint], Request] = {}
        self.counts: dict[TcpSocket, int] = {}

    def find(self, local: Endpoint, remote: Endpoint) -> Request | None:
        return self.found.get((local, remote))

    def add(
        self, listener: TcpSocket, local: Endpoint, remote: Endpoint, seq: int, window: int, options: Options
    ) -> None:
        """A SYN for a listener (tcp_conn_request)."""
        engine = self.engine
        if len(listener.accepted) > listener.backlog:
            engine.stack.count("ListenOverflows")
            return
        path = engine.stack.path_back(remote[0], local[0])
        if path is None:
            return
        v4 = local[0][:12] == bytes(10) + b"\xff\xff"
        flow = Flow(path, local, remote, v4)
        count = self.counts.get(listener, 0)
        request = Request(local, remote, seq, 0, options)
        request.flow = flow
        request.ts_offset = engine.hashed(local, remote, 1)
        self._choose_window(listener, request)
        if count >= max(listener.backlog, MIN_REQUESTS) or len(self.found) >= MAX_REQUESTS:
            engine.stack.count("SyncookiesSent")
            self._send_cookie(listener, request)
            return
        request.iss = engine.initial_sequence(local, remote)
        request.listener = listener
        self.counts[listener] = count + 1
        self.found[local, remote] = request
        request.sent_at = engine.now
        flow.unreachable = None
        self._send(request)
        request.timer = engine.timers.add(engine.now + RTO_INIT, lambda: self._time_is_up(request))

    def _choose_window(self, listener: TcpSocket, request: Request) -> None:
        limit = window_of(listener.rcvbuf)
        clamp = listener.levels.get((IPPROTO_TCP, TCP_WINDOW_CLAMP), 0)
        if clamp > 0:
            limit = min(limit, max(clamp, 1024))
        most = limit if listener.rcvlocked else RMEM_MAX
        request.window = min(limit, 0xFFFF)
        request.wscale = max(min((most >> 15).bit_length() - 1, 14), 0) if request.options.wscale >= 0 else 0

    def _advertised(self, listener: TcpSocket, flow: Flow) -> int:
        mss = max(flow.path.link.mtu - flow.head - 20, 88)
        return min(mss, listener.levels.get((IPPROTO_TCP, TCP_MAXSEG), 0) or mss, 65495)

    def _send(self, request: Request, tsval: int = -1) -> None:
        """The SYN and ACK."""
        flow, options, listener = request.flow, request.options, request.listener
        assert flow is not None
        if options.tsval >= 0 and tsval < 0:
            tsval = self.engine.now // _MS + request.ts_offset & _MASK
        mss = self._advertised(listener, flow) if listener is not None else 536
        sent = syn_options(
            mss, request.wscale if options.wscale >= 0 else -1, options.sack_ok, tsval,
            max(options.tsval, 0),
        )  # fmt: skip
        flow.send(request.iss, request.irs + 1 & _MASK, SYN | ACK, request.window, 0, sent, [], 0, 65535)

    def _time_is_up(self, request: Request) -> None:
        request.timer = None
        listener = request.listener
        if listener is None or listener.state != TCP_LISTEN or request.tries >= SYNACK_RETRIES:
            self.drop(request)
            return
        request.tries += 1
        self.engine.touch()
        self.engine.stack.count("RetransSegs")
        self._send(request)
        wait = min(RTO_INIT << request.tries, RTO_MAX)
        request.timer = self.engine.timers.add(self.engine.now + wait, lambda: self._time_is_up(request))

    def drop(self, request: Request) -> None:
        """Forget one. Idempotent."""
        if request.timer is not None:
            request.timer.cancel()
            request.timer = None
        if self.found.pop((request.local, request.remote), None) is None:
            return
        listener = request.listener
        if listener is not None:
            count = self.counts.get(listener, 1) - 1
            if count > 0:
                self.counts[listener] = count
            else:
                self.counts.pop(listener, None)

    def answered(
        self, request: Request, flags: int, seq: int, ack: int, window: int, options: Options, length: int
    ) -> TcpSocket | None:
        """A segment for a request (tcp_check_req): the new connection if it is the end of the handshake."""
        engine = self.engine
        listener = request.listener
        if listener is None or listener.state != TCP_LISTEN:
            self.drop(request)
            engine.refuse(request.local, request.remote, flags, seq, ack, length)
            return None
        expected = request.irs + 1 & _MASK
        if flags & RST:
            if seq == expected:
                self.drop(request)
            return None
        if flags & SYN and not flags & ACK and seq == request.irs:
            self._send(request)  # ours was lost
            return None
        if request.options.tsval >= 0 and options.tsval >= 0:
            if (options.tsval - request.options.tsval) & _MASK >= _HALF:
                return None
        if (seq - expected) & _MASK > max(request.window, 1):
            self._send(request)
            return None
        if flags & SYN:
            self.drop(request)
            engine.refuse(request.local, request.remote, flags, seq, ack, length)
            return None
        if not flags & ACK:
            return None
        if ack != request.iss + 1 & _MASK:
            engine.refuse(request.local, request.remote, flags, seq, ack, length)
            return None
        if len(listener.accepted) > listener.backlog:
            engine.stack.count("ListenOverflows")
            return None  # the SYN and ACK go out again, and there may be room by then
        self.drop(request)
        if options.tsval >= 0:
            request.options.tsval = options.tsval
        return engine.child(request, listener, window)

    # -- cookies ------------------------------------------------------------------------------

    def _cookie(self, request: Request, tick: int, mss: int) -> int:
        """A sequence number that holds the time and the number of the segment size, and that nobody else can
        make: 5 bits of time, 3 of size, 24 of a hash of all."""
        salt = tick << 3 | mss
        mixed = self.engine.hashed(request.local, request.remote, salt << 8 | 0xC0) ^ request.irs
        return (tick & 31) << 27 | mss << 24 | (mixed ^ mixed >> 24) & 0xFFFFFF

    def _send_cookie(self, listener: TcpSocket, request: Request) -> None:
        wanted = request.options.mss if request.options.mss > 0 else 536
        mss = max((i for i, size in enumerate(_COOKIE_MSS) if size <= max(wanted, 536)), default=0)
        request.iss = self._cookie(request, self.engine.now // _COOKIE_NS, mss)
        request.listener = listener
        tsval = -1
        if request.options.tsval >= 0:
            wscale = request.options.wscale
            bits = (_NO_WSCALE if wscale < 0 else wscale) << 1 | request.options.sack_ok
            clock = self.engine.now // _MS + request.ts_offset & _MASK
            tsval = (clock >> _TS_BITS << _TS_BITS) | bits
            if tsval > clock:
                tsval = tsval - (1 << _TS_BITS) & _MASK
        else:
            request.options.wscale = -1
            request.options.sack_ok = False
        self._send(request, tsval)

    def cookie_returned(
        self, listener: TcpSocket, local: Endpoint, remote: Endpoint, seq: int, ack: int, window: int,
        options: Options,
    ) -> TcpSocket | None:  # fmt: skip
        """Is it the answer to a cookie? Then the connection (cookie_v4_check)."""
        cookie = ack - 1 & _MASK
        request = Request(local, remote, seq - 1 & _MASK, cookie, Options())
        now = self.engine.now // _COOKIE_NS
        mss = cookie >> 24 & 7
        if all(self._cookie(request, now - back, mss) != cookie for back in range(_COOKIE_TICKS)):
            return None
        if len(listener.accepted) > listener.backlog:
            return None
        request.options.mss = _COOKIE_MSS[mss]
        if options.tsval >= 0:
            bits = options.tsecr & (1 << _TS_BITS) - 1
            request.options.tsval = options.tsval
            request.options.sack_ok = bool(bits & 1)
            wscale = bits >> 1 & 15
            request.options.wscale = -1 if wscale == _NO_WSCALE else wscale
        request.ts_offset = self.engine.hashed(local, remote, 1)
        self._choose_window(listener, request)
        self.engine.stack.count("SyncookiesRecv")
        return self.engine.child(request, listener, window)
