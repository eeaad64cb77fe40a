"""How the sandbox's process tells the one that started it what became of it.

A message is a word and its fields, one per line, written to a pipe in one piece before the process ends:

    loaded                  a container's sandbox has loaded what it needs, and waits for an order
    ready                   a container is made
    exit CODE               the program has ended
    error WHAT REMEDY       a ``RunscError``: it could not be started
    bug SUMMARY TRACEBACK   anything else that was raised

No message at all means that the process died. Nothing here executes or unpickles what it reads: the
process at the other end works for a guest.
"""

from __future__ import annotations

import os

LOADED = "loaded"
READY = "ready"
EXIT = "exit"
ERROR = "error"
BUG = "bug"

#: A pipe holds 64 KiB, and nobody reads before the writer has ended.
MAX_MESSAGE = 60000


def write(fd: int, *fields: str) -> None:
    """Write a message. The first field is one of the words above."""
    text = "".join(field.replace("\\", "\\\\").replace("\n", "\\n") + "\n" for field in fields)
    os.write(fd, text.encode("utf-8", "surrogateescape")[:MAX_MESSAGE])


def read(fd: int) -> list[str]:
    """The fields of the message, an empty list if there is none. ``fd`` is non-blocking."""
    data = b""
    while len(data) < MAX_MESSAGE:
        try:
            piece = os.read(fd, MAX_MESSAGE)
        except BlockingIOError:
            break  # some child of the dead process still holds the other end
        if not piece:
            break
        data += piece
    text = data.decode("utf-8", "surrogateescape")
    return [_unescape(line) for line in text.split("\n")[:-1]]


def unescape_all(lines: list[bytes]) -> list[str]:
    """The fields of a message that was read line by line."""
    return [_unescape(line.decode("utf-8", "surrogateescape")) for line in lines]


def _unescape(line: str) -> str:
    if "\\" not in line:
        return line
    # Undo the doubling last, so that an escaped backslash before an n stays what it is.
    return "\\".join(part.replace("\\n", "\n") for part in line.split("\\\\"))
