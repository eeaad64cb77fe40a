"""``--network=none``: the entry point, and the whole plugin."""

from __future__ import annotations

from errno import EAFNOSUPPORT

from runsc.abi.socket import AF_INET, AF_INET6, AF_NETLINK
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.inet.family import inet_socket
from runsc.kernel.socket.inet.proc import install
from runsc.kernel.socket.netlink.socket import netlink_socket
from runsc.network import Network
from runsc.plugins.availability import Availability
from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.file import SocketFile
    from runsc.kernel.task import Task


class NoNetwork(Network):
    """The loopback and nothing else, as in a network namespace that nothing was put into."""

    __slots__ = ()

    name = "none"

    @classmethod
    def check(cls) -> Availability:
        return Availability.yes()

    def start(self, kernel: Kernel) -> None:
        install(kernel)

    def socket(self, kernel: Kernel, task: Task, family: int, kind: int, protocol: int) -> SocketFile:
        """socket(2): AF_INET and AF_INET6 on the kernel's loopback, and AF_NETLINK to ask about that;
        EAFNOSUPPORT for other families."""
        if family in (AF_INET, AF_INET6):
            return inet_socket(kernel, task, family, kind, protocol)
        if family == AF_NETLINK:
            return netlink_socket(kernel, task, kind, protocol)
        raise LinuxError(EAFNOSUPPORT)

    def close(self) -> None:
        """There is nothing to give back."""


class NonePlugin:
    """The plugin as the loader sees it."""

    api_version = 1
    summary = "no network but the loopback"

    @hookimpl
    def check_network(self) -> Availability:
        return NoNetwork.check()

    @hookimpl
    def make_network(self, config: Config) -> Network:
        return NoNetwork()
