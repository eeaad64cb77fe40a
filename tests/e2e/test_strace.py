"""--strace, compared with strace(1): the same program, the same lines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Outcome

    Run = Callable[..., Outcome]

SOURCE = Path(__file__).parent / "programs" / "traced.c"

#: [  tid] name text, with the time at the end of a call.
LINE = re.compile(r"\[ *(\d+)\] (\S+) (.*?)( <\d+\.\d{6}>)?$")

#: Lines that have process ids in them.
WITH_PIDS = re.compile(r"(getpid|kill|fork|wait4)\(|--- SIG")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("traced") / "traced"
    flags = ["-static", "-nostdlib", "-O1", "-w", "-fno-stack-protector"]
    built = subprocess.run([compiler, *flags, "-o", program, SOURCE], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return str(program)


def processes(stderr: bytes) -> dict[int, list[str]]:
    """The lines of each process, without prefix and time."""
    found: dict[int, list[str]] = {}
    for line in stderr.decode().splitlines():
        matched = LINE.match(line)
        assert matched, line
        found.setdefault(int(matched[1]), []).append(matched[3])
    return found


def plain(lines: list[str], pids: dict[int, str]) -> list[str]:
    """Without what differs from run to run: addresses, process ids, padding, and signals that nobody handles,
    which only a debugger gets to see."""
    shown = []
    for line in lines:
        if line.startswith("--- SIGCHLD"):
            continue
        line = re.sub(r"\) +=", ") =", re.sub(r"0x[0-9a-f]{6,}", "ADDRESS", line))
        # Elsewhere a small number is not a process id but a descriptor.
        for pid, name in pids.items() if WITH_PIDS.match(line) else ():
            line = re.sub(rf"(?<=[ (=]){pid}\b", name, line)
        shown.append(line)
    return shown


def test_lines_are_those_of_strace(run_sandboxed: Run, traced: str, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    ran = subprocess.run(
        [strace, "-ff", "-s", "1024", "-o", tmp_path / "log", traced],
        cwd="/",
        capture_output=True,
        timeout=30,
    )
    if ran.returncode != 7:
        pytest.skip(f"strace does not work here: {ran.stderr[-200:]!r}")
    native = {int(log.suffix[1:]): log.read_text().splitlines() for log in tmp_path.glob("log.*")}
    got = run_sandboxed([traced], cwd="/", flags=["--strace"])
    assert got.code == 7
    sandboxed = processes(got.stderr)
    assert len(native) == len(sandboxed) == 2
    sides = []
    for side in (native, sandboxed):
        parent, child = sorted(side)
        names = {parent: "PARENT", child: "CHILD"}
        sides.append([plain(side[parent], names), plain(side[child], names)])
    # The program was started before we looked.
    assert sides[0][0].pop(0).startswith("execve(")
    for got_lines, expected in zip(sides[1], sides[0], strict=True):
        assert "\n".join(unified_diff(expected, got_lines, "strace", "runsc", lineterm="", n=0)) == ""


def test_only_the_calls_that_are_asked_for(run_sandboxed: Run, traced: str) -> None:
    got = run_sandboxed([traced], flags=["--strace", "--strace-syscalls=umask,getcwd"], cwd="/")
    calls = [line for lines in processes(got.stderr).values() for line in lines if "(" in line]
    names = [line.split("(")[0] for line in calls if not line.startswith(("---", "+++"))]
    assert names == ["getcwd", "umask"]


def test_an_unknown_name(run_sandboxed: Run, traced: str) -> None:
    got = run_sandboxed([traced], flags=["--strace", "--strace-syscalls=umaks"])
    assert got.code == 128
    assert b"'umaks'" in got.stderr


def test_the_size_of_buffers(run_sandboxed: Run, traced: str) -> None:
    got = run_sandboxed([traced], flags=["--strace", "--strace-syscalls=read", "--strace-log-size=6"])
    assert b'read(3, "root:x"..., 40) = 40 <' in got.stderr


def test_lines_go_to_the_debug_log_if_there_is_one(run_sandboxed: Run, traced: str, tmp_path: Path) -> None:
    got = run_sandboxed([traced], flags=["--strace", "--debug", f"--debug-log={tmp_path}/"])
    assert got.stderr == b""
    logged = "".join((tmp_path / name).read_text() for name in os.listdir(tmp_path))
    assert "getpid() = 2" in logged
    assert "+++ exited with 7 +++" in logged
