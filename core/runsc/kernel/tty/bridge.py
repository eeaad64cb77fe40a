"""A terminal of the container's whose other end is a terminal of the host's.

Inside, there is an ordinary pseudoterminal of the container's devpts, with line discipline, job control and
settings of this kernel. Its master is moved here, byte by byte, to and from a terminal line of the host that
is in raw mode: the slave of the pair whose master docker or podman holds.
"""

from __future__ import annotations

import fcntl
import os
from select import EPOLLIN, EPOLLOUT
from time import monotonic_ns

from runsc.abi.fcntl import O_NOCTTY, O_RDWR
from runsc.abi.ioctl import TIOCGWINSZ
from runsc.abi.termios import WINSIZE
from runsc.kernel.wait import WaitEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.fs.devpts import DevPts
    from runsc.kernel.hostpoll import Watch
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.tty.file import TtyFile
    from runsc.kernel.tty.pty import Pty

_CHUNK = 4096


class Bridge:
    """``fd``: the host's line, non-blocking, raw, ours; ``slave``: the container's side of the pair."""

    __slots__ = (
        "_due",
        "_entry",
        "_incoming",
        "_master_file",
        "_outgoing",
        "_watch",
        "devpts",
        "fd",
        "kernel",
        "master",
        "slave",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, fd: int, devpts: DevPts, task: Task) -> None:
        """A new pair in ``devpts``, owned by ``task``'s user. Takes over ``fd``."""
        self.kernel = kernel
        self.devpts = devpts
        self.fd = fd
        os.set_blocking(fd, False)
        file: TtyFile = devpts.open_master(devpts.ptmx, None, O_RDWR | O_NOCTTY, task)  # type: ignore[assignment]
        self._master_file = file
        file.get()
        self.master: Pty = file.tty
        self.slave: Pty = file.tty.link
        self.slave.locked = False
        self._incoming = b""
        self._outgoing = b""
        self._due = False
        self._entry = WaitEntry(self._inside_changed)
        self.master.queue.add(self._entry)
        self._watch: Watch | None = kernel.poller.watch(fd, EPOLLIN, self._outside_changed)
        self.take_size()
        kernel.closers.append(self.close)

    def take_size(self) -> None:
        """Give the container's terminal the size of the host's."""
        if self.fd < 0:
            return
        size = WINSIZE.unpack(fcntl.ioctl(self.fd, TIOCGWINSZ, bytes(WINSIZE.size)))
        if any(size):
            self.slave.resize(size)

    def _inside_changed(self, _mask: int) -> None:
        # Whoever wakes us is in the middle of handing over a line: what it gave is moved when it is done.
        if not self._due:
            self._due = True
            self.kernel.timers.add(monotonic_ns(), self._pump)

    def _outside_changed(self, _events: int) -> None:
        try:
            if not self._incoming:
                data = os.read(self.fd, _CHUNK)
                if not data:
                    self.close()
                    return
                self._incoming = data
        except BlockingIOError:
            pass  # woken to write
        except OSError:
            # EIO: the host's other end is closed. The line is dead.
            self.close()
            return
        self._pump()

    def _pump(self) -> None:
        """Move what can be moved, and wait for what can't."""
        self._due = False
        if self.fd < 0:
            return
        try:
            if self._incoming:
                taken = self.master.write(self._incoming)
                self._incoming = self._incoming[taken:]
            while True:
                if not self._outgoing and self.master.ldisc.available():
                    self._outgoing = self.master.read(_CHUNK)
                if not self._outgoing:
                    break
                try:
                    self._outgoing = self._outgoing[os.write(self.fd, self._outgoing) :]
                except BlockingIOError:
                    break
        except OSError:
            self.close()
            return
        if self.master.other_closed and not self._outgoing:
            # Nobody in the container has it open any more: to the host, the line is hung up.
            self.close()
            return
        wanted = (0 if self._incoming else EPOLLIN) | (EPOLLOUT if self._outgoing else 0)
        if self._watch is not None:
            self._watch.modify(wanted)

    def close(self) -> None:
        """Hang up both ends. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self.master.queue.remove(self._entry)
        os.close(fd)
        self._master_file.put()
        if self.close in self.kernel.closers:
            self.kernel.closers.remove(self.close)


def make_raw(fd: int) -> None:
    """Let a terminal pass every byte as it is, both ways (cfmakeraw(3))."""
    import termios

    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(fd)
    iflag &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
        | termios.ICRNL | termios.IXON
    )  # fmt: skip
    oflag &= ~termios.OPOST
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    cc[termios.VMIN] = 1
    cc[termios.VTIME] = 0
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, cc])
