"""``--network=record``: records what TCP clients in a sandbox send and receive; plays it back without a
network.

    runsc --network=record --record-to=session.jsonl do -- curl http://192.0.2.1/
    runsc --network=record --replay-from=session.jsonl do -- curl http://192.0.2.1/

The file has a JSON object a line: the socket's number, what it did, and the bytes in hexadecimal. While
recording, sockets are those of another network (``--record-inner``, host by default).
"""

from __future__ import annotations

import json
from errno import EAFNOSUPPORT, ECONNREFUSED
from typing import TYPE_CHECKING, Any

from runsc.abi.poll import POLLIN, POLLOUT
from runsc.abi.socket import AF_INET, AF_INET6, MSG_PEEK, SOCK_STREAM
from runsc.errors import RunscError
from runsc.flags import STRING, Flag
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.socket.file import Received, SocketFile
from runsc.network import Network
from runsc.plugins.availability import Availability
from runsc.plugins.hookspecs import hookimpl
from runsc.plugins.loader import load
from runsc.plugins.scan import NETWORK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from runsc.config import Config
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.plugins.availability import HostCall


class Recorded(SocketFile):
    """A socket that does what ``inner`` does, and notes what goes through it."""

    __slots__ = ("inner", "net", "number")

    def __init__(self, inner: SocketFile, net: RecordNetwork, number: int) -> None:
        super().__init__(inner.inode, inner.flags, inner.family, inner.kind, inner.protocol)
        self.inner = inner.get()
        self.queue = inner.queue  # who waits for the one waits for the other
        self.net = net
        self.number = number

    def connect(self, task: Task, address: bytes) -> None:
        self.net.note(self.number, "connect", address)
        self.inner.connect(task, address)  # type: ignore[attr-defined]

    def send(self, task: Task, data: bytes, flags: int, address: bytes = b"", scm: Any = None) -> int:
        sent: int = self.inner.send(task, data, flags, address, scm)  # type: ignore[attr-defined]
        self.net.note(self.number, "send", data[:sent])
        return sent

    def recv(self, task: Task, count: int, flags: int) -> Received:
        received: Received = self.inner.recv(task, count, flags)  # type: ignore[attr-defined]
        if not flags & MSG_PEEK:
            self.net.note(self.number, "recv", received.data)
        return received

    def release(self) -> None:
        self.inner.put()


def _delegate(name: str) -> Any:
    def call(self: Recorded, *args: Any) -> Any:
        return getattr(self.inner, name)(*args)

    return call


for _name in (
    "accept",
    "ancillary",
    "bind",
    "finish_connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "ioctl",
):
    setattr(Recorded, _name, _delegate(_name))
for _name in ("listen", "listening", "poll", "setsockopt", "shutdown", "take_error"):
    setattr(Recorded, _name, _delegate(_name))


class Replayed(SocketFile):
    """A client's socket whose other side is a recording: what was received comes as it came."""

    __slots__ = ("chunks", "peer")

    def __init__(self, kernel: Kernel, task: Task, family: int, net: ReplayNetwork) -> None:
        super().__init__(anon_inodes(kernel).socket_inode(task.cred), 2, family, SOCK_STREAM, 6)
        self.chunks = net.next_recording()
        self.peer = b""

    def connect(self, task: Task, address: bytes) -> None:
        if not self.chunks or self.chunks.pop(0) != ("connect", address):
            raise LinuxError(ECONNREFUSED)
        self.peer = address

    def getpeername(self) -> bytes:
        return self.peer

    def getsockname(self) -> bytes:
        return self.family.to_bytes(2, "little") + bytes(26 if self.family == AF_INET6 else 14)

    def send(self, task: Task, data: bytes, flags: int, address: bytes = b"", scm: Any = None) -> int:
        # How it is cut into pieces is the client's affair: what counts is that it was sent.
        while self.chunks and self.chunks[0][0] == "send":
            self.chunks.pop(0)
        self.queue.wake()
        return len(data)

    def recv(self, task: Task, count: int, flags: int) -> Received:
        if not self.chunks:
            return Received(b"")
        operation, data = self.chunks[0]
        if operation != "recv":
            raise WOULD_BLOCK
        if not flags & MSG_PEEK:
            self.chunks[0] = (operation, data[count:])
            if not data[count:]:
                self.chunks.pop(0)
        return Received(data[:count])

    def poll(self, task: Task | None = None) -> int:
        ready = not self.chunks or self.chunks[0][0] == "recv"
        return POLLOUT | (POLLIN if ready else 0)

    def shutdown(self, task: Task, how: int) -> None:
        self.queue.wake()


class RecordNetwork(Network):
    """``inner``, with client sockets whose bytes are written to ``output``."""

    name = "record"

    def __init__(self, inner: Network, output: TextIO) -> None:
        self.inner = inner
        self.output = output
        self.count = 0

    @classmethod
    def check(cls) -> Availability:
        return Availability.yes()

    def host_calls(self) -> Sequence[HostCall]:  # type: ignore[override]
        return self.inner.host_calls()

    def capabilities(self) -> Sequence[int]:
        return self.inner.capabilities()

    def start(self, kernel: Kernel) -> None:
        self.inner.start(kernel)

    def socket(self, kernel: Kernel, task: Task, family: int, kind: int, protocol: int) -> SocketFile:
        socket = self.inner.socket(kernel, task, family, kind, protocol)
        if family not in (AF_INET, AF_INET6) or kind != SOCK_STREAM:
            return socket
        self.count += 1
        return Recorded(socket, self, self.count)

    def note(self, number: int, operation: str, data: bytes) -> None:
        """One line of the recording."""
        print(json.dumps({"socket": number, "do": operation, "data": data.hex()}), file=self.output)

    def close(self) -> None:
        self.inner.close()
        self.output.close()


class ReplayNetwork(Network):
    """No network: client sockets live in a recording, the first one made in the first one recorded."""

    name = "record"

    def __init__(self, lines: list[str]) -> None:
        self.recordings: dict[int, list[tuple[str, bytes]]] = {}
        for line in lines:
            record = json.loads(line)
            piece = (record["do"], bytes.fromhex(record["data"]))
            self.recordings.setdefault(record["socket"], []).append(piece)

    @classmethod
    def check(cls) -> Availability:
        return Availability.yes()

    def next_recording(self) -> list[tuple[str, bytes]]:
        """What the next socket will see."""
        return self.recordings.pop(min(self.recordings)) if self.recordings else []

    def socket(self, kernel: Kernel, task: Task, family: int, kind: int, protocol: int) -> SocketFile:
        if family not in (AF_INET, AF_INET6) or kind != SOCK_STREAM:
            raise LinuxError(EAFNOSUPPORT)
        return Replayed(kernel, task, family, self)

    def close(self) -> None:
        self.recordings.clear()


class RecordPlugin:
    """The plugin as runsc's loader sees it."""

    api_version = 1
    summary = "records TCP clients, and plays back what they received"
    flags = (
        Flag("record-to", STRING, "Record to this file.", metavar="FILE"),
        Flag("record-inner", STRING, "The network that is recorded.", metavar="NAME"),
        Flag("replay-from", STRING, "Play this file back, without a network.", metavar="FILE"),
    )

    def __init__(self) -> None:
        self.file: TextIO | None = None

    def prepare(self, config: Config) -> None:
        """Open the file while files can be opened for writing."""
        source, target = config.plugin_flag("replay-from"), config.plugin_flag("record-to")
        if bool(source) == bool(target):
            raise RunscError("--network=record does one of two things", "give --record-to or --replay-from")
        try:
            self.file = open(source or target, "r" if source else "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise RunscError(f"{source or target}: {error.strerror}", "name another file") from error

    @hookimpl
    def check_network(self) -> Availability:
        return Availability.yes()

    @hookimpl
    def make_network(self, config: Config) -> Network:
        assert self.file is not None
        if config.plugin_flag("replay-from"):
            with self.file:
                return ReplayNetwork(self.file.readlines())
        inner = load(NETWORK, config.plugin_flag("record-inner", "host"))
        return RecordNetwork(inner.make(config), self.file)
