"""What is left of a connection in TIME_WAIT, and what it answers (RFC 9293 3.10.7.4, RFC 6191;
tcp_timewait_state_process)."""

from __future__ import annotations

from runsc_net_netstack.tcp.segment import ACK, FIN, RST, SYN, ack_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.tcp.connection import TcpConnection

_MASK = 0xFFFFFFFF
_HALF = 0x80000000


class Remains:
    """Where both streams had got to, as sequence numbers."""

    __slots__ = ("flow", "rcv_nxt", "snd_nxt", "ts_offset", "ts_ok", "ts_recent", "window")

    def __init__(self, c: TcpConnection) -> None:
        self.flow = c.flow
        self.flow.unreachable = None
        self.snd_nxt = c.iss + c.snd_nxt & _MASK
        self.rcv_nxt = c.irs + c.rcv_nxt & _MASK
        self.window = min(c.space() >> c.rcv_wscale, 0xFFFF)
        self.ts_ok = c.ts_ok
        self.ts_recent = c.ts_recent
        self.ts_offset = c.ts_offset

    def gives_way(self, flags: int, seq: int, tsval: int) -> bool:
        """May a new connection begin: is it a SYN that can't be one of the old connection's?"""
        if flags & (SYN | ACK | RST) != SYN:
            return False
        if self.ts_ok and tsval >= 0:
            return ((tsval - self.ts_recent) & _MASK < _HALF and tsval != self.ts_recent) or self._behind(seq)
        return self._behind(seq)

    def _behind(self, seq: int) -> bool:
        return 0 < (seq - self.rcv_nxt) & _MASK < _HALF

    def answer(self, flags: int, seq: int, length: int, now_ms: int) -> bool:
        """Answer a segment; True if TIME_WAIT begins anew (the FIN was sent again)."""
        if flags & RST:
            return False
        if length or flags & (SYN | FIN) or seq != self.rcv_nxt:
            tsval = now_ms + self.ts_offset & _MASK if self.ts_ok else -1
            options = ack_options(tsval, self.ts_recent, [])
            self.flow.send(self.snd_nxt, self.rcv_nxt, ACK, self.window, 0, options, [], 0, 65535)
        return bool(flags & FIN)
