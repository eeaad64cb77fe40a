"""Congestion control: Reno (RFC 5681) and CUBIC (RFC 9438). Windows are in bytes.

What is common (slow start, recovery, growing only while the window is what limits) is the caller's; a control
says how the window grows in congestion avoidance, and what is left of it after a loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.tcp.connection import TcpConnection

#: CUBIC's constants: how fast it probes, and what a loss leaves.
_C, _BETA = 0.4, 0.7


class Congestion(ABC):
    """The state of one connection's control."""

    __slots__ = ()
    name: bytes

    @abstractmethod
    def avoid(self, c: TcpConnection, acked: int, now: int) -> None:
        """Grow ``c.cwnd`` for ``acked`` bytes in congestion avoidance; ``now`` in ns."""

    @abstractmethod
    def reduced(self, c: TcpConnection) -> int:
        """Something was lost: the new slow start threshold."""

    def restart(self) -> None:  # noqa: B027 - most have nothing to forget
        """After a time-out, or when nothing was sent for long."""


class Reno(Congestion):
    __slots__ = ()
    name = b"reno"

    def avoid(self, c: TcpConnection, acked: int, now: int) -> None:
        c.cwnd += max(c.smss * acked // c.cwnd, 1)

    def reduced(self, c: TcpConnection) -> int:
        return max(c.cwnd // 2, 2 * c.smss)


class Cubic(Congestion):
    """``origin``: the window that the curve levels out at, ``k``: seconds until then from ``epoch`` (ns);
    ``reno``: what Reno would have by now. Windows in segments."""

    __slots__ = ("epoch", "k", "last_max", "origin", "reno")
    name = b"cubic"

    def __init__(self) -> None:
        self.epoch = 0
        self.origin = self.k = self.reno = self.last_max = 0.0

    def avoid(self, c: TcpConnection, acked: int, now: int) -> None:
        window = c.cwnd / c.smss
        if not self.epoch:
            self.epoch = now
            self.reno = window
            if window < self.last_max:
                self.k = ((self.last_max - window) / _C) ** (1 / 3)
                self.origin = self.last_max
            else:
                self.k = 0.0
                self.origin = window
        seconds = (now - self.epoch + c.min_rtt) / 1e9
        target = self.origin + _C * (seconds - self.k) ** 3
        target = min(max(target, window), 1.5 * window)
        self.reno += 3 * (1 - _BETA) / (1 + _BETA) * acked / c.smss / window
        if target < self.reno:
            target = min(self.reno, 1.5 * window)
        if target > window:
            c.cwnd += max(int((target - window) / window * acked), 1)
        else:
            c.cwnd += max(acked // (100 * int(window) or 1), 0)

    def reduced(self, c: TcpConnection) -> int:
        window = c.cwnd / c.smss
        # Fast convergence: leave some to newcomers.
        self.last_max = window * (1 + _BETA) / 2 if window < self.last_max else window
        self.epoch = 0
        return max(int(c.cwnd * _BETA), 2 * c.smss)

    def restart(self) -> None:
        self.epoch = 0


#: In the order of ``levels[IPPROTO_TCP, TCP_CONGESTION]``.
CONTROLS: tuple[type[Congestion], ...] = (Cubic, Reno)
