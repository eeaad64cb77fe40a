"""A segment arrives at a connection (RFC 9293 3.10.7; net/ipv4/tcp_input.c)."""

from __future__ import annotations

from errno import ECONNREFUSED
from time import monotonic_ns

from runsc.abi.inet import (
    TCP_CLOSING,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT1,
    TCP_FIN_WAIT2,
    TCP_LAST_ACK,
    TCP_SYN_RECV,
    TCP_SYN_SENT,
)  # fmt: skip
from runsc.abi.poll import POLLPRI
from runsc.kernel.socket.inet import connection as inet
from runsc.kernel.socket.inet import urgent
from runsc.kernel.socket.inet.stream import READ_EVENTS
from runsc_net_netstack.tcp import output, recovery
from runsc_net_netstack.tcp.segment import ACK, FIN, RST, SYN, URG, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.tcp.connection import TcpConnection

_MASK = 0xFFFFFFFF
_HALF = 0x80000000
_RECEIVING = frozenset((TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2))
#: A timestamp that old says nothing about the order of segments any more (TCP_PAWS_24DAYS).
_PAWS_NS = 24 * 86400 * 1_000_000_000
_JOIN_MANY, _JOIN_SMALL = 32, 4096
_MS = 1_000_000


def segment(
    c: TcpConnection, flags: int, seq: int, ack: int, window: int, urgent_at: int, options: Options | None,
    tsval: int, tsecr: int, view: memoryview, start: int, end: int,
) -> None:  # fmt: skip
    """A segment with data in ``view[start:end]``; ``options`` None if the timestamps (-1 for none) are
    all."""
    c.segs_in += 1
    state = c.socket.state
    if state == TCP_SYN_SENT:
        _answer_to_syn(c, flags, seq, ack, window, options, view, start, end)
        return
    now = c.engine.now
    length = end - start
    place = c.rcv_nxt + ((seq - c.irs - c.rcv_nxt + _HALF) & _MASK) - _HALF
    # Is it one of before (PAWS, RFC 7323 5)?
    if c.ts_ok:
        if tsval >= 0:
            if (
                (tsval - c.ts_recent) & _MASK >= _HALF and not flags & RST and now - c.ts_recent_at < _PAWS_NS
            ):
                c.engine.stack.count("PAWSEstab")
                if not flags & SYN or length:
                    _duplicate(c, place, place + length)
                    output.send_ack(c)
                return
        elif not flags & RST:
            return
    right = place + length + (1 if flags & FIN else 0) + (1 if flags & SYN else 0)
    if right < c.rcv_nxt or place > max(c.rcv_adv, c.rcv_nxt) or (
        right == c.rcv_nxt and right > place and not flags & RST
    ):
        # All of it is old, or beyond the window.
        if flags & RST:
            return
        if flags & SYN and state == TCP_SYN_RECV and right == c.rcv_nxt:
            output.send_syn(c)
            return
        _duplicate(c, place, place + length)
        if flags & ACK:
            _acknowledge_old(c, ack, window, tsecr, options)
        if c.socket.wire is c:
            if flags & SYN:
                c.engine.challenge(c)
            else:
                output.send_ack(c)
        return
    if flags & RST:
        # Only a reset with the very next sequence number counts (RFC 5961 3.2).
        if place == c.rcv_nxt:
            if state == TCP_SYN_RECV:
                c.socket.error = ECONNREFUSED
                inet.finish(c.socket)
            else:
                inet.reset(c.socket)
            c.engine.stack.count("EstabResets")
        else:
            c.engine.challenge(c)
        return
    if flags & SYN:
        c.engine.challenge(c)
        return
    if not flags & ACK:
        return
    if tsval >= 0 and c.ts_ok and place <= c.rcv_nxt and (tsval - c.ts_recent) & _MASK < _HALF:
        c.ts_recent = tsval
        c.ts_recent_at = now
    acked = c.snd_una + ((ack - c.iss - c.snd_una + _HALF) & _MASK) - _HALF
    if acked > c.snd_nxt:
        if state == TCP_SYN_RECV:
            c.engine.refuse_segment(c.flow, flags, seq, ack, length)
        else:
            c.engine.challenge(c)
        return
    if state == TCP_SYN_RECV:
        _simultaneous(c)
        state = c.socket.state
    if acked < c.snd_una - max(c.snd_max_wnd, 65535):
        c.engine.challenge(c)
        return
    c.last_ack = now
    c.keep_probes = 0
    if not _acknowledged(c, acked, window, tsecr, options, length, place):
        return
    socket = c.socket
    state = socket.state
    if flags & URG and state in _RECEIVING:
        _urgent(c, place, urgent_at)
    if length:
        if state not in _RECEIVING:
            # Nothing can come behind a FIN.
            output.send_ack(c)
        elif socket.gone and place + length > c.rcv_nxt:
            # The program is gone, and nobody will ever read it.
            c.engine.stack.count("TCPAbortOnData")
            inet.abort(socket)
            return
        elif _data(c, place, view, start, end):
            return
    if flags & FIN and socket.wire is c:
        _fin(c, place + length)
    if c.snd_nxt < c.buffer.end + c.fin_queued or c.lost:
        if socket.wire is c:
            output.push(c)


# -- acknowledgements -------------------------------------------------------------------------------


def _acknowledge_old(c: TcpConnection, ack: int, window: int, tsecr: int, options: Options | None) -> None:
    """What a segment without anything new for us says of what we sent."""
    acked = c.snd_una + ((ack - c.iss - c.snd_una + _HALF) & _MASK) - _HALF
    if c.snd_una <= acked <= c.snd_nxt and c.socket.state != TCP_SYN_RECV:
        c.last_ack = c.engine.now
        _acknowledged(c, acked, window, tsecr, options, 0, c.snd_wl)


def _blocks(c: TcpConnection, options: Options | None) -> list[tuple[int, int]]:
    """SACK blocks as places in our stream."""
    if options is None or options.sack is None or not c.sack_ok:
        return []
    una = c.snd_una
    base = c.iss + una
    found = []
    for left, right in options.sack:
        found.append((
            una + ((left - base + _HALF) & _MASK) - _HALF,
            una + ((right - base + _HALF) & _MASK) - _HALF,
        ))
    return found


def _acknowledged(
    c: TcpConnection, acked: int, window: int, tsecr: int, options: Options | None, length: int, place: int
) -> bool:
    """Take in an acknowledgement (tcp_ack); False if the connection has ended by it."""
    now = c.engine.now
    before = c.snd_una
    delivered = c.delivered
    wnd = window << c.snd_wscale
    rtt = -1
    advanced = acked > before
    if advanced:
        rtt = recovery.acknowledged(c, acked, now)
        c.snd_una = acked
        c.bytes_acked += acked - before
        c.buffer.release(acked)
        c.retransmits = c.backoff = 0
        c.stalled_at = 0
        c.soft_error = 0
        c.flow.path.neighbour.confirmed = True
    if options is not None and options.sack is not None:
        sampled = recovery.selected(c, _blocks(c, options), now)
        if rtt < 0:
            rtt = sampled
    # An acknowledgement that repeats the last one, and brings nothing else (RFC 5681 2).
    repeated = not advanced and acked == before and not length and wnd == c.snd_wnd and bool(c.sent)
    if advanced or (acked == before and (place > c.snd_wl or wnd > c.snd_wnd or place == c.snd_wl)):
        if wnd != c.snd_wnd or place > c.snd_wl:
            if wnd > c.snd_wnd:
                c.persist_at = 0
                if not c.sent:
                    c.backoff = 0
            c.snd_wnd = wnd
            c.snd_max_wnd = max(c.snd_max_wnd, wnd)
        c.snd_wl = place
    if rtt < 0 and advanced and c.ts_ok and tsecr and not c.retrans_stamp:
        elapsed = c.timestamp() - tsecr & _MASK
        if elapsed < 120_000:
            rtt = elapsed * _MS
    if rtt >= 0:
        round_trip(c, max(rtt, 1))
    arrived = c.delivered - delivered
    if advanced or arrived or repeated or c.phase:
        _congestion(c, acked, advanced, arrived, repeated, tsecr, now)
    if advanced or arrived:
        if c.probed and acked >= c.probed:
            c.probed = 0
        if c.sent:
            c.start_retransmit_timer(True)
        else:
            c.rto_at = c.probe_at = c.reorder_at = 0
    if advanced:
        if c.fin_queued and acked > c.buffer.end and not _fin_acknowledged(c):
            return False
        socket = c.socket
        if socket.nospace:
            c.wake_writers()
    return True


def round_trip(c: TcpConnection, rtt: int) -> None:
    """The time-out from a round trip in ns (RFC 6298), with Linux's floor."""
    if rtt < c.min_rtt:
        c.min_rtt = rtt
    if not c.srtt:
        c.srtt = rtt
        c.rttvar = rtt // 2
    else:
        c.rttvar += (abs(c.srtt - rtt) - c.rttvar) >> 2
        c.srtt += (rtt - c.srtt) >> 3
    c.rto = min(c.srtt + max(4 * c.rttvar, 200 * _MS), 120_000 * _MS)


def _congestion(
    c: TcpConnection, acked: int, advanced: bool, arrived: int, repeated: bool, tsecr: int, now: int
) -> None:
    """Losses, recovery, and the growth of the window."""
    if c.phase:
        if advanced and c.retrans_stamp and c.ts_ok and tsecr and _spurious(c, tsecr):
            recovery.undo(c)
            c.retrans_stamp = 0
        elif acked >= c.recover and advanced:
            recovery.finish(c)
            c.retrans_stamp = 0
    if c.sack_ok:
        if c.sacked or c.phase:
            again = recovery.detect(c, now)
            c.reorder_at = again
            if again:
                c.schedule(again)
    elif repeated:
        c.dupacks += 1
        if c.dupacks == 3 and not c.phase:
            recovery.head_lost(c)
    elif advanced:
        c.dupacks = 0
        if c.phase == recovery.RECOVERY and not c.lost:
            recovery.head_lost(c)
    if c.lost and c.phase == recovery.OPEN:
        recovery.begin(c)
        recovery.reduce(c, arrived)
    elif c.phase == recovery.RECOVERY:
        recovery.reduce(c, arrived or (c.smss if repeated else 0))
    elif arrived and (c.cwnd_limited or recovery.pipe(c) + arrived >= c.cwnd // 2):
        c.cwnd_limited = False
        if c.cwnd < c.ssthresh:
            c.cwnd += min(arrived, 2 * c.cwnd)
        else:
            c.control.avoid(c, arrived, now)
        _grow_send_buffer(c)


def _spurious(c: TcpConnection, tsecr: int) -> bool:
    """Was what arrived sent before we sent again (Eifel detection, RFC 3522)?"""
    return (tsecr - c.retrans_stamp) & _MASK >= _HALF


def _grow_send_buffer(c: TcpConnection) -> None:
    """As much as two windows (tcp_sndbuf_expand)."""
    socket = c.socket
    if not socket.sndlocked and socket.sndbuf < 2 * c.cwnd:
        socket.sndbuf = max(socket.sndbuf, min(2 * c.cwnd, 4 << 20))


def _fin_acknowledged(c: TcpConnection) -> bool:
    """All we ever sent has arrived; False if that was the end."""
    socket = c.socket
    state = socket.state
    if state == TCP_FIN_WAIT1:
        socket.state = TCP_FIN_WAIT2
        if socket.gone:
            c.start_fin_timeout()
            return socket.wire is c
        socket.queue.wake()
    elif state == TCP_CLOSING:
        inet.time_wait(socket)
        return False
    elif state == TCP_LAST_ACK:
        inet.finish(socket)
        return False
    return True


# -- data -------------------------------------------------------------------------------------------


def _duplicate(c: TcpConnection, start: int, end: int) -> None:
    """Data that was here before (RFC 2883)."""
    if start < end <= c.rcv_nxt and c.sack_ok:
        c.reassembly.duplicate = (start, end)
    if start < end:
        c.quick = max(c.quick, 1)
        c.pingpong = False


def _data(c: TcpConnection, place: int, view: memoryview, start: int, end: int) -> bool:
    """Take data in; True if the connection has ended by it."""
    edge = max(c.rcv_adv, c.rcv_nxt)
    if place + end - start > edge:
        end = start + edge - place
        if end <= start:
            output.send_ack(c)
            return False
    c.data_segs_in += 1
    now = c.engine.now
    c.last_data = now
    if place > c.rcv_nxt:
        c.reassembly.add(place, bytes(view[start:end]))
        c.quick = max(c.quick, 2)
        c.pingpong = False
        output.send_ack(c)
        return False
    if place < c.rcv_nxt:
        if place + end - start <= c.rcv_nxt:
            _duplicate(c, place, place + end - start)
            output.send_ack(c)
            return False
        start += c.rcv_nxt - place
    length = end - start
    _deliver(c, bytes(view[start:end]))
    if length > c.rcv_mss:
        c.rcv_mss = min(length, c.advmss)
    if c.reassembly.pieces:
        for data in c.reassembly.take(c.rcv_nxt):
            _deliver(c, data)
        c.quick = max(c.quick, 1)
    socket = c.socket
    if socket.queue.entries and socket.queued >= socket.rcvlowat:
        socket.queue.wake(READ_EVENTS)
    if socket.deferred is not None:
        inet.undefer(socket)
        if socket.wire is not c:
            return True
    c.unacked += length
    if c.unacked > c.rcv_mss or (c.quick > 0 and not c.pingpong) or c.reassembly.ranges:
        if not c.ack_pending:
            c.ack_pending = True
            c.engine.acks.append(c)
    else:
        c.delay_ack()
    return False


def _deliver(c: TcpConnection, data: bytes) -> None:
    """Data in order, for the program."""
    socket = c.socket
    length = len(data)
    chunks = socket.chunks
    if len(chunks) < _JOIN_MANY or len(chunks[-1]) + length > _JOIN_SMALL:
        chunks.append(data)
    else:
        chunks[-1] += data
    socket.queued += length
    c.rcv_nxt += length
    c.bytes_received += length
    mark = socket.urgent
    if mark is not None and not mark.byte and mark.ahead < socket.queued:
        mark.byte = data[mark.ahead - socket.queued :][:1]


def _urgent(c: TcpConnection, place: int, pointer: int) -> None:
    """An urgent byte is announced: as Linux reads it, the one before where the pointer points
    (tcp_check_urg)."""
    if not pointer:
        return
    at = place + pointer - 1
    socket = c.socket
    ahead = at - c.rcv_nxt + socket.queued
    if ahead < 0 or at < c.rcv_nxt:
        return
    mark = socket.urgent
    if mark is not None and mark.ahead >= ahead:
        return
    socket.urgent = urgent.Urgent(ahead, b"")
    urgent.notify_owner(socket)
    socket.queue.wake(POLLPRI)


def _fin(c: TcpConnection, place: int) -> None:
    """A FIN at a place; it counts when all before it is here."""
    if place != c.rcv_nxt:
        return
    socket = c.socket
    state = socket.state
    if state not in _RECEIVING:
        output.send_ack(c)
        return
    c.rcv_nxt += 1
    c.rcv_adv = max(c.rcv_adv, c.rcv_nxt)
    output.send_ack(c)
    inet.fin_arrives(socket)


# -- the beginning ----------------------------------------------------------------------------------


def _answer_to_syn(
    c: TcpConnection, flags: int, seq: int, ack: int, window: int, options: Options | None, view: memoryview,
    start: int, end: int,
) -> None:  # fmt: skip
    """In SYN_SENT (RFC 9293 3.10.7.3)."""
    socket = c.socket
    if flags & ACK and ack != c.iss + 1 & _MASK:
        if not flags & RST:
            c.engine.refuse_segment(c.flow, flags, seq, ack, end - start)
        return
    if flags & RST:
        if flags & ACK:
            inet.reset(socket)
        return
    if not flags & SYN:
        return
    found = options if options is not None else Options()
    c.irs = seq
    c.rcv_nxt = 1
    c.rcv_adv += 1
    if found.tsval >= 0:
        c.ts_recent = found.tsval
        c.ts_recent_at = c.engine.now
    c.negotiated(found.mss, found.tsval, found.sack_ok, found.wscale)
    c.snd_wnd = c.snd_max_wnd = window  # never scaled in a SYN
    c.snd_wl = 0
    if not flags & ACK:
        # Both began at once.
        socket.state = TCP_SYN_RECV
        output.send_syn(c)
        return
    now = c.engine.now
    c.snd_una = c.snd_nxt
    c.rto_at = 0
    if not c.retransmits:
        round_trip(c, max(now - c.created, 1))
    c.retransmits = c.backoff = 0
    c.stalled_at = 0
    c.last_ack = now
    inet.connected(socket)
    c.restart_keepalive()
    output.send_ack(c)
    if c.buffer.end > c.snd_nxt or c.fin_queued:
        output.push(c)


def _simultaneous(c: TcpConnection) -> None:
    """The acknowledgement of our SYN and ACK: a connection."""
    now = monotonic_ns()
    c.snd_una = max(c.snd_una, 1)
    c.rto_at = 0
    if not c.retransmits:
        round_trip(c, max(now - c.created, 1))
    c.retransmits = c.backoff = 0
    if c.socket.state == TCP_SYN_RECV:
        inet.connected(c.socket)
    c.restart_keepalive()
    if c.fin_queued:
        c.socket.state = TCP_FIN_WAIT1
