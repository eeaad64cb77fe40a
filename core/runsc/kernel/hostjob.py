"""Ctrl-Z, when it is meant for the sandbox as a whole: to the shell outside, runsc is one job."""

from __future__ import annotations

import os
import signal

from runsc.abi.signal import SIG_DFL, SIGTSTP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel


def stops_all(kernel: Kernel) -> bool:
    """Is a SIGTSTP from outside for the sandbox itself?

    It is if no job of a shell inside is in the foreground, and the first process leaves the signal at its
    default: that would stop it for good, since nobody inside can continue it.
    """
    first = kernel.init_group
    if first is None or first.leader.sighand.actions[SIGTSTP].handler != SIG_DFL:
        return False
    foreground = None if kernel.console is None else kernel.console.foreground
    return foreground is None or foreground is first.process_group


def stop_sandbox() -> None:
    """Stop this process, and runsc with it (``runsc.sandbox.boot`` follows), as Ctrl-Z stops a program.

    Returns when it is continued; at once where no shell could do that (the host doesn't stop an orphaned
    process group).
    """
    signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
