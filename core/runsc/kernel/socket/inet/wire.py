"""What leads out of the sandbox: the part of a network plugin that internet sockets know.

Sockets, ports and the loopback are the kernel's (``stack``). A plugin that has links to other machines gives
the stack a ``Wire``: it says which addresses are where, sends datagrams, and makes connections. What
arrives it looks up in the stack's tables, and puts into the queues of the sockets that it finds there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.control import Sending
    from runsc.kernel.socket.inet.datagram import DatagramSocket
    from runsc.kernel.socket.inet.stream import TcpSocket


class Wire(ABC):
    """The links of one kernel. Addresses are as in ``addresses``; ``index`` is an interface, 0 for any."""

    __slots__ = ()

    @abstractmethod
    def kind_of(self, ip: bytes) -> int:
        """What a destination is that isn't the loopback's: LOCAL (an own address), REMOTE (a route leads
        there), BROADCAST, MULTICAST, UNREACHABLE."""

    @abstractmethod
    def source_for(self, ip: bytes, index: int) -> bytes:
        """The own address of what is sent to ``ip``. Raises ENETUNREACH, EADDRNOTAVAIL."""

    @abstractmethod
    def address_of(self, index: int, v4: bool) -> bytes:
        """The first address of an interface, b"" if it has none."""

    @abstractmethod
    def multicast_index(self, ip: bytes) -> int:
        """The interface that a multicast leaves by if nobody chose one; 0 if no route says."""

    @abstractmethod
    def mtu(self, ip: bytes) -> int:
        """The longest packet that gets through to ``ip``."""

    @abstractmethod
    def connect(self, socket: TcpSocket) -> None:
        """Begin a connection: ``socket`` has both its endpoints and is in the tables. Gives it its
        ``wire``."""

    @abstractmethod
    def send_datagram(
        self, socket: DatagramSocket, target: Endpoint, source: Endpoint, data: bytes, sending: Sending
    ) -> None:
        """Send a datagram of the socket's protocol (of ICMP: the whole message, its checksum not yet
        filled in). Raises EMSGSIZE, ENETUNREACH, EHOSTUNREACH, ENOBUFS."""

    @abstractmethod
    def join(self, ip: bytes, index: int) -> None:
        """A socket has joined a group at an interface."""

    @abstractmethod
    def leave(self, ip: bytes, index: int) -> None:
        """One that had joined has left."""


class Connection(ABC):
    """TCP's end of a connection to another machine: sequence numbers, timers, segments.

    The socket (``TcpSocket.wire``) keeps what programs see: state, errors, and what has arrived and isn't
    read.
    """

    __slots__ = ()

    @abstractmethod
    def send(self, data: bytes, more: bool) -> int:
        """Take data to be sent, as much as there is room for; ``more``: MSG_MORE. Raises WOULD_BLOCK."""

    @abstractmethod
    def send_urgent(self, data: bytes) -> int:
        """The same; the last byte is urgent."""

    @abstractmethod
    def drained(self) -> None:
        """The program has read something: there may be room to tell of."""

    @abstractmethod
    def send_fin(self) -> None:
        """No more data comes behind what was sent; the socket's state says so already."""

    @abstractmethod
    def orphaned(self) -> None:
        """The last descriptor is closed; the connection ends on its own."""

    @abstractmethod
    def send_reset(self) -> None:
        """Tell the other end that it is over."""

    @abstractmethod
    def end(self) -> None:
        """The socket is no longer this connection's: timers and buffers go."""

    @abstractmethod
    def remains(self) -> object:
        """What TIME_WAIT has to know to answer (``TimeWait.wire``)."""

    @abstractmethod
    def writable(self) -> bool:
        """Is a third of the send buffer free?"""

    @abstractmethod
    def unsent(self) -> int:
        """How much was written and not acknowledged yet (SIOCOUTQ)."""

    @abstractmethod
    def not_sent(self) -> int:
        """How much was written and not sent yet (SIOCOUTQNSD)."""

    @abstractmethod
    def changed(self) -> None:
        """An option was set."""

    @abstractmethod
    def info(self) -> bytes:
        """struct tcp_info."""

    @abstractmethod
    def mss(self) -> int:
        """The size of segments."""
