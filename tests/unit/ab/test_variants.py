"""Variants as users write them, and what is executed for each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from runsc.ab.page import page
from runsc.ab.report import figures, seconds
from runsc.ab.runner import Row, Run
from runsc.ab.variants import parse
from runsc.errors import RunscError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_native(tmp_path: Path) -> None:
    assert parse("native").command(["ls", "-l"], str(tmp_path)) == ["ls", "-l"]


def test_flags(tmp_path: Path) -> None:
    variant = parse("platform=systrap,network=host")
    assert variant.name == "platform=systrap,network=host"
    words = variant.command(["ls"], str(tmp_path), ["--observer=x"])
    assert words[-6:] == ["--platform=systrap", "--network=host", "--observer=x", "do", "--", "ls"]


def test_a_name_in_front() -> None:
    assert parse("fast:platform=systrap").name == "fast"
    assert parse("runtime=/bin/true --flag").name == "true --flag"


@pytest.mark.parametrize(
    ("text", "says"),
    [("platfrom=ptrace", "--platform"), ("platform", "needs a value"), ("ptrace", "no flag --ptrace")],
)
def test_mistakes(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse(text)


def test_a_runtime_that_is_not_there() -> None:
    with pytest.raises(RunscError, match="no program nosuch-runtime"):
        parse("runtime=nosuch-runtime")


def test_runtime_gets_a_bundle(tmp_path: Path) -> None:
    words = parse("runtime=/bin/true --flag").command(["ls", "/"], str(tmp_path))
    assert words[:2] == ["/bin/true", "--flag"]
    assert words[4:6] == ["run", "--bundle"]
    config = json.loads((tmp_path / "true --flag" / "config.json").read_text())
    assert config["process"]["args"] == ["ls", "/"]


def row() -> Row:
    made = Row("a <row>", ["ls", "<x>"])
    made.runs = {
        "native": [Run(0.01 + i / 1e4, 0.005, 0.001, 1 << 20, 3) for i in range(5)],
        "other": [Run(0.05 + i / 1e4, 0.005, 0.001, 1 << 20, 3) for i in range(5)],
    }
    return made


def test_figures() -> None:
    result = figures(row())
    assert result["baseline"] == "native"
    first, second = result["variants"]
    assert (first["verdict"], second["verdict"]) == ("baseline", "slower")
    assert second["ratio"] == pytest.approx(5, rel=0.05)
    json.dumps(result)


def test_page_escapes_what_it_shows() -> None:
    text = page([figures(row())])
    assert "a &lt;row&gt;" in text
    assert "<x>" not in text
    assert text.count("<circle") == 10


@pytest.mark.parametrize(
    ("value", "text"), [(1.234, "1.23 s"), (0.01, "10 ms"), (0.00025, "250 us"), (100, "100 s")]
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text
