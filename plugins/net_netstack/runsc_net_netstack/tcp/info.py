"""struct tcp_info of a connection to another machine (linux/tcp.h, tcp_get_info)."""

from __future__ import annotations

from runsc.abi.inet import TCP_CLOSE
from runsc.kernel.socket.inet.tcpoptions import INFO_HEAD, INFO_TAIL
from runsc_net_netstack.tcp.recovery import pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.tcp.connection import TcpConnection

_TIMESTAMPS, _SACK, _WSCALE = 1, 2, 4
_UNLIMITED = 0xFFFFFFFFFFFFFFFF


def tcp_info(c: TcpConnection) -> bytes:
    """The state of the connection in Linux's terms: segments where that counts them, microseconds."""
    socket = c.socket
    now = c.engine.now
    smss = c.smss
    options = (
        (_TIMESTAMPS if c.ts_ok else 0) | (_SACK if c.sack_ok else 0)
        | (_WSCALE if c.snd_wscale or c.rcv_wscale else 0)
    )  # fmt: skip
    if socket.state == TCP_CLOSE:
        options = 0

    def segments(octets: int) -> int:
        return -(-octets // smss)

    def ago(when: int) -> int:
        return min((now - when) // 1_000_000, 0xFFFFFFFF)

    ssthresh = min(c.ssthresh // smss, 0x7FFFFFFF)
    head = INFO_HEAD.pack(
        socket.state, c.phase, min(c.retransmits, 255), min(c.keep_probes, 255), min(c.backoff, 255), options,
        c.snd_wscale | c.rcv_wscale << 4, 0,
        (c.rto << c.backoff) // 1000, 40_000, smss, c.rcv_mss,
        segments(c.snd_nxt - c.snd_una), segments(c.sacked), segments(c.lost), segments(c.again), 0,
        ago(c.last_sent), 0, ago(c.last_data), ago(c.last_ack),
        c.flow.path.mtu, c.rcv_limit, c.srtt // 1000, c.rttvar // 1000, ssthresh, max(c.cwnd // smss, 1),
        c.advmss, 3, 0, c.rcv_limit, c.total_retrans,
    )  # fmt: skip
    rate = c.cwnd * 1_000_000_000 // c.srtt if c.srtt else 0
    tail = INFO_TAIL.pack(
        rate * 2, _UNLIMITED, c.bytes_acked, c.bytes_received,
        c.segs_out, c.segs_in, c.not_sent(), min(c.min_rtt // 1000, 0xFFFFFFFF), c.data_segs_in,
        c.data_segs_out,
        rate if pipe(c) else 0, 0, 0, 0,
        segments(c.delivered), 0,
        c.bytes_acked, 0,
        0, int(c.reordering), 0, c.snd_wnd, c.space(), 0,
        0, 0, 0,
    )  # fmt: skip
    return head + tail
