"""Observers: loading those that the command line names, and telling the kernel what they want to see.

pluggy judges an observer's hooks, by their names and parameters; the kernel then calls its methods directly.
"""

from __future__ import annotations

from runsc.errors import RunscError
from runsc.plugins.hookspecs import PROJECT, ObservationHooks
from runsc.plugins.loader import load
from runsc.plugins.scan import OBSERVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from runsc.config import Config
    from runsc.kernel.kernel import Kernel
    from runsc.plugins.availability import HostCall
    from runsc.plugins.scan import Entry


class Observer:
    """One observer that was made: ``hooks`` by name, ``syscalls`` as numbers, or None for all."""

    __slots__ = ("entry", "hooks", "instance", "syscalls")

    def __init__(self, entry: Entry, instance: object) -> None:
        self.entry = entry
        self.instance: Any = instance
        self.hooks = _hooks(entry, instance)
        self.syscalls = _numbers(entry, getattr(instance, "syscalls", None))

    def attach(self, kernel: Kernel) -> None:
        """Let ``kernel`` call the hooks."""
        from runsc.kernel.observe.events import NAMES, events_of
        from runsc.kernel.observe.watch import Judge, entry_of
        from runsc.kernel.syscalls.table import declarations

        name = self.entry.name
        for event in NAMES:
            if event in self.hooks:
                events_of(kernel).hooks[event].append((name, self.hooks[event]))
        enter, exit_ = self.hooks.get("syscall_enter"), self.hooks.get("syscall_exit")
        if enter is None and exit_ is None:
            return
        judge = Judge(name, enter, exit_)
        for number in declarations():
            if self.syscalls is None or number in self.syscalls:
                entry_of(kernel, number).judges.append(judge)

    def host_calls(self) -> Sequence[HostCall]:
        """As other plugins': what it needs of the host once the sandbox runs."""
        ask = getattr(self.instance, "host_calls", None)
        return () if ask is None else ask()

    def capabilities(self) -> Sequence[int]:
        """None: an observer looks at the guest, not at the host."""
        return ()

    def close(self) -> None:
        """The sandbox has ended."""
        close = getattr(self.instance, "close", None)
        if close is not None:
            close()


def make_observers(config: Config, installed: list[Entry]) -> list[Observer]:
    """Those that ``config`` asks for, in its order. Raises ``RunscError``."""
    made = []
    for name, argument in config.observers():
        plugin = load(OBSERVER, name, installed)
        refusal = plugin.refusal()
        if refusal is not None:
            raise refusal
        made.append(Observer(plugin.entry, plugin.make(config, argument=argument)))
    return made


def _hooks(entry: Entry, instance: object) -> dict[str, Callable[..., Any]]:
    """The hooks that ``instance`` implements, taking keyword arguments. Raises ``RunscError``."""
    import pluggy

    who = f"observer {entry.name} ({entry.origin})"
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(ObservationHooks)
    try:
        manager.register(instance, name=entry.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        text = " ".join(str(error).split())
        what = f"{who} breaks the plugin contract: {text}"
        raise RunscError(what, f"update {entry.distribution}") from error
    found: dict[str, Callable[..., Any]] = {}
    for name, spec in vars(ObservationHooks).items():
        if name.startswith("_"):
            continue
        for impl in getattr(manager.hook, name).get_hookimpls():
            wanted = spec.__code__.co_varnames[1 : spec.__code__.co_argcount]
            found[name] = impl.function if set(impl.argnames) == set(wanted) else _fewer(impl)
    if not found:
        raise RunscError(
            f"{who} implements no hook", f"see runsc.plugins.hookspecs, or update {entry.distribution}"
        )
    return found


def _fewer(impl: Any) -> Callable[..., Any]:
    """A hook that leaves parameters out, as pluggy allows."""
    function, names = impl.function, impl.argnames

    def call(**values: object) -> Any:
        return function(*[values[name] for name in names])

    return call


def _numbers(entry: Entry, names: Iterable[str] | None) -> frozenset[int] | None:
    """The numbers of system calls; raises ``RunscError`` for a name that is none's."""
    if names is None:
        return None
    from runsc.abi.syscalls import NAMES

    by_name = {name: number for number, name in NAMES.items()}
    for name in names:
        if name not in by_name:
            raise RunscError(
                f"observer {entry.name} ({entry.origin}) asks for {name!r}, which is no system call",
                "'runsc syscalls' lists their names",
            )
    return frozenset(by_name[name] for name in names)
