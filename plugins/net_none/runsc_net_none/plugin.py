"""``--network=none``: the entry point, and the whole plugin."""

from __future__ import annotations

from errno import EAFNOSUPPORT

from runsc.kernel.errors import LinuxError
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
    """Has no protocol family at all: a guest sees a kernel built without networking."""

    __slots__ = ()

    name = "none"

    @classmethod
    def check(cls) -> Availability:
        return Availability.yes()

    def socket(self, kernel: Kernel, task: Task, family: int, kind: int, protocol: int) -> SocketFile:
        """socket(2) of a family that isn't there: EAFNOSUPPORT, whatever the rest says."""
        raise LinuxError(EAFNOSUPPORT)

    def close(self) -> None:
        """There is nothing to give back."""


class NonePlugin:
    """The plugin as the loader sees it."""

    api_version = 1
    summary = "no network but local sockets"

    @hookimpl
    def check_network(self) -> Availability:
        return NoNetwork.check()

    @hookimpl
    def make_network(self, config: Config) -> Network:
        return NoNetwork()
