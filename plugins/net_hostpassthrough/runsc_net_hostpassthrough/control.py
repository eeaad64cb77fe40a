"""Control messages that a guest sends along (cmsg(3), ip(7), ipv6(7), udp(7)): checked one by one and
written anew."""

from __future__ import annotations

from errno import EINVAL, EPERM

from runsc.abi.socket import CMSGHDR, SCM_CREDENTIALS, SCM_RIGHTS, SO_MARK, SOL_SOCKET
from runsc.kernel.credentials import CAP_NET_ADMIN, CAP_NET_RAW
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.scm import Ancillary
from runsc_net_hostpassthrough.options import (
    IP_PKTINFO,
    IP_TOS,
    IP_TTL,
    IPV6_DONTFRAG,
    IPV6_FLOWINFO,
    IPV6_HOPLIMIT,
    IPV6_PKTINFO,
    IPV6_TCLASS,
    SO_TIMESTAMPING,
    SOL_IP,
    SOL_IPV6,
    SOL_UDP,
    UDP_SEGMENT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

#: (level, type): the lengths its data may have.
_SENDABLE = {
    (SOL_SOCKET, SO_MARK): (4,),
    (SOL_SOCKET, SO_TIMESTAMPING): (4,),
    (SOL_IP, IP_TOS): (1, 4),
    (SOL_IP, IP_TTL): (4,),
    (SOL_IP, IP_PKTINFO): (12,),
    (SOL_IPV6, IPV6_PKTINFO): (20,),
    (SOL_IPV6, IPV6_HOPLIMIT): (4,),
    (SOL_IPV6, IPV6_TCLASS): (4,),
    (SOL_IPV6, IPV6_DONTFRAG): (4,),
    (SOL_IPV6, IPV6_FLOWINFO): (4,),
    (SOL_UDP, UDP_SEGMENT): (2,),
}
_LEVELS = frozenset(level for level, _ in _SENDABLE)


class HostControl(Ancillary):
    """The control messages of one message to be sent, as the host is to get them."""

    __slots__ = ("control",)

    def __init__(self, control: bytes) -> None:
        super().__init__()
        self.control = control


def checked_control(task: Task, control: bytes) -> HostControl:
    """Read a guest's control buffer (ip_cmsg_send, ip6_datagram_send_ctl, __sock_cmsg_send).

    Descriptors and credentials mean nothing to these sockets and are left out, as are levels that nobody
    looks at. Raises EINVAL, EPERM.
    """
    parts: list[bytes] = []
    at = 0
    while at + CMSGHDR.size <= len(control):
        length, level, kind = CMSGHDR.unpack_from(control, at)
        if length < CMSGHDR.size or at + length > len(control):
            raise LinuxError(EINVAL)
        data = control[at + CMSGHDR.size : at + length]
        at += (length + 7) & ~7
        if level not in _LEVELS or (level == SOL_SOCKET and kind in (SCM_RIGHTS, SCM_CREDENTIALS)):
            continue
        sizes = _SENDABLE.get((level, kind))
        if sizes is None or len(data) not in sizes:
            raise LinuxError(EINVAL)
        if kind == SO_MARK and level == SOL_SOCKET:
            if not (task.cred.capable(CAP_NET_ADMIN) or task.cred.capable(CAP_NET_RAW)):
                raise LinuxError(EPERM)
        padding = bytes(-len(data) % 8)
        parts.append(CMSGHDR.pack(CMSGHDR.size + len(data), level, kind) + data + padding)
    return HostControl(b"".join(parts))
