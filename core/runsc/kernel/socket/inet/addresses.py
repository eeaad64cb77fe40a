"""Internet addresses: those in socket addresses, and how they relate.

Inside the kernel an address is 16 bytes, IPv4 ones as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so that sockets of
both families meet; an endpoint is an address and a port in host order.
"""

from __future__ import annotations

from errno import EAFNOSUPPORT, EINVAL

from runsc.abi.inet import SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_IN6_MIN
from runsc.abi.socket import AF_INET, AF_INET6, AF_UNSPEC
from runsc.kernel.errors import LinuxError

#: An address and a port.
Endpoint = tuple[bytes, int]

MAPPED = bytes(10) + b"\xff\xff"
ANY4 = MAPPED + bytes(4)
ANY6 = bytes(16)
LOOPBACK4 = MAPPED + b"\x7f\0\0\1"
LOOPBACK6 = bytes(15) + b"\1"
#: 255.255.255.255, and what the loopback's own network has.
LIMITED_BROADCAST = MAPPED + b"\xff\xff\xff\xff"
NET_BROADCAST = MAPPED + b"\x7f\xff\xff\xff"

_INET = AF_INET.to_bytes(2, "little")
_INET6 = AF_INET6.to_bytes(2, "little")

#: What an address is to the stack: its own, or to be reached by a wire (RTN_*).
LOCAL, BROADCAST, MULTICAST, UNREACHABLE, REMOTE = range(5)


def family_of(address: bytes) -> int:
    """The family of a socket address; raises EINVAL if it is too short to have one."""
    if len(address) < 2:
        raise LinuxError(EINVAL)
    return int.from_bytes(address[:2], "little")


def is_v4(ip: bytes) -> bool:
    return ip[:12] == MAPPED


def is_any(ip: bytes) -> bool:
    return ip in (ANY4, ANY6)


def is_multicast(ip: bytes) -> bool:
    return ip[12] & 0xF0 == 0xE0 if ip[:12] == MAPPED else ip[0] == 0xFF


def is_link_local(ip: bytes) -> bool:
    """fe80::/10: such an address wants an interface to be of any use."""
    return ip[0] == 0xFE and ip[1] & 0xC0 == 0x80


def kind_of(ip: bytes) -> int:
    """What the loopback makes of a destination."""
    if ip[:12] == MAPPED:
        if ip[12] == 127:
            return BROADCAST if ip == NET_BROADCAST else LOCAL
        return MULTICAST if ip[12] & 0xF0 == 0xE0 else UNREACHABLE
    if ip == LOOPBACK6:
        return LOCAL
    return MULTICAST if ip[0] == 0xFF else UNREACHABLE


def loopback_like(ip: bytes) -> bytes:
    """The loopback's address of the same family: the source for ``ip``, and what 0.0.0.0 and :: stand for."""
    return LOOPBACK4 if ip[:12] == MAPPED else LOOPBACK6


def split4(address: bytes) -> Endpoint:
    """The endpoint in a struct sockaddr_in. Raises EINVAL, EAFNOSUPPORT."""
    if len(address) < SOCKADDR_IN:
        raise LinuxError(EINVAL)
    if address[:2] != _INET:
        raise LinuxError(EAFNOSUPPORT)
    return MAPPED + address[4:8], int.from_bytes(address[2:4], "big")


def split6(address: bytes) -> Endpoint:
    """The endpoint in a struct sockaddr_in6. Raises EINVAL, EAFNOSUPPORT."""
    if len(address) < SOCKADDR_IN6_MIN:
        raise LinuxError(EINVAL)
    if address[:2] != _INET6:
        raise LinuxError(EAFNOSUPPORT)
    return address[8:24], int.from_bytes(address[2:4], "big")


def scope_of(address: bytes) -> int:
    """The scope (an interface) in a struct sockaddr_in6, 0 for none."""
    return int.from_bytes(address[24:28], "little") if len(address) >= SOCKADDR_IN6 else 0


def join4(ip: bytes, port: int) -> bytes:
    """A struct sockaddr_in."""
    return _INET + port.to_bytes(2, "big") + ip[12:] + bytes(8)


def join6(ip: bytes, port: int, scope: int = 0) -> bytes:
    """A struct sockaddr_in6."""
    return _INET6 + port.to_bytes(2, "big") + bytes(4) + ip + scope.to_bytes(4, "little")


def unspecified(address: bytes) -> bool:
    """Is it the AF_UNSPEC that dissolves an association?"""
    return family_of(address) == AF_UNSPEC


def overlap(first: bytes, first_only6: bool, second: bytes, second_only6: bool) -> bool:
    """Can one packet be for both addresses that sockets are bound to (inet_rcv_saddr_equal)?

    ``only6``: the socket at :: takes no IPv4."""
    if first == second:
        return True
    if first == ANY6:
        return not (first_only6 and is_v4(second))
    if second == ANY6:
        return not (second_only6 and is_v4(first))
    if first == ANY4:
        return is_v4(second)
    return second == ANY4 and is_v4(first)
