"""Entries of the dispatch table that tell somebody about each call.

Nothing of this is in the way of a call that nobody watches: ``watch`` puts a ``WatchedEntry`` into the
table, in place of the entry that was there, and ``unwatch`` takes it out again, also while programs run.

Two kinds of listeners. A *watcher* (strace) gets raw numbers before and after. A *judge* (an observer plugin)
gets a ``Call`` with the converted arguments, which are then the very ones that the handler gets: it may
change them, delay the call or refuse it.
"""

from __future__ import annotations

from time import monotonic_ns, perf_counter_ns

from runsc.errors import trace
from runsc.kernel.errors import Interrupted, LinuxError
from runsc.kernel.syscalls.decl import GONE, REGISTERS_SET, compile_conversion, compile_entry
from runsc.observer import Call, Change, Delay, Deny

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from typing import Any, Protocol

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.syscalls.decl import Declaration, Result
    from runsc.kernel.task import Task
    from runsc.observer import Verdict

    Args = tuple[int, int, int, int, int, int]

    class Watcher(Protocol):
        """One who gets raw numbers."""

        def enter(self, task: Task, nr: int, args: Args) -> None:
            """A call begins."""

        def exit(self, task: Task, nr: int, args: Args, result: int, duration_ns: int) -> None:
            """It ended: ``result`` is a value, -errno, -512 (interrupted) or one of decl's marks."""


_EIO = 5
#: What an interrupted call is told to have answered (ERESTARTSYS).
INTERRUPTED = -512


class Judge:
    """The two hooks of one observer, each None if it has none."""

    __slots__ = ("enter", "exit", "name")

    def __init__(
        self, name: str, enter: Callable[..., Verdict] | None, exit_: Callable[..., None] | None
    ) -> None:
        self.name = name
        self.enter = enter
        self.exit = exit_


class WatchedEntry:
    """An entry that tells its listeners and calls what it stands for."""

    __slots__ = ("_convert", "declaration", "inner", "judges", "nr", "original", "watchers")

    def __init__(self, nr: int, original: Callable[..., Result], declaration: Declaration | None) -> None:
        self.nr = nr
        self.original = original
        self.declaration = declaration
        self.watchers: list[Watcher] = []
        self.judges: list[Judge] = []
        self._convert: Callable[[Task, Args], tuple[int | bytes, ...]] | None = None
        # The entry that stands in the table may be one that compiles itself and then takes its own place.
        self.inner = original if declaration is None else compile_entry(declaration)

    def __call__(self, task: Task, args: Args) -> Result:
        started = perf_counter_ns()
        for watcher in self.watchers:
            watcher.enter(task, self.nr, args)
        call = None
        try:
            if self.judges:
                call = self.call_of(task, args)
                result = self.judged(task, call)
            else:
                result = self.inner(task, args)
        except Interrupted:
            self.ended(task, args, call, INTERRUPTED, started)
            raise
        except Exception as error:
            self.ended(task, args, call, -(getattr(error, "errno", 0) or _EIO), started)
            raise
        if type(result) is int:
            self.ended(task, args, call, result, started)
            return result
        return self.waiting(task, args, call, result, started)  # type: ignore[arg-type]

    def call_of(self, task: Task, args: Args) -> Call:
        """The arguments, converted once for everybody. Raises ``LinuxError`` as the handler's entry would."""
        assert self.declaration is not None
        if self._convert is None:
            self._convert = compile_conversion(self.declaration)
        call = Call(task, self.declaration, args, self._convert(task, args))
        call.started_ns = monotonic_ns()
        return call

    def judged(self, task: Task, call: Call) -> Result:
        """Ask the judges, and do what they say."""
        delay = 0.0
        for judge in self.judges:
            if judge.enter is None:
                continue
            verdict = ask(task.kernel, judge.name, judge.enter, call=call)
            if isinstance(verdict, Deny):
                raise LinuxError(verdict.errno)
            if isinstance(verdict, Change):
                ask(task.kernel, judge.name, call.change, values=verdict.values)
            elif isinstance(verdict, Delay):
                delay += verdict.seconds
        assert call.declaration.handler is not None
        if delay:
            return self.delayed(task, call, delay)
        return call.declaration.handler(task, *call.values)

    @staticmethod
    async def delayed(task: Task, call: Call, seconds: float) -> int:
        """Make the call later."""
        deadline = monotonic_ns() + int(seconds * 1e9)
        while await task.wait(None, deadline=deadline):
            continue
        assert call.declaration.handler is not None
        result = call.declaration.handler(task, *call.values)
        return result if isinstance(result, int) else await result

    async def waiting(
        self, task: Task, args: Args, call: Call | None, inner: Coroutine[Any, Any, int], started: int
    ) -> int:
        """A call that waits, told of when it ends, however it ends."""
        try:
            result = await inner
        except Interrupted:
            self.ended(task, args, call, INTERRUPTED, started)
            raise
        except Exception as error:
            self.ended(task, args, call, -(getattr(error, "errno", 0) or _EIO), started)
            raise
        self.ended(task, args, call, result, started)
        return result

    def ended(self, task: Task, args: Args, call: Call | None, result: int, started: int) -> None:
        """Tell everybody what came of it."""
        took = perf_counter_ns() - started
        for watcher in self.watchers:
            watcher.exit(task, self.nr, args, result, took)
        if call is None:
            return
        call.result = None if result in (REGISTERS_SET, GONE) else result
        call.duration_ns = took
        for judge in self.judges:
            if judge.exit is not None:
                tell(task.kernel, judge.name, judge.exit, call=call)


def ask(kernel: Kernel, who: str, hook: Callable[..., Any], **values: object) -> Any:
    """What an observer's hook answers; raises ``LinuxError(EIO)`` if it fails."""
    try:
        return hook(**values)
    except Exception as error:
        kernel.log.error(f"observer {who} failed; the call it was asked about answers EIO:\n{trace(error)}")
        raise LinuxError(_EIO) from error


def tell(kernel: Kernel, who: str, hook: Callable[..., Any], **values: object) -> None:
    """Call an observer's hook whose answer nobody waits for; a failure is logged."""
    try:
        hook(**values)
    except Exception as error:
        kernel.log.error(f"observer {who} failed:\n{trace(error)}")


def entry_of(kernel: Kernel, number: int) -> WatchedEntry:
    """The watched entry of ``number``, put into the table if it wasn't there."""
    from runsc.kernel.syscalls.table import declarations

    entry = kernel.table[number]
    if not isinstance(entry, WatchedEntry):
        entry = WatchedEntry(number, entry, declarations().get(number))
        kernel.table[number] = entry
        kernel.watched.add(number)
    return entry


def watch(kernel: Kernel, watcher: Watcher, numbers: Iterable[int] | None = None) -> None:
    """Let ``watcher`` see these calls; all of them, the unknown ones too, if None."""
    if numbers is None:
        missing = kernel.missing
        if not isinstance(missing, WatchedEntry):
            missing = kernel.missing = WatchedEntry(-1, missing, None)
        missing.watchers.append(_Unknown(watcher))
        numbers = range(len(kernel.table))
    for number in numbers:
        entry_of(kernel, number).watchers.append(watcher)


def unwatch(kernel: Kernel, watcher: Watcher) -> None:
    """``watcher`` sees nothing any more."""
    for number in tuple(kernel.watched):
        entry = kernel.table[number]
        assert isinstance(entry, WatchedEntry)
        if watcher in entry.watchers:
            entry.watchers.remove(watcher)
            release(kernel, entry)
    missing = kernel.missing
    if isinstance(missing, WatchedEntry):
        missing.watchers = [
            each for each in missing.watchers if not (isinstance(each, _Unknown) and each.watcher is watcher)
        ]
        if not missing.watchers:
            kernel.missing = missing.original


def release(kernel: Kernel, entry: WatchedEntry) -> None:
    """Take a watched entry out of the table if nobody listens any more."""
    if not entry.watchers and not entry.judges:
        kernel.table[entry.nr] = entry.original
        kernel.watched.discard(entry.nr)


class _Unknown:
    """Passes calls with numbers beyond the table on: their entry serves many numbers."""

    __slots__ = ("watcher",)

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def enter(self, task: Task, _nr: int, args: Args) -> None:
        self.watcher.enter(task, task.syscall_nr, args)

    def exit(self, task: Task, _nr: int, args: Args, result: int, duration_ns: int) -> None:
        self.watcher.exit(task, task.syscall_nr, args, result, duration_ns)
