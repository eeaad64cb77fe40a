"""The start of a container's sandbox, seen from the command that makes it.

    command                                sandbox's process
    fork                                   loads plugins and kernel
      <- "loaded"
    hooks of the runtime specification
      go ->                                closes itself in, makes the container
      <- "ready"
    notes the state
      release ->                           lives on by itself

Until ``release``, the end of the command, however it comes, is the end of the sandbox's process.
"""

from __future__ import annotations

import os
import signal
import sys

from runsc.sandbox import report
from runsc.sandbox.boot import die_with_writer, failure, occupy_standard_descriptors
from runsc.sandbox.sentry import FORWARDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.plugins.loader import Plugin
    from runsc.sandbox.plan import Plan

#: How many fields each message has.
_FIELDS = {report.LOADED: 1, report.READY: 1, report.ERROR: 3, report.BUG: 3}


class Launch:
    """``pid``: the sandbox's process, a child of this one."""

    __slots__ = ("_buffer", "_config", "_id", "_life", "_order", "_report", "_started", "pid")

    def __init__(self, config: Config, plan: Plan, filesystem: Plugin, started: float) -> None:
        """Fork the process. ``filesystem``: the plugin that opened the host's files."""
        occupy_standard_descriptors()
        self._config = config
        self._id = plan.id
        self._started = started
        self._buffer = b""
        self._report, report_write = os.pipe2(os.O_CLOEXEC)
        order_read, self._order = os.pipe2(os.O_CLOEXEC)
        life_read, self._life = os.pipe2(os.O_CLOEXEC)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            # Never returns, whatever happens.
            try:
                os.close(self._life)
                die_with_writer(life_read)
                for number in FORWARDED:
                    signal.signal(number, signal.SIG_IGN)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                from runsc.sandbox import sentry

                sentry.serve(config, plan, filesystem, report_write, order_read, life_read, started)
            finally:
                os._exit(1)
        for fd in (report_write, order_read, life_read):
            os.close(fd)

    def wait_loaded(self) -> None:
        """Wait until it has loaded what it needs. Raises ``RunscError``; then the process is gone."""
        self._expect(report.LOADED)

    def go(self) -> None:
        """Let it make the container. Raises ``RunscError``; then the process is gone."""
        try:
            os.write(self._order, b"g")
        except BrokenPipeError:
            pass  # it has died: why, is told next
        self._expect(report.READY)

    def release(self) -> None:
        """Let it live on when this process ends."""
        try:
            os.write(self._order, b"r")
        except BrokenPipeError:
            pass  # it has died
        # The end of the report says that it has heard.
        os.read(self._report, 1)
        os.close(self._report)
        os.close(self._order)

    def kill(self) -> None:
        """End the process, and wait for it."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            return

    def _expect(self, word: str) -> None:
        message = self._message()
        if message and message[0] == word:
            return
        _pid, status = os.waitpid(self.pid, 0)
        raise failure(self._config, message, status, self._started, self._id)

    def _message(self) -> list[str]:
        """The next message, an empty list if there is none."""
        lines: list[bytes] = []
        while True:
            while b"\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\n")
                lines.append(line)
                if len(lines) == _FIELDS.get(os.fsdecode(lines[0]), 1):
                    return report.unescape_all(lines)
            piece = os.read(self._report, report.MAX_MESSAGE)
            if not piece:
                return []
            self._buffer += piece

    def wait(self) -> int:
        """Wait for its end; the exit code. Raises ``RunscError`` if it died."""
        _pid, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
            raise failure(self._config, [], status, self._started, self._id)
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
