"""SECCOMP_RET_USER_NOTIF: another process answers for a call (seccomp_unotify(2))."""

from __future__ import annotations

from errno import EBADF, EINPROGRESS, EINTR, EINVAL, ENOENT, ENOSYS, ENOTTY
from struct import Struct

from runsc.abi.fcntl import O_CLOEXEC, O_RDWR
from runsc.abi.poll import POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from runsc.kernel.errors import WOULD_BLOCK, Interrupted, LinuxError
from runsc.kernel.fs.anon import AnonFile, anon_inodes
from runsc.kernel.gate import call
from runsc.kernel.seccomp.filter import Data
from runsc.kernel.thread_group import RLIMIT_NOFILE
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from runsc.kernel.task import Task

    Args = tuple[int, int, int, int, int, int]

NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
NOTIF_ID_VALID, NOTIF_ID_VALID_OLD = 0x40082102, 0x80082102
NOTIF_ADDFD, NOTIF_SET_FLAGS = 0x40182103, 0x40082104

#: struct seccomp_notif without its data, seccomp_notif_resp, seccomp_notif_addfd.
NOTIF = Struct("<QII")
RESPONSE = Struct("<QqiI")
ADDFD = Struct("<QIIII")
NOTIF_SIZE = NOTIF.size + 64

USER_NOTIF_FLAG_CONTINUE = 1
ADDFD_FLAG_SETFD, ADDFD_FLAG_SEND = 1, 2

_WAITING, _SENT, _REPLIED = range(3)


class Request:
    """A call that waits for its answer."""

    __slots__ = ("data", "error", "flags", "ident", "queue", "state", "task", "value")

    def __init__(self, task: Task, ident: int, data: bytes) -> None:
        self.task = task
        self.ident = ident
        self.data = data
        self.state = _WAITING
        self.value = self.error = self.flags = 0
        self.queue = WaitQueue()

    def reply(self, value: int, error: int, flags: int) -> None:
        self.state = _REPLIED
        self.value, self.error, self.flags = value, error, flags
        self.queue.wake()


class Listener:
    """Where the requests of one filter wait. ``users``: tasks that go through the filter; ``open``: there is
    somebody to answer."""

    __slots__ = ("killable", "next", "open", "queue", "requests", "users")

    def __init__(self, killable: bool) -> None:
        self.killable = killable
        self.requests: dict[int, Request] = {}
        self.queue = WaitQueue()
        self.open = True
        self.users = 0
        self.next = 1

    def count(self, change: int) -> None:
        self.users += change
        if not self.users:
            self.queue.wake(POLLHUP)

    def ask(self, task: Task, number: int, args: Args) -> int | Coroutine[Any, Any, int]:
        """Let the listener's owner answer the call."""
        if not self.open:
            return -ENOSYS
        request = Request(task, self.next, Data(task, number, args).pack())
        self.next += 1
        self.requests[request.ident] = request
        self.queue.wake(POLLIN | POLLRDNORM)
        return self._wait(request, args)

    async def _wait(self, request: Request, args: Args) -> int:
        task = request.task
        try:
            while request.state != _REPLIED:
                firm = self.killable and request.state == _SENT
                await task.wait(request.queue, interruptible=not firm)
        finally:
            self.requests.pop(request.ident, None)
        if request.flags & USER_NOTIF_FLAG_CONTINUE:
            result = call(task, args)
            return result if isinstance(result, int) else await result
        return request.error or request.value

    def pending(self, state: int) -> Request | None:
        for request in self.requests.values():
            if request.state == state:
                return request
        return None


class ListenerFile(AnonFile):
    """The descriptor that SECCOMP_FILTER_FLAG_NEW_LISTENER gives."""

    __slots__ = ("listener",)

    def __init__(self, task: Task, listener: Listener) -> None:
        super().__init__(anon_inodes(task.kernel).anon_inode, O_RDWR)
        self.listener = listener

    def release(self) -> None:
        self.listener.open = False
        for request in self.listener.requests.values():
            request.reply(0, -ENOSYS, 0)

    def read(self, task: Task, count: int) -> bytes:
        raise LinuxError(EINVAL)

    def write(self, task: Task, data: bytes) -> int:
        raise LinuxError(EINVAL)

    def poll(self, task: Task | None = None) -> int:
        events = 0
        if self.listener.pending(_WAITING) is not None:
            events |= POLLIN | POLLRDNORM
        if self.listener.pending(_SENT) is not None:
            events |= POLLOUT | POLLWRNORM
        if not self.listener.users:
            events |= POLLHUP
        return events

    def wait_queue(self) -> WaitQueue:
        return self.listener.queue

    def describe(self) -> str:
        return "anon_inode:seccomp notify"

    def ioctl(self, task: Task, request: int, arg: int) -> int | Coroutine[Any, Any, int]:  # type: ignore[override]
        if request == NOTIF_RECV:
            if any(task.mm.copy_in(arg, NOTIF_SIZE)):
                raise LinuxError(EINVAL)
            if self.listener.pending(_WAITING) is None:
                return self._receive_later(task, arg)
            return self._receive(task, arg)
        if request == NOTIF_SEND:
            return self._send(task, arg)
        if request in (NOTIF_ID_VALID, NOTIF_ID_VALID_OLD):
            self._sent(task.mm.read_u64(arg))
            return 0
        if request == NOTIF_ADDFD:
            return self._add_fd(task, arg)
        if request == NOTIF_SET_FLAGS:
            if arg & ~1:
                raise LinuxError(EINVAL)
            return 0  # who answers runs on this processor anyway
        raise LinuxError(EINVAL if request >> 8 & 0xFF == 0x21 else ENOTTY)

    async def _receive_later(self, task: Task, arg: int) -> int:
        while self.listener.pending(_WAITING) is None:
            if not self.listener.users:
                raise LinuxError(ENOENT)
            try:
                await task.wait(self.listener.queue)
            except Interrupted:
                raise LinuxError(EINTR) from None
        return self._receive(task, arg)

    def _receive(self, task: Task, arg: int) -> int:
        request = self.listener.pending(_WAITING)
        if request is None:
            raise WOULD_BLOCK
        number = request.task.pid.nr(task.pid_ns)
        task.mm.copy_out(arg, NOTIF.pack(request.ident, number, 0) + request.data)
        request.state = _SENT
        self.listener.queue.wake(POLLOUT | POLLWRNORM)
        return 0

    def _sent(self, ident: int) -> Request:
        """The request with this id that was received and not answered yet; raises ENOENT."""
        request = self.listener.requests.get(ident)
        if request is None or request.state != _SENT:
            raise LinuxError(ENOENT)
        return request

    def _send(self, task: Task, arg: int) -> int:
        ident, value, error, flags = task.mm.unpack(arg, RESPONSE)
        if flags & ~USER_NOTIF_FLAG_CONTINUE or (flags and (value or error)):
            raise LinuxError(EINVAL)
        request = self.listener.requests.get(ident)
        if request is None:
            raise LinuxError(ENOENT)
        if request.state != _SENT:
            raise LinuxError(EINPROGRESS)
        request.reply(value, error, flags)
        return 0

    def _add_fd(self, task: Task, arg: int) -> int:
        """Install one of the caller's files in the task that waits; its descriptor there."""
        ident, flags, source, target_fd, fd_flags = task.mm.unpack(arg, ADDFD)
        if fd_flags & ~O_CLOEXEC or flags & ~(ADDFD_FLAG_SETFD | ADDFD_FLAG_SEND):
            raise LinuxError(EINVAL)
        if target_fd and not flags & ADDFD_FLAG_SETFD:
            raise LinuxError(EINVAL)
        file = task.files.files.get(source)
        if file is None:
            raise LinuxError(EBADF)
        request = self.listener.requests.get(ident)
        if request is None:
            raise LinuxError(ENOENT)
        if request.state != _SENT:
            raise LinuxError(EINPROGRESS)
        target = request.task
        if flags & ADDFD_FLAG_SETFD:
            if target_fd >= target.limit(RLIMIT_NOFILE):
                raise LinuxError(EBADF)
            target.files.install_at(target_fd, file, bool(fd_flags), target)
            fd: int = target_fd
        else:
            fd = target.files.install(file, target.limit(RLIMIT_NOFILE), bool(fd_flags))
        if flags & ADDFD_FLAG_SEND:
            request.reply(fd, 0, 0)
        return fd
