"""The sandbox's side of a connection to the gofer: requests, and waiting for their answers."""

from __future__ import annotations

import os
from errno import EIO

from runsc._native import ffi, lib

from runsc.kernel.errors import LinuxError
from runsc_fs_gofer9p.protocol import HEAD, MSIZE, RLERROR, TCLUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CLUNK = HEAD.size + 4
#: So many fids are given back at the latest with one message.
_MAX_CLUNKS = 64


class Connection:
    """One 9P connection. ``report`` is told, once, that it is lost; every request then answers EIO.

    Fids that aren't needed any more are given back with the next request, for a message costs two switches
    between processes.
    """

    __slots__ = ("buffer", "clunks", "fd", "free", "last", "lost", "passed", "report", "view", "what")

    def __init__(self, fd: int, what: str, report: Callable[[str], None]) -> None:
        self.fd = fd
        self.what = what
        self.report = report
        self.lost = False
        self.buffer = ffi.new("char[]", MSIZE)
        self.view = memoryview(ffi.buffer(self.buffer))
        self.passed = ffi.new("int[4]")
        self.clunks: list[int] = []
        self.free: list[int] = []
        self.last = 0

    def fid(self) -> int:
        """A number that is free."""
        if self.free:
            return self.free.pop()
        self.last += 1
        return self.last

    def clunk(self, fid: int) -> None:
        """``fid`` isn't needed any more."""
        self.clunks.append(fid)
        if len(self.clunks) >= _MAX_CLUNKS:
            self._forget_some()

    def _forget_some(self) -> None:
        try:
            self._exchange(b"", 0)
        except LinuxError:
            return  # lost; told already

    def call(self, kind: int, body: bytes) -> memoryview:
        """Send a request and wait for the answer: its body, valid until the next request. Raises
        ``LinuxError`` with the gofer's errno, EIO if it is gone."""
        size = HEAD.size + len(body)
        length, count = self._exchange(HEAD.pack(size, kind, 1) + body, 1)
        view = self.view
        at = 0
        # The answers to what was given back come first.
        for _ in range(count - 1):
            at += int.from_bytes(view[at : at + 4], "little")
        _size, answer, _tag = HEAD.unpack_from(view, at)
        if answer == kind + 1:
            return view[at + HEAD.size : length]
        self.close_passed()
        if answer == RLERROR and length >= at + HEAD.size + 4:
            raise LinuxError(int.from_bytes(view[at + 7 : at + 11], "little") or EIO)
        raise self.fail("it answers nonsense")

    def _exchange(self, request: bytes, count: int) -> tuple[int, int]:
        if self.lost:
            raise LinuxError(EIO)
        clunks = self.clunks
        if clunks:
            count += len(clunks)
            request = b"".join(
                HEAD.pack(_CLUNK, TCLUNK, 2) + fid.to_bytes(4, "little") for fid in clunks
            ) + request
        length = lib.rn_exchange(
            self.fd, ffi.from_buffer(request), len(request), self.buffer, MSIZE, count, self.passed
        )
        if length < 0:
            raise self.fail(os.strerror(-length))
        if clunks:
            self.free += clunks
            clunks.clear()
        return length, count

    def fail(self, why: str) -> LinuxError:
        """The connection is of no use any more. What to raise."""
        if not self.lost:
            self.lost = True
            self.report(f"the gofer for {self.what} is lost ({why}): its files answer EIO from now on")
        return LinuxError(EIO)

    def take(self, index: int = 0) -> int:
        """A descriptor that came with the last answer; it is the caller's. Raises EIO if there is none."""
        fd = self.passed[index]
        if fd < 0:
            raise self.fail("a descriptor is missing")
        self.passed[index] = -1
        return int(fd)

    def close_passed(self) -> None:
        for index in range(4):
            if self.passed[index] >= 0:
                os.close(self.passed[index])
                self.passed[index] = -1

    def close(self) -> None:
        """Idempotent."""
        self.lost = True
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)
