"""stevedore, the authority on what is installed: for ``runsc plugins``, and wherever the quick look
(``runsc.plugins.scan``) finds no plugin or more than one.

Importing it takes some 60 ms, so nothing imports this module before it is needed.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from stevedore.driver import DriverManager
from stevedore.exception import NoMatches
from stevedore.extension import ExtensionManager

from runsc.errors import RunscError
from runsc.plugins.loader import activate, conflict, import_failure, unknown
from runsc.plugins.scan import KINDS, Entry, group_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from typing import Any, NoReturn


class Report:
    """One line of ``runsc plugins``.

    ``works``: it can be used here; if not, ``reason`` and ``remedy`` say why and what to do. ``note``: what
    the plugin says about itself.
    """

    __slots__ = ("entry", "note", "reason", "remedy", "works")

    def __init__(self, entry: Entry, works: bool, reason: str = "", remedy: str = "", note: str = "") -> None:
        self.entry = entry
        self.works = works
        self.reason = reason
        self.remedy = remedy
        self.note = note


def find(kind: str, name: str, asked: str) -> tuple[Entry, Any]:
    """The one plugin of that name: its entry, and what the entry point names.

    ``asked``: the name as the user wrote it. Raises ``RunscError`` for none, several, and one that can't be
    imported.
    """

    owners = _Owners(kind)

    def cannot_load(_manager: ExtensionManager[Any], point: EntryPoint, error: BaseException) -> NoReturn:
        raise import_failure(owners.entry(point), error) from error

    def several(_group: str, _name: str, extensions: list[Any]) -> NoReturn:
        raise conflict(
            kind, asked, [owners.entry(extension.entry_point, take=True) for extension in extensions]
        )

    try:
        manager = DriverManager(
            group_of(kind),
            name,
            on_load_failure_callback=cannot_load,
            on_missing_entrypoints_callback=None,
            conflict_resolver=several,
        )
    except NoMatches:
        raise unknown(kind, asked, installed(kind)) from None
    if len(owners.claims.get(name, [])) > 1:
        # For stevedore, two that name the same object are one; uninstalling one breaks the other's.
        raise conflict(kind, asked, owners.claims[name])
    extension = manager.extensions[0]
    return owners.entry(extension.entry_point), extension.plugin


def installed(kind: str) -> list[str]:
    """The names of the plugins of a kind, without importing them."""
    manager: ExtensionManager[Any] = ExtensionManager.make_test_instance([], namespace=group_of(kind))
    return [point.name for point in manager.list_entry_points()]


def survey() -> list[Report]:
    """Every installed plugin, loaded and asked whether it works here. One that is broken is reported and
    doesn't keep the others from being."""
    return [report for kind in KINDS for report in _survey_kind(kind)]


def _survey_kind(kind: str) -> list[Report]:
    owners = _Owners(kind)
    reports: list[Report] = []

    def cannot_load(_manager: ExtensionManager[Any], point: EntryPoint, error: BaseException) -> None:
        why = import_failure(owners.entry(point), error)
        reports.append(Report(owners.entry(point, take=True), False, why.what, why.remedy))

    manager: ExtensionManager[Any] = ExtensionManager(group_of(kind), on_load_failure_callback=cannot_load)
    for extension in manager.extensions:
        entry = owners.entry(extension.entry_point, take=True)
        reports.append(_report(entry, extension.plugin, owners.claims[entry.name]))
    return sorted(reports, key=lambda report: (report.entry.name, report.entry.distribution))


def _report(entry: Entry, loaded: Any, claims: list[Entry]) -> Report:
    try:
        if len(claims) > 1:
            raise conflict(entry.kind, entry.name, claims)
        plugin = activate(entry, loaded, thorough=True)
    except RunscError as error:
        return Report(entry, False, error.what, error.remedy)
    answer = plugin.check()
    return Report(entry, answer.works, answer.reason, answer.remedy, answer.note or plugin.summary)


class _Owners:
    """Which distribution an entry point came with: stevedore's cache doesn't keep that.

    ``claims``: all entries of a name.
    """

    __slots__ = ("_left", "claims", "kind")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.claims: dict[str, list[Entry]] = {}
        for point in entry_points(group=group_of(kind)):
            dist = point.dist
            if dist is not None:
                entry = Entry(kind, point.name, point.value, dist.name, dist.version)
                self.claims.setdefault(point.name, []).append(entry)
        self._left = {name: list(entries) for name, entries in self.claims.items()}

    def entry(self, point: EntryPoint, take: bool = False) -> Entry:
        """The entry for ``point``. With ``take``, each entry is given out once, so that two distributions
        that claim the same name for the same object are both seen."""
        for entry in self._left.get(point.name, []):
            if entry.target == point.value:
                if take:
                    self._left[point.name].remove(entry)
                return entry
        return Entry(self.kind, point.name, point.value, "a distribution that is gone", "")
