"""The gofer as a 9P2000.L server, for a client that no one here wrote, and for what no client sends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runsc.config import Config
from runsc.filesystem import FILE, HostMount
from runsc_fs_gofer9p import protocol
from runsc_fs_gofer9p.opener import GoferOpener
from runsc_fs_gofer9p.protocol import HEAD, NOFID, text

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("no_process_left", "no_descriptor_left")


class Peer:
    """A client that says what it likes."""

    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self.socket.settimeout(10)

    def send(self, kind: int, body: bytes, tag: int = 7) -> None:
        self.socket.sendall(HEAD.pack(HEAD.size + len(body), kind, tag) + body)

    def receive(self) -> tuple[int, int, bytes]:
        size, kind, tag = HEAD.unpack(self._exactly(HEAD.size))
        return kind, tag, self._exactly(size - HEAD.size)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def call(self, kind: int, body: bytes) -> bytes:
        self.send(kind, body)
        answer, tag, reply = self.receive()
        assert tag == 7
        if answer == protocol.RLERROR:
            number = int.from_bytes(reply, "little")
            raise OSError(number, os.strerror(number))
        assert answer == kind + 1
        return reply

    def errno(self, kind: int, body: bytes) -> int:
        try:
            self.call(kind, body)
        except OSError as error:
            return error.errno or 0
        return 0

    def start(self, version: bytes = protocol.VERSION) -> bytes:
        answer = self.call(protocol.TVERSION, struct.pack("<I", 65536) + text(version))
        self.call(protocol.TATTACH, struct.pack("<II", 1, NOFID) + text(b"root") + text(b"") + bytes(4))
        return answer[6:]


class Gofer:
    def __init__(self, *mounts: HostMount) -> None:
        opener = GoferOpener(Config())
        self.peers = [Peer(fd) for fd in opener.open(mounts)]
        (self.pid,) = opener.processes()

    def close(self) -> int:
        for peer in self.peers:
            peer.socket.close()
        _pid, status = os.waitpid(self.pid, 0)
        return status


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "f").write_text("hello\n")
    (inside / "d").mkdir()
    (inside / "link").symlink_to("../secret")
    (inside / "away").symlink_to(tmp_path)
    return inside


@pytest.fixture
def gofer(place: Path) -> Iterator[Gofer]:
    made = Gofer(HostMount(os.fsencode(place), read_only=False))
    yield made
    assert made.close() == 0


@pytest.fixture
def peer(gofer: Gofer) -> Peer:
    peer = gofer.peers[0]
    assert peer.start() == protocol.VERSION
    return peer


def walk(fid: int, newfid: int, *names: bytes) -> bytes:
    return struct.pack("<IIH", fid, newfid, len(names)) + b"".join(map(text, names))


def test_versions(gofer: Gofer) -> None:
    peer = gofer.peers[0]
    assert peer.start(b"9P2000.L.later") == protocol.VERSION
    assert peer.call(protocol.TVERSION, struct.pack("<I", 8192) + text(b"9P2000"))[6:] == b"unknown"
    assert peer.start(protocol.EXTENDED) == protocol.EXTENDED
    # A new version forgets all fids; the extension is only for who asked for it.
    assert peer.start(protocol.VERSION) == protocol.VERSION
    assert peer.errno(protocol.XFIND, struct.pack("<I", 1) + text(b"f")) == 95


def test_pipelined_requests_are_answered_in_turn(peer: Peer) -> None:
    for tag in range(100):
        peer.send(protocol.TWALK, walk(1, 10 + tag, b"d" if tag % 2 else b"missing"), tag)
    for tag in range(100):
        kind, answered, _body = peer.receive()
        assert (kind, answered) == (protocol.TWALK + 1 if tag % 2 else protocol.RLERROR, tag)


def test_a_walk_stops_where_it_fails(peer: Peer) -> None:
    assert peer.errno(protocol.TWALK, walk(1, 2, b"missing")) == 2
    assert peer.call(protocol.TWALK, walk(1, 2, b"d", b"missing"))[:2] == b"\1\0"
    assert peer.errno(protocol.TCLUNK, struct.pack("<I", 2)) == 9  # it was not made
    assert peer.call(protocol.TWALK, walk(1, 2, b"d", b"..", b"f"))[:2] == b"\3\0"
    assert peer.errno(protocol.TWALK, walk(1, 2, b"d")) == 9  # in use


def test_nothing_leads_out(peer: Peer, place: Path) -> None:
    # Above the root is the root.
    peer.call(protocol.TWALK, walk(1, 2, b"..", b"..", b"f"))
    for name in (b"/etc", b"a/b", b"", b"x\0y", b"../secret"):
        assert peer.errno(protocol.TWALK, walk(1, 3, name)) != 0
        mkdir = struct.pack("<I", 1) + text(name) + struct.pack("<II", 0o755, 0)
        assert peer.errno(protocol.TMKDIR, mkdir) != 0
    # A link is what it says, not where it leads.
    peer.call(protocol.TWALK, walk(1, 4, b"link"))
    assert peer.call(protocol.TREADLINK, struct.pack("<I", 4)) == text(b"../secret")
    assert peer.errno(protocol.TLOPEN, struct.pack("<II", 4, os.O_RDONLY)) == 40
    assert peer.call(protocol.TWALK, walk(1, 5, b"away", b"secret"))[:2] == b"\1\0"
    assert (place.parent / "secret").read_text() == "secret"


def test_read_write_and_list(peer: Peer, place: Path) -> None:
    peer.call(protocol.TWALK, walk(1, 2))
    create = struct.pack("<I", 2) + text(b"new") + struct.pack("<III", os.O_RDWR, 0o640, os.getegid())
    peer.call(protocol.TLCREATE, create)
    assert peer.call(protocol.TWRITE, struct.pack("<IQI", 2, 3, 5) + b"hello") == struct.pack("<I", 5)
    assert peer.call(protocol.TREAD, struct.pack("<IQI", 2, 0, 100)) == struct.pack("<I", 8) + b"\0\0\0hello"
    assert peer.call(protocol.TFSYNC, struct.pack("<II", 2, 1)) == b""
    assert (place / "new").read_bytes() == b"\0\0\0hello"
    peer.call(protocol.TWALK, walk(1, 3))
    peer.call(protocol.TLOPEN, struct.pack("<II", 3, os.O_RDONLY | os.O_DIRECTORY))
    names, offset = [], 0
    while True:
        data = peer.call(protocol.TREADDIR, struct.pack("<IQI", 3, offset, 80))[4:]
        if not data:
            break
        while data:
            offset, _kind, length = struct.unpack_from("<QBH", data, 13)
            names.append(data[24 : 24 + length])
            data = data[24 + length :]
    assert sorted(names) == sorted([b".", b"..", b"f", b"d", b"link", b"away", b"new"])


def test_extended_attributes(peer: Peer, place: Path) -> None:
    peer.call(protocol.TWALK, walk(1, 2, b"f"))
    peer.call(protocol.TXATTRCREATE, struct.pack("<I", 2) + text(b"user.x") + struct.pack("<QI", 5, 0))
    peer.call(protocol.TWRITE, struct.pack("<IQI", 2, 0, 5) + b"value")
    peer.call(protocol.TCLUNK, struct.pack("<I", 2))
    assert os.getxattr(place / "f", "user.x") == b"value"
    peer.call(protocol.TWALK, walk(1, 3, b"f"))
    assert peer.call(protocol.TXATTRWALK, struct.pack("<II", 3, 4) + text(b"user.x")) == struct.pack("<Q", 5)
    assert peer.call(protocol.TREAD, struct.pack("<IQI", 4, 1, 3)) == struct.pack("<I", 3) + b"alu"


def test_nonsense_is_answered_or_ends_the_connection(place: Path) -> None:
    gofer = Gofer(HostMount(os.fsencode(place), read_only=False))
    peer = gofer.peers[0]
    peer.start(protocol.EXTENDED)
    for kind in range(256):
        if kind in (protocol.TVERSION, protocol.TATTACH):
            continue
        for body in (b"", b"\1\0\0\0", b"\1\0\0\0" * 3, b"\1\0\0\0" + b"\xff" * 40, b"\xff" * 64):
            peer.send(kind, body)
            answer, _tag, _reply = peer.receive()
            assert answer in (kind + 1, protocol.RLERROR)
    assert (place / "f").read_text() == "hello\n"
    peer.socket.sendall(b"\xff" * 64)
    with pytest.raises((EOFError, ConnectionResetError)):
        peer.receive()
    assert gofer.close() == 0


def test_read_only(place: Path) -> None:
    gofer = Gofer(HostMount(os.fsencode(place), read_only=True))
    peer = gofer.peers[0]
    peer.start()
    peer.call(protocol.TWALK, walk(1, 2, b"f"))
    assert peer.errno(protocol.TLOPEN, struct.pack("<II", 2, os.O_RDWR)) == 30
    assert peer.errno(protocol.TLOPEN, struct.pack("<II", 2, os.O_TRUNC)) == 30
    assert peer.errno(protocol.TUNLINKAT, struct.pack("<I", 1) + text(b"f") + bytes(4)) == 30
    assert peer.errno(protocol.TMKDIR, struct.pack("<I", 1) + text(b"x") + struct.pack("<II", 0o755, 0)) == 30
    assert gofer.close() == 0


def test_it_keeps_nothing_of_its_maker(place: Path) -> None:
    """Neither descriptors nor rights: only its connection, its files, and what it needs to wait."""
    gofer = Gofer(HostMount(os.fsencode(place), read_only=True), HostMount(b"/etc/hostname", kind=FILE))
    gofer.peers[0].start()
    lines = Path(f"/proc/{gofer.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    assert int(status["NoNewPrivs"]) == 1
    assert int(status["Seccomp"]) == 2
    assert int(status["CapEff"], 16) & ~(1 << 2) == 0
    links = [os.readlink(f"/proc/{gofer.pid}/fd/{name}") for name in os.listdir(f"/proc/{gofer.pid}/fd")]
    assert sum(link.startswith("socket:") for link in links) == 2
    if os.geteuid() == 0:
        assert os.readlink(f"/proc/{gofer.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
        assert os.listdir(f"/proc/{gofer.pid}/root") == []
    os.kill(gofer.pid, signal.SIGINT)  # the terminal's Ctrl-C is the guest's
    gofer.peers[1].start()
    assert gofer.close() == 0


@pytest.mark.skipif(shutil.which("diodls") is None, reason="diod's client is not installed")
def test_diods_client(gofer: Gofer, place: Path, tmp_path: Path) -> None:
    """diodls and diodcat (Debian: diod), a 9P2000.L client by other people, over a TCP port."""
    (place / "big").write_bytes(bytes(range(256)) * 4096)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    upstream = gofer.peers[0].socket
    pid = os.fork()
    if pid == 0:
        relay(listener, upstream)
        os._exit(0)
    listener.close()

    def run(*argv: str) -> bytes:
        done = subprocess.run(argv, capture_output=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout

    server = ["-s", f"127.0.0.1:{port}"]
    try:
        names = run("diodls", *server, "-a", "any").decode().split()
        assert set(names) >= {"f", "d", "link", "away", "big"}
        assert run("diodcat", *server, "-a", "any", "f") == b"hello\n"
        assert run("diodcat", *server, "-a", "any", "big") == (place / "big").read_bytes()
        long = run("diodls", *server, "-a", "any", "-l").decode()
        assert "1048576" in long
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def relay(listener: socket.socket, upstream: socket.socket) -> None:
    """Between one TCP client after another and the gofer."""
    import selectors

    upstream.settimeout(None)
    while True:
        client, _address = listener.accept()
        with client, selectors.DefaultSelector() as waiting:
            waiting.register(client, selectors.EVENT_READ, upstream)
            waiting.register(upstream, selectors.EVENT_READ, client)
            open_ = True
            while open_:
                for key, _events in waiting.select():
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        open_ = False
                        break
                    key.data.sendall(data)


