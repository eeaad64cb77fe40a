"""The entry point ``runsc.network: host``."""

from __future__ import annotations

from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.network import Network
    from runsc.plugins.availability import Availability


class HostPlugin:
    """The plugin as the loader sees it."""

    api_version = 1
    summary = "the host's own network: its interfaces, addresses and ports"

    @hookimpl
    def check_network(self) -> Availability:
        from runsc_net_hostpassthrough.network import HostNetwork

        return HostNetwork.check()

    @hookimpl
    def make_network(self, config: Config) -> Network:
        from runsc_net_hostpassthrough.network import HostNetwork

        return HostNetwork()
