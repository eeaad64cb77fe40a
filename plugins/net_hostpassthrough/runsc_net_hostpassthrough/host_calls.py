"""The host system calls of the network, for the jail's allow-list."""

from __future__ import annotations

from runsc.abi.socket import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    SIOCGIFCONF,
    SO_LINGER,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_SOCKET,
)  # fmt: skip
from runsc.plugins.availability import HostCall, int_argument
from runsc_net_hostpassthrough.ioctls import INTERFACE, NUMBERS
from runsc_net_hostpassthrough.netlink import NETLINK_ROUTE
from runsc_net_hostpassthrough.options import GET, SET, names_by_level

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: SOCK_CLOEXEC | SOCK_NONBLOCK
NEW = 0o2004000
_IPPROTO_TCP, _IPPROTO_UDP, _IPPROTO_ICMP, _IPPROTO_ICMPV6 = 6, 17, 1, 58


def host_calls() -> Sequence[HostCall]:
    """The list. Sockets of the host's other families (local ones above all) can't be made."""
    return tuple(_calls())


def _calls() -> Iterator[HostCall]:
    families = int_argument(0, AF_INET, AF_INET6)
    why = "a guest made a socket"
    yield HostCall(
        "socket", why, families, int_argument(1, SOCK_STREAM | NEW), int_argument(2, 0, _IPPROTO_TCP)
    )
    yield HostCall(
        "socket", why, families, int_argument(1, SOCK_DGRAM | NEW),
        int_argument(2, 0, _IPPROTO_UDP, _IPPROTO_ICMP, _IPPROTO_ICMPV6),
    )  # fmt: skip
    yield HostCall("socket", "a privileged guest made one", families, int_argument(1, SOCK_RAW | NEW))
    yield HostCall(
        "socket", "a guest asks for interfaces, addresses or routes", int_argument(0, AF_NETLINK),
        int_argument(1, SOCK_RAW | NEW, SOCK_DGRAM | NEW), int_argument(2, NETLINK_ROUTE),
    )  # fmt: skip
    yield HostCall("bind", "name a guest's socket")
    yield HostCall("connect", "connect a guest's socket, or learn how that ended")
    yield HostCall("listen", "a guest's server")
    yield HostCall("accept4", "a guest's server", int_argument(3, NEW))
    yield HostCall("shutdown", "end one direction of a guest's connection")
    yield HostCall("getsockname", "addresses of a guest's socket")
    yield HostCall("getpeername", "addresses of a guest's socket")
    yield HostCall("sendto", "what guests send")
    yield HostCall("sendmsg", "what guests send, with addresses and control messages")
    yield HostCall("recvfrom", "what guests receive")
    yield HostCall("recvmsg", "what guests receive, with addresses and control messages")
    yield HostCall("read", "what guests receive, and the tables of /proc/net")
    yield HostCall("lseek", "the tables of /proc/net")
    yield HostCall("fstat", "a socket's inode number, as /proc/net has it")
    yield HostCall("poll", "is a guest's socket ready?")
    yield HostCall("close", "a guest's socket")
    yield HostCall(
        "ioctl", "lengths of queues; interfaces and their addresses, to be read",
        int_argument(1, *NUMBERS, *INTERFACE, SIOCGIFCONF),
    )  # fmt: skip
    for level, names in names_by_level(SET).items():
        extra = (SO_LINGER,) if level == SOL_SOCKET else ()
        yield HostCall(
            "setsockopt", "options of guest sockets", int_argument(1, level), int_argument(2, *names, *extra)
        )
    for level, names in names_by_level(GET).items():
        yield HostCall(
            "getsockopt", "options of a guest's socket", int_argument(1, level), int_argument(2, *names)
        )
