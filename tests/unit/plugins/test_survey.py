"""``runsc plugins``: everything that is installed, broken or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runsc.plugins.arbiter import survey

if TYPE_CHECKING:
    from conftest import Factory


def test_what_is_built_in_is_listed() -> None:
    found = {(r.entry.kind, r.entry.name, r.entry.distribution) for r in survey()}
    assert ("platform", "ptrace", "runsc") in found
    assert ("filesystem", "direct", "runsc") in found
    assert ("network", "none", "runsc") in found


def test_broken_plugins_do_not_hide_the_others(factory: Factory) -> None:
    factory.plugin("good", "network")
    factory.plugin("refuses", "network", check="Availability.no('not today', 'come back tomorrow')")
    factory.plugin("ancient", "network", version=0)
    factory.module("fake_broken", "raise RuntimeError('broken')\n")
    factory.distribution("broken-dist", "3.2", network={"broken": "fake_broken:Plugin"})
    factory.plugin("twin", "network", distribution="dist-a")
    factory.plugin("twin", "network", distribution="dist-b")
    reports = {(r.entry.name, r.entry.distribution): r for r in survey() if r.entry.kind == "network"}
    assert reports["none", "runsc"].works
    assert reports["good", "runsc-good"].works
    assert reports["good", "runsc-good"].note == "a note"
    refuses = reports["refuses", "runsc-refuses"]
    assert (refuses.works, refuses.reason, refuses.remedy) == (False, "not today", "come back tomorrow")
    assert "version 0 of the network contract" in reports["ancient", "runsc-ancient"].reason
    assert "RuntimeError: broken" in reports["broken", "broken-dist"].reason
    for name in ("dist-a", "dist-b"):
        twin = reports["twin", name]
        assert not twin.works
        assert "claimed by" in twin.reason
