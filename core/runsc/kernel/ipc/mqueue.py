"""POSIX message queues and the file system that shows them (ipc/mqueue.c, mq_overview(7))."""

from __future__ import annotations

from errno import EACCES, EINVAL, EMFILE, ENAMETOOLONG, ENOENT, ENOSPC, EOVERFLOW
from heapq import heappop, heappush
from stat import S_IFDIR, S_IFREG, S_ISVTX
from time import time_ns

from runsc.abi.ipc import NOTIFY_COOKIE_LEN, NOTIFY_REMOVED, NOTIFY_WOKENUP
from runsc.abi.poll import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from runsc.abi.signal import SI_MESGQ
from runsc.abi.time import SIGEV_SIGNAL, SIGEV_THREAD
from runsc.kernel.credentials import CAP_SYS_RESOURCE
from runsc.kernel.errors import LinuxError
from runsc.kernel.ipc.ids import process_of, shown_pid
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.thread_group import RLIMIT_MSGQUEUE
from runsc.kernel.vfs.file import DirectoryFile, File
from runsc.kernel.vfs.inode import DirEntry, FileSystem, Inode, StatFs
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.ipc.namespace import IpcTables
    from runsc.kernel.socket.netlink.socket import NetlinkSocket
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ThreadGroup
    from runsc.kernel.vfs.dentry import Path

MQUEUE_MAGIC = 0x19800202
NAME_MAX = 255
#: What each name adds to the directory's size, and what each file's size is (DIRENT_SIZE, FILENT_SIZE).
_DIRENT_SIZE = 20
_FILENT_SIZE = 80
_HARD_MSGMAX = 65536
_HARD_MSGSIZEMAX = 16 << 20
#: What a message and a priority cost beside the text (struct msg_msg, struct posix_msg_tree_node).
_MSG_COST = 48
_NODE_COST = 56
_PRIO_MAX = 32768
_ULONG_MAX = 0xFFFFFFFFFFFFFFFF


class Waiter:
    """Who waits to send ``text`` with ``priority``, or to receive it (struct ext_wait_queue)."""

    __slots__ = ("done", "priority", "queue", "text")

    def __init__(self, text: bytes = b"", priority: int = 0) -> None:
        self.text = text
        self.priority = priority
        self.done = False
        self.queue = WaitQueue()

    def finish(self) -> None:
        self.done = True
        self.queue.wake()


class Notification:
    """Who is to be told when a message comes to an empty queue (mq_notify(3)). ``how``: SIGEV_*; with
    SIGEV_THREAD, ``cookie`` goes to the netlink socket that the C library's helper thread reads."""

    __slots__ = ("cookie", "how", "owner", "signo", "socket", "value")

    def __init__(self, owner: ThreadGroup, how: int, signo: int, value: int) -> None:
        self.owner = owner
        self.how = how
        self.signo = signo
        self.value = value
        self.cookie = b""
        self.socket: NetlinkSocket | None = None

    def fire(self, sender: Task) -> None:
        """A message has come."""
        if self.how == SIGEV_SIGNAL and self.signo and not self.owner.zombie:
            self.owner.send_signal(
                SigInfo(
                    self.signo, SI_MESGQ, pid=process_of(sender).nr(self.owner.leader.pid_ns),
                    uid=sender.cred.uid, value=self.value,
                )
            )
        self.end(NOTIFY_WOKENUP)

    def end(self, why: int) -> None:
        """It is used up, or taken back."""
        if self.how == SIGEV_THREAD and self.socket is not None:
            self.socket.deliver(self.cookie[: NOTIFY_COOKIE_LEN - 1] + bytes((why,)))
            self.socket.put()
            self.socket = None


class MqueueInode(Inode):
    """One queue. ``messages``: a heap of (-priority, order, text)."""

    __slots__ = (
        "charged", "maxmsg", "messages", "msgsize", "name", "notification", "opens", "order", "owner",
        "queue", "receivers", "senders",
    )  # fmt: skip

    fs: MqueueFs

    def __init__(
        self, fs: MqueueFs, name: bytes, mode: int, cred: Credentials, maxmsg: int, size: int
    ) -> None:
        super().__init__(fs, fs.number(), S_IFREG | mode & 0o7777, cred.fsuid, cred.fsgid)
        self.size = _FILENT_SIZE
        self.name = name
        self.maxmsg = maxmsg
        self.msgsize = size
        self.messages: list[tuple[int, int, bytes]] = []
        self.order = 0
        self.senders: list[Waiter] = []
        self.receivers: list[Waiter] = []
        #: who polls
        self.queue = WaitQueue()
        self.notification: Notification | None = None
        self.opens = 0
        self.owner = cred.uid
        self.charged = 0

    def open(self, path: Path | None, flags: int, task: Task) -> File:
        return MqueueFile(self, flags, path)

    def used(self) -> int:
        """Bytes that wait in it."""
        return sum(len(text) for _priority, _order, text in self.messages)

    # -- messages -----------------------------------------------------------------------------

    def insert(self, text: bytes, priority: int) -> None:
        self.order += 1
        heappush(self.messages, (-priority, self.order, text))

    def touch(self) -> None:
        self.atime = self.mtime = self.ctime = time_ns()

    def send(self, task: Task, text: bytes, priority: int) -> None:
        """There is room: hand the message to who waits for one, or keep it and tell who wanted to know."""
        if self.receivers:
            receiver = self.receivers.pop(0)
            receiver.text, receiver.priority = text, priority
            receiver.finish()
        else:
            self.insert(text, priority)
            notification = self.notification
            if notification is not None and len(self.messages) == 1:
                self.notification = None
                notification.fire(task)
            self.queue.wake(POLLIN | POLLRDNORM)
        self.touch()

    def receive(self) -> tuple[bytes, int]:
        """The oldest of the most urgent messages; its place goes to the first who waits to send."""
        priority, _order, text = heappop(self.messages)
        self.touch()
        if self.senders:
            sender = self.senders.pop(0)
            self.insert(sender.text, sender.priority)
            sender.finish()
        else:
            self.queue.wake(POLLOUT | POLLWRNORM)
        return text, -priority

    def drop_notification(self, owner: ThreadGroup) -> None:
        """``owner`` takes its registration back, or closes the queue."""
        found = self.notification
        if found is not None and found.owner is owner:
            self.notification = None
            found.end(NOTIFY_REMOVED)
            self.queue.wake()

    def release_if_unused(self) -> None:
        """Without a name and a descriptor the queue is gone (mqueue_evict_inode)."""
        if not self.nlink and not self.opens:
            self.messages.clear()
            self.fs.discharge(self)


class MqueueFile(File):
    """An open queue: the calls of mq_overview(7) take its descriptor; read(2) tells of its state."""

    __slots__ = ()

    seekable = True

    inode: MqueueInode

    def __init__(self, inode: MqueueInode, flags: int, path: Path | None = None) -> None:
        super().__init__(inode, flags, path)
        inode.opens += 1

    def release(self) -> None:
        self.inode.opens -= 1
        self.inode.release_if_unused()

    def flush(self, task: Task) -> None:
        self.inode.drop_notification(task.group)

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        inode = self.inode
        told = inode.notification
        text = (
            f"QSIZE:{inode.used():<10} NOTIFY:{told.how if told else 0:<5}"
            f" SIGNO:{told.signo if told and told.how == SIGEV_SIGNAL else 0:<5}"
            f" NOTIFY_PID:{shown_pid(task, process_of(told.owner.leader)) if told else 0:<6}\n"
        )
        return text.encode()[offset : offset + count]

    def poll(self, task: Task | None = None) -> int:
        events = 0
        if self.inode.messages:
            events = POLLIN | POLLRDNORM
        if len(self.inode.messages) < self.inode.maxmsg:
            events |= POLLOUT | POLLWRNORM
        return events

    def wait_queue(self) -> WaitQueue:
        return self.inode.queue

    def describe(self) -> str:
        name = self.inode.name.decode("utf-8", "surrogateescape")
        return f"/{name}" if self.inode.nlink else f"/{name} (deleted)"


class MqueueRoot(Inode):
    """The directory of all queues of a namespace."""

    __slots__ = ("entries",)

    fs: MqueueFs

    def __init__(self, fs: MqueueFs) -> None:
        super().__init__(fs, 1, S_IFDIR | S_ISVTX | 0o777)
        self.nlink = 2
        self.size = 2 * _DIRENT_SIZE
        self.entries: dict[bytes, MqueueInode] = {}

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        inode = self.entries.get(name)
        if inode is None:
            raise LinuxError(ENAMETOOLONG if len(name) > NAME_MAX else ENOENT)
        return inode

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        return [DirEntry(name, inode.ino, S_IFREG) for name, inode in reversed(self.entries.items())]

    def open(self, path: Path, flags: int, task: Task) -> File:
        return DirectoryFile(self, flags, path)

    def create(self, name: bytes, mode: int, cred: Credentials, rdev: int = 0) -> Inode:
        """A queue with the default limits, as creat(2) on the mounted file system makes it. It is limited
        by what the kernel's defaults are, not by RLIMIT_MSGQUEUE: nobody is asked whose it would be."""
        if mode & 0o170000 != S_IFREG:
            raise LinuxError(EACCES)
        return self.make(name, mode, cred, None, None)

    def make(
        self, name: bytes, mode: int, cred: Credentials, attr: tuple[int, int] | None, limit: int | None
    ) -> MqueueInode:
        """A new queue. ``attr``: its maxmsg and msgsize, None for the defaults; ``limit``:
        RLIMIT_MSGQUEUE. Raises ENOSPC, EINVAL, EOVERFLOW, EMFILE."""
        limits = self.fs.namespace.limits
        privileged = cred.capable(CAP_SYS_RESOURCE)
        if len(self.entries) >= limits.mq_queues_max and not privileged:
            raise LinuxError(ENOSPC)
        maxmsg = min(limits.mq_msg_max, limits.mq_msg_default)
        size = min(limits.mq_msgsize_max, limits.mq_msgsize_default)
        if attr is not None:
            maxmsg, size = attr
        if maxmsg <= 0 or size <= 0:
            raise LinuxError(EINVAL)
        most, largest = limits.mq_msg_max, limits.mq_msgsize_max
        if privileged:
            most, largest = _HARD_MSGMAX, _HARD_MSGSIZEMAX
        if maxmsg > most or size > largest:
            raise LinuxError(EINVAL)
        if size > _ULONG_MAX // maxmsg:
            raise LinuxError(EOVERFLOW)
        inode = MqueueInode(self.fs, name, mode, cred, maxmsg, size)
        cost = maxmsg * _MSG_COST + min(maxmsg, _PRIO_MAX) * _NODE_COST + maxmsg * size
        self.fs.charge(inode, cost, limit)
        self.entries[name] = inode
        self.size += _DIRENT_SIZE
        self.atime = self.mtime = self.ctime = time_ns()
        return inode

    def unlink(self, name: bytes, inode: Inode) -> None:
        found = self.entries.pop(name, None)
        if found is None:
            raise LinuxError(ENOENT)
        self.size -= _DIRENT_SIZE
        self.atime = self.mtime = self.ctime = time_ns()
        found.nlink = 0
        found.ctime = time_ns()
        found.release_if_unused()


class MqueueFs(FileSystem):
    """The file system ``mqueue`` of one IPC namespace; all its mounts show the same queues. ``bytes``: what
    each user's queues are counted with."""

    __slots__ = ("bytes", "last_ino", "namespace", "root_inode")

    def __init__(self, namespace: IpcTables) -> None:
        super().__init__("mqueue", "mqueue", cached=False)
        self.namespace = namespace
        self.last_ino = 1
        self.bytes: dict[int, int] = {}
        self.root_inode = MqueueRoot(self)

    def number(self) -> int:
        self.last_ino += 1
        return self.last_ino

    def root(self) -> MqueueRoot:
        return self.root_inode

    def statfs(self) -> StatFs:
        return StatFs(MQUEUE_MAGIC)

    def charge(self, inode: MqueueInode, cost: int, limit: int | None) -> None:
        """Count a queue against its owner's RLIMIT_MSGQUEUE; raises EMFILE."""
        used = self.bytes.get(inode.owner, 0) + cost
        if limit is not None and used > limit:
            raise LinuxError(EMFILE)
        self.bytes[inode.owner] = used
        inode.charged = cost

    def discharge(self, inode: MqueueInode) -> None:
        left = self.bytes.get(inode.owner, 0) - inode.charged
        inode.charged = 0
        if left > 0:
            self.bytes[inode.owner] = left
        else:
            self.bytes.pop(inode.owner, None)


def mqueue_fs(namespace: IpcTables) -> MqueueFs:
    """The namespace's file system, made the first time it is asked for."""
    if namespace.mqueues is None:
        namespace.mqueues = MqueueFs(namespace)
    return namespace.mqueues


def check_name(name: bytes) -> None:
    """A name as mq_open(2) takes it, without a slash (lookup_one_len). Raises ENOENT, EACCES,
    ENAMETOOLONG."""
    if not name:
        raise LinuxError(ENOENT)
    if name in (b".", b"..") or b"/" in name:
        raise LinuxError(EACCES)
    if len(name) > NAME_MAX:
        raise LinuxError(ENAMETOOLONG)


def message_queue_limit(task: Task) -> int:
    return task.limit(RLIMIT_MSGQUEUE)
