"""Further processes in a running container (``runsc exec``), and the host's process that stands for each.

An engine knows a process by a process of the host: it waits for that one, signals it, kills it. So the
command
itself, or with ``--detach`` a process it leaves behind, stays as long as the process in the container: it
passes signals in, ends with its exit code, and when it is killed, so is the other one.
"""

from __future__ import annotations

import os
import signal
import stat
from select import POLLIN, poll

from runsc.errors import RunscError
from runsc.oci.lifecycle import control, write_pid_file
from runsc.oci.node import Node
from runsc.oci.process import Process
from runsc.oci.state import RUNNING, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.config import Config
    from runsc.log import Log
    from runsc.oci.state import Record
    from runsc.sandbox.client import Connection

#: Passed on to a process in a container: all that can be caught but SIGCHLD, and what a fault of ours raises.
_PASSED = tuple(
    number
    for number in range(1, 32)
    if number
    not in (
        signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE,
        signal.SIGILL, signal.SIGSYS, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU,
    )
)  # fmt: skip


class Execution:
    """How a process is started. ``document``: as ``process`` of config.json; ``passed``: guest's number:
    descriptor."""

    __slots__ = ("console_socket", "detach", "document", "passed", "pid_file")

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.detach = False
        self.pid_file = ""
        self.console_socket = ""
        self.passed: dict[int, int] = {}


def execute(config: Config, container_id: str, execution: Execution, log: Log) -> int:
    """Start a process and, unless detached, stay with it; its exit code. Raises ``RunscError``."""
    from runsc.oci.console import RawTerminal, own_line, terminal_for

    store = Store(config.state_dir)
    record = store.load(container_id)
    status = record.now()
    if status != RUNNING:
        raise RunscError(f"cannot exec in a container that is {status}", "only in a running one")
    process = Process.parse(Node(execution.document, "$"))
    for warning in process.warnings:
        log.warning(warning)
    request: dict[str, Any] = {"do": "exec", "id": container_id, "process": execution.document}
    own = False
    if process.terminal:
        own = not execution.console_socket
        request["tty"] = True
        fds = [own_line() if own else terminal_for(process, execution.console_socket)]
    else:
        streams = [private_copy(fd) for fd in range(3)]
        passed = [(number, fd, False) for number, fd in execution.passed.items()]
        given = [(number, *stream) for number, stream in enumerate(streams)] + passed
        fds = [fd for _number, fd, _private in given]
        request["numbers"] = [number for number, _fd, _private in given]
        request["private"] = [private for _number, _fd, private in given]
    terminal = RawTerminal(0) if own else None
    try:
        return _start(store, record, execution, request, fds, own)
    finally:
        if terminal is not None:
            terminal.restore()


def _start(
    store: Store, record: Record, execution: Execution, request: dict[str, Any], fds: list[int], own: bool
) -> int:
    """The rest of ``execute``; ``own``: the process is to have this process's own terminal."""
    # From here on, what is sent to this process is meant for the one that it is about to start.
    arrivals = Arrivals()
    with control(store, record) as connection:
        connection.call(request, fds)
        line = fds[0] if "tty" in request and not own else -1
        for fd in fds:
            if fd != line:
                os.close(fd)
        if execution.detach:
            keeper = leave_behind(connection, arrivals, line)
            if execution.pid_file:
                write_pid_file(execution.pid_file, keeper)
            return 0
        if execution.pid_file:
            write_pid_file(execution.pid_file, os.getpid())
        return attend(connection, arrivals)


def private_copy(fd: int) -> tuple[int, bool]:
    """A copy of a standard stream for the sandbox; does nobody else use its open file description?

    If so, it is non-blocking: the sandbox never waits in a read or a write.
    """
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), False
    if stat.S_ISFIFO(mode) or os.isatty(fd):
        from fcntl import F_GETFL, fcntl

        access = fcntl(fd, F_GETFL) & os.O_ACCMODE
        try:
            flags = access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{fd}", flags), True
        except OSError:
            pass  # another user's terminal, a pipe whose other end is closed
    return os.dup(fd), False


def leave_behind(connection: Connection, arrivals: Arrivals, line: int = -1) -> int:
    """A process of the host's that stands for the one that was started on ``connection``; its id.

    ``line``: the terminal, whose changes of size it is to pass on, -1 without one.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        if line >= 0:
            import fcntl

            from runsc.abi.ioctl import TIOCSCTTY

            fcntl.ioctl(line, TIOCSCTTY, 0)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        keep = {0, 1, 2, connection.fileno(), *arrivals.fds}
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in keep:
                try:
                    os.close(int(name))
                except OSError:
                    continue  # the one that listed the directory
        os.chdir("/")
        code = attend(connection, arrivals)
    finally:
        os._exit(code)


class Arrivals:
    """The signals that come to this process, as bytes that can be read. ``fds``: the two ends of their
    pipe."""

    __slots__ = ("fds",)

    def __init__(self) -> None:
        self.fds = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self.fds[1], warn_on_full_buffer=False)
        for number in _PASSED:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _caught)


def attend(connection: Connection, arrivals: Arrivals) -> int:
    """Pass signals on to the process that was started on ``connection`` until it has ended; its exit code.

    When the sandbox dies, so did the process: 137.
    """
    from runsc.sandbox.client import Gone

    poller = poll()
    poller.register(connection.fileno(), POLLIN)
    poller.register(arrivals.fds[0], POLLIN)
    try:
        while True:
            for fd, _events in poller.poll():
                if fd == connection.fileno():
                    return int(connection.receive()["exit"])
                for number in os.read(fd, 64):
                    if number == signal.SIGWINCH:
                        connection.send({"do": "resize"})
                    else:
                        connection.send({"do": "kill", "signal": number})
    except Gone:
        return 128 + signal.SIGKILL


def _caught(_number: int, _frame: object) -> None:
    """The number has been written to the pipe."""


__all__ = ["Execution", "execute"]
