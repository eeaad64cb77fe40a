"""The network of a new network namespace: its own loopback, and nothing that leads out of it."""

from __future__ import annotations

from errno import EAFNOSUPPORT

from runsc.abi.socket import AF_INET, AF_INET6, AF_NETLINK
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.inet.family import inet_socket
from runsc.kernel.socket.netlink.socket import netlink_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.file import SocketFile
    from runsc.kernel.task import Task


class IsolatedNetwork:
    """Makes sockets as a network plugin does (``runsc.network.Network``)."""

    __slots__ = ()

    def socket(self, kernel: Kernel, task: Task, family: int, kind: int, protocol: int) -> SocketFile:
        """socket(2): AF_INET, AF_INET6 and AF_NETLINK; EAFNOSUPPORT for other families."""
        if family in (AF_INET, AF_INET6):
            return inet_socket(kernel, task, family, kind, protocol)
        if family == AF_NETLINK:
            return netlink_socket(kernel, task, kind, protocol)
        raise LinuxError(EAFNOSUPPORT)
