"""Netlink sockets (netlink(7), net/netlink/af_netlink.c): requests are answered when they are sent."""

from __future__ import annotations

from collections import deque
from errno import (
    EADDRINUSE,
    ECONNREFUSED,
    EINVAL,
    EMSGSIZE,
    ENOBUFS,
    ENOPROTOOPT,
    ENOTTY,
    EOPNOTSUPP,
    EPERM,
    EPROTONOSUPPORT,
    ESOCKTNOSUPPORT,
)  # fmt: skip

from runsc.abi.netlink import (
    MAX_LINKS,
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_BROADCAST_ERROR,
    NETLINK_CAP_ACK,
    NETLINK_DROP_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NETLINK_LIST_MEMBERSHIPS,
    NETLINK_NO_ENOBUFS,
    NETLINK_PKTINFO,
    NETLINK_ROUTE,
    NLM_F_ACK,
    NLM_F_CAPPED,
    NLM_F_DUMP,
    NLM_F_MULTI,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_MIN_TYPE,
    NLMSGHDR,
    SOCKADDR_NL,
    SOL_NETLINK,
)  # fmt: skip
from runsc.abi.poll import POLLERR, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from runsc.abi.socket import (
    AF_NETLINK,
    AF_UNSPEC,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    SO_PASSCRED,
    SOCK_DGRAM,
    SOCK_RAW,
    SOL_SOCKET,
)  # fmt: skip
from runsc.kernel.credentials import CAP_NET_ADMIN
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.socket.file import Received, SocketFile
from runsc.kernel.socket.netdevice import interfaces
from runsc.kernel.socket.netlink import route
from runsc.kernel.socket.netlink.change import change

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import NetNamespace
    from runsc.kernel.socket.scm import Ancillary
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode

_SWITCHES = frozenset((
    NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK, NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
))  # fmt: skip
#: The most that one message of a dump holds (NLMSG_GOODSIZE grown to what readers offer).
_DUMP_SIZE = 8192
#: Groups beyond this are EINVAL (RTNLGRP_MAX).
_GROUPS = 36
_READ_EVENTS = POLLIN | POLLRDNORM


class NetlinkSocket(SocketFile):
    """A netlink socket. ``port``: its address, 0 until bound; ``messages``: answers that wait to be read."""

    __slots__ = ("groups", "messages", "net", "port", "switches", "used")

    def __init__(self, net: NetNamespace, inode: Inode, kind: int, protocol: int) -> None:
        super().__init__(inode, 0, AF_NETLINK, kind, protocol)
        self.net = net
        self.port = 0
        self.groups = 0
        self.messages: deque[bytes] = deque()
        self.used = 0
        self.switches: set[int] = set()

    # -- addresses ----------------------------------------------------------------------------

    def bind(self, task: Task, address: bytes) -> None:
        port, groups = _split(address)
        if self.port and port != self.port:
            raise LinuxError(EINVAL)
        if not self.port:
            self._take(task, port)
        self.groups = groups

    def _take(self, task: Task, port: int = 0) -> None:
        """Take a port: the process's id if nobody asked for another and it is free (netlink_autobind)."""
        ports = _ports(self.net)
        if port:
            if (self.protocol, port) in ports:
                raise LinuxError(EADDRINUSE)
        else:
            port = task.group.vtgid
            while (self.protocol, port) in ports:
                port = port - 1 if port > 0x80000000 else 0xFFFFEFFF
        ports[self.protocol, port] = self
        self.port = port

    def connect(self, task: Task, address: bytes) -> None:
        """Only the kernel can be talked to."""
        if len(address) >= 2 and int.from_bytes(address[:2], "little") == AF_UNSPEC:
            return
        port, groups = _split(address)
        if (port or groups) and not task.cred.capable(CAP_NET_ADMIN):
            raise LinuxError(EPERM)
        if port:
            raise LinuxError(ECONNREFUSED)
        if not self.port:
            self._take(task)

    def getsockname(self) -> bytes:
        return SOCKADDR_NL.pack(AF_NETLINK, 0, self.port, self.groups)

    def getpeername(self) -> bytes:
        return SOCKADDR_NL.pack(AF_NETLINK, 0, 0, 0)

    def release(self) -> None:
        if self.port:
            _ports(self.net).pop((self.protocol, self.port), None)
        self.messages.clear()

    # -- requests and answers -----------------------------------------------------------------

    def send(
        self, task: Task, data: bytes, flags: int, address: bytes = b"", scm: Ancillary | None = None
    ) -> int:
        if flags & MSG_OOB:
            raise LinuxError(EOPNOTSUPP)
        if address:
            port, groups = _split(address)
            if (port or groups) and not task.cred.capable(CAP_NET_ADMIN):
                raise LinuxError(EPERM)
            if port:
                raise LinuxError(ECONNREFUSED)
        if not self.port:
            self._take(task)
        if len(data) > self.sndbuf - 32:
            raise LinuxError(EMSGSIZE)
        if scm is not None:
            scm.discard()
        at = 0
        while at + NLMSGHDR.size <= len(data):
            length, kind, how, sequence, _ = NLMSGHDR.unpack_from(data, at)
            if length < NLMSGHDR.size or at + length > len(data):
                break
            self._request(task, data[at : at + length], kind, how, sequence)
            at += (length + 3) & ~3
        if self.queue.entries and self.messages:
            self.queue.wake(_READ_EVENTS)
        return len(data)

    def _request(self, task: Task, whole: bytes, kind: int, how: int, sequence: int) -> None:
        """Answer one request (netlink_rcv_skb)."""
        error = 0
        if how & NLM_F_REQUEST and kind >= NLMSG_MIN_TYPE:
            try:
                if kind & 3 != 2 and self.protocol == NETLINK_ROUTE:
                    change(self.net, task.cred, kind, how, whole[NLMSGHDR.size :])
                elif self._answer(whole, kind, how, sequence):
                    return
            except LinuxError as failed:
                error = failed.errno
        if error or how & NLM_F_ACK:
            self._queue(self._acknowledge(whole, error, sequence))

    def _answer(self, whole: bytes, kind: int, how: int, sequence: int) -> bool:
        """True if a dump ends the answer, so that no acknowledgement is wanted."""
        if self.protocol != NETLINK_ROUTE:
            raise LinuxError(EOPNOTSUPP)
        dump = how & NLM_F_DUMP == NLM_F_DUMP
        multi = NLM_F_MULTI if dump else 0
        part = b""
        for answering, body in route.answer(self.net, kind, how, whole[NLMSGHDR.size :]):
            message = self._message(answering, multi, sequence, body)
            if part and len(part) + len(message) > _DUMP_SIZE:
                self._queue(part)
                part = b""
            part += message
        if dump:
            if part:
                self._queue(part)
            part = self._message(NLMSG_DONE, NLM_F_MULTI, sequence, bytes(4))
        if part:
            self._queue(part)
        return dump

    def _message(self, kind: int, flags: int, sequence: int, body: bytes) -> bytes:
        whole = NLMSGHDR.pack(NLMSGHDR.size + len(body), kind, flags, sequence, self.port) + body
        return whole.ljust((len(whole) + 3) & ~3, b"\0")

    def _acknowledge(self, whole: bytes, error: int, sequence: int) -> bytes:
        """The error, or 0, and the request that it is about: of that only the header if that was asked for or
        all went well."""
        flags = 0
        if not error or NETLINK_CAP_ACK in self.switches:
            whole = whole[: NLMSGHDR.size]
            flags = NLM_F_CAPPED
        return self._message(
            NLMSG_ERROR, flags, sequence, (-error).to_bytes(4, "little", signed=True) + whole
        )

    def _queue(self, message: bytes) -> None:
        """What doesn't fit is lost, and the reader hears ENOBUFS."""
        if self.used and self.used + len(message) > self.rcvbuf:
            if NETLINK_NO_ENOBUFS not in self.switches:
                self.error = ENOBUFS
            return
        self.messages.append(message)
        self.used += len(message)

    def deliver(self, message: bytes) -> None:
        """The kernel has a message that nobody asked for."""
        self._queue(message)
        self.queue.wake(_READ_EVENTS)

    def recv(self, task: Task, count: int, flags: int) -> Received:
        if flags & MSG_OOB:
            raise LinuxError(EOPNOTSUPP)
        if self.error:
            raise LinuxError(self.take_error())
        if not self.messages:
            raise WOULD_BLOCK
        message = self.messages[0]
        if not flags & MSG_PEEK:
            self.messages.popleft()
            self.used -= len(message)
        received = Received(message[:count], len(message), SOCKADDR_NL.pack(AF_NETLINK, 0, 0, 0))
        if len(message) > count:
            received.flags = MSG_TRUNC
        if self.options.get(SO_PASSCRED):
            received.cred = (None, 0, 0)
        return received

    def poll(self, task: Task | None = None) -> int:
        events = POLLOUT | POLLWRNORM
        if self.messages:
            events |= _READ_EVENTS
        if self.error:
            events |= POLLERR
        return events

    # -- options ------------------------------------------------------------------------------

    def setsockopt(self, task: Task, level: int, name: int, value: bytes) -> None:
        if level == SOL_SOCKET:
            super().setsockopt(task, level, name, value)
            return
        if level != SOL_NETLINK:
            raise LinuxError(ENOPROTOOPT)
        if len(value) < 4:
            raise LinuxError(EINVAL)
        number = int.from_bytes(value[:4], "little")
        if name in (NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP):
            if not 0 < number <= _GROUPS:
                raise LinuxError(EINVAL)
            bit = 1 << (number - 1) & 0xFFFFFFFF
            self.groups = self.groups | bit if name == NETLINK_ADD_MEMBERSHIP else self.groups & ~bit
        elif name in _SWITCHES:
            if number:
                self.switches.add(name)
            else:
                self.switches.discard(name)
        else:
            raise LinuxError(ENOPROTOOPT)

    def getsockopt(self, task: Task, level: int, name: int, length: int) -> bytes:
        if level == SOL_SOCKET:
            return super().getsockopt(task, level, name, length)
        if level != SOL_NETLINK:
            raise LinuxError(ENOPROTOOPT)
        if name in _SWITCHES:
            return int(name in self.switches).to_bytes(4, "little")
        if name == NETLINK_LIST_MEMBERSHIPS:
            return self.groups.to_bytes(4, "little")
        raise LinuxError(ENOPROTOOPT)

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        try:
            return interfaces(task, request, arg)
        except LinuxError as error:
            raise LinuxError(EOPNOTSUPP if error.errno == ENOTTY else error.errno) from None


def _split(address: bytes) -> tuple[int, int]:
    """Port and groups of a struct sockaddr_nl; raises EINVAL."""
    if len(address) < SOCKADDR_NL.size:
        raise LinuxError(EINVAL)
    family, _, port, groups = SOCKADDR_NL.unpack(address[: SOCKADDR_NL.size])
    if family != AF_NETLINK:
        raise LinuxError(EINVAL)
    return port, groups


def _ports(net: NetNamespace) -> dict[tuple[int, int], NetlinkSocket]:
    """The sockets by protocol and port."""
    found: dict[tuple[int, int], NetlinkSocket] | None = net.extra.get("netlink_ports")
    if found is None:
        found = net.extra["netlink_ports"] = {}
    return found


def netlink_socket(kernel: Kernel, task: Task, kind: int, protocol: int) -> NetlinkSocket:
    """socket(2) of AF_NETLINK: NETLINK_ROUTE alone. Raises ESOCKTNOSUPPORT, EPROTONOSUPPORT."""
    if kind not in (SOCK_RAW, SOCK_DGRAM):
        raise LinuxError(ESOCKTNOSUPPORT)
    if not 0 <= protocol < MAX_LINKS or protocol != NETLINK_ROUTE:
        raise LinuxError(EPROTONOSUPPORT)
    return NetlinkSocket(task.nsproxy.net, anon_inodes(kernel).socket_inode(task.cred), kind, protocol)
