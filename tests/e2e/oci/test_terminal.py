"""Containers on a terminal: an engine's, by --console-socket, and the caller's own."""

from __future__ import annotations

import array
import fcntl
import os
import pty
import select
import socket
import struct
import termios
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Bundle, Runtime


class Screen:
    """The master of a terminal: what was shown, and keys to press."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.shown = b""

    def expect(self, text: bytes, seconds: float = 15) -> None:
        """Wait until ``text`` is shown; what came before it is forgotten."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, self.shown
            if select.select([self.fd], [], [], left)[0]:
                try:
                    data = os.read(self.fd, 4096)
                except OSError:
                    data = b""
                assert data, (text, self.shown)
                self.shown += data
        self.shown = self.shown.partition(text)[2]

    def expect_end(self) -> None:
        """Wait until the line is hung up."""
        try:
            while os.read(self.fd, 100):
                continue
        except OSError:
            pass  # EIO: that is how a master learns of it
        os.close(self.fd)

    def press(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Listener:
    """The socket on which an engine waits for a terminal's master."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(str(path))
        self.sock.listen()

    def take(self) -> Screen:
        connection, _ = self.sock.accept()
        with connection:
            name, ancillary, _flags, _address = connection.recvmsg(4096, 1024)
            assert name.startswith(b"/dev/pts/")
            fds = array.array("i", ancillary[0][2])
        return Screen(fds[0])


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(tmp_path / "tty.sock")
    yield listener
    listener.sock.close()


def test_a_container_on_an_engines_terminal(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, listener: Listener
) -> None:
    bundle.config["process"]["terminal"] = True
    bundle.config["process"]["consoleSize"] = {"height": 33, "width": 99}
    bundle.config["process"]["args"] = ["sh"]
    runtime.create(bundle, tmp_path / "out", f"--console-socket={listener.path}")
    screen = listener.take()
    runtime.ok("start", "box")
    screen.expect(b"# ")
    screen.press(b"tty; stty size; ls -l /dev/console | cut -c1; echo do'ne'\r")
    screen.expect(b"/dev/pts/0\r\n33 99\r\nc\r\ndone\r\n")
    screen.resize(40, 101)
    screen.press(b"sleep 0.3; stty size\r")
    screen.expect(b"40 101\r\n")
    # Ctrl-C ends what is in the foreground, and not the shell.
    screen.press(b"sleep 100\r")
    time.sleep(0.3)
    screen.press(b"\x03")
    screen.expect(b"# ")
    screen.press(b"echo al'ive'\r")
    screen.expect(b"alive\r\n")
    # Ctrl-Z stops it, as a job.
    screen.press(b"sleep 100\r")
    time.sleep(0.3)
    screen.press(b"\x1a")
    screen.expect(b"Stopped")
    screen.press(b"kill -9 %1\r")
    time.sleep(0.3)
    screen.press(b"\r")
    screen.expect(b"Killed")
    screen.press(b"exit 3\r")
    runtime.wait_for("stopped")
    os.close(screen.fd)


def test_exec_on_an_engines_terminal(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, listener: Listener
) -> None:
    bundle.shell("while true; do sleep 0.05; done")
    runtime.create(bundle, tmp_path / "out")
    runtime.ok("start", "box")
    words = ["--tty", "--detach", f"--pid-file={tmp_path}/pid", f"--console-socket={listener.path}"]
    runtime.ok("exec", *words, "box", "sh")
    screen = listener.take()
    screen.expect(b"# ")
    screen.resize(20, 50)
    screen.press(b"tty; sleep 0.3; stty size; exit\r")
    screen.expect(b"/dev/pts/0\r\n20 50\r\n")
    screen.expect_end()


@pytest.mark.parametrize("command", ["run", "exec"])
def test_on_the_callers_terminal(runtime: Runtime, bundle: Bundle, tmp_path: Path, command: str) -> None:
    if command == "exec":
        bundle.shell("while true; do sleep 0.05; done")
        runtime.create(bundle, tmp_path / "out")
        runtime.ok("start", "box")
        words = ["exec", "--tty", "box", "sh"]
    else:
        bundle.config["process"].update(terminal=True, args=["sh"])
        words = ["run", f"--bundle={bundle.write()}", "box"]
    pid, fd = pty.fork()
    if pid == 0:
        try:
            os.execv(runtime.words[0], [*runtime.words, *words])
        finally:
            os._exit(127)
    screen = Screen(fd)
    screen.resize(22, 66)
    before = termios.tcgetattr(fd)
    screen.expect(b"# ")
    screen.press(b"sleep 0.3; stty size; tty\r")
    screen.expect(b"22 66\r\n/dev/pts/0\r\n")
    screen.press(b"sleep 100\r")
    time.sleep(0.3)
    screen.press(b"\x03")
    screen.expect(b"# ")
    screen.press(b"exit 6\r")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6
    assert termios.tcgetattr(fd) == before
    os.close(fd)


def test_a_hang_up(runtime: Runtime, bundle: Bundle, tmp_path: Path, listener: Listener) -> None:
    """When the master goes, the container's session leader gets SIGHUP."""
    bundle.config["process"].update(
        terminal=True, args=["sh", "-c", "trap 'echo hup >/hup; exit' HUP; while true; do sleep 0.05; done"]
    )
    runtime.create(bundle, tmp_path / "out", f"--console-socket={listener.path}")
    screen = listener.take()
    runtime.ok("start", "box")
    time.sleep(0.3)
    os.close(screen.fd)
    runtime.wait_for("stopped")
    assert (bundle.root / "hup").read_text() == "hup\n"


def test_a_terminal_needs_one(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["process"]["terminal"] = True
    code, _out, err = runtime.run(bundle)
    assert code == 128
    assert "terminal" in err
