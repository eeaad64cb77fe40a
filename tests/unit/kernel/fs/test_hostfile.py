"""Inherited descriptors: every kind, never blocking, telling the truth, leaving the caller's flags alone."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import socket
import stat
import struct
import termios
from typing import TYPE_CHECKING

import pytest
from support import Buffer, make_kernel, make_task

from runsc.abi.fcntl import O_APPEND, O_RDONLY, O_WRONLY
from runsc.abi.ioctl import FIONREAD, TCGETS, TCSETSF, TIOCGPGRP, TIOCGWINSZ, TIOCSWINSZ
from runsc.abi.poll import POLLERR, POLLHUP, POLLIN, POLLOUT
from runsc.abi.signal import SIGINT, SIGTTIN, SIGUSR1, SIGWINCH, bit
from runsc.kernel.errors import Interrupted, LinuxError, WouldBlock
from runsc.kernel.fs.hostfile import HostFile, attach_console, host_stdio
from runsc.kernel.fs.proc import make_proc
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc.kernel.signal import Action
from runsc.kernel.thread_group import ProcessGroup
from runsc.kernel.vfs.dentry import Path
from runsc.kernel.vfs.namei import lookup
from runsc.kernel.vfs.operations import open_inode
from runsc.kernel.wait import WaitEntry

if TYPE_CHECKING:
    from pathlib import Path as HostPath

    from runsc.kernel.vfs.file import File


class World:
    def __init__(self) -> None:
        self.kernel = make_kernel()
        root = Tmpfs()
        self.task = make_task(self.kernel, root)
        root.root_inode.mkdir(b"proc", 0o755, self.task.cred)
        namespace = self.task.fs.namespace
        namespace.mount(make_proc(self.kernel), lookup(self.task, -100, b"/proc"))
        self.memory = Buffer(self.task)

    def take(self, fd: int) -> File:
        """The guest's file for a copy of ``fd``."""
        return host_stdio(self.kernel, os.dup(fd)).get()

    def reopen(self, file: File, flags: int) -> File:
        """Through /proc/self/fd."""
        number = self.task.files.install(file, 100)
        try:
            return open_inode(self.task, lookup(self.task, -100, b"/proc/self/fd/%d" % number), flags).get()
        finally:
            self.task.files.close(number, self.task)


def nonblocking(fd: int) -> bool:
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK)


def fill(world: World, file: File) -> int:
    """Write until there is no room; how much that was."""
    written = 0
    while True:
        try:
            written += file.write(world.task, b"x" * 4096)
        except WouldBlock:
            return written


def test_pipe() -> None:
    world = World()
    read_end, write_end = os.pipe()
    ours_read, ours_write = world.take(read_end), world.take(write_end)
    assert not nonblocking(read_end)
    assert not nonblocking(write_end)
    with pytest.raises(WouldBlock):
        ours_read.read(world.task, 10)
    assert not ours_read.poll() & POLLIN
    assert ours_write.poll() & POLLOUT
    assert ours_write.write(world.task, b"hello") == 5
    assert ours_read.poll() & POLLIN
    addr = world.memory.room(4)
    ours_read.ioctl(world.task, FIONREAD, addr)
    assert world.memory.get(addr, 4) == b"\5\0\0\0"
    assert ours_read.read(world.task, 3) == b"hel"
    assert os.read(read_end, 10) == b"lo"
    assert fill(world, ours_write) == 65536
    assert not ours_write.poll() & POLLOUT
    assert ours_read.describe() == os.readlink(f"/proc/self/fd/{read_end}")
    assert stat.S_ISFIFO(ours_read.inode.stat().mode)
    os.read(read_end, 65536)
    # Our file is the last writer: closing it is the end of the pipe.
    os.close(write_end)
    ours_write.put()
    assert os.read(read_end, 10) == b""
    assert ours_read.poll() & POLLHUP
    assert ours_read.read(world.task, 10) == b""
    os.close(read_end)


def test_pipe_without_a_reader() -> None:
    world = World()
    read_end, write_end = os.pipe()
    ours = world.take(write_end)
    os.close(read_end)
    assert ours.poll() & POLLERR
    with pytest.raises(BrokenPipeError):
        ours.write(world.task, b"x")
    os.close(write_end)


def test_pipe_that_cannot_be_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then poll comes before each transfer, and the caller's O_NONBLOCK stays off all the same."""
    world = World()
    read_end, write_end = os.pipe()
    real_open = os.open

    def refuse(path: str, flags: int, *args: int) -> int:
        if path.startswith("/proc/self/fd/"):
            raise PermissionError(errno.EACCES, "not yours")
        return real_open(path, flags, *args)

    monkeypatch.setattr(os, "open", refuse)
    ours_read, ours_write = world.take(read_end), world.take(write_end)
    monkeypatch.undo()
    assert not nonblocking(read_end)
    with pytest.raises(WouldBlock):
        ours_read.read(world.task, 10)
    assert fill(world, ours_write) == 65536
    assert len(ours_read.read(world.task, 100_000)) == 65536
    os.close(read_end)
    os.close(write_end)


def test_waiting_watches_only_meanwhile() -> None:
    world = World()
    read_end, write_end = os.pipe()
    ours = world.take(read_end)
    queue = ours.wait_queue()
    assert queue is not None
    woken: list[int] = []

    def callback(mask: int) -> None:
        woken.append(mask)

    assert not world.kernel.poller.watches
    first, second = WaitEntry(callback, POLLIN), WaitEntry(callback, POLLIN)
    queue.add(first)
    queue.add(second)
    assert len(world.kernel.poller.watches) == 1
    os.write(write_end, b"x")
    world.kernel.poller.dispatch()
    assert len(woken) == 2
    # Nothing new: an entry that stays doesn't keep the loop busy.
    world.kernel.poller.dispatch()
    assert len(woken) == 2
    queue.remove(first)
    queue.remove(second)
    assert not world.kernel.poller.watches
    os.close(read_end)
    os.close(write_end)


def test_regular_file_shares_its_offset(tmp_path: HostPath) -> None:
    """Two commands of a shell with one redirection write one behind the other."""
    world = World()
    name = tmp_path / "out"
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    os.write(fd, b"before ")
    ours = world.take(fd)
    assert ours.write(world.task, b"guest ") == 6
    os.write(fd, b"after")
    assert name.read_bytes() == b"before guest after"
    assert ours.lseek(world.task, 0, 0) == 0
    assert ours.read(world.task, 6) == b"before"
    assert os.lseek(fd, 0, 1) == 6
    assert ours.pread(world.task, 5, 7) == b"guest"
    assert ours.is_regular
    assert ours.wait_queue() is None
    st = ours.inode.stat()
    assert (st.size, st.ino, st.mode) == (18, os.fstat(fd).st_ino, os.fstat(fd).st_mode)
    # Opened again through /proc it has an offset of its own.
    again = world.reopen(ours, O_RDONLY)
    assert again.read(world.task, 6) == b"before"
    assert os.lseek(fd, 0, 1) == 6
    os.close(fd)


def test_access_and_append_are_kept(tmp_path: HostPath) -> None:
    world = World()
    fd = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ours = world.take(fd)
    assert ours.flags & 3 == O_WRONLY
    assert ours.flags & O_APPEND
    with pytest.raises(LinuxError) as raised:
        world.reopen(ours, O_RDONLY)
    assert raised.value.errno == errno.EACCES
    os.close(fd)


def test_pipe_through_proc() -> None:
    """/dev/stdout of a sandbox in a pipeline."""
    world = World()
    read_end, write_end = os.pipe()
    again = world.reopen(world.take(write_end), O_WRONLY)
    assert isinstance(again, HostFile)
    assert again.write(world.task, b"through") == 7
    assert os.read(read_end, 10) == b"through"
    os.close(read_end)
    os.close(write_end)


def test_socket() -> None:
    world = World()
    ours_end, other = socket.socketpair()
    ours = world.take(ours_end.fileno())
    assert ours_end.getblocking()
    with pytest.raises(WouldBlock):
        ours.read(world.task, 10)
    other.send(b"hi")
    assert ours.read(world.task, 10) == b"hi"
    assert ours.write(world.task, b"back") == 4
    assert other.recv(10) == b"back"
    assert ours.describe() == os.readlink(f"/proc/self/fd/{ours_end.fileno()}")
    with pytest.raises(LinuxError) as raised:
        world.reopen(ours, O_RDONLY)
    assert raised.value.errno == errno.ENXIO
    ours_end.close()
    other.close()
    ours.put()


def test_null() -> None:
    world = World()
    fd = os.open("/dev/null", os.O_RDWR)
    ours = world.take(fd)
    assert ours.read(world.task, 10) == b""
    assert ours.write(world.task, b"x") == 1
    assert ours.is_regular, "epoll refuses it, as on the host"
    assert ours.describe() == "/dev/null"
    os.close(fd)


class Terminal(World):
    """A world whose descriptor 0 is a terminal, as its console and controlling terminal."""

    def __init__(self) -> None:
        super().__init__()
        self.master, self.fd = pty.openpty()
        self.file = self.take(self.fd)
        attach_console(self.kernel, self.task)

    def close(self) -> None:
        os.close(self.master)
        os.close(self.fd)


def test_terminal() -> None:
    world = Terminal()
    console = world.kernel.console
    assert not nonblocking(world.fd)
    with pytest.raises(WouldBlock):
        world.file.read(world.task, 10)
    os.write(world.master, b"line\n")
    select.select([world.fd], [], [], 1)
    assert world.file.poll() & POLLIN
    assert world.file.read(world.task, 100) == b"line\n"
    world.file.write(world.task, b"out\n")
    shown = b""
    while not shown.endswith(b"out\r\n") and select.select([world.master], [], [], 1)[0]:
        shown += os.read(world.master, 100)
    assert shown == b"line\r\nout\r\n"
    # Settings are the host's, and are put back.
    before = termios.tcgetattr(world.fd)
    addr = world.memory.room(36)
    world.file.ioctl(world.task, TCGETS, addr)
    settings = bytearray(world.memory.get(addr, 36))
    settings[12:16] = (0).to_bytes(4, "little")
    world.file.ioctl(world.task, TCSETSF, world.memory.put(bytes(settings)))
    assert termios.tcgetattr(world.fd)[3] == 0
    console.restore()
    assert termios.tcgetattr(world.fd) == before
    size = struct.pack("HHHH", 10, 20, 0, 0)
    world.file.ioctl(world.task, TIOCSWINSZ, world.memory.put(size))
    assert fcntl.ioctl(world.fd, TIOCGWINSZ, bytes(8)) == size
    assert world.file.describe() == "/dev/console"
    world.close()


def test_terminal_job_control() -> None:
    world = Terminal()
    console = world.kernel.console
    addr = world.memory.room(4)
    world.file.ioctl(world.task, TIOCGPGRP, addr)
    assert world.memory.get(addr, 4) == struct.pack("i", world.task.tid)
    child = make_task(world.kernel, parent=world.task)
    child.group.process_group.remove(child.group)
    ProcessGroup(child.pid, child.group.session).add(child.group)
    with pytest.raises(Interrupted):
        world.file.read(child, 10)
    assert child.group.pending.pending & bit(SIGTTIN)
    console.foreground = child.group.process_group
    child.sighand.actions[SIGWINCH] = Action(4096)
    fcntl.ioctl(world.fd, TIOCSWINSZ, struct.pack("HHHH", 7, 9, 0, 0))
    assert console.host_signal(SIGWINCH)
    assert console.winsize[:2] == (7, 9)
    assert console.host_signal(SIGINT)
    assert child.group.pending.pending & bit(SIGINT)
    assert child.group.pending.pending & bit(SIGWINCH)
    assert not world.task.group.pending.pending
    assert not console.host_signal(SIGUSR1), "no terminal sends that"
    world.close()


def test_terminal_vmin_vtime() -> None:
    world = Terminal()
    settings = termios.tcgetattr(world.fd)
    settings[3] = 0
    settings[6][termios.VMIN], settings[6][termios.VTIME] = 0, 1
    termios.tcsetattr(world.fd, termios.TCSANOW, settings)
    world.kernel.console.refresh()
    with pytest.raises(WouldBlock):
        world.file.read(world.task, 10)
    assert len(world.kernel.timers.heap) == 1
    os.write(world.master, b"ab")
    select.select([world.fd], [], [], 1)
    world.task.coroutine = object()  # type: ignore[assignment]
    assert world.file.read(world.task, 10) == b"ab"
    world.close()


def test_two_descriptors_of_one_terminal() -> None:
    world = Terminal()
    second = world.take(world.fd)
    assert second.tty is world.file.tty  # type: ignore[attr-defined]
    path = Path(world.task.fs.root.mount, world.task.fs.root.dentry)
    assert world.file.inode.open(path, O_RDONLY, world.task).describe() == "/dev/console"
    world.close()
