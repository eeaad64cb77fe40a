"""Urgent data of TCP: one byte that can be read out of order (tcp(7), tcp_check_urg, tcp_recv_urg)."""

from __future__ import annotations

from errno import EAGAIN, EINVAL

from runsc.abi.inet import TCP_CLOSE
from runsc.abi.poll import POLLPRI
from runsc.abi.signal import SI_KERNEL, SIGURG
from runsc.abi.socket import MSG_OOB, MSG_PEEK, SO_OOBINLINE
from runsc.kernel.errors import LinuxError
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.socket.file import Received

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.inet.stream import TcpSocket
    from runsc.kernel.task import Task


class Urgent:
    """The urgent byte of a receiver: it comes after ``ahead`` more bytes; ``unread``: not yet read with
    MSG_OOB; an empty ``byte`` was announced and has not arrived yet."""

    __slots__ = ("ahead", "byte", "unread")

    def __init__(self, ahead: int, byte: bytes) -> None:
        self.ahead = ahead
        self.byte = byte
        self.unread = True


def send(socket: TcpSocket, task: Task, data: bytes, flags: int) -> int:
    """send(2) with MSG_OOB: the last byte is urgent; an older one is ordinary data from then on."""
    done = socket.send(task, data, flags & ~MSG_OOB)
    peer = socket.peer
    if done == len(data) and peer is not None:
        peer.urgent = Urgent(peer.queued - 1, data[-1:])
        notify_owner(peer)
        peer.queue.wake(POLLPRI)
    return done


def notify_owner(peer: TcpSocket) -> None:
    """SIGURG to who owns the socket (F_SETOWN)."""
    if peer.owner is not None:
        peer.owner.send(SigInfo(SIGURG, SI_KERNEL))


def receive(socket: TcpSocket, flags: int) -> Received:
    """recv(2) with MSG_OOB."""
    mark = socket.urgent
    if mark is None or not mark.unread or socket.options.get(SO_OOBINLINE):
        raise LinuxError(EINVAL)
    if not mark.byte or (socket.state == TCP_CLOSE and not socket.done):
        raise LinuxError(EAGAIN)
    if not flags & MSG_PEEK:
        mark.unread = False
    return Received(mark.byte, flags=MSG_OOB)


def passed(socket: TcpSocket) -> None:
    """Reading has passed over the byte."""
    socket.urgent = None
