"""``make compat``: the command that compares other people's tests runs, and notices what differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

from compat.model import CRASH, FAIL, HANG, PASS, SKIP, Outcome  # noqa: E402
from compat.places import Completed  # noqa: E402
from compat.python_suite import LIBRARY, PYTHON, read_lines  # noqa: E402
from compat.report import Results, differences, page, text  # noqa: E402
from compat.stress_suite import judge  # noqa: E402


def test_one_module_runs_everywhere(tmp_path: Path, platform: str) -> None:
    if not (LIBRARY / "test_wait3.py").exists() or not os.path.exists(PYTHON):
        pytest.skip("libpython3.11-testsuite is not installed")
    words = ["python:test_fork1", f"--platform={platform}", f"--output={tmp_path}", "--retries=0"]
    env = os.environ | {"PYTHONPATH": str(TOOLS)}
    done = subprocess.run([sys.executable, "-m", "compat", *words], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tests = json.loads((tmp_path / "results.json").read_text())["suites"]["python"]["units"]["test_fork1"]
    assert tests
    for places in tests.values():
        assert places["native"][0] == places[platform][0] == PASS


def test_a_test_that_hangs_or_crashes_is_told_apart() -> None:
    begun = '{"start": "test.m.A.a"}\n{"id": "test.m.A.a", "status": "pass", "detail": "", "seconds": 0}\n'
    hung: dict[str, Outcome] = {}
    assert not read_lines(Completed(1, begun + '{"start": "b"}\n', "Timeout (0:02:00)!", 0), "test.m", hung)
    assert (hung["test.m.A.a"].status, hung["b"].status) == (PASS, HANG)
    crashed: dict[str, Outcome] = {}
    assert not read_lines(Completed(-11, begun + '{"start": "b"}\n', "", 0), "test.m", crashed)
    assert crashed["b"].status == CRASH
    whole: dict[str, Outcome] = {}
    assert read_lines(Completed(0, begun + '{"end": true}\n', "", 0), "test.m", whole)
    assert list(whole) == ["test.m.A.a"]


def test_what_a_stressor_says_is_judged() -> None:
    table = "stress-ng: metrc: [1] pipe  205609  1.00  0.21  0.62  205447.46  245915.25  83.54  2560\n"
    assert judge("pipe", Completed(0, table, "", 1)) == Outcome(PASS, "205447.46 ops/s", 1)
    idle = table.replace("205447.46", "0.00")
    assert judge("pipe", Completed(0, idle, "", 1)).status == FAIL
    assert judge("pipe", Completed(2, "stress-ng: fail: [3] it differs\n", "", 1)).status == FAIL
    assert judge("pipe", Completed(3, "stress-ng: warn: skipped stressor\n", "", 1)).status == SKIP
    assert judge("pipe", Completed(None, "", "", 1)).status == HANG
    assert judge("pipe", Completed(139, "", "", 1)).status == CRASH


def test_differences_are_reported(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    results.suite("python", "Python 3")
    results.put("python", "test_x", "native", {"a": Outcome(PASS), "b": Outcome(FAIL), "c": Outcome(PASS)})
    results.put("python", "test_x", "ptrace", {"a": Outcome(FAIL, "why"), "b": Outcome(FAIL)})
    results.data |= {"when": "today", "machine": "this"}
    results.save()
    again = Results(tmp_path / "results.json").data
    assert differences(again["suites"]["python"]["units"]["test_x"], "ptrace") == ["a", "c"]
    assert "2 differ from native" in text(again)
    assert "- ptrace: `a`: fail." in page(again, None)
