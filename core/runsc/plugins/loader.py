"""Find one plugin by name, load it without importing the others, and hold it to its contract.

Every way in which a plugin can be wrong ends in a ``RunscError`` that names the plugin, the distribution it
came with, what is wrong, and what to do.
"""

from __future__ import annotations

from runsc.errors import RunscError, nearest
from runsc.plugins.availability import Availability
from runsc.plugins.contract import Hooks, managed, plain
from runsc.plugins.scan import FLAG_OF, NETWORK, OBSERVER, OWN_NAMES, PLATFORM, Entry, canonical, scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runsc.config import Config
    from runsc.filesystem import Opener


class Plugin:
    """A plugin that was loaded and implements its hooks."""

    __slots__ = ("entry", "hooks", "instance")

    def __init__(self, entry: Entry, instance: object, hooks: Hooks) -> None:
        self.entry = entry
        self.instance = instance
        self.hooks = hooks

    @property
    def summary(self) -> str:
        """What the plugin says about itself."""
        return str(getattr(self.instance, "summary", ""))

    def check(self) -> Availability:
        """Does it work here? A plugin that fails to answer doesn't work, and is told so."""
        entry = self.entry
        try:
            answer = self.hooks.check()
        except RunscError as error:
            return Availability.no(error.what, error.remedy or f"see {entry.distribution}")
        except Exception as error:
            return Availability.no(
                f"its check failed ({_describe(error)})", f"report this to {entry.distribution}"
            )
        if not isinstance(answer, Availability):
            return Availability.no(
                f"its check answered {type(answer).__name__}, not Availability",
                f"report this to {entry.distribution}",
            )
        return answer

    def refusal(self) -> RunscError | None:
        """The error to show if the plugin says that it doesn't work here; None if it does."""
        answer = self.check()
        if answer.works:
            return None
        return RunscError(
            f"{self.entry.kind} {self.entry.name} does not work here: {answer.reason}", answer.remedy
        )

    def make(self, config: Config, **more: object) -> Any:
        """What the plugin is there for; ``more``: what else its hook takes. Raises ``RunscError``."""
        return self._made(self.hooks.make, config, **more)

    def prepare(self, config: Config) -> None:
        """Let it do what ``make`` can't do any more, if there is anything. Raises ``RunscError``."""
        prepare = getattr(self.instance, "prepare", None)
        if prepare is not None:
            self._call(prepare, config)

    def opener(self, config: Config) -> Opener:
        """The outer half of a file system. Raises ``RunscError``."""
        assert self.hooks.opener is not None
        opener: Opener = self._made(self.hooks.opener, config)
        return opener

    def _made(self, hook: Callable[..., Any], config: Config, **more: object) -> Any:
        made = self._call(hook, config, **more)
        if made is None:
            entry = self.entry
            raise RunscError(
                f"{entry.kind} {entry.name} ({entry.origin}) made nothing",
                f"report this to {entry.distribution}, or choose another --{FLAG_OF[entry.kind]}",
            )
        return made

    def _call(self, hook: Callable[..., Any], config: Config, **more: object) -> Any:
        entry = self.entry
        try:
            return hook(config=config, **more)
        except RunscError:
            raise
        except Exception as error:
            refusal = self.refusal()
            if refusal is not None:
                raise refusal from error
            raise RunscError(
                f"{entry.kind} {entry.name} ({entry.origin}) failed to start: {_describe(error)}",
                f"report this to {entry.distribution}, or choose another --{FLAG_OF[entry.kind]}",
            ) from error


def load(kind: str, name: str, installed: list[Entry] | None = None) -> Plugin:
    """The plugin of ``kind`` that users call ``name``; ``installed`` is the answer of ``scan`` if it is there
    already. Raises ``RunscError``."""
    wanted = canonical(kind, name)
    entries = scan() if installed is None else installed
    matches = [entry for entry in entries if entry.kind == kind and entry.name == wanted]
    if len(matches) == 1:
        return activate(matches[0], import_target(matches[0]))
    # Something is unusual: let the authority on entry points say what.
    from runsc.plugins import arbiter

    entry, loaded = arbiter.find(kind, wanted, name)
    return activate(entry, loaded)


def unknown(kind: str, name: str, installed: list[str]) -> RunscError:
    """The error for a name that nothing installed answers to."""
    there = ", ".join(nearest(name, sorted(set(installed)))) or "none"
    if canonical(kind, name) in OWN_NAMES[kind]:
        return RunscError(f"{kind} {name} is not installed", f"installed: {there}")
    return RunscError(f"unknown {kind} {name}", f"there are: {there}")


def conflict(kind: str, name: str, entries: list[Entry]) -> RunscError:
    """The error for a name that several distributions claim."""
    claims = " and ".join(f"{entry.origin} ({entry.target})" for entry in entries)
    return RunscError(f"{kind} {name} is claimed by {claims}", "uninstall all but one of them")


def import_failure(entry: Entry, error: BaseException) -> RunscError:
    """The error for a plugin whose module can't be imported."""
    return RunscError(
        f"{entry.kind} {entry.name} ({entry.origin}) can't be imported: {_describe(error)}",
        f"reinstall or update {entry.distribution}, or choose another --{FLAG_OF[entry.kind]}",
    )


def import_target(entry: Entry) -> Any:
    """What the entry point names. Raises ``RunscError``."""
    module_name, _, attribute = entry.target.partition(":")
    try:
        found: Any = __import__(module_name, fromlist=["*"])
        for part in attribute.split(".") if attribute else ():
            found = getattr(found, part)
    except Exception as error:
        raise import_failure(entry, error) from error
    return found


def activate(entry: Entry, loaded: Any, thorough: bool = False) -> Plugin:
    """Make the plugin's instance and check it against the contract. Raises ``RunscError``.

    ``thorough``: by pluggy, whatever it looks like at a glance.
    """
    who = f"{entry.kind} {entry.name} ({entry.origin})"
    try:
        instance = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        what = f"{who} can't be set up: {_describe(error)}"
        raise RunscError(what, f"report this to {entry.distribution}") from error
    _check_version(entry, getattr(instance, "api_version", None))
    hooks = None if thorough else plain(entry, instance)
    return Plugin(entry, instance, hooks or managed(entry, instance))


def contract_version(kind: str) -> int:
    """The version of a kind's contract that this runsc has."""
    if kind == PLATFORM:
        from runsc.platform import API_VERSION as VERSION
    elif kind == NETWORK:
        from runsc.network import API_VERSION as VERSION
    elif kind == OBSERVER:
        from runsc.observer import API_VERSION as VERSION
    else:
        from runsc.filesystem import API_VERSION as VERSION
    return VERSION


def _check_version(entry: Entry, declared: object) -> None:
    ours = contract_version(entry.kind)
    who = f"{entry.kind} {entry.name} ({entry.origin})"
    if not isinstance(declared, int):
        raise RunscError(
            f"{who} does not say which version of the {entry.kind} contract it was written for (api_version)",
            f"update {entry.distribution}",
        )
    if declared != ours:
        update = entry.distribution if declared < ours else "runsc"
        raise RunscError(
            f"{who} was written for version {declared} of the {entry.kind} contract, this runsc has {ours}",
            f"update {update}",
        )


def _describe(error: BaseException) -> str:
    """An exception as a few words on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
