"""The contract of an observer: a plugin that sees what guests do, and may have a say in it.

Observers are chosen by ``--observer=NAME`` or ``--observer=NAME:ARGUMENT`` (several times, if wanted). The
plugin's ``make_observer(config, argument)`` answers any object; of its methods, those marked with
``hookimpl`` whose names stand in ``runsc.plugins.hookspecs.ObservationHooks`` are called. ``make_observer``
runs before the jail is closed and is the place to open files and to import modules: neither is possible
later.

An observer that has no hook for something costs nothing there: the kernel changes the entries of its dispatch
table that are asked for, and leaves the others alone. ``syscalls`` narrows ``syscall_enter`` and
``syscall_exit`` down to some names.

Policy
    ``syscall_enter``, ``file_open`` and ``socket_address`` may answer a verdict: ``Deny(errno)``,
    ``Change(name=value)``, ``Delay(seconds)``; None lets the call go on. With several observers each is
    asked in the order of the command line, until one denies.

    What is judged is what is done: a path is copied out of the guest's memory once, before the observer sees
    it, and ``file_open`` and ``socket_address`` are asked with the kernel's own copies. Where
    ``syscall_enter`` gets an address (a pointer to a struct), the guest may change what lies there
    meanwhile: decide by the semantic hooks, not by that.

Failures
    An observer that raises is reported in the log with its traceback; the call it was asked about fails
    with EIO, since a policy that can't decide has not agreed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from runsc.kernel.syscalls.decl import Arg, Declaration
    from runsc.kernel.task import Task

    Verdict: TypeAlias = "Deny | Change | Delay | None"
    #: A decoded argument: a number, a path or string as bytes, or text as strace shows it.
    Value: TypeAlias = int | bytes | str

#: The version of this contract; a plugin declares the one it was written for.
API_VERSION = 1


class Deny:
    """The call fails with ``errno`` and has no effect."""

    __slots__ = ("errno",)

    def __init__(self, errno: int) -> None:
        if not 0 < errno < 4096:
            raise ValueError(f"{errno} is no errno")
        self.errno = errno


class Change:
    """The call is made with other arguments: by name, as the handler gets them (paths as bytes)."""

    __slots__ = ("values",)

    def __init__(self, **values: int | bytes) -> None:
        self.values = values


class Delay:
    """The call is made after ``seconds``; a signal ends the wait as it would end the call's own."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        if not 0 <= seconds < 1e6:
            raise ValueError(f"a delay of {seconds} s")
        self.seconds = seconds


class Call:
    """A system call in the making: what ``syscall_enter`` and ``syscall_exit`` get.

    ``values``: the arguments as the handler gets them; ``result``: a value or -errno once it has ended, None
    if it replaced the registers (execve, rt_sigreturn); ``duration_ns``: from entry to end, waiting included.
    """

    __slots__ = ("_parts", "_raw", "declaration", "duration_ns", "result", "started_ns", "task", "values")

    def __init__(
        self, task: Task, declaration: Declaration, raw: tuple[int, ...], values: Sequence[int | bytes]
    ) -> None:
        self.task = task
        self.declaration = declaration
        self.values = list(values)
        self.result: int | None = None
        self.started_ns = 0
        self.duration_ns = 0
        self._raw = raw
        self._parts: dict[str, Value] | None = None

    @property
    def name(self) -> str:
        """The system call's name."""
        return self.declaration.name

    @property
    def pid(self) -> int:
        """The process that makes it."""
        return self.task.group.tgid

    @property
    def tid(self) -> int:
        """The thread that makes it."""
        return self.task.tid

    @property
    def comm(self) -> bytes:
        """The thread's name (PR_SET_NAME)."""
        return self.task.comm

    def arguments(self) -> dict[str, Value]:
        """The arguments by name: numbers as int, paths and strings as bytes, all else as strace shows it.

        What the call writes is its address until it has ended. Looked up when asked for: an observer that
        doesn't ask doesn't pay.
        """
        from runsc.kernel.observe.decode import decode

        if self._parts is None or self.result is not None:
            self._parts = decode(self, self._raw)
        return self._parts

    def _names(self) -> list[str]:
        return [name for name, _arg in self.declaration.args]

    def change(self, values: dict[str, int | bytes]) -> None:
        """Put a ``Change`` into effect; raises ValueError for a name or type that doesn't fit."""
        names = self._names()
        for name, value in values.items():
            if name not in names:
                raise ValueError(f"{self.name} has no argument {name!r}, only {', '.join(names) or 'none'}")
            index = names.index(name)
            if type(value) is not type(self.values[index]):
                kind = type(self.values[index]).__name__
                raise ValueError(f"{self.name}: {name} is {kind}, not {type(value).__name__}")
            self.values[index] = value
            self._parts = None

    def argument(self, name: str) -> Arg:
        """The declaration of one argument; raises KeyError."""
        return dict(self.declaration.args)[name]
