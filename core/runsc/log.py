"""Logs: the caller's (``--log``), the debug log (``--debug-log``), and stderr.

The caller's log has one line for each thing that went wrong, as runc writes it; container engines
read its last line. The debug log is for people; system calls (``--strace``) go there too.

Not the standard library's logging: importing that takes as long as all of ``runsc state``, and a call of it
longer than an intercepted system call. A line is one ``write(2)`` to a descriptor opened with O_APPEND, so
that lines of several processes don't mix and none is lost when a process dies.
"""

from __future__ import annotations

import os
import time

from runsc.errors import RunscError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config

#: The name of a debug log in a directory.
FILE_NAME = "runsc.log.%TIMESTAMP%.%COMMAND%.txt"

DEBUG = "debug"
INFO = "info"
WARNING = "warning"
ERROR = "error"

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
_ESCAPES[9] = "\t"
_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in range(32)}
_JSON_ESCAPES.update({34: '\\"', 92: "\\\\", 10: "\\n", 9: "\\t"})
# What is no character by itself (a byte of a name that isn't UTF-8) becomes U+FFFD.
_JSON_ESCAPES.update(dict.fromkeys(range(0xDC80, 0xDD00), "\ufffd"))


def json_string(text: str) -> str:
    """``text`` as a JSON string. (Importing json costs 10 ms; this is all that is needed of it.)"""
    return '"' + text.translate(_JSON_ESCAPES) + '"'


def open_append(path: str) -> int:
    """A descriptor that appends to ``path``; the file and its directory are made if need be.

    Raises ``RunscError``.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
    try:
        try:
            return os.open(path, flags, 0o644)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return os.open(path, flags, 0o644)
    except OSError as error:
        raise RunscError(f"can't write the log {path}: {error.strerror}", "choose another place") from None


def debug_log_path(pattern: str, command: str, container_id: str, started: float) -> str:
    """The file name for ``--debug-log=pattern``.

    ``command``: what %COMMAND% stands for ("boot" in the sandbox's process); ``started``: when runsc was
    called (seconds since the epoch), the same in all processes of one call.
    """
    if pattern.endswith("/") or os.path.isdir(pattern):
        pattern = os.path.join(pattern, FILE_NAME)
    micros = int(started * 1_000_000) % 1_000_000
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(started)) + f".{micros:06d}"
    # One after the other, so that an id that contains a % is left alone.
    parts = pattern.split("%")
    known = {"TIMESTAMP": stamp, "COMMAND": command, "ID": container_id}
    out = [parts[0]]
    i = 1
    while i < len(parts):
        if i + 1 < len(parts) and parts[i] in known:
            out.append(known[parts[i]] + parts[i + 1])
            i += 2
        else:
            out.append("%" + parts[i])
            i += 1
    return "".join(out)


class Log:
    """The logs of one process.

    ``path``: the debug log's file, or an empty string. ``verbose``: does ``debug`` write anything? Callers
    look at it before they put an expensive message together.
    """

    __slots__ = (
        "_json",
        "_second",
        "_stamp",
        "_user_json",
        "debug_fd",
        "path",
        "strace_fd",
        "user_fd",
        "verbose",
    )

    def __init__(self) -> None:
        self.debug_fd = -1
        self.user_fd = -1
        self.strace_fd = -1
        self.path = ""
        self.verbose = False
        self._json = False
        self._user_json = False
        self._second = -1
        self._stamp = ""

    @classmethod
    def open(cls, config: Config, command: str, container_id: str = "", started: float = 0.0) -> Log:
        """The logs that the flags ask for. Raises ``RunscError`` if one can't be written.

        ``--debug`` without ``--debug-log`` logs to stderr, and so does ``--strace``.
        """
        log = cls()
        log._json = config.debug_log_format == "json"
        log._user_json = config.log_format == "json"
        if config.log:
            log.user_fd = open_append(config.log)
        if config.debug_log:
            log.path = debug_log_path(config.debug_log, command, container_id, started or time.time())
            log.debug_fd = log.strace_fd = open_append(log.path)
        else:
            if config.debug:
                log.debug_fd = 2
            if config.strace:
                log.strace_fd = 2
        log.verbose = config.debug and log.debug_fd >= 0
        return log

    def fds(self) -> set[int]:
        """The descriptors that must stay open."""
        return {fd for fd in (self.debug_fd, self.user_fd, self.strace_fd) if fd >= 0}

    def debug(self, message: str) -> None:
        if self.verbose:
            self._debug_line(DEBUG, message)

    def info(self, message: str) -> None:
        if self.debug_fd >= 0:
            self._debug_line(INFO, message)

    def warning(self, message: str) -> None:
        if self.debug_fd >= 0:
            self._debug_line(WARNING, message)
        if self.user_fd >= 0:
            self.user_line(WARNING, message)

    def error(self, message: str) -> None:
        if self.debug_fd >= 0:
            self._debug_line(ERROR, message)
        if self.user_fd >= 0:
            self.user_line(ERROR, message)

    def failure(self, message: str) -> None:
        """An error that somebody else tells the caller: for the debug log, if that is a file."""
        if self.debug_fd > 2:
            self._debug_line(ERROR, message)

    def strace(self, line: str) -> None:
        """A line about a system call; it holds no newline and is escaped already."""
        if self.strace_fd < 0:
            return
        if self.strace_fd == self.debug_fd:
            self._debug_line(INFO, line)
        else:
            write_all(self.strace_fd, _encode(line + "\n"))

    def _debug_line(self, level: str, message: str) -> None:
        now = time.time()
        if self._json:
            text = _json_line(level, message, now)
        else:
            second = int(now)
            if second != self._second:
                self._second = second
                self._stamp = time.strftime("%m%d %H:%M:%S", time.localtime(second))
            if not message.isprintable():
                # A traceback keeps its lines, indented; nothing else may move the cursor about.
                message = message.rstrip("\n").replace("\n", "\n\t")
                message = "\n".join(part.translate(_ESCAPES) for part in message.split("\n"))
            micros = int((now - second) * 1_000_000)
            text = f"{level[0].upper()}{self._stamp}.{micros:06d} {os.getpid():7d}] {message}\n"
        write_all(self.debug_fd, _encode(text))

    def user_line(self, level: str, message: str) -> None:
        now = time.time()
        if self._user_json:
            text = _json_line(level, message, now)
        else:
            # logfmt, as runc's: strconv.Quote and a JSON string agree on everything printable.
            text = f"time={json_string(_rfc3339(now))} level={level} msg={json_string(message)}\n"
        write_all(self.user_fd, _encode(text))


def _json_line(level: str, message: str, now: float) -> str:
    return f'{{"level":"{level}","msg":{json_string(message)},"time":"{_rfc3339(now)}"}}\n'


def _rfc3339(now: float) -> str:
    """``2026-11-25T01:05:05.123456Z``."""
    micros = int(now * 1_000_000) % 1_000_000
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{micros:06d}Z"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def write_all(fd: int, data: bytes) -> None:
    """Write a line. A log that can't be written (disk full, pipe closed) must not end a sandbox: the rest
    of the line is lost, and that is all that can be done about it."""
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        return
