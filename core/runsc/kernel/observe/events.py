"""What happens besides system calls: processes, programs, signals, files and addresses.

``kernel.events`` is None until somebody wants to know; each place where something happens asks for that
first.
"""

from __future__ import annotations

from runsc.kernel.errors import LinuxError
from runsc.kernel.observe.decode import socket_address
from runsc.kernel.observe.watch import ask, tell
from runsc.observer import Deny

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.siginfo import SigInfo
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

    #: (the observer's name, its hook)
    Hook = tuple[str, Callable[..., Any]]

#: The hooks that are called here, by the name they have in the contract.
NAMES = ("process_started", "program_executed", "process_exited", "signal", "file_opened", "socket_address")


class Events:
    """Who wants to know of what: hooks by name."""

    __slots__ = ("hooks", "kernel", "tracers")

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.hooks: dict[str, list[Hook]] = {name: [] for name in NAMES}
        #: strace: wants signals and ends of tasks, as they are
        self.tracers: list[Any] = []

    def _tell(self, name: str, **values: object) -> None:
        for who, hook in self.hooks[name]:
            tell(self.kernel, who, hook, **values)

    def _judge(self, name: str, **values: object) -> None:
        for who, hook in self.hooks[name]:
            verdict = ask(self.kernel, who, hook, **values)
            if isinstance(verdict, Deny):
                raise LinuxError(verdict.errno)

    # -- what the kernel calls ----------------------------------------------------------------

    def started(self, task: Task) -> None:
        """A task was made, and has not run yet."""
        self._tell("process_started", task=task, thread=task is not task.group.leader)

    def executed(self, task: Task, path: bytes, argv: list[bytes]) -> None:
        """A program takes the place of the one before."""
        self._tell("program_executed", task=task, path=path, argv=argv)

    def exited(self, task: Task, status: int) -> None:
        """A task has ended with this wait status."""
        for tracer in self.tracers:
            tracer.exited(task, status)
        self._tell("process_exited", task=task, status=status, thread=len(task.group.tasks) > 1)

    def signal(self, task: Task, info: SigInfo) -> None:
        """A signal is delivered."""
        for tracer in self.tracers:
            tracer.signal(task, info)
        self._tell("signal", task=task, number=info.signo, code=info.code)

    def file_open(self, task: Task, path: Path, name: bytes, flags: int) -> None:
        """A file is about to be opened: ``name`` below ``path``, or ``path`` itself if that is empty.

        Raises ``LinuxError`` if an observer denies it."""
        if self.hooks["file_opened"]:
            whole = task.fs.namespace.path_string(path, task.fs.root)
            if name:
                whole = whole.rstrip(b"/") + b"/" + name
            self._judge("file_opened", task=task, path=whole, flags=flags)

    def address(self, task: Task, operation: str, address: bytes) -> None:
        """A socket is about to use an address: ``operation`` is connect, bind, listen or send.

        Raises ``LinuxError`` if an observer denies it."""
        if self.hooks["socket_address"]:
            shown = socket_address(address)
            self._judge("socket_address", task=task, operation=operation, address=shown)


def events_of(kernel: Kernel) -> Events:
    """The kernel's events, made when first wanted."""
    if kernel.events is None:
        kernel.events = Events(kernel)
    return kernel.events
