"""Loading one plugin by name, and every way in which that can go wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from runsc.config import Config
from runsc.errors import RunscError
from runsc.plugins.loader import contract_version, load, unknown

if TYPE_CHECKING:
    from conftest import Factory


def failure(kind: str, name: str) -> str:
    with pytest.raises(RunscError) as caught:
        load(kind, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["platform", "network", "filesystem"])
def test_a_plugin_is_found_and_used(factory: Factory, kind: str) -> None:
    factory.plugin("mine", kind)
    plugin = load(kind, "mine")
    answer = plugin.check()
    assert answer.works
    assert answer.note == "a note"
    assert plugin.summary == "for tests"
    config = Config()
    assert plugin.make(config) == ("made", config)
    assert plugin.entry.origin == "runsc-mine 1.0"
    if kind == "filesystem":
        assert plugin.opener(config) == ("open", config)


def test_others_are_not_imported(factory: Factory) -> None:
    factory.plugin("one")
    factory.plugin("two")
    load("platform", "one")
    assert "fake_platform_one_" in sys.modules
    assert "fake_platform_two_" not in sys.modules


def test_stevedore_is_not_imported_when_all_is_clear(factory: Factory) -> None:
    factory.plugin("one")
    script = (
        "import sys; from runsc.plugins.loader import load; load('platform', 'one');"
        "print([name for name in ('stevedore', 'importlib.metadata') if name in sys.modules])"
    )
    import subprocess

    path = f"{factory.directory}:{':'.join(sys.path)}"
    out = subprocess.run(
        [sys.executable, "-S", "-c", script], env={"PYTHONPATH": path}, capture_output=True, check=True
    )
    assert out.stdout == b"[]\n"


def test_an_unknown_name_lists_the_names_nearest_first(factory: Factory) -> None:
    factory.plugin("zebra")
    assert failure("platform", "zebr") == "unknown platform zebr: there are: zebra, ptrace, systrap, kvm"
    assert failure("platform", "trace") == "unknown platform trace: there are: ptrace, systrap, zebra, kvm"


def test_the_projects_own_names_are_said_to_be_missing() -> None:
    error = unknown("filesystem", "gofer9p", ["direct"])
    assert str(error) == "filesystem gofer9p is not installed: installed: direct"


def test_another_name_for_the_same() -> None:
    assert load("network", "netstack").entry.name == "sandbox"


def test_a_failing_import_names_the_distribution(factory: Factory) -> None:
    factory.module("fake_broken", "import no_such_module_at_all\n")
    factory.distribution("broken-dist", "3.2", platform={"bad": "fake_broken:Plugin"})
    factory.plugin("good")
    assert failure("platform", "bad") == (
        "platform bad (broken-dist 3.2) can't be imported: ModuleNotFoundError: No module named"
        " 'no_such_module_at_all': reinstall or update broken-dist, or choose another --platform"
    )
    assert load("platform", "good").check().works


def test_a_missing_attribute_is_named(factory: Factory) -> None:
    factory.module("fake_empty", "")
    factory.distribution("empty-dist", platform={"bad": "fake_empty:Plugin"})
    assert "has no attribute 'Plugin'" in failure("platform", "bad")


def test_two_claims_to_one_name(factory: Factory) -> None:
    factory.plugin("twin", distribution="dist-a")
    factory.plugin("twin", distribution="dist-b")
    message = failure("platform", "twin")
    assert message.startswith("platform twin is claimed by ")
    assert "dist-a 1.0 (fake_platform_twin_dist_a:Plugin)" in message
    assert "dist-b 1.0 (fake_platform_twin_dist_b:Plugin)" in message
    assert message.endswith(": uninstall all but one of them")


def test_two_claims_with_the_same_object(factory: Factory) -> None:
    factory.plugin("twin", distribution="dist-a")
    factory.distribution("dist-b", platform={"twin": "fake_platform_twin_dist_a:Plugin"})
    message = failure("platform", "twin")
    assert "dist-a 1.0" in message
    assert "dist-b 1.0" in message


@pytest.mark.parametrize(("version", "update"), [(0, "runsc-old"), (99, "runsc")])
def test_versions_of_the_contract(factory: Factory, version: int, update: str) -> None:
    factory.plugin("old", version=version)
    ours = contract_version("platform")
    assert failure("platform", "old") == (
        f"platform old (runsc-old 1.0) was written for version {version} of the platform contract,"
        f" this runsc has {ours}: update {update}"
    )


def test_a_plugin_without_a_version(factory: Factory) -> None:
    factory.plugin("old", version="'one'")
    assert "does not say which version of the platform contract" in failure("platform", "old")


def test_a_misspelt_hook(factory: Factory) -> None:
    factory.plugin("typo", make="mak_platform")
    message = failure("platform", "typo")
    assert message.startswith("platform typo (runsc-typo 1.0) breaks the plugin contract: ")
    assert "unknown hook 'mak_platform'" in message


def test_a_hook_with_a_wrong_argument(factory: Factory) -> None:
    factory.plugin("typo")
    module = factory.directory / "fake_platform_typo_.py"
    module.write_text(module.read_text().replace("self, config", "self, configuration"))
    message = failure("platform", "typo")
    assert "breaks the plugin contract" in message
    assert "configuration" in message


def test_a_plugin_of_another_kind(factory: Factory) -> None:
    factory.plugin("odd", "network")
    factory.distribution("odd-dist", platform={"odd": "fake_network_odd_:Plugin"})
    assert "does not implement the hook check_platform" in failure("platform", "odd")


def test_a_plugin_that_cannot_be_made(factory: Factory) -> None:
    factory.module(
        "fake_raising", "class Plugin:\n    def __init__(self):\n        raise OSError(5, 'no luck')\n"
    )
    factory.distribution("raising", platform={"bad": "fake_raising:Plugin"})
    assert "can't be set up: OSError: [Errno 5] no luck" in failure("platform", "bad")


def test_a_check_that_says_no(factory: Factory) -> None:
    factory.plugin("no", check="Availability.no('no such device', 'load the module')")
    answer = load("platform", "no").check()
    assert (answer.works, answer.reason, answer.remedy) == (False, "no such device", "load the module")


@pytest.mark.parametrize("check", ["1 / 0", "True", "None"])
def test_a_check_that_is_broken_is_a_no(factory: Factory, check: str) -> None:
    factory.plugin("no", check=check)
    answer = load("platform", "no").check()
    assert not answer.works
    assert answer.remedy == "report this to runsc-no"


def test_making_fails(factory: Factory) -> None:
    factory.plugin("bad")
    module = factory.directory / "fake_platform_bad_.py"
    module.write_text(module.read_text().replace('return ("made", config)', "return 1 / 0"))
    with pytest.raises(
        RunscError, match=r"platform bad \(runsc-bad 1.0\) failed to start: ZeroDivisionError"
    ):
        load("platform", "bad").make(Config())


def test_making_nothing(factory: Factory) -> None:
    factory.plugin("bad")
    module = factory.directory / "fake_platform_bad_.py"
    module.write_text(module.read_text().replace('return ("made", config)', "return None"))
    with pytest.raises(RunscError, match="made nothing"):
        load("platform", "bad").make(Config())
