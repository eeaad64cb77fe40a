"""A guest socket that is a host socket (socket(7), ip(7), ipv6(7), tcp(7), udp(7)).

The host's is always non-blocking; who waits, for how long, and what interrupts it is the kernel's affair, as
for any other file. Guest data is copied twice: out of guest memory, and into the host's socket.
"""

from __future__ import annotations

import os
from errno import (
    EACCES,
    EAFNOSUPPORT,
    EAGAIN,
    EALREADY,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    EMFILE,
    ENFILE,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPERM,
)  # fmt: skip

from runsc.abi.poll import POLLERR, POLLIN, POLLRDNORM
from runsc.abi.socket import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    LINGER,
    MSG_CTRUNC,
    MSG_DONTROUTE,
    MSG_EOR,
    MSG_ERRQUEUE,
    MSG_MORE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SO_BINDTODEVICE,
    SO_DEBUG,
    SO_ERROR,
    SO_LINGER,
    SO_PRIORITY,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_RCVLOWAT,
    SO_RCVTIMEO,
    SO_RCVTIMEO_NEW,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SO_SNDTIMEO,
    SO_SNDTIMEO_NEW,
    SOCK_STREAM,
    SOL_SOCKET,
)  # fmt: skip
from runsc.kernel.credentials import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_RAW
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.socket.file import Received, SocketFile
from runsc_net_hostpassthrough._hostsock import ffi, lib
from runsc_net_hostpassthrough.control import HostControl, checked_control
from runsc_net_hostpassthrough.ioctls import socket_ioctl
from runsc_net_hostpassthrough.options import GET, OPTIONS, SET
from runsc_net_hostpassthrough.queue import SocketQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.scm import Ancillary
    from runsc.kernel.task import Task
    from runsc_net_hostpassthrough.network import HostNetwork

MSG_PROBE = 0x10
MSG_CONFIRM = 0x800
MSG_FASTOPEN = 0x20000000

#: Flags that the host is to see; waiting, signals and descriptors are the kernel's.
_SEND_FLAGS = MSG_OOB | MSG_DONTROUTE | MSG_PROBE | MSG_EOR | MSG_CONFIRM | MSG_MORE
_RECV_FLAGS = MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE
#: Flags of a received message that the guest is to see.
_TOLD_FLAGS = MSG_OOB | MSG_CTRUNC | MSG_TRUNC | MSG_EOR | MSG_ERRQUEUE

_FAMILIES = (AF_UNSPEC, AF_INET, AF_INET6)
#: Options of SOL_SOCKET that the kernel keeps: they say how long it waits.
_OWN = frozenset((SO_LINGER, SO_RCVTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO, SO_SNDTIMEO_NEW))
_FORCED = {SO_SNDBUFFORCE: SO_SNDBUF, SO_RCVBUFFORCE: SO_RCVBUF}
#: From here on reading straight into a new object beats a copy out of the buffer that all sockets share.
_LARGE = 1 << 15

_recv = lib.nh_recv
_send = lib.nh_send
_poll = lib.nh_poll
_buffer = ffi.buffer
_NO_LINGER = LINGER.pack(0, 0)


def failure(result: int) -> LinuxError:
    """The exception for the negative errno of a host call."""
    if result == -EAGAIN:
        return WOULD_BLOCK
    # Our own descriptors are used up: to the guest that is the system's limit, not its own.
    return LinuxError(ENFILE if result == -EMFILE else -result)


class HostSocket(SocketFile):
    """A socket of AF_INET or AF_INET6. ``fd``: the host's, -1 once closed; ``connecting``: the address of a
    connection that is being made; ``accepted``: the peer's address as accept(2) told it, until asked for."""

    __slots__ = ("accepted", "connecting", "fd", "kernel", "net", "room")

    queue: SocketQueue

    def __init__(
        self, net: HostNetwork, kernel: Kernel, cred: Credentials, fd: int, family: int, kind: int,
        protocol: int,
    ) -> None:  # fmt: skip
        inode = anon_inodes(kernel).socket_inode(cred)
        # The number that /proc/net/tcp tells.
        inode.ino = os.fstat(fd).st_ino
        super().__init__(inode, 0, family, kind, protocol)
        self.queue = SocketQueue(kernel.poller, fd)
        self.fd = fd
        self.net = net
        self.kernel = kernel
        self.room = net.buffer
        self.connecting = b""
        self.accepted = b""
        net.sockets[fd] = self

    # -- names and connections ----------------------------------------------------------------

    def checked(self, address: bytes) -> bytes:
        """An address that may go to the host: what the host would not look at is refused here."""
        if len(address) >= 2 and address[0] | address[1] << 8 not in _FAMILIES:
            raise LinuxError(EAFNOSUPPORT)
        return address

    def bind(self, task: Task, address: bytes) -> None:
        address = self.checked(address)
        if len(address) >= 4:
            port = address[2] << 8 | address[3]
            if 0 < port < self.net.first_free_port and not task.cred.capable(CAP_NET_BIND_SERVICE):
                raise LinuxError(EACCES)
        result = lib.nh_bind(self.fd, address, len(address))
        if result < 0:
            raise failure(result)

    def listen(self, task: Task, backlog: int) -> None:
        result = lib.nh_listen(self.fd, backlog)
        if result < 0:
            raise failure(result)

    def accept(self, task: Task, flags: int) -> SocketFile:
        fd = lib.nh_accept(self.fd, self.net.received)
        if fd < 0:
            raise failure(fd)
        new = HostSocket(self.net, self.kernel, task.cred, fd, self.family, self.kind, self.protocol)
        new.accepted = self.net.address()
        new.flags |= flags
        # What the kernel keeps of its options is the listening socket's, as the host does with its own.
        new.timeouts = list(self.timeouts)
        new.linger = self.linger
        new.rcvlowat = self.rcvlowat
        if self.queue.entries and _poll(self.fd) & POLLIN:
            # Several connections may have come as one event, which woke one of those who wait.
            self.queue.wake(POLLIN | POLLRDNORM)
        return new

    def connect(self, task: Task, address: bytes) -> None:
        address = self.checked(address)
        result = lib.nh_connect(self.fd, address, len(address))
        if result >= 0:
            return
        if result == -EINPROGRESS or (result == -EALREADY and not self.nonblocking()):
            self.connecting = address
            raise LinuxError(EINPROGRESS)
        raise failure(result)

    def finish_connect(self, task: Task) -> None:
        """Asking again is how the host tells, and how it learns that its answer was taken."""
        result = lib.nh_connect(self.fd, self.connecting, len(self.connecting))
        if result in (-EALREADY, -EINPROGRESS):
            raise WOULD_BLOCK
        self.connecting = b""
        if result < 0 and result != -EISCONN:
            raise failure(result)

    def getsockname(self) -> bytes:
        result = lib.nh_getsockname(self.fd, self.net.received)
        if result < 0:
            raise failure(result)
        return self.net.address()

    def getpeername(self) -> bytes:
        if self.accepted:
            address, self.accepted = self.accepted, b""
            return address
        result = lib.nh_getpeername(self.fd, self.net.received)
        if result < 0:
            raise failure(result)
        return self.net.address()

    def shutdown(self, task: Task, how: int) -> None:
        result = lib.nh_shutdown(self.fd, how)
        if result < 0:
            raise failure(result)

    # -- sending ------------------------------------------------------------------------------

    def ancillary(self, task: Task, control: bytes) -> Ancillary:
        return checked_control(task, control)

    def write(self, task: Task, data: bytes) -> int:
        result: int = _send(self.fd, data, len(data), 0)
        if result < 0 or self.error:
            return self._sent(result)
        return result

    def send(
        self, task: Task, data: bytes, flags: int, address: bytes = b"", scm: Ancillary | None = None
    ) -> int:
        if flags & MSG_FASTOPEN:
            raise LinuxError(EOPNOTSUPP)
        if scm is None and not address:
            result: int = _send(self.fd, data, len(data), flags & _SEND_FLAGS)
        else:
            control = scm.control if isinstance(scm, HostControl) else b""
            address = self.checked(address)
            result = lib.nh_sendmsg(
                self.fd, data, len(data), flags & _SEND_FLAGS, address, len(address), control, len(control)
            )
        if result < 0 or self.error:
            return self._sent(result)
        return result

    def _sent(self, result: int) -> int:
        """What a send with result ``result`` answers when something is wrong."""
        if result >= 0:
            return result  # the error that is kept is of receiving
        raise failure(result)

    # -- receiving ----------------------------------------------------------------------------

    def read(self, task: Task, count: int) -> bytes:
        return self.recv_plain(task, count) if count else b""

    def recv_plain(self, task: Task, count: int) -> bytes:
        if self.error:
            raise LinuxError(self.take_error())
        if count >= _LARGE:
            try:
                return os.read(self.fd, min(count, self.net.buffer_size))
            except OSError as error:
                raise failure(-(error.errno or EINVAL)) from None
        room = self.room
        result = _recv(self.fd, room, count, 0)
        if result > 0:
            data: bytes = _buffer(room, result)[:]
            return data
        if result == 0:
            return b""
        raise failure(result)

    def recv(self, task: Task, count: int, flags: int) -> Received:
        if self.error:
            raise LinuxError(self.take_error())
        net = self.net
        about = net.received
        count = min(count, net.buffer_size)
        length: int = lib.nh_recvmsg(self.fd, self.room, count, flags & _RECV_FLAGS, about)
        if length < 0:
            raise failure(length)
        if flags & MSG_TRUNC and self.kind == SOCK_STREAM:
            data = b""  # thrown away
        else:
            data = _buffer(self.room, min(length, count))[:]
        received = Received(data, length, net.address(), about.flags & _TOLD_FLAGS)
        if about.control_len:
            received.control = _buffer(about.control, about.control_len)[:]
        return received

    # -- readiness, ioctls --------------------------------------------------------------------

    def poll(self, task: Task | None = None) -> int:
        events: int = _poll(self.fd)
        return events | POLLERR if self.error else events

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        return socket_ioctl(task, self.fd, request, arg)

    # -- options ------------------------------------------------------------------------------

    def setsockopt(self, task: Task, level: int, name: int, value: bytes) -> None:
        if level == SOL_SOCKET:
            if name in _OWN:
                super().setsockopt(task, level, name, value)
                if name == SO_LINGER:
                    self._set_host_linger()
                return
            if name in _FORCED:
                # As much as the host lets everybody have: being its administrator isn't the guest's.
                if not task.cred.capable(CAP_NET_ADMIN):
                    raise LinuxError(EPERM)
                name = _FORCED[name]
            elif name == SO_PRIORITY and not self._may_set_priority(task, value):
                raise LinuxError(EPERM)
            elif name == SO_BINDTODEVICE and not task.cred.capable(CAP_NET_RAW):
                if self.getsockopt(task, level, name, 16).strip(b"\0"):
                    raise LinuxError(EPERM)
        option = OPTIONS.get((level, name))
        if option is None or not option.access & SET:
            self.net.refuse(self.kernel, level, name)
            raise LinuxError(ENOPROTOOPT)
        if option.caps is not None and not any(task.cred.capable(cap) for cap in option.caps):
            raise LinuxError(EACCES if (level, name) == (SOL_SOCKET, SO_DEBUG) else EPERM)
        value = value[: option.size]
        result = lib.nh_setsockopt(self.fd, level, name, value, len(value))
        if result < 0:
            raise failure(result)
        if level == SOL_SOCKET and name == SO_RCVLOWAT:
            super().setsockopt(task, level, name, value)

    @staticmethod
    def _may_set_priority(task: Task, value: bytes) -> bool:
        number = int.from_bytes(value[:4], "little", signed=True)
        return 0 <= number <= 6 or task.cred.capable(CAP_NET_ADMIN) or task.cred.capable(CAP_NET_RAW)

    def _set_host_linger(self) -> None:
        """Only "throw it away" is told to the host: a close(2) that lingers would stop the whole kernel."""
        on, seconds = self.linger
        value = LINGER.pack(1, 0) if on and seconds == 0 else _NO_LINGER
        result = lib.nh_setsockopt(self.fd, SOL_SOCKET, SO_LINGER, value, len(value))
        if result < 0:
            raise failure(result)

    def getsockopt(self, task: Task, level: int, name: int, length: int) -> bytes:
        if level == SOL_SOCKET:
            if name in _OWN or (name == SO_ERROR and self.error):
                return super().getsockopt(task, level, name, length)
        option = OPTIONS.get((level, name))
        if option is None or not option.access & GET:
            self.net.refuse(self.kernel, level, name)
            raise LinuxError(ENOPROTOOPT)
        room = min(length, option.size)
        value = ffi.new("char[]", room or 1)
        result = lib.nh_getsockopt(self.fd, level, name, value, room)
        if result < 0:
            raise failure(result)
        return bytes(_buffer(value, result))

    # -- life ---------------------------------------------------------------------------------

    def release(self) -> None:
        if self.fd >= 0:
            self.queue.end()
            self.net.sockets.pop(self.fd, None)
            os.close(self.fd)
            self.fd = -1
