"""The entry point ``runsc.network: sandbox``."""

from __future__ import annotations

from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.network import Network
    from runsc.plugins.availability import Availability


class NetstackPlugin:
    """The plugin as the loader sees it."""

    api_version = 1
    summary = "a TCP/IP stack of its own on the links of a network namespace"

    @hookimpl
    def check_network(self) -> Availability:
        from runsc_net_netstack.network import SandboxNetwork

        return SandboxNetwork.check()

    @hookimpl
    def make_network(self, config: Config) -> Network:
        from runsc_net_netstack.network import SandboxNetwork

        return SandboxNetwork(config)
