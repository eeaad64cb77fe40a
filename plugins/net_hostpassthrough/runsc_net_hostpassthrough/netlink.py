"""Route netlink (rtnetlink(7), netlink(7)): questions about interfaces, addresses and routes.

Each message that a guest sends is taken apart. Those that ask for something go to a host socket one by one;
the others are answered here, with the error that a program without privileges gets from Linux.
"""

from __future__ import annotations

from errno import EINVAL, ENOBUFS, EOPNOTSUPP, EPERM
from struct import Struct

from runsc.abi.poll import POLLIN, POLLRDNORM
from runsc.abi.socket import AF_NETLINK, MSG_OOB, MSG_PEEK, MSG_TRUNC
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.file import Received
from runsc_net_hostpassthrough._hostsock import lib
from runsc_net_hostpassthrough.sock import HostSocket, failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque

    from runsc.kernel.socket.file import SocketFile
    from runsc.kernel.socket.scm import Ancillary
    from runsc.kernel.task import Task

NETLINK_ROUTE = 0

#: struct nlmsghdr: len, type, flags, seq, pid.
NLMSGHDR = Struct("<IHHII")
#: struct sockaddr_nl: family, pid, groups.
SOCKADDR_NL = Struct("<HxxII")

NLM_F_REQUEST = 1
NLMSG_ERROR = 2
#: From here on types are the family's own.
NLMSG_MIN_TYPE = 0x10
RTM_MAX = 130

#: RTM_GETLINK, ADDR, ROUTE, NEIGH, RULE, QDISC, MULTICAST, ANYCAST, NEIGHTBL, ADDRLABEL, NETCONF, NSID, STATS
QUESTIONS = frozenset((18, 22, 26, 30, 34, 38, 58, 62, 66, 74, 82, 90, 94))

_KERNEL = SOCKADDR_NL.pack(AF_NETLINK, 0, 0)
#: How many answers of ours may wait.
_MAX_ANSWERS = 64


class NetlinkSocket(HostSocket):
    """A socket of AF_NETLINK, NETLINK_ROUTE. ``answers``: messages of ours that wait to be received."""

    __slots__ = ("answers",)

    answers: deque[bytes]

    def checked(self, address: bytes) -> bytes:
        if len(address) < SOCKADDR_NL.size:
            raise LinuxError(EINVAL)
        if int.from_bytes(address[:2], "little") != AF_NETLINK:
            raise LinuxError(EINVAL)
        return address[: SOCKADDR_NL.size]

    def _to_kernel(self, address: bytes) -> None:
        """Only the kernel may be talked to: raises EPERM for other sockets and groups of them."""
        _family, pid, groups = SOCKADDR_NL.unpack(self.checked(address))
        if pid or groups:
            raise LinuxError(EPERM)

    def bind(self, task: Task, address: bytes) -> None:
        address = self.checked(address)
        result = lib.nh_bind(self.fd, address, len(address))
        if result < 0:
            raise failure(result)

    def connect(self, task: Task, address: bytes) -> None:
        if int.from_bytes(address[:2].ljust(2, b"\0"), "little") or len(address) < 2:
            self._to_kernel(address)
            address = _KERNEL
        result = lib.nh_connect(self.fd, address[: SOCKADDR_NL.size], min(len(address), SOCKADDR_NL.size))
        if result < 0:
            raise failure(result)

    def listen(self, task: Task, backlog: int) -> None:
        raise LinuxError(EOPNOTSUPP)

    def accept(self, task: Task, flags: int) -> SocketFile:
        raise LinuxError(EOPNOTSUPP)

    # -- sending ------------------------------------------------------------------------------

    def write(self, task: Task, data: bytes) -> int:
        return self.send(task, data, 0)

    def send(
        self, task: Task, data: bytes, flags: int, address: bytes = b"", scm: Ancillary | None = None
    ) -> int:
        if flags & MSG_OOB:
            raise LinuxError(EOPNOTSUPP)
        if address:
            self._to_kernel(address)
        at = 0
        while len(data) - at >= NLMSGHDR.size:
            length, kind, wanted, sequence, port = NLMSGHDR.unpack_from(data, at)
            if not NLMSGHDR.size <= length <= len(data) - at:
                break
            message = data[at : at + length]
            at += (length + 3) & ~3
            if not wanted & NLM_F_REQUEST or kind < NLMSG_MIN_TYPE:
                continue
            if kind in QUESTIONS:
                result = lib.nh_sendmsg(self.fd, message, len(message), 0, _KERNEL, len(_KERNEL), b"", 0)
                if result < 0:
                    raise failure(result)
            else:
                self._refuse(message, EPERM if kind <= RTM_MAX else EOPNOTSUPP, sequence, port)
        return len(data)

    def _refuse(self, message: bytes, error: int, sequence: int, port: int) -> None:
        """Answer NLMSG_ERROR, with the message that was refused behind it."""
        if len(self.answers) >= _MAX_ANSWERS:
            raise LinuxError(ENOBUFS)
        body = (-error).to_bytes(4, "little", signed=True) + message
        _family, own_port, _groups = SOCKADDR_NL.unpack(self.getsockname()[: SOCKADDR_NL.size])
        header = NLMSGHDR.pack(NLMSGHDR.size + len(body), NLMSG_ERROR, 0, sequence, own_port or port)
        self.answers.append(header + body)
        self.queue.wake(POLLIN | POLLRDNORM)

    # -- receiving ----------------------------------------------------------------------------

    def recv_plain(self, task: Task, count: int) -> bytes:
        return self.recv(task, count, 0).data

    def recv(self, task: Task, count: int, flags: int) -> Received:
        if not self.answers:
            return super().recv(task, count, flags)
        message = self.answers[0]
        received = Received(message[:count], len(message), _KERNEL, MSG_TRUNC if len(message) > count else 0)
        if not flags & MSG_PEEK:
            self.answers.popleft()
        return received

    def poll(self, task: Task | None = None) -> int:
        events = super().poll(task)
        return events | POLLIN | POLLRDNORM if self.answers else events
