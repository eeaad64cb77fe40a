"""ioctl(2) requests of internet sockets (tcp(7), udp(7), socket(7))."""

from __future__ import annotations

from errno import ENOENT

from runsc.abi.inet import (
    SIOCATMARK,
    SIOCGSTAMP,
    SIOCGSTAMPNS,
    SIOCOUTQNSD,
)  # fmt: skip
from runsc.abi.socket import SIOCINQ, SIOCOUTQ
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.netdevice import interfaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.inet.socket import InetSocket
    from runsc.kernel.task import Task


def request(socket: InetSocket, task: Task, number: int, arg: int) -> int:
    """A request to an internet socket."""
    if number == SIOCINQ:
        task.mm.write_u32(arg, socket.pending_bytes())
    elif number == SIOCOUTQ:
        task.mm.write_u32(arg, socket.unsent_bytes())
    elif number == SIOCOUTQNSD:
        task.mm.write_u32(arg, socket.not_sent_bytes())
    elif number == SIOCATMARK:
        task.mm.write_u32(arg, int(socket.at_mark()))
    elif number in (SIOCGSTAMP, SIOCGSTAMPNS):
        raise LinuxError(ENOENT)  # time stamps are asked for with SO_TIMESTAMP
    else:
        return interfaces(task, number, arg)
    return 0
