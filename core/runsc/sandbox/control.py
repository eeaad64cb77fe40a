"""The kernel's side of the socket that commands talk to a sandbox through.

One JSON object a line in each direction; descriptors (standard streams, mounts) come with the first bytes of
their request. Served by the kernel's own loop, so every request sees the kernel between two system calls.
Only the user whose sandbox it is, and root, get an answer.

A connection on which a process was started (``exec``) stands for it: its end is told there, and when the
connection is closed, the process is killed.
"""

from __future__ import annotations

import os
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from select import EPOLLIN, EPOLLOUT

from runsc.errors import RunscError, trace
from runsc.oci.jsontext import dumps, loads
from runsc.sandbox.client import MAX_LINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runsc.kernel.hostpoll import Watch
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.thread_group import ThreadGroup
    from runsc.kernel.tty.bridge import Bridge

    Handler = Callable[["Request"], dict[str, Any] | None]

#: How many descriptors may come with one message (net/core/scm.h: SCM_MAX_FD).
_MAX_FDS = 253
_CHUNK = 65536


class Request:
    """One request: ``body``, and the descriptors that came with it. Whoever takes one sets it to -1."""

    __slots__ = ("body", "client", "fds")

    def __init__(self, client: Client, body: dict[str, Any], fds: list[int]) -> None:
        self.client = client
        self.body = body
        self.fds = fds

    @property
    def kernel(self) -> Kernel:
        return self.client.server.kernel

    def take(self, index: int) -> int:
        """Take over one of the descriptors."""
        if index >= len(self.fds) or self.fds[index] < 0:
            raise RunscError("a request came without its descriptors", "use one version of runsc throughout")
        fd, self.fds[index] = self.fds[index], -1
        return fd


class Server:
    """``handlers``: what answers each request, by the name in its field ``do``. A handler answers a dict, or
    None if it will answer later, by ``client.answer``."""

    __slots__ = ("_watch", "clients", "handlers", "kernel", "listener", "uid")

    def __init__(self, kernel: Kernel, listener: socket, handlers: dict[str, Handler]) -> None:
        self.kernel = kernel
        self.listener = listener
        self.handlers = handlers
        self.clients: set[Client] = set()
        self.uid = os.geteuid()
        self._watch = kernel.poller.watch(listener.fileno(), EPOLLIN, self._connected)
        kernel.closers.append(self.close)

    def _connected(self, _events: int) -> None:
        try:
            fd, _name = self.listener._accept()  # type: ignore[attr-defined]
        except (BlockingIOError, ConnectionAbortedError):
            return
        sock = socket(AF_UNIX, SOCK_STREAM, 0, fd)
        credentials = sock.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)
        uid = int.from_bytes(credentials[4:8], "little")
        if uid not in (0, self.uid):
            self.kernel.log.warning(f"control: user {uid} is not answered")
            sock.close()
            return
        sock.setblocking(False)
        self.clients.add(Client(self, sock))

    def close(self) -> None:
        """Idempotent."""
        for client in list(self.clients):
            client.close()
        self._watch.close()
        self.listener.close()


class Client:
    """One connection. ``gone``: called when it is closed from the other side. ``group``, ``bridge``: the
    process that was started on it, and that one's terminal."""

    __slots__ = ("_fds", "_in", "_out", "_watch", "bridge", "gone", "group", "server", "sock")

    def __init__(self, server: Server, sock: socket) -> None:
        self.server = server
        self.sock = sock
        self.gone: Callable[[], None] | None = None
        self.group: ThreadGroup | None = None
        self.bridge: Bridge | None = None
        self._in = b""
        self._out = b""
        self._fds: list[int] = []
        self._watch: Watch | None = server.kernel.poller.watch(sock.fileno(), EPOLLIN, self._ready)

    def _ready(self, events: int) -> None:
        if events & EPOLLOUT:
            self._flush()
        if self._watch is None:
            return
        try:
            data, ancillary, _flags, _address = self.sock.recvmsg(
                _CHUNK, CMSG_SPACE(4 * _MAX_FDS), MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, rights in ancillary:
            if level == SOL_SOCKET and kind == SCM_RIGHTS:
                self._fds += [
                    int.from_bytes(rights[at : at + 4], "little") for at in range(0, len(rights) - 3, 4)
                ]
        if not data or len(self._in) > MAX_LINE:
            self._hung_up()
            return
        self._in += data
        while b"\n" in self._in and self._watch is not None:
            line, _, self._in = self._in.partition(b"\n")
            fds, self._fds = self._fds, []
            self._handle(line, fds)

    def _handle(self, line: bytes, fds: list[int]) -> None:
        kernel = self.server.kernel
        request: Request | None = None
        try:
            body = loads(line)
            request = Request(self, body, fds)
            handler = self.server.handlers.get(body["do"])
            if handler is None:
                raise RunscError(f"the sandbox has no answer to {body['do']!r}", "use one version of runsc")
            answer = handler(request)
        except RunscError as error:
            answer = {"error": [error.what, error.remedy]}
        except Exception as error:
            kernel.log.error(f"control: a request failed:\n{trace(error)}")
            answer = {"error": [f"internal error: {type(error).__name__}: {error}", "see the debug log"]}
        finally:
            for fd in fds if request is None else request.fds:
                if fd >= 0:
                    os.close(fd)
        if answer is not None:
            self.answer(answer)

    def answer(self, answer: dict[str, Any]) -> None:
        """Send an answer; nothing happens if nobody is there any more."""
        if self._watch is not None:
            self._out += dumps(answer).encode() + b"\n"
            self._flush()

    def _flush(self) -> None:
        assert self._watch is not None
        try:
            while self._out:
                self._out = self._out[self.sock.send(self._out) :]
        except BlockingIOError:
            self._watch.modify(EPOLLIN | EPOLLOUT)
            return
        except OSError:
            self._hung_up()
            return
        self._watch.modify(EPOLLIN)

    def _hung_up(self) -> None:
        gone = self.gone
        self.close()
        if gone is not None:
            gone()

    def close(self) -> None:
        """Idempotent."""
        if self._watch is None:
            return
        self._watch.close()
        self._watch = None
        self.server.clients.discard(self)
        for fd in self._fds:
            os.close(fd)
        self.sock.close()
