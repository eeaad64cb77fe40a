"""Docker's name server at 127.0.0.11.

In a user-defined network Docker listens on the loopback of the container's own namespace, and rewrites port
53 with the host's packet filter: no link leads there. So what a sandbox sends to that address goes out
through sockets that were made in that namespace before the jail was closed: datagrams through one that all
share, each query under a number of ours, and connections through a few that are used again and again.
"""

from __future__ import annotations

from _socket import AF_INET, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, socket
from errno import EAGAIN, ECONNREFUSED, EHOSTUNREACH, EINPROGRESS
from os import urandom
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from time import monotonic_ns

from runsc.abi.inet import TCP_CLOSE, TCP_ESTABLISHED, TCP_SYN_SENT
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.socket.inet import connection as inet
from runsc.kernel.socket.inet.addresses import MAPPED
from runsc.kernel.socket.inet.datagram import Datagram
from runsc.kernel.socket.inet.stream import READ_EVENTS, WRITE_EVENTS
from runsc.kernel.socket.inet.tcpoptions import INFO_SIZE
from runsc.kernel.socket.inet.wire import Connection
from runsc_net_netstack._netio import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.hostpoll import HostPoller, Watch
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.datagram import DatagramSocket
    from runsc.kernel.socket.inet.stream import TcpSocket

#: The address, for us and for Python.
ADDRESS = MAPPED + b"\x7f\0\0\x0b"
_WHERE = ("127.0.0.11", 53)
_NEW = 0o2004000  # SOCK_CLOEXEC | SOCK_NONBLOCK
_SO_ERROR = 4
_HEADER = 12
#: How many queries wait for an answer, and how long.
_MAX_QUERIES, _QUERY_NS = 1024, 15_000_000_000
#: How many connections there can be at once, and how much one is read ahead.
_CONNECTIONS, _READ_AHEAD = 16, 1 << 17
_MSS = 32768


class DockerDns:
    """``queries``: whose each of our numbers is: socket, its number, whom it asked, when."""

    __slots__ = ("free", "kernel", "queries", "udp", "watch")

    def __init__(self) -> None:
        """Raises OSError."""
        self.udp = socket(AF_INET, SOCK_DGRAM | _NEW, 0)
        self.udp.connect(_WHERE)
        self.free = [socket(AF_INET, SOCK_STREAM | _NEW, 0) for _ in range(_CONNECTIONS)]
        self.queries: dict[int, tuple[DatagramSocket, bytes, Endpoint, Endpoint, int]] = {}
        self.kernel: Kernel | None = None
        self.watch: Watch | None = None

    def start(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.watch = kernel.poller.watch(self.udp.fileno(), EPOLLIN, self._answered)

    def close(self) -> None:
        """Idempotent."""
        if self.watch is not None:
            self.watch.close()
            self.watch = None
        self.udp.close()
        for host in self.free:
            host.close()
        self.queries.clear()

    def query(self, sender: DatagramSocket, target: Endpoint, source: Endpoint, data: bytes) -> None:
        """Pass a datagram on. What is no query, or for another port, is refused. Raises ECONNREFUSED."""
        if target[1] != _WHERE[1]:
            sender.refused(target, data, 3)
            return
        if len(data) < _HEADER:
            return
        now = monotonic_ns()
        queries = self.queries
        while queries:
            number, oldest = next(iter(queries.items()))
            if len(queries) < _MAX_QUERIES and oldest[4] > now - _QUERY_NS:
                break
            del queries[number]
        while True:
            number = int.from_bytes(urandom(2), "big")
            if number not in queries:
                break
        queries[number] = (sender, data[:2], target, source, now)
        try:
            self.udp.send(number.to_bytes(2, "big") + data[2:])
        except OSError as error:
            del queries[number]
            if error.errno == ECONNREFUSED:
                sender.refused(target, data, 3)

    def _answered(self, _events: int) -> None:
        for _ in range(32):
            try:
                data = self.udp.recv(65535)
            except OSError as error:
                if error.errno == ECONNREFUSED:
                    continue
                return
            found = self.queries.pop(int.from_bytes(data[:2], "big"), None)
            if len(data) < _HEADER or found is None:
                continue
            receiver, number, target, source, _ = found
            if receiver.num == source[1]:
                receiver.deliver(Datagram(number + data[2:], target, source, 64, 0))

    def connect(self, guest: TcpSocket) -> None:
        """Begin a connection to the server."""
        assert self.kernel is not None
        if guest.remote is None or guest.remote[1] != _WHERE[1]:
            inet.reset(guest)
        elif not self.free:
            guest.error = EHOSTUNREACH
            inet.finish(guest)
        else:
            Relay(self, guest, self.free.pop(), self.kernel.poller)

    def give_back(self, host: socket) -> None:
        """A connection is over: its socket can be used for another."""
        if lib.ns_disconnect(host.fileno()) < 0:
            host.close()
        else:
            self.free.append(host)


class Relay(Connection):
    """A connection whose other end a host socket is."""

    __slots__ = ("dns", "ended", "host", "socket", "watch")

    def __init__(self, dns: DockerDns, guest: TcpSocket, host: socket, poller: HostPoller) -> None:
        self.dns = dns
        self.socket = guest
        self.host = host
        #: the other end sends no more
        self.ended = False
        guest.wire = self
        guest.stuffed = True
        guest.window = 1 << 62
        error = host.connect_ex(_WHERE)
        self.watch = poller.watch(host.fileno(), EPOLLIN | EPOLLOUT, self._ready)
        if error not in (0, EINPROGRESS):
            guest.error = error
            inet.finish(guest)

    def _ready(self, events: int) -> None:
        guest = self.socket
        if guest.state == TCP_SYN_SENT:
            error = self.host.getsockopt(SOL_SOCKET, _SO_ERROR)
            if error:
                guest.error = error
                inet.finish(guest)
                return
            if not events & EPOLLOUT:
                return
            inet.connected(guest)
        if events & EPOLLOUT and guest.nospace:
            guest.nospace = False
            guest.queue.wake(WRITE_EVENTS)
        if events & (EPOLLIN | EPOLLERR | EPOLLHUP):
            self._read()
        if guest.wire is self:
            self._watch()

    def _read(self) -> None:
        guest = self.socket
        while not self.ended and guest.queued < _READ_AHEAD:
            try:
                data = self.host.recv(65536)
            except OSError as error:
                if error.errno != EAGAIN:
                    inet.reset(guest)
                return
            if not data:
                self.ended = True
                if guest.state == TCP_ESTABLISHED or not guest.gone:
                    inet.fin_arrives(guest)
                else:
                    inet.finish(guest)
                return
            if guest.gone:
                inet.abort(guest)
                return
            guest.chunks.append(data)
            guest.queued += len(data)
            guest.queue.wake(READ_EVENTS)

    def _watch(self) -> None:
        guest = self.socket
        wanted = EPOLLOUT if guest.nospace or guest.state == TCP_SYN_SENT else 0
        if not self.ended and guest.queued < _READ_AHEAD:
            wanted |= EPOLLIN
        self.watch.modify(wanted)

    def send(self, data: bytes, more: bool) -> int:
        try:
            return self.host.send(data)
        except OSError as error:
            if error.errno == EAGAIN:
                self.socket.nospace = True
                self._watch()
                raise WOULD_BLOCK from None
            inet.reset(self.socket)
            raise LinuxError(error.errno or ECONNREFUSED) from None

    def send_urgent(self, data: bytes) -> int:
        return self.send(data, False)

    def drained(self) -> None:
        if self.socket.wire is self:
            self._watch()

    def send_fin(self) -> None:
        lib.ns_shutdown(self.host.fileno())

    def orphaned(self) -> None:
        """Nobody reads what may still come."""
        inet.finish(self.socket)

    def send_reset(self) -> None:
        """The host's socket is disconnected in the end, which resets the connection."""

    def end(self) -> None:
        self.watch.close()
        self.dns.give_back(self.host)

    def remains(self) -> object:
        return None

    def writable(self) -> bool:
        return True

    def unsent(self) -> int:
        return 0

    def not_sent(self) -> int:
        return 0

    def changed(self) -> None:
        """Options are the guest's socket's, and change nothing here."""

    def info(self) -> bytes:
        return bytes((self.socket.state if self.socket.state else TCP_CLOSE,)).ljust(INFO_SIZE, b"\0")

    def mss(self) -> int:
        return _MSS
