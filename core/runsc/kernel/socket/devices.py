"""Network interfaces as programs see them: through ioctl(2) (netdevice(7)), rtnetlink(7) and /proc/net.

A network plugin fills the list; without one there is the loopback alone.
"""

from __future__ import annotations

from runsc.abi.inet import ARPHRD_LOOPBACK, IFF_LOOPBACK, IFF_LOWER_UP, IFF_RUNNING, IFF_UP
from runsc.abi.socket import AF_INET, AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import NetNamespace

# Scopes of addresses and routes (linux/rtnetlink.h).
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RT_SCOPE_HOST = 254
# Tables, kinds and makers of routes.
RT_TABLE_DEFAULT = 253
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255
RTN_UNICAST = 1
RTN_LOCAL = 2
RTN_BROADCAST = 3
RTPROT_KERNEL = 2


class Address:
    """An address of an interface: ``ip`` has 4 or 16 bytes; ``prefix``: bits of its network."""

    __slots__ = ("broadcast", "family", "ip", "prefix", "scope")

    def __init__(self, ip: bytes, prefix: int, scope: int, broadcast: bytes = b"") -> None:
        self.family = AF_INET if len(ip) == 4 else AF_INET6
        self.ip = ip
        self.prefix = prefix
        self.scope = scope
        self.broadcast = broadcast


class Route:
    """A route through the interface with number ``index``; an empty ``gateway`` is a direct one."""

    __slots__ = (
        "family", "gateway", "index", "kind", "network", "prefix", "priority", "scope", "source", "table",
    )  # fmt: skip

    def __init__(
        self, network: bytes, prefix: int, index: int, kind: int = RTN_UNICAST, table: int = RT_TABLE_MAIN,
        scope: int = RT_SCOPE_UNIVERSE, source: bytes = b"", gateway: bytes = b"", priority: int = 0,
    ) -> None:  # fmt: skip
        self.family = AF_INET if len(network) == 4 else AF_INET6
        self.network = network
        self.prefix = prefix
        self.index = index
        self.kind = kind
        self.table = table
        self.scope = scope
        self.source = source
        self.gateway = gateway
        self.priority = priority


class Device:
    """A network interface. ``counters``: received packets and bytes, sent packets and bytes."""

    __slots__ = (
        "addresses", "broadcast", "counters", "flags", "hardware", "index", "mtu", "name", "txqlen", "type",
    )  # fmt: skip

    def __init__(
        self, index: int, name: bytes, kind: int, flags: int, mtu: int, hardware: bytes, broadcast: bytes,
        txqlen: int = 1000,
    ) -> None:  # fmt: skip
        self.index = index
        self.name = name
        self.type = kind
        self.flags = flags
        self.mtu = mtu
        self.hardware = hardware
        self.broadcast = broadcast
        self.txqlen = txqlen
        self.addresses: list[Address] = []
        self.counters: Callable[[], tuple[int, int, int, int]] = lambda: (0, 0, 0, 0)

    def netmask(self, address: Address) -> bytes:
        """The mask of an IPv4 address's network."""
        return (0xFFFFFFFF << (32 - address.prefix) & 0xFFFFFFFF).to_bytes(4, "big")


class Devices:
    """The interfaces and routes of one kernel."""

    __slots__ = ("devices", "routes")

    def __init__(self) -> None:
        self.devices: list[Device] = [loopback_device()]
        home = b"\x7f\0\0\1"
        host = (RT_TABLE_LOCAL, RT_SCOPE_HOST, home)
        self.routes: list[Route] = [
            Route(b"\x7f\0\0\0", 8, 1, RTN_LOCAL, *host),
            Route(home, 32, 1, RTN_LOCAL, *host),
            Route(b"\x7f\xff\xff\xff", 32, 1, RTN_BROADCAST, RT_TABLE_LOCAL, RT_SCOPE_LINK, home),
            Route(bytes(15) + b"\1", 128, 1, RTN_LOCAL, RT_TABLE_LOCAL),
        ]

    def start_down(self) -> None:
        """As in a network namespace that is new: the loopback is there, but down and without addresses."""
        self.devices[0].flags = IFF_LOOPBACK
        self.devices[0].addresses = []
        self.routes = []

    def by_name(self, name: bytes) -> Device | None:
        for device in self.devices:
            if device.name == name:
                return device
        return None

    def by_index(self, index: int) -> Device | None:
        for device in self.devices:
            if device.index == index:
                return device
        return None


def loopback_device() -> Device:
    """lo, with its addresses."""
    flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP
    device = Device(1, b"lo", ARPHRD_LOOPBACK, flags, 65536, bytes(6), bytes(6))
    device.addresses = [
        Address(b"\x7f\0\0\1", 8, RT_SCOPE_HOST),
        Address(bytes(15) + b"\1", 128, RT_SCOPE_HOST),
    ]
    return device


def devices_of(net: Kernel | NetNamespace) -> Devices:
    """The interfaces of a network namespace; of a kernel's first one."""
    found: Devices | None = net.extra.get("net_devices")
    if found is None:
        found = net.extra["net_devices"] = Devices()
    return found
