"""socket(2) of AF_INET and AF_INET6 (inet_create, inet6_create)."""

from __future__ import annotations

from errno import EINVAL, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT

from runsc.abi.inet import (
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IP,
    IPPROTO_MAX,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
)  # fmt: skip
from runsc.abi.socket import AF_INET6, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.inet.datagram import UdpSocket
from runsc.kernel.socket.inet.ping import PingSocket
from runsc.kernel.socket.inet.socket import new_inode
from runsc.kernel.socket.inet.stack import loopback
from runsc.kernel.socket.inet.stream import TcpSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.inet.socket import InetSocket
    from runsc.kernel.task import Task


def inet_socket(kernel: Kernel, task: Task, family: int, kind: int, protocol: int) -> InetSocket:
    """A new socket of the loopback. Raises EINVAL, ESOCKTNOSUPPORT, EPROTONOSUPPORT; EPERM for raw sockets.
    """
    made = _make(kernel, task, family, kind, protocol)
    made.stack = loopback(task.nsproxy.net)
    return made


def _make(kernel: Kernel, task: Task, family: int, kind: int, protocol: int) -> InetSocket:
    if not 0 <= protocol < IPPROTO_MAX:
        raise LinuxError(EINVAL)
    if kind == SOCK_STREAM:
        if protocol not in (IPPROTO_IP, IPPROTO_TCP):
            raise LinuxError(EPROTONOSUPPORT)
        return TcpSocket(kernel, new_inode(kernel, task), 0, family)
    if kind == SOCK_DGRAM:
        if protocol in (IPPROTO_IP, IPPROTO_UDP, IPPROTO_UDPLITE):
            return UdpSocket(kernel, new_inode(kernel, task), 0, family, protocol or IPPROTO_UDP)
        if protocol == (IPPROTO_ICMPV6 if family == AF_INET6 else IPPROTO_ICMP):
            return PingSocket(kernel, new_inode(kernel, task), 0, family)
        raise LinuxError(EPROTONOSUPPORT)
    if kind == SOCK_RAW:
        if protocol == IPPROTO_IP:
            raise LinuxError(EPROTONOSUPPORT)
        # Nothing here is made of packets.
        raise LinuxError(EPERM)
    raise LinuxError(ESOCKTNOSUPPORT)
