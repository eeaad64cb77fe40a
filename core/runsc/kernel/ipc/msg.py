"""System V message queues (ipc/msg.c)."""

from __future__ import annotations

from errno import E2BIG, EAGAIN, EIDRM

from runsc.abi.ipc import MSG_COPY, MSG_EXCEPT, MSQID_DS
from runsc.kernel.errors import LinuxError
from runsc.kernel.ipc.ids import IpcObject, now, shown_pid
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.ipc.namespace import IpcTables
    from runsc.kernel.pid import Pid
    from runsc.kernel.task import Task

#: How a receiver chooses (SEARCH_*).
ANY, EQUAL, NOT_EQUAL, LESS_EQUAL, NUMBER = range(5)
_LONG_MAX = 0x7FFFFFFFFFFFFFFF


def search_mode(kind: int, flags: int) -> tuple[int, int]:
    """(type, mode) of msgrcv(2)'s arguments (convert_mode)."""
    if flags & MSG_COPY:
        return kind, NUMBER
    if kind == 0:
        return 0, ANY
    if kind < 0:
        return min(-kind, _LONG_MAX), LESS_EQUAL
    return kind, NOT_EQUAL if flags & MSG_EXCEPT else EQUAL


def matches(message_type: int, kind: int, mode: int) -> bool:
    """Is it a message that a receiver wants (testmsg)?"""
    if mode == EQUAL:
        return message_type == kind
    if mode == LESS_EQUAL:
        return message_type <= kind
    if mode == NOT_EQUAL:
        return message_type != kind
    return True


class Message:
    """One message: its type (positive) and its text."""

    __slots__ = ("kind", "text")

    def __init__(self, kind: int, text: bytes) -> None:
        self.kind = kind
        self.text = text


class Receiver:
    """Who waits for a message. ``limit``: the longest text it takes; ``message``: what it got; ``status``:
    the errno it ends with."""

    __slots__ = ("kind", "limit", "message", "mode", "pid", "queue", "status")

    def __init__(self, kind: int, mode: int, limit: int, pid: Pid) -> None:
        self.kind = kind
        self.mode = mode
        self.limit = limit
        self.pid = pid
        self.message: Message | None = None
        self.status = 0
        self.queue = WaitQueue()


class MessageQueue(IpcObject):
    """A queue (struct msg_queue). ``receivers`` and ``senders`` wait in the order in which they came."""

    __slots__ = (
        "cbytes", "lrpid", "lspid", "messages", "namespace", "qbytes", "receivers", "rtime", "senders",
        "stime",
    )  # fmt: skip

    def __init__(self, namespace: IpcTables, task: Task, key: int, mode: int) -> None:
        super().__init__(key, mode, task.cred)
        self.namespace = namespace
        self.messages: list[Message] = []
        self.receivers: list[Receiver] = []
        self.senders = WaitQueue()
        self.qbytes = namespace.limits.msg_ctlmnb
        self.cbytes = 0
        self.stime = self.rtime = 0
        self.lspid: Pid | None = None
        self.lrpid: Pid | None = None

    def fits(self, size: int) -> bool:
        """Is there room for a message (msg_fits_inqueue)?"""
        return size + self.cbytes <= self.qbytes and 1 + len(self.messages) <= self.qbytes

    def send(self, message: Message, pid: Pid) -> None:
        """Give it to the first who waits for such a one, or keep it."""
        self.lspid = pid
        self.stime = now()
        for receiver in self.receivers.copy():
            if not matches(message.kind, receiver.kind, receiver.mode):
                continue
            self.receivers.remove(receiver)
            if receiver.limit < len(message.text):
                receiver.status = E2BIG
                receiver.queue.wake()
                continue
            receiver.message = message
            self.lrpid = receiver.pid
            self.rtime = now()
            receiver.queue.wake()
            return
        self.messages.append(message)
        self.cbytes += len(message.text)
        self.namespace.msg_bytes += len(message.text)
        self.namespace.msg_count += 1

    def find(self, kind: int, mode: int) -> Message | None:
        """The message a receiver is to get (find_msg)."""
        if mode == NUMBER:
            return self.messages[kind] if 0 <= kind < len(self.messages) else None
        if mode == LESS_EQUAL:
            fitting = [message for message in self.messages if message.kind <= kind]
            return min(fitting, key=lambda message: message.kind, default=None)
        for message in self.messages:
            if matches(message.kind, kind, mode):
                return message
        return None

    def take(self, message: Message, pid: Pid) -> None:
        """A receiver gets ``message``: it leaves the queue, and there is room for others."""
        self.messages.remove(message)
        self.lrpid = pid
        self.rtime = now()
        self._account(message)
        self.senders.wake()

    def _account(self, message: Message) -> None:
        self.cbytes -= len(message.text)
        self.namespace.msg_bytes -= len(message.text)
        self.namespace.msg_count -= 1

    def changed(self) -> None:
        """IPC_SET: everybody who waits looks again, with the rights there are now."""
        self._end_receivers(EAGAIN)
        self.senders.wake()

    def remove(self) -> None:
        """IPC_RMID: who waits gets EIDRM (freeque)."""
        self.namespace.msg.remove(self)
        self._end_receivers(EIDRM)
        for message in self.messages:
            self._account(message)
        self.messages.clear()
        self.senders.wake()

    def _end_receivers(self, status: int) -> None:
        receivers, self.receivers = self.receivers, []
        for receiver in receivers:
            receiver.status = status
            receiver.queue.wake()

    def check_exists(self) -> None:
        """Raise EIDRM if it was removed while somebody waited."""
        if self.deleted:
            raise LinuxError(EIDRM)

    def pack(self, task: Task) -> bytes:
        """struct msqid64_ds."""
        return self.pack_perm() + MSQID_DS.pack(
            self.stime, self.rtime, self.ctime, self.cbytes, len(self.messages), self.qbytes,
            shown_pid(task, self.lspid), shown_pid(task, self.lrpid),
        )  # fmt: skip
