"""The domain, entered by a child process."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from runsc.sandbox.jail.landlock import enter_domain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def version() -> int:
    from runsc._native import lib

    return max(int(lib.rn_landlock_abi()), 0)


def need(abi: int) -> None:
    if version() < abi:
        pytest.skip(f"needs Landlock version {abi}")


def confined(
    action: Callable[[], object], writable: tuple[bytes, ...] = (), devices: tuple[int, ...] = ()
) -> str:
    """What became of ``action`` in a domain: "done" or an errno's name."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            from runsc._native import lib

            lib.rn_no_new_privs()
            enter_domain(writable, devices)
            try:
                action()
            except OSError as error:
                os.write(writer, os.strerror(error.errno or 0).encode())
            else:
                os.write(writer, b"done")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def test_reading_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert confined(lambda: (tmp_path / "file").read_text()) == "done"
    assert confined(lambda: os.listdir(tmp_path)) == "done"


def test_files_are_not_changed(tmp_path: Path) -> None:
    need(1)
    file = tmp_path / "file"
    file.write_text("x")
    (tmp_path / "dir").mkdir()
    attempts: list[Callable[[], object]] = [
        lambda: os.open(file, os.O_WRONLY),
        lambda: os.open(tmp_path / "new", os.O_CREAT | os.O_WRONLY),
        lambda: os.open(tmp_path / "new", os.O_CREAT),
        lambda: os.mkdir(tmp_path / "new"),
        lambda: os.mkfifo(tmp_path / "new"),
        lambda: os.symlink("x", tmp_path / "new"),
        lambda: os.unlink(file),
        lambda: os.rmdir(tmp_path / "dir"),
        lambda: os.rename(file, tmp_path / "new"),
        lambda: os.link(file, tmp_path / "new"),
        lambda: os.execv("/bin/true", ["true"]),
    ]
    assert {confined(attempt) for attempt in attempts} == {"Permission denied"}
    if version() >= 3:
        assert confined(lambda: os.truncate(file, 0)) == "Permission denied"
    assert sorted(os.listdir(tmp_path)) == ["dir", "file"]
    assert file.read_text() == "x"


def test_what_was_opened_before_stays_writable(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    assert confined(lambda: (os.write(fd, b"line"), os.ftruncate(fd, 2))) == "done"
    os.close(fd)
    assert (tmp_path / "log").read_text() == "li"


def test_memory_files_and_pipes_are_no_files() -> None:
    def action() -> None:
        fd = os.memfd_create("x")
        os.ftruncate(fd, 4096)
        os.write(fd, b"x")
        reader, _writer = os.pipe()
        os.open(f"/proc/self/fd/{reader}", os.O_RDWR)

    assert confined(action) == "done"


def test_writable_paths(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()

    def action() -> None:
        (inside / "new").write_text("x")
        (inside / "new").rename(inside / "newer")
        os.truncate(inside / "newer", 0)
        os.open("/dev/null", os.O_RDWR)

    paths = (os.fsencode(inside), b"/dev/null", b"/no/such/path")
    assert confined(action, paths) == "done"
    if version() > 0:
        assert confined(lambda: os.mkdir(tmp_path / "new"), paths) == "Permission denied"


def test_a_terminal_can_be_opened_again() -> None:
    controller, terminal = pty.openpty()
    again = f"/proc/self/fd/{terminal}"

    def action() -> None:
        import termios

        fd = os.open(again, os.O_RDWR | os.O_NOCTTY)
        termios.tcgetattr(fd)
        os.write(fd, b"x")

    assert confined(action, devices=(terminal, 1000)) == "done"
    if version() > 0:
        assert confined(action) == "Permission denied"
    os.close(controller)
    os.close(terminal)


@pytest.mark.parametrize("number", [0, signal.SIGTERM, signal.SIGKILL])
def test_signals_stay_inside(number: int) -> None:
    need(6)
    with subprocess.Popen(["sleep", "20"]) as victim:
        assert confined(lambda: os.kill(victim.pid, number)) == "Operation not permitted"
        assert victim.poll() is None
        victim.kill()


def test_children_can_be_signalled() -> None:
    def action() -> None:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    assert confined(action) == "done"


def test_abstract_sockets_outside_are_out_of_reach() -> None:
    need(6)
    name = f"\0runsc-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(name)
        server.listen()
        assert confined(lambda: client.connect(name)) == "Operation not permitted"


def test_what_is_missing_is_said() -> None:
    def action() -> None:
        text = enter_domain()
        assert (text == "") == (version() >= 6), text

    # A domain in a domain: as when a sandbox runs in a sandbox.
    assert confined(action) == "done"
