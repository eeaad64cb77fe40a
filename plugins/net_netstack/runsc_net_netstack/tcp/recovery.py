"""What was sent and what became of it: the scoreboard of selective acknowledgements (RFC 2018), finding
losses by time (RACK-TLP, RFC 8985), and how much may go out meanwhile (proportional rate reduction, RFC
6937)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.tcp.connection import TcpConnection

# What the sender is in (TCP_CA_*).
OPEN, RECOVERY, LOSS = 0, 3, 4
#: After so many segments that were passed over without reordering ever seen, waiting isn't worth it.
_DUP_THRESHOLD = 3


class Sent:
    """A range of the stream that was sent in one go: ``time`` of its last transmission (ns), ``tries`` of
    them; ``again``: the last one was a repetition that is still under way."""

    __slots__ = ("again", "end", "lost", "sacked", "start", "time", "tries")

    def __init__(self, start: int, end: int, time: int) -> None:
        self.start = start
        self.end = end
        self.time = time
        self.tries = 1
        self.sacked = self.lost = self.again = False


def pipe(c: TcpConnection) -> int:
    """How much is under way."""
    return c.snd_nxt - c.snd_una - c.sacked - c.lost + c.again


def split(c: TcpConnection, number: int, at: int) -> None:
    """Make two of the record with that number, at the offset ``at`` of the stream."""
    first = c.sent[number]
    second = Sent(at, first.end, first.time)
    second.tries, second.sacked = first.tries, first.sacked
    second.lost, second.again = first.lost, first.again
    first.end = at
    c.sent.insert(number + 1, second)


def _delivered(c: TcpConnection, record: Sent, now: int) -> None:
    """A record has arrived, as an acknowledgement says for the first time."""
    size = record.end - record.start
    c.delivered += size
    if record.lost:
        c.lost -= size
        record.lost = False
    if record.again:
        c.again -= size
        record.again = False
    if record.tries > 1:
        if now - record.time < c.min_rtt:
            return  # it was the first copy that arrived
    elif record.end <= c.fack:
        c.reordering = True
    c.fack = max(c.fack, record.end)
    if record.time > c.rack_time or (record.time == c.rack_time and record.end > c.rack_end):
        c.rack_time, c.rack_end = record.time, record.end
        c.rack_rtt = now - record.time


def acknowledged(c: TcpConnection, una: int, now: int) -> int:
    """Everything before ``una`` has arrived: forget it. The round trip of the newest that was sent once
    only in ns, or -1."""
    sent = c.sent
    rtt = -1
    while sent:
        record = sent[0]
        if record.end > una:
            if record.start < una:
                split(c, 0, una)
                record = sent[0]
            else:
                break
        sent.popleft()
        if record.sacked:
            c.sacked -= record.end - record.start
        else:
            if record.tries == 1:
                rtt = now - record.time
            _delivered(c, record, now)
    return rtt


def selected(c: TcpConnection, blocks: list[tuple[int, int]], now: int) -> int:
    """Mark what arrived out of order: ranges of the stream. A round trip, or -1."""
    rtt = -1
    for left, right in blocks:
        if not c.snd_una < left < right <= c.snd_nxt:
            continue  # repeats what is known, or nonsense
        number = 0
        sent = c.sent
        while number < len(sent):
            record = sent[number]
            if record.start >= right:
                break
            if record.end <= left or record.sacked:
                number += 1
                continue
            if record.start < left:
                split(c, number, left)
                number += 1
                continue
            if record.end > right:
                split(c, number, right)
                record = sent[number]
            if record.tries == 1:
                rtt = now - record.time
            record.sacked = True
            c.sacked += record.end - record.start
            _delivered(c, record, now)
            number += 1
    return rtt


def mark_lost(c: TcpConnection, record: Sent) -> None:
    size = record.end - record.start
    if record.again:
        record.again = False
        c.again -= size
    if not record.lost:
        record.lost = True
        c.lost += size


def _patience(c: TcpConnection) -> int:
    """How much later than its successors a segment may come, in ns (RACK_update_reo_wnd)."""
    if not c.reordering and (c.phase != OPEN or c.sacked >= _DUP_THRESHOLD * c.smss):
        return 0
    return min(c.min_rtt // 4, c.srtt or c.min_rtt)


def detect(c: TcpConnection, now: int) -> int:
    """Find what is lost by now: sent well before something that has arrived. When to look again (ns), 0:
    never."""
    if not c.rack_time:
        return 0
    patience = _patience(c) + c.rack_rtt
    again = 0
    for record in c.sent:
        if record.sacked or (record.lost and not record.again):
            continue
        if record.time > c.rack_time or (record.time == c.rack_time and record.end >= c.rack_end):
            continue
        due = record.time + patience
        if due <= now:
            mark_lost(c, record)
        else:
            again = max(again, due)
    return again


def everything_lost(c: TcpConnection) -> None:
    """A time-out: whatever isn't known to have arrived is to be sent again."""
    for record in c.sent:
        if not record.sacked:
            mark_lost(c, record)


def head_lost(c: TcpConnection) -> None:
    """Without selective acknowledgements: the first segment is (NewReno, RFC 6582)."""
    if c.sent:
        record = c.sent[0]
        if record.end - record.start > c.smss:
            split(c, 0, record.start + c.smss)
        mark_lost(c, record)


def begin(c: TcpConnection) -> None:
    """The first loss of a flight: less from now on (enter_recovery)."""
    c.phase = RECOVERY
    c.recover = c.snd_nxt
    c.prior_cwnd = c.cwnd
    c.prior_ssthresh = c.ssthresh
    c.flight = max(pipe(c), c.smss)
    c.ssthresh = c.control.reduced(c)
    c.prr_delivered = c.prr_out = 0


def reduce(c: TcpConnection, delivered: int) -> None:
    """The window during recovery, after ``delivered`` more bytes have arrived."""
    c.prr_delivered += delivered
    under_way = pipe(c)
    if under_way > c.ssthresh:
        allowed = -(-c.prr_delivered * c.ssthresh // c.flight) - c.prr_out
    else:
        allowed = min(c.ssthresh - under_way, max(c.prr_delivered - c.prr_out, delivered) + c.smss)
    c.cwnd = under_way + max(allowed, 0 if c.prr_out else c.smss)


def finish(c: TcpConnection) -> None:
    """All that was under way when it began has arrived."""
    if c.phase == RECOVERY:
        c.cwnd = max(c.ssthresh, c.smss)
    c.phase = OPEN
    c.dupacks = 0


def undo(c: TcpConnection) -> None:
    """Nothing was lost after all: as before."""
    for record in c.sent:
        if record.lost:
            record.lost = False
            c.lost -= record.end - record.start
    c.cwnd = max(c.cwnd, c.prior_cwnd)
    c.ssthresh = max(c.ssthresh, c.prior_ssthresh)
    c.phase = OPEN
    c.control.restart()
