"""The tracer: one line for each system call, signal and end of a task.

    [   3] python3 openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3 <0.000021>

A line is written when the call ends, whole; arguments that the kernel reads are shown as they were when
it began.
"""

from __future__ import annotations

from os import strerror

from runsc.abi.errno import NAMES, RESTARTS
from runsc.abi.registers import RAX
from runsc.kernel.syscalls.decl import GONE, REGISTERS_SET
from runsc.platform import AddressSpaceGone
from runsc.strace.shape import build, unknown
from runsc.strace.signals import ending_text, siginfo_bytes_text
from runsc.strace.structs import signal_name, sigset_text
from runsc.strace.text import quote, signed64
from runsc.strace.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.siginfo import SigInfo
    from runsc.kernel.syscalls.decl import Declaration
    from runsc.kernel.task import Task
    from runsc.strace.shape import Shape

#: Most bytes shown of a buffer, unless --strace-log-size says otherwise.
DEFAULT_LIMIT = 1024

#: Calls that never come back.
_FINAL = ("exit", "exit_group")


class UnknownSyscall(ValueError):
    """A name to trace is no system call's."""


class Tracer:
    """Writes lines to ``output``. ``names``: the calls to show (all, if empty); ``limit``: bytes of a buffer.

    Raises ``UnknownSyscall`` if one of the names is no call's.
    """

    __slots__ = ("limit", "open", "output", "shapes", "strange")

    def __init__(
        self,
        table: Iterable[Declaration],
        output: Callable[[str], None],
        names: Iterable[str] = (),
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        wanted = set(names)
        known = {declaration.name: declaration for declaration in table}
        for name in sorted(wanted - known.keys()):
            raise UnknownSyscall(f"there is no system call {name!r}")
        self.output = output
        self.limit = max(0, limit)
        self.shapes: dict[int, Shape] = {
            declaration.number: build(declaration)
            for name, declaration in known.items()
            if not wanted or name in wanted
        }
        #: are numbers without a name shown?
        self.strange = not wanted
        #: by tid: the call that a task is in
        self.open: dict[int, tuple[Shape, View, list[str | None]]] = {}

    def attach(self, kernel: Kernel) -> None:
        """Begin: from now on ``kernel`` tells us."""
        from runsc.kernel.observe.events import events_of
        from runsc.kernel.observe.watch import watch

        watch(kernel, self, None if self.strange else self.shapes)
        events_of(kernel).tracers.append(self)

    def detach(self, kernel: Kernel) -> None:
        """Stop. Calls that wait meanwhile are not shown any more."""
        from runsc.kernel.observe.events import events_of
        from runsc.kernel.observe.watch import unwatch

        unwatch(kernel, self)
        events_of(kernel).tracers.remove(self)
        self.open.clear()

    # -- what the kernel tells us -------------------------------------------------------------

    def enter(self, task: Task, nr: int, args: tuple[int, ...]) -> None:
        """A call begins."""
        shape = self.shapes.get(nr)
        if shape is None:
            if not self.strange:
                return
            shape = unknown(nr)
        view = View(task.mm, args, self.limit)
        self.open[task.tid] = (shape, view, shape.before(view))

    def exit(self, task: Task, nr: int, args: tuple[int, ...], result: int, duration_ns: int) -> None:
        """It ended. ``result``: a value, -errno, or one of decl's marks."""
        opened = self.open.pop(task.tid, None)
        if opened is None or result == GONE:
            return
        shape, view, parts = opened
        if result == REGISTERS_SET:
            if shape.name == "rt_sigreturn":
                parts = [f"{{mask={sigset_text(task.blocked)}}}"]
                shape.size = 1
            result = _rax(task)
        view.mm = task.mm
        view.result = result
        text = shape.after(view, parts)
        took = f" <{duration_ns // 1_000_000_000}.{duration_ns // 1000 % 1_000_000:06d}>"
        self._line(task, f"{shape.name}({text}) = {_outcome(shape, view, result)}{took}")

    def signal(self, task: Task, info: SigInfo) -> None:
        """A signal is delivered."""
        self._line(task, f"--- {signal_name(info.signo)} {siginfo_bytes_text(info.pack())} ---")

    def exited(self, task: Task, status: int) -> None:
        """A task has ended, with this wait status; the call it was in does not come back."""
        opened = self.open.pop(task.tid, None)
        if opened is not None:
            shape, view, parts = opened
            count = len(parts) if shape.count is None else shape.count(view)
            shown = ", ".join(part for part in parts[:count] if part is not None)
            broken = "" if shape.name in _FINAL else " <unfinished ...>"
            self._line(task, f"{shape.name}({shown}{broken}) = ?")
        self._line(task, ending_text(status))

    def _line(self, task: Task, text: str) -> None:
        # The name is the guest's to choose: it must not look like another line.
        comm = quote(task.comm)[1:-1]
        self.output(f"[{task.tid:4}] {comm} {text}")


def _rax(task: Task) -> int:
    """The result that a handler put into the registers."""
    try:
        return signed64(task.thread.get_regs()[RAX])
    except (OSError, AddressSpaceGone):
        return 0


def _outcome(shape: Shape, view: View, result: int) -> str:
    """The text behind the equals sign."""
    if -4096 < result < 0:
        restart = RESTARTS.get(-result)
        if restart is not None:
            return f"? {restart}"
        name = NAMES.get(-result)
        if name is None:
            return f"{result}"
        return f"-1 {name} ({strerror(-result)})"
    note = shape.note(view) if shape.note is not None else ""
    if shape.name == "fcntl" and view.args[1] in (3, 1, 1034) and result:
        return f"{result:#x}{note}"
    return f"{shape.result(result)}{note}"
