"""Counts calls and adds up their times; writes the sums when the sandbox ends.

The file's members, times in seconds:

- ``wall``: from the first program's start to the end;
- ``kernel_cpu``: processor time of the sandbox's kernel process in that span;
- ``guest_user``, ``guest_system``: of all guest threads together, as the platform tells (0 where it can't);
- ``threads``: how many guest threads there were;
- ``syscalls``: by name, ``count``, ``errors``, ``handler`` (processor time from entry to answer, in the
  kernel itself) and ``elapsed`` (from entry to answer, waiting included).
"""

from __future__ import annotations

import json
import time

from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from runsc.kernel.task import Task
    from runsc.observer import Call


class Sum:
    """What calls of one name came to."""

    __slots__ = ("count", "elapsed_ns", "errors", "handler_ns")

    def __init__(self) -> None:
        self.count = 0
        self.errors = 0
        self.elapsed_ns = 0
        self.handler_ns = 0


class Meter:
    """Writes to ``output``, which it closes."""

    __slots__ = (
        "_entered", "_output", "_process", "_running", "_started", "guest_system_ns", "guest_user_ns", "sums",
        "threads",
    )  # fmt: skip

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._started = time.monotonic_ns()
        self._process = time.process_time_ns()
        self._entered = 0
        self._running = False
        self.sums: dict[str, Sum] = {}
        self.threads = 0
        self.guest_user_ns = 0
        self.guest_system_ns = 0

    @hookimpl
    def syscall_enter(self, call: Call) -> None:
        self._entered = time.thread_time_ns()

    @hookimpl
    def syscall_exit(self, call: Call) -> None:
        total = self.sums.get(call.name)
        if total is None:
            total = self.sums[call.name] = Sum()
        total.count += 1
        total.elapsed_ns += call.duration_ns
        # The kernel has one thread: between a call's entry and its answer it does nothing else, unless the
        # call waited; then what was entered last is another call, and the time would be that one's.
        spent = time.thread_time_ns() - self._entered
        if 0 <= spent <= call.duration_ns:
            total.handler_ns += spent
        if call.result is not None and -4096 < call.result < 0:
            total.errors += 1

    @hookimpl
    def program_executed(self) -> None:
        if not self._running:
            # What came before is the sandbox's own start.
            self._running = True
            self._started = time.monotonic_ns()
            self._process = time.process_time_ns()

    @hookimpl
    def process_exited(self, task: Task, status: int, thread: bool) -> None:
        user, system = task.thread.cpu_time_ns()
        self.threads += 1
        self.guest_user_ns += user
        self.guest_system_ns += system

    def close(self) -> None:
        """Write the sums."""
        record = {
            "wall": (time.monotonic_ns() - self._started) / 1e9,
            "kernel_cpu": (time.process_time_ns() - self._process) / 1e9,
            "guest_user": self.guest_user_ns / 1e9,
            "guest_system": self.guest_system_ns / 1e9,
            "threads": self.threads,
            "syscalls": {
                name: {
                    "count": total.count,
                    "errors": total.errors,
                    "handler": total.handler_ns / 1e9,
                    "elapsed": total.elapsed_ns / 1e9,
                }
                for name, total in sorted(self.sums.items())
            },
        }
        self._output.write(json.dumps(record).encode() + b"\n")
        self._output.close()
