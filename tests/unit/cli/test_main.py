"""The command line as a user meets it: what is printed, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from runsc import __version__
from runsc.cli.commands import COMMANDS
from runsc.config import FLAGS
from runsc.flags import names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(runsc: str) -> Call:
    def run(*words: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
        done = subprocess.run(
            [runsc, *words], capture_output=True, text=True, timeout=50, env={**os.environ, **(env or {})}
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_version(call: Call) -> None:
    assert call("--version") == (0, f"runsc version {__version__}\nspec: 1.2.0\n", "")
    assert call("-version", "state", "x")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no command given: 'runsc help' lists them"),
        (["stat", "x"], "unknown command 'stat': did you mean state?"),
        (["xyzzy"], "unknown command 'xyzzy': 'runsc help' lists them"),
        (["--platfrom=kvm", "do"], "unknown flag --platfrom: did you mean --platform?"),
        (["do", "--cdw=/"], "unknown flag --cdw: did you mean --cwd?"),
        (["--log-format=xml", "state", "x"], "--log-format=xml: no such choice: there are text, json"),
        (["--overlay2=x", "do", "true"], "--overlay2=x: not understood: write --overlay2=root:memory or --overlay2=none"),
        (["do"], "do needs a command: write runsc do -- CMD ARGS"),
        (["do", "--"], "do needs a command: write runsc do -- CMD ARGS"),
        (["do", "--user=root", "true"], "--user=root: not understood: write --user=UID or --user=UID:GID, in numbers"),
        (["do", "--user=1:4294967295", "true"], "--user=1:4294967295: not understood: write --user=UID or --user=UID:GID, in numbers"),
        (["do", "--env=A", "true"], "--env=A: not understood: write --env=NAME=VALUE"),
        (["do", "--cwd=here", "true"], "--cwd=here: not an absolute path: give the path as it is in the sandbox"),
        (["do", "--root=/no/such", "true"], "--root=/no/such: does not exist: give the directory that is to be the root"),
        (["do", "--root=/etc/passwd", "true"], "--root=/etc/passwd: is not a directory: give the directory that is to be the root"),
        (["state", "c1"], 'container "c1" does not exist'),
        (["kill", "c1", "KILL"], 'container "c1" does not exist'),
        (["delete", "c1"], 'container "c1" does not exist'),
        (["state"], "state needs the id of a container: write runsc state ID"),
        (["state", "../c1"], '"../c1" can\'t be the id of a container: use letters, digits and the characters _ + - .'),
        (["create", "--bundle=/nowhere", "c1"], "can't read /nowhere/config.json: No such file or directory: a bundle is a directory with a config.json: 'runsc spec' makes one"),
        (["--platform=nope", "do", "true"], "unknown platform nope: there are: ptrace, systrap, kvm"),
        (["--network=sandbox", "do", "true"], "--network=sandbox needs a network namespace of its own, and this is the host's: start runsc in one ('ip netns exec NAME runsc ...'), or use --network=host or --network=none"),
        (["plugins", "--format=xml"], "Invalid value for '--format': 'xml' is not one of 'text', 'json': 'runsc help' shows how it is written"),
    ],
)  # fmt: skip
def test_failures_are_one_line_and_128(call: Call, words: list[str], message: str) -> None:
    assert call(*words) == (128, "", f"runsc: {message}\n")


REFUSING = """
from runsc.plugins.availability import Availability
from runsc.plugins.hookspecs import hookimpl

class Plugin:
    api_version = 1

    @hookimpl
    def check_platform(self):
        return Availability.no("the moon is full", "wait for a week")

    @hookimpl
    def make_platform(self, config):
        raise PermissionError(1, "no")
"""


def test_a_platform_that_does_not_work_here_says_why(call: Call, tmp_path: Path) -> None:
    (tmp_path / "refusing.py").write_text(REFUSING)
    info = tmp_path / "refusing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: refusing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[runsc.platform]\nmoon = refusing:Plugin\n")
    env = {"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    message = "runsc: platform moon does not work here: the moon is full: wait for a week\n"
    assert call("--platform=moon", "do", "true", env=env) == (128, "", message)
    code, out, _ = call("plugins", env=env)
    assert code == 0
    assert "no: the moon is full: wait for a week" in out


def test_deleting_by_force_what_is_not_there(call: Call) -> None:
    assert call("delete", "--force", "c1") == (0, "", "")
    assert call("delete", "-f", "c1") == (0, "", "")


def test_debug_shows_the_traceback(call: Call) -> None:
    code, out, err = call("--debug", "--platform=nope", "do", "true")
    assert (code, out) == (128, "")
    assert "Traceback (most recent call last):" in err
    assert err.endswith("\nrunsc: unknown platform nope: there are: ptrace, systrap, kvm\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_failures_reach_the_callers_log(call: Call, tmp_path: Path, form: str) -> None:
    log = tmp_path / "log"
    code, _, err = call(f"--log={log}", f"--log-format={form}", "state", "c1")
    assert code == 128
    assert err == 'runsc: container "c1" does not exist\n'
    line = log.read_text()
    assert line.endswith("\n")
    if form == "json":
        assert json.loads(line)["msg"] == 'container "c1" does not exist'
        assert json.loads(line)["level"] == "error"
    else:
        assert 'level=error msg="container \\"c1\\" does not exist"' in line


def test_a_failure_in_the_sandbox_is_logged_once(call: Call, tmp_path: Path) -> None:
    log = tmp_path / "log"
    call(f"--log={log}", "--log-format=json", "--platform=nope", "do", "true")
    assert len(log.read_text().splitlines()) == 1


def test_a_log_that_cannot_be_written(call: Call) -> None:
    code, _, err = call("--log=/proc/nowhere/log", "state", "c1")
    assert code == 128
    assert err.splitlines()[0] == 'runsc: container "c1" does not exist'
    assert err.splitlines()[1].startswith("runsc: can't write the log /proc/nowhere/log: ")


def test_flags_without_effect_warn(call: Call) -> None:
    code, _, err = call("--host-uds=all", "state", "c1")
    assert code == 128
    assert err.splitlines()[0] == "runsc: warning: --host-uds has no effect yet"


def test_help_shows_every_flag_and_command(call: Call) -> None:
    code, out, err = call("help")
    assert (code, err) == (0, "")
    for name in names(tuple(flag for flag in FLAGS if not getattr(flag, "hidden", False))):
        assert f"--{name}" in out
    for spec in COMMANDS:
        assert f"\n  {spec.name} " in out
    assert call("--help") == (0, out, "")
    assert call("-h") == (0, out, "")


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name)
def test_help_of_each_command(call: Call, spec: object) -> None:
    from runsc.cli.commands import CommandSpec

    assert isinstance(spec, CommandSpec)
    code, out, err = call(spec.name, "--help")
    assert (code, err) == (0, "")
    for flag in spec.flags:
        assert f"--{flag.name}" in out
    if spec.usage:
        assert spec.usage in out
    assert call("help", spec.name) == (0, out, "")


def test_plugins(call: Call) -> None:
    code, out, err = call("plugins")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["KIND", "NAME", "DISTRIBUTION", "VERSION", "STATUS"]
    assert ["network", "none", "runsc", __version__, "works", "here:"] in [line.split()[:6] for line in lines]
    code, out, err = call("plugins", "--format=json")
    assert (code, err) == (0, "")
    found = {(item["kind"], item["name"]): item for item in json.loads(out)}
    assert found["network", "none"]["works"] is True
    assert found["network", "none"]["version"] == __version__
    for item in found.values():
        assert item["works"] or (item["reason"] and item["remedy"])


def test_syscalls(call: Call) -> None:
    code, out, err = call("syscalls", "--format", "json")
    assert (code, err) == (0, "")
    table = json.loads(out)
    by_name = {item["name"]: item for item in table}
    assert by_name["read"]["number"] == 0
    assert by_name["getpid"] == {
        "number": 39,
        "name": "getpid",
        "support": "full",
        "note": by_name["getpid"]["note"],
    }
    assert {item["support"] for item in table} <= {"full", "partial", "none"}
    assert all(item["note"] for item in table if item["support"] == "partial")
    numbers = [item["number"] for item in table]
    assert numbers == sorted(set(numbers))
    code, out, err = call("syscalls")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(table) + 1


def test_a_reader_that_leaves_early(runsc: str) -> None:
    done = subprocess.run(
        f"{runsc} syscalls | head -n 1", shell=True, capture_output=True, text=True, timeout=50
    )
    assert done.stdout.split() == ["NUMBER", "NAME", "SUPPORT", "NOTE"]
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(call: Call, shell: str) -> None:
    env = {"_RUNSC_COMPLETE": f"complete_{shell}", "COMP_WORDS": "runsc pl", "COMP_CWORD": "1"}
    env["_TYPER_COMPLETE_ARGS"] = "runsc pl"
    env["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    code, out, err = call(env=env)
    assert (code, err) == (0, "")
    assert "plugins" in out
    assert "kill" not in out
