"""create, start, run, state, kill and delete, as an engine calls them."""

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


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_run_gives_output_and_exit_code(runtime: Runtime, bundle: Bundle) -> None:
    bundle.shell("cat; echo to stderr >&2; exit 7")
    assert runtime.run(bundle, stdin=b"hello\n") == (7, "hello\n", "to stderr\n")
    assert os.listdir(runtime.root) == []


def test_a_signal_is_shown_as_a_shell_does(runtime: Runtime, bundle: Bundle) -> None:
    bundle.shell("sh -c 'kill -9 $$'; echo $?; exit 137")
    assert runtime.run(bundle)[:2] == (137, "137\n")


def test_create_start_state_kill_delete(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.shell(f"trap 'echo term; exit 3' TERM; echo up; {LOOP}")
    out = tmp_path / "out"
    runtime.create(bundle, out, f"--pid-file={tmp_path}/pid")
    state = runtime.state()
    assert state["status"] == "created"
    assert state["id"] == "box"
    assert state["bundle"] == str(bundle.path)
    assert state["ociVersion"] == "1.0.2"
    assert int((tmp_path / "pid").read_text()) == state["pid"]
    assert alive(state["pid"])
    assert out.read_text() == ""
    runtime.ok("start", "box")
    assert runtime.state()["status"] == "running"
    while out.read_text() != "up\n":
        time.sleep(0.01)
    assert runtime.call("start", "box").returncode != 0
    refused = runtime.call("delete", "box")
    assert refused.returncode != 0
    assert b"not stopped" in refused.stderr
    runtime.ok("kill", "box", "TERM")
    runtime.wait_for("stopped")
    assert out.read_text() == "up\nterm\n"
    assert runtime.state()["pid"] == 0
    runtime.ok("kill", "box", "KILL")
    runtime.ok("delete", "box")
    assert b"does not exist" in runtime.call("state", "box").stderr
    assert not alive(state["pid"])


def test_process_1_heeds_no_signal_it_has_no_handler_for(runtime: Runtime, bundle: Bundle) -> None:
    bundle.shell(f"echo $$; {LOOP}")
    with subprocess.Popen(
        [*runtime.words, "run", f"--bundle={bundle.write()}", "box"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        runtime.ok("kill", "box", "TERM")
        runtime.ok("kill", "box", "HUP")
        time.sleep(0.2)
        assert runtime.state()["status"] == "running"
        runtime.ok("kill", "box", "9")
        assert process.wait(10) == 137


def test_an_id_is_taken_once(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.create(bundle, tmp_path / "out")
    again = runtime.call("create", f"--bundle={bundle.path}", "box")
    assert again.returncode != 0
    assert b"already exists" in again.stderr
    assert runtime.state()["status"] == "created"


def test_deleting_by_force(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.shell(LOOP)
    runtime.create(bundle, tmp_path / "out")
    pid = runtime.state()["pid"]
    runtime.ok("start", "box")
    runtime.ok("delete", "--force", "box")
    runtime.ok("delete", "--force", "box")
    assert not alive(pid)
    assert os.listdir(runtime.root) == []


def test_the_process_is_the_container(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """Killing the host's process ends the container, and what is left can be deleted."""
    bundle.shell(LOOP)
    runtime.create(bundle, tmp_path / "out")
    runtime.ok("start", "box")
    os.kill(runtime.state()["pid"], signal.SIGKILL)
    runtime.wait_for("stopped")
    runtime.ok("delete", "box")


def test_start_leaves_its_output_to_nobody(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.shell(LOOP)
    runtime.create(bundle, tmp_path / "out")
    with subprocess.Popen([*runtime.words, "start", "box"], stdout=subprocess.PIPE) as start:
        assert start.communicate(timeout=10) == (b"", None)
    assert start.returncode == 0


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("/nope", 'exec: "/nope": no such file or directory'),
        ("nope", 'exec: "nope": executable file not found in $PATH'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_a_program_that_cannot_run_leaves_nothing(
    runtime: Runtime, bundle: Bundle, program: str, says: str
) -> None:
    bundle.config["process"]["args"] = [program]
    code, out, err = runtime.run(bundle)
    assert (code, out) == (128, "")
    assert err.startswith(f"runsc: {says}")
    assert os.listdir(runtime.root) == []


def test_a_wrong_config_is_told_by_its_path(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["process"]["user"]["uid"] = "root"
    code, _out, err = runtime.run(bundle)
    assert code == 128
    assert '$.process.user.uid: expected an integer, found "root"' in err


def test_a_failure_goes_to_the_log_as_json(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    runtime.run(bundle.shell("true"), flags=[f"--log={log}", "--log-format=json", "--root=/proc/nowhere"])
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["level"] == "error"
    assert "/proc/nowhere" in last["msg"]


KILLED_AT = """
import os, signal, sys
from runsc.oci import lifecycle, state
steps = {steps}
count = [0]
def step(frame, event, arg):
    if event == "line" and frame.f_code.co_filename.endswith(("oci/lifecycle.py", "oci/state.py",
    "launch.py")):
        count[0] += 1
        if count[0] == steps:
            os.kill(os.getpid(), signal.SIGKILL)
    return step
sys.argv = ["runsc", *{words}]
from runsc.cli.main import main
import runsc.sandbox.launch
sys.settrace(step)
main()
"""


@pytest.mark.parametrize("steps", [5, 40, 60, 80, 100, 120, 140, 160, 180])
def test_a_create_killed_anywhere_is_cleaned_up(
    runtime: Runtime, bundle: Bundle, tmp_path: Path, steps: int
) -> None:
    words = [*runtime.words[1:], "create", f"--bundle={bundle.write()}", "box"]
    script = KILLED_AT.format(steps=steps, words=repr(words))
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    assert done.returncode in (0, -9), done.stderr
    runtime.ok("delete", "--force", "box")
    assert not runtime.root.is_dir() or os.listdir(runtime.root) == []
