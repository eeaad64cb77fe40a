"""UDP over the loopback (udp(7), net/ipv4/udp.c, net/ipv6/udp.c), and what ICMP sockets share with it."""

from __future__ import annotations

from collections import deque
from errno import (
    EACCES,
    EAFNOSUPPORT,
    EAGAIN,
    ECONNREFUSED,
    EDESTADDRREQ,
    EINVAL,
    EMSGSIZE,
    ENETUNREACH,
    ENOPROTOOPT,
    ENOTCONN,
    EOPNOTSUPP,
    EPIPE,
)  # fmt: skip
from time import time_ns

from runsc.abi.inet import (
    IP_RECVERR,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    IPV6_RECVERR,
    TCP_CLOSE,
    TCP_ESTABLISHED,
    UDP_CORK,
    UDP_ENCAP,
    UDP_GRO,
    UDP_NO_CHECK6_RX,
    UDP_NO_CHECK6_TX,
    UDP_SEGMENT,
    UDPLITE_RECV_CSCOV,
    UDPLITE_SEND_CSCOV,
)  # fmt: skip
from runsc.abi.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDBAND,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)  # fmt: skip
from runsc.abi.socket import (
    AF_INET,
    AF_UNSPEC,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_MORE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SO_BROADCAST,
    SOCK_DGRAM,
)  # fmt: skip
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.socket.file import Received
from runsc.kernel.socket.inet import control, options
from runsc.kernel.socket.inet.addresses import (
    ANY4,
    ANY6,
    BROADCAST,
    LIMITED_BROADCAST,
    LOCAL,
    MULTICAST,
    NET_BROADCAST,
    UNREACHABLE,
    family_of,
    is_any,
    is_link_local,
    is_multicast,
    is_v4,
    loopback_like,
    unspecified,
)  # fmt: skip
from runsc.kernel.socket.inet.socket import InetSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.ports import PortTable
    from runsc.kernel.socket.scm import Ancillary
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode

_READ_EVENTS = POLLIN | POLLRDNORM | POLLRDBAND
_WRITE_EVENTS = POLLOUT | POLLWRNORM | POLLWRBAND
_SHUTDOWN_MASK = 3
_RCV_SHUTDOWN, _SEND_SHUTDOWN = 1, 2

#: The most that a datagram holds.
MAX_DATAGRAM = 65507
MAX_DATAGRAM6 = 65527
#: How many entries an error queue keeps.
MAX_ERRORS = 64
#: What describes a datagram in a buffer, and the headers and room in front of its data.
_SKBUFF, _SHARED_INFO, _HEADERS = 256, 320, 92


def cost_of(length: int) -> int:
    """What a datagram counts against its receiver's buffer (skb->truesize)."""
    size = length + _HEADERS + _SHARED_INFO
    if size <= 32768:
        return (1 << max(size - 1, 511).bit_length()) + _SKBUFF
    return size + _SKBUFF


_UDP_OPTIONS = frozenset((
    UDP_CORK, UDP_SEGMENT, UDP_NO_CHECK6_RX, UDP_NO_CHECK6_TX, UDP_GRO, UDP_ENCAP, UDPLITE_SEND_CSCOV,
    UDPLITE_RECV_CSCOV,
))  # fmt: skip


class Datagram:
    """One in a queue, with what ancillary data can tell of it; ``index``: the interface it came by."""

    __slots__ = ("cost", "data", "destination", "index", "source", "stamp", "tclass", "ttl")

    def __init__(
        self, data: bytes, source: Endpoint, destination: Endpoint, ttl: int, tclass: int, index: int = 1
    ) -> None:
        self.data = data
        self.source = source
        self.destination = destination
        self.ttl = ttl
        self.tclass = tclass
        self.index = index
        self.cost = cost_of(len(data))
        self.stamp = time_ns()


class DatagramSocket(InetSocket):
    """A socket that sends and receives datagrams.

    ``messages``: those that wait to be read, ``used`` of the receive buffer; ``errors``: the error queue of
    IP_RECVERR; ``shut``: as shutdown(2) left it.
    """

    __slots__ = ("dropped", "errors", "messages", "shut", "used")

    def __init__(self, kernel: Kernel, inode: Inode, flags: int, family: int, protocol: int) -> None:
        super().__init__(kernel, inode, flags, family, SOCK_DGRAM, protocol)
        self.messages: deque[Datagram] = deque()
        self.errors: deque[Received] = deque()
        self.used = 0
        self.shut = 0
        self.dropped = 0

    # -- connecting ---------------------------------------------------------------------------

    def connect(self, task: Task, address: bytes) -> None:
        """Choose whom to send to and receive from, or with AF_UNSPEC nobody (__ip4_datagram_connect)."""
        if unspecified(address):
            self._disconnect()
            return
        self.autobind()
        remote = self.destination(address)
        kind = self.stack.kind_of(remote[0])
        if kind == BROADCAST and not self.options.get(SO_BROADCAST):
            raise LinuxError(EACCES)
        if kind != BROADCAST and not self.reachable(remote[0]):
            raise LinuxError(self._no_route(remote[0]))
        self._set_remote(remote)

    def source_to(self, ip: bytes, kind: int, sending: control.Sending) -> bytes:
        """The own address of a datagram to ``ip``; that of the interface it leaves by, for a multicast."""
        own = self.local[0]
        wire = self.stack.wire
        if wire is not None and kind in (MULTICAST, BROADCAST) and (is_any(own) or is_multicast(own)):
            index = sending.index or options.multicast_interface(self, ip)
            found = wire.address_of(index, is_v4(ip)) if index > 1 else b""
            if found:
                return found
        return self.source_for(ip)

    def _no_route(self, ip: bytes) -> int:
        """Link-local addresses want an interface; nothing else is anywhere."""
        if not is_v4(ip):
            if is_link_local(ip) or (ip[0] == 0xFF and ip[1] & 0xF <= 2):
                return EINVAL
        return ENETUNREACH

    def _set_remote(self, remote: Endpoint) -> None:
        self.local = (self.source_for(remote[0]), self.local[1])
        self.remote = remote
        self.state = TCP_ESTABLISHED

    def _disconnect(self) -> None:
        """__udp_disconnect: an address or a port that bind(2) didn't choose is given back."""
        self.remote = None
        self.state = TCP_CLOSE
        ip, port = self.local
        if not self.bound_ip:
            ip = ANY6 if self.v6 else ANY4
        if not self.bound_port:
            self.give_back_port()
            port = 0
        self.local = (ip, port)

    def shutdown(self, task: Task, how: int) -> None:
        self.shut |= how + 1
        self.queue.wake()
        if self.state != TCP_ESTABLISHED:
            raise LinuxError(ENOTCONN)

    def release(self) -> None:
        self.give_back_port()
        self.messages.clear()
        self.errors.clear()

    # -- sending ------------------------------------------------------------------------------

    def _target(self, address: bytes) -> Endpoint:
        """Where a datagram goes; raises EDESTADDRREQ and what belongs to the address."""
        if not address:
            if self.remote is None:
                raise LinuxError(EDESTADDRREQ)
            return self.remote
        family = family_of(address)
        if self.v6 and family == AF_INET and len(address) >= 16:
            if self.only6:
                raise LinuxError(ENETUNREACH)
            ip = bytes(10) + b"\xff\xff" + address[4:8]
            port = int.from_bytes(address[2:4], "big")
            address = self.join((ip, port))
        elif self.v6 and family == AF_UNSPEC:
            if self.remote is None:
                raise LinuxError(EDESTADDRREQ)
            return self.remote
        elif not self.v6 and family == AF_UNSPEC and len(address) >= 16:
            address = AF_INET.to_bytes(2, "little") + address[2:]
        elif self.v6 and family != self.family and len(address) >= 2:
            raise LinuxError(EINVAL if len(address) < 24 else EAFNOSUPPORT)
        return self.destination(address)

    # -- receiving ----------------------------------------------------------------------------

    def deliver(self, message: Datagram) -> bool:
        """Put a datagram into the queue; False if there is no room, and it is lost."""
        if self.shut & _RCV_SHUTDOWN and not self.bound_port and not self.num:
            return False
        if self.used + message.cost > self.rcvbuf and self.messages:
            self.dropped += 1
            return False
        self.messages.append(message)
        self.used += message.cost
        if self.queue.entries:
            self.queue.wake(_READ_EVENTS)
        return True

    def recv(self, task: Task, count: int, flags: int) -> Received:
        if flags & MSG_ERRQUEUE:
            if not self.errors:
                raise LinuxError(EAGAIN)
            found = self.errors.popleft()
            if not self.errors:
                self.error = 0
            found.data = found.data[:count]
            return found
        if self.error:
            raise LinuxError(self.take_error())
        if not self.messages:
            if self.shut & _RCV_SHUTDOWN and not (self.nonblocking() or flags & MSG_DONTWAIT):
                return Received(b"")
            raise WOULD_BLOCK
        message = self.messages[0]
        if not flags & MSG_PEEK:
            self.messages.popleft()
            self.used -= message.cost
        data = message.data
        length = len(data)
        received = Received(data[:count], length, self.join(message.source))
        if length > count:
            received.flags = MSG_TRUNC
        if self.levels or self.options:
            received.control = control.build(self, message)
        return received

    def recv_plain(self, task: Task, count: int) -> bytes:
        return self.recv(task, count, 0).data

    def refused(self, target: Endpoint, data: bytes, code: int) -> None:
        """ICMP says that nobody was there (__udp4_lib_err)."""
        reason = (3, code) if is_v4(target[0]) else (1, 4)
        self.failed(target, data, ECONNREFUSED, reason, loopback_like(target[0]), True)

    def failed(
        self, target: Endpoint, data: bytes, errno: int, reason: tuple[int, int], offender: bytes, hard: bool,
        info: int = 0,
    ) -> None:  # fmt: skip
        """ICMP says that a datagram to ``target`` didn't get there: ``reason`` is the type and the code,
        ``offender`` who said so. A soft error is for the error queue alone."""
        level, name = (IPPROTO_IP, IP_RECVERR) if is_v4(target[0]) else (IPPROTO_IPV6, IPV6_RECVERR)
        if self.levels.get((level, name)):
            if len(self.errors) < MAX_ERRORS:
                self.errors.append(control.error_message(self, target, data, errno, reason, offender, info))
        elif not hard or self.remote is None:
            return
        self.error = errno
        self.queue.wake()

    # -- readiness ----------------------------------------------------------------------------

    def poll(self, task: Task | None = None) -> int:
        events = _WRITE_EVENTS
        if self.messages:
            events |= POLLIN | POLLRDNORM
        if self.error or self.errors:
            events |= POLLERR
        if self.shut:
            if self.shut & _RCV_SHUTDOWN:
                events |= POLLRDHUP | POLLIN | POLLRDNORM
            if self.shut == _SHUTDOWN_MASK:
                events |= POLLHUP
        return events

    def pending_bytes(self) -> int:
        return len(self.messages[0].data) if self.messages else 0


class UdpSocket(DatagramSocket):
    """A UDP or UDP-Lite socket (udp(7), udplite(7)): which part checksums cover means nothing here.

    ``corked``: where to and what, while UDP_CORK or MSG_MORE keeps a datagram back.
    """

    __slots__ = ("corked", "joined")

    def __init__(
        self, kernel: Kernel, inode: Inode, flags: int, family: int, protocol: int = IPPROTO_UDP
    ) -> None:
        super().__init__(kernel, inode, flags, family, protocol)
        self.corked: tuple[Endpoint, bytes] | None = None
        self.joined: set[tuple[bytes, int]] = set()

    def _table(self) -> PortTable:
        return self.stack.udplite if self.protocol == IPPROTO_UDPLITE else self.stack.udp

    def groups(self) -> set[tuple[bytes, int]] | None:
        return self.joined

    def send(
        self, task: Task, data: bytes, flags: int, address: bytes = b"", scm: Ancillary | None = None
    ) -> int:
        """udp_sendmsg."""
        if len(data) > 0xFFFF:
            raise LinuxError(EMSGSIZE)
        if flags & MSG_OOB:
            raise LinuxError(EOPNOTSUPP)
        if self.corked is not None:
            target = self.corked[0]
        else:
            target = self._target(address)
            if not target[1]:
                raise LinuxError(EINVAL)
        sending = control.Sending(self)
        if scm is not None:
            sending.read(task, scm)
            scm.discard()
        if self.error and self.remote is not None:
            raise LinuxError(self.take_error())
        kind = self.stack.kind_of(target[0])
        if kind == UNREACHABLE or (kind == MULTICAST and not (self.reachable(target[0]) or sending.index)):
            if not is_v4(target[0]) or target[0] != LIMITED_BROADCAST or not (self.device or sending.index):
                raise LinuxError(ENETUNREACH)
        if (kind == BROADCAST or target[0] == LIMITED_BROADCAST) and not self.options.get(SO_BROADCAST):
            raise LinuxError(EACCES)
        if self.shut & _SEND_SHUTDOWN:
            raise LinuxError(EPIPE)
        whole = self.corked[1] + data if self.corked is not None else data
        if len(whole) > (MAX_DATAGRAM if is_v4(target[0]) else MAX_DATAGRAM6):
            raise LinuxError(EMSGSIZE)
        self.autobind()
        if flags & MSG_MORE or self.levels.get((IPPROTO_UDP, UDP_CORK)):
            self.corked = (target, whole)
            return len(data)
        self.corked = None
        segment = sending.segment
        if segment and len(whole) > segment:
            for start in range(0, len(whole), segment):
                self._transmit(target, whole[start : start + segment], sending)
        else:
            self._transmit(target, whole, sending)
        return len(data)

    def _transmit(self, target: Endpoint, data: bytes, sending: control.Sending) -> None:
        """Put it into the queues of those that it is for; nobody: the sender hears of that."""
        stack = self.stack
        kind = stack.kind_of(target[0])
        ip = sending.source or self.source_to(target[0], kind, sending)
        source = (ip, self.local[1])
        if kind > LOCAL and stack.wire is not None:
            looped = kind == MULTICAST and sending.loops()
            if kind != BROADCAST or target[0] != NET_BROADCAST:
                stack.wire.send_datagram(self, target, source, data, sending)
                if not looped:
                    return
        stack.packets += 1
        stack.octets += len(data) + 42
        if kind == LOCAL:
            message = Datagram(data, source, target, sending.ttl, sending.tclass)
            found = stack.receiver(self._table(), target, source)
            if found is None:
                self.refused(target, data, 3)
            else:
                found.deliver(message)
            return
        index = sending.index or self.device or 1
        if kind == MULTICAST and stack.wire is not None and index == 1:
            index = options.multicast_interface(self, target[0]) or 1
        for other in all_receivers(self._table(), target, source, kind, index):
            other.deliver(Datagram(data, source, target, sending.ttl, sending.tclass, index))


    def set_protocol(self, task: Task, name: int, value: bytes) -> None:
        """udp_lib_setsockopt."""
        if len(value) < 4:
            raise LinuxError(EINVAL)
        number = int.from_bytes(value[:4], "little", signed=True)
        if name == UDP_CORK:
            self.levels[IPPROTO_UDP, name] = int(number != 0)
            if not number and self.corked is not None:
                target, data = self.corked
                self.corked = None
                self._transmit(target, data, control.Sending(self))
        elif name == UDP_SEGMENT:
            if not 0 <= number <= 0xFFFF:
                raise LinuxError(EINVAL)
            self.levels[IPPROTO_UDP, name] = number
        elif name in (UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV) and self.protocol == IPPROTO_UDPLITE:
            # 0 is all, and less than the header can't be covered
            self.levels[IPPROTO_UDP, name] = min(max(number, 8), 0xFFFF) if number else 0
        elif name in (UDP_NO_CHECK6_RX, UDP_NO_CHECK6_TX, UDP_GRO):
            self.levels[IPPROTO_UDP, name] = int(number != 0)
        elif name == UDP_ENCAP and not number:
            self.levels[IPPROTO_UDP, name] = 0
        else:
            raise LinuxError(ENOPROTOOPT)

    def get_protocol(self, task: Task, name: int, length: int) -> bytes:
        if name not in _UDP_OPTIONS:
            raise LinuxError(ENOPROTOOPT)
        return self.levels.get((IPPROTO_UDP, name), 0).to_bytes(4, "little")


def all_receivers(
    table: PortTable, target: Endpoint, source: Endpoint, kind: int, index: int
) -> list[UdpSocket]:
    """Everybody whom a multicast or broadcast at an interface reaches (__udp4_lib_mcast_deliver)."""
    found = []
    for owner in table.owners.get(target[1], ()):
        socket: UdpSocket = owner  # type: ignore[assignment]
        if socket.local[0] != target[0] and not is_any(socket.local[0]):
            continue
        if is_v4(target[0]):
            if socket.only6:
                continue
        elif not socket.v6:
            continue
        if socket.remote is not None and socket.remote != source:
            continue
        if kind == MULTICAST and not control.hears(socket, target[0], index):
            continue
        found.append(socket)
    return found
