"""Sending and receiving: send(2), recv(2), sendmsg(2), recvmsg(2), sendmmsg(2), recvmmsg(2)."""

from __future__ import annotations

from errno import EFAULT, EINVAL, EMSGSIZE, ENOBUFS, EPIPE
from time import monotonic_ns

from runsc.abi.fcntl import O_NONBLOCK
from runsc.abi.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRBAND, POLLWRNORM
from runsc.abi.socket import (
    MMSGHDR_SIZE,
    MSG_CMSG_CLOEXEC,
    MSG_CMSG_COMPAT,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_NOSIGNAL,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    MSG_WAITFORONE,
    MSGHDR,
    OPTMEM_MAX,
    SOCK_STREAM,
    SOCKADDR_MAX,
)  # fmt: skip
from runsc.kernel.clock import copy_in_timespec, pack_timespec
from runsc.kernel.errors import Interrupted, LinuxError, WouldBlock
from runsc.kernel.io import CHUNK, broken_pipe, split
from runsc.kernel.mm.usercopy import MAX_RW_COUNT, UIO_MAXIOV
from runsc.kernel.socket.scm import build, in_flight
from runsc.kernel.syscalls.decl import (
    Fd,
    InBuf,
    InMsghdr,
    InOutInt,
    InSockaddr,
    Int,
    InTimespec,
    MsgFlags,
    OutBuf,
    OutMsghdr,
    OutSockaddr,
    Ptr,
    Size,
    UInt,
    syscall,
)  # fmt: skip
from runsc.kernel.syscalls.socket import copy_in_address, copy_out_address, interrupted, socket_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from runsc.kernel.io import Vector
    from runsc.kernel.socket.file import Received, SocketFile
    from runsc.kernel.socket.scm import Ancillary
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_WRITE_EVENTS = POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR | POLLHUP
_READ_EVENTS = POLLIN | POLLRDNORM | POLLRDHUP | POLLERR | POLLHUP

#: Where in struct msghdr the kernel writes its answers.
_NAMELEN, _CONTROLLEN, _FLAGS, _MSG_LEN = 8, 40, 48, 56


# -- sending ------------------------------------------------------------------------------------


def send_data(
    task: Task, file: SocketFile, entries: Vector, total: int, flags: int, address: bytes,
    scm: Ancillary | None,
) -> Result:  # fmt: skip
    """Send what the vector holds. Streams go on until all is sent, others send it as one message."""
    try:
        if total > CHUNK and file.kind != SOCK_STREAM:
            if scm is not None:
                scm.discard()
            raise LinuxError(EMSGSIZE)
        head, rest = split(entries, CHUNK) if total > CHUNK else (entries, [])
        data = _fetch(task, head, min(total, CHUNK))
        try:
            done = file.send(task, data, flags, address, scm)
        except WouldBlock:
            if flags & MSG_DONTWAIT or file.nonblocking():
                raise
            return _send_waiting(task, file, data, rest, total, 0, flags, address, scm)
        if done == total:
            return done
        if done < len(data) and (flags & MSG_DONTWAIT or file.nonblocking()):
            return done
        if file.kind != SOCK_STREAM:
            return done
        return _send_waiting(task, file, data[done:], rest, total, done, flags, b"", None)
    except LinuxError as error:
        if scm is not None:
            scm.discard()
        raise _sent_nothing(task, file, flags, error) from None


def _fetch(task: Task, entries: Vector, count: int) -> bytes:
    """All that the vector says; raises EFAULT if it can't be read whole."""
    data = task.mm.copy_in(entries[0][0], entries[0][1]) if len(entries) == 1 else task.mm.gather(entries)
    if len(data) != count:
        raise LinuxError(EFAULT)
    return data


def _sent_nothing(task: Task, file: SocketFile, flags: int, error: LinuxError) -> LinuxError:
    """SIGPIPE for EPIPE, unless MSG_NOSIGNAL."""
    if error.errno == EPIPE and file.kind == SOCK_STREAM and not flags & MSG_NOSIGNAL:
        broken_pipe(task)
    return error


async def _send_waiting(
    task: Task, file: SocketFile, data: bytes, rest: Vector, total: int, done: int, flags: int,
    address: bytes, scm: Ancillary | None,
) -> int:  # fmt: skip
    """Send ``data``, then what ``rest`` points to; ``done`` bytes of ``total`` are sent already."""
    file.get()
    deadline = file.write_deadline()
    waits = not (flags & MSG_DONTWAIT or file.nonblocking())
    sent = False
    try:
        while True:
            if data or (not total and not sent):
                try:
                    count = file.send(task, data, flags, address, scm)
                except WouldBlock:
                    if not waits or not await task.wait(file.wait_queue(), _WRITE_EVENTS, deadline):
                        if done:
                            return done
                        raise
                    continue
                done += count
                sent = True
                if file.kind != SOCK_STREAM:
                    return done
                data = data[count:]
                continue
            if done >= total:
                return done
            head, rest = split(rest, CHUNK)
            data = _fetch(task, head, min(total - done, CHUNK))
    except Interrupted as error:
        if done:
            return done
        raise interrupted(deadline, error) from None
    except LinuxError as error:
        if done:
            return done
        raise _sent_nothing(task, file, flags, error) from None
    finally:
        if scm is not None:
            scm.discard()
        file.put()


@syscall(44)
def sendto(
    task: Task, fd: Fd, buf: InBuf, length: Size, flags: MsgFlags, addr: InSockaddr, addrlen: Int
) -> Result:
    """sendto(2), send(2)."""
    length = min(length, MAX_RW_COUNT)
    file = socket_of(task, fd)
    address = copy_in_address(task, addr, addrlen) if addr else b""
    if address and task.kernel.events is not None:
        task.kernel.events.address(task, "send", address)
    flags &= ~MSG_CMSG_COMPAT
    if length <= CHUNK:
        data = task.mm.copy_in(buf, length)
        try:
            done = file.send(task, data, flags, address)
        except WouldBlock:
            if flags & MSG_DONTWAIT or file.flags & O_NONBLOCK:
                raise
            done = 0
        except LinuxError as error:
            raise _sent_nothing(task, file, flags, error) from None
        else:
            if done == length or flags & MSG_DONTWAIT or file.flags & O_NONBLOCK:
                return done
        return _send_waiting(task, file, data[done:], [], length, done, flags, address, None)
    return send_data(task, file, [(buf, length)], length, flags, address, None)


class _Header:
    """A struct msghdr of the guest's, copied in and checked (copy_msghdr_from_user)."""

    __slots__ = ("addr", "control", "controllen", "entries", "flags", "name", "namelen", "total")

    def __init__(self, task: Task, addr: int) -> None:
        name, namelen, iov, iovlen, control, controllen, flags = task.mm.unpack(addr, MSGHDR)
        if not name:
            namelen = 0
        if namelen > 0x7FFFFFFF:
            raise LinuxError(EINVAL)
        if iovlen > UIO_MAXIOV:
            raise LinuxError(EMSGSIZE)
        self.addr = addr
        self.name = name
        self.namelen = min(namelen, SOCKADDR_MAX)
        self.control = control
        self.controllen = controllen if control else 0
        self.flags = flags
        self.entries = task.mm.copy_in_iovec(iov, iovlen)
        self.total = sum(length for _, length in self.entries)


def _sendmsg(task: Task, file: SocketFile, addr: int, flags: int) -> Result:
    header = _Header(task, addr)
    address = task.mm.copy_in(header.name, header.namelen) if header.namelen else b""
    if address and task.kernel.events is not None:
        task.kernel.events.address(task, "send", address)
    scm = None
    if header.controllen:
        if header.controllen > OPTMEM_MAX:
            raise LinuxError(ENOBUFS)
        scm = file.ancillary(task, task.mm.copy_in(header.control, header.controllen))
    return send_data(task, file, header.entries, header.total, flags, address, scm)


@syscall(46)
def sendmsg(task: Task, fd: Fd, msg: InMsghdr, flags: MsgFlags) -> Result:
    """sendmsg(2)."""
    if flags & MSG_CMSG_COMPAT:
        raise LinuxError(EINVAL)
    return _sendmsg(task, socket_of(task, fd), msg, flags)


@syscall(307)
def sendmmsg(task: Task, fd: Fd, msgvec: Ptr, vlen: UInt, flags: MsgFlags) -> Result:
    """sendmmsg(2): how many messages were sent; an error counts only if it was the first."""
    if flags & MSG_CMSG_COMPAT:
        raise LinuxError(EINVAL)
    file = socket_of(task, fd)

    def one(addr: int, first: bool) -> Result:
        return _sendmsg(task, file, addr, flags)

    return _each(task, file, msgvec, min(vlen, UIO_MAXIOV), one, None)


async def _each(
    task: Task, file: SocketFile, msgvec: int, count: int, one: Callable[[int, bool], Result],
    until: int | None,
) -> int:  # fmt: skip
    """Do ``one(address, first)`` for each mmsghdr, writing its result to msg_len; how many were done."""
    file.get()
    done = 0
    try:
        while done < count:
            addr = msgvec + MMSGHDR_SIZE * done
            result = one(addr, done == 0)
            length = result if isinstance(result, int) else await result
            task.mm.write_u32(addr + _MSG_LEN, length)
            done += 1
            if until is not None and monotonic_ns() >= until:
                break
    except (LinuxError, Interrupted):
        if not done:
            raise
    finally:
        file.put()
    return done


# -- receiving ----------------------------------------------------------------------------------


def receive(
    task: Task, file: SocketFile, count: int, flags: int, finish: Callable[[Received], int]
) -> Result:
    """Receive up to ``count`` bytes and hand them to ``finish``, whose result is the call's."""
    waits = not (flags & MSG_DONTWAIT or file.nonblocking())
    try:
        received = file.recv(task, count, flags)
    except WouldBlock:
        if not waits:
            raise
        return _receive_waiting(task, file, count, flags, finish, None)
    if _wants_more(file, received, count, flags) and waits:
        return _receive_waiting(task, file, count, flags, finish, received)
    return finish(received)


def _wants_more(file: SocketFile, received: Received, count: int, flags: int) -> bool:
    """Is a stream to go on: MSG_WAITALL, or SO_RCVLOWAT?"""
    if file.kind != SOCK_STREAM or not received.data or received.files or flags & MSG_PEEK:
        return False
    target = count if flags & MSG_WAITALL else min(file.rcvlowat, count)
    return received.length < target


async def _receive_waiting(
    task: Task, file: SocketFile, count: int, flags: int, finish: Callable[[Received], int],
    received: Received | None,
) -> int:  # fmt: skip
    """Wait for data; ``received``: what a call that wants more has already."""
    file.get()
    deadline = file.read_deadline()
    error: Exception
    woken = True
    look = received is not None  # what comes next may be there already, or the end
    try:
        while True:
            try:
                if not look:
                    woken = await task.wait(file.wait_queue(), _READ_EVENTS, deadline)
                look = False
                more = file.recv(task, count - (received.length if received else 0), flags)
            except WouldBlock as would_block:
                if woken:
                    continue
                error = would_block
                break
            except Interrupted as broken_off:
                error = interrupted(deadline, broken_off)
                break
            except LinuxError as failed:
                error = failed
                break
            if received is None:
                received = more
            else:
                received.data += more.data
                received.length += more.length
                received.files += more.files
                received.flags |= more.flags
            if not more.data or not _wants_more(file, received, count, flags):
                return finish(received)
    finally:
        file.put()
    if received is not None:
        if isinstance(error, LinuxError) and not isinstance(error, WouldBlock) and deadline is None:
            file.error = error.errno  # told by the next call
        return finish(received)
    raise error


def _result(received: Received, flags: int) -> int:
    """What the call answers: the length of a datagram, cut or (MSG_TRUNC) whole."""
    return received.length if flags & MSG_TRUNC else len(received.data)


@syscall(45)
def recvfrom(
    task: Task, fd: Fd, buf: OutBuf, size: Size, flags: MsgFlags, addr: OutSockaddr, addrlen: InOutInt
) -> Result:
    """recvfrom(2), recv(2)."""
    size = min(size, MAX_RW_COUNT)
    file = socket_of(task, fd)
    if not flags and not addr and size <= CHUNK and file.rcvlowat == 1:
        try:
            data = file.recv_plain(task, size)
        except WouldBlock:
            if file.flags & O_NONBLOCK:
                raise
        else:
            task.mm.copy_out(buf, data)
            return len(data)
    flags &= ~MSG_CMSG_COMPAT

    def finish(received: Received) -> int:
        if received.files:
            in_flight(task.kernel).discard(received.files)
        if received.data:
            task.mm.copy_out(buf, received.data)
        if addr:
            copy_out_address(task, received.address, addr, addrlen)
        return _result(received, flags)

    return receive(task, file, min(size, CHUNK) if file.kind == SOCK_STREAM else size, flags, finish)


def _recvmsg(task: Task, file: SocketFile, addr: int, flags: int) -> Result:
    header = _Header(task, addr)

    def finish(received: Received) -> int:
        files = received.files
        try:
            if received.data and task.mm.scatter(header.entries, received.data) != len(received.data):
                raise LinuxError(EFAULT)
            if header.name:
                task.mm.copy_out(header.name, received.address[: header.namelen])
                task.mm.write_u32(addr + _NAMELEN, len(received.address))
        except LinuxError:
            in_flight(task.kernel).discard(files)
            raise
        control, truncated = build(task, header.controllen, received.cred, files, flags)
        room = header.controllen - len(control)
        if received.control:
            if len(received.control) > room:
                truncated |= 8
            control += received.control[: max(room, 0)]
        if control:
            task.mm.copy_out(header.control, control)
        task.mm.write_u64(addr + _CONTROLLEN, len(control))
        told = received.flags | truncated | flags & (MSG_CMSG_CLOEXEC | MSG_ERRQUEUE)
        task.mm.write_u32(addr + _FLAGS, told)
        return _result(received, flags)

    count = min(header.total, CHUNK) if file.kind == SOCK_STREAM else header.total
    return receive(task, file, count, flags, finish)


@syscall(47)
def recvmsg(task: Task, fd: Fd, msg: OutMsghdr, flags: MsgFlags) -> Result:
    """recvmsg(2)."""
    if flags & MSG_CMSG_COMPAT:
        raise LinuxError(EINVAL)
    return _recvmsg(task, socket_of(task, fd), msg, flags)


@syscall(299)
def recvmmsg(task: Task, fd: Fd, msgvec: Ptr, vlen: UInt, flags: MsgFlags, timeout: InTimespec) -> Result:
    """recvmmsg(2): the time-out is looked at after each message, as Linux does; the rest is written back."""
    if flags & MSG_CMSG_COMPAT:
        raise LinuxError(EINVAL)
    until = monotonic_ns() + copy_in_timespec(task, timeout) if timeout else None
    file = socket_of(task, fd)
    own = flags & ~MSG_WAITFORONE

    def one(addr: int, first: bool) -> Result:
        return _recvmsg(task, file, addr, own if first or not flags & MSG_WAITFORONE else own | MSG_DONTWAIT)

    done = _each(task, file, msgvec, min(vlen, UIO_MAXIOV), one, until)
    return done if until is None else _with_time_left(task, done, timeout, until)


async def _with_time_left(task: Task, call: Coroutine[Any, Any, int], addr: int, until: int) -> int:
    result = await call
    task.mm.copy_out(addr, pack_timespec(max(until - monotonic_ns(), 0)))
    return result
