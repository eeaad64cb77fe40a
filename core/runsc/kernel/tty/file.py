"""Open files of a pseudoterminal's sides: read, write, poll and ioctl of tty(4)."""

from __future__ import annotations

from errno import EINVAL, EIO, ENOTTY, EPERM
from os import major, minor

from runsc.abi.fcntl import O_NOCTTY, O_NONBLOCK
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
    TIOCCBRK,
    TIOCEXCL,
    TIOCGDEV,
    TIOCGETD,
    TIOCGEXCL,
    TIOCGPKT,
    TIOCGPTLCK,
    TIOCGPTN,
    TIOCGPTPEER,
    TIOCGSOFTCAR,
    TIOCNXCL,
    TIOCOUTQ,
    TIOCPKT,
    TIOCSBRK,
    TIOCSETD,
    TIOCSIG,
    TIOCSPGRP,
    TIOCSPTLCK,
    TIOCSSOFTCAR,
    TIOCSTI,
    TIOCVHANGUP,
)
from runsc.abi.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from runsc.abi.signal import NSIG, SIGTTIN, SIGTTOU
from runsc.abi.termios import (
    TCIFLUSH,
    TCIOFF,
    TCIOFLUSH,
    TCION,
    TCOFLUSH,
    TCOOFF,
    TCOON,
    TERMIO,
    TERMIOS,
    TERMIOS2,
    TOSTOP,
    VSTART,
    VSTOP,
)
from runsc.kernel.credentials import CAP_SYS_ADMIN
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.tty.tty import current_tty
from runsc.kernel.tty.vtime import ReadTimers
from runsc.kernel.vfs.file import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.tty.pty import Pty
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.inode import Inode
    from runsc.kernel.wait import WaitQueue

#: What a file of a hung-up terminal answers to poll(2) (hung_up_tty_poll).
_HUNG_UP = POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM

_SIZES = {
    TCSETS: TERMIOS, TCSETSW: TERMIOS, TCSETSF: TERMIOS,
    TCSETS2: TERMIOS2, TCSETSW2: TERMIOS2, TCSETSF2: TERMIOS2,
    TCSETA: TERMIO, TCSETAW: TERMIO, TCSETAF: TERMIO,
}  # fmt: skip


class TtyFile(File):
    """An open side of a pseudoterminal."""

    __slots__ = ("hung_up", "timers", "tty")

    sends_sigio = True

    def __init__(self, tty: Pty, inode: Inode, flags: int, path: Path | None) -> None:
        super().__init__(inode, flags & ~O_NOCTTY, path)
        self.tty = tty
        self.hung_up = False
        self.timers = ReadTimers(tty.kernel, tty.queue)
        tty.opened(self)

    def release(self) -> None:
        self.timers.clear()
        self.tty.closed(self)

    # -- reading ------------------------------------------------------------------------------

    def read(self, task: Task, count: int) -> bytes:
        tty = self.tty
        if self.hung_up:
            return b""
        tty.check_change(task, SIGTTIN)
        if not count:
            return b""
        if tty.packet:
            status = tty.link.status
            if status:
                tty.link.status = 0
                return bytes((status,))
        ldisc = tty.ldisc
        if not ldisc.canonical and not tty.is_master():
            return self._read_raw(task, count)
        if not ldisc.available():
            if tty.other_closed:
                raise LinuxError(EIO)
            raise WOULD_BLOCK
        if tty.packet:
            return b"\0" + (tty.read(count - 1) if count > 1 else b"")
        return tty.read(count)

    def _read_raw(self, task: Task, count: int) -> bytes:
        """Non-canonical input: VMIN bytes, or as many as came within VTIME (termios(3))."""
        tty = self.tty
        there = len(tty.ldisc.buf)
        if there or not tty.other_closed:
            nonblock = bool(self.flags & O_NONBLOCK) or tty.other_closed
            self.timers.check(task, there, count, tty.termios.cc, nonblock)
            return tty.read(count) if there else b""
        self.timers.forget(task)
        raise LinuxError(EIO)

    # -- writing ------------------------------------------------------------------------------

    def write(self, task: Task, data: bytes) -> int:
        tty = self.tty
        if self.hung_up:
            raise LinuxError(EIO)
        if tty.termios.lflag & TOSTOP:
            tty.check_change(task, SIGTTOU)
        if tty.other_closed or not tty.link.files:
            raise LinuxError(EIO)
        if not data:
            return 0
        count = tty.write(data)
        if not count:
            raise WOULD_BLOCK
        return count

    # -- readiness ----------------------------------------------------------------------------

    def poll(self, task: Task | None = None) -> int:
        return _HUNG_UP if self.hung_up else self.tty.poll()

    def wait_queue(self) -> WaitQueue | None:
        return self.tty.queue

    def describe(self) -> str:
        return "/dev/ptmx" if self.tty.is_master() else self.tty.name()

    def fdinfo(self) -> str:
        return f"tty-index:\t{self.tty.index}\n" if self.tty.is_master() else ""

    # -- ioctl(2) -----------------------------------------------------------------------------

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        if self.hung_up:
            raise LinuxError(ENOTTY if request == TIOCSPGRP else EIO)
        tty = self.tty
        master = tty.is_master()
        # The settings, the window and the session are the slave's, whoever asks.
        real = tty.link if master else tty
        answer = real.jobctl_ioctl(task, self, request, arg, master)
        if answer is None:
            answer = self._settings_ioctl(task, real, request, arg)
        if answer is None and master:
            answer = self._master_ioctl(task, request, arg)
        if answer is None:
            answer = self._line_ioctl(task, request, arg)
        if answer is None:
            raise LinuxError(ENOTTY)
        return answer

    def _settings_ioctl(self, task: Task, real: Pty, request: int, arg: int) -> int | None:
        """Settings: TCGETS and its like (tty_mode_ioctl)."""
        mm = task.mm
        if request == TCGETS:
            mm.copy_out(arg, real.termios.pack())
        elif request == TCGETS2:
            mm.copy_out(arg, real.termios.pack2())
        elif request == TCGETA:
            mm.copy_out(arg, real.termios.pack_old())
        elif request in _SIZES:
            real.check_change(task, SIGTTOU)
            new = real.termios.unpacked(mm.copy_in(arg, _SIZES[request].size))
            if request in (TCSETSF, TCSETSF2, TCSETAF):
                real.flush_input()
            real.set_termios(new)
        elif request == TIOCGSOFTCAR:
            mm.write_u32(arg, 0)
        elif request == TIOCSSOFTCAR:
            mm.read_u32(arg)
        else:
            return None
        return 0

    def _master_ioctl(self, task: Task, request: int, arg: int) -> int | None:
        """Requests that only a master knows (pty_unix98_ioctl)."""
        mm, tty = task.mm, self.tty
        if request == TIOCSPTLCK:
            tty.link.locked = mm.read_u32(arg) != 0
        elif request == TIOCGPTLCK:
            mm.write_u32(arg, int(tty.link.locked))
        elif request == TIOCGPTN:
            mm.write_u32(arg, tty.index)
        elif request == TIOCPKT:
            tty.set_packet_mode(mm.read_u32(arg) != 0)
        elif request == TIOCGPKT:
            mm.write_u32(arg, int(tty.packet))
        elif request == TIOCGPTPEER:
            from runsc.kernel.fs.devpts import open_peer

            return open_peer(task, self, arg)
        elif request == TIOCSIG:
            if arg < 1 or arg > NSIG:
                raise LinuxError(EINVAL)
            tty.link.signal(arg)
        else:
            return None
        return 0

    def _line_ioctl(self, task: Task, request: int, arg: int) -> int | None:
        """What concerns the line itself (tty_ioctl, n_tty_ioctl)."""
        mm, tty = task.mm, self.tty
        if request == FIONREAD:
            mm.write_u32(arg, tty.ldisc.waiting())
        elif request == TIOCOUTQ:
            mm.write_u32(arg, 0)
        elif request == TCFLSH:
            self._flush(task, arg)
        elif request == TCXONC:
            self._flow(task, arg)
        elif request in (TCSBRK, TCSBRKP, TIOCSBRK, TIOCCBRK):
            # A pseudoterminal has no line on which to send a break.
            tty.check_change(task, SIGTTOU)
        elif request == TIOCEXCL:
            tty.exclusive = True
        elif request == TIOCNXCL:
            tty.exclusive = False
        elif request == TIOCGEXCL:
            mm.write_u32(arg, int(tty.exclusive))
        elif request == TIOCGETD:
            mm.write_u32(arg, 0)
        elif request == TIOCSETD:
            tty.check_change(task, SIGTTOU)
            if mm.read_u32(arg) != 0:
                raise LinuxError(EINVAL)
        elif request == TIOCGDEV:
            # new_encode_dev
            number = tty.rdev if not tty.is_master() else self.inode.rdev
            high, low = major(number), minor(number)
            mm.write_u32(arg, low & 0xFF | high << 8 | (low & ~0xFF) << 12)
        elif request == TIOCVHANGUP:
            if not task.cred.capable(CAP_SYS_ADMIN):
                raise LinuxError(EPERM)
            tty.hang_up()
        elif request == TIOCSTI:
            if current_tty(task) is not tty and not task.cred.capable(CAP_SYS_ADMIN):
                raise LinuxError(EPERM)
            tty.ldisc.receive(mm.copy_in(arg, 1))
        else:
            return None
        return 0

    def _flush(self, task: Task, arg: int) -> None:
        """tcflush(3)."""
        tty = self.tty
        tty.check_change(task, SIGTTOU)
        if arg not in (TCIFLUSH, TCOFLUSH, TCIOFLUSH):
            raise LinuxError(EINVAL)
        if arg != TCOFLUSH:
            tty.flush_input()
        if arg != TCIFLUSH:
            tty.flush_output()

    def _flow(self, task: Task, arg: int) -> None:
        """tcflow(3)."""
        tty = self.tty
        tty.check_change(task, SIGTTOU)
        if arg == TCOOFF:
            if not tty.output_off:
                tty.output_off = True
                tty.stop_output()
        elif arg == TCOON:
            if tty.output_off:
                tty.output_off = False
                tty.start_output()
        elif arg in (TCIOFF, TCION):
            char = tty.termios.cc[VSTOP if arg == TCIOFF else VSTART]
            if char:
                tty.output(bytes((char,)))
        else:
            raise LinuxError(EINVAL)
