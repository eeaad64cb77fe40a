"""How TCP connections begin and end (net/ipv4/af_inet.c, net/ipv4/inet_connection_sock.c, net/ipv4/tcp.c)."""

from __future__ import annotations

from errno import (
    EADDRINUSE,
    EADDRNOTAVAIL,
    EALREADY,
    ECONNABORTED,
    ECONNREFUSED,
    ECONNRESET,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    ENETUNREACH,
    ENOTCONN,
    EPIPE,
    ETIMEDOUT,
)  # fmt: skip
from time import monotonic_ns

from runsc.abi.inet import (
    IPPROTO_TCP,
    TCP_CLOSE,
    TCP_CLOSE_WAIT,
    TCP_CLOSING,
    TCP_DEFER_ACCEPT,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT1,
    TCP_FIN_WAIT2,
    TCP_LAST_ACK,
    TCP_LISTEN,
    TCP_SYN_RECV,
    TCP_SYN_SENT,
    TCP_SYNCNT,
    TCP_TIME_WAIT,
    TCP_USER_TIMEOUT,
)  # fmt: skip
from runsc.abi.poll import POLLOUT, POLLWRBAND, POLLWRNORM
from runsc.abi.socket import SOMAXCONN
from runsc.abi.time import NSEC_PER_SEC
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.socket.inet import stream
from runsc.kernel.socket.inet.addresses import ANY4, ANY6, LOCAL, REMOTE, is_link_local, unspecified
from runsc.kernel.socket.inet.stack import TimeWait
from runsc.kernel.vfs.inode import Inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.stream import TcpSocket
    from runsc.kernel.task import Task

_WRITE_EVENTS = POLLOUT | POLLWRNORM | POLLWRBAND
#: How often a SYN is sent again (net.ipv4.tcp_syn_retries); the first time after a second, then doubling.
_SYN_RETRIES = 6

# -- listening --------------------------------------------------------------------------------------


def listen(socket: TcpSocket, backlog: int) -> None:
    """listen(2) (inet_listen)."""
    if socket.progress != stream.UNCONNECTED or socket.state not in (TCP_CLOSE, TCP_LISTEN):
        raise LinuxError(EINVAL)
    socket.backlog = min(backlog & 0xFFFFFFFF, SOMAXCONN)
    if socket.state == TCP_LISTEN:
        admit_waiting(socket)
        return
    stack = socket.stack
    if not socket.num:
        socket.autobind()
    else:
        stack.expire()
        if stack.tcp.conflicts(socket, socket.local[0], socket.num):
            raise LinuxError(EADDRINUSE)
    stack.listeners.setdefault(socket.num, []).append(socket)
    socket.state = TCP_LISTEN
    socket.shut = 0
    socket.error = 0


def _stop_listening(socket: TcpSocket) -> None:
    """Nobody can connect any more; those who wait to be accepted are reset (inet_csk_listen_stop)."""
    listeners = socket.stack.listeners
    found = listeners.get(socket.num, [])
    if socket in found:
        found.remove(socket)
        if not found:
            del listeners[socket.num]
    socket.state = TCP_CLOSE
    while socket.waiting:
        other = socket.waiting.popleft()
        other.knocking = None
        reset(other)
    while socket.accepted:
        child = socket.accepted.popleft()
        abort(child)
        child.put()


def accept(socket: TcpSocket, task: Task, flags: int) -> TcpSocket:
    """accept(2). Raises EINVAL, ``WOULD_BLOCK``."""
    if socket.state != TCP_LISTEN:
        raise LinuxError(EINVAL)
    if not socket.accepted:
        raise WOULD_BLOCK
    child = socket.accepted.popleft()
    child.flags |= flags
    child.inode.uid, child.inode.gid = task.cred.fsuid, task.cred.fsgid
    child.progress = stream.CONNECTED
    if socket.waiting:
        admit_waiting(socket)
    child.refs -= 1  # the queue's reference; the caller takes its own
    return child


def admit_waiting(socket: TcpSocket) -> None:
    """Let in who waits, as far as there is room now. (On Linux that takes until the SYN is sent again.)"""
    while socket.waiting and len(socket.accepted) <= socket.backlog:
        other = socket.waiting.popleft()
        other.knocking = None
        _meet(other, socket)


def make_child(listener: TcpSocket, local: Endpoint, remote: Endpoint) -> TcpSocket:
    """The socket at the server's end of a new connection, in the tables."""
    stack = listener.stack
    uid, gid = listener.inode.uid, listener.inode.gid
    anon = anon_inodes(listener.kernel)
    inode = Inode(anon.sockfs, anon.number(), listener.inode.mode, uid, gid)
    child = stream.TcpSocket(listener.kernel, inode, 0, listener.family)
    child.stack = listener.stack
    child.inherit(listener)
    child.uid = listener.uid
    child.local, child.remote = local, remote
    child.hold_port(local[1])
    old = stack.connections.get((local, remote))
    if isinstance(old, TimeWait):
        stack.forget(old)
    stack.connections[local, remote] = child
    return child


def _meet(client: TcpSocket, listener: TcpSocket) -> None:
    """Both ends of a connection over the loopback."""
    assert client.remote is not None
    child = make_child(listener, client.remote, client.local)
    client.peer, child.peer = child, client
    enqueue(child, listener)
    connected(client)


def enqueue(child: TcpSocket, listener: TcpSocket) -> None:
    """The connection is made: it waits to be accepted."""
    child.get()  # the queue's
    child.established()
    seconds = listener.levels.get((IPPROTO_TCP, TCP_DEFER_ACCEPT), 0)
    if seconds:
        child.deferred = listener
        listener.get()
        child.timer = child.kernel.timers.add(
            monotonic_ns() + seconds * NSEC_PER_SEC, lambda: undefer(child, None)
        )
    else:
        listener.accepted.append(child)
        listener.queue.wake(stream.READ_EVENTS)


def undefer(child: TcpSocket, timer: object = True) -> None:
    """Data has come, or the time is up: now the connection can be accepted (TCP_DEFER_ACCEPT)."""
    listener = child.deferred
    if listener is None:
        return
    child.deferred = None
    if timer is not None and child.timer is not None:
        child.timer.cancel()
    child.timer = None
    if listener.state == TCP_LISTEN:
        listener.accepted.append(child)
        listener.queue.wake(stream.READ_EVENTS)
    else:
        abort(child)
        child.put()
    listener.put()


# -- connecting -------------------------------------------------------------------------------------


def connect(socket: TcpSocket, task: Task, address: bytes) -> None:
    """connect(2) (__inet_stream_connect): as on Linux, even a connection that is there at once is one in
    progress to who doesn't want to wait."""
    if unspecified(address):
        disconnect(socket)
        return
    if socket.progress == stream.CONNECTED:
        raise LinuxError(EISCONN)
    if socket.progress == stream.CONNECTING:
        if socket.state == TCP_SYN_SENT:
            raise LinuxError(EALREADY if socket.nonblocking() else EINPROGRESS)
        finish_connect(socket)
        return
    if socket.state != TCP_CLOSE:
        raise LinuxError(EISCONN)
    _begin(socket, address)
    if socket.nonblocking():
        raise LinuxError(EINPROGRESS)
    if socket.state == TCP_SYN_SENT:
        raise LinuxError(EINPROGRESS)  # the system call waits
    finish_connect(socket)


def finish_connect(socket: TcpSocket) -> None:
    """How it ended: nothing, or its error; raises ``WOULD_BLOCK`` until then."""
    if socket.state == TCP_SYN_SENT:
        raise WOULD_BLOCK
    if socket.state == TCP_CLOSE:
        error = socket.take_error() or ECONNABORTED
        socket.progress = stream.UNCONNECTED
        disconnect(socket)
        raise LinuxError(error)
    socket.progress = stream.CONNECTED


def fast_open(socket: TcpSocket, task: Task, address: bytes) -> None:
    """MSG_FASTOPEN: connect, if that isn't done yet; the data follows at once (tcp_sendmsg_fastopen)."""
    if socket.progress != stream.UNCONNECTED or not address:
        if address:
            raise LinuxError(EISCONN)
        return
    try:
        connect(socket, task, address)
    except LinuxError as error:
        if error.errno != EINPROGRESS:
            raise


def _begin(socket: TcpSocket, address: bytes) -> None:
    """Send the SYN, as it were: choose addresses and port, find the listener (tcp_v4_connect)."""
    remote = socket.destination(address)
    kind = socket.stack.kind_of(remote[0])
    if kind not in (LOCAL, REMOTE):
        raise LinuxError(EINVAL if is_link_local(remote[0]) else ENETUNREACH)
    stack = socket.stack
    stack.expire()
    ip = socket.source_for(remote[0])
    port = socket.num
    if not port:
        port = stack.tcp.port_to_connect(lambda port: not stack.taken((ip, port), remote))
        if not port:
            raise LinuxError(EADDRNOTAVAIL)
        socket.chosen = True
        socket.hold_port(port)
    elif stack.taken((ip, port), remote):
        raise LinuxError(EADDRNOTAVAIL)
    socket.local = (ip, port)
    socket.remote = remote
    socket.shut = 0
    socket.done = False
    socket.error = 0
    socket.state = TCP_SYN_SENT
    socket.progress = stream.CONNECTING
    stack.connections[socket.local, remote] = socket
    if kind == REMOTE and stack.wire is not None:
        stack.wire.connect(socket)
        return
    listener = stack.listener(remote, socket.local)
    if listener is not None:
        if len(listener.accepted) <= listener.backlog:
            _meet(socket, listener)
        else:
            listener.waiting.append(socket)
            socket.knocking = listener
            _start_timeout(socket)
    elif remote == socket.local:
        socket.peer = socket  # both ends opened at once
        connected(socket)
    else:
        reset(socket)


def connected(socket: TcpSocket) -> None:
    """A socket that was connecting is connected."""
    if socket.timer is not None:
        socket.timer.cancel()
        socket.timer = None
    socket.established()
    socket.queue.wake()


def _start_timeout(socket: TcpSocket) -> None:
    """A listener without room doesn't answer: give up after as many tries as Linux makes."""
    retries = socket.levels.get((IPPROTO_TCP, TCP_SYNCNT), 0) or _SYN_RETRIES
    ns = ((1 << (retries + 1)) - 1) * NSEC_PER_SEC
    user = socket.levels.get((IPPROTO_TCP, TCP_USER_TIMEOUT), 0) * 1_000_000
    if user:
        ns = min(ns, user)

    def give_up() -> None:
        socket.timer = None
        if socket.state == TCP_SYN_SENT:
            socket.error = ETIMEDOUT
            finish(socket)

    socket.timer = socket.kernel.timers.add(monotonic_ns() + ns, give_up)


def disconnect(socket: TcpSocket) -> None:
    """Back to a socket that is connected to nobody (tcp_disconnect)."""
    state = socket.state
    if state == TCP_LISTEN:
        _stop_listening(socket)
    elif state in (
        TCP_ESTABLISHED, TCP_SYN_RECV, TCP_CLOSE_WAIT, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_CLOSING,
        TCP_LAST_ACK,
    ):  # fmt: skip
        abort(socket)
        socket.error = ECONNRESET
    elif state == TCP_SYN_SENT:
        finish(socket)
        socket.error = ECONNRESET
    _purge(socket)
    socket.remote = None
    socket.progress = stream.UNCONNECTED
    if not socket.bound_ip:
        socket.local = (ANY6 if socket.v6 else ANY4, socket.local[1])
    socket.shut = 0
    socket.done = False
    socket.state = TCP_CLOSE
    socket.queue.wake()


# -- ending -----------------------------------------------------------------------------------------


def shutdown(socket: TcpSocket, how: int) -> None:
    """shutdown(2); ``how``: a mask of RCV_SHUTDOWN and SEND_SHUTDOWN (inet_shutdown)."""
    if socket.progress == stream.CONNECTING and socket.state not in (TCP_SYN_SENT, TCP_CLOSE):
        socket.progress = stream.CONNECTED
    state = socket.state
    try:
        if state == TCP_CLOSE:
            socket.shut |= how
            raise LinuxError(ENOTCONN)
        if state == TCP_LISTEN:
            if how & stream.RCV_SHUTDOWN:
                disconnect(socket)
            return
        if state == TCP_SYN_SENT:
            disconnect(socket)
            return
        socket.shut |= how
        if how & stream.SEND_SHUTDOWN:
            if state in (TCP_ESTABLISHED, TCP_SYN_RECV):
                socket.state = TCP_FIN_WAIT1
                _send_fin(socket)
            elif state == TCP_CLOSE_WAIT:
                socket.state = TCP_LAST_ACK
                _send_fin(socket)
    finally:
        socket.queue.wake()


def _send_fin(socket: TcpSocket) -> None:
    """A FIN goes to the other end, behind the data."""
    peer = socket.peer
    if socket.wire is not None:
        socket.wire.send_fin()
        return
    if peer is None:
        # That is closed already: it was the last thing it waited for.
        if socket.peer_left is not None:
            socket.stack.both_closed(socket.peer_left)
        finish(socket)
        return
    peer.fin_coming = True
    if peer.deferred is not None:
        undefer(peer)
    if peer.queued <= peer.window:
        fin_arrives(peer)
    else:
        peer.stuffed = True


def fin_arrives(socket: TcpSocket) -> None:
    """The other end sends no more (tcp_fin), and hears that this is known."""
    socket.fin_coming = False
    socket.shut |= stream.RCV_SHUTDOWN
    socket.done = True
    other = socket.peer
    state = socket.state
    if state == TCP_ESTABLISHED:
        socket.state = TCP_CLOSE_WAIT
    elif state == TCP_FIN_WAIT1:
        socket.state = TCP_CLOSING
    if other is not None:
        if other.state == TCP_FIN_WAIT1:
            other.state = TCP_FIN_WAIT2
        elif other.state == TCP_CLOSING:
            time_wait(other)
        elif other.state == TCP_LAST_ACK:
            finish(other)
    if state == TCP_FIN_WAIT2:
        time_wait(socket)
    socket.queue.wake()


def drained(socket: TcpSocket) -> None:
    """Some of what had to wait was read: the FIN may arrive, the sender may go on."""
    if socket.wire is not None:
        socket.wire.drained()
        return
    peer = socket.peer
    waits = False
    if socket.fin_coming:
        if socket.queued <= socket.window:
            fin_arrives(socket)
        else:
            waits = True
    if peer is not None and peer.nospace:
        if peer.writable_now():
            peer.nospace = False
            peer.queue.wake(_WRITE_EVENTS)
        else:
            waits = True
    socket.stuffed = waits


def time_wait(socket: TcpSocket) -> None:
    """The end of who closed first: something is left in its place (tcp_time_wait)."""
    _unhash(socket)
    socket.stack.linger(socket, TCP_TIME_WAIT)
    finish(socket)


def _unhash(socket: TcpSocket) -> None:
    if socket.remote is not None:
        key: tuple[Endpoint, Endpoint] = (socket.local, socket.remote)
        if socket.stack.connections.get(key) is socket:
            del socket.stack.connections[key]


def finish(socket: TcpSocket) -> None:
    """The connection is no more (tcp_done). A port that bind(2) has chosen stays the socket's."""
    socket.state = TCP_CLOSE
    socket.shut = stream.SHUTDOWN_MASK
    _unhash(socket)
    if not socket.bound_port or socket.gone:
        socket.give_back_port()
    wire, socket.wire = socket.wire, None
    if wire is not None:
        wire.end()
    if socket.timer is not None:
        socket.timer.cancel()
        socket.timer = None
    if socket.knocking is not None:
        socket.knocking.waiting.remove(socket)
        socket.knocking = None
    socket.nospace = False
    peer, socket.peer = socket.peer, None
    if peer is not None and peer.peer is socket and peer is not socket:
        peer.peer = None
        peer.orphaned = True
    socket.queue.wake()


def reset(socket: TcpSocket) -> None:
    """A RST arrives (tcp_reset): what had not arrived before it never does."""
    state = socket.state
    if state == TCP_CLOSE:
        return
    if state == TCP_SYN_SENT:
        socket.error = ECONNREFUSED
    elif state == TCP_CLOSE_WAIT:
        socket.error = EPIPE
    else:
        socket.error = ECONNRESET
    while socket.queued > socket.window:
        last = socket.chunks.pop()
        excess = min(socket.queued - socket.window, len(last))
        socket.queued -= excess
        if excess < len(last):
            socket.chunks.append(last[: len(last) - excess])
    socket.fin_coming = False
    if socket.deferred is not None:
        undefer(socket)
    finish(socket)


def abort(socket: TcpSocket) -> None:
    """End it with a RST to the other end."""
    peer = socket.peer
    left = socket.peer_left
    if socket.wire is not None:
        socket.wire.send_reset()
    finish(socket)
    if peer is not None and peer is not socket:
        reset(peer)
    elif left is not None:
        socket.stack.forget(left)


def _purge(socket: TcpSocket) -> None:
    socket.chunks.clear()
    socket.queued = socket.offset = 0
    socket.urgent = None
    socket.fin_coming = socket.stuffed = False


def close(socket: TcpSocket) -> None:
    """The last descriptor is closed (__tcp_close). Data that was sent still arrives; data that was not read
    makes it a reset."""
    socket.gone = True
    state = socket.state
    stack = socket.stack
    if state == TCP_LISTEN:
        _stop_listening(socket)
    elif state == TCP_SYN_SENT:
        finish(socket)
    elif state != TCP_CLOSE:
        if socket.queued or socket.linger == (1, 0):
            abort(socket)
        else:
            _close_connection(socket, state)
    _purge(socket)
    if socket.deferred is not None:
        undefer(socket)
    if socket.wire is None:
        socket.give_back_port()
    stack.expire()


def _close_connection(socket: TcpSocket, state: int) -> None:
    """A FIN, if none was sent; the other end goes on alone."""
    socket.shut = stream.SHUTDOWN_MASK
    peer = socket.peer
    if state in (TCP_ESTABLISHED, TCP_SYN_RECV):
        socket.state = TCP_FIN_WAIT1
        _send_fin(socket)
    elif state == TCP_CLOSE_WAIT:
        socket.state = TCP_LAST_ACK
        _send_fin(socket)
    if socket.wire is not None:
        socket.wire.orphaned()
        return
    if socket.state == TCP_CLOSE or peer is None:
        return
    if socket.state in (TCP_FIN_WAIT1, TCP_FIN_WAIT2):
        _unhash(socket)
        peer.peer_left = socket.stack.linger(socket, TCP_FIN_WAIT2)
    finish(socket)
