"""Which socket options reach the host's kernel, and which a guest must be privileged for.

An option is here if its value has no pointers in it, if it can't make a host call block or spin, and if what
it does concerns the one socket. The host answers it then, as it would answer any program: sizes, ranges and
errors are Linux's own. The others are ENOPROTOOPT.
"""

from __future__ import annotations

from runsc.abi.socket import (
    SO_ACCEPTCONN,
    SO_BINDTODEVICE,
    SO_BROADCAST,
    SO_BSDCOMPAT,
    SO_DEBUG,
    SO_DOMAIN,
    SO_DONTROUTE,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_MARK,
    SO_NO_CHECK,
    SO_OOBINLINE,
    SO_PASSCRED,
    SO_PASSSEC,
    SO_PEEK_OFF,
    SO_PEERCRED,
    SO_PRIORITY,
    SO_PROTOCOL,
    SO_RCVBUF,
    SO_RCVLOWAT,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_SNDBUF,
    SO_SNDLOWAT,
    SO_TIMESTAMP,
    SO_TIMESTAMPNS,
    SO_TYPE,
    SOL_SOCKET,
)  # fmt: skip
from runsc.kernel.credentials import CAP_NET_ADMIN, CAP_NET_RAW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SOL_IP = 0
SOL_TCP = 6
SOL_UDP = 17
SOL_IPV6 = 41
SOL_ICMPV6 = 58
SOL_RAW = 255
SOL_NETLINK = 270

# Options that are named elsewhere in this package (linux/in.h, linux/in6.h, asm-generic/socket.h).
SO_TIMESTAMPING = 37
SO_RXQ_OVFL = 40
IP_TOS = 1
IP_TTL = 2
IP_PKTINFO = 8
IP_TRANSPARENT = 19
IPV6_FLOWINFO = 11
IPV6_PKTINFO = 50
IPV6_HOPLIMIT = 52
IPV6_DONTFRAG = 62
IPV6_TCLASS = 67
IPV6_TRANSPARENT = 75
UDP_SEGMENT = 103

GET = 1
SET = 2
BOTH = GET | SET
_INT = 4


class Option:
    """``access``: GET, SET or both; ``size``: the most bytes of a value that mean anything; ``caps``: one of
    these is needed to set it, besides what the host asks (None: no)."""

    __slots__ = ("access", "caps", "size")

    def __init__(self, access: int, size: int, caps: tuple[int, ...] | None = None) -> None:
        self.access = access
        self.size = size
        self.caps = caps


_MARKING = (CAP_NET_ADMIN, CAP_NET_RAW)


def _ints(level: int, names: Iterable[int]) -> dict[tuple[int, int], Option]:
    return {(level, name): Option(BOTH, _INT) for name in names}


OPTIONS: dict[tuple[int, int], Option] = {
    **_ints(SOL_SOCKET, (
        SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_NO_CHECK, SO_REUSEPORT,
        SO_SNDBUF, SO_RCVBUF, SO_RCVLOWAT, SO_SNDLOWAT, SO_BSDCOMPAT, SO_TIMESTAMP, SO_TIMESTAMPNS,
        SO_PEEK_OFF, SO_PASSCRED, SO_PASSSEC, SO_RXQ_OVFL,
        49,  # SO_INCOMING_CPU
        SO_TYPE, SO_PROTOCOL, SO_DOMAIN, SO_ACCEPTCONN, SO_ERROR,  # to set them is ENOPROTOOPT, says the host
        63, 64,  # SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW
    )),
    (SOL_SOCKET, SO_DEBUG): Option(BOTH, _INT, (CAP_NET_ADMIN,)),
    (SOL_SOCKET, SO_MARK): Option(BOTH, _INT, _MARKING),
    (SOL_SOCKET, SO_PRIORITY): Option(BOTH, _INT),
    (SOL_SOCKET, SO_PEERCRED): Option(GET, 12),
    (SOL_SOCKET, SO_BINDTODEVICE): Option(BOTH, 16),
    (SOL_SOCKET, SO_TIMESTAMPING): Option(BOTH, 8),
    (SOL_SOCKET, 65): Option(BOTH, 8),  # SO_TIMESTAMPING_NEW
    (SOL_SOCKET, 47): Option(BOTH, 8),  # SO_MAX_PACING_RATE
    (SOL_SOCKET, 55): Option(GET, 36),  # SO_MEMINFO
    (SOL_SOCKET, 56): Option(GET, _INT),  # SO_INCOMING_NAPI_ID
    (SOL_SOCKET, 57): Option(GET, 8),  # SO_COOKIE
    **_ints(SOL_IP, (
        IP_TOS, IP_TTL, 3,  # IP_HDRINCL
        5, 6, 7, IP_PKTINFO,  # ROUTER_ALERT, RECVOPTS, RETOPTS
        10, 11, 12, 13, 14, 15,  # MTU_DISCOVER, RECVERR, RECVTTL, RECVTOS, MTU, FREEBIND
        20, 21, 22, 23, 24, 25,  # RECVORIGDSTADDR, MINTTL, NODEFRAG, CHECKSUM, BIND_ADDRESS_NO_PORT, FRAGSIZE
        18, 26,  # PASSSEC, RECVERR_RFC4884
        33, 34, 49, 50, 51,  # MULTICAST_TTL, _LOOP, _ALL, UNICAST_IF, LOCAL_PORT_RANGE
    )),
    (SOL_IP, 4): Option(GET, 40),  # IP_OPTIONS: source routes are not for guests
    (SOL_IP, IP_TRANSPARENT): Option(BOTH, _INT, _MARKING),
    (SOL_IP, 32): Option(BOTH, 12),  # IP_MULTICAST_IF
    (SOL_IP, 35): Option(SET, 12),  # IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP
    (SOL_IP, 36): Option(SET, 12),
    (SOL_IP, 37): Option(SET, 12),  # IP_UNBLOCK_SOURCE and the other three for sources
    (SOL_IP, 38): Option(SET, 12),
    (SOL_IP, 39): Option(SET, 12),
    (SOL_IP, 40): Option(SET, 12),
    (SOL_IP, 42): Option(SET, 136),  # MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP
    (SOL_IP, 45): Option(SET, 136),
    (SOL_IP, 52): Option(GET, _INT),  # IP_PROTOCOL
    (SOL_IP, 80): Option(GET, 16),  # SO_ORIGINAL_DST
    **_ints(SOL_IPV6, (
        7, 8, IPV6_FLOWINFO, 16, 17, 18, 19,  # CHECKSUM, HOPLIMIT, UNICAST_HOPS, MULTICAST_IF..._LOOP
        23, 24, 25, 26, 29,  # MTU_DISCOVER, MTU, RECVERR, V6ONLY, MULTICAST_ALL
        33, 49, 51, IPV6_HOPLIMIT, 56, 60,  # FLOWINFO_SEND, RECVPKTINFO, RECVHOPLIMIT, RECVRTHDR, RECVPATHMTU
        IPV6_DONTFRAG, 66, IPV6_TCLASS, 70, 72, 73,  # RECVTCLASS, AUTOFLOWLABEL, ADDR_PREFERENCES...
        74, 76, 77, 78,  # ORIGDSTADDR, UNICAST_IF, RECVFRAGSIZE, FREEBIND
        31,  # RECVERR_RFC4884
    )),
    (SOL_IPV6, 20): Option(SET, 20),  # IPV6_JOIN_GROUP, IPV6_LEAVE_GROUP
    (SOL_IPV6, 21): Option(SET, 20),
    (SOL_IPV6, 42): Option(SET, 136),  # MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP
    (SOL_IPV6, 45): Option(SET, 136),
    (SOL_IPV6, IPV6_PKTINFO): Option(BOTH, 20),
    (SOL_IPV6, 61): Option(GET, 32),  # IPV6_PATHMTU
    (SOL_IPV6, IPV6_TRANSPARENT): Option(BOTH, _INT, _MARKING),
    (SOL_IPV6, 80): Option(GET, 28),  # IP6T_SO_ORIGINAL_DST
    **_ints(SOL_TCP, (
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12,  # NODELAY to WINDOW_CLAMP, QUICKACK
        16, 17, 18, 23, 24, 25, 27, 34, 36, 37,  # THIN_LINEAR_TIMEOUTS ... FASTOPEN, SAVE_SYN, INQ, TX_DELAY
    )),
    (SOL_TCP, 11): Option(GET, 512),  # TCP_INFO
    (SOL_TCP, 13): Option(BOTH, 16),  # TCP_CONGESTION
    (SOL_TCP, 26): Option(GET, 64),  # TCP_CC_INFO
    (SOL_TCP, 28): Option(GET, 512),  # TCP_SAVED_SYN
    **_ints(SOL_UDP, (1, 101, 102, UDP_SEGMENT, 104)),  # CORK, NO_CHECK6_TX, NO_CHECK6_RX, GRO
    (SOL_RAW, 1): Option(BOTH, 4),  # ICMP_FILTER
    (SOL_ICMPV6, 1): Option(BOTH, 32),  # ICMPV6_FILTER
    **_ints(SOL_NETLINK, (1, 2, 3, 4, 10, 11, 12)),  # memberships, PKTINFO, errors, ACKs, checks
    (SOL_NETLINK, 9): Option(GET, 64),  # NETLINK_LIST_MEMBERSHIPS
}  # fmt: skip


def names_by_level(access: int) -> dict[int, list[int]]:
    """The names that may be used with ``access`` (GET or SET), by level."""
    found: dict[int, list[int]] = {}
    for (level, name), option in OPTIONS.items():
        if option.access & access:
            found.setdefault(level, []).append(name)
    return found
