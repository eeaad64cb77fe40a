"""How one system call is printed: put together once, when the tracer is made."""

from __future__ import annotations

from runsc.strace import calls, process_calls
from runsc.strace.arguments import formatter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.syscalls.decl import Declaration
    from runsc.strace.view import Formatter, View


class Shape:
    """The formatters of a call's arguments: ``early`` run when it begins, ``late`` when it has ended."""

    __slots__ = ("count", "early", "late", "name", "note", "result", "size")

    def __init__(self, name: str, formatters: list[tuple[Formatter, bool]]) -> None:
        self.name = name
        self.size = len(formatters)
        self.early = tuple((i, show) for i, (show, late) in enumerate(formatters) if not late)
        self.late = tuple((i, show) for i, (show, late) in enumerate(formatters) if late)
        self.count: Callable[[View], int] | None = calls.COUNTS.get(name)
        self.note: Callable[[View], str] | None = calls.NOTES.get(name)
        self.result: Callable[[int], str] = calls.RESULTS.get(name, str)

    def before(self, view: View) -> list[str | None]:
        """The arguments as they are when the call begins; None for those that come later."""
        parts: list[str | None] = [None] * self.size
        for index, show in self.early:
            parts[index] = show(view, index)
        return parts

    def after(self, view: View, parts: list[str | None]) -> str:
        """All arguments, when the call has ended."""
        for index, show in self.late:
            if parts[index] is None:
                parts[index] = show(view, index)
        count = self.size if self.count is None else min(self.count(view), self.size)
        return ", ".join([part or "" for part in parts[:count]])


class IoctlShape(Shape):
    """ioctl(2): whether its argument is shown before or after depends on the request."""

    __slots__ = ()

    def before(self, view: View) -> list[str | None]:
        parts = super().before(view)
        calls.ioctl_before(view, parts)
        return parts


class CloneShape(Shape):
    """clone(2), whose arguments strace names and reorders."""

    __slots__ = ()

    def before(self, view: View) -> list[str | None]:
        return [*process_calls.clone_before(view)]

    def after(self, view: View, parts: list[str | None]) -> str:
        return ", ".join(process_calls.clone_after(view, [part or "" for part in parts]))


class FutexShape(Shape):
    """futex(2), whose arguments depend on the operation."""

    __slots__ = ()

    def before(self, view: View) -> list[str | None]:
        return [*process_calls.futex_arguments(view)]

    def after(self, view: View, parts: list[str | None]) -> str:
        return ", ".join([part or "" for part in parts])


class LengthShape(Shape):
    """A call with a length that the kernel reads and then sets (getsockname(2)): shown as ``[128 => 16]``."""

    __slots__ = ("index",)

    def __init__(self, name: str, formatters: list[tuple[Formatter, bool]]) -> None:
        super().__init__(name, formatters)
        self.index = calls.LENGTHS[name]

    def before(self, view: View) -> list[str | None]:
        view.length = calls.length_at(view, self.index)
        return super().before(view)

    def after(self, view: View, parts: list[str | None]) -> str:
        parts[self.index] = calls.length_text(view, self.index)
        return super().after(view, parts)


class MessageShape(Shape):
    """recvmsg(2): the room for the sender's name is known only before the call."""

    __slots__ = ()

    def before(self, view: View) -> list[str | None]:
        data = view.read(view.args[1] + 8, 4) if view.args[1] else None
        view.length = None if data is None else int.from_bytes(data, "little", signed=True)
        return super().before(view)


def raw(view: View, index: int) -> str:
    """An argument of a call that nobody declares."""
    value = view.args[index]
    return f"{value:#x}" if value else "0"


def build(declaration: Declaration) -> Shape:
    """The shape of a declared call; one without a handler has six raw arguments."""
    name = declaration.name
    if declaration.handler is None:
        return Shape(name, [(raw, False)] * 6)
    own = calls.ARGUMENTS.get(name, {})
    formatters = [own.get(index) or formatter(arg) for index, (_name, arg) in enumerate(declaration.args)]
    if name == "ioctl":
        formatters[2] = (calls.ioctl_after, True)
        return IoctlShape(name, formatters)
    if name == "clone":
        return CloneShape(name, formatters)
    if name in calls.LENGTHS:
        return LengthShape(name, formatters)
    if name == "recvmsg":
        return MessageShape(name, formatters)
    if name == "futex":
        return FutexShape(name, formatters)
    return Shape(name, formatters)


def unknown(number: int) -> Shape:
    """The shape of a number that has no name."""
    return Shape(f"syscall_{number & 0xFFFFFFFF:#x}", [(raw, False)] * 6)
