"""Ancillary data of datagrams: packet information, time stamps, and the error queue (ip(7), ipv6(7),
socket(7)).
"""

from __future__ import annotations

from errno import EINVAL, ENODEV

from runsc.abi.inet import (
    EXTENDED_ERR,
    IN6_PKTINFO,
    IN_PKTINFO,
    IP_MULTICAST_ALL,
    IP_MULTICAST_LOOP,
    IP_MULTICAST_TTL,
    IP_PKTINFO,
    IP_RECVERR,
    IP_RECVORIGDSTADDR,
    IP_RECVTOS,
    IP_RECVTTL,
    IP_TOS,
    IP_TTL,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_UDP,
    IPV6_HOPLIMIT,
    IPV6_MULTICAST_ALL,
    IPV6_MULTICAST_HOPS,
    IPV6_MULTICAST_LOOP,
    IPV6_PKTINFO,
    IPV6_RECVERR,
    IPV6_RECVHOPLIMIT,
    IPV6_RECVPKTINFO,
    IPV6_RECVTCLASS,
    IPV6_TCLASS,
    IPV6_UNICAST_HOPS,
    SO_EE_ORIGIN_ICMP,
    SO_EE_ORIGIN_ICMP6,
    UDP_SEGMENT,
)  # fmt: skip
from runsc.abi.socket import CMSGHDR, MSG_ERRQUEUE, SO_TIMESTAMP, SO_TIMESTAMPNS, SOL_SOCKET
from runsc.abi.time import NSEC_PER_SEC, TIMESPEC, TIMEVAL
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.devices import devices_of
from runsc.kernel.socket.file import Received
from runsc.kernel.socket.inet.addresses import (
    ANY4,
    LOCAL,
    MAPPED,
    is_any,
    is_multicast,
    is_v4,
    join4,
    join6,
    loopback_like,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.datagram import Datagram, DatagramSocket
    from runsc.kernel.socket.scm import Ancillary
    from runsc.kernel.task import Task

#: The loopback's interface number.
_LO = 1


def message(level: int, kind: int, data: bytes) -> bytes:
    """One control message, padded."""
    whole = CMSGHDR.pack(CMSGHDR.size + len(data), level, kind) + data
    return whole.ljust((len(whole) + 7) & ~7, b"\0")


def build(socket: DatagramSocket, found: Datagram) -> bytes:
    """What the socket asked to be told of a datagram."""
    out = b""
    options, levels = socket.options, socket.levels
    if options.get(SO_TIMESTAMPNS):
        stamp = TIMESPEC.pack(*divmod(found.stamp, NSEC_PER_SEC))
        out += message(SOL_SOCKET, SO_TIMESTAMPNS, stamp)
    elif options.get(SO_TIMESTAMP):
        stamp = TIMEVAL.pack(found.stamp // NSEC_PER_SEC, found.stamp % NSEC_PER_SEC // 1000)
        out += message(SOL_SOCKET, SO_TIMESTAMP, stamp)
    if not levels:
        return out
    v4 = is_v4(found.source[0])
    destination = found.destination
    if socket.v6:
        if levels.get((IPPROTO_IPV6, IPV6_RECVPKTINFO)):
            out += message(IPPROTO_IPV6, IPV6_PKTINFO, IN6_PKTINFO.pack(destination[0], found.index))
        if not v4:
            if levels.get((IPPROTO_IPV6, IPV6_RECVHOPLIMIT)):
                out += message(IPPROTO_IPV6, IPV6_HOPLIMIT, found.ttl.to_bytes(4, "little"))
            if levels.get((IPPROTO_IPV6, IPV6_RECVTCLASS)):
                out += message(IPPROTO_IPV6, IPV6_TCLASS, found.tclass.to_bytes(4, "little"))
    if v4:
        if levels.get((IPPROTO_IP, IP_PKTINFO)):
            own = _specific(socket, destination[0], found.index)
            info = IN_PKTINFO.pack(found.index, own[12:], destination[0][12:])
            out += message(IPPROTO_IP, IP_PKTINFO, info)
        if levels.get((IPPROTO_IP, IP_RECVTTL)):
            out += message(IPPROTO_IP, IP_TTL, found.ttl.to_bytes(4, "little"))
        if levels.get((IPPROTO_IP, IP_RECVTOS)):
            out += message(IPPROTO_IP, IP_TOS, bytes((found.tclass,)))
        if levels.get((IPPROTO_IP, IP_RECVORIGDSTADDR)):
            out += message(IPPROTO_IP, IP_RECVORIGDSTADDR, join4(*destination))
    return out


def _specific(socket: DatagramSocket, ip: bytes, index: int) -> bytes:
    """The own address that stands for a destination (ipi_spec_dst)."""
    stack = socket.stack
    if stack.kind_of(ip) == LOCAL:
        return ip
    if index > 1 and stack.wire is not None:
        return stack.wire.address_of(index, True) or ANY4
    return loopback_like(ANY4)


def error_message(
    socket: DatagramSocket, target: Endpoint, data: bytes, errno: int, reason: tuple[int, int],
    offender: bytes, info: int = 0,
) -> Received:  # fmt: skip
    """An entry of the error queue: the datagram that failed, where it went, why (type and code of ICMP), and
    who said so."""
    if is_v4(target[0]):
        told = EXTENDED_ERR.pack(errno, SO_EE_ORIGIN_ICMP, *reason, 0, info, 0)
        who = join4(offender, 0)
        level, kind = IPPROTO_IP, IP_RECVERR
    else:
        told = EXTENDED_ERR.pack(errno, SO_EE_ORIGIN_ICMP6, *reason, 0, info, 0)
        who = join6(offender, 0)
        level, kind = IPPROTO_IPV6, IPV6_RECVERR
    entry = Received(data, len(data), socket.join(target), MSG_ERRQUEUE)
    entry.control = message(level, kind, told + who)
    return entry


def hears(socket: DatagramSocket, ip: bytes, index: int = _LO) -> bool:
    """Does a multicast to ``ip`` reach the socket: is it a member, or takes it all there is?"""
    joined = socket.groups()
    if joined and (ip, index) in joined:
        return True
    if not is_v4(ip):
        return bool(socket.levels.get((IPPROTO_IPV6, IPV6_MULTICAST_ALL), 1)) and _anybody(socket, ip, index)
    return bool(socket.levels.get((IPPROTO_IP, IP_MULTICAST_ALL), 1)) and _anybody(socket, ip, index)


def _anybody(socket: DatagramSocket, ip: bytes, index: int) -> bool:
    """Is any socket of the host a member? Else the interface wouldn't take it."""
    return any(
        (ip, index) in (owner.groups() or ())  # type: ignore[attr-defined]
        for owners in socket.stack.udp.owners.values()
        for owner in owners
    )


class Sending:
    """How a datagram is sent: the socket's options, and what its control messages say instead.

    ``source``: the own address, b"" for the usual one; ``index``: the interface, 0 for any; ``segment``: the
    size that the data is cut to, 0 for none.
    """

    __slots__ = ("index", "segment", "socket", "source", "tclass", "ttl")

    def __init__(self, socket: DatagramSocket) -> None:
        levels = socket.levels
        self.socket = socket
        self.source = b""
        self.index = 0
        self.ttl = 64
        self.tclass = 0
        self.segment = 0
        if levels:
            remote = socket.remote
            many = remote is not None and is_multicast(remote[0])
            if socket.v6:
                self.ttl = levels.get((IPPROTO_IPV6, IPV6_MULTICAST_HOPS if many else IPV6_UNICAST_HOPS), 64)
                self.tclass = levels.get((IPPROTO_IPV6, IPV6_TCLASS), 0)
            else:
                self.ttl = levels.get((IPPROTO_IP, IP_MULTICAST_TTL if many else IP_TTL), 64)
                self.tclass = levels.get((IPPROTO_IP, IP_TOS), 0)
            self.segment = levels.get((IPPROTO_UDP, UDP_SEGMENT), 0)

    def read(self, task: Task, scm: Ancillary) -> None:
        """Take over what control messages say (ip_cmsg_send, udp_cmsg_send). Raises EINVAL, ENODEV."""
        for level, kind, data in scm.others:
            if level == IPPROTO_IP and kind == IP_PKTINFO:
                if len(data) != IN_PKTINFO.size:
                    raise LinuxError(EINVAL)
                self.index, own, _ = IN_PKTINFO.unpack(data)
                self._use(MAPPED + own)
            elif level == IPPROTO_IPV6 and kind == IPV6_PKTINFO and self.socket.v6:
                if len(data) < IN6_PKTINFO.size:
                    raise LinuxError(EINVAL)
                own, self.index = IN6_PKTINFO.unpack(data[: IN6_PKTINFO.size])
                self._use(own)
            elif level == IPPROTO_IP and kind in (IP_TTL, IP_TOS):
                number = int.from_bytes(data[:4], "little", signed=True)
                if len(data) not in (1, 4) or not (0 if kind == IP_TOS else 1) <= number <= 255:
                    raise LinuxError(EINVAL)
                if kind == IP_TTL:
                    self.ttl = number
                else:
                    self.tclass = number
            elif level == IPPROTO_IPV6 and kind in (IPV6_HOPLIMIT, IPV6_TCLASS) and self.socket.v6:
                number = int.from_bytes(data[:4], "little", signed=True)
                if len(data) != 4 or not -1 <= number <= 255:
                    raise LinuxError(EINVAL)
                if number >= 0 and kind == IPV6_HOPLIMIT:
                    self.ttl = number
                elif number >= 0:
                    self.tclass = number
            elif level == IPPROTO_UDP and kind == UDP_SEGMENT:
                if len(data) != 2:
                    raise LinuxError(EINVAL)
                self.segment = int.from_bytes(data, "little")
            elif level in (IPPROTO_IP, IPPROTO_UDP) or (level == IPPROTO_IPV6 and self.socket.v6):
                raise LinuxError(EINVAL)

    def loops(self) -> bool:
        """Do members on this host get what is sent to a group (IP_MULTICAST_LOOP)?"""
        levels = self.socket.levels
        if self.socket.v6:
            return bool(levels.get((IPPROTO_IPV6, IPV6_MULTICAST_LOOP), 1))
        return bool(levels.get((IPPROTO_IP, IP_MULTICAST_LOOP), 1))

    def _use(self, own: bytes) -> None:
        if self.index and devices_of(self.socket.kernel).by_index(self.index) is None:
            raise LinuxError(ENODEV)
        if is_any(own):
            return
        if self.socket.stack.kind_of(own) != LOCAL:
            raise LinuxError(EINVAL)
        self.source = own
