"""Which plugins are installed, read straight from the installed distributions' ``entry_points.txt``.

``importlib.metadata`` answers the same question, but importing it takes 47 ms; this takes one. Where its
answer isn't clear (no such name, or more than one) ``runsc.plugins.arbiter`` asks stevedore.
"""

from __future__ import annotations

import os
import sys

#: Kinds of plugins; a plugin's entry point stands in the group ``runsc.<kind>``.
PLATFORM = "platform"
NETWORK = "network"
FILESYSTEM = "filesystem"
OBSERVER = "observer"
KINDS = (PLATFORM, NETWORK, FILESYSTEM, OBSERVER)

#: The flag that chooses a plugin of a kind.
FLAG_OF = {PLATFORM: "platform", NETWORK: "network", FILESYSTEM: "fs", OBSERVER: "observer"}

#: Names that the project uses for its own plugins, installed or not.
OWN_NAMES = {
    PLATFORM: ("ptrace", "systrap", "kvm"),
    NETWORK: ("none", "host", "sandbox"),
    FILESYSTEM: ("direct", "gofer9p"),
    OBSERVER: ("trace", "profile", "measure"),
}

#: Other names for the same.
ALIASES: dict[str, dict[str, str]] = {
    PLATFORM: {},
    NETWORK: {"netstack": "sandbox"},
    FILESYSTEM: {"gofer": "gofer9p"},
    OBSERVER: {},
}


def group_of(kind: str) -> str:
    """The entry-point group of a kind."""
    return "runsc." + kind


def canonical(kind: str, name: str) -> str:
    """``name`` without aliases."""
    return ALIASES[kind].get(name, name)


class Entry:
    """An entry point: ``target`` is ``module:attribute``."""

    __slots__ = ("distribution", "kind", "name", "target", "version")

    def __init__(self, kind: str, name: str, target: str, distribution: str, version: str) -> None:
        self.kind = kind
        self.name = name
        self.target = target
        self.distribution = distribution
        self.version = version

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return f"{self.distribution} {self.version}".rstrip()

    def __repr__(self) -> str:
        return f"Entry({self.kind}:{self.name} = {self.target}, {self.origin})"


def scan(path: list[str] | None = None) -> list[Entry]:
    """The entry points of all kinds, in the order of ``path`` (``sys.path``).

    Of a distribution that is found twice only the first one counts, as for Python's imports.
    """
    found: list[Entry] = []
    seen: set[str] = set()
    for directory in sys.path if path is None else path:
        try:
            items = os.listdir(directory or ".")
        except OSError:
            continue  # sys.path names what doesn't exist, and zip files
        for item in sorted(items):
            if not item.endswith((".dist-info", ".egg-info")):
                continue
            distribution, _, version = item[: item.rindex(".")].partition("-")
            key = distribution.lower().replace("-", "_").replace(".", "_")
            if key in seen:
                continue
            seen.add(key)
            try:
                with open(os.path.join(directory, item, "entry_points.txt"), encoding="utf-8") as file:
                    text = file.read()
            except (OSError, UnicodeDecodeError):
                continue  # has none, which is the usual case
            if "[runsc." in text:
                found += parse(text, distribution.replace("_", "-"), version.partition("-")[0])
    return found


def parse(text: str, distribution: str, version: str) -> list[Entry]:
    """The plugins in one ``entry_points.txt`` (packaging.python.org: Entry points specification)."""
    kind_of = {f"[{group_of(kind)}]": kind for kind in KINDS}
    kind = None
    entries = []
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            kind = kind_of.get(line)
        elif kind is not None:
            name, equals, target = line.partition("=")
            # "module:attr [extra]": the extra says nothing about where it is.
            target = target.partition("[")[0].strip()
            if equals and name.strip() and target:
                entries.append(Entry(kind, name.strip(), target, distribution, version))
    return entries
