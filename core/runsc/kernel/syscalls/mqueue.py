"""mq_open(2), mq_unlink(2), mq_timedsend(2), mq_timedreceive(2), mq_notify(2), mq_getsetattr(2)."""

from __future__ import annotations

from errno import EAGAIN, EBADF, EBUSY, EEXIST, EINVAL, EMSGSIZE, ENOENT, ENOTSOCK, EPERM, ETIMEDOUT
from time import monotonic_ns, time_ns

from runsc.abi.fcntl import O_ACCMODE, O_CREAT, O_EXCL, O_NONBLOCK, O_RDWR, O_WRONLY
from runsc.abi.ipc import MQ_ATTR, MQ_PRIO_MAX, NOTIFY_COOKIE_LEN
from runsc.abi.signal import NSIG
from runsc.abi.time import SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEVENT
from runsc.kernel.clock import copy_in_timespec
from runsc.kernel.credentials import CAP_FOWNER
from runsc.kernel.errors import Interrupted, LinuxError
from runsc.kernel.ipc.mqueue import (
    MqueueFile,
    Notification,
    Waiter,
    check_name,
    message_queue_limit,
    mqueue_fs,
)
from runsc.kernel.ipc.namespace import ipc_tables
from runsc.kernel.socket.netlink.socket import NetlinkSocket
from runsc.kernel.syscalls.decl import (
    Fd,
    InBuf,
    InTimespec,
    Mode,
    OpenFlags,
    OutBuf,
    PathPtr,
    Ptr,
    Size,
    UInt,
    syscall,
)
from runsc.kernel.vfs.install import install
from runsc.kernel.vfs.permission import MAY_READ, MAY_WRITE, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.ipc.mqueue import MqueueInode
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_ACCESS = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE)


@syscall(240)
def mq_open(task: Task, name: PathPtr, oflag: OpenFlags, mode: Mode, attr: Ptr) -> int:
    """mq_open(2); the C library has taken the slash off the name."""
    wanted = None
    if attr:
        wanted = task.mm.unpack(attr, MQ_ATTR)[1:3]
    path = task.mm.copy_in_path(name)
    root = mqueue_fs(ipc_tables(task)).root()
    check_name(path)
    inode = root.entries.get(path)
    if inode is None:
        if not oflag & O_CREAT:
            raise LinuxError(ENOENT)
        check(root, task.cred, MAY_WRITE)
        inode = root.make(
            path, mode & 0o7777 & ~task.fs.umask, task.cred, wanted, message_queue_limit(task)
        )
    elif oflag & O_CREAT and oflag & O_EXCL:
        raise LinuxError(EEXIST)
    elif oflag & O_ACCMODE == O_RDWR | O_WRONLY:
        raise LinuxError(EINVAL)
    else:
        check(inode, task.cred, _ACCESS[oflag & O_ACCMODE])
    return install(task, MqueueFile(inode, oflag & (O_ACCMODE | O_NONBLOCK)), True)


@syscall(241)
def mq_unlink(task: Task, name: PathPtr) -> int:
    """mq_unlink(2)."""
    path = task.mm.copy_in_path(name)
    root = mqueue_fs(ipc_tables(task)).root()
    check_name(path)
    inode = root.entries.get(path)
    if inode is None:
        raise LinuxError(ENOENT)
    check(root, task.cred, MAY_WRITE)
    if task.cred.fsuid not in (inode.uid, root.uid) and not task.cred.capable(CAP_FOWNER):
        raise LinuxError(EPERM)
    root.unlink(path, inode)
    return 0


def _queue_of(task: Task, fd: int) -> MqueueFile:
    file = task.files.get(fd)
    if not isinstance(file, MqueueFile):
        raise LinuxError(EBADF)
    return file


def _deadline(task: Task, addr: int) -> int | None:
    """The absolute time at ``addr`` on the monotonic clock, None for NULL; raises EFAULT, EINVAL."""
    if not addr:
        return None
    return copy_in_timespec(task, addr) - time_ns() + monotonic_ns()


@syscall(242)
def mq_timedsend(
    task: Task, mqdes: Fd, msg: InBuf, length: Size, priority: UInt, timeout: InTimespec
) -> Result:
    """mq_timedsend(2)."""
    deadline = _deadline(task, timeout)
    if priority >= MQ_PRIO_MAX:
        raise LinuxError(EINVAL)
    file = _queue_of(task, mqdes)
    if not file.writable():
        raise LinuxError(EBADF)
    inode = file.inode
    if length > inode.msgsize:
        raise LinuxError(EMSGSIZE)
    text = task.mm.copy_in(msg, length)
    if len(inode.messages) < inode.maxmsg:
        inode.send(task, text, priority)
        return 0
    if file.flags & O_NONBLOCK:
        raise LinuxError(EAGAIN)
    return _send_waiting(task, file, Waiter(text, priority), deadline)


async def _send_waiting(task: Task, file: MqueueFile, waiter: Waiter, deadline: int | None) -> int:
    await _wait(task, file, file.inode.senders, waiter, deadline)
    return 0


async def _wait(
    task: Task, file: MqueueFile, waiters: list[Waiter], waiter: Waiter, deadline: int | None
) -> None:
    """Wait until ``waiter`` is served; raises ETIMEDOUT."""
    waiters.append(waiter)
    file.get()
    try:
        while not waiter.done:
            woken = await task.wait(waiter.queue, deadline=deadline)
            if not woken and not waiter.done:
                raise LinuxError(ETIMEDOUT)
    except Interrupted:
        if not waiter.done:
            raise
    finally:
        if waiter in waiters:
            waiters.remove(waiter)
        file.put()


@syscall(243)
def mq_timedreceive(
    task: Task, mqdes: Fd, msg: OutBuf, length: Size, priority: Ptr, timeout: InTimespec
) -> Result:
    """mq_timedreceive(2): the length of the message."""
    deadline = _deadline(task, timeout)
    file = _queue_of(task, mqdes)
    if not file.readable():
        raise LinuxError(EBADF)
    inode = file.inode
    if length < inode.msgsize:
        raise LinuxError(EMSGSIZE)
    if inode.messages:
        return _deliver(task, msg, priority, *inode.receive())
    if file.flags & O_NONBLOCK:
        raise LinuxError(EAGAIN)
    return _receive_waiting(task, file, msg, priority, deadline)


def _deliver(task: Task, addr: int, priority_addr: int, text: bytes, priority: int) -> int:
    if priority_addr:
        task.mm.write_u32(priority_addr, priority)
    task.mm.copy_out(addr, text)
    return len(text)


async def _receive_waiting(
    task: Task, file: MqueueFile, addr: int, priority_addr: int, deadline: int | None
) -> int:
    waiter = Waiter()
    await _wait(task, file, file.inode.receivers, waiter, deadline)
    return _deliver(task, addr, priority_addr, waiter.text, waiter.priority)


@syscall(244)
def mq_notify(task: Task, mqdes: Fd, sevp: Ptr) -> int:
    """mq_notify(2); NULL takes the registration back."""
    if not sevp:
        inode = _queue_of(task, mqdes).inode
        inode.drop_notification(task.group)
        return 0
    value, signo, how, _tid = task.mm.unpack(sevp, SIGEVENT)
    if how not in (SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD):
        raise LinuxError(EINVAL)
    if how == SIGEV_SIGNAL and not 0 <= signo <= NSIG:
        raise LinuxError(EINVAL)
    asked = Notification(task.group, how, signo, value)
    if how == SIGEV_THREAD:
        asked.cookie = task.mm.copy_in(value & 0xFFFFFFFFFFFFFFFF, NOTIFY_COOKIE_LEN)
        socket = task.files.get(signo)
        if not socket.inode.is_socket():
            raise LinuxError(ENOTSOCK)
        if not isinstance(socket, NetlinkSocket):
            raise LinuxError(EINVAL)
        asked.socket = socket
    inode = _queue_of(task, mqdes).inode
    if inode.notification is not None:
        raise LinuxError(EBUSY)
    if asked.socket is not None:
        asked.socket.get()
    inode.notification = asked
    inode.atime = inode.ctime = time_ns()
    return 0


@syscall(245)
def mq_getsetattr(task: Task, mqdes: Fd, new: Ptr, old: Ptr) -> int:
    """mq_getsetattr(2): only O_NONBLOCK can be changed."""
    flags = None
    if new:
        flags = task.mm.unpack(new, MQ_ATTR)[0]
        if flags & ~O_NONBLOCK:
            raise LinuxError(EINVAL)
    file = _queue_of(task, mqdes)
    inode: MqueueInode = file.inode
    before = MQ_ATTR.pack(file.flags & O_NONBLOCK, inode.maxmsg, inode.msgsize, len(inode.messages))
    if flags is not None:
        file.flags = file.flags & ~O_NONBLOCK | flags & O_NONBLOCK
        inode.atime = inode.ctime = time_ns()
    if old:
        task.mm.copy_out(old, before)
    return 0
