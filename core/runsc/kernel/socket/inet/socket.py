"""What TCP, UDP and ICMP sockets have in common: addresses and ports (net/ipv4/af_inet.c,
net/ipv6/af_inet6.c).
"""

from __future__ import annotations

from errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EINVAL,
    ENETUNREACH,
    ENOPROTOOPT,
    ENOTCONN,
)  # fmt: skip

from runsc.abi.inet import IP_BIND_ADDRESS_NO_PORT, IPPROTO_IP, SOCKADDR_IN, TCP_CLOSE
from runsc.abi.socket import AF_INET6, AF_UNSPEC, SOCK_STREAM
from runsc.kernel.credentials import CAP_NET_BIND_SERVICE
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.socket.file import SocketFile
from runsc.kernel.socket.inet import ioctls, options
from runsc.kernel.socket.inet.addresses import (
    ANY4,
    ANY6,
    BROADCAST,
    LIMITED_BROADCAST,
    LOCAL,
    LOOPBACK4,
    MULTICAST,
    REMOTE,
    UNREACHABLE,
    family_of,
    is_any,
    is_link_local,
    is_multicast,
    is_v4,
    join4,
    join6,
    loopback_like,
    scope_of,
    split4,
    split6,
)  # fmt: skip
from runsc.kernel.socket.inet.stack import loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.ports import PortTable
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode

#: Ports below are for CAP_NET_BIND_SERVICE (net.ipv4.ip_unprivileged_port_start).
UNPRIVILEGED_PORT_START = 1024


class InetSocket(SocketFile):
    """A socket of AF_INET or AF_INET6 on the loopback.

    ``local``: its own endpoint, the wildcard address and port 0 at first; ``remote``: whom it is connected
    to; ``num``: the port that it holds in the tables (``local`` goes on telling of one that was given back);
    ``bound_ip``, ``bound_port``: bind(2) has set them, so that they stay; ``state``: TCP_*; ``levels``:
    options of the protocol levels, by (level, name). """

    __slots__ = (
        "bound_ip", "bound_port", "chosen", "device", "kernel", "levels", "local", "num", "only6", "remote",
        "stack", "state", "uid", "v6",
    )  # fmt: skip

    def __init__(
        self, kernel: Kernel, inode: Inode, flags: int, family: int, kind: int, protocol: int
    ) -> None:
        super().__init__(inode, flags, family, kind, protocol)
        self.kernel = kernel
        self.stack = loopback(kernel)
        self.v6 = family == AF_INET6
        self.only6 = False
        self.local: Endpoint = (ANY6 if self.v6 else ANY4, 0)
        self.remote: Endpoint | None = None
        self.num = 0
        self.bound_ip = self.bound_port = False
        self.chosen = False
        self.uid = inode.uid
        self.state = TCP_CLOSE
        self.levels: dict[tuple[int, int], int] = {}
        #: the interface of SO_BINDTODEVICE
        self.device = 0

    # -- addresses ----------------------------------------------------------------------------

    def join(self, endpoint: Endpoint) -> bytes:
        """An endpoint as a socket address of the socket's family."""
        return join6(*endpoint) if self.v6 else join4(*endpoint)

    def getsockname(self) -> bytes:
        return self.join(self.local)

    def getpeername(self) -> bytes:
        if self.remote is None:
            raise LinuxError(ENOTCONN)
        return self.join(self.remote)

    def _table(self) -> PortTable:
        """The ports of the protocol."""
        raise NotImplementedError

    def bind(self, task: Task, address: bytes) -> None:
        """bind(2) (inet_bind, inet6_bind)."""
        ip, port = self._bind_address6(address) if self.v6 else self._bind_address4(address)
        privileged = 0 < port < UNPRIVILEGED_PORT_START
        if not self.v6:
            self._check_local(ip)
        if privileged and not task.cred.capable(CAP_NET_BIND_SERVICE):
            raise LinuxError(EACCES)
        if self.state != TCP_CLOSE or self.num:
            raise LinuxError(EINVAL)
        if self.v6:
            self._check_local6(ip, scope_of(address))
        self._take_port(ip, port)
        self.bound_ip = not is_any(ip)
        self.bound_port = port != 0

    def _bind_address4(self, address: bytes) -> Endpoint:
        if len(address) >= SOCKADDR_IN and family_of(address) == AF_UNSPEC:
            if address[4:8] != bytes(4):
                raise LinuxError(EAFNOSUPPORT)
            return ANY4, int.from_bytes(address[2:4], "big")
        return split4(address)

    def _bind_address6(self, address: bytes) -> Endpoint:
        ip, port = split6(address)
        if self.kind == SOCK_STREAM and is_multicast(ip) and not is_v4(ip):
            raise LinuxError(EINVAL)
        return ip, port

    def _check_local(self, ip: bytes) -> None:
        """EADDRNOTAVAIL for what no socket can be bound to."""
        if ip[12] == 127:
            return  # also while the loopback is down
        if self.stack.kind_of(ip) in (UNREACHABLE, REMOTE) and ip not in (ANY4, LIMITED_BROADCAST):
            if not options.freebind(self):
                raise LinuxError(EADDRNOTAVAIL)

    def _check_local6(self, ip: bytes, scope: int) -> None:
        if is_v4(ip):
            if self.only6:
                raise LinuxError(EINVAL)
            self._check_local(ip)
        elif ip != ANY6:
            narrow = is_link_local(ip) or (ip[0] == 0xFF and ip[1] & 0xF <= 2)
            if narrow and not scope and not self.device:
                raise LinuxError(EINVAL)
            if self.stack.kind_of(ip) in (UNREACHABLE, REMOTE) and not options.freebind(self):
                raise LinuxError(EADDRNOTAVAIL)

    def _take_port(self, ip: bytes, port: int) -> None:
        """Take a port, or any if 0; raises EADDRINUSE. Without a wish, IP_BIND_ADDRESS_NO_PORT leaves it to
        connect(2)."""
        table = self._table()
        self.stack.expire()
        if not port:
            if self.levels.get((IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT)) and self.kind == SOCK_STREAM:
                self.local = (ip, 0)
                return
            port = table.free_port(self, ip)
            if not port:
                raise LinuxError(EADDRINUSE)
        elif table.conflicts(self, ip, port):
            raise LinuxError(EADDRINUSE)
        self.local = (ip, port)
        self.chosen = False
        self.hold_port(port)

    def hold_port(self, port: int) -> None:
        """Enter a port into the tables as the socket's."""
        self.num = port
        self._table().claim(self, port)

    def give_back_port(self) -> None:
        if self.num:
            self._table().release(self, self.num)
            self.num = 0

    def autobind(self) -> None:
        """A port of its own for a socket that is used without bind(2)."""
        if not self.num:
            self._take_port(self.local[0], 0)

    def destination(self, address: bytes) -> Endpoint:
        """Where connect(2) or sendto(2) goes, the wildcards replaced. Raises EINVAL, EAFNOSUPPORT,
        ENETUNREACH if the families don't meet."""
        if not self.v6:
            ip, port = split4(address)
            return (LOOPBACK4 if ip == ANY4 else ip), port
        ip, port = split6(address)
        own = self.local[0]
        if ip == ANY6:
            ip = LOOPBACK4 if is_v4(own) else loopback_like(ip)
        elif ip == ANY4:
            ip = LOOPBACK4
        if is_v4(ip):
            if self.only6 or not (own == ANY6 or is_v4(own)):
                raise LinuxError(ENETUNREACH)
        elif is_v4(own):
            raise LinuxError(EADDRNOTAVAIL if own == ANY4 else ENETUNREACH)
        return ip, port

    def source_for(self, ip: bytes) -> bytes:
        """The own address of what is sent to ``ip``."""
        own = self.local[0]
        if is_any(own) or is_multicast(own) or own == LIMITED_BROADCAST:
            return self.stack.source_for(ip, self.device)
        if self.stack.kind_of(own) == BROADCAST:
            return self.stack.source_for(ip, self.device)
        return own

    def reachable(self, ip: bytes) -> bool:
        """Does a route lead there?"""
        kind = self.stack.kind_of(ip)
        return kind in (LOCAL, REMOTE) or (kind == MULTICAST and options.multicast_interface(self, ip) != 0)

    # -- options, requests --------------------------------------------------------------------

    def setsockopt(self, task: Task, level: int, name: int, value: bytes) -> None:
        options.set_option(self, task, level, name, value)

    def getsockopt(self, task: Task, level: int, name: int, length: int) -> bytes:
        return options.get_option(self, task, level, name, length)

    def set_generic(self, task: Task, level: int, name: int, value: bytes) -> None:
        """SOL_SOCKET, as all sockets have it."""
        super().setsockopt(task, level, name, value)

    def get_generic(self, task: Task, level: int, name: int, length: int) -> bytes:
        return super().getsockopt(task, level, name, length)

    def set_protocol(self, task: Task, name: int, value: bytes) -> None:
        """SOL_TCP or SOL_UDP."""
        raise LinuxError(ENOPROTOOPT)

    def get_protocol(self, task: Task, name: int, length: int) -> bytes:
        raise LinuxError(ENOPROTOOPT)

    def groups(self) -> set[tuple[bytes, int]] | None:
        """The multicast groups it is in, with their interfaces; None if it can't be in any."""
        return None

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        return ioctls.request(self, task, request, arg)

    def pending_bytes(self) -> int:
        """SIOCINQ."""
        raise LinuxError(EINVAL)

    def unsent_bytes(self) -> int:
        """SIOCOUTQ."""
        return 0

    def not_sent_bytes(self) -> int:
        """SIOCOUTQNSD."""
        return self.unsent_bytes()

    def at_mark(self) -> bool:
        """SIOCATMARK: is the urgent byte next?"""
        return False

    def inherit(self, parent: InetSocket) -> None:
        """Take over the options of the listening socket."""
        self.options = dict(parent.options)
        self.levels = dict(parent.levels)
        self.only6 = parent.only6
        self.linger = parent.linger
        self.sndbuf, self.rcvbuf, self.rcvlowat = parent.sndbuf, parent.rcvbuf, parent.rcvlowat
        self.timeouts = list(parent.timeouts)
        self.device = parent.device


def new_inode(kernel: Kernel, task: Task) -> Inode:
    """The inode of a new socket of ``task``'s."""
    return anon_inodes(kernel).socket_inode(task.cred)
