"""Processes started in a running container, and commands that look at one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bundle, Runtime

LOOP = "while true; do sleep 0.05; done"


@pytest.fixture
def running(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> Runtime:
    """A container "box" that runs a loop, and counts in /count."""
    bundle.shell("i=0; while true; do i=$((i+1)); echo $i >/count; sleep 0.02; done")
    runtime.create(bundle, tmp_path / "out")
    runtime.ok("start", "box")
    return runtime


def until(holds: object, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    assert callable(holds)
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_streams_and_exit_code(running: Runtime) -> None:
    done = running.call("exec", "box", "sh", "-c", "cat; echo err >&2; exit 4", stdin=b"in\n")
    assert (done.returncode, done.stdout, done.stderr) == (4, b"in\n", b"err\n")


def test_flags(running: Runtime) -> None:
    words = ["--user=65534:7", "--cwd=/tmp", "--env=X=1 2", "--cap=CAP_CHOWN"]
    out = running.ok(
        "exec", *words, "box", "sh", "-c", "id -u; id -g; pwd; echo $X; grep CapBnd /proc/self/status"
    )
    assert out.splitlines() == [
        "65534",
        "7",
        "/tmp",
        "1 2",
        f"CapBnd:\t{1 << 29 | 1 << 5 | 1 << 10 | 1:016x}",
    ]


def test_a_process_from_a_file(running: Runtime, tmp_path: Path) -> None:
    document = {
        "args": ["sh", "-c", "echo $A; pwd; echo $$ $PPID"],
        "cwd": "/tmp",
        "env": ["A=b"],
        "user": {},
    }
    (tmp_path / "process.json").write_text(json.dumps(document))
    out = running.ok("exec", f"--process={tmp_path}/process.json", "box").splitlines()
    assert out[:2] == ["b", "/tmp"]
    pid, parent = out[2].split()
    assert int(pid) > 1
    assert parent == "0"


def test_a_program_that_is_not_there(running: Runtime) -> None:
    done = running.call("exec", "box", "/nope")
    assert done.returncode == 128
    assert b'exec: "/nope": no such file or directory' in done.stderr
    assert running.state()["status"] == "running"


def test_a_detached_process_has_one_of_the_hosts(running: Runtime, tmp_path: Path) -> None:
    script = (
        "import ctypes, os, subprocess, sys\n"
        "ctypes.CDLL(None).prctl(36, 1)\n"  # PR_SET_CHILD_SUBREAPER, as an engine's shim
        "subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)\n"
        "pid = int(open(sys.argv[1]).read())\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    pid_file = str(tmp_path / "pid")
    words = [*running.words, "exec", "--detach", f"--pid-file={pid_file}", "box"]

    def run(program: str) -> str:
        command = [sys.executable, "-c", script, pid_file, *words, "sh", "-c", program]
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout

    assert run("sleep 0.3; exit 9") == "9\n"
    assert run("kill -9 $$") == "137\n"


def test_signals_reach_a_process_by_the_hosts(running: Runtime, tmp_path: Path) -> None:
    words = [*running.words, "exec", "box", "sh", "-c", f"trap 'echo got; exit 5' TERM; echo up; {LOOP}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.stdout.read() == b"got\n"
        assert process.wait(10) == 5


def test_killing_the_hosts_process_kills_it(running: Runtime) -> None:
    with subprocess.Popen([*running.words, "exec", "box", "sleep", "777"]) as process:
        until(lambda: "sleep" in running.ok("ps", "box") and "777" in _commands(running))
        process.kill()
        process.wait()
    until(lambda: "777" not in _commands(running))


def _commands(runtime: Runtime) -> str:
    return runtime.ok("exec", "box", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_the_containers_end_ends_it(running: Runtime) -> None:
    with subprocess.Popen([*running.words, "exec", "box", "sleep", "777"]) as process:
        until(lambda: "777" in _commands(running))
        running.ok("kill", "box", "KILL")
        assert process.wait(10) == 137


def test_ps_and_list(running: Runtime) -> None:
    pids = json.loads(running.ok("ps", "--format=json", "box"))
    assert os.path.exists(f"/proc/{pids[0]}")
    header, first, *_ = running.ok("ps", "box").splitlines()
    assert header.split() == ["UID", "PID", "NSPID", "PPID", "NLWP", "S", "TIME", "CMD"]
    assert first.split()[2] == "1"
    assert running.ok("list", "--quiet") == "box\n"
    assert json.loads(running.ok("list", "--format=json"))[0]["status"] == "running"
    assert running.ok("list").splitlines()[1].split()[:3] == ["box", str(running.state()["pid"]), "running"]


def test_pause_and_resume(running: Runtime, bundle: Bundle) -> None:
    count = bundle.root / "count"
    until(count.exists)
    running.ok("pause", "box")
    assert running.state()["status"] == "paused"
    before = count.read_text()
    time.sleep(0.3)
    assert count.read_text() == before
    refused = running.call("exec", "box", "true")
    assert b"paused" in refused.stderr
    assert running.call("pause", "box").returncode != 0
    running.ok("resume", "box")
    until(lambda: count.read_text() not in (before, ""))
    assert running.call("resume", "box").returncode != 0


def test_killing_a_paused_container(running: Runtime) -> None:
    running.ok("pause", "box")
    running.ok("kill", "box", "KILL")
    running.wait_for("stopped")
    running.ok("delete", "box")


def test_wait(running: Runtime) -> None:
    with subprocess.Popen([*running.words, "wait", "box"], stdout=subprocess.PIPE) as process:
        time.sleep(0.3)
        running.ok("kill", "box", "9")
        assert process.stdout is not None
        assert json.loads(process.stdout.read()) == {"id": "box", "exitStatus": 137}


def test_events(running: Runtime) -> None:
    event = json.loads(running.ok("events", "--stats", "box"))
    assert (event["type"], event["id"]) == ("stats", "box")
    assert event["data"]["pids"]["current"] >= 1
    assert event["data"]["memory"]["usage"]["usage"] > 0


def test_signal_names(running: Runtime) -> None:
    assert running.call("kill", "box", "NOPE").returncode == 128
    for name in ("SIGWINCH", "winch", str(int(signal.SIGWINCH))):
        running.ok("kill", "box", name)


def test_a_spec_to_start_from(runtime: Runtime, bundle: Bundle) -> None:
    runtime.ok("spec", f"--bundle={bundle.path}")
    config = json.loads((bundle.path / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["sh", "-c", "echo it works; mount | wc -l"]
    config["linux"]["namespaces"] = [{"type": "pid"}]
    bundle.config = config
    code, out, err = runtime.run(bundle)
    assert (code, err) == (0, "")
    assert out.startswith("it works\n")
    assert runtime.call("spec", f"--bundle={bundle.path}").returncode != 0


def test_features(runtime: Runtime) -> None:
    features = json.loads(runtime.ok("features"))
    assert features["ociVersionMax"] == "1.2.0"
    assert "rbind" in features["mountOptions"]
