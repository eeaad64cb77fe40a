"""The session's file: one JSON object a line, each with ``time`` (seconds since 1970), ``event``, ``pid``
and ``tid``.

===============  ======================================================================================
event            further members
===============  ======================================================================================
syscall          name, arguments (by name), result, error (an errno's name), duration (seconds), comm
process, thread  parent (of a process)
exec             path, argv
exit             status (wait status), thread (true if others of its process live on)
signal           number, code
open             path, flags
connect, bind,   address
listen, send
===============  ======================================================================================

A system call stands where it ended. Bytes that are no UTF-8 are shown as ``\\xNN``.
"""

from __future__ import annotations

import json
import time

from runsc.abi.errno import NAMES
from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from runsc.kernel.task import Task
    from runsc.observer import Call

#: No string gets longer than this in a line.
_LONGEST = 4096

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Session:
    """Writes to ``output``, which it closes."""

    __slots__ = ("_output", "_wall_offset")

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        #: what is to be added to the monotonic clock; a step of the wall clock doesn't mix up the order
        self._wall_offset = time.time() - time.monotonic()

    def _line(self, event: str, task: Task, **members: Any) -> None:
        when = round(time.monotonic() + self._wall_offset, 6)
        record = {"time": when, "event": event, "pid": task.group.tgid, "tid": task.tid, **members}
        self._output.write(_encode(record).encode("utf-8", "backslashreplace") + b"\n")

    @hookimpl
    def syscall_exit(self, call: Call) -> None:
        members: dict[str, Any] = {
            "name": call.name,
            "arguments": {name: _shown(value) for name, value in call.arguments().items()},
            "duration": round(call.duration_ns / 1e9, 9),
            "comm": _shown(call.comm),
        }
        if call.result is not None:
            members["result"] = call.result
            if -4096 < call.result < 0:
                members["error"] = NAMES.get(-call.result, str(-call.result))
        self._line("syscall", call.task, **members)

    @hookimpl
    def process_started(self, task: Task, thread: bool) -> None:
        if thread:
            self._line("thread", task)
        else:
            parent = task.group.parent
            self._line("process", task, parent=0 if parent is None else parent.tgid)

    @hookimpl
    def program_executed(self, task: Task, path: bytes, argv: list[bytes]) -> None:
        self._line("exec", task, path=_shown(path), argv=[_shown(word) for word in argv])

    @hookimpl
    def process_exited(self, task: Task, status: int, thread: bool) -> None:
        self._line("exit", task, status=status, thread=thread)

    @hookimpl
    def signal(self, task: Task, number: int, code: int) -> None:
        self._line("signal", task, number=number, code=code)

    @hookimpl
    def file_opened(self, task: Task, path: bytes, flags: int) -> None:
        self._line("open", task, path=_shown(path), flags=flags)

    @hookimpl
    def socket_address(self, task: Task, operation: str, address: str) -> None:
        self._line(operation, task, address=address)

    def close(self) -> None:
        """Write what is left."""
        self._output.close()


def _shown(value: int | bytes | str) -> int | str:
    if isinstance(value, bytes):
        return value[:_LONGEST].decode("utf-8", "backslashreplace")
    return value[:_LONGEST] if isinstance(value, str) else value
