"""``--network=sandbox``: the network of one sandbox."""

from __future__ import annotations

import os
from errno import EAFNOSUPPORT

from runsc.abi.inet import IFF_LOWER_UP
from runsc.abi.socket import AF_INET, AF_INET6, AF_NETLINK
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.devices import Address, Device, Route, devices_of
from runsc.kernel.socket.inet.family import inet_socket
from runsc.kernel.socket.inet.proc import install
from runsc.kernel.socket.netlink.socket import netlink_socket
from runsc.network import Network
from runsc.plugins.availability import Availability
from runsc_net_netstack import namespace as netns
from runsc_net_netstack.dockerdns import DockerDns
from runsc_net_netstack.host_calls import host_calls
from runsc_net_netstack.link import Arena, PacketLink
from runsc_net_netstack.netstack import NetStack
from runsc_net_netstack.sniffer import Pcap, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runsc.config import Config
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.file import SocketFile
    from runsc.kernel.task import Task
    from runsc.plugins.availability import HostCall
    from runsc_net_netstack.namespace import Namespace


class SandboxNetwork(Network):
    """The links of the network namespace that runsc is in, and the stack on them.

    ``stack`` is there once the kernel is."""

    __slots__ = ("believe", "dns", "links", "namespace", "pcap", "stack", "words")

    name = "sandbox"

    def __init__(self, config: Config) -> None:
        """Raises ``RunscError``."""
        netlink, self.namespace = netns.enter()
        self.links: list[PacketLink] = []
        self.stack: NetStack | None = None
        self.believe = config.rx_checksum_offload
        self.pcap: Pcap | None = None
        self.dns: DockerDns | None = None
        self.words = config.log_packets
        try:
            if config.pcap_log:
                self.pcap = Pcap(config.pcap_log)
            if self.namespace.docker_dns:
                self.dns = DockerDns()
            if self.namespace.links:
                arena = Arena()
                for link in self.namespace.links:
                    self.links.append(
                        PacketLink(link, arena, config.gso, config.tx_checksum_offload)
                    )
            netns.take_over(netlink, self.namespace)
        except BaseException:
            self.close()
            raise
        finally:
            netlink.close()

    @classmethod
    def check(cls) -> Availability:
        if netns.is_the_hosts_own():
            return Availability.yes("in a network namespace of its own only, and this is the host's")
        if os.geteuid():
            return Availability.yes("needs CAP_NET_RAW and CAP_NET_ADMIN in the network namespace")
        return Availability.yes()

    @classmethod
    def host_calls(cls) -> Sequence[HostCall]:
        return host_calls()

    def start(self, kernel: Kernel) -> None:
        _enter_devices(kernel, self.namespace, self.links)
        install(kernel)
        self.stack = NetStack(kernel, self.links, self.namespace, self.believe, self.dns)
        for link in self.links:
            if self.pcap is not None:
                link.taps.append(self.pcap)
            if self.words:
                link.taps.append(Words(kernel.log.info))
        self.stack.start()

    def socket(self, kernel: Kernel, task: Task, family: int, kind: int, protocol: int) -> SocketFile:
        if family in (AF_INET, AF_INET6):
            return inet_socket(kernel, task, family, kind, protocol)
        if family == AF_NETLINK:
            return netlink_socket(kernel, task, kind, protocol)
        raise LinuxError(EAFNOSUPPORT)

    def close(self) -> None:
        if self.stack is not None:
            self.stack.close()
        for link in self.links:
            link.close()
        if self.dns is not None:
            self.dns.close()
        if self.pcap is not None:
            self.pcap.close()


def _counters(link: PacketLink) -> Callable[[], tuple[int, int, int, int]]:
    return lambda: (link.in_packets, link.in_octets, link.out_packets, link.out_octets)


def _enter_devices(kernel: Kernel, namespace: Namespace, links: list[PacketLink]) -> None:
    """Interfaces, addresses and routes, for those who ask."""
    devices = devices_of(kernel)
    for found, link in zip(namespace.links, links, strict=True):
        device = Device(
            found.index, found.name, found.type, found.flags | IFF_LOWER_UP, found.mtu, found.hardware,
            found.broadcast, found.txqlen,
        )  # fmt: skip
        device.addresses = [
            Address(address.ip, address.prefix, address.scope, address.broadcast)
            for address in namespace.addresses
            if address.index == found.index
        ]
        device.counters = _counters(link)
        devices.devices.append(device)
    for route in namespace.routes:
        size = 4 if route.family == AF_INET else 16
        devices.routes.append(
            Route(
                route.network or bytes(size), route.prefix, route.index, route.kind, route.table, route.scope,
                route.source, route.gateway, route.priority,
            )
        )  # fmt: skip
