"""The network namespace that a sandbox is given: what is in it, and taking it over.

The host's own stack must not answer for the sandbox's addresses, or each connection would be reset by it. So
the addresses are taken from the interfaces once they have been read: without addresses the host has no routes
there either, and drops all that comes in. Packet sockets see every frame nevertheless.
"""

from __future__ import annotations

import os

from runsc.abi.inet import IFF_LOOPBACK, IFF_UP
from runsc.abi.socket import AF_INET, AF_INET6
from runsc.errors import RunscError
from runsc_net_netstack.rtnetlink import RtNetlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_net_netstack.rtnetlink import HostAddress, HostLink, HostNeighbour, HostRoute

#: Exists in the first network namespace of a host only.
_FIRST_ONLY = "/proc/sys/net/core/dev_weight"
_ARPHRD_ETHER = 1
#: Interfaces that belong to the one who runs a host, not to a container.
_HOSTS_KINDS = frozenset((b"bridge", b"bond", b"team", b"openvswitch"))
#: What network Docker's name server listens on (127.0.0.11), as /proc/net/udp and tcp show it.
_DOCKER_DNS = "0B00007F:"


class Namespace:
    """What was in the namespace: interfaces that are up (not the loopback), and what belongs to them."""

    __slots__ = ("addresses", "docker_dns", "links", "neighbours", "routes")

    def __init__(
        self, links: list[HostLink], addresses: list[HostAddress], routes: list[HostRoute],
        neighbours: list[HostNeighbour], docker_dns: bool,
    ) -> None:  # fmt: skip
        self.links = links
        self.addresses = addresses
        self.routes = routes
        self.neighbours = neighbours
        self.docker_dns = docker_dns


def is_the_hosts_own() -> bool:
    """Is this process in the namespace of the host, or of the container that runsc itself is in?"""
    if os.path.exists(_FIRST_ONLY):
        return True
    try:
        return os.readlink("/proc/self/ns/net") == os.readlink("/proc/1/ns/net")
    except OSError:
        return False  # process 1 can't be looked at: it is none of ours


def read(netlink: RtNetlink) -> Namespace:
    """Look at what there is. Raises ``RunscError`` for what can't be taken over, OSError."""
    links = [link for link in netlink.links() if link.flags & IFF_UP and not link.flags & IFF_LOOPBACK]
    for link in links:
        if link.kind in _HOSTS_KINDS or link.master:
            raise RunscError(
                f"this network namespace has a {link.kind.decode() or 'bridged interface'}"
                f" ({link.name.decode()}): it is a host's, and a sandbox would take its addresses away",
                "give the sandbox a network namespace of its own, or use --network=host or --network=none",
            )
    links = [link for link in links if link.type == _ARPHRD_ETHER and len(link.hardware) == 6]
    known = {link.index for link in links}
    addresses = [
        address
        for address in netlink.addresses()
        if address.index in known and address.family in (AF_INET, AF_INET6)
    ]
    routes = [route for route in netlink.routes() if route.index in known]
    neighbours = [item for item in netlink.neighbours() if item.index in known]
    return Namespace(links, addresses, routes, neighbours, _has_docker_dns())


def take_over(netlink: RtNetlink, namespace: Namespace) -> None:
    """Take the addresses from the host's stack. Raises ``RunscError``."""
    for address in namespace.addresses:
        try:
            netlink.remove(address)
        except OSError as error:
            raise RunscError(
                f"the addresses of the network namespace can't be taken over: {error.strerror}",
                "start runsc with CAP_NET_ADMIN in that namespace, or use --network=host or --network=none",
            ) from error


def enter() -> tuple[RtNetlink, Namespace]:
    """Read the namespace that this process is in. Raises ``RunscError`` if it is the host's own."""
    if is_the_hosts_own():
        raise RunscError(
            "--network=sandbox needs a network namespace of its own, and this is the host's",
            "start runsc in one ('ip netns exec NAME runsc ...'), or use --network=host or --network=none",
        )
    netlink = RtNetlink()
    try:
        return netlink, read(netlink)
    except OSError as error:
        netlink.close()
        raise RunscError(
            f"the network namespace can't be read: {error.strerror}",
            "allow netlink sockets where runsc is started, or use --network=none",
        ) from error
    except BaseException:
        netlink.close()
        raise


def _has_docker_dns() -> bool:
    """Does Docker's name server listen on this namespace's loopback?"""
    try:
        with open("/proc/self/net/udp", encoding="ascii") as file:
            return _DOCKER_DNS in file.read()
    except OSError:
        return False
