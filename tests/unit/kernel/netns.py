"""Scenarios of socket calls: of the host's kernel, in a namespace with only a loopback, and of ours.

The host's side runs in a forked child, so that this process stays in the namespace it is in. Needs root, or a
host that lets users make namespaces.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pickle
import socket
import struct
import sys
import traceback
from errno import errorcode
from struct import pack
from typing import TYPE_CHECKING, Any

import pytest
from scenario import Guest, Host

from runsc_net_none.plugin import NoNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from scenario import Machine

_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_SIOCSIFFLAGS, _UP_RUNNING = 0x8914, 0x41
V4, V6 = socket.AF_INET, socket.AF_INET6
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
NONBLOCK = socket.SOCK_NONBLOCK
Where = tuple[str, int]


def show(result: int) -> int | str:
    """A result, or the name of its error."""
    return errorcode.get(-result, result) if result < 0 else result


class Sock:
    """A socket of one of the kernels, with calls that answer comparable things."""

    def __init__(self, machine: Machine, family: int = V4, kind: int = STREAM, protocol: int = 0) -> None:
        self.machine = machine
        self.family = family
        self.fd = machine.call("socket", family, kind | NONBLOCK, protocol)
        assert self.fd >= 0, errorcode[-self.fd]

    def _address(self, where: Where | bytes) -> tuple[int, int]:
        if isinstance(where, bytes):
            raw = where
        else:
            ip, port = where
            family = V6 if ":" in ip else V4
            raw = struct.pack("<H", family) + struct.pack(">H", port)
            raw += bytes(4) + socket.inet_pton(V6, ip) + bytes(4) if family == V6 else (
                socket.inet_pton(V4, ip) + bytes(8)
            )
        return self.machine.put(raw), len(raw)

    def bind(self, ip: str, port: int = 0) -> int | str:
        return show(self.machine.call("bind", self.fd, *self._address((ip, port))))

    def listen(self, backlog: int = 5) -> int | str:
        return show(self.machine.call("listen", self.fd, backlog))

    def connect(self, where: Where | bytes) -> int | str:
        return show(self.machine.call("connect", self.fd, *self._address(where)))

    def disconnect(self) -> int | str:
        return self.connect(bytes(16))

    def accept(self) -> Sock | str:
        result = self.machine.call("accept4", self.fd, 0, 0, NONBLOCK)
        if result < 0:
            return errorcode[-result]
        new = object.__new__(Sock)
        new.machine, new.family, new.fd = self.machine, self.family, result
        return new

    def _name(self, call: str) -> Where | str:
        addr, length = self.machine.room(28), self.machine.put(pack("<I", 28))
        result = self.machine.call(call, self.fd, addr, length)
        if result < 0:
            return errorcode[-result]
        raw = self.machine.get(addr, self.machine.ints(length, 1)[0])
        port = int.from_bytes(raw[2:4], "big")
        return (socket.inet_ntop(V6, raw[8:24]) if raw[0] == V6 else socket.inet_ntop(V4, raw[4:8])), port

    def name(self) -> Where:
        found = self._name("getsockname")
        assert isinstance(found, tuple)
        return found

    def peer(self) -> Where | str:
        return self._name("getpeername")

    def send(self, data: bytes, flags: int = 0, where: Where | None = None) -> int | str:
        address = self._address(where) if where else (0, 0)
        flags |= socket.MSG_NOSIGNAL
        return show(self.machine.call("sendto", self.fd, self.machine.put(data), len(data), flags, *address))

    def recv(self, count: int = 64, flags: int = 0) -> bytes | str:
        addr = self.machine.room(count)
        result = self.machine.call("recvfrom", self.fd, addr, count, flags, 0, 0)
        return errorcode[-result] if result < 0 else self.machine.get(addr, min(result, count))

    def shutdown(self, how: int) -> int | str:
        return show(self.machine.call("shutdown", self.fd, how))

    def close(self) -> int | str:
        return show(self.machine.call("close", self.fd))

    def set(self, level: int, name: int, value: int | bytes = 1) -> int | str:
        raw = value if isinstance(value, bytes) else struct.pack("<i", value)
        return show(self.machine.call("setsockopt", self.fd, level, name, self.machine.put(raw), len(raw)))

    def get(self, level: int, name: int, room: int = 4) -> bytes | str:
        addr, length = self.machine.room(max(room, 1)), self.machine.put(pack("<I", room))
        result = self.machine.call("getsockopt", self.fd, level, name, addr, length)
        return errorcode[-result] if result < 0 else self.machine.get(addr, self.machine.ints(length, 1)[0])

    def number(self, request: int) -> int | str:
        """An ioctl(2) that answers an int."""
        addr = self.machine.room(4)
        result = self.machine.call("ioctl", self.fd, request, addr)
        return errorcode[-result] if result < 0 else self.machine.ints(addr, 1)[0]

    def poll(self) -> str:
        """All that poll(2) tells of it."""
        return hex(self.machine.poll((self.fd, 0x23FF))[1])


def pair(machine: Machine, family: int = V4, **options: int) -> tuple[Sock, Sock]:
    """A connection: the client's end and the server's."""
    server = Sock(machine, family)
    assert server.bind("127.0.0.1" if family == V4 else "::1") == 0
    assert server.listen() == 0
    client = Sock(machine, family)
    assert client.connect(server.name()) == "EINPROGRESS"
    accepted = server.accept()
    assert isinstance(accepted, Sock)
    server.close()
    return client, accepted


class NetGuest(Guest):
    """Our kernel with the loopback."""

    def __init__(self) -> None:
        super().__init__()
        kernel = self.task.kernel
        kernel.network = NoNetwork()
        kernel.network.start(kernel)

    def call(self, name: str, *args: int) -> int:
        result = super().call(name, *args)
        self.task.work = 0
        return result


def _enter_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _CLONE_NEWNET | (_CLONE_NEWUSER if os.geteuid() else 0)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(V4, DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _UP_RUNNING))


def natively(scenario: Callable[[Machine], Any]) -> Any:
    """What the host's kernel answers, in a namespace of its own; skips the test where there is none."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            try:
                _enter_namespace()
            except OSError as error:
                answer: tuple[str, Any] = ("skip", str(error))
            else:
                machine = Host()
                answer = ("done", scenario(machine))
        except BaseException:
            answer = ("failed", traceback.format_exc())
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        sys.stdout.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        kind, result = pickle.load(pipe)
    os.waitpid(pid, 0)
    if kind == "skip":
        pytest.skip(f"no network namespace: {result}")
    assert kind == "done", result
    return result


def same(scenario: Callable[[Machine], Any]) -> Any:
    """Run a scenario on both kernels; what both answer."""
    host = natively(scenario)
    guest = NetGuest()
    try:
        ours = scenario(guest)
    finally:
        guest.close()
    differences = [(at, one, two) for at, (one, two) in enumerate(zip(ours, host, strict=True)) if one != two]
    assert not differences, "\n".join(f"{at}: ours {one!r}, host's {two!r}" for at, one, two in differences)
    return host
