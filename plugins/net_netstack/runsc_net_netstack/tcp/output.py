"""Sending: what may go out now, in which segments (net/ipv4/tcp_output.c)."""

from __future__ import annotations

from runsc.abi.inet import IPPROTO_TCP, TCP_CLOSE, TCP_CORK, TCP_NODELAY, TCP_SYN_RECV
from runsc_net_netstack.tcp.recovery import Sent, pipe
from runsc_net_netstack.tcp.segment import ACK, FIN, PSH, RST, SYN, URG, ack_options, syn_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.tcp.connection import TcpConnection

_MASK = 0xFFFFFFFF
#: A corked partial segment waits no longer than this.
CORK_NS = 200_000_000
#: A program that answers within this after it got something needs no acknowledgement of its own sent first.
_PINGPONG_NS = 40_000_000


def window(c: TcpConnection) -> int:
    """The window to tell, scaled; what was promised once is never taken back (__tcp_select_window)."""
    promised = c.rcv_adv - c.rcv_nxt
    space = c.space()
    if space < promised + min(c.rcv_mss, c.rcv_limit // 2):
        space = promised  # not worth telling, or it would shrink
    scale = c.rcv_wscale
    scaled = min(space >> scale if space > promised else -(-space >> scale), 0xFFFF)
    c.rcv_adv = max(c.rcv_adv, c.rcv_nxt + (scaled << scale))
    return scaled


def _options(c: TcpConnection) -> bytes:
    waiting = c.reassembly
    blocks = waiting.blocks(c.irs) if c.sack_ok and (waiting.ranges or waiting.duplicate) else []
    return ack_options(c.timestamp() if c.ts_ok else -1, c.ts_recent, blocks)


def send_ack(c: TcpConnection) -> None:
    """An acknowledgement without data."""
    c.ack_pending = False
    c.unacked = 0
    c.delack_at = 0
    if c.quick > 0:
        c.quick -= 1
    seq = c.iss + c.snd_nxt & _MASK
    c.segs_out += 1
    c.flow.send(seq, c.irs + c.rcv_nxt & _MASK, ACK, window(c), 0, _options(c), [], 0, c.smss)


def send_syn(c: TcpConnection) -> None:
    """The SYN, or the SYN and ACK of a simultaneous open."""
    flags = SYN
    ack = tsecr = 0
    if c.socket.state == TCP_SYN_RECV:
        flags |= ACK
        ack = c.irs + c.rcv_nxt & _MASK
        tsecr = c.ts_recent
    space = min(c.space(), 0xFFFF)
    c.rcv_adv = max(c.rcv_adv, c.rcv_nxt + space)
    options = syn_options(c.advmss, c.rcv_wscale, True, c.timestamp(), tsecr)
    c.segs_out += 1
    c.flow.send(c.iss, ack, flags, space, 0, options, [], 0, c.smss)


def send_probe(c: TcpConnection) -> None:
    """A segment that the other end must answer: an old byte's place, and no data (tcp_xmit_probe_skb)."""
    c.segs_out += 1
    seq = c.iss + c.snd_una - 1 & _MASK
    c.flow.send(seq, c.irs + c.rcv_nxt & _MASK, ACK, window(c), 0, _options(c), [], 0, c.smss)


def send_reset(c: TcpConnection) -> None:
    """Tell the other end that the connection is no more (tcp_send_active_reset)."""
    c.segs_out += 1
    seq = c.iss + c.snd_nxt & _MASK
    c.flow.send(seq, c.irs + c.rcv_nxt & _MASK, RST | ACK, 0, 0, b"", [], 0, c.smss)


def _transmit(c: TcpConnection, start: int, end: int) -> None:
    """Put a range of the stream on the link; the FIN counts as the byte behind the last."""
    data_end = min(end, c.buffer.end)
    length = data_end - start
    flags = ACK
    if end > data_end:
        flags |= FIN
    if data_end == c.buffer.end:
        flags |= PSH
    urgent = 0
    if c.urgent_end > start:
        flags |= URG
        urgent = min(c.urgent_end - start, 0xFFFF)
    parts = c.buffer.slice(start, data_end) if length > 0 else []
    c.ack_pending = False
    c.unacked = 0
    c.delack_at = 0
    now = c.engine.now
    if length > 0 and not c.pingpong and now - c.last_data < _PINGPONG_NS:
        c.pingpong = True
    c.segs_out += 1
    c.flow.send(
        c.iss + start & _MASK, c.irs + c.rcv_nxt & _MASK, flags, window(c), urgent, _options(c), parts,
        length, c.smss,
    )  # fmt: skip


def push(c: TcpConnection, force: bool = False) -> None:
    """Send what may be sent; ``force``: partial segments too (the time of a cork is up)."""
    if c.lost:
        _repair(c)
    fin = c.fin_queued
    end = c.buffer.end
    if c.snd_nxt >= end + fin or c.socket.state in (TCP_CLOSE, TCP_SYN_RECV):
        return
    smss = c.smss
    limit = c.segment_limit()
    edge = c.snd_una + c.snd_wnd
    levels = c.socket.levels
    while True:
        nxt = c.snd_nxt
        pending = end - nxt
        if pending < 0 or (not pending and not fin):
            break
        if not pending:
            if nxt == end:  # only the FIN is left, which windows don't hold up
                _send_new(c, nxt, end + 1)
            break
        window_room = edge - nxt
        room = min(window_room, c.cwnd - pipe(c))
        size = min(pending, room, limit)
        if size < smss and size < pending:
            # The window has no room for a whole segment: wait, unless it never had (RFC 9293 3.8.6.2.1).
            if size <= 0 or room < window_room or size * 2 < c.snd_max_wnd:
                c.cwnd_limited = room < window_room
                break
        elif size < pending or size > smss:
            if size < pending or not (fin or _may_send_partial(c, levels, nxt, force)):
                size = size // smss * smss
        elif size < smss and not fin and not _may_send_partial(c, levels, nxt, force):
            break
        _send_new(c, nxt, nxt + size + (1 if fin and nxt + size == end else 0))
    if c.snd_nxt == c.snd_una and c.snd_nxt < end and not c.persist_at:
        c.start_persist()


def _may_send_partial(c: TcpConnection, levels: dict[tuple[int, int], int], nxt: int, force: bool) -> bool:
    """May a segment go that isn't full? Corks and MSG_MORE hold it back, and Nagle's algorithm (RFC 9293
    3.7.4) in Minshall's form: only one such segment is under way at a time."""
    if force or c.urgent_end > nxt:
        return True
    if levels:
        if levels.get((IPPROTO_TCP, TCP_CORK)):
            return c.hold()
        if levels.get((IPPROTO_TCP, TCP_NODELAY)) and not c.more:
            return True
    if c.more:
        return c.hold()
    return c.snd_sml <= c.snd_una or c.snd_una == nxt


def _send_new(c: TcpConnection, start: int, end: int) -> None:
    now = c.engine.now
    size = end - start
    if size % c.smss:
        c.snd_sml = end
    c.snd_nxt = end
    c.sent.append(Sent(start, end, now))
    if c.phase:
        c.prr_out += size
    c.cork_at = 0
    c.data_segs_out += 1
    _transmit(c, start, end)
    c.start_retransmit_timer(False)


def _repair(c: TcpConnection) -> None:
    """Send again what is lost, as far as the congestion window allows."""
    now = c.engine.now
    for record in list(c.sent):
        if not record.lost or record.again:
            continue
        size = record.end - record.start
        allowed = c.cwnd - pipe(c)
        if allowed < min(size, c.smss) and pipe(c) > 0:
            c.cwnd_limited = True
            break
        limit = max(allowed // c.smss, 1) * c.smss
        send_again(c, record, min(limit, c.segment_limit()), now)
        if not c.lost:
            break


def send_again(c: TcpConnection, record: Sent, limit: int, now: int) -> None:
    """Retransmit a record, or as much of it as ``limit`` says."""
    from_start = record.start
    size = record.end - from_start
    if size > limit:
        c.split(record, from_start + limit)
        size = limit
    record.tries += 1
    record.time = now
    if record.lost and not record.again:
        record.again = True
        c.again += size
    if c.phase:
        c.prr_out += size
    if not c.retrans_stamp:
        c.retrans_stamp = c.timestamp()
    c.retransmits += 1
    c.total_retrans += 1
    c.engine.stack.count("RetransSegs")
    _transmit(c, from_start, record.end)
    c.start_retransmit_timer(False)
