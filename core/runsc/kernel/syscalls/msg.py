"""msgget(2), msgsnd(2), msgrcv(2), msgctl(2) (ipc/msg.c)."""

from __future__ import annotations

from errno import E2BIG, EAGAIN, EINVAL, ENOMSG, EPERM

from runsc.abi.ipc import (
    IPC_INFO,
    IPC_NOWAIT,
    IPC_PERM,
    IPC_RMID,
    IPC_SET,
    IPC_STAT,
    MSG_COPY,
    MSG_EXCEPT,
    MSG_INFO,
    MSG_NOERROR,
    MSG_STAT,
    MSG_STAT_ANY,
    MSGINFO,
    MSQID_DS,
)
from runsc.kernel.credentials import CAP_SYS_RESOURCE
from runsc.kernel.errors import Interrupted, LinuxError, Restart
from runsc.kernel.ipc.ids import READ, WRITE, now, process_of
from runsc.kernel.ipc.msg import Message, MessageQueue, Receiver, search_mode
from runsc.kernel.ipc.namespace import ipc_tables
from runsc.kernel.syscalls.decl import Hex, Int, Long, Ptr, Size, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.ipc.namespace import IpcTables
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_LONG_MAX = 0x7FFFFFFFFFFFFFFF
#: What struct msginfo says of things that don't exist (MSGSSZ, MSGSEG).
_MSGSSZ = 16
_MSGSEG = 0xFFFF
_MSGMNI = 32000
_MSGMNB = 16384


@syscall(68)
def msgget(task: Task, key: Int, msgflg: Hex) -> int:
    """msgget(2)."""
    namespace = ipc_tables(task)

    def make() -> int:
        return namespace.msg.add(MessageQueue(namespace, task, key, msgflg), namespace.limits.msg_ctlmni)

    return namespace.msg.obtain(task.cred, key, msgflg, make, lambda found: None)


@syscall(69)
def msgsnd(task: Task, msqid: Int, msgp: Ptr, msgsz: Size, msgflg: Hex) -> Result:
    """msgsnd(2)."""
    kind = int.from_bytes(task.mm.copy_in(msgp, 8), "little", signed=True)
    namespace = ipc_tables(task)
    if msgsz > namespace.limits.msg_ctlmax or msgsz > _LONG_MAX or msqid < 0 or kind < 1:
        raise LinuxError(EINVAL)
    message = Message(kind, task.mm.copy_in(msgp + 8, msgsz))
    queue = namespace.msg.get(msqid)
    queue.check(task.cred, WRITE)
    if queue.fits(msgsz):
        queue.send(message, process_of(task))
        return 0
    if msgflg & IPC_NOWAIT:
        raise LinuxError(EAGAIN)
    return _send_waiting(task, queue, message)


async def _send_waiting(task: Task, queue: MessageQueue, message: Message) -> int:
    while True:
        try:
            await task.wait(queue.senders)
        except Interrupted:
            raise Restart from None
        queue.check_exists()
        queue.check(task.cred, WRITE)
        if queue.fits(len(message.text)):
            queue.send(message, process_of(task))
            return 0


@syscall(70)
def msgrcv(task: Task, msqid: Int, msgp: Ptr, msgsz: Size, msgtyp: Long, msgflg: Hex) -> Result:
    """msgrcv(2): the length of the text."""
    if msqid < 0 or msgsz > _LONG_MAX:
        raise LinuxError(EINVAL)
    if msgflg & MSG_COPY and (msgflg & MSG_EXCEPT or not msgflg & IPC_NOWAIT):
        raise LinuxError(EINVAL)
    kind, mode = search_mode(msgtyp, msgflg)
    queue = ipc_tables(task).msg.get(msqid)
    message = _take(task, queue, kind, mode, msgsz, msgflg)
    if message is not None:
        return _deliver(task, msgp, message, msgsz)
    if msgflg & IPC_NOWAIT:
        raise LinuxError(ENOMSG)
    return _receive_waiting(task, queue, msgp, msgsz, kind, mode, msgflg)


def _take(
    task: Task, queue: MessageQueue, kind: int, mode: int, size: int, flags: int
) -> Message | None:  # fmt: skip
    """The message that is there, taken out (or left there, for MSG_COPY). Raises EACCES, E2BIG."""
    queue.check(task.cred, READ)
    message = queue.find(kind, mode)
    if message is None:
        return None
    if size < len(message.text) and not flags & MSG_NOERROR:
        raise LinuxError(E2BIG)
    if not flags & MSG_COPY:
        queue.take(message, process_of(task))
    return message


def _deliver(task: Task, addr: int, message: Message, size: int) -> int:
    text = message.text[:size]
    task.mm.write_u64(addr, message.kind)
    task.mm.copy_out(addr + 8, text)
    return len(text)


async def _receive_waiting(
    task: Task, queue: MessageQueue, addr: int, size: int, kind: int, mode: int, flags: int
) -> int:
    while True:
        receiver = Receiver(kind, mode, _LONG_MAX if flags & MSG_NOERROR else size, process_of(task))
        queue.receivers.append(receiver)
        try:
            while receiver.message is None and not receiver.status:
                await task.wait(receiver.queue)
        except Interrupted:
            if receiver.message is None:
                raise Restart from None
        finally:
            if receiver in queue.receivers:
                queue.receivers.remove(receiver)
        if receiver.message is not None:
            return _deliver(task, addr, receiver.message, size)
        if receiver.status != EAGAIN:
            raise LinuxError(receiver.status)
        queue.check_exists()
        message = _take(task, queue, kind, mode, size, flags)
        if message is not None:
            return _deliver(task, addr, message, size)


@syscall(71)
def msgctl(task: Task, msqid: Int, cmd: Int, buf: Ptr) -> int:
    """msgctl(2)."""
    if msqid < 0 or cmd < 0:
        raise LinuxError(EINVAL)
    namespace = ipc_tables(task)
    mm = task.mm
    if cmd in (IPC_INFO, MSG_INFO):
        mm.copy_out(buf, _info(namespace, cmd == MSG_INFO))
        return namespace.msg.max_index()
    if cmd in (IPC_STAT, MSG_STAT, MSG_STAT_ANY):
        queue = namespace.msg.get(msqid) if cmd == IPC_STAT else namespace.msg.at(msqid)
        if cmd != MSG_STAT_ANY:
            queue.check(task.cred, READ)
        mm.copy_out(buf, queue.pack(task))
        return 0 if cmd == IPC_STAT else queue.ident
    if cmd not in (IPC_SET, IPC_RMID):
        raise LinuxError(EINVAL)
    given = mm.copy_in(buf, IPC_PERM.size + MSQID_DS.size) if cmd == IPC_SET else b""
    queue = namespace.msg.get(msqid)
    queue.check_owner(task.cred)
    if cmd == IPC_RMID:
        queue.remove()
        return 0
    qbytes = MSQID_DS.unpack_from(given, IPC_PERM.size)[5]
    if qbytes > namespace.limits.msg_ctlmnb and not task.cred.capable(CAP_SYS_RESOURCE):
        raise LinuxError(EPERM)
    queue.set_perm(given)
    queue.qbytes = qbytes
    queue.ctime = now()
    queue.changed()
    return 0


def _info(namespace: IpcTables, usage: bool) -> bytes:
    """struct msginfo: limits, and with MSG_INFO what is in use."""
    limits = namespace.limits
    if usage:
        pool, entries, total = len(namespace.msg), namespace.msg_count, namespace.msg_bytes
    else:
        pool, entries, total = _MSGMNI * _MSGMNB // 1024, _MSGMNB, _MSGMNB
    return MSGINFO.pack(
        pool, entries, limits.msg_ctlmax, limits.msg_ctlmnb, limits.msg_ctlmni, _MSGSSZ, total, _MSGSEG
    )
