"""Local sockets (unix(7), net/unix/af_unix.c): streams, datagrams, and sequenced packets.

A message waits in its receiver's queue and counts, with an overhead as Linux's buffers have, against its
sender's SO_SNDBUF until it is taken out.
"""

from __future__ import annotations

from collections import deque
from errno import (
    ECONNREFUSED,
    ECONNRESET,
    EINVAL,
    EISCONN,
    EMSGSIZE,
    ENODATA,
    ENOTCONN,
    EOPNOTSUPP,
    EPERM,
    EPIPE,
)  # fmt: skip

from runsc.abi.inet import SIOCATMARK
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
from runsc.abi.signal import SI_KERNEL, SIGURG
from runsc.abi.socket import (
    AF_UNIX,
    AF_UNSPEC,
    MSG_DONTWAIT,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SHUT_RD,
    SHUT_WR,
    SIOCINQ,
    SIOCOUTQ,
    SO_OOBINLINE,
    SO_PASSCRED,
    SO_PEEK_OFF,
    SO_PEERCRED,
    SO_PEERGROUPS,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
)  # fmt: skip
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.socket import unixnames
from runsc.kernel.socket.file import Received, SocketFile
from runsc.kernel.socket.netdevice import interfaces
from runsc.kernel.socket.scm import NO_CREDENTIALS, Ancillary, in_flight, own_credentials, pack_ucred
from runsc.kernel.socket.unixgc import collect_sometimes
from runsc.kernel.socket.unixmessage import STREAM_PIECE, Message, datagram_cost, stream_cost
from runsc.kernel.tunables import tunables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import NetNamespace
    from runsc.kernel.socket.scm import Ucred
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.inode import Inode

# States (net/tcp_states.h, as far as local sockets have them).
ESTABLISHED = 1
CLOSE = 7
LISTEN = 10

RCV_SHUTDOWN = 1
SEND_SHUTDOWN = 2
SHUTDOWN_MASK = 3

_READ_EVENTS = POLLIN | POLLRDNORM | POLLRDBAND
_WRITE_EVENTS = POLLOUT | POLLWRNORM | POLLWRBAND


class UnixSocket(SocketFile):
    """A local socket.

    ``address``: its name as getsockname(2) tells it, without the family alone; ``peer``: the other end, or
    where a datagram socket is connected to; ``connections``: of a listening socket, waiting to be accepted;
    ``blocked``: sockets whose senders or connectors wait for room in here; ``peer_cred``: the peer's, as of
    the connection; ``oob``: the urgent byte's message, which is in the queue like others; ``peek_off``:
    SO_PEEK_OFF.
    """

    collected = True

    __slots__ = (
        "address",
        "backlog",
        "blocked",
        "bound",
        "connections",
        "dead",
        "embryo",
        "kernel",
        "messages",
        "net",
        "oob",
        "own_cred",
        "own_groups",
        "peek_off",
        "peer",
        "peer_cred",
        "peer_groups",
        "shut",
        "state",
        "wmem",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, inode: Inode, flags: int, kind: int) -> None:
        super().__init__(inode, flags, AF_UNIX, kind, 0)
        settings = tunables(kernel)
        self.sndbuf, self.rcvbuf = settings.wmem_default, settings.rmem_default
        self.kernel = kernel
        self.net: NetNamespace = kernel.nsproxy.net
        self.address = b""
        self.bound: Path | None = None
        self.state = CLOSE
        self.peer: UnixSocket | None = None
        self.messages: deque[Message] = deque()
        self.connections: deque[UnixSocket] = deque()
        self.blocked: set[UnixSocket] = set()
        self.oob: Message | None = None
        self.peek_off = -1
        self.backlog = tunables(kernel).max_dgram_qlen
        self.wmem = 0
        self.shut = 0
        self.dead = False
        #: connected to, but not accepted yet
        self.embryo = False
        self.own_cred: Ucred | None = None
        self.own_groups: tuple[int, ...] = ()
        self.peer_cred: Ucred | None = None
        self.peer_groups: tuple[int, ...] = ()

    # -- names --------------------------------------------------------------------------------

    def bind(self, task: Task, address: bytes) -> None:
        if address == unixnames.FAMILY:
            if not self.address:
                self._autobind()
            return
        name = unixnames.split(address)
        if name[0]:
            if self.address:
                raise LinuxError(EINVAL)
            self.bound = unixnames.bind_path(task, self, name)
            name += b"\0"
        else:
            if self.address:
                raise LinuxError(EINVAL)
            unixnames.bind_abstract(self.net, self, name)
        self.address = unixnames.FAMILY + name

    def _autobind(self) -> None:
        self.address = unixnames.FAMILY + unixnames.autobind(self.net, self)

    def _unbind(self) -> None:
        """The name no longer leads here; a path stays, and refuses connections."""
        if self.bound is not None:
            dentry = self.bound.dentry
            self.bound = None
            dentry.pins -= 1
            inode = dentry.inode
            if inode is not None and inode.extra and inode.extra.get("socket") is self:
                del inode.extra["socket"]
        elif self.address[2:3] == b"\0":
            names = unixnames.abstract_names(self.net)
            if names.get(self.address[2:]) is self:
                del names[self.address[2:]]

    def getsockname(self) -> bytes:
        return self.address or unixnames.FAMILY

    def getpeername(self) -> bytes:
        if self.peer is None:
            raise LinuxError(ENOTCONN)
        return self.peer.address or unixnames.FAMILY

    # -- connections --------------------------------------------------------------------------

    def listening(self) -> bool:
        return self.state == LISTEN

    def listen(self, task: Task, backlog: int) -> None:
        if self.kind == SOCK_DGRAM:
            raise LinuxError(EOPNOTSUPP)
        if not self.address or self.state not in (CLOSE, LISTEN):
            raise LinuxError(EINVAL)
        self.backlog = min(backlog & 0xFFFFFFFF, tunables(self.kernel).somaxconn)
        self.state = LISTEN
        self.remember(task)
        self._wake_blocked()

    def remember(self, task: Task) -> None:
        """Keep who made or listens on this, for SO_PEERCRED of the other side."""
        cred = task.cred
        self.own_cred = (task.group.leader.pid, cred.euid, cred.egid)
        self.own_groups = cred.groups

    def connect(self, task: Task, address: bytes) -> None:
        if self.kind == SOCK_DGRAM:
            self._connect_datagram(task, address)
            return
        name = unixnames.split(address)
        if self.options.get(SO_PASSCRED) and not self.address:
            self._autobind()
        other = unixnames.find(task, name, self.kind)
        if other.state != LISTEN or other.shut & RCV_SHUTDOWN:
            raise LinuxError(ECONNREFUSED)
        if len(other.connections) > other.backlog:
            other.blocked.add(self)
            raise WOULD_BLOCK
        if self.state == ESTABLISHED:
            raise LinuxError(EISCONN)
        if self.state != CLOSE:
            raise LinuxError(EINVAL)
        self.remember(task)
        new = UnixSocket(self.kernel, anon_inodes(self.kernel).socket_inode(task.cred), 0, self.kind)
        new.address = other.address
        new.net = other.net
        new.own_cred, new.own_groups = other.own_cred, other.own_groups
        new.embryo = True
        new.get()  # the queue's, until it is accepted
        join(self, new)
        other.connections.append(new)
        other.queue.wake(_READ_EVENTS)

    def _connect_datagram(self, task: Task, address: bytes) -> None:
        """Choose (or with AF_UNSPEC, forget) where datagrams go."""
        if len(address) < 2:
            raise LinuxError(EINVAL)
        if int.from_bytes(address[:2], "little") == AF_UNSPEC:
            self.peer = None
            self.state = CLOSE
            self.queue.wake(_WRITE_EVENTS)
            return
        name = unixnames.split(address)
        if self.options.get(SO_PASSCRED) and not self.address:
            self._autobind()
        other = unixnames.find(task, name, self.kind)
        if other.peer is not None and other.peer is not self:
            raise LinuxError(EPERM)
        self.peer = other
        self.state = ESTABLISHED
        self.remember(task)
        self.queue.wake(_WRITE_EVENTS)

    def accept(self, task: Task, flags: int) -> SocketFile:
        if self.kind == SOCK_DGRAM:
            raise LinuxError(EOPNOTSUPP)
        if self.state != LISTEN:
            raise LinuxError(EINVAL)
        if not self.connections:
            if self.shut & RCV_SHUTDOWN:
                raise LinuxError(EINVAL)
            raise WOULD_BLOCK
        new = self.connections.popleft()
        self._wake_blocked()
        new.embryo = False
        new.flags |= flags
        new.inode.uid, new.inode.gid = task.cred.fsuid, task.cred.fsgid
        new.refs -= 1  # the caller installs it, or discards it
        return new

    def _wake_blocked(self) -> None:
        """There is room: who waits for it looks again."""
        if self.blocked:
            blocked, self.blocked = self.blocked, set()
            for other in blocked:
                other.queue.wake(_WRITE_EVENTS)

    def shutdown(self, task: Task, how: int) -> None:
        mode = RCV_SHUTDOWN if how == SHUT_RD else SEND_SHUTDOWN if how == SHUT_WR else SHUTDOWN_MASK
        self.shut |= mode
        self.queue.wake()
        self._wake_blocked()
        peer = self.peer
        if peer is not None and self.kind != SOCK_DGRAM:
            if mode & RCV_SHUTDOWN:
                peer.shut |= SEND_SHUTDOWN
            if mode & SEND_SHUTDOWN:
                peer.shut |= RCV_SHUTDOWN
            peer.queue.wake()

    def release(self) -> None:
        self.dead = True
        self._unbind()
        peer, self.peer = self.peer, None
        self.state = CLOSE
        if peer is not None and self.kind != SOCK_DGRAM:
            peer.shut = SHUTDOWN_MASK
            if self.messages or self.embryo:
                peer.error = ECONNRESET
            peer.queue.wake()
        while self.connections:
            self.connections.popleft().put()
        while self.messages:
            message = self.messages.popleft()
            message.sender.sent(message.cost)
            if message.rights is not None:
                message.rights.discard()
        self.oob = None
        self._wake_blocked()
        flight = in_flight(self.kernel)
        if flight.sockets and not flight.closing:
            collect_sometimes(self.kernel, flight)

    # -- sending ------------------------------------------------------------------------------

    def sent(self, cost: int) -> None:
        """A message of this socket's was taken out of a queue (sock_wfree)."""
        self.wmem -= cost
        if self.queue.entries and (self.wmem + 1) << 2 <= self.sndbuf:
            self.queue.wake(_WRITE_EVENTS)

    def _credentials(self, task: Task, other: UnixSocket, scm: Ancillary | None) -> Ucred | None:
        if scm is not None and scm.cred is not None:
            return scm.cred
        if self.options.get(SO_PASSCRED) or other.options.get(SO_PASSCRED):
            return own_credentials(task)
        return None

    def send(
        self, task: Task, data: bytes, flags: int, address: bytes = b"", scm: Ancillary | None = None
    ) -> int:
        if flags & MSG_OOB:
            if self.kind != SOCK_STREAM or not data:
                raise LinuxError(EOPNOTSUPP)
            return self._send_urgent(task, data, flags & ~MSG_OOB, address, scm)
        if self.kind != SOCK_STREAM:
            if self.kind == SOCK_SEQPACKET:
                if self.error:
                    raise LinuxError(self.take_error())
                if self.state != ESTABLISHED:
                    raise LinuxError(ENOTCONN)
                address = b""
            return self._send_datagram(task, data, address, scm)
        if address:
            raise LinuxError(EISCONN if self.state == ESTABLISHED else EOPNOTSUPP)
        other = self.peer
        if other is None:
            raise LinuxError(ENOTCONN)
        if self.shut & SEND_SHUTDOWN or other.dead or other.shut & RCV_SHUTDOWN:
            raise LinuxError(EPIPE)
        length = len(data)
        if not length:
            if scm is not None:
                scm.discard()
            return 0
        if self.wmem >= self.sndbuf:
            raise WOULD_BLOCK
        cred = self._credentials(task, other, scm)
        rights = None
        if scm is not None:
            rights, scm.rights = scm.rights, None
        limit = min(STREAM_PIECE, (self.sndbuf >> 1) - 64)
        done = 0
        while done < length and self.wmem < self.sndbuf:
            piece = data if length <= limit else data[done : done + limit]
            cost = stream_cost(len(piece))
            self.wmem += cost
            other.messages.append(Message(self, piece, cost, cred, rights))
            rights = None
            done += len(piece)
        if other.queue.entries:
            other.queue.wake(_READ_EVENTS)
        return done

    def _send_urgent(
        self, task: Task, data: bytes, flags: int, address: bytes, scm: Ancillary | None
    ) -> int:
        """MSG_OOB: the last byte is urgent; an older one that nobody took becomes data like any other."""
        done = 0
        if len(data) > 1:
            done = self.send(task, data[:-1], flags, address, scm)
            if done < len(data) - 1:
                return done
            address, scm = b"", None
        try:
            done += self.send(task, data[-1:], flags, address, scm)
        except LinuxError:
            if done:
                return done
            raise
        other = self.peer
        assert other is not None
        other.oob = other.messages[-1]
        if other.owner is not None:
            other.owner.send(SigInfo(SIGURG, SI_KERNEL))
        other.queue.wake(POLLPRI)
        return done

    def _recv_urgent(self, flags: int) -> Received:
        """MSG_OOB: the urgent byte, which leaves the stream."""
        if self.kind != SOCK_STREAM:
            raise LinuxError(EOPNOTSUPP)
        message = self.oob
        if message is None or self.options.get(SO_OOBINLINE):
            raise LinuxError(EINVAL)
        received = Received(message.data, 1, message.sender.address, MSG_OOB)
        if not flags & MSG_PEEK:
            self._drop_urgent(message)
        return received

    def _drop_urgent(self, message: Message) -> None:
        self.messages.remove(message)
        self.oob = None
        message.sender.sent(message.cost)
        if message.rights is not None:
            message.rights.discard()
            message.rights = None

    def _send_datagram(self, task: Task, data: bytes, address: bytes, scm: Ancillary | None) -> int:
        name = unixnames.split(address) if address else b""
        if not name and self.peer is None:
            raise LinuxError(ENOTCONN)
        if self.options.get(SO_PASSCRED) and not self.address:
            self._autobind()
        if len(data) > self.sndbuf - 32:
            raise LinuxError(EMSGSIZE)
        if self.shut & SEND_SHUTDOWN:
            raise LinuxError(EPIPE)
        if self.wmem >= self.sndbuf:
            raise WOULD_BLOCK
        other = unixnames.find(task, name, self.kind) if name else self.peer
        assert other is not None
        if other.dead:
            if self.kind == SOCK_SEQPACKET:
                raise LinuxError(EPIPE)
            if other is self.peer:
                self.peer = None
                self.state = CLOSE
            raise LinuxError(ECONNREFUSED)
        if other.peer is not None and other.peer is not self:
            raise LinuxError(EPERM)
        if other.shut & RCV_SHUTDOWN:
            raise LinuxError(EPIPE)
        if other is not self and other.peer is not self and len(other.messages) > other.backlog:
            other.blocked.add(self)
            raise WOULD_BLOCK
        cred = self._credentials(task, other, scm)
        rights = None
        if scm is not None:
            rights, scm.rights = scm.rights, None
        cost = datagram_cost(len(data))
        self.wmem += cost
        other.messages.append(Message(self, data, cost, cred, rights))
        other.queue.wake(_READ_EVENTS)
        return len(data)

    # -- receiving ----------------------------------------------------------------------------

    def recv_plain(self, task: Task, count: int) -> bytes:
        messages = self.messages
        if messages and self.kind == SOCK_STREAM:
            head = messages[0]
            length = len(head.data)
            whole = length == count or (length < count and len(messages) == 1)
            if whole and not head.offset and head.rights is None and self.oob is None and self.peek_off < 0:
                # Nearly always: the one message, whole.
                messages.popleft()
                head.sender.sent(head.cost)
                return head.data
        return super().recv_plain(task, count)

    def recv(self, task: Task, count: int, flags: int) -> Received:
        if flags & MSG_OOB:
            return self._recv_urgent(flags)
        if self.kind != SOCK_STREAM:
            return self._recv_datagram(count, flags)
        if self.state != ESTABLISHED:
            raise LinuxError(EINVAL)
        messages = self.messages
        peek = flags & MSG_PEEK
        urgent = self.oob
        if urgent is not None and messages[0] is urgent and not peek:
            if self.options.get(SO_OOBINLINE):
                self.oob = urgent = None
            else:
                self._drop_urgent(urgent)  # who reads on without taking it has lost it
                urgent = None
        skip = self.peek_off if peek and self.peek_off > 0 else 0
        if not messages or (skip and skip >= sum(len(item.data) - item.offset for item in messages)):
            if self.error:
                raise LinuxError(self.take_error())
            if self.shut & RCV_SHUTDOWN:
                return Received(b"")
            raise WOULD_BLOCK
        first = messages[0]
        received = Received(b"", address=first.sender.address)
        if self.options.get(SO_PASSCRED):
            received.cred = first.cred or NO_CREDENTIALS
        parts: list[bytes] = []
        index = 0
        while index < len(messages) and (count > 0 or not parts):
            message = messages[index]
            if message is not first and message.cred != first.cred:
                break  # data of different senders is never joined
            if message is urgent:
                if parts:
                    break
                if peek and not self.options.get(SO_OOBINLINE):
                    index += 1
                    continue
            start = message.offset
            if skip:
                start += skip
                skip = max(start - len(message.data), 0)
                if start >= len(message.data):
                    index += 1
                    continue
            part = message.data[start : start + count]
            parts.append(part)
            count -= len(part)
            rights = message.rights
            if rights is not None:
                received.files = rights.copy() if peek else rights.take()
                if not peek:
                    message.rights = None
            if peek:
                index += 1
            else:
                message.offset += len(part)
                if message.offset < len(message.data):
                    break
                messages.popleft()
                message.sender.sent(message.cost)
            if rights is not None:
                break
        received.data = parts[0] if len(parts) == 1 else b"".join(parts)
        received.length = len(received.data)
        if self.peek_off >= 0:
            self._move_peek(received.length, bool(peek))
        if not parts:
            raise WOULD_BLOCK  # all there is is the urgent byte
        return received

    def _move_peek(self, count: int, peeked: bool) -> None:
        """SO_PEEK_OFF: peeking moves on in the queue, reading takes the queue's beginning away."""
        self.peek_off = self.peek_off + count if peeked else max(self.peek_off - count, 0)

    def _recv_datagram(self, count: int, flags: int) -> Received:
        if self.kind == SOCK_SEQPACKET and self.state != ESTABLISHED:
            raise LinuxError(ENOTCONN)
        if not self.messages:
            if self.error:
                raise LinuxError(self.take_error())
            waits = not self.nonblocking() and not flags & MSG_DONTWAIT
            if self.shut & RCV_SHUTDOWN and (self.kind == SOCK_SEQPACKET or waits):
                return Received(b"")
            raise WOULD_BLOCK
        peek = flags & MSG_PEEK
        message, skip = self._peeked() if peek and self.peek_off >= 0 else (self.messages[0], 0)
        data = message.data[skip:] if skip else message.data
        received = Received(data[:count], len(data), message.sender.address)
        if len(data) > count:
            received.flags = MSG_TRUNC
        if self.peek_off >= 0:
            self._move_peek(len(received.data) if peek else len(message.data), bool(peek))
        if self.options.get(SO_PASSCRED):
            received.cred = message.cred or NO_CREDENTIALS
        if peek:
            message.peeked = True
            if message.rights is not None:
                received.files = message.rights.copy()
            return received
        self.messages.popleft()
        if message.rights is not None:
            received.files = message.rights.take()
        message.sender.sent(message.cost)
        self._wake_blocked()
        return received

    def _peeked(self) -> tuple[Message, int]:
        """The message at SO_PEEK_OFF, and how much of it is skipped."""
        skip = self.peek_off
        for message in self.messages:
            if skip >= len(message.data) and (skip or message.peeked):
                skip -= len(message.data)
                continue
            return message, skip
        raise WOULD_BLOCK

    # -- readiness, options -------------------------------------------------------------------

    def poll(self, task: Task | None = None) -> int:
        shut = self.shut
        events = POLLERR if self.error else 0
        if shut:
            if shut == SHUTDOWN_MASK:
                events |= POLLHUP
            if shut & RCV_SHUTDOWN:
                events |= POLLRDHUP | POLLIN | POLLRDNORM
        if self.messages or self.connections:
            events |= POLLIN | POLLRDNORM
        if self.oob is not None:
            events |= POLLPRI
        if self.state == CLOSE and self.kind != SOCK_DGRAM:
            events |= POLLHUP
        if (self.wmem + 1) << 2 <= self.sndbuf and self.state != LISTEN:
            peer = self.peer
            if self.kind == SOCK_DGRAM and peer is not None and peer.peer is not self and peer is not self:
                if len(peer.messages) > peer.backlog and not peer.dead:
                    peer.blocked.add(self)
                    return events
            events |= _WRITE_EVENTS
        return events

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        if request == SIOCINQ:
            if self.state == LISTEN:
                raise LinuxError(EINVAL)
            if self.kind == SOCK_DGRAM:
                amount = len(self.messages[0].data) if self.messages else 0
            else:
                amount = sum(len(message.data) - message.offset for message in self.messages)
            task.mm.write_u32(arg, amount)
            return 0
        if request == SIOCOUTQ:
            task.mm.write_u32(arg, self.wmem)
            return 0
        if request == SIOCATMARK and self.kind == SOCK_STREAM:
            at_mark = self.oob is not None and self.messages[0] is self.oob
            task.mm.write_u32(arg, int(at_mark))
            return 0
        return interfaces(task, request, arg)

    def setsockopt(self, task: Task, level: int, name: int, value: bytes) -> None:
        if level == SOL_SOCKET and name == SO_PEEK_OFF:
            if len(value) < 4:
                raise LinuxError(EINVAL)
            self.peek_off = int.from_bytes(value[:4], "little", signed=True)
            return
        super().setsockopt(task, level, name, value)

    def getsockopt(self, task: Task, level: int, name: int, length: int) -> bytes:
        if level == SOL_SOCKET:
            if name == SO_PEEK_OFF:
                return (self.peek_off & 0xFFFFFFFF).to_bytes(4, "little")
            if name == SO_PEERCRED:
                return pack_ucred(task, self.peer_cred or (None, -1, -1))
            if name == SO_PEERGROUPS:
                if self.peer_cred is None:
                    raise LinuxError(ENODATA)
                return b"".join(gid.to_bytes(4, "little") for gid in self.peer_groups)
        return super().getsockopt(task, level, name, length)


def join(first: UnixSocket, second: UnixSocket) -> None:
    """Make two sockets each other's peer; each knows the other's credentials from then on."""
    first.peer, second.peer = second, first
    first.state = second.state = ESTABLISHED
    first.peer_cred, second.peer_cred = second.own_cred, first.own_cred
    first.peer_groups, second.peer_groups = second.own_groups, first.own_groups


def make_unix(task: Task, kind: int, flags: int) -> UnixSocket:
    """A new local socket; ``kind`` is SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET, ``flags`` O_NONBLOCK or
    0."""
    made = UnixSocket(task.kernel, anon_inodes(task.kernel).socket_inode(task.cred), flags, kind)
    made.net = task.nsproxy.net
    return made


def make_pair(task: Task, kind: int, flags: int) -> tuple[UnixSocket, UnixSocket]:
    """socketpair(2)."""
    first, second = make_unix(task, kind, flags), make_unix(task, kind, flags)
    first.remember(task)
    second.remember(task)
    join(first, second)
    return first, second
