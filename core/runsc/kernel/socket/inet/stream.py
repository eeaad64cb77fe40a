"""TCP over the loopback (tcp(7), net/ipv4/tcp.c, net/ipv4/tcp_input.c).

Both ends are here, so a connection is two sockets that know each other. What one sends goes into the queue of
the other at once; the part of it that exceeds the receiver's window counts as not sent yet (SIOCOUTQ), and a
FIN behind such a part arrives when the receiver has read that far. Sequence numbers, packets and their loss
don't exist; states, resets and ports are those of Linux.

``TcpSocket`` is sending, receiving and readiness; making and ending connections is in ``connection``.
"""

from __future__ import annotations

from collections import deque
from errno import EAGAIN, EINVAL, ENOTCONN, EPIPE

from runsc.abi.inet import (
    IPPROTO_TCP,
    MSG_FASTOPEN,
    TCP_CLOSE,
    TCP_CLOSE_WAIT,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT1,
    TCP_FIN_WAIT2,
    TCP_LISTEN,
    TCP_SYN_SENT,
)  # fmt: skip
from runsc.abi.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)  # fmt: skip
from runsc.abi.socket import (
    MSG_ERRQUEUE,
    MSG_MORE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SO_OOBINLINE,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SOCK_STREAM,
    SOL_SOCKET,
)  # fmt: skip
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.socket.file import Received, SocketFile
from runsc.kernel.socket.inet import connection, urgent
from runsc.kernel.socket.inet.socket import InetSocket
from runsc.kernel.socket.inet.tcpoptions import get_tcp, set_tcp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.inet.ports import PortTable
    from runsc.kernel.socket.inet.stack import TimeWait
    from runsc.kernel.socket.inet.wire import Connection
    from runsc.kernel.socket.scm import Ancillary
    from runsc.kernel.task import Task
    from runsc.kernel.timers import Timer
    from runsc.kernel.vfs.inode import Inode

RCV_SHUTDOWN = 1
SEND_SHUTDOWN = 2
SHUTDOWN_MASK = 3

# What sock->state is to connect(2).
UNCONNECTED, CONNECTING, CONNECTED = range(3)

READ_EVENTS = POLLIN | POLLRDNORM | POLLRDBAND
WRITE_EVENTS = POLLOUT | POLLWRNORM | POLLWRBAND

#: Sizes of the buffers of a new socket (the middle numbers of tcp_wmem and tcp_rmem), and what the sending
#: one grows to once connected, unless it was set.
SNDBUF, RCVBUF = 16384, 131072
SNDBUF_GROWN = 2626560
#: A send is taken whole if it isn't longer than this, as the last buffer that is begun may be filled.
_PIECE = 65536
#: From so many chunks on small ones are joined, up to so many bytes.
_MANY, _SMALL = 32, 4096
#: What a packet adds to its data: the headers of IPv4 and TCP with time stamps, and of the interface.
_HEADERS = 66

_SEND_SPECIAL = MSG_OOB | MSG_FASTOPEN
_RECV_SPECIAL = MSG_OOB | MSG_ERRQUEUE


def window_of(rcvbuf: int) -> int:
    """How much data a receive buffer holds: the rest is what the descriptions of the data need."""
    return max(rcvbuf * 3 // 4, 1024)


class TcpSocket(InetSocket):
    """A TCP socket.

    ``peer``: the other end's socket while that is open; ``orphaned``: it was closed, and ``peer_left`` is
    what is left of it. ``chunks``: what was sent here, of which ``offset`` bytes of the first are read and
    ``queued`` in all are not; ``window``: how much of that has arrived; ``stuffed``: something waits until
    more is read: a FIN (``fin_coming``) or a sender that found no room (its ``nospace``).

    ``wire``: instead of a peer here, the connection to another machine; always ``stuffed``. """

    __slots__ = (
        "accepted", "backlog", "chunks", "deferred", "done", "fin_coming", "gone", "knocking", "nospace",
        "offset", "orphaned", "peer", "peer_left", "progress", "queued", "rcvlocked", "received", "sent",
        "shut", "sndlocked", "stuffed", "timer", "urgent", "waiting", "window", "wire",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, inode: Inode, flags: int, family: int) -> None:
        super().__init__(kernel, inode, flags, family, SOCK_STREAM, IPPROTO_TCP)
        self.sndbuf, self.rcvbuf = SNDBUF, RCVBUF
        self.sndlocked = self.rcvlocked = False
        self.progress = UNCONNECTED
        self.peer: TcpSocket | None = None
        self.wire: Connection | None = None
        self.orphaned = False
        self.peer_left: TimeWait | None = None
        self.chunks: deque[bytes] = deque()
        self.offset = 0
        self.queued = 0
        self.window = window_of(RCVBUF)
        self.stuffed = False
        self.nospace = False
        self.fin_coming = False
        #: a FIN has arrived: reading ends without an error (SOCK_DONE)
        self.done = False
        self.shut = 0
        #: the file is closed
        self.gone = False
        self.sent = 0
        self.received = 0
        self.urgent: urgent.Urgent | None = None
        self.timer: Timer | None = None
        # Of a listening socket: how many may wait, those who do, and who waits to be let in at all.
        self.backlog = 0
        self.accepted: deque[TcpSocket] = deque()
        self.waiting: deque[TcpSocket] = deque()
        #: the listening socket that this one waits for
        self.knocking: TcpSocket | None = None
        #: the listening socket that is told of this one when data comes (TCP_DEFER_ACCEPT)
        self.deferred: TcpSocket | None = None

    def _table(self) -> PortTable:
        return self.stack.tcp

    # -- connections --------------------------------------------------------------------------

    def listening(self) -> bool:
        return self.state == TCP_LISTEN

    def listen(self, task: Task, backlog: int) -> None:
        connection.listen(self, backlog)

    def accept(self, task: Task, flags: int) -> SocketFile:
        return connection.accept(self, task, flags)

    def connect(self, task: Task, address: bytes) -> None:
        connection.connect(self, task, address)

    def finish_connect(self, task: Task) -> None:
        connection.finish_connect(self)

    def shutdown(self, task: Task, how: int) -> None:
        connection.shutdown(self, how + 1)

    def release(self) -> None:
        connection.close(self)

    def getpeername(self) -> bytes:
        if self.remote is None or self.state in (TCP_CLOSE, TCP_SYN_SENT):
            raise LinuxError(ENOTCONN)
        return self.join(self.remote)

    # -- sending ------------------------------------------------------------------------------

    def send(
        self, task: Task, data: bytes, flags: int, address: bytes = b"", scm: Ancillary | None = None
    ) -> int:
        if self.peer is None or self.shut or flags & _SEND_SPECIAL or scm is not None:
            done = self._send_special(task, data, flags, address, scm)
            if done >= 0:
                return done
        peer = self.peer
        assert peer is not None
        length = len(data)
        room = self.sndbuf + peer.window - peer.queued
        if room <= 0:
            if not length:
                return 0
            self.nospace = peer.stuffed = True
            raise WOULD_BLOCK
        if length > room and length > _PIECE:
            length = max(room, _PIECE)
            data = data[:length]
        chunks = peer.chunks
        if len(chunks) < _MANY or len(chunks[-1]) + length > _SMALL:
            if length:
                chunks.append(data)
        else:
            chunks[-1] += data
        peer.queued += length
        self.sent += length
        stack = self.stack
        stack.packets += 1
        stack.octets += length + _HEADERS
        if peer.queue.entries and peer.queued >= peer.rcvlowat:
            peer.queue.wake(READ_EVENTS)
        if peer.deferred is not None:
            connection.undefer(peer)
        return length

    def _send_special(
        self, task: Task, data: bytes, flags: int, address: bytes, scm: Ancillary | None
    ) -> int:
        """What is to be looked at before data can go; -1 if it can now (tcp_sendmsg)."""
        if scm is not None:
            scm.discard()  # descriptors and credentials are nothing to TCP (__sock_cmsg_send)
        if flags & MSG_FASTOPEN:
            connection.fast_open(self, task, address)
        if self.state not in (TCP_ESTABLISHED, TCP_CLOSE_WAIT) or self.shut & SEND_SHUTDOWN or self.error:
            if self.error:
                raise LinuxError(self.take_error())
            if self.state == TCP_SYN_SENT and not self.shut & SEND_SHUTDOWN:
                self.nospace = True
                raise WOULD_BLOCK
            raise LinuxError(EPIPE)
        if self.wire is not None:
            if flags & MSG_OOB and data:
                return self.wire.send_urgent(data)
            return self.wire.send(data, bool(flags & MSG_MORE))
        peer = self.peer
        if peer is None:
            # The other end is closed, and answers the first buffer with a reset.
            if data:
                connection.reset(self)
            return min(len(data), self.sndbuf)
        if data and peer.shut & RCV_SHUTDOWN and peer.state in (TCP_FIN_WAIT1, TCP_FIN_WAIT2):
            # It was shut down both ways: that is as good as closed, and both hear of it.
            connection.reset(peer)
            connection.reset(self)
            return min(len(data), self.sndbuf)
        if flags & MSG_OOB and data:
            return urgent.send(self, task, data, flags & ~_SEND_SPECIAL)
        return -1

    # -- receiving ----------------------------------------------------------------------------

    def recv_plain(self, task: Task, count: int) -> bytes:
        chunks = self.chunks
        if chunks and not self.offset and self.urgent is None:
            head = chunks[0]
            length = len(head)
            if length == count or (length < count and len(chunks) == 1):
                # Nearly always: one chunk, whole.
                chunks.popleft()
                self.queued -= length
                self.received += length
                if self.stuffed:
                    connection.drained(self)
                return head
        return self.recv(task, count, 0).data

    def recv(self, task: Task, count: int, flags: int) -> Received:
        if self.state == TCP_LISTEN:
            raise LinuxError(ENOTCONN)
        if flags & _RECV_SPECIAL:
            if flags & MSG_ERRQUEUE:
                raise LinuxError(EAGAIN)
            return urgent.receive(self, flags)
        if self.queued:
            data = self.take(count, flags)
            if data or not count or flags & MSG_TRUNC:
                return Received(b"" if flags & MSG_TRUNC else data, len(data))
        if self.done:
            return Received(b"")
        if self.error:
            raise LinuxError(self.take_error())
        if self.shut & RCV_SHUTDOWN:
            return Received(b"")
        if self.state == TCP_CLOSE:
            raise LinuxError(ENOTCONN)
        raise WOULD_BLOCK

    def take(self, count: int, flags: int) -> bytes:
        """Up to ``count`` bytes of what is here; with MSG_PEEK they stay. Stops before urgent data, or passes
        it over if it is next."""
        mark = self.urgent
        if mark is not None:
            if not mark.ahead and not self.options.get(SO_OOBINLINE):
                if flags & MSG_PEEK:
                    return self._copy(1, count)
                self._advance(1)
                urgent.passed(self)
            elif mark.ahead:
                count = min(count, mark.ahead)
            elif not flags & MSG_PEEK:
                urgent.passed(self)
                mark = None
        if flags & MSG_PEEK:
            return self._copy(0, count)
        data = self._advance(count)
        if self.urgent is not None:
            self.urgent.ahead -= len(data)
        return data

    def _copy(self, start: int, count: int) -> bytes:
        """``count`` bytes from ``start`` on, which stay."""
        parts = []
        at = self.offset + start
        for chunk in self.chunks:
            if at >= len(chunk):
                at -= len(chunk)
                continue
            part = chunk[at : at + count]
            at = 0
            parts.append(part)
            count -= len(part)
            if count <= 0:
                break
        return b"".join(parts)

    def _advance(self, count: int) -> bytes:
        """Take ``count`` bytes out."""
        chunks = self.chunks
        parts = []
        left = count
        while chunks and left > 0:
            head = chunks[0]
            offset = self.offset
            if len(head) - offset <= left:
                chunks.popleft()
                self.offset = 0
                part = head[offset:] if offset else head
            else:
                part = head[offset : offset + left]
                self.offset += left
            parts.append(part)
            left -= len(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.queued -= len(data)
        self.received += len(data)
        if self.stuffed:
            connection.drained(self)
        return data

    # -- readiness ----------------------------------------------------------------------------

    def writable_now(self) -> bool:
        """Is a third of the send buffer free (sk_stream_is_writeable)?"""
        peer = self.peer
        if peer is None:
            return self.wire is None or self.wire.writable()
        unsent = peer.queued - peer.window
        return unsent <= 0 or unsent * 3 <= self.sndbuf * 2

    def poll(self, task: Task | None = None) -> int:
        state = self.state
        if state == TCP_LISTEN:
            return POLLIN | POLLRDNORM if self.accepted else 0
        shut = self.shut
        events = 0
        if shut:
            if shut & RCV_SHUTDOWN:
                events = POLLIN | POLLRDNORM | POLLRDHUP
            if shut == SHUTDOWN_MASK:
                events |= POLLHUP
        if state == TCP_CLOSE:
            events |= POLLHUP
        if state != TCP_SYN_SENT:
            if self.queued:
                mark = self.urgent
                target = self.rcvlowat
                if mark is not None:
                    if not mark.ahead and not self.options.get(SO_OOBINLINE):
                        target += 1
                    if mark.unread:
                        events |= POLLPRI
                if self.queued >= target:
                    events |= POLLIN | POLLRDNORM
            if shut & SEND_SHUTDOWN or self.writable_now():
                events |= POLLOUT | POLLWRNORM
            elif self.peer is not None:
                self.nospace = self.peer.stuffed = True
            elif self.wire is not None:
                self.nospace = True
        if self.error:
            events |= POLLERR
        return events

    def pending_bytes(self) -> int:
        if self.state == TCP_LISTEN:
            raise LinuxError(EINVAL)
        mark = self.urgent
        if mark is not None and not self.options.get(SO_OOBINLINE):
            # Up to the urgent byte, or what is behind it.
            return mark.ahead if mark.ahead else max(self.queued - 1, 0)
        return min(self.queued, self.window)

    def unsent_bytes(self) -> int:
        if self.state == TCP_LISTEN:
            raise LinuxError(EINVAL)
        if self.wire is not None:
            return self.wire.unsent()
        return max(self.peer.queued - self.peer.window, 0) if self.peer is not None else 0

    def not_sent_bytes(self) -> int:
        return self.wire.not_sent() if self.wire is not None else self.unsent_bytes()

    def at_mark(self) -> bool:
        return self.urgent is not None and not self.urgent.ahead

    # -- options ------------------------------------------------------------------------------

    def set_generic(self, task: Task, level: int, name: int, value: bytes) -> None:
        super().set_generic(task, level, name, value)
        if level == SOL_SOCKET:
            if self.wire is not None:
                self.sndlocked |= name in (SO_SNDBUF, SO_SNDBUFFORCE)
                self.rcvlocked |= name in (SO_RCVBUF, SO_RCVBUFFORCE)
                self.wire.changed()
            elif name in (SO_SNDBUF, SO_SNDBUFFORCE):
                self.sndlocked = True
            elif name in (SO_RCVBUF, SO_RCVBUFFORCE):
                self.rcvlocked = True
                self.window = window_of(self.rcvbuf)
                if self.stuffed:
                    connection.drained(self)

    def set_protocol(self, task: Task, name: int, value: bytes) -> None:
        set_tcp(self, name, value)
        if self.wire is not None:
            self.wire.changed()

    def get_protocol(self, task: Task, name: int, length: int) -> bytes:
        return get_tcp(self, name, length)

    def inherit(self, parent: InetSocket) -> None:
        super().inherit(parent)
        assert isinstance(parent, TcpSocket)
        self.sndlocked, self.rcvlocked = parent.sndlocked, parent.rcvlocked
        self.window = window_of(self.rcvbuf)

    def established(self) -> None:
        """The connection is made."""
        self.state = TCP_ESTABLISHED
        if not self.sndlocked and self.wire is None:
            self.sndbuf = SNDBUF_GROWN
