"""Terminals for containers: a pair of the host's, whose master goes to whoever asked
(``--console-socket``)."""

from __future__ import annotations

import fcntl
import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket

from runsc.abi.ioctl import TIOCSWINSZ
from runsc.abi.termios import WINSIZE
from runsc.errors import RunscError
from runsc.sandbox.client import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.oci.process import Process


def terminal_for(process: Process, console_socket: str) -> int:
    """The line (slave) of a new pair, raw; its master has been sent to ``console_socket``.

    Raises ``RunscError``.
    """
    from runsc.kernel.tty.bridge import make_raw

    master, line = os.openpty()
    try:
        if process.console_size is not None and any(process.console_size):
            fcntl.ioctl(line, TIOCSWINSZ, WINSIZE.pack(*process.console_size, 0, 0))
        make_raw(line)
        _send(console_socket, master, os.ttyname(line))
    except BaseException:
        os.close(line)
        raise
    finally:
        os.close(master)
    return line


def _send(path: str, fd: int, name: str) -> None:
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connect(sock, path)
        rights = [(SOL_SOCKET, SCM_RIGHTS, fd.to_bytes(4, "little"))]
        sock.sendmsg([name.encode()], rights)
    except OSError as error:
        raise RunscError(
            f"--console-socket={path}: {error.strerror}", "name a Unix socket that somebody listens on"
        ) from None
    finally:
        sock.close()


def own_line() -> int:
    """This process's terminal, on an open file description of its own, to be given to a sandbox.

    Raises ``RunscError``."""
    try:
        if os.isatty(0):
            return os.open("/proc/self/fd/0", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RunscError(f"the terminal can't be opened: {error.strerror}", "give --console-socket") from None
    raise RunscError(
        "the process wants a terminal, and standard input is none", "give --console-socket, or run it on one"
    )


class RawTerminal:
    """This process's own terminal, passing every byte as it is until ``restore``."""

    __slots__ = ("_saved", "fd")

    def __init__(self, fd: int) -> None:
        import termios

        from runsc.kernel.tty.bridge import make_raw

        self.fd = fd
        self._saved = termios.tcgetattr(fd)
        make_raw(fd)

    def restore(self) -> None:
        """Put the settings back that were found."""
        import termios

        try:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._saved)
        except termios.error:
            return  # the terminal is gone
