"""Distributions with plugins, made on the spot: a directory with modules and ``.dist-info`` folders."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from runsc.plugins.loader import contract_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = """
from runsc.plugins.availability import Availability
from runsc.plugins.hookspecs import hookimpl

class Plugin:
    api_version = {version}
    summary = "for tests"

    @hookimpl
    def check_{kind}(self):
        return {check}

    @hookimpl
    def {make}(self, config):
        return ("made", config)
"""

OUTSIDE = """
    @hookimpl
    def open_filesystem(self, config):
        return ("open", config)
"""


class Factory:
    """Makes distributions in one directory of ``sys.path``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def distribution(self, name: str, version: str = "1.0", **groups: dict[str, str]) -> None:
        """A distribution with entry points: ``platform={"x": "module:attr"}``."""
        info = self.directory / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for kind, entries in groups.items():
            lines.append(f"[runsc.{kind}]")
            lines += [f"{key} = {target}" for key, target in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        importlib.invalidate_caches()

    def module(self, name: str, text: str) -> None:
        (self.directory / f"{name}.py").write_text(text)
        importlib.invalidate_caches()

    def plugin(
        self,
        name: str,
        kind: str = "platform",
        distribution: str = "",
        version: object = None,
        check: str = "Availability.yes('a note')",
        make: str = "",
    ) -> None:
        """A whole plugin ``name`` in a distribution of its own."""
        module = f"fake_{kind}_{name}_{distribution.replace('-', '_')}"
        if version is None:
            version = contract_version(kind)
        text = GOOD.format(kind=kind, version=version, check=check, make=make or f"make_{kind}")
        self.module(module, text + (OUTSIDE if kind == "filesystem" else ""))
        self.distribution(distribution or f"runsc-{name}", **{kind: {name: f"{module}:Plugin"}})


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Factory]:
    """Distributions made with it are installed, besides those that are, while the test runs."""
    import stevedore._cache
    from stevedore.extension import ExtensionManager

    monkeypatch.setattr(stevedore._cache._c, "_disable_caching", True)
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    monkeypatch.syspath_prepend(str(tmp_path))
    stevedore._cache._c._internal.pop(tuple(sys.path), None)
    before = set(sys.modules)
    yield Factory(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]
