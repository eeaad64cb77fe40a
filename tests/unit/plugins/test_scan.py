"""The quick look at what is installed, beside importlib.metadata's."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from runsc.plugins.scan import KINDS, canonical, group_of, parse, scan

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", KINDS)
def test_it_sees_what_importlib_sees(kind: str) -> None:
    expected = {
        (point.name, point.value, point.dist.name, point.dist.version)
        for point in entry_points(group=group_of(kind))
        if point.dist is not None
    }
    assert expected
    assert {(e.name, e.target, e.distribution, e.version) for e in scan() if e.kind == kind} == expected


def test_syntax_of_entry_points() -> None:
    text = """
# a comment
[console_scripts]
platform = elsewhere:main
[runsc.platform]
 one=a.b:C
two = d:E.F [extra]
; another comment
broken
= nameless:X
[runsc.platform.more]
three = no:No
"""
    found = parse(text, "dist", "2")
    assert [(entry.kind, entry.name, entry.target) for entry in found] == [
        ("platform", "one", "a.b:C"),
        ("platform", "two", "d:E.F"),
    ]


def test_the_first_of_two_copies_counts(tmp_path: Path) -> None:
    for place, target in (("first", "a:A"), ("second", "b:B")):
        info = tmp_path / place / f"Some_Dist-1.{len(target)}.dist-info"
        info.mkdir(parents=True)
        (info / "entry_points.txt").write_text(f"[runsc.network]\nx = {target}\n")
    path = [str(tmp_path / "gone"), str(tmp_path / "first"), str(tmp_path / "second")]
    assert [entry.target for entry in scan(path)] == ["a:A"]


def test_broken_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "bad-1.dist-info").mkdir()
    (tmp_path / "bad-1.dist-info" / "entry_points.txt").write_bytes(b"[runsc.platform]\nx = \xff\xfe\n")
    (tmp_path / "worse-1.dist-info").write_text("a file")
    assert scan([str(tmp_path)]) == []


def test_other_names() -> None:
    assert canonical("network", "netstack") == "sandbox"
    assert canonical("filesystem", "gofer") == "gofer9p"
    assert canonical("platform", "ptrace") == "ptrace"
