"""Pseudoterminals (pty(7), drivers/tty/pty.c): a master and a slave, each the other's line.

What one side writes comes in at the other. The slave has a line discipline with settings; the master's passes
bytes through. ioctl(2) requests about settings and window, made on the master, concern the slave.
"""

from __future__ import annotations

from runsc.abi.poll import POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDNORM, POLLWRNORM
from runsc.abi.signal import SIGWINCH
from runsc.abi.termios import (
    CREAD,
    CS8,
    CSIZE,
    EXTPROC,
    IXON,
    PARENB,
    TIOCPKT_DOSTOP,
    TIOCPKT_FLUSHREAD,
    TIOCPKT_FLUSHWRITE,
    TIOCPKT_IOCTL,
    TIOCPKT_NOSTOP,
    TIOCPKT_START,
    TIOCPKT_STOP,
    VSTART,
    VSTOP,
)
from runsc.kernel.tty.ldisc import LineDiscipline
from runsc.kernel.tty.termios import Termios
from runsc.kernel.tty.tty import Tty, signal_group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.tty.file import TtyFile
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.inode import Inode

#: Bytes under way from one side to the other, beyond what the line discipline holds (pty.c: 8192).
LINE_SIZE = 8192

_READABLE = POLLIN | POLLRDNORM
_WRITABLE = POLLOUT | POLLWRNORM
_EVERYTHING = _READABLE | _WRITABLE | POLLPRI | POLLHUP


class Pty(Tty):
    """One side of a pair.

    ``link``: the other side; ``files``: the open files of this side; ``inbox``: what the other side sent and
    the line discipline hasn't taken; ``other_closed``: the other side was open and isn't any more.
    ``packet``, ``status``: packet mode (of a master) and the TIOCPKT_* bits it is to tell (kept on the
    slave). ``flow_stopped``: no output (^S, TCOOFF); ``output_off``: by TCOOFF, which ^Q doesn't end.
    """

    __slots__ = (
        "files",
        "flow_stopped",
        "inbox",
        "index",
        "ldisc",
        "link",
        "locked",
        "on_close",
        "other_closed",
        "output_off",
        "packet",
        "status",
        "termios",
    )

    link: Pty

    def __init__(self, kernel: Kernel, rdev: int, index: int, termios: Termios) -> None:
        super().__init__(kernel, rdev)
        self.index = index
        self.termios = termios
        self.flow_stopped = False
        self.output_off = False
        self.inbox = bytearray()
        self.files: list[TtyFile] = []
        self.other_closed = False
        self.locked = False
        self.packet = False
        self.status = 0
        self.on_close: Callable[[], None] | None = None
        self.ldisc = LineDiscipline(self, termios)

    def is_master(self) -> bool:
        return False

    def name(self) -> str:
        return f"/dev/pts/{self.index}"

    # -- the line (what the line discipline calls) --------------------------------------------

    def output_room(self) -> int:
        if self.flow_stopped:
            return 0
        return max(LINE_SIZE - len(self.link.inbox), 0)

    def output(self, data: bytes) -> int:
        """Send bytes to the other side, stopped or not; how many it took."""
        link = self.link
        data = data[: LINE_SIZE - len(link.inbox)]
        link.inbox += data
        link.pump()
        return len(data)

    def pump(self) -> None:
        """Hand what came over the line to the line discipline, as far as it takes it."""
        inbox = self.inbox
        if inbox:
            took = self.ldisc.receive(inbox)
            del inbox[:took]

    def start_output(self) -> None:
        if not self.flow_stopped or self.output_off:
            return
        self.flow_stopped = False
        self._tell_packet(TIOCPKT_START, TIOCPKT_STOP)
        self.queue.wake(_WRITABLE)

    def stop_output(self) -> None:
        if self.flow_stopped:
            return
        self.flow_stopped = True
        self._tell_packet(TIOCPKT_STOP, TIOCPKT_START)

    def flush_output(self) -> None:
        self.link.inbox.clear()
        self._tell_packet(TIOCPKT_FLUSHWRITE, 0)
        self.queue.wake(_WRITABLE)

    def input_flushed(self) -> None:
        self._tell_packet(TIOCPKT_FLUSHREAD, 0)

    def input_arrived(self) -> None:
        self.queue.wake(_READABLE)

    def _tell_packet(self, set_bits: int, clear_bits: int) -> None:
        """Let a master in packet mode know of what happened on the slave."""
        link = self.link
        if link.packet:
            self.status = self.status & ~clear_bits | set_bits
            link.queue.wake(_READABLE | POLLPRI)

    # -- reading and writing ------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """Output through the line discipline; how much was taken (0: no room)."""
        return self.ldisc.write(data)

    def read(self, count: int) -> bytes:
        """Input from the line discipline, which has some. The other side may then send more."""
        data = self.ldisc.read(count)
        self._room_again()
        return data

    def _room_again(self) -> None:
        self.pump()
        link = self.link
        link.ldisc.process_echoes()
        if len(self.inbox) < LINE_SIZE:
            link.queue.wake(_WRITABLE)

    def flush_input(self) -> None:
        """TCIFLUSH."""
        self.ldisc.flush_input()
        self._room_again()

    def poll(self) -> int:
        """The poll(2) events that hold for this side."""
        mask = 0
        cc, canonical = self.termios.cc, self.ldisc.canonical
        minimum = cc[6] if not canonical and not cc[5] and cc[6] else 1
        if self.ldisc.available(minimum):
            mask |= _READABLE
        if self.packet and self.link.status:
            mask |= POLLPRI | _READABLE
        if self.other_closed:
            mask |= POLLHUP
        if self.output_room() > 0:
            mask |= _WRITABLE
        return mask

    # -- settings -----------------------------------------------------------------------------

    def set_termios(self, new: Termios) -> None:
        """Change the settings (of a slave)."""
        old = self.termios
        new.cflag = new.cflag & ~(CSIZE | PARENB) | CS8 | CREAD
        self.termios = new
        if self.link.packet:
            extproc = (old.lflag | new.lflag) & EXTPROC
            before, after = _flow_by_control_s(old), _flow_by_control_s(new)
            if before != after or extproc:
                if before != after:
                    self.status &= ~(TIOCPKT_DOSTOP | TIOCPKT_NOSTOP)
                    self.status |= TIOCPKT_DOSTOP if after else TIOCPKT_NOSTOP
                if extproc:
                    self.status |= TIOCPKT_IOCTL
                self.link.queue.wake(_READABLE | POLLPRI)
        self.ldisc.set_termios(new)
        self.queue.wake(_EVERYTHING)

    def set_packet_mode(self, on: bool) -> None:
        """TIOCPKT (of a master)."""
        if on and not self.packet:
            self.link.status = 0
        self.packet = on

    def resize(self, size: tuple[int, int, int, int]) -> None:
        """The window's size is one for both sides; the foreground group is told (pty_resize)."""
        if size == self.winsize:
            return
        self.winsize = self.link.winsize = size
        groups = [self.foreground]
        if self.link.foreground is not self.foreground:
            groups.append(self.link.foreground)
        for group in groups:
            if group is not None:
                signal_group(group, SIGWINCH)

    # -- opening and closing ------------------------------------------------------------------

    def reopen(self, inode: Inode, path: Path | None, flags: int) -> TtyFile:
        from runsc.kernel.tty.file import TtyFile

        return TtyFile(self, inode, flags, path)

    def opened(self, file: TtyFile) -> None:
        """Count an open file."""
        self.files.append(file)
        self.link.other_closed = False

    def closed(self, file: TtyFile) -> None:
        """An open file is gone; the last one closes this side (pty_close)."""
        self.files.remove(file)
        if self.files:
            return
        link = self.link
        link.other_closed = True
        self.packet = False
        link.queue.wake(_EVERYTHING)
        if self.is_master():
            link.hang_up()
        if self.on_close is not None:
            self.on_close()

    def hang_up(self) -> None:
        """The line is dead: every open file of this side is of no use any more (__tty_hangup)."""
        for file in self.files:
            file.hung_up = True
        self.flow_stopped = self.output_off = False
        self.inbox.clear()
        self.ldisc.flush_input()
        self.status = 0
        self.hang_up_session()
        self.queue.wake(_EVERYTHING)


class PtyMaster(Pty):
    """The side of the terminal emulator."""

    __slots__ = ()

    def is_master(self) -> bool:
        return True


def _flow_by_control_s(termios: Termios) -> bool:
    return bool(termios.iflag & IXON) and termios.cc[VSTOP] == 0x13 and termios.cc[VSTART] == 0x11


def make_pair(kernel: Kernel, index: int, master_rdev: int, slave_rdev: int) -> tuple[PtyMaster, Pty]:
    """A new pair; the slave is locked (unlockpt(3))."""
    slave = Pty(kernel, slave_rdev, index, Termios.standard())
    master = PtyMaster(kernel, master_rdev, index, Termios.raw())
    master.link = slave
    slave.link = master
    slave.locked = True
    return master, slave
