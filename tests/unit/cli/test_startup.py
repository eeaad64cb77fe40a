"""How long a start takes, in instructions: they repeat within 0.2 %, whatever else the machine does.

What is counted is what runsc adds to the start of the interpreter in the same environment (``python -c
pass``, with its shutdown: runsc has none). One million instructions are 0.3 ms here; a bare start is 12 ms.
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.callgrind, pytest.mark.timeout(120)]

#: command: (millions of instructions over a bare start, why that many)
CEILINGS = {
    ("--version",): (0.0, "the tables of flags and commands and the parser; no typing, re, enum, json"),
    ("state", "x"): (3.4, "the same, and one look at the state directory"),
    ("kill", "x", "TERM"): (5.8, "the same, with the names of signals"),
    ("delete", "x"): (4.0, "as state"),
}

#: Everything that the sandbox's process imports before the program starts, of 120 ms for ``do true`` in all.
SANDBOX_CEILING = 230.0
SANDBOX_IMPORTS = """
import gc; gc.disable()
import runsc.cli.main, runsc.cli.do, runsc.sandbox.boot, runsc.sandbox.sentry
from runsc.plugins.loader import load
for kind, name in (("platform", "ptrace"), ("filesystem", "direct"), ("network", "none")):
    load(kind, name)
import runsc_platform_ptrace.platform
import runsc.kernel.boot
from runsc.kernel.syscalls.table import dispatch_table
dispatch_table()
"""


def count(words: list[str]) -> float:
    """Millions of instructions that a command takes."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, done.stderr[-2000:]
    return int(found[1]) / 1e6


@pytest.fixture(scope="module")
def bare() -> float:
    return count([sys.executable, "-c", "pass"])


@pytest.fixture(scope="module", autouse=True)
def compiled(source_root: Path) -> None:
    """Byte code must be there, as it is once installed."""
    command = [
        sys.executable,
        "-m",
        "compileall",
        "-q",
        str(source_root / "core"),
        str(source_root / "plugins"),
    ]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("words", CEILINGS, ids=lambda words: words[0])
def test_instructions(runsc: str, bare: float, words: tuple[str, ...]) -> None:
    ceiling, why = CEILINGS[words]
    took = count([runsc, *words]) - bare
    assert took <= ceiling, f"{took:.2f} million instructions over a bare start, allowed are {ceiling}: {why}"


def test_what_a_sandbox_imports(bare: float) -> None:
    took = count([sys.executable, "-c", SANDBOX_IMPORTS]) - bare
    assert took <= SANDBOX_CEILING, f"{took:.1f} million instructions over a bare start"


def test_what_is_imported(runsc: str) -> None:
    """None of the modules that would double the start."""
    script = (
        "import sys, os; before = set(sys.modules); sys.argv = ['runsc', 'state', 'x'];"
        "os._exit = lambda code: print(sorted(set(sys.modules) - before));"
        "from runsc.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    modules = done.stdout
    assert "runsc.cli.lifecycle" in modules
    for slow in (
        "typing",
        "enum",
        "'re'",
        "'json'",
        "dataclasses",
        "logging",
        "typer",
        "pluggy",
        "stevedore",
        "signal",
    ):
        assert slow not in modules
