"""The terminal on which the sandbox was started: the host edits lines and echoes, job control is ours.

Settings and window size are the host's, read and set there. Sessions and the foreground process group are
the guest's; the host knows of one group only, the sandbox's own processes. Signals that the host's
terminal generates (^C) come to the sandbox's process, which passes them on by ``host_signal``.
"""

from __future__ import annotations

import fcntl
from errno import EINVAL, EIO
from os import makedev

from runsc.abi.fcntl import O_NONBLOCK
from runsc.abi.ioctl import (
    FIONREAD,
    TCFLSH,
    TCGETA,
    TCGETS,
    TCGETS2,
    TCSBRK,
    TCSBRKP,
    TCSETA,
    TCSETAF,
    TCSETAW,
    TCSETS,
    TCSETS2,
    TCSETSF,
    TCSETSF2,
    TCSETSW,
    TCSETSW2,
    TCXONC,
    TIOCEXCL,
    TIOCGETD,
    TIOCGEXCL,
    TIOCGWINSZ,
    TIOCNXCL,
    TIOCOUTQ,
    TIOCSWINSZ,
)  # fmt: skip
from runsc.abi.signal import SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH
from runsc.abi.termios import (
    ICANON,
    TCIFLUSH,
    TCIOFLUSH,
    TERMIO,
    TERMIOS,
    TERMIOS2,
    TOSTOP,
    WINSIZE,
)  # fmt: skip
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.hostfile import HostFile, HostFs, HostHandle
from runsc.kernel.tty.termios import Termios
from runsc.kernel.tty.tty import Tty
from runsc.kernel.tty.vtime import ReadTimers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import FileSystem, Inode

#: Requests that set, by the layout of their argument, and whether they throw input away first.
_SETTERS = {
    TCSETS: (TERMIOS, False), TCSETSW: (TERMIOS, False), TCSETSF: (TERMIOS, True),
    TCSETS2: (TERMIOS2, False), TCSETSW2: (TERMIOS2, False), TCSETSF2: (TERMIOS2, True),
    TCSETA: (TERMIO, False), TCSETAW: (TERMIO, False), TCSETAF: (TERMIO, True),
}  # fmt: skip


#: /dev/console.
CONSOLE_RDEV = makedev(5, 1)

_FROM_TERMINAL = (SIGINT, SIGQUIT, SIGTSTP, SIGWINCH)


class HostTty(Tty):
    """A terminal of the host's. ``handle``: our descriptor of it; ``saved``: its settings before we came."""

    __slots__ = ("handle", "saved", "termios")

    def __init__(self, kernel: Kernel, handle: HostHandle) -> None:
        super().__init__(kernel, CONSOLE_RDEV)
        self.handle = handle.get()
        self.queue = handle.queue
        self.saved: bytes = fcntl.ioctl(handle.fd, TCGETS, bytes(TERMIOS.size))
        self.termios = Termios(0, 0, 0, 0)
        self.refresh()

    def name(self) -> str:
        return "/dev/console"

    def refresh(self) -> None:
        """Look at the host's settings and window size: others may have changed them."""
        fd = self.handle.fd
        self.termios = self.termios.unpacked(fcntl.ioctl(fd, TCGETS, bytes(TERMIOS.size)))
        rows, columns, width, height = WINSIZE.unpack(fcntl.ioctl(fd, TIOCGWINSZ, bytes(WINSIZE.size)))
        self.winsize = rows, columns, width, height

    def set_termios(self, new: Termios, flush: bool) -> None:
        """Change the host's settings. It isn't waited for output to drain: what we wrote the host has
        already."""
        if flush:
            fcntl.ioctl(self.handle.fd, TCFLSH, TCIFLUSH)
        fcntl.ioctl(self.handle.fd, TCSETS, new.pack())
        self.refresh()

    def resize(self, size: tuple[int, int, int, int]) -> None:
        """The host tells its foreground group of a change, and so us (``host_signal``)."""
        self.winsize = size
        fcntl.ioctl(self.handle.fd, TIOCSWINSZ, WINSIZE.pack(*size))

    def restore(self) -> None:
        """The sandbox ends: leave the host's terminal as it was, if it is still there."""
        try:
            fcntl.ioctl(self.handle.fd, TCSETS, self.saved)
        except OSError as error:
            if error.errno != EIO:  # it was hung up
                raise

    def host_signal(self, signo: int) -> bool:
        """The host sent the sandbox ``signo``. False if it isn't one that a terminal generates, or if
        there is no foreground group to get it: then it is for the first process."""
        if signo == SIGWINCH:
            self.refresh()
        if self.foreground is None or signo not in _FROM_TERMINAL:
            return False
        self.signal(signo)
        return True

    def reopen(self, inode: Inode, path: Path | None, flags: int) -> File:
        return HostTtyFile(self.handle, self, flags, path)

    def node_fs(self) -> FileSystem:
        """A file system that is this terminal's node and nothing else, to be mounted on /dev/console."""
        fs = self.handle.inode.fs
        assert isinstance(fs, HostFs)
        fs.root_inode = self.handle.inode
        return fs


def tty_of(handle: HostHandle) -> HostTty:
    """The terminal behind a handle: one object for all descriptors of one terminal. The first is the
    console."""
    kernel = handle.kernel
    known: dict[int, HostTty] = kernel.extra.setdefault("host_terminals", {})
    tty = known.get(handle.host_rdev)
    if tty is None:
        tty = known[handle.host_rdev] = HostTty(kernel, handle)
        if kernel.console is None:
            kernel.console = tty
    if tty is kernel.console:
        # The number of a pseudoterminal would be looked for, and not found, in the guest's /dev/pts.
        handle.inode.rdev = CONSOLE_RDEV
    return tty


class HostTtyFile(HostFile):
    """An open file of the host's terminal."""

    __slots__ = ("timers", "tty")

    def __init__(self, handle: HostHandle, tty: HostTty, flags: int, path: Path | None = None) -> None:
        super().__init__(handle, flags, path)
        self.tty = tty
        self.timers = ReadTimers(handle.kernel, handle.queue)

    def release(self) -> None:
        self.timers.clear()
        super().release()

    def read(self, task: Task, count: int) -> bytes:
        tty = self.tty
        tty.check_change(task, SIGTTIN)
        if not count:
            return b""
        if not tty.termios.lflag & ICANON:
            there = self._waiting()
            self.timers.check(task, there, count, tty.termios.cc, bool(self.flags & O_NONBLOCK))
            if not there:
                return b""
        return self.handle.read(count)

    def _waiting(self) -> int:
        return int.from_bytes(fcntl.ioctl(self.handle.fd, FIONREAD, bytes(4)), "little")

    def write(self, task: Task, data: bytes) -> int:
        if self.tty.termios.lflag & TOSTOP:
            self.tty.check_change(task, SIGTTOU)
        return self.handle.write(data)

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        tty, mm = self.tty, task.mm
        if request in (TCGETS, TCGETS2, TCGETA, TIOCGWINSZ):
            tty.refresh()
        answer = tty.jobctl_ioctl(task, self, request, arg)
        if answer is not None:
            return answer
        if request == TCGETS:
            mm.copy_out(arg, tty.termios.pack())
        elif request == TCGETS2:
            mm.copy_out(arg, tty.termios.pack2())
        elif request == TCGETA:
            mm.copy_out(arg, tty.termios.pack_old())
        elif request in _SETTERS:
            tty.check_change(task, SIGTTOU)
            layout, flush = _SETTERS[request]
            tty.set_termios(tty.termios.unpacked(mm.copy_in(arg, layout.size)), flush)
        elif request in (FIONREAD, TIOCOUTQ):
            mm.copy_out(arg, fcntl.ioctl(self.handle.fd, request, bytes(4)))
        elif request in (TCFLSH, TCXONC):
            tty.check_change(task, SIGTTOU)
            if arg > (TCIOFLUSH if request == TCFLSH else 3):
                raise LinuxError(EINVAL)
            fcntl.ioctl(self.handle.fd, request, arg)
        elif request in (TCSBRK, TCSBRKP):
            # Draining: what was written is with the host. A break is no business of a guest's.
            tty.check_change(task, SIGTTOU)
        elif request == TIOCEXCL:
            tty.exclusive = True
        elif request == TIOCNXCL:
            tty.exclusive = False
        elif request == TIOCGEXCL:
            mm.write_u32(arg, int(tty.exclusive))
        elif request == TIOCGETD:
            mm.write_u32(arg, 0)
        else:
            return super().ioctl(task, request, arg)
        return 0

    def describe(self) -> str:
        return self.tty.name()
