"""Neighbours: which hardware address an IP address on the link has (net/core/neighbour.c, RFC 4861 7.3).

An entry is asked for when something is to be sent (INCOMPLETE), known (REACHABLE) for half a minute, and
STALE after that: it is still used, and asked for again five seconds into its use, unless TCP got answers
meanwhile.
"""

from __future__ import annotations

from time import monotonic_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.timers import Timer, Timers
    from runsc_net_netstack.link import PacketLink

# NUD_* of linux/neighbour.h.
INCOMPLETE, REACHABLE, STALE, DELAY, PROBE, FAILED, NOARP, PERMANENT = 1, 2, 4, 8, 16, 32, 64, 128

_REACHABLE_NS = 30_000_000_000
_DELAY_NS = 5_000_000_000
_RETRY_NS = 1_000_000_000
_TRIES = 3
#: How many packets wait for an answer, and how many bytes of them (unres_qlen_bytes).
_PENDING, _PENDING_BYTES = 64, 212992
#: How many entries there are at most (gc_thresh3).
MAX_NEIGHBOURS = 1024


class Neighbour:
    """One on the link. ``header``: the Ethernet header of what is sent to it, b"" while it isn't known;
    ``confirmed``: something has shown lately that it is there; ``waiting``: who hears if it is not."""

    __slots__ = (
        "confirmed", "hardware", "header", "ip", "link", "pending", "pending_bytes", "state", "table",
        "timer", "tries", "used",
    )  # fmt: skip

    def __init__(self, table: Neighbours, link: PacketLink, ip: bytes) -> None:
        self.table = table
        self.link = link
        self.ip = ip
        self.hardware = b""
        self.header = b""
        self.state = FAILED
        self.pending: list[tuple[bytes, list[bytes | memoryview], Callable[[], None] | None]] = []
        self.pending_bytes = 0
        self.timer: Timer | None = None
        self.tries = 0
        self.confirmed = False
        self.used = False

    def send(
        self, vnet: bytes, head: bytes, rest: list[bytes | memoryview],
        unreachable: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """Send a packet, or keep it until the address is known; ``unreachable`` is called if it never is."""
        if self.header:
            start = vnet + self.header if self.link.header else self.header
            self.link.send([start + head, *rest])
            if self.state == STALE:
                self._enter(DELAY, _DELAY_NS)
            else:
                self.used = True
            return
        size = len(head) + sum(map(len, rest))
        while self.pending and (
            len(self.pending) >= _PENDING or self.pending_bytes + size > _PENDING_BYTES
        ):
            _, parts, _ = self.pending.pop(0)
            self.pending_bytes -= sum(map(len, parts))
        # The parts may lie in buffers that are used again.
        self.pending.append((vnet, [head, *map(bytes, rest)], unreachable))
        self.pending_bytes += size
        if self.state == FAILED:
            self.tries = 0
            self._ask(INCOMPLETE)

    def _enter(self, state: int, delay: int) -> None:
        self.state = state
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.table.timers.add(monotonic_ns() + delay, self._time_is_up)

    def _ask(self, state: int) -> None:
        self.tries += 1
        self._enter(state, _RETRY_NS)
        self.table.solicit(self.link, self.ip, self.hardware if state == PROBE else b"")

    def _time_is_up(self) -> None:
        self.timer = None
        if self.state == REACHABLE:
            if self.confirmed and self.used:
                self.confirmed = self.used = False
                self._enter(REACHABLE, _REACHABLE_NS)
            else:
                self.state = STALE
                self.used = False
        elif self.state == DELAY:
            if self.confirmed:
                self.confirmed = self.used = False
                self._enter(REACHABLE, _REACHABLE_NS)
            else:
                self.tries = 0
                self._ask(PROBE)
        elif self.state in (INCOMPLETE, PROBE):
            if self.tries < _TRIES:
                self._ask(self.state)
            else:
                self._fail()

    def _fail(self) -> None:
        self.state = FAILED
        self.hardware = self.header = b""
        waiting, self.pending = self.pending, []
        self.pending_bytes = 0
        for _, _, unreachable in waiting:
            if unreachable is not None:
                unreachable()

    def learn(self, hardware: bytes, sure: bool) -> None:
        """Its hardware address has come; ``sure``: in answer to a question of ours."""
        if self.state in (PERMANENT, NOARP):
            return
        if not sure and self.header and hardware == self.hardware:
            return  # nothing new, and no proof that it hears us
        self.hardware = hardware
        self.header = hardware + self.link.hardware + (b"\x08\x00" if len(self.ip) == 4 else b"\x86\xdd")
        self.confirmed = self.used = False
        if sure:
            self._enter(REACHABLE, _REACHABLE_NS)
        else:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None
            self.state = STALE
        waiting, self.pending = self.pending, []
        self.pending_bytes = 0
        for vnet, parts, _ in waiting:
            self.send(vnet, bytes(parts[0]), parts[1:])

    def fix(self, hardware: bytes, state: int) -> None:
        """It is known for good."""
        self.hardware = hardware
        self.header = hardware + self.link.hardware + (b"\x08\x00" if len(self.ip) == 4 else b"\x86\xdd")
        self.state = state

    def forget(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.pending.clear()


class Neighbours:
    """The table of all links. ``solicit(link, ip, hardware)`` asks: everybody, or with a hardware address
    its owner."""

    __slots__ = ("entries", "solicit", "timers")

    def __init__(self, timers: Timers, solicit: Callable[[PacketLink, bytes, bytes], None]) -> None:
        self.timers = timers
        self.solicit = solicit
        self.entries: dict[tuple[int, bytes], Neighbour] = {}

    def of(self, link: PacketLink, ip: bytes) -> Neighbour:
        """The entry for ``ip`` (4 or 16 bytes), a new one if need be."""
        key = (link.index, ip)
        found = self.entries.get(key)
        if found is None:
            if len(self.entries) >= MAX_NEIGHBOURS:
                self._make_room()
            found = self.entries[key] = Neighbour(self, link, ip)
            hardware = fixed_address(link, ip)
            if hardware:
                found.fix(hardware, NOARP)
        return found

    def known(self, link: PacketLink, ip: bytes) -> Neighbour | None:
        return self.entries.get((link.index, ip))

    def _make_room(self) -> None:
        """Forget the oldest that nobody waits for; whoever holds one goes on with it."""
        for key, entry in list(self.entries.items()):
            if entry.state in (STALE, FAILED, NOARP):
                entry.forget()
                del self.entries[key]
                if len(self.entries) < MAX_NEIGHBOURS * 3 // 4:
                    return
        while len(self.entries) >= MAX_NEIGHBOURS:
            key = next(iter(self.entries))
            self.entries.pop(key).forget()

    def close(self) -> None:
        for entry in self.entries.values():
            entry.forget()
        self.entries.clear()


def fixed_address(link: PacketLink, ip: bytes) -> bytes:
    """The hardware address of groups (RFC 1112 6.4, RFC 2464 7) and of everybody; b"" for others."""
    if len(ip) == 4:
        if ip == b"\xff\xff\xff\xff":
            return b"\xff" * 6
        if ip[0] & 0xF0 == 0xE0:
            return b"\x01\x00\x5e" + bytes((ip[1] & 0x7F,)) + ip[2:]
        return b""
    return b"\x33\x33" + ip[12:] if ip[0] == 0xFF else b""
