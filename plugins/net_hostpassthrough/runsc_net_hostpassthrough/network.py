"""``--network=host``: makes the sockets, and holds what they share."""

from __future__ import annotations

import os
from collections import deque
from errno import EACCES, EAFNOSUPPORT, EINVAL, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT

from runsc.abi.socket import AF_INET, AF_INET6, AF_NETLINK, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM
from runsc.kernel.credentials import CAP_NET_BIND_SERVICE, CAP_NET_RAW
from runsc.kernel.errors import LinuxError
from runsc.kernel.io import CHUNK
from runsc.network import Network
from runsc.plugins.availability import Availability
from runsc_net_hostpassthrough._hostsock import ffi, lib
from runsc_net_hostpassthrough.devices import HostDevices
from runsc_net_hostpassthrough.host_calls import host_calls
from runsc_net_hostpassthrough.netlink import NETLINK_ROUTE, NetlinkSocket
from runsc_net_hostpassthrough.procnet import HostTables
from runsc_net_hostpassthrough.sock import HostSocket, failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.file import SocketFile
    from runsc.kernel.task import Task
    from runsc.plugins.availability import HostCall

IPPROTO_ICMP = 1
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_ICMPV6 = 58
_IPPROTO_MAX = 256

#: From which port on anybody may bind, where the host doesn't say.
_FIRST_FREE_PORT = 1024
#: Which groups may use ICMP datagram sockets: none (ping_group_range).
_NOBODY = (1, 0)


class HostNetwork(Network):
    """The network of the name space that runsc was started in.

    ``buffer``, ``received``: where messages of all sockets are received, one at a time (there is one
    thread); ``sockets``: those that are open, by descriptor; ``first_free_port``: below it binding needs
    CAP_NET_BIND_SERVICE; ``ping_groups``: the range of groups that may send ICMP echo requests.
    """

    __slots__ = (
        "buffer", "buffer_size", "first_free_port", "ping_groups", "received", "refused", "sockets", "tables",
    )  # fmt: skip

    name = "host"

    def __init__(self) -> None:
        self.buffer_size = CHUNK
        self.buffer = ffi.new("char[]", CHUNK)
        self.received = ffi.new("struct nh_received *")
        self.sockets: dict[int, HostSocket] = {}
        self.refused: set[tuple[int, int]] = set()
        ports = _numbers("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        self.first_free_port = ports[0] if ports else _FIRST_FREE_PORT
        groups = _numbers("/proc/sys/net/ipv4/ping_group_range")
        self.ping_groups = (groups[0], groups[1]) if len(groups) == 2 else _NOBODY
        self.tables = HostTables()

    @classmethod
    def check(cls) -> Availability:
        result = lib.nh_socket(AF_INET, SOCK_DGRAM, 0)
        if result < 0:
            return Availability.no(
                f"the host makes no Internet socket ({failure(result)})",
                "allow socket(2) where runsc is started (a seccomp filter?), or choose another --network",
            )
        os.close(result)
        result = lib.nh_socket(AF_INET6, SOCK_DGRAM, 0)
        if result < 0:
            return Availability.yes("IPv4 only: the host makes no IPv6 socket")
        os.close(result)
        return Availability.yes()

    @classmethod
    def host_calls(cls) -> Sequence[HostCall]:
        return host_calls()

    def capabilities(self) -> Sequence[int]:
        """Low ports and raw sockets, for guests that have these capabilities."""
        return (CAP_NET_BIND_SERVICE, CAP_NET_RAW)

    def start(self, kernel: Kernel) -> None:
        kernel.extra["proc_net"] = self.tables.providers()
        kernel.extra["net_devices"] = HostDevices()

    def socket(self, kernel: Kernel, task: Task, family: int, kind: int, protocol: int) -> SocketFile:
        if family == AF_NETLINK:
            return self._netlink(kernel, task, kind, protocol)
        if family not in (AF_INET, AF_INET6):
            raise LinuxError(EAFNOSUPPORT)
        self._check(task, family, kind, protocol)
        fd = lib.nh_socket(family, kind, protocol)
        if fd < 0:
            raise failure(fd)
        if protocol == 0 and kind in (SOCK_STREAM, SOCK_DGRAM):
            protocol = IPPROTO_TCP if kind == SOCK_STREAM else IPPROTO_UDP
        return HostSocket(self, kernel, task.cred, fd, family, kind, protocol)

    def _check(self, task: Task, family: int, kind: int, protocol: int) -> None:
        """May the guest have this socket (inet_create)? Raises EINVAL, ESOCKTNOSUPPORT, EPROTONOSUPPORT,
        EPERM, EACCES."""
        if not 0 <= protocol < _IPPROTO_MAX:
            raise LinuxError(EINVAL)
        if kind == SOCK_STREAM:
            if protocol not in (0, IPPROTO_TCP):
                raise LinuxError(EPROTONOSUPPORT)
        elif kind == SOCK_DGRAM:
            echo = IPPROTO_ICMP if family == AF_INET else IPPROTO_ICMPV6
            if protocol not in (0, IPPROTO_UDP, echo):
                raise LinuxError(EPROTONOSUPPORT)
            if protocol == echo and not self._may_ping(task):
                raise LinuxError(EACCES)
        elif kind == SOCK_RAW:
            if protocol == 0:
                raise LinuxError(EPROTONOSUPPORT)
            if not task.cred.capable(CAP_NET_RAW):
                raise LinuxError(EPERM)
        else:
            raise LinuxError(ESOCKTNOSUPPORT)

    def _may_ping(self, task: Task) -> bool:
        low, high = self.ping_groups
        cred = task.cred
        return low <= cred.egid <= high or any(low <= group <= high for group in cred.groups)

    def _netlink(self, kernel: Kernel, task: Task, kind: int, protocol: int) -> SocketFile:
        if kind not in (SOCK_RAW, SOCK_DGRAM):
            raise LinuxError(ESOCKTNOSUPPORT)
        if protocol != NETLINK_ROUTE:
            raise LinuxError(EPROTONOSUPPORT)
        fd = lib.nh_socket(AF_NETLINK, kind, protocol)
        if fd < 0:
            raise failure(fd)
        made = NetlinkSocket(self, kernel, task.cred, fd, AF_NETLINK, kind, protocol)
        made.answers = deque()
        return made

    def address(self) -> bytes:
        """The address in ``received``."""
        received = self.received
        return bytes(ffi.buffer(received.address, received.address_len))

    def refuse(self, kernel: Kernel, level: int, name: int) -> None:
        """Log an option that isn't on the list, the first time."""
        if (level, name) not in self.refused and len(self.refused) < 1000:
            self.refused.add((level, name))
            kernel.log.info(f"socket option {name} of level {level} is not passed to the host: ENOPROTOOPT")

    def close(self) -> None:
        for socket in list(self.sockets.values()):
            socket.release()
        self.tables.close()


def _numbers(path: str) -> list[int]:
    """The numbers in a file; none if it can't be read."""
    try:
        with open(path, encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return []
