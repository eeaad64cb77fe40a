"""Pseudoterminals: the pair's life, ioctl(2), packet mode, job control; like the host's where possible."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import termios
from typing import TYPE_CHECKING

import pytest
from support import Buffer, make_kernel, make_task

from runsc.abi import ioctl as io
from runsc.abi import termios as abi
from runsc.abi.fcntl import O_NOCTTY, O_NONBLOCK, O_RDWR
from runsc.abi.signal import SIG_IGN, SIGCONT, SIGHUP, SIGINT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH, bit
from runsc.kernel.errors import Interrupted, LinuxError, WouldBlock
from runsc.kernel.fs.devpts import DevPts
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc.kernel.signal import Action
from runsc.kernel.thread_group import ProcessGroup
from runsc.kernel.tty.file import TtyFile
from runsc.kernel.tty.termios import Termios
from runsc.kernel.tty.tty import current_tty, open_controlling_terminal

if TYPE_CHECKING:
    from runsc.kernel.task import Task


class World:
    """A session leader, and an instance of devpts."""

    def __init__(self) -> None:
        self.kernel = make_kernel()
        self.task = make_task(self.kernel, Tmpfs())
        self.memory = Buffer(self.task)
        self.devpts = DevPts(self.kernel)

    def master(self, flags: int = O_RDWR | O_NONBLOCK) -> TtyFile:
        file = self.devpts.open_master(self.devpts.ptmx, None, flags, self.task).get()
        assert isinstance(file, TtyFile)
        file.ioctl(self.task, io.TIOCSPTLCK, self.memory.put(bytes(4)))
        return file

    def slave(self, index: int = 0, flags: int = O_RDWR | O_NONBLOCK | O_NOCTTY) -> TtyFile:
        file = self.devpts.open_slave(index, self.devpts.slaves[index], None, flags, self.task).get()
        assert isinstance(file, TtyFile)
        return file

    def child(self, group: bool = True) -> Task:
        """Another process, in a process group of its own if ``group``."""
        child = make_task(self.kernel, parent=self.task)
        if group:
            child.group.process_group.remove(child.group)
            ProcessGroup(child.pid, child.group.session).add(child.group)
        return child

    def ask(self, file: TtyFile, request: int, data: bytes) -> bytes:
        addr = self.memory.put(data)
        file.ioctl(self.task, request, addr)
        return self.memory.get(addr, len(data))


def signals(task: Task) -> int:
    """The set of signals that wait for the process."""
    return task.group.pending.pending


def set_raw(file: TtyFile, task: Task, memory: Buffer, vmin: int, vtime: int) -> None:
    raw = Termios(0, 0, abi.CS8 | abi.CREAD | abi.B38400, 0)
    cc = bytearray(raw.cc)
    cc[abi.VMIN], cc[abi.VTIME] = vmin, vtime
    raw.cc = bytes(cc)
    file.ioctl(task, io.TCSETS, memory.put(raw.pack()))


def error_of(action: object, *args: object) -> str:
    """The name of the error a call raises, or its result."""
    assert callable(action)
    try:
        return repr(action(*args))
    except (LinuxError, OSError) as error:
        return errno.errorcode[error.errno or 0]


class TestLife:
    def test_names_come_and_go(self) -> None:
        world = World()
        first, second = world.master(), world.master()
        assert [entry.name for entry in world.devpts.root_inode.readdir()] == [b"ptmx", b"0", b"1"]
        slave = world.slave(0)
        first.put()
        assert [entry.name for entry in world.devpts.root_inode.readdir()] == [b"ptmx", b"1"]
        # The number is free again only when the slave is closed too.
        third = world.master()
        assert third.tty.index == 2
        slave.put()
        assert world.master().tty.index == 0
        second.put()

    def test_locked_slave(self) -> None:
        world = World()
        file = world.devpts.open_master(world.devpts.ptmx, None, O_RDWR, world.task).get()
        with pytest.raises(LinuxError) as raised:
            world.slave()
        assert raised.value.errno == errno.EIO
        assert world.ask(file, io.TIOCGPTLCK, bytes(4)) == b"\1\0\0\0"

    def test_owner_and_mode(self) -> None:
        world = World()
        world.task.cred = world.task.cred.copy()
        world.task.cred.fsuid, world.task.cred.fsgid = 1000, 100
        world.master()
        st = world.devpts.slaves[0].stat()
        assert (st.uid, st.gid, st.mode & 0o7777, st.rdev) == (1000, 5, 0o620, os.makedev(136, 0))

    def test_what_is_seen_of_the_other_end(self) -> None:
        """poll and errors on both sides, through opening and closing, as on the host."""
        world = World()
        ours_master = world.master()
        native_master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        fcntl.ioctl(native_master, io.TIOCSPTLCK, bytes(4))
        index = struct.unpack("I", fcntl.ioctl(native_master, io.TIOCGPTN, bytes(4)))[0]

        def look(ours: TtyFile, native: int) -> None:
            poller = select.poll()
            poller.register(native, 0xFFFF)
            events = poller.poll(0)
            assert ours.poll() == (events[0][1] if events else 0)
            assert error_of(ours.read, world.task, 10) == error_of(os.read, native, 10)

        def open_slave() -> tuple[TtyFile, int]:
            flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK
            return world.slave(), os.open(f"/dev/pts/{index}", flags)

        look(ours_master, native_master)
        ours, native = open_slave()
        look(ours_master, native_master)
        look(ours, native)
        ours.put()
        os.close(native)
        look(ours_master, native_master)
        ours, native = open_slave()
        look(ours_master, native_master)
        look(ours, native)
        ours_master.put()
        os.close(native_master)
        look(ours, native)
        assert error_of(ours.write, world.task, b"x") == error_of(os.write, native, b"x") == "EIO"
        for request in (io.TIOCSPGRP, io.TCGETS):
            native_error = error_of(fcntl.ioctl, native, request, bytes(60))
            assert error_of(ours.ioctl, world.task, request, world.memory.room(60)) == native_error
        os.close(native)

    def test_rest_is_read_after_the_slave_closed(self) -> None:
        world = World()
        master, slave = world.master(), world.slave()
        slave.write(world.task, b"last words\n")
        slave.put()
        assert master.read(world.task, 100) == b"last words\r\n"
        assert error_of(master.read, world.task, 100) == "EIO"

    def test_hang_up_tells_the_session(self) -> None:
        world = World()
        master, slave = world.master(), world.slave(flags=O_RDWR)
        assert current_tty(world.task) is slave.tty
        world.task.sighand.actions[SIGCONT] = Action(4096)
        master.put()
        assert signals(world.task) & bit(SIGHUP)
        assert signals(world.task) & bit(SIGCONT)
        assert current_tty(world.task) is None
        assert slave.read(world.task, 10) == b""


class TestFlow:
    def test_back_pressure(self) -> None:
        """A writer is stopped when the other side doesn't read, and goes on when it does."""
        world = World()
        master, slave = world.master(), world.slave()
        set_raw(slave, world.task, world.memory, 1, 0)
        written = 0
        while (room := slave.tty.output_room()) > 0:
            written += slave.write(world.task, b"x" * min(room, 1000))
        with pytest.raises(WouldBlock):
            slave.write(world.task, b"x")
        assert 8192 <= written <= 16384
        assert not slave.poll() & select.POLLOUT
        got = 0
        while got < written:
            got += len(master.read(world.task, 4096))
        assert slave.poll() & select.POLLOUT
        assert slave.write(world.task, b"y") == 1

    def test_vtime_waits(self) -> None:
        world = World()
        world.master()
        slave = world.slave(flags=O_RDWR | O_NOCTTY)
        set_raw(slave, world.task, world.memory, 0, 1)
        with pytest.raises(WouldBlock):
            slave.read(world.task, 10)
        assert len(world.kernel.timers.heap) == 1
        (_, _, timer) = world.kernel.timers.heap[0]
        assert timer.callback is not None
        # The call is now a coroutine; its time runs out.
        world.task.coroutine = object()  # type: ignore[assignment]
        timer.callback()
        assert slave.read(world.task, 10) == b""

    def test_vmin_and_time_between_bytes(self) -> None:
        world = World()
        master, slave = world.master(), world.slave(flags=O_RDWR | O_NOCTTY)
        set_raw(slave, world.task, world.memory, 5, 2)
        with pytest.raises(WouldBlock):
            slave.read(world.task, 10)
        assert not world.kernel.timers.heap, "the clock starts with the first byte"
        world.task.coroutine = object()  # type: ignore[assignment]
        master.write(world.task, b"ab")
        with pytest.raises(WouldBlock):
            slave.read(world.task, 10)
        (_, _, timer) = world.kernel.timers.heap[0]
        assert timer.callback is not None
        timer.callback()
        assert slave.read(world.task, 10) == b"ab"
        master.write(world.task, b"cdefghij")
        assert slave.read(world.task, 3) == b"cde", "a count below VMIN is enough"

    def test_packet_mode(self) -> None:
        """What the master reads in packet mode, step by step as the host's."""
        world = World()
        master, slave = world.master(), world.slave()
        native_master, native_slave = os.openpty()
        os.set_blocking(native_master, False)
        one = struct.pack("i", 1)
        assert world.ask(master, io.TIOCPKT, one) == one
        fcntl.ioctl(native_master, io.TIOCPKT, one)

        def both_read() -> tuple[str, str]:
            select.select([native_master], [], [], 0.1)
            return error_of(master.read, world.task, 100), error_of(os.read, native_master, 100)

        def both_set(settings: Termios) -> None:
            slave.ioctl(world.task, io.TCSETS, world.memory.put(settings.pack()))
            fcntl.ioctl(native_slave, io.TCSETS, settings.pack())

        slave.write(world.task, b"hi\n")
        os.write(native_slave, b"hi\n")
        ours, native = both_read()
        assert ours == native == repr(b"\0hi\r\n")
        settings = Termios.standard()
        settings.iflag &= ~abi.IXON
        both_set(settings)
        ours, native = both_read()
        assert ours == native
        both_set(Termios.standard())
        ours, native = both_read()
        assert ours == native
        for queue in (abi.TCIFLUSH, abi.TCOFLUSH, abi.TCIOFLUSH):
            slave.ioctl(world.task, io.TCFLSH, queue)
            fcntl.ioctl(native_slave, io.TCFLSH, queue)
            ours, native = both_read()
            assert ours == native
        for action in (abi.TCOOFF, abi.TCOON):
            slave.ioctl(world.task, io.TCXONC, action)
            fcntl.ioctl(native_slave, io.TCXONC, action)
            ours, native = both_read()
            assert ours == native
        ours, native = both_read()
        assert ours == native == "EAGAIN"
        os.close(native_master)
        os.close(native_slave)

    def test_sti(self) -> None:
        world = World()
        world.master()
        slave = world.slave()
        for char in b"ab\n":
            slave.ioctl(world.task, io.TIOCSTI, world.memory.put(bytes((char,))))
        assert slave.read(world.task, 10) == b"ab\n"

    def test_settings_round_trip(self) -> None:
        """TCGETS, TCGETS2, TCGETA after TCSETA and TCSETS2, through master and slave, as the host's."""
        world = World()
        master, slave = world.master(), world.slave()
        native_master, native_slave = os.openpty()
        fcntl.ioctl(native_slave, io.TCSETS, Termios.standard().pack())
        old = abi.TERMIO.pack(0x1234, 0x0005, 0x04BD, 0x8A3B, 0, bytes(range(8)))
        new = abi.TERMIOS2.pack(0x500, 5, 0x1000 | 0xBF, 0x8A3B, 0, bytes(range(19)), 0, 12345)
        for request, data in ((io.TCSETAF, old), (io.TCSETSW2, new)):
            master.ioctl(world.task, request, world.memory.put(data))
            fcntl.ioctl(native_master, request, data)
            for reader, native in ((master, native_master), (slave, native_slave)):
                for query, size in ((io.TCGETS, 36), (io.TCGETS2, 44), (io.TCGETA, 18)):
                    expected = fcntl.ioctl(native, query, bytes(size))
                    got = world.ask(reader, query, bytes(size))
                    # struct termio's last byte is padding that the host leaves alone.
                    assert got[:17] == expected[:17]
                    if size > 18:
                        assert got == expected
        os.close(native_master)
        os.close(native_slave)


class TestJobControl:
    def test_controlling_terminal(self) -> None:
        world = World()
        world.master()
        slave = world.slave()
        assert current_tty(world.task) is None, "O_NOCTTY"
        assert error_of(open_controlling_terminal, slave.inode, None, O_RDWR, world.task) == "ENXIO"
        assert error_of(slave.ioctl, world.task, io.TIOCGPGRP, world.memory.room(4)) == "ENOTTY"
        slave.ioctl(world.task, io.TIOCSCTTY, 0)
        assert current_tty(world.task) is slave.tty
        pgid = world.task.group.process_group.pgid
        assert struct.unpack("i", world.ask(slave, io.TIOCGPGRP, bytes(4)))[0] == pgid
        assert struct.unpack("i", world.ask(slave, io.TIOCGSID, bytes(4)))[0] == world.task.group.session.sid
        again = open_controlling_terminal(slave.inode, None, O_RDWR, world.task)  # type: ignore[arg-type]
        assert isinstance(again, TtyFile)
        assert again.tty is slave.tty

    def test_not_without_leading(self) -> None:
        world = World()
        world.master()
        slave = world.slave()
        child = world.child()
        assert error_of(slave.ioctl, child, io.TIOCSCTTY, 0) == "EPERM"

    def test_signal_characters(self) -> None:
        world = World()
        master = world.master()
        slave = world.slave(flags=O_RDWR)
        child = world.child()
        slave.ioctl(world.task, io.TIOCSPGRP, world.memory.put(struct.pack("i", child.tid)))
        master.write(world.task, b"\x03")
        assert signals(child) & bit(SIGINT)
        assert not signals(world.task) & bit(SIGINT)
        master.write(world.task, b"\x1a")
        assert signals(child) & bit(SIGTSTP)

    def test_set_foreground_errors(self) -> None:
        world = World()
        world.master()
        slave = world.slave(flags=O_RDWR)
        memory = world.memory
        assert error_of(slave.ioctl, world.task, io.TIOCSPGRP, memory.put(struct.pack("i", -5))) == "EINVAL"
        assert error_of(slave.ioctl, world.task, io.TIOCSPGRP, memory.put(struct.pack("i", 999))) == "ESRCH"
        other = make_task(world.kernel)
        assert (
            error_of(slave.ioctl, world.task, io.TIOCSPGRP, memory.put(struct.pack("i", other.tid)))
            == "EPERM"
        )

    def test_background_read_and_write(self) -> None:
        world = World()
        world.master()
        slave = world.slave(flags=O_RDWR)
        child = world.child()
        with pytest.raises(Interrupted):
            slave.read(child, 10)
        assert signals(child) & bit(SIGTTIN)
        assert slave.write(child, b"x") == 1
        settings = Termios.standard()
        settings.lflag |= abi.TOSTOP
        slave.ioctl(world.task, io.TCSETS, world.memory.put(settings.pack()))
        with pytest.raises(Interrupted):
            slave.write(child, b"x")
        assert signals(child) & bit(SIGTTOU)
        child.blocked |= bit(SIGTTOU)
        assert slave.write(child, b"x") == 1
        child.sighand.actions[SIGTTIN] = Action(SIG_IGN)
        assert error_of(slave.read, child, 10) == "EIO"

    def test_orphaned_group_gets_eio(self) -> None:
        world = World()
        world.master()
        slave = world.slave(flags=O_RDWR)
        child = world.child()
        child.group.parent = None
        assert error_of(slave.read, child, 10) == "EIO"

    def test_window_size(self) -> None:
        world = World()
        master, slave = world.master(), world.slave(flags=O_RDWR)
        size = struct.pack("HHHH", 24, 80, 0, 0)
        world.ask(master, io.TIOCSWINSZ, size)
        assert world.ask(slave, io.TIOCGWINSZ, bytes(8)) == size
        # The foreground group's default is to ignore SIGWINCH: it is dropped unless there is a handler.
        assert not signals(world.task) & bit(SIGWINCH)
        world.task.sighand.actions[SIGWINCH] = Action(4096)
        world.ask(slave, io.TIOCSWINSZ, size)
        assert not signals(world.task) & bit(SIGWINCH), "nothing changed"
        world.ask(slave, io.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
        assert signals(world.task) & bit(SIGWINCH)

    def test_giving_up(self) -> None:
        world = World()
        world.master()
        slave = world.slave(flags=O_RDWR)
        child = world.child(group=False)
        slave.ioctl(child, io.TIOCNOTTY, 0)
        assert current_tty(child) is None
        assert current_tty(world.task) is slave.tty
        slave.ioctl(world.task, io.TIOCNOTTY, 0)
        assert current_tty(world.task) is None
        assert signals(world.task) & bit(SIGHUP)

    def test_stealing(self) -> None:
        world = World()
        world.master()
        slave = world.slave(flags=O_RDWR)
        thief = make_task(world.kernel, uid=1000)
        assert error_of(slave.ioctl, thief, io.TIOCSCTTY, 1) == "EPERM"
        root = make_task(world.kernel)
        slave.ioctl(root, io.TIOCSCTTY, 1)
        assert current_tty(root) is slave.tty
        assert current_tty(world.task) is None

    def test_exit_of_the_leader(self) -> None:
        world = World()
        world.master()
        slave = world.slave(flags=O_RDWR)
        child = world.child()
        slave.ioctl(world.task, io.TIOCSPGRP, world.memory.put(struct.pack("i", child.tid)))
        slave.tty.session_leader_exited(world.task.group.session)
        assert signals(child) & bit(SIGHUP)
        assert slave.tty.session is None


def test_constants_are_the_hosts() -> None:
    for name in (
        "IXON",
        "ICANON",
        "ECHOKE",
        "IEXTEN",
        "ONLCR",
        "TOSTOP",
        "VMIN",
        "VEOL2",
        "VSUSP",
        "TCIOFLUSH",
    ):
        assert getattr(abi, name) == getattr(termios, name)
    for name in ("TCGETS", "TIOCGWINSZ", "TIOCSCTTY", "TIOCPKT", "TIOCSTI", "FIONREAD", "TCFLSH", "TIOCGETD"):
        assert getattr(io, name) == getattr(termios, name)


def test_vhangup() -> None:
    from support import call

    from runsc.kernel.syscalls.privileged import vhangup

    world = World()
    world.master()
    slave = world.slave(flags=O_RDWR)
    user = make_task(world.kernel, uid=1000)
    assert call(user, vhangup) == -errno.EPERM
    assert call(world.task, vhangup) == 0
    assert slave.read(world.task, 10) == b""
    assert current_tty(world.task) is None
    assert call(world.task, vhangup) == 0, "without a terminal there is nothing to do"
