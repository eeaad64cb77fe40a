"""One connection: messages in, replies out, in turn."""

from __future__ import annotations

import os
from errno import EINVAL, EIO, EOPNOTSUPP, EROFS
from struct import error as StructError  # noqa: N812
from time import time_ns

from runsc._native import ffi, lib

from runsc_fs_gofer9p.protocol import HEAD, MSIZE, RLERROR
from runsc_fs_gofer9p.server import extension, plain
from runsc_fs_gofer9p.server.node import Fids, failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_fs_gofer9p.server.node import Node

#: How much is read at once.
_READ = 1 << 18


class Client:
    """A client and its fids. ``root``: what it may reach; ``here``: the directory of this process's
    descriptors; ``events``: the inotify descriptor for its watches (shared with other clients), and
    ``ident`` a number for that; ``passing``: descriptors that go with the reply in hand."""

    __slots__ = (
        "events",
        "extended",
        "fd",
        "fids",
        "here",
        "ident",
        "msize",
        "passing",
        "read_only",
        "root",
        "unread",
    )

    def __init__(self, fd: int, root: Node, read_only: bool, here: int, events: int, ident: int) -> None:
        self.fd = fd
        self.root = root
        self.read_only = read_only
        self.here = here
        self.events = events
        self.ident = ident
        self.fids = Fids()
        self.msize = MSIZE
        self.extended = False
        self.passing: list[int] = []
        self.unread = b""

    def close(self) -> None:
        self.fids.clear()
        os.close(self.fd)

    def writable(self) -> None:
        """Something is about to be changed. Raises EROFS."""
        if self.read_only:
            raise failure(EROFS)

    def now(self) -> int:
        return time_ns()

    def serve(self) -> bool:
        """Answer what has come in; False when the client is gone, or sends what makes no sense."""
        data = os.read(self.fd, _READ)
        if not data:
            return False
        if self.unread:
            data = self.unread + data
        view = memoryview(data)
        at = 0
        replies: list[bytes] = []
        while len(data) - at >= HEAD.size:
            size, kind, tag = HEAD.unpack_from(data, at)
            if size < HEAD.size or size > MSIZE:
                return False
            if len(data) - at < size:
                break
            replies.append(self.answer(kind, tag, view[at + HEAD.size : at + size]))
            at += size
            if self.passing:
                # They travel with the first byte of what is sent, so that is the reply they belong to.
                if len(replies) > 1:
                    self.send(b"".join(replies[:-1]), ())
                self.send(replies[-1], self.passing)
                replies.clear()
                self.close_passed()
        self.unread = data[at:] if at < len(data) else b""
        if replies:
            self.send(replies[0] if len(replies) == 1 else b"".join(replies), ())
        return True

    def answer(self, kind: int, tag: int, body: memoryview) -> bytes:
        """The reply to one message. Whatever goes wrong is an error for the client."""
        try:
            handler = plain.MESSAGES.get(kind)
            if handler is None:
                handler = extension.MESSAGES.get(kind) if self.extended else None
                if handler is None:
                    raise failure(EOPNOTSUPP)
            reply = handler(self, body)
        except OSError as error:
            return self._failed(tag, EIO if error.errno is None else error.errno)
        except (StructError, ValueError, OverflowError):
            # A message that is too short, or has a NUL where there can't be one.
            return self._failed(tag, EINVAL)
        return HEAD.pack(HEAD.size + len(reply), kind + 1, tag) + reply

    def _failed(self, tag: int, number: int) -> bytes:
        self.close_passed()
        return HEAD.pack(HEAD.size + 4, RLERROR, tag) + number.to_bytes(4, "little")

    def close_passed(self) -> None:
        while self.passing:
            os.close(self.passing.pop())

    def send(self, data: bytes, passed: list[int] | tuple[()]) -> None:
        numbers = ffi.new("int[]", list(passed)) if passed else ffi.NULL
        result = lib.rn_send(self.fd, ffi.from_buffer(data), len(data), numbers, len(passed))
        if result < 0:
            raise failure(-result)
