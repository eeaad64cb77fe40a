"""One end of a TCP connection (RFC 9293 3.3.1; struct tcp_sock): its variables, what the socket asks of it,
and its timers.

Places in the stream are counted from 0 (the SYN), in numbers without an end; sequence numbers are made of
them on the way out and become them on the way in, so that nothing here ever wraps around.
"""

from __future__ import annotations

from collections import deque
from errno import EHOSTUNREACH, ETIMEDOUT
from time import monotonic_ns

from runsc.abi.inet import (
    IP_TOS,
    IP_TTL,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_TCLASS,
    IPV6_UNICAST_HOPS,
    TCP_CLOSE,
    TCP_CONGESTION,
    TCP_CORK,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT2,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_LINGER2,
    TCP_MAXSEG,
    TCP_NODELAY,
    TCP_NOTSENT_LOWAT,
    TCP_QUICKACK,
    TCP_SYN_RECV,
    TCP_SYN_SENT,
    TCP_SYNCNT,
    TCP_TIME_WAIT,
    TCP_USER_TIMEOUT,
    TCP_WINDOW_CLAMP,
)  # fmt: skip
from runsc.abi.poll import POLLOUT, POLLWRBAND, POLLWRNORM
from runsc.abi.socket import SO_KEEPALIVE
from runsc.kernel.errors import WOULD_BLOCK
from runsc.kernel.socket.inet import connection as inet
from runsc.kernel.socket.inet.stream import window_of
from runsc.kernel.socket.inet.wire import Connection
from runsc_net_netstack.tcp import output, recovery
from runsc_net_netstack.tcp.congestion import CONTROLS
from runsc_net_netstack.tcp.flow import Flow
from runsc_net_netstack.tcp.info import tcp_info
from runsc_net_netstack.tcp.reassembly import Reassembly
from runsc_net_netstack.tcp.sendbuffer import SendBuffer
from runsc_net_netstack.tcp.timewait import Remains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.inet.stream import TcpSocket
    from runsc.kernel.timers import Timer
    from runsc_net_netstack.route import Path
    from runsc_net_netstack.tcp.congestion import Congestion
    from runsc_net_netstack.tcp.engine import TcpEngine
    from runsc_net_netstack.tcp.recovery import Sent

_WRITE_EVENTS = POLLOUT | POLLWRNORM | POLLWRBAND
MS = 1_000_000
SECOND = 1_000_000_000
#: Time-outs of RFC 6298 as Linux has them: the first, the least and the most.
RTO_INIT, RTO_MIN, RTO_MAX = SECOND, 200 * MS, 120 * SECOND
#: How many time-outs in a row end a connection (tcp_retries2, tcp_syn_retries), one without a program
#: (tcp_orphan_retries), and one that was never accepted (tcp_synack_retries).
RETRIES, SYN_RETRIES, ORPHAN_RETRIES, SYNACK_RETRIES = 15, 6, 8, 5
DELACK_NS = 40 * MS
#: Segments that are acknowledged at once, at the beginning and when something went wrong.
QUICK = 16
_FIN_TIMEOUT = 60
#: Buffers grow up to these (the last numbers of tcp_wmem and tcp_rmem).
WMEM_MAX, RMEM_MAX = 4 << 20, 6 << 20
_SNDBUF, _SLOW_START_SEGMENTS = 87040, 10
_HUGE = 1 << 62
_DEFAULT_MSS = 536
_PIECE = 65536


class TcpConnection(Connection):
    """One end.

    ``iss``, ``irs``: the sequence numbers of place 0, ours and theirs. Sending: acknowledged is what comes
    before ``snd_una``, sent before ``snd_nxt``; ``snd_wnd``: room beyond ``snd_una``. Receiving: arrived is
    what comes before ``rcv_nxt``, promised what comes before ``rcv_adv``; ``rcv_limit``: the most that may
    wait. ``sent``: records of what is under way, of which ``sacked``, ``lost`` and ``again`` bytes are
    (``recovery``); ``phase``: OPEN, RECOVERY, LOSS. Times are in ns on the monotonic clock, 0 for never.
    """

    __slots__ = (
        "ack_pending", "advmss", "again", "backoff", "buffer", "bytes_acked", "bytes_received", "control",
        "cork_at", "created", "cwnd", "cwnd_limited", "data_segs_in", "data_segs_out", "delack_at",
        "delivered", "dupacks", "engine", "fack", "fin_at", "fin_queued", "flight", "flow", "grow_at",
        "grown", "irs", "iss", "keep_at", "keep_probes", "last_ack", "last_data", "last_sent", "lost",
        "min_rtt", "more", "persist_at", "phase", "pingpong", "prior_cwnd", "prior_ssthresh", "probe_at",
        "probed", "prr_delivered", "prr_out", "quick", "rack_end", "rack_rtt", "rack_time", "rcv_adv",
        "rcv_limit", "rcv_mss", "rcv_nxt", "rcv_wscale", "reassembly", "recover", "reorder_at",
        "reordering", "retrans_stamp", "retransmits", "rto", "rto_at", "rttvar", "sack_ok", "sacked",
        "segs_in", "segs_out", "sent", "smss", "snd_max_wnd", "snd_nxt", "snd_sml", "snd_una", "snd_wl",
        "snd_wnd", "snd_wscale", "socket", "soft_error", "srtt", "ssthresh", "stalled_at", "timer",
        "timer_at", "total_retrans", "ts_offset", "ts_ok", "ts_recent", "ts_recent_at", "unacked",
        "urgent_end",
    )  # fmt: skip

    def __init__(self, engine: TcpEngine, socket: TcpSocket, path: Path, iss: int) -> None:
        assert socket.remote is not None
        self.engine = engine
        self.socket = socket
        v4 = path.ip[:12] == bytes(10) + b"\xff\xff"
        self.flow = Flow(path, socket.local, socket.remote, v4, self._nobody)
        self.iss = iss
        self.irs = 0
        self.snd_una = 0
        self.snd_nxt = 1
        self.snd_wnd = 0
        self.snd_wl = 0
        self.snd_max_wnd = 0
        self.snd_sml = 0
        self.snd_wscale = 0
        self.rcv_nxt = 0
        self.rcv_adv = 0
        self.rcv_limit = 65535
        self.rcv_wscale = 7
        self.sack_ok = False
        self.ts_ok = True
        self.ts_recent = 0
        self.ts_recent_at = 0
        self.ts_offset = 0
        self.urgent_end = 0
        self.buffer = SendBuffer(1)
        self.fin_queued = 0
        self.more = False
        self.reassembly = Reassembly()
        self.sent: deque[Sent] = deque()
        self.sacked = self.lost = self.again = 0
        self.phase = recovery.OPEN
        self.recover = self.dupacks = self.fack = 0
        self.flight = self.prr_delivered = self.prr_out = 0
        self.prior_cwnd = self.prior_ssthresh = 0
        self.rack_time = self.rack_end = self.rack_rtt = 0
        self.reordering = False
        self.retrans_stamp = 0
        self.delivered = 0
        self.smss = _DEFAULT_MSS
        self.advmss = _DEFAULT_MSS
        self.rcv_mss = _DEFAULT_MSS
        self.cwnd = _SLOW_START_SEGMENTS * _DEFAULT_MSS
        self.ssthresh = _HUGE
        self.cwnd_limited = False
        self.control: Congestion = CONTROLS[socket.levels.get((IPPROTO_TCP, TCP_CONGESTION), 0)]()
        self.srtt = self.rttvar = 0
        self.min_rtt = SECOND
        self.rto = RTO_INIT
        self.backoff = 0
        self.retransmits = self.total_retrans = 0
        self.probed = 0
        self.soft_error = 0
        now = monotonic_ns()
        self.created = self.last_ack = self.last_data = self.last_sent = now
        self.stalled_at = 0
        self.pingpong = False
        self.quick = QUICK
        self.ack_pending = False
        self.unacked = 0
        self.keep_probes = 0
        self.grow_at = now
        self.grown = 0
        self.segs_in = self.segs_out = self.data_segs_in = self.data_segs_out = 0
        self.bytes_acked = self.bytes_received = 0
        # When each timer is up, and the one of the kernel's that runs for all of them.
        self.rto_at = self.probe_at = self.reorder_at = self.delack_at = self.persist_at = 0
        self.keep_at = self.cork_at = self.fin_at = 0
        self.timer: Timer | None = None
        self.timer_at = 0
        socket.wire = self
        socket.stuffed = True
        socket.window = _HUGE
        self._size_receive_buffer()
        self.path_changed()
        self.changed()

    # -- sizes --------------------------------------------------------------------------------

    def path_changed(self) -> None:
        """Sizes that follow from the path's MTU and from the options."""
        room = self.flow.room()
        limit = self.socket.levels.get((IPPROTO_TCP, TCP_MAXSEG), 0)
        self.advmss = min(max(self.flow.path.link.mtu - self.flow.head - 20, 88), limit or 65535, 65495)
        wanted = min(room, limit or room)
        if self.socket.state in (TCP_SYN_SENT, TCP_CLOSE):
            self.smss = max(min(wanted, self.smss if self.snd_una else _DEFAULT_MSS), 48)

    def negotiated(self, mss: int, tsval: int, sack_ok: bool, wscale: int) -> None:
        """The options of the other end's SYN are known; -1 for what it lacks."""
        limit = self.socket.levels.get((IPPROTO_TCP, TCP_MAXSEG), 0)
        self.ts_ok = tsval >= 0
        smss = min(mss if mss > 0 else _DEFAULT_MSS, self.flow.room(), limit or 65535)
        self.smss = max(smss - (12 if self.ts_ok else 0), 36)
        self.sack_ok = sack_ok
        if wscale < 0:
            self.snd_wscale = self.rcv_wscale = 0
        else:
            self.snd_wscale = wscale
        self.rcv_mss = min(self.advmss - (12 if self.ts_ok else 0), self.smss)
        self.cwnd = _SLOW_START_SEGMENTS * self.smss
        if not self.socket.sndlocked:
            self.socket.sndbuf = max(self.socket.sndbuf, _SNDBUF)

    def mtu_lowered(self) -> None:
        """The path takes less than before: what is under way is lost (tcp_mtu_reduced)."""
        smss = max(self.flow.room() - (12 if self.ts_ok else 0), 36)
        if smss >= self.smss:
            return
        self.smss = smss
        for record in self.sent:
            if record.end - record.start > smss and not record.sacked:
                recovery.mark_lost(self, record)
        output.push(self)

    def segment_limit(self) -> int:
        """The most data of one segment as the link takes it: several of the size of the wire's."""
        gso = self.flow.path.link.gso
        if not gso:
            return self.smss
        return max((gso - 120) // self.smss, 1) * self.smss

    def _size_receive_buffer(self) -> None:
        socket = self.socket
        self.rcv_limit = window_of(socket.rcvbuf)
        clamp = socket.levels.get((IPPROTO_TCP, TCP_WINDOW_CLAMP), 0)
        if clamp > 0:
            self.rcv_limit = min(self.rcv_limit, max(clamp, 1024))
        if not self.snd_una:
            most = self.rcv_limit if socket.rcvlocked else RMEM_MAX
            self.rcv_wscale = max(min((most >> 15).bit_length() - 1, 14), 0)

    def space(self) -> int:
        """Room in the receive buffer."""
        return max(self.rcv_limit - self.socket.queued - self.reassembly.size, 0)

    def timestamp(self) -> int:
        return self.engine.now // MS + self.ts_offset & 0xFFFFFFFF

    # -- what the socket asks ------------------------------------------------------------------

    def send(self, data: bytes, more: bool) -> int:
        socket = self.socket
        length = len(data)
        room = socket.sndbuf - (self.buffer.end - self.snd_una)
        if room <= 0:
            if not length:
                return 0
            socket.nospace = True
            raise WOULD_BLOCK
        if length > room and length > _PIECE:
            length = max(room, _PIECE)
            data = data[:length]
        if not length:
            return 0
        self.engine.touch()
        self.more = more
        self.buffer.append(data, self.snd_nxt)
        socket.sent += length
        if socket.state >= TCP_ESTABLISHED and socket.state != TCP_SYN_SENT:
            output.push(self)
        return length

    def send_urgent(self, data: bytes) -> int:
        before = self.buffer.end
        room = self.socket.sndbuf - (before - self.snd_una)
        if room < len(data):
            return self.send(data, False)
        self.urgent_end = before + len(data)
        return self.send(data, False)

    def drained(self) -> None:
        """Tell of the room if there is twice as much now (tcp_cleanup_rbuf), and grow the buffer for a
        program that empties it within a round trip (tcp_rcv_space_adjust)."""
        socket = self.socket
        if socket.state in (TCP_CLOSE, TCP_TIME_WAIT):
            return
        promised = self.rcv_adv - self.rcv_nxt
        if socket.received - self.grown >= self.rcv_limit // 2:
            self._grow_receive_buffer()
        space = self.space()
        if self.unacked > self.rcv_mss or (
            space >= 2 * promised and space - promised >= min(self.rcv_mss, self.rcv_limit // 2)
        ):
            if not socket.shut & 1:
                self.engine.touch()
                output.send_ack(self)

    def _grow_receive_buffer(self) -> None:
        socket = self.socket
        now = monotonic_ns()
        quick = now - self.grow_at < max(4 * (self.srtt or self.min_rtt), 50 * MS)
        self.grow_at, self.grown = now, socket.received
        if quick and not socket.rcvlocked and socket.rcvbuf < RMEM_MAX:
            socket.rcvbuf = min(socket.rcvbuf * 2, RMEM_MAX)
            self._size_receive_buffer()

    def send_fin(self) -> None:
        self.fin_queued = 1
        self.more = False
        self.engine.touch()
        if self.socket.state != TCP_SYN_RECV:
            output.push(self)

    def orphaned(self) -> None:
        """Nobody waits for it any more: it gets a minute for the other end's FIN (tcp_fin_timeout), and fewer
        tries."""
        if self.socket.state == TCP_FIN_WAIT2:
            self.start_fin_timeout()
        self.reassembly.clear()

    def start_fin_timeout(self) -> None:
        seconds = self.socket.levels.get((IPPROTO_TCP, TCP_LINGER2), 0) or _FIN_TIMEOUT
        if seconds < 0:
            inet.abort(self.socket)
            return
        self.fin_at = self.engine.now + seconds * SECOND
        self.schedule(self.fin_at)

    def send_reset(self) -> None:
        self.engine.touch()
        if self.socket.state != TCP_SYN_SENT:
            output.send_reset(self)

    def end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.buffer.clear()
        self.sent.clear()
        self.reassembly.clear()
        self.ack_pending = False
        self.engine.forget(self)

    def remains(self) -> object:
        return Remains(self)

    def writable(self) -> bool:
        socket = self.socket
        queued = self.buffer.end - self.snd_una
        if queued * 3 > socket.sndbuf * 2:
            return False
        limit = socket.levels.get((IPPROTO_TCP, TCP_NOTSENT_LOWAT), 0) & 0xFFFFFFFF
        return not limit or self.buffer.end - self.snd_nxt < limit

    def unsent(self) -> int:
        return max(self.buffer.end + self.fin_queued - self.snd_una, 0)

    def not_sent(self) -> int:
        return max(self.buffer.end + self.fin_queued - self.snd_nxt, 0)

    def mss(self) -> int:
        return self.smss

    def changed(self) -> None:
        socket = self.socket
        levels = socket.levels
        self._size_receive_buffer()
        if self.flow.v4:
            self.flow.mark(levels.get((IPPROTO_IP, IP_TOS), 0), levels.get((IPPROTO_IP, IP_TTL), 64))
        else:
            hops = levels.get((IPPROTO_IPV6, IPV6_UNICAST_HOPS), 64)
            self.flow.mark(levels.get((IPPROTO_IPV6, IPV6_TCLASS), 0), hops)
        wanted = CONTROLS[levels.get((IPPROTO_TCP, TCP_CONGESTION), 0)]
        if type(self.control) is not wanted:
            self.control = wanted()
        if socket.state not in (TCP_CLOSE, TCP_SYN_SENT, TCP_SYN_RECV):
            if (IPPROTO_TCP, TCP_QUICKACK) in levels:
                self.pingpong = not levels.pop((IPPROTO_TCP, TCP_QUICKACK))
                if not self.pingpong:
                    self.quick = QUICK
                    if self.unacked:
                        output.send_ack(self)
            self.restart_keepalive()
            if levels.get((IPPROTO_TCP, TCP_NODELAY)) or not levels.get((IPPROTO_TCP, TCP_CORK)):
                self.engine.touch()
                output.push(self)

    def info(self) -> bytes:
        self.engine.touch()
        return tcp_info(self)

    def split(self, record: Sent, at: int) -> None:
        recovery.split(self, self.sent.index(record), at)

    # -- timers -------------------------------------------------------------------------------

    def schedule(self, at: int) -> None:
        """Have the timer run at ``at``, or sooner."""
        if self.timer is not None:
            if self.timer_at <= at:
                return
            self.timer.cancel()
        self.timer_at = at
        self.timer = self.engine.timers.add(at, self._time_is_up)

    def _time_is_up(self) -> None:
        self.timer = None
        self.engine.touch()
        try:
            self._run_timers()
        except Exception as error:
            self.engine.stack.failed_inside("a timer of TCP", error)
            if self.socket.wire is self:
                inet.abort(self.socket)

    def _run_timers(self) -> None:
        """Look which timers are due; go on with the earliest of the others."""
        now = self.engine.now
        socket = self.socket
        if self.delack_at and self.delack_at <= now:
            self.delack_at = 0
            self.pingpong = False
            output.send_ack(self)
        if self.cork_at and self.cork_at <= now:
            self.cork_at = 0
            output.push(self, True)
        if self.reorder_at and self.reorder_at <= now:
            self.reorder_at = 0
            self._look_for_losses(now)
        if self.probe_at and self.probe_at <= now:
            self.probe_at = 0
            self._probe_loss(now)
        if self.rto_at and self.rto_at <= now:
            self.rto_at = 0
            self._timed_out(now)
        if socket.wire is self and self.persist_at and self.persist_at <= now:
            self.persist_at = 0
            self._persist(now)
        if socket.wire is self and self.keep_at and self.keep_at <= now:
            self.keep_at = 0
            self._keep_alive(now)
        if socket.wire is self and self.fin_at and self.fin_at <= now:
            self.fin_at = 0
            inet.finish(socket)
        if socket.wire is not self:
            return
        at = min(
            filter(None, (
                self.delack_at, self.cork_at, self.reorder_at, self.probe_at, self.rto_at, self.persist_at,
                self.keep_at, self.fin_at,
            )),
            default=0,
        )  # fmt: skip
        if at:
            self.schedule(at)

    def start_retransmit_timer(self, restart: bool) -> None:
        """Set the time-out, and the earlier probe for a loss at the tail (RFC 8985 7.2)."""
        if not self.sent:
            self.rto_at = self.probe_at = 0
            return
        now = self.engine.now
        if restart or not self.rto_at:
            self.rto_at = now + min(self.rto << self.backoff, RTO_MAX)
        self.probe_at = 0
        if self.srtt and self.sack_ok and not self.phase and not self.sacked and not self.probed:
            wait = 2 * self.srtt + 2 * MS
            if self.snd_nxt - self.snd_una <= self.smss:
                wait += RTO_MIN
            if now + wait < self.rto_at:
                self.probe_at = now + wait
                self.schedule(self.probe_at)
                return
        self.schedule(self.rto_at)

    def hold(self) -> bool:
        """A partial segment is held back, but not for ever; False."""
        if not self.cork_at:
            self.cork_at = self.engine.now + output.CORK_NS
            self.schedule(self.cork_at)
        return False

    def start_persist(self) -> None:
        """The window is closed: ask now and then whether it still is (RFC 9293 3.8.6.1)."""
        self.persist_at = self.engine.now + min(self.rto << self.backoff, RTO_MAX)
        self.schedule(self.persist_at)

    def delay_ack(self) -> None:
        if not self.delack_at:
            self.delack_at = self.engine.now + DELACK_NS
            self.schedule(self.delack_at)

    def restart_keepalive(self) -> None:
        """SO_KEEPALIVE: ask when nothing was heard for long (tcp_keepalive_timer)."""
        if not self.socket.options.get(SO_KEEPALIVE):
            self.keep_at = 0
            return
        idle = self.socket.levels.get((IPPROTO_TCP, TCP_KEEPIDLE), 7200)
        self.keep_at = self.last_ack + idle * SECOND
        self.schedule(self.keep_at)

    def _user_timeout(self) -> int:
        return self.socket.levels.get((IPPROTO_TCP, TCP_USER_TIMEOUT), 0) * MS

    def _look_for_losses(self, now: int) -> None:
        again = recovery.detect(self, now)
        if self.lost and self.phase == recovery.OPEN:
            recovery.begin(self)
        if self.lost:
            recovery.reduce(self, 0)
        if again:
            self.reorder_at = again
            self.schedule(again)
        output.push(self)

    def _probe_loss(self, now: int) -> None:
        """A tail loss probe: new data if there is any, else the last segment again."""
        if not self.sent:
            return
        before = self.snd_nxt
        self.probed = self.snd_nxt
        if self.buffer.end > self.snd_nxt and self.snd_una + self.snd_wnd > self.snd_nxt:
            self.cwnd += self.smss
            output.push(self, True)
            self.cwnd -= self.smss
        if self.snd_nxt == before and self.sent:
            record = self.sent[-1]
            if record.end - record.start > self.smss:
                self.split(record, record.end - self.smss)
                record = self.sent[-1]
            output.send_again(self, record, self.smss, now)
        self.probed = self.snd_nxt
        self.start_retransmit_timer(True)

    def _timed_out(self, now: int) -> None:
        """Nothing was heard for the time of a retransmission (tcp_retransmit_timer)."""
        socket = self.socket
        state = socket.state
        if state == TCP_CLOSE:
            return
        if not self.stalled_at:
            self.stalled_at = now - (self.rto << self.backoff)
        if self._give_up(now, state):
            self._abandon()
            return
        self.retransmits += 1
        self.backoff = min(self.backoff + 1, 10)
        if state in (TCP_SYN_SENT, TCP_SYN_RECV):
            self.total_retrans += 1
            self.engine.stack.count("RetransSegs")
            output.send_syn(self)
            self.rto_at = now + min(self.rto << self.backoff, RTO_MAX)
            self.schedule(self.rto_at)
            return
        if self.phase != recovery.LOSS:
            if self.phase == recovery.OPEN:
                self.prior_cwnd, self.prior_ssthresh = self.cwnd, self.ssthresh
                self.ssthresh = self.control.reduced(self)
            self.phase = recovery.LOSS
            self.recover = self.snd_nxt
            self.retrans_stamp = 0
        self.engine.stack.count("TCPTimeouts")
        self.control.restart()
        recovery.everything_lost(self)
        self.reorder_at = self.probe_at = 0
        self.cwnd = self.smss
        self.probed = 0
        self.rto_at = now + min(self.rto << self.backoff, RTO_MAX)
        self.schedule(self.rto_at)
        output.push(self)

    def _give_up(self, now: int, state: int) -> bool:
        """Were there tries enough (tcp_write_timeout)?"""
        user = self._user_timeout()
        if user and now - self.stalled_at >= user:
            return True
        levels = self.socket.levels
        if state == TCP_SYN_SENT:
            return self.retransmits >= (levels.get((IPPROTO_TCP, TCP_SYNCNT), 0) or SYN_RETRIES)
        if state == TCP_SYN_RECV:
            return self.retransmits >= SYNACK_RETRIES
        if self.socket.gone:
            return self.retransmits >= ORPHAN_RETRIES
        return not user and self.retransmits >= RETRIES

    def _abandon(self, error: int = 0) -> None:
        """Give up (tcp_write_err)."""
        socket = self.socket
        socket.error = error or self.soft_error or ETIMEDOUT
        inet.finish(socket)

    def _nobody(self) -> None:
        """The neighbour doesn't answer: an error if nothing was heard before, else it may come back."""
        self.failed(EHOSTUNREACH, self.socket.state in (TCP_SYN_SENT, TCP_SYN_RECV))

    def failed(self, errno: int, hard: bool) -> None:
        """The way is blocked, as ICMP says (tcp_v4_err)."""
        if self.socket.wire is not self:
            return
        if hard and self.socket.state in (TCP_SYN_SENT, TCP_SYN_RECV):
            self._abandon(errno)
        else:
            self.soft_error = errno

    def _persist(self, now: int) -> None:
        """Probe a closed window (tcp_probe_timer)."""
        if self.sent or self.buffer.end + self.fin_queued <= self.snd_nxt:
            self.backoff = 0
            return
        if not self.stalled_at:
            self.stalled_at = now
        user = self._user_timeout()
        if user and now - self.stalled_at >= user:
            self._abandon()
            return
        if self.socket.gone and self.backoff >= ORPHAN_RETRIES:
            self._abandon()
            return
        if self.snd_una + self.snd_wnd > self.snd_nxt:
            # There is a little room, which isn't enough for a whole segment: that goes now.
            self._send_tiny()
        else:
            output.send_probe(self)
        self.backoff = min(self.backoff + 1, 10)
        self.probed = 0
        if not self.sent:
            self.start_persist()

    def _send_tiny(self) -> None:
        wnd, self.snd_max_wnd = self.snd_max_wnd, 0
        output.push(self, True)
        self.snd_max_wnd = wnd

    def _keep_alive(self, now: int) -> None:
        socket = self.socket
        if not socket.options.get(SO_KEEPALIVE) or socket.state in (TCP_CLOSE, TCP_SYN_SENT):
            return
        levels = socket.levels
        idle = levels.get((IPPROTO_TCP, TCP_KEEPIDLE), 7200) * SECOND
        interval = levels.get((IPPROTO_TCP, TCP_KEEPINTVL), 75) * SECOND
        count = levels.get((IPPROTO_TCP, TCP_KEEPCNT), 9)
        if self.sent or self.buffer.end > self.snd_nxt:
            self.keep_at = now + idle  # something is under way, and has its own timer
        elif now - self.last_ack < idle:
            self.keep_probes = 0
            self.keep_at = self.last_ack + idle
        else:
            user = self._user_timeout()
            silent = now - self.last_ack
            if (user and silent >= user and self.keep_probes) or (not user and self.keep_probes >= count):
                output.send_reset(self)
                self._abandon(ETIMEDOUT)
                return
            self.keep_probes += 1
            output.send_probe(self)
            self.keep_at = now + interval
        self.schedule(self.keep_at)

    # -- the socket's side of what arrived ------------------------------------------------------

    def wake_writers(self) -> None:
        """Room has become free."""
        socket = self.socket
        if socket.nospace and self.writable():
            socket.nospace = False
            socket.queue.wake(_WRITE_EVENTS)
