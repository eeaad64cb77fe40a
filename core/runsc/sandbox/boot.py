"""Start a sandbox and stay with it until its program has ended.

The process of the command line forks the sandbox's process (``runsc.sandbox.sentry``) and watches it:

- A signal sent to runsc is passed on through a pipe (``Command.signals``), one byte each. The sandbox's
  process itself ignores these signals. Both are in the terminal's foreground process group, so that the
  guest can read the terminal, and Ctrl-C reaches both: going through the pipe only, each signal arrives
  exactly once, wherever it came from. That goes for Ctrl-Z too: a shell inside may want to stop one of its
  jobs by it. If nobody inside does, the sandbox's process stops itself (``runsc.kernel.hostjob``), this one
  follows, and the shell that started runsc sees its job stopped.
- Should this process die, the kernel kills the sandbox's: that holds the read end of a pipe (the lifeline)
  whose "I/O is possible" signal is SIGKILL. Unlike PR_SET_PDEATHSIG this survives a change of credentials.
- Should the sandbox's process die without a word, the user is told so, with where its log is.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sys
from time import monotonic, sleep

from runsc.config import FS_OF_DO
from runsc.errors import RunscError
from runsc.log import debug_log_path
from runsc.plugins.loader import load
from runsc.plugins.scan import FILESYSTEM
from runsc.sandbox import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runsc.config import Config
    from runsc.filesystem import HostMount, Opener
    from runsc.log import Log
    from runsc.plugins.loader import Plugin
    from runsc.sandbox.command import Command

FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)

#: How long a process that the file-system plugin forked may take to end, in seconds.
_PATIENCE = 2.0


class InternalError(RunscError):
    """A bug of ours in the sandbox's process; ``traceback`` shows where."""

    def __init__(self, what: str, remedy: str, traceback: str) -> None:
        super().__init__(what, remedy)
        self.traceback = traceback


def run(config: Config, command: Command, log: Log, started: float) -> int:
    """Run ``command`` in a sandbox of its own; its exit code (128+n if signal n killed it).

    ``started``: when runsc was called, for the names of log files. Raises ``RunscError`` if it could not be
    run, or if the sandbox died.
    """
    occupy_standard_descriptors()
    command.nofile = resource.getrlimit(resource.RLIMIT_NOFILE)
    config.fs = config.fs or FS_OF_DO
    filesystem = load(FILESYSTEM, config.fs)
    opener, command.opened = open_files(filesystem, config, command.host_mounts)
    # What was ignored when we started (nohup, background jobs of scripts) stays ignored.
    forwarded = {number for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN}
    # A caller may have left SIGCHLD ignored, and then no status would come.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*forwarded, signal.SIGCHLD})
    report_read, report_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal_read, signal_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    life_read, life_write = os.pipe2(os.O_CLOEXEC)
    terminal = _Terminal()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        # Never returns, whatever happens.
        try:
            os.close(life_write)
            die_with_writer(life_read)
            for number in FORWARDED:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
            command.signals = signal_read
            from runsc.sandbox import sentry

            keep = {life_read, signal_read, *command.opened}
            sentry.main(config, command, filesystem, report_write, keep, started)
        finally:
            os._exit(1)
    for fd in (report_write, signal_read, life_read, *command.opened):
        os.close(fd)
    try:
        status = _watch(pid, forwarded, signal_write, log)
        message = report.read(report_read)
    finally:
        for fd in (report_read, signal_write, life_write):
            os.close(fd)
        for helper in opener.processes():
            _reap(helper)
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
    if message and message[0] == report.EXIT:
        return int(message[1])
    terminal.restore()
    raise failure(config, message, status, started)


def open_files(filesystem: Plugin, config: Config, mounts: Sequence[HostMount]) -> tuple[Opener, list[int]]:
    """Open what a container will reach of the host's files: a descriptor for each of ``mounts``.

    Raises ``RunscError``."""
    opener = filesystem.opener(config)
    try:
        return opener, opener.open(mounts)
    except RunscError:
        raise
    except Exception as error:
        refusal = filesystem.refusal()
        if refusal is None:
            raise
        raise refusal from error


def _reap(pid: int) -> None:
    """Take leave of a process of the file-system plugin, which has nobody to serve any more."""
    deadline = monotonic() + _PATIENCE
    while monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return
        sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _watch(pid: int, forwarded: set[signal.Signals], signal_write: int, log: Log) -> int:
    """Pass signals on until the process has ended; its wait status."""
    while True:
        info = signal.sigwaitinfo({*forwarded, signal.SIGCHLD})
        if info.si_signo != signal.SIGCHLD:
            log.debug(f"passing signal {info.si_signo} on (from process {info.si_pid})")
            _pass_on(signal_write, info.si_signo)
            continue
        ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if ended == 0:
            continue
        if not os.WIFSTOPPED(status):
            return status
        if os.WSTOPSIG(status) in (signal.SIGSTOP, signal.SIGTSTP):
            # It stopped itself, or somebody stopped it: to the shell we are the job, so stop as well.
            # What continues us continues both.
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)


def _pass_on(fd: int, number: int) -> None:
    try:
        os.write(fd, bytes([number]))
    except (BlockingIOError, BrokenPipeError):
        # 64 Ki signals wait to be looked at, or the process is about to end: as for a standard signal
        # that is pending already, nothing is lost by dropping this one.
        return


def failure(
    config: Config, message: list[str], status: int, started: float, container_id: str = ""
) -> RunscError:
    """Why a sandbox's process ended: from its last message, and its wait status."""
    if message and message[0] == report.ERROR:
        return RunscError(message[1], message[2])
    where = debug_log_path(config.debug_log, "boot", container_id, started) if config.debug_log else ""
    look = f"see {where}" if where else "run it again with --debug --debug-log=DIR/ and look there"
    if message and message[0] == report.BUG:
        return InternalError(f"internal error in the sandbox: {message[1]}", look, message[2])
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            how = f"killed by {signal.Signals(number).name}"
        except ValueError:
            how = f"killed by signal {number}"
        if number == signal.SIGSYS:
            how = "killed because it made a host call that its jail forbids"
            look = "run it again with --jail=log --debug-log=DIR/ and report what it logs"
    else:
        how = f"ended with status {os.WEXITSTATUS(status)}"
    return RunscError(f"the sandbox's process died ({how})", look)


def occupy_standard_descriptors() -> None:
    """Open /dev/null for each of 0, 1 and 2 that is closed, so that none of our own gets its number."""
    while True:
        fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)


def die_with_writer(fd: int) -> None:
    """Let the kernel kill this process when the last write end of the pipe ``fd`` is closed."""
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    try:
        # Closed before this was set up? Then no signal comes any more.
        orphaned = not os.read(fd, 1)
    except BlockingIOError:
        return
    if orphaned:
        os._exit(1)


class _Terminal:
    """The settings of the terminal, to be put back if the sandbox dies while it has changed them."""

    __slots__ = ("_attributes",)

    def __init__(self) -> None:
        self._attributes: list[Any] | None = None
        if os.isatty(0):
            import termios

            self._attributes = termios.tcgetattr(0)

    def restore(self) -> None:
        if self._attributes is None:
            return
        import termios

        try:
            # From the background this would stop us.
            if os.tcgetpgrp(0) == os.getpgrp() and termios.tcgetattr(0) != self._attributes:
                termios.tcsetattr(0, termios.TCSADRAIN, self._attributes)
        except (OSError, termios.error):
            return  # the terminal is gone
