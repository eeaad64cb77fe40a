"""Staying with a container (``runsc run``): its signals, its terminal, its exit code."""

from __future__ import annotations

import os
import signal

from runsc.sandbox.sentry import FORWARDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.sandbox.launch import Launch


def attend(launch: Launch, console: int, start: Callable[[], None]) -> int:
    """Start a container whose sandbox is a child of this process, and stay until it has ended; its exit code.

    Signals are passed on. ``console``: this process's terminal, if the container uses it, else -1. Raises
    ``RunscError``.
    """
    from runsc.oci.console import RawTerminal

    forwarded = {number for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*forwarded, signal.SIGCHLD})
    terminal = RawTerminal(0) if console >= 0 else None
    try:
        start()
        while True:
            info = signal.sigwaitinfo({*forwarded, signal.SIGCHLD})
            if info.si_signo != signal.SIGCHLD:
                _pass_on(launch.pid, info.si_signo)
            elif os.waitid(os.P_PID, launch.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return launch.wait()
    finally:
        if terminal is not None:
            terminal.restore()
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)


def _pass_on(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
