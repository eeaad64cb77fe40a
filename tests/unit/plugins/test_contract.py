"""The look at a glance and pluggy agree."""

from __future__ import annotations

from typing import Any

import pluggy
import pytest

from runsc.errors import RunscError
from runsc.plugins.contract import SPECS, managed, plain
from runsc.plugins.hookspecs import PROJECT, hookimpl
from runsc.plugins.scan import Entry

ENTRY = Entry("platform", "x", "m:X", "dist", "1")


class Good:
    @hookimpl
    def check_platform(self) -> str:
        return "checked"

    @hookimpl
    def make_platform(self, config: object) -> object:
        return config

    def helper(self, anything: object) -> None: ...


class Heir(Good):
    @hookimpl
    def check_network(self) -> str:
        return "both"

    @hookimpl
    def make_network(self, config: object) -> object:
        return config


class ByPluggy:
    """Marked by pluggy's own marker."""

    @pluggy.HookimplMarker(PROJECT)
    def check_platform(self) -> str:
        return "checked"

    @pluggy.HookimplMarker(PROJECT)
    def make_platform(self, config: object) -> object:
        return config


class WithoutConfig(Good):
    """pluggy lets an implementation leave parameters out."""

    @hookimpl
    def make_platform(self) -> object:  # type: ignore[override]
        return "no config needed"


class OtherName:
    @pluggy.HookimplMarker(PROJECT)(specname="check_platform")
    def probe(self) -> str:
        return "checked"

    @hookimpl
    def make_platform(self, config: object) -> object:
        return config


class Misspelt(Good):
    @hookimpl
    def mak_platform(self, config: object) -> object:
        return config


class WrongParameter(Good):
    @hookimpl
    def make_platform(self, cfg: object) -> object:
        return cfg


class Unmarked:
    def check_platform(self) -> str:
        return "checked"

    def make_platform(self, config: object) -> object:
        return config


class Half:
    @hookimpl
    def check_platform(self) -> str:
        return "checked"


@pytest.mark.parametrize("plugin", [Good, Heir, ByPluggy])
def test_what_is_plain_pluggy_takes_too(plugin: type) -> None:
    for hooks in (plain(ENTRY, plugin()), managed(ENTRY, plugin())):
        assert hooks is not None
        assert hooks.check() == "checked"
        assert hooks.make(config=7) == 7


@pytest.mark.parametrize(("plugin", "made"), [(WithoutConfig, "no config needed"), (OtherName, 7)])
def test_the_finer_points_are_left_to_pluggy(plugin: type, made: Any) -> None:
    assert plain(ENTRY, plugin()) is None
    hooks = managed(ENTRY, plugin())
    assert hooks.check() == "checked"
    assert hooks.make(config=7) == made


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (Misspelt, "unknown hook 'mak_platform'"),
        (WrongParameter, "cfg"),
        (Unmarked, "does not implement the hook check_platform"),
        (Half, "does not implement the hook make_platform"),
    ],
)
def test_what_pluggy_refuses_is_not_plain(plugin: type, message: str) -> None:
    assert plain(ENTRY, plugin()) is None
    with pytest.raises(RunscError, match=message):
        managed(ENTRY, plugin())


def test_our_marks_are_pluggys() -> None:
    def ours() -> None: ...

    def theirs() -> None: ...

    hookimpl(ours)
    pluggy.HookimplMarker(PROJECT)(theirs)
    assert vars(ours) == vars(theirs)

    class Specs:
        @pluggy.HookspecMarker(PROJECT)(firstresult=True)
        def theirs(self) -> None: ...

    for kind in SPECS:
        for name, spec in vars(kind).items():
            if not name.startswith("_"):
                assert vars(spec) == vars(Specs.theirs)
