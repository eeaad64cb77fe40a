"""Flags that plugins bring along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runsc.cli.main import _parse
from runsc.config import Config
from runsc.flags import UnknownFlag
from runsc.plugins.flags import contributed

if TYPE_CHECKING:
    from conftest import Factory

PLUGIN = """
from runsc.flags import BOOL, INT, STRING, Flag

class Plugin:
    api_version = 1
    flags = (
        Flag("zip-cache", INT, "How much to keep.", metavar="BYTES"),
        Flag("zip-strict", BOOL, "Refuse odd archives."),
        Flag("platform", STRING, "Not ours to take."),
    )
"""


@pytest.fixture
def zipped(factory: Factory) -> None:
    factory.module("zip_plugin_with_flags", PLUGIN)
    factory.distribution("zip-plugin", filesystem={"zip": "zip_plugin_with_flags:Plugin"})


@pytest.mark.usefixtures("zipped")
def test_values_are_kept_apart() -> None:
    config = Config()
    at, seen = _parse(["--zip-cache=7", "--zip-strict", "--platform=ptrace", "do"], config)
    assert at == 3
    assert seen == {"zip-cache", "zip-strict", "platform"}
    assert config.plugin_flag("zip-cache", 0) == 7
    assert config.plugin_flag("zip-strict", False) is True
    assert config.plugin_flag("zip-other", "default") == "default"
    assert config.platform == "ptrace"


@pytest.mark.usefixtures("zipped")
def test_a_name_that_is_taken_stays() -> None:
    assert "platform" not in {flag.name for flag in contributed()}


def test_unknown_stays_unknown() -> None:
    with pytest.raises(UnknownFlag, match="--zip-cash"):
        _parse(["--zip-cash=7"], Config())


def test_a_plugin_that_cannot_be_imported_has_no_flags(factory: Factory) -> None:
    factory.distribution("broken", filesystem={"broken": "no_such_module_at_all:Plugin"})
    assert contributed() is not None
