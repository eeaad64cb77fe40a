"""Scenarios of system calls on plain memory addresses, made of the host's kernel and of ours.

A scenario is a function of a ``Machine`` that makes calls and answers what is to be equal (results, negative
errnos, bytes), never descriptor numbers or addresses. ``same`` runs it on both.
"""

from __future__ import annotations

import ctypes
import os
from abc import ABC, abstractmethod
from struct import pack
from typing import TYPE_CHECKING, Any

from support import Buffer, call, make_task

from runsc.abi.syscalls import NAMES
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc.kernel.syscalls.table import declarations

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = {name: number for number, name in NAMES.items()}
HANDLERS = {item.name: item.handler for item in declarations().values()}


def descriptors() -> set[str]:
    """The open descriptors of this process, without the one that lists them."""
    return {name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


class Machine(ABC):
    """One of the two kernels."""

    @abstractmethod
    def call(self, name: str, *args: int) -> int:
        """The call's result, or -errno."""

    @abstractmethod
    def put(self, data: bytes) -> int:
        """The address of a copy of ``data``."""

    @abstractmethod
    def get(self, addr: int, size: int) -> bytes:
        """``size`` bytes at ``addr``."""

    def room(self, size: int) -> int:
        return self.put(bytes(size))

    def ints(self, addr: int, count: int) -> list[int]:
        """``count`` C ints at ``addr``."""
        raw = self.get(addr, 4 * count)
        return [int.from_bytes(raw[i : i + 4], "little", signed=True) for i in range(0, 4 * count, 4)]

    def pair(self, name: str, *args: int) -> tuple[int, int]:
        """A call that writes two descriptors to its last argument."""
        addr = self.room(8)
        assert self.call(name, *args, addr) == 0, name
        first, second = self.ints(addr, 2)
        return first, second

    def pipe(self, flags: int = 0) -> tuple[int, int]:
        addr = self.room(8)
        assert self.call("pipe2", addr, flags) == 0
        first, second = self.ints(addr, 2)
        return first, second

    def write(self, fd: int, data: bytes) -> int:
        return self.call("write", fd, self.put(data), len(data))

    def read(self, fd: int, count: int) -> int | bytes:
        """What was read, or -errno."""
        addr = self.room(count)
        result = self.call("read", fd, addr, count)
        return result if result < 0 else self.get(addr, result)

    def poll(self, *entries: tuple[int, int]) -> list[int]:
        """The returned events of (descriptor, events) now, behind the call's result."""
        raw = b"".join(pack("<iHH", fd, events, 0) for fd, events in entries)
        addr = self.put(raw)
        result = self.call("poll", addr, len(entries), 0)
        back = self.get(addr, len(raw))
        return [result, *(int.from_bytes(back[i + 6 : i + 8], "little") for i in range(0, len(raw), 8))]


class Host(Machine):
    """The host's kernel. What a scenario opened is closed behind it."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.syscall.restype = ctypes.c_long
        self.buffers: list[Any] = []
        self.open = descriptors()

    def call(self, name: str, *args: int) -> int:
        result: int = self.libc.syscall(
            ctypes.c_long(NUMBERS[name]), *(ctypes.c_ulong(arg & 0xFFFFFFFFFFFFFFFF) for arg in args)
        )
        return -ctypes.get_errno() if result == -1 else result

    def put(self, data: bytes) -> int:
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        self.buffers.append(buffer)
        return ctypes.addressof(buffer)

    def get(self, addr: int, size: int) -> bytes:
        return ctypes.string_at(addr, size)

    def close(self) -> None:
        for name in descriptors() - self.open:
            os.close(int(name))


class Guest(Machine):
    """Our kernel, with an empty tmpfs as root."""

    def __init__(self) -> None:
        self.task = make_task(root=Tmpfs())
        self.buffer = Buffer(self.task)

    def call(self, name: str, *args: int) -> int:
        result = call(self.task, HANDLERS[name], *args)
        assert isinstance(result, int), f"{name} waits"
        assert not [line for line in self.task.kernel.log.lines if line[0] == "error"]
        return result

    def put(self, data: bytes) -> int:
        return self.buffer.put(data)

    def get(self, addr: int, size: int) -> bytes:
        return self.buffer.get(addr, size)

    def close(self) -> None:
        self.task.files.close_all(self.task)


def same(scenario: Callable[[Machine], Any]) -> Any:
    """Run a scenario on both kernels; what both answer."""
    results = []
    for make in (Host, Guest):
        machine = make()
        try:
            results.append(scenario(machine))
        finally:
            machine.close()
    host, guest = results
    assert guest == host, f"ours {guest!r}\nhost's {host!r}"
    return host
