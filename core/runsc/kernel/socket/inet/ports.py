"""Who has which port (net/ipv4/inet_connection_sock.c, net/ipv4/inet_hashtables.c, net/ipv4/udp.c).

A port may have many owners: those bound to different addresses, those that agreed to share it, and the
connections of a server. One table for each protocol.
"""

from __future__ import annotations

from os import urandom

from runsc.abi.inet import TCP_LISTEN, TCP_TIME_WAIT
from runsc.abi.socket import SO_REUSEADDR, SO_REUSEPORT
from runsc.kernel.socket.inet.addresses import overlap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from runsc.kernel.socket.inet.addresses import Endpoint

    class Owner(Protocol):
        """What has a port: a socket, or what is left of a connection."""

        local: Endpoint
        only6: bool
        options: dict[int, int]
        state: int
        uid: int
        #: the port was chosen by connect(2), and may be shared with other such connections
        chosen: bool


#: net.ipv4.ip_local_port_range
FIRST_EPHEMERAL = 32768
LAST_EPHEMERAL = 60999
_COUNT = LAST_EPHEMERAL - FIRST_EPHEMERAL + 1


def ephemeral_ports(odd: bool) -> Iterator[int]:
    """All of them, from a random one on; those of one parity first: bind(2) and connect(2) keep out of each
    other's way like that."""
    start = int.from_bytes(urandom(2), "little") % (_COUNT // 2)
    for parity in (int(odd), 1 - int(odd)):
        for step in range(_COUNT // 2):
            yield FIRST_EPHEMERAL + 2 * ((start + step) % (_COUNT // 2)) + parity


class PortTable:
    """The owners of each port of one protocol."""

    __slots__ = ("owners",)

    def __init__(self) -> None:
        self.owners: dict[int, dict[Owner, None]] = {}

    def claim(self, owner: Owner, port: int) -> None:
        owners = self.owners.get(port)
        if owners is None:
            self.owners[port] = {owner: None}
        else:
            owners[owner] = None

    def release(self, owner: Owner, port: int) -> None:
        """Give a port back; not to have had it is no error."""
        owners = self.owners.get(port)
        if owners is not None:
            owners.pop(owner, None)
            if not owners:
                del self.owners[port]

    def conflicts(self, new: Owner, ip: bytes, port: int) -> bool:
        """Is there an owner that ``new`` can't be beside of (inet_csk_bind_conflict)?"""
        owners = self.owners.get(port)
        if not owners:
            return False
        reuse = new.options.get(SO_REUSEADDR)
        share = new.options.get(SO_REUSEPORT)
        for owner in owners:
            if owner is new or not overlap(ip, new.only6, owner.local[0], owner.only6):
                continue
            if reuse and owner.options.get(SO_REUSEADDR) and owner.state != TCP_LISTEN:
                continue
            if share and owner.options.get(SO_REUSEPORT):
                if owner.state == TCP_TIME_WAIT or owner.uid == new.uid:
                    continue
            return True
        return False

    def free_port(self, new: Owner, ip: bytes) -> int:
        """A port for bind(2) without one, 0 if there is none: one that nobody has, or can be shared."""
        owners = self.owners
        for port in ephemeral_ports(odd=True):
            if port not in owners:
                return port
        if new.options.get(SO_REUSEADDR):
            for port in ephemeral_ports(odd=True):
                if not self.conflicts(new, ip, port):
                    return port
        return 0

    def port_to_connect(self, usable: Callable[[int], bool]) -> int:
        """A port for connect(2), 0 if there is none. A port that only such connections have will do if
        ``usable(port)``: the connection isn't there yet."""
        owners = self.owners
        for port in ephemeral_ports(odd=False):
            found = owners.get(port)
            if found is None or (all(owner.chosen for owner in found) and usable(port)):
                return port
        return 0
