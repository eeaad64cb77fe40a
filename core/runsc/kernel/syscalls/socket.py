"""Making, naming and connecting sockets: socket(2), bind(2), connect(2), accept(2) and their kin
(net/socket.c).

Sending and receiving is in ``message``.
"""

from __future__ import annotations

from errno import (
    EAFNOSUPPORT,
    EFAULT,
    EINPROGRESS,
    EINTR,
    EINVAL,
    EMFILE,
    ENOTSOCK,
    EOPNOTSUPP,
    EPROTONOSUPPORT,
    ESOCKTNOSUPPORT,
)  # fmt: skip

from runsc.abi.fcntl import O_NONBLOCK
from runsc.abi.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from runsc.abi.socket import (
    AF_MAX,
    AF_UNIX,
    SHUT_RDWR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_MAX,
    SOCK_NONBLOCK,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOCK_TYPE_MASK,
    SOCKADDR_MAX,
)  # fmt: skip
from runsc.kernel.errors import Interrupted, LinuxError, WouldBlock
from runsc.kernel.socket.file import SocketFile
from runsc.kernel.socket.unix import make_pair, make_unix
from runsc.kernel.syscalls.decl import (
    Fd,
    InBuf,
    InOutInt,
    InSockaddr,
    Int,
    OutBuf,
    OutFdPair,
    OutSockaddr,
    SockDomain,
    SockType,
    syscall,
)  # fmt: skip
from runsc.kernel.thread_group import RLIMIT_NOFILE
from runsc.kernel.vfs.install import install, install_pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_UNIX_KINDS = {
    SOCK_STREAM: SOCK_STREAM, SOCK_DGRAM: SOCK_DGRAM, SOCK_RAW: SOCK_DGRAM, SOCK_SEQPACKET: SOCK_SEQPACKET,
}  # fmt: skip
_FAILED = POLLERR | POLLHUP
#: The largest option value that is looked at.
_MAX_OPTLEN = 1 << 16


def socket_of(task: Task, fd: int) -> SocketFile:
    """The socket behind ``fd``; raises EBADF, ENOTSOCK."""
    file = task.files.get(fd)
    if not isinstance(file, SocketFile):
        raise LinuxError(ENOTSOCK)
    return file


def copy_in_address(task: Task, addr: int, length: int) -> bytes:
    """A socket address of the guest's; raises EINVAL for a bad length, EFAULT (move_addr_to_kernel)."""
    if not 0 <= length <= SOCKADDR_MAX:
        raise LinuxError(EINVAL)
    return task.mm.copy_in(addr, length)


def copy_out_address(task: Task, address: bytes, addr: int, length_addr: int) -> None:
    """Write as much of an address as the guest has room for, and its true length (move_addr_to_user)."""
    room = _read_int(task, length_addr)
    if room < 0:
        raise LinuxError(EINVAL)
    task.mm.copy_out(addr, address[:room])
    task.mm.write_u32(length_addr, len(address))


def _read_int(task: Task, addr: int) -> int:
    return int.from_bytes(task.mm.copy_in(addr, 4), "little", signed=True)


def interrupted(deadline: int | None, error: Interrupted) -> Exception:
    """What an interrupted wait of a socket raises: with a time-out it is never made again
    (sock_intr_errno)."""
    return error if deadline is None else LinuxError(EINTR)


# -- making -------------------------------------------------------------------------------------


def _split_type(kind: int) -> tuple[int, int, bool]:
    """(type, O_NONBLOCK or 0, close on exec); raises EINVAL."""
    if kind & ~(SOCK_TYPE_MASK | SOCK_CLOEXEC | SOCK_NONBLOCK):
        raise LinuxError(EINVAL)
    return kind & SOCK_TYPE_MASK, O_NONBLOCK if kind & SOCK_NONBLOCK else 0, bool(kind & SOCK_CLOEXEC)


def _check_unix(kind: int, protocol: int) -> int:
    if protocol not in (0, AF_UNIX):
        raise LinuxError(EPROTONOSUPPORT)
    if kind not in _UNIX_KINDS:
        raise LinuxError(ESOCKTNOSUPPORT)
    return _UNIX_KINDS[kind]


@syscall(41)
def socket(task: Task, family: SockDomain, type_: SockType, protocol: Int) -> Result:
    """socket(2): local sockets here, all others from the network."""
    kind, status, cloexec = _split_type(type_)
    if not 0 <= family < AF_MAX:
        raise LinuxError(EAFNOSUPPORT)
    if kind >= SOCK_MAX:
        raise LinuxError(EINVAL)
    if family == AF_UNIX:
        return install(task, make_unix(task, _check_unix(kind, protocol), status), cloexec)
    network = task.nsproxy.net.network
    if network is None:
        raise LinuxError(EAFNOSUPPORT)
    made: SocketFile = network.socket(task.kernel, task, family, kind, protocol)
    made.flags |= status
    return install(task, made, cloexec)


@syscall(53)
def socketpair(task: Task, family: SockDomain, type_: SockType, protocol: Int, sv: OutFdPair) -> Result:
    """socketpair(2)."""
    kind, status, cloexec = _split_type(type_)
    if not 0 <= family < AF_MAX:
        raise LinuxError(EAFNOSUPPORT)
    if kind >= SOCK_MAX:
        raise LinuxError(EINVAL)
    if family != AF_UNIX:
        network = task.nsproxy.net.network
        if network is None:
            raise LinuxError(EAFNOSUPPORT)
        network.socket(task.kernel, task, family, kind, protocol).get().put()
        raise LinuxError(EOPNOTSUPP)
    first, second = make_pair(task, _check_unix(kind, protocol), status)
    install_pair(task, first, second, cloexec, sv)
    return 0


# -- names and connections ------------------------------------------------------------------------


@syscall(49)
def bind(task: Task, fd: Fd, addr: InSockaddr, addrlen: Int) -> Result:
    """bind(2)."""
    file = socket_of(task, fd)
    address = copy_in_address(task, addr, addrlen)
    if task.kernel.events is not None:
        task.kernel.events.address(task, "bind", address)
    file.bind(task, address)
    return 0


@syscall(50)
def listen(task: Task, fd: Fd, backlog: Int) -> Result:
    """listen(2)."""
    file = socket_of(task, fd)
    if task.kernel.events is not None:
        task.kernel.events.address(task, "listen", file.getsockname())
    file.listen(task, backlog)
    return 0


@syscall(42)
def connect(task: Task, fd: Fd, addr: InSockaddr, addrlen: Int) -> Result:
    """connect(2)."""
    file = socket_of(task, fd)
    address = copy_in_address(task, addr, addrlen)
    if task.kernel.events is not None:
        task.kernel.events.address(task, "connect", address)
    try:
        file.connect(task, address)
    except WouldBlock:
        if file.nonblocking():
            raise
        return _connect_again(task, file, address)
    except LinuxError as error:
        if error.errno != EINPROGRESS or file.nonblocking():
            raise
        return _connect_waiting(task, file)
    return 0


async def _connect_again(task: Task, file: SocketFile, address: bytes) -> int:
    """Nobody is listening well enough yet: try until there is room."""
    file.get()
    deadline = file.write_deadline()
    try:
        while True:
            woken = await task.wait(file.queue, POLLOUT | POLLWRNORM | _FAILED, deadline)
            try:
                file.connect(task, address)
            except WouldBlock:
                if not woken:
                    raise
                continue
            return 0
    except Interrupted as error:
        raise interrupted(deadline, error) from None
    finally:
        file.put()


async def _connect_waiting(task: Task, file: SocketFile) -> int:
    """The connection is being made: wait for how it ends."""
    file.get()
    deadline = file.write_deadline()
    try:
        while True:
            try:
                file.finish_connect(task)
                return 0
            except WouldBlock:
                if not await task.wait(file.queue, POLLOUT | POLLWRNORM | _FAILED, deadline):
                    raise LinuxError(EINPROGRESS) from None
    except Interrupted as error:
        raise interrupted(deadline, error) from None
    finally:
        file.put()


def _accept(task: Task, fd: int, addr: int, length_addr: int, flags: int) -> Result:
    if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        raise LinuxError(EINVAL)
    file = socket_of(task, fd)
    if len(task.files.files) >= task.limit(RLIMIT_NOFILE):
        raise LinuxError(EMFILE)
    status = O_NONBLOCK if flags & SOCK_NONBLOCK else 0
    try:
        new = file.accept(task, status)
    except WouldBlock:
        if file.nonblocking():
            raise
        return _accept_waiting(task, file, addr, length_addr, flags)
    return _install_accepted(task, new, addr, length_addr, flags)


async def _accept_waiting(task: Task, file: SocketFile, addr: int, length_addr: int, flags: int) -> int:
    file.get()
    deadline = file.read_deadline()
    status = O_NONBLOCK if flags & SOCK_NONBLOCK else 0
    try:
        while True:
            woken = await task.wait(file.queue, POLLIN | POLLRDNORM | _FAILED, deadline, exclusive=True)
            try:
                new = file.accept(task, status)
            except WouldBlock:
                if not woken:
                    raise
                continue
            return _install_accepted(task, new, addr, length_addr, flags)
    except Interrupted as error:
        raise interrupted(deadline, error) from None
    finally:
        file.put()


def _install_accepted(task: Task, new: SocketFile, addr: int, length_addr: int, flags: int) -> int:
    new.get()
    try:
        if addr:
            copy_out_address(task, new.getpeername(), addr, length_addr)
        return install(task, new, bool(flags & SOCK_CLOEXEC))
    finally:
        new.put()


@syscall(43)
def accept(task: Task, fd: Fd, addr: OutSockaddr, addrlen: InOutInt) -> Result:
    """accept(2)."""
    return _accept(task, fd, addr, addrlen, 0)


@syscall(288)
def accept4(task: Task, fd: Fd, addr: OutSockaddr, addrlen: InOutInt, flags: SockType) -> Result:
    """accept4(2): SOCK_CLOEXEC, SOCK_NONBLOCK."""
    return _accept(task, fd, addr, addrlen, flags)


@syscall(51)
def getsockname(task: Task, fd: Fd, addr: OutSockaddr, addrlen: InOutInt) -> Result:
    """getsockname(2)."""
    copy_out_address(task, socket_of(task, fd).getsockname(), addr, addrlen)
    return 0


@syscall(52)
def getpeername(task: Task, fd: Fd, addr: OutSockaddr, addrlen: InOutInt) -> Result:
    """getpeername(2)."""
    copy_out_address(task, socket_of(task, fd).getpeername(), addr, addrlen)
    return 0


@syscall(48)
def shutdown(task: Task, fd: Fd, how: Int) -> Result:
    """shutdown(2)."""
    file = socket_of(task, fd)
    if not 0 <= how <= SHUT_RDWR:
        raise LinuxError(EINVAL)
    file.shutdown(task, how)
    return 0


# -- options --------------------------------------------------------------------------------------


@syscall(54)
def setsockopt(task: Task, fd: Fd, level: Int, optname: Int, optval: InBuf, optlen: Int) -> Result:
    """setsockopt(2)."""
    if optlen < 0:
        raise LinuxError(EINVAL)
    file = socket_of(task, fd)
    file.setsockopt(task, level, optname, task.mm.copy_in(optval, min(optlen, _MAX_OPTLEN)))
    return 0


@syscall(55)
def getsockopt(task: Task, fd: Fd, level: Int, optname: Int, optval: OutBuf, optlen: InOutInt) -> Result:
    """getsockopt(2)."""
    file = socket_of(task, fd)
    if not optlen:
        raise LinuxError(EFAULT)
    room = _read_int(task, optlen)
    if room < 0:
        raise LinuxError(EINVAL)
    value = file.getsockopt(task, level, optname, room)[:room]
    task.mm.copy_out(optval, value)
    task.mm.write_u32(optlen, len(value))
    return 0
