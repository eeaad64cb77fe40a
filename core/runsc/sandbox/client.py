"""Talking to a sandbox's kernel: requests and answers, one JSON object a line, over its socket.

This is the commands' side; ``runsc.sandbox.control`` is the other one.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket

from runsc.errors import RunscError
from runsc.oci.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: Longest line, in bytes: a container's whole config.json travels in one.
MAX_LINE = 4 << 20


class Gone(RunscError):
    """There is no kernel at the other end (any more)."""


class Connection:
    """A connection to the kernel that answers on the socket ``path``. Use it in ``with``."""

    __slots__ = ("_buffer", "_socket", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._buffer = b""
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            connect(self._socket, path)
        except OSError as error:
            self._socket.close()
            raise Gone(
                f"the sandbox does not answer: {error.strerror}", "its process has ended, or is about to"
            ) from None

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, request: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a request; ``fds`` go with it. Raises ``Gone``."""
        data = dumps(request).encode() + b"\n"
        try:
            if fds:
                rights = b"".join(fd.to_bytes(4, "little") for fd in fds)
                sent = self._socket.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, rights)])
                data = data[sent:]
            self._socket.sendall(data)
        except OSError as error:
            raise Gone(f"the sandbox does not listen: {error.strerror}", "its process has ended") from None

    def receive(self) -> dict[str, Any]:
        """The next answer. Raises ``Gone``, and ``RunscError`` for an answer that is an error."""
        while b"\n" not in self._buffer:
            try:
                piece = self._socket.recv(65536)
            except OSError as error:
                raise Gone(
                    f"the sandbox does not answer: {error.strerror}", "its process has ended"
                ) from None
            if not piece or len(self._buffer) > MAX_LINE:
                raise Gone("the sandbox has ended", "see its log (--debug-log)")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = loads(line)
        problem = answer.get("error")
        if problem is not None:
            raise RunscError(str(problem[0]), str(problem[1]))
        return answer

    def call(self, request: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        self.send(request, fds)
        return self.receive()


def connect(sock: socket, path: str) -> None:
    """connect(2) to a path of any length: sun_path holds 107 bytes only."""
    _at_short_path(path, sock.connect)


def listen(path: str) -> socket:
    """A socket that listens on ``path``."""
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    _at_short_path(path, sock.bind)
    sock.listen(64)
    sock.setblocking(False)
    return sock


def _at_short_path(path: str, act: Any) -> None:
    directory, name = os.path.split(path)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        act(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)
