"""What all sockets have in common: the contract between the socket system calls and the protocol families.

A family subclasses ``SocketFile``. As with every ``File``, no operation blocks: one that can't make progress
raises ``WOULD_BLOCK``; the system call waits on ``wait_queue()`` for ``poll()`` to change and tries again,
unless the socket is non-blocking. Addresses are the bytes of a ``struct sockaddr``, the family included; b""
stands for no address (a null pointer, or a length of 0).
"""

from __future__ import annotations

from errno import EDOM, EINVAL, ENOPROTOOPT, ENOTTY, EOPNOTSUPP, EPERM
from time import monotonic_ns

from runsc.abi.fcntl import O_RDWR
from runsc.abi.socket import (
    AF_INET,
    AF_INET6,
    LINGER,
    MIN_RCVBUF,
    MIN_SNDBUF,
    SO_ACCEPTCONN,
    SO_BROADCAST,
    SO_BSDCOMPAT,
    SO_DEBUG,
    SO_DOMAIN,
    SO_DONTROUTE,
    SO_ERROR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_MARK,
    SO_NO_CHECK,
    SO_OOBINLINE,
    SO_PASSCRED,
    SO_PASSSEC,
    SO_PRIORITY,
    SO_PROTOCOL,
    SO_RCVBUF,
    SO_RCVBUFFORCE,
    SO_RCVLOWAT,
    SO_RCVTIMEO,
    SO_RCVTIMEO_NEW,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_SNDBUF,
    SO_SNDBUFFORCE,
    SO_SNDLOWAT,
    SO_SNDTIMEO,
    SO_SNDTIMEO_NEW,
    SO_TIMESTAMP,
    SO_TIMESTAMPNS,
    SO_TYPE,
    SOCK_STREAM,
    SOL_SOCKET,
    WMEM_DEFAULT,
)  # fmt: skip
from runsc.abi.time import NSEC_PER_SEC, TIMEVAL, USEC_PER_SEC
from runsc.kernel.credentials import CAP_NET_ADMIN
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.scm import parse
from runsc.kernel.tunables import tunables
from runsc.kernel.vfs.file import File
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.scm import Ancillary, Ucred
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode

#: Options that are switches and nothing more to the kernel itself.
_SWITCHES = frozenset((
    SO_DEBUG, SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_NO_CHECK, SO_REUSEPORT,
    SO_PASSCRED, SO_PASSSEC, SO_TIMESTAMP, SO_TIMESTAMPNS,
))  # fmt: skip
_TIMEOUTS = {SO_RCVTIMEO: 0, SO_RCVTIMEO_NEW: 0, SO_SNDTIMEO: 1, SO_SNDTIMEO_NEW: 1}


class Received:
    """A message, or part of a stream, as ``recv`` takes it.

    ``data``: what fits; ``length``: of the whole message; ``address``: of the sender; ``files``: descriptors
    that came with it, each with a reference that is now the receiver's; ``cred``: of the sender, if asked
    for; ``flags``: MSG_* to tell; ``control``: control messages of the family's own, complete with headers.
    """

    __slots__ = ("address", "control", "cred", "data", "files", "flags", "length")

    def __init__(self, data: bytes, length: int | None = None, address: bytes = b"", flags: int = 0) -> None:
        self.data = data
        self.length = len(data) if length is None else length
        self.address = address
        self.files: list[File] = []
        self.cred: Ucred | None = None
        self.flags = flags
        self.control = b""


class SocketFile(File):
    """A socket of any family. ``kind``: SOCK_STREAM...; ``queue``: woken when ``poll()`` may have changed.

    ``error``: a pending error (SO_ERROR); ``timeouts``: for receiving and sending, ns, 0 for none;
    ``options``: those SOL_SOCKET options that are only kept.
    """

    __slots__ = (
        "error", "family", "kind", "linger", "options", "protocol", "queue", "rcvbuf", "rcvlowat", "sndbuf",
        "timeouts",
    )

    sends_sigio = True  # fmt: skip

    def __init__(self, inode: Inode, flags: int, family: int, kind: int, protocol: int) -> None:
        super().__init__(inode, O_RDWR | flags)
        self.family = family
        self.kind = kind
        self.protocol = protocol
        self.queue = WaitQueue()
        self.error = 0
        self.sndbuf = self.rcvbuf = WMEM_DEFAULT
        self.rcvlowat = 1
        self.linger = (0, 0)
        self.timeouts = [0, 0]
        self.options: dict[int, int] = {}

    @property
    def sigpipe(self) -> bool:  # type: ignore[override]
        return self.kind == SOCK_STREAM

    # -- the operations of a family -----------------------------------------------------------

    def bind(self, task: Task, address: bytes) -> None:
        """bind(2)."""
        raise LinuxError(EOPNOTSUPP)

    def listen(self, task: Task, backlog: int) -> None:
        """listen(2); ``backlog`` as the guest gave it."""
        raise LinuxError(EOPNOTSUPP)

    def accept(self, task: Task, flags: int) -> SocketFile:
        """The next connection as a new socket; ``flags``: O_NONBLOCK. Raises ``WOULD_BLOCK``."""
        raise LinuxError(EOPNOTSUPP)

    def connect(self, task: Task, address: bytes) -> None:
        """connect(2).

        Raises ``WOULD_BLOCK`` if it has to be tried again (from the start) later, EINPROGRESS if it has begun
        and ``finish_connect`` is to tell how it ends."""
        raise LinuxError(EOPNOTSUPP)

    def finish_connect(self, task: Task) -> None:
        """The end of a connect that was in progress: nothing, or its error; ``WOULD_BLOCK`` until then."""
        raise LinuxError(EOPNOTSUPP)

    def getsockname(self) -> bytes:
        """The socket's own address."""
        raise LinuxError(EOPNOTSUPP)

    def getpeername(self) -> bytes:
        """The peer's address; raises ENOTCONN."""
        raise LinuxError(EOPNOTSUPP)

    def send(
        self, task: Task, data: bytes, flags: int, address: bytes = b"", scm: Ancillary | None = None
    ) -> int:
        """Send ``data``; how much was taken (all, unless it is a stream). What ``scm`` holds is the message's
        once anything was taken, and otherwise stays the caller's. Raises EPIPE without a signal: that is the
        caller's."""
        raise LinuxError(EOPNOTSUPP)

    def ancillary(self, task: Task, control: bytes) -> Ancillary:
        """Read the control messages of a message to be sent, for ``send``. Raises EINVAL and the like.

        A family with control messages of its own overrides this."""
        return parse(task, control)

    def recv(self, task: Task, count: int, flags: int) -> Received:
        """Take up to ``count`` bytes; ``flags``: MSG_PEEK and the like. An empty ``data`` is the end."""
        raise LinuxError(EOPNOTSUPP)

    def shutdown(self, task: Task, how: int) -> None:
        """shutdown(2); ``how`` is valid."""
        raise LinuxError(EOPNOTSUPP)

    def listening(self) -> bool:
        return False

    # -- files --------------------------------------------------------------------------------

    def read(self, task: Task, count: int) -> bytes:
        return self.recv_plain(task, count) if count else b""

    def recv_plain(self, task: Task, count: int) -> bytes:
        """``recv`` for callers that want the data and nothing else."""
        received = self.recv(task, count, 0)
        if received.files:
            # read(2) can't tell of them.
            from runsc.kernel.socket.scm import in_flight

            in_flight(task.kernel).discard(received.files)
        return received.data

    def write(self, task: Task, data: bytes) -> int:
        return self.send(task, data, 0)

    def read_deadline(self) -> int | None:
        timeout = self.timeouts[0]
        return monotonic_ns() + timeout if timeout else None

    def write_deadline(self) -> int | None:
        timeout = self.timeouts[1]
        return monotonic_ns() + timeout if timeout else None

    def wait_queue(self) -> WaitQueue:
        return self.queue

    def describe(self) -> str:
        return f"socket:[{self.inode.ino}]"

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        raise LinuxError(ENOTTY)

    def take_error(self) -> int:
        """The pending error, which is told once."""
        error, self.error = self.error, 0
        return error

    # -- options ------------------------------------------------------------------------------

    def setsockopt(self, task: Task, level: int, name: int, value: bytes) -> None:
        """setsockopt(2) (net/core/sock.c: sk_setsockopt). Families add their levels and names."""
        if level != SOL_SOCKET:
            raise LinuxError(EOPNOTSUPP)
        if len(value) < 4:
            raise LinuxError(EINVAL)
        number = int.from_bytes(value[:4], "little", signed=True)
        if name == SO_REUSEPORT and number and self.family not in (AF_INET, AF_INET6):
            raise LinuxError(EOPNOTSUPP)
        if name == SO_BSDCOMPAT:
            return  # a switch that does nothing any more, and always reads as off
        if name in _SWITCHES:
            self.options[name] = int(number != 0)
        elif name in (SO_SNDBUF, SO_RCVBUF, SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            if name in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
                if not task.cred.capable(CAP_NET_ADMIN):
                    raise LinuxError(EPERM)
                number = max(number, 0)
            else:
                # A negative size is huge to min_t(u32), and so the most there is.
                settings = tunables(task.kernel)
                most = settings.wmem_max if name == SO_SNDBUF else settings.rmem_max
                number = min(number & 0xFFFFFFFF, most)
            number = min(number, 0x3FFFFFFF) * 2
            if name in (SO_SNDBUF, SO_SNDBUFFORCE):
                self.sndbuf = max(number, MIN_SNDBUF)
                self.queue.wake()
            else:
                self.rcvbuf = max(number, MIN_RCVBUF)
        elif name == SO_PRIORITY:
            if not 0 <= number <= 6 and not task.cred.capable(CAP_NET_ADMIN):
                raise LinuxError(EPERM)
            self.options[name] = number
        elif name == SO_MARK:
            if not task.cred.capable(CAP_NET_ADMIN):
                raise LinuxError(EPERM)
            self.options[name] = number
        elif name == SO_LINGER:
            if len(value) < LINGER.size:
                raise LinuxError(EINVAL)
            on, seconds = LINGER.unpack(value[: LINGER.size])
            self.linger = (int(on != 0), seconds if on else self.linger[1])
        elif name == SO_RCVLOWAT:
            self.rcvlowat = 0x7FFFFFFF if number < 0 else max(number, 1)
        elif name in _TIMEOUTS:
            self.timeouts[_TIMEOUTS[name]] = _timeout(value)
        elif name in (SO_TYPE, SO_PROTOCOL, SO_DOMAIN, SO_ERROR, SO_ACCEPTCONN, SO_SNDLOWAT):
            raise LinuxError(ENOPROTOOPT)
        else:
            raise LinuxError(ENOPROTOOPT)

    def getsockopt(self, task: Task, level: int, name: int, length: int) -> bytes:
        """getsockopt(2): the value, which the caller cuts to ``length`` (what the guest has room for)."""
        if level != SOL_SOCKET:
            raise LinuxError(EOPNOTSUPP)
        if name in _SWITCHES or name in (SO_PRIORITY, SO_MARK, SO_BSDCOMPAT):
            number = self.options.get(name, 0)
        elif name == SO_TYPE:
            number = self.kind
        elif name == SO_PROTOCOL:
            number = self.protocol
        elif name == SO_DOMAIN:
            number = self.family
        elif name == SO_ERROR:
            number = self.take_error()
        elif name == SO_SNDBUF:
            number = self.sndbuf
        elif name == SO_RCVBUF:
            number = self.rcvbuf
        elif name == SO_RCVLOWAT:
            number = self.rcvlowat
        elif name == SO_SNDLOWAT:
            number = 1
        elif name == SO_ACCEPTCONN:
            number = int(self.listening())
        elif name == SO_LINGER:
            return LINGER.pack(*self.linger)
        elif name in _TIMEOUTS:
            timeout = self.timeouts[_TIMEOUTS[name]]
            return TIMEVAL.pack(timeout // NSEC_PER_SEC, timeout % NSEC_PER_SEC // 1000)
        else:
            raise LinuxError(ENOPROTOOPT)
        return (number & 0xFFFFFFFF).to_bytes(4, "little")


def _timeout(value: bytes) -> int:
    """The time of SO_RCVTIMEO and SO_SNDTIMEO in ns, 0 for none (sock_set_timeout)."""
    if len(value) < TIMEVAL.size:
        raise LinuxError(EINVAL)
    seconds, microseconds = TIMEVAL.unpack(value[: TIMEVAL.size])
    if not 0 <= microseconds < USEC_PER_SEC:
        raise LinuxError(EDOM)
    if seconds < 0:
        return 1  # it is up at once
    if seconds >= (1 << 63) // NSEC_PER_SEC:
        return 0
    return int(seconds) * NSEC_PER_SEC + int(microseconds) * 1000
