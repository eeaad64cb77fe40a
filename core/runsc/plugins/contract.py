"""Does a plugin implement the hooks as they are specified?

``plain`` answers at a glance, for a plugin whose hooks are simple methods with the right names and
parameters: nearly all are. Where it doesn't say yes, ``managed`` asks pluggy, which knows the finer points
(wrappers, hooks under other names, parameters left out), says what is wrong, and makes the calls.
"""

from __future__ import annotations

from runsc.errors import RunscError
from runsc.plugins.hookspecs import (
    IMPL_MARK,
    PLAIN_IMPL,
    PROJECT,
    FilesystemHooks,
    NetworkHooks,
    ObserverHooks,
    PlatformHooks,
)
from runsc.plugins.scan import FILESYSTEM, NETWORK, OBSERVER, PLATFORM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runsc.plugins.scan import Entry

SPECS: tuple[type, ...] = (PlatformHooks, NetworkHooks, FilesystemHooks, ObserverHooks)


#: What is asked of a plugin: hooks are named ACTION_KIND.
ACTIONS = {
    FILESYSTEM: ("check", "make", "open"),
    NETWORK: ("check", "make"),
    OBSERVER: ("check", "make"),
    PLATFORM: ("check", "make"),
}


class Hooks:
    """The hooks of a plugin, ready to be called. ``opener``: a file system's only."""

    __slots__ = ("check", "make", "opener")

    def __init__(
        self, check: Callable[[], Any], make: Callable[..., Any], opener: Callable[..., Any] | None = None
    ) -> None:
        self.check = check
        self.make = make
        self.opener = opener


def plain(entry: Entry, instance: object) -> Hooks | None:
    """The hooks of a plugin that has nothing but methods as specified; None if it takes a closer look."""
    signatures = {
        name: _parameters(spec)
        for kind in SPECS
        for name, spec in vars(kind).items()
        if not name.startswith("_")
    }
    for owner in type(instance).__mro__:
        for name, value in vars(owner).items():
            mark = getattr(value, IMPL_MARK, None)
            if mark is not None and (mark != PLAIN_IMPL or signatures.get(name) != _parameters(value)):
                return None
    found = []
    for action in ACTIONS[entry.kind]:
        method = getattr(instance, f"{action}_{entry.kind}", None)
        if getattr(method, IMPL_MARK, None) is None or method is None:
            return None
        found.append(method)
    return Hooks(*found)


def managed(entry: Entry, instance: object) -> Hooks:
    """The hooks of a plugin through a pluggy manager of its own. Raises ``RunscError``."""
    import pluggy

    who = f"{entry.kind} {entry.name} ({entry.origin})"
    manager = pluggy.PluginManager(PROJECT)
    for spec in SPECS:
        manager.add_hookspecs(spec)
    try:
        manager.register(instance, name=entry.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        text = " ".join(str(error).split())
        raise RunscError(
            f"{who} breaks the plugin contract: {text}", f"update {entry.distribution}"
        ) from error
    found = []
    for action in ACTIONS[entry.kind]:
        hook = getattr(manager.hook, f"{action}_{entry.kind}")
        if not hook.get_hookimpls():
            what = f"{who} does not implement the hook {action}_{entry.kind}"
            raise RunscError(what, f"update {entry.distribution}")
        found.append(hook)
    return Hooks(*found)


def _parameters(function: Any) -> tuple[str, ...] | None:
    code = getattr(function, "__code__", None)
    if code is None or code.co_kwonlyargcount or function.__defaults__ or code.co_flags & 0x0C:
        return None  # not a function, or one with defaults, *args or **kwargs
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount]
    return names
