"""ICMP echo sockets: ping without privileges (icmp(7), net/ipv4/ping.c).

A socket has an identifier where others have a port; what it sends is an echo request, which the loopback
answers at once.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, EMSGSIZE, ENETUNREACH, EOPNOTSUPP, EPIPE
from os import urandom

from runsc.abi.inet import IPPROTO_ICMP, IPPROTO_ICMPV6
from runsc.abi.socket import AF_INET6, MSG_OOB, SO_BROADCAST
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.inet import control
from runsc.kernel.socket.inet.addresses import BROADCAST, LOCAL, REMOTE
from runsc.kernel.socket.inet.datagram import Datagram, DatagramSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.inet.ports import PortTable
    from runsc.kernel.socket.scm import Ancillary
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode

_ECHO, _ECHO_REPLY = 8, 0
_ECHO6, _ECHO_REPLY6 = 128, 129
_HEADER = 8
_SEND_SHUTDOWN = 2


class PingSocket(DatagramSocket):
    """An ICMP echo socket; ``num`` is its identifier."""

    __slots__ = ()

    def __init__(self, kernel: Kernel, inode: Inode, flags: int, family: int) -> None:
        super().__init__(kernel, inode, flags, family, IPPROTO_ICMPV6 if family == AF_INET6 else IPPROTO_ICMP)

    def _table(self) -> PortTable:
        """Identifiers; a table for each version would be more than is needed."""
        return self.stack.idents

    def autobind(self) -> None:
        if not self.num:
            table = self.stack.idents
            start = int.from_bytes(urandom(2), "little")
            for step in range(65536):
                ident = (start + step) % 65536
                if ident and ident not in table.owners:
                    self.local = (self.local[0], ident)
                    self.hold_port(ident)
                    return
            raise LinuxError(EACCES)

    def send(
        self, task: Task, data: bytes, flags: int, address: bytes = b"", scm: Ancillary | None = None
    ) -> int:
        """Send an echo request: the header that the program gives, with our identifier and checksum."""
        if len(data) > 0xFFFF:
            raise LinuxError(EMSGSIZE)
        if len(data) < _HEADER or flags & MSG_OOB:
            raise LinuxError(EOPNOTSUPP if flags & MSG_OOB else EINVAL)
        request, reply = (_ECHO6, _ECHO_REPLY6) if self.v6 else (_ECHO, _ECHO_REPLY)
        if data[0] != request or data[1]:
            raise LinuxError(EINVAL)
        target = self._target(address)
        sending = control.Sending(self)
        if scm is not None:
            sending.read(task, scm)
            scm.discard()
        kind = self.stack.kind_of(target[0])
        if kind == BROADCAST and not self.options.get(SO_BROADCAST):
            raise LinuxError(EACCES)
        if kind not in (LOCAL, REMOTE):
            raise LinuxError(ENETUNREACH)
        if self.shut & _SEND_SHUTDOWN:
            raise LinuxError(EPIPE)
        self.autobind()
        own = self.source_for(target[0])
        if kind == REMOTE and self.stack.wire is not None:
            message = data[:2] + bytes(2) + self.num.to_bytes(2, "big") + data[6:]
            self.stack.wire.send_datagram(self, target, (own, 0), message, sending)
            return len(data)
        answer = bytes((reply, 0, 0, 0)) + self.num.to_bytes(2, "big") + data[6:]
        total = checksum(answer)
        answer = answer[:2] + total.to_bytes(2, "big") + answer[4:]
        self.stack.packets += 2
        self.stack.octets += 2 * (len(data) + 34)
        self.deliver(Datagram(answer, (target[0], 0), (own, 0), sending.ttl, sending.tclass))
        return len(data)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
