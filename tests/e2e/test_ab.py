"""runsc ab on real programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_ab(runsc: str, platform: str, run_native: Callable[..., Any], tmp_path: Path) -> None:
    figures, page = tmp_path / "ab.json", tmp_path / "ab.html"
    words = [runsc, "ab", "--runs=4", "--warmup=0", "--variant=native", f"--variant=ours:platform={platform}"]
    words += [f"--json={figures}", f"--html={page}", "--", "/bin/sh", "-c", "cat /etc/passwd | wc -l"]
    code, out, err = run_native(words)
    assert (code, err) == (0, b"")
    (result,) = json.loads(figures.read_text())
    native, ours = result["variants"]
    assert (native["name"], native["verdict"], native["split"]) == ("native", "baseline", None)
    assert ours["name"] == "ours"
    assert ours["ratio"] > 1
    assert len(ours["wall"]["runs"]) == 4
    assert ours["split"]["syscalls"]["execve"]["count"] >= 2
    assert ours["split"]["handler"] > 0
    assert b"ours" in out
    assert page.read_text().count("<circle") == 8


def test_workload_file(runsc: str, run_native: Callable[..., Any], tmp_path: Path) -> None:
    workload = tmp_path / "workload"
    workload.write_text("# two rows\nfirst: /bin/true\nsecond: sh -c 'exit 0'\n")
    words = [runsc, "ab", "--runs=1", "--warmup=0", "--variant=native", "--variant=again:native"]
    code, out, _err = run_native([*words, f"--workload={workload}"])
    assert code == 0
    assert b"first" in out
    assert b"second" in out
    assert b"too few runs to tell" in out


def test_a_command_that_fails_is_said(runsc: str, run_native: Callable[..., Any]) -> None:
    words = [
        runsc,
        "ab",
        "--runs=1",
        "--variant=native",
        "--variant=default",
        "--",
        "sh",
        "-c",
        "echo oops; exit 3",
    ]
    code, _out, err = run_native(words)
    assert code == 128
    assert b"the command ended with 3: oops" in err


def test_one_variant_is_not_enough(runsc: str, run_native: Callable[..., Any]) -> None:
    code, _out, err = run_native([runsc, "ab", "--variant=native", "--", "true"])
    assert code == 128
    assert b"at least two variants" in err
