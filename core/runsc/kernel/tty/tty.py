"""Terminals as sessions see them: controlling terminal, foreground process group, job control.

Job control is drivers/tty/tty_jobctrl.c; see also credentials(7), ioctl_tty(2).
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, EIO, ENOTTY, ENXIO, EPERM, ESRCH

from runsc.abi.fcntl import O_ACCMODE, O_NOCTTY, O_WRONLY
from runsc.abi.ioctl import (
    TIOCGPGRP,
    TIOCGSID,
    TIOCGWINSZ,
    TIOCNOTTY,
    TIOCSCTTY,
    TIOCSPGRP,
    TIOCSWINSZ,
)
from runsc.abi.signal import SI_KERNEL, SIG_IGN, SIGCONT, SIGHUP, SIGTTIN, SIGTTOU, SIGWINCH, bit
from runsc.abi.termios import WINSIZE
from runsc.kernel.credentials import CAP_SYS_ADMIN
from runsc.kernel.errors import Interrupted, LinuxError
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.signal import send_group
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ProcessGroup, Session
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import Inode


class Tty:
    """A terminal that can control a session.

    ``session``, ``foreground``: the session it controls and that session's foreground process group, or
    None. ``rdev``: its device number. ``queue``: woken when it becomes readable or writable, or hangs up.
    """

    __slots__ = ("exclusive", "foreground", "kernel", "queue", "rdev", "session", "winsize")

    def __init__(self, kernel: Kernel, rdev: int) -> None:
        self.kernel = kernel
        self.rdev = rdev
        self.session: Session | None = None
        self.foreground: ProcessGroup | None = None
        self.queue = WaitQueue()
        self.winsize = (0, 0, 0, 0)
        self.exclusive = False

    def name(self) -> str:
        """Its path name, as /proc/PID/stat's readers look it up."""
        raise NotImplementedError(f"{type(self).__name__} has no name()")  # an abstract class

    def reopen(self, inode: Inode, path: Path | None, flags: int) -> File:
        """Another open file of this terminal (/dev/tty)."""
        raise NotImplementedError(f"{type(self).__name__} has no reopen()")  # an abstract class

    # -- signals ------------------------------------------------------------------------------

    def signal(self, signo: int) -> None:
        """Signal the foreground process group (^C and its like)."""
        if self.foreground is not None:
            signal_group(self.foreground, signo)

    def check_change(self, task: Task, signo: int) -> None:
        """May ``task`` read from (SIGTTIN) or change (SIGTTOU) its controlling terminal now?

        A task of a background process group has its group stopped by ``signo`` and raises
        ``Interrupted``; EIO if it can't be stopped (__tty_check_change).
        """
        if current_tty(task) is not self:
            return
        group = task.group.process_group
        if self.foreground is None or group is self.foreground:
            return
        if task.blocked & bit(signo) or task.sighand.actions[signo].handler == SIG_IGN:
            if signo == SIGTTIN:
                raise LinuxError(EIO)
            return
        if group.orphaned():
            raise LinuxError(EIO)
        signal_group(group, signo)
        raise Interrupted

    # -- sessions -----------------------------------------------------------------------------

    def attach(self, task: Task) -> None:
        """Become the controlling terminal of the task's session (__proc_set_tty)."""
        session = task.group.session
        self.session = session
        self.foreground = task.group.process_group
        session.tty = self

    def detach(self) -> None:
        """Control no session any more."""
        session = self.session
        if session is not None and session.tty is self:
            session.tty = None
        self.session = None
        self.foreground = None

    def session_leader_exited(self, session: Session) -> None:
        """The leader of the session ends: the foreground group is told, the terminal is free
        (disassociate_ctty)."""
        if self.session is not session:
            return
        if self.foreground is not None:
            signal_group(self.foreground, SIGHUP)
        self.detach()

    def hang_up_session(self) -> None:
        """The line is dead: the session leader gets SIGHUP and SIGCONT, the session has no terminal any more
        (tty_signal_session_leader)."""
        session, foreground = self.session, self.foreground
        self.detach()
        if session is None:
            return
        leader = session.leader
        if leader is not None and not leader.zombie:
            # What the leader's end is to tell the group that was in the foreground when the line died.
            session.tty = GoneTerminal(foreground)
            leader.send_signal(SigInfo(SIGHUP, SI_KERNEL))
            leader.send_signal(SigInfo(SIGCONT, SI_KERNEL))

    def hang_up(self) -> None:
        """vhangup(2)."""
        self.hang_up_session()

    # -- window size --------------------------------------------------------------------------

    def resize(self, size: tuple[int, int, int, int]) -> None:
        """Set the window size; a change is told by SIGWINCH."""
        if size != self.winsize:
            self.winsize = size
            self.signal(SIGWINCH)

    # -- ioctl(2) -----------------------------------------------------------------------------

    def jobctl_ioctl(
        self, task: Task, file: File, request: int, arg: int, master: bool = False
    ) -> int | None:
        """The requests about sessions and the window; None for any other. ``master``: asked through a
        pseudoterminal's master, which is nobody's controlling terminal."""
        mm = task.mm
        if request == TIOCGWINSZ:
            mm.copy_out(arg, WINSIZE.pack(*self.winsize))
        elif request == TIOCSWINSZ:
            rows, columns, width, height = mm.unpack(arg, WINSIZE)
            self.resize((rows, columns, width, height))
        elif request == TIOCGPGRP:
            if not master and current_tty(task) is not self:
                raise LinuxError(ENOTTY)
            mm.write_u32(arg, self.foreground.pid.nr(task.pid_ns) if self.foreground is not None else 0)
        elif request == TIOCSPGRP:
            self._set_foreground(task, arg)
        elif request == TIOCGSID:
            if (not master and current_tty(task) is not self) or self.session is None:
                raise LinuxError(ENOTTY)
            mm.write_u32(arg, self.session.pid.nr(task.pid_ns))
        elif request == TIOCSCTTY:
            self._take(task, file, arg)
        elif request == TIOCNOTTY:
            if current_tty(task) is not self:
                raise LinuxError(ENOTTY)
            give_up_terminal(task)
        else:
            return None
        return 0

    def _set_foreground(self, task: Task, arg: int) -> None:
        """tcsetpgrp(3)."""
        try:
            self.check_change(task, SIGTTOU)
        except LinuxError as error:
            raise LinuxError(ENOTTY if error.errno == EIO else error.errno) from None
        if current_tty(task) is not self or self.session is not task.group.session:
            raise LinuxError(ENOTTY)
        pgid = task.mm.read_u32(arg)
        if pgid & 0x80000000:
            raise LinuxError(EINVAL)
        group = task.pid_ns.find_process_group(pgid)
        if group is None:
            raise LinuxError(ESRCH)
        if group.session is not task.group.session:
            raise LinuxError(EPERM)
        self.foreground = group

    def _take(self, task: Task, file: File, arg: int) -> None:
        """TIOCSCTTY; ``arg`` 1 steals the terminal from another session (an administrator may)."""
        session = task.group.session
        leader = session.leader is task.group
        if leader and self.session is session:
            return
        if not leader or current_tty(task) is not None:
            raise LinuxError(EPERM)
        if self.session is not None:
            if arg != 1 or not task.cred.capable(CAP_SYS_ADMIN):
                raise LinuxError(EPERM)
            self.detach()
        if not file.readable() and not task.cred.capable(CAP_SYS_ADMIN):
            raise LinuxError(EPERM)
        self.attach(task)


class GoneTerminal:
    """What stands for a session's terminal after it hung up: no terminal, but one thing left to do."""

    __slots__ = ("foreground",)

    def __init__(self, foreground: ProcessGroup | None) -> None:
        self.foreground = foreground

    def session_leader_exited(self, session: Session) -> None:
        """The group that had been in the foreground gets SIGHUP and SIGCONT."""
        if self.foreground is not None:
            signal_group(self.foreground, SIGHUP)
            signal_group(self.foreground, SIGCONT)


def signal_group(group: ProcessGroup, signo: int) -> None:
    """Signal a process group, from the kernel."""
    send_group(group, SigInfo(signo, SI_KERNEL))


def current_tty(task: Task) -> Tty | None:
    """The controlling terminal of ``task``."""
    group = task.group
    tty: Any = group.session.tty
    if not isinstance(tty, Tty):
        return None
    if group.extra is not None and group.extra.get("no_tty") is group.session:
        return None
    return tty


def give_up_terminal(task: Task) -> None:
    """TIOCNOTTY: a session leader gives the terminal up for the whole session (the foreground group gets
    SIGHUP and SIGCONT), another process for itself alone."""
    group = task.group
    tty = current_tty(task)
    if tty is None:
        return
    if group.session.leader is group:
        foreground = tty.foreground
        tty.detach()
        if foreground is not None:
            signal_group(foreground, SIGHUP)
            signal_group(foreground, SIGCONT)
    else:
        if group.extra is None:
            group.extra = {}
        group.extra["no_tty"] = group.session


def hang_up_own(task: Task) -> None:
    """vhangup(2): hang up the task's controlling terminal, if it has one."""
    tty = current_tty(task)
    if tty is not None:
        tty.hang_up()


def take_controlling_terminal(task: Task, tty: Tty, flags: int) -> None:
    """open(2) of a terminal: a session leader without a terminal gets it, if it is free and O_NOCTTY
    isn't set and the open is for reading too (tty_open_proc_set_tty)."""
    session = task.group.session
    if flags & O_NOCTTY or flags & O_ACCMODE == O_WRONLY:
        return
    if session.leader is task.group and tty.session is None and current_tty(task) is None:
        tty.attach(task)


def open_controlling_terminal(inode: Inode, path: Path, flags: int, task: Task) -> File:
    """/dev/tty: the task's own terminal, whatever it is; ENXIO without one."""
    tty = current_tty(task)
    if tty is None:
        raise LinuxError(ENXIO)
    if tty.exclusive and not task.cred.capable(CAP_SYS_ADMIN):
        raise LinuxError(EBUSY)
    return tty.reopen(inode, path, flags)
