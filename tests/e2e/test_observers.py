"""Observers on real programs: the session's trace, the seccomp profile, and a policy of somebody else's."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POLICY = """
from errno import EACCES
from runsc.observer import Change, Deny
from runsc.plugins.availability import Availability
from runsc.plugins.hookspecs import hookimpl


class Policy:
    syscalls = ("uname", "mkdir")

    def __init__(self, secret):
        self.secret = secret.encode()

    @hookimpl
    def file_opened(self, path):
        return Deny(EACCES) if path == self.secret else None

    @hookimpl
    def syscall_enter(self, call):
        return Change(path=b"/tmp/renamed") if call.name == "mkdir" else Deny(EACCES)


class Plugin:
    api_version = 1
    summary = "a policy"

    @hookimpl
    def check_observer(self):
        return Availability.yes()

    @hookimpl
    def make_observer(self, config, argument):
        return Policy(argument)
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """An environment in which a distribution with an observer ``policy`` is installed."""
    info = tmp_path / "site" / "somebody-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[runsc.observer]\npolicy = somebody_policy:Plugin\n")
    (tmp_path / "site" / "somebody_policy.py").write_text(POLICY)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site")}


def test_policy(run_sandboxed: Callable[..., Any], elsewhere: dict[str, str]) -> None:
    script = "cat /etc/hostname; cat /etc/passwd >/dev/null && echo fine; mkdir /tmp/asked"
    script += "; ls -d /tmp/renamed; uname"
    outcome = run_sandboxed(
        ["/bin/sh", "-c", script], env=elsewhere, flags=["--observer=policy:/etc/hostname"]
    )
    assert outcome.stdout == b"fine\n/tmp/renamed\n"
    assert outcome.stderr.count(b"Permission denied") == 2


def test_a_symbolic_link_does_not_get_around_the_policy(
    run_sandboxed: Callable[..., Any], elsewhere: dict[str, str]
) -> None:
    script = "ln -s /etc/../etc/hostname /tmp/innocent && cat /tmp/innocent"
    outcome = run_sandboxed(
        ["/bin/sh", "-c", script], env=elsewhere, flags=["--observer=policy:/etc/hostname"]
    )
    assert outcome.code == 1
    assert outcome.stdout == b""


def test_trace_session(run_sandboxed: Callable[..., Any], tmp_path: Path) -> None:
    trace = tmp_path / "session.json"
    script = "cat /etc/hostname >/dev/null; cat /nowhere 2>/dev/null; kill -0 $$; (exit 3); exit 5"
    outcome = run_sandboxed(["/bin/sh", "-c", script], flags=[f"--trace-session={trace}"])
    assert outcome.code == 5
    events = [json.loads(line) for line in trace.read_text().splitlines()]
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_kind.setdefault(event["event"], []).append(event)
    assert [event["argv"] for event in by_kind["exec"][1:]] == [["cat", "/etc/hostname"], ["cat", "/nowhere"]]
    assert "/etc/hostname" in [event["path"] for event in by_kind["open"]]
    assert len(by_kind["process"]) >= 2
    assert {event["status"] for event in by_kind["exit"]} >= {5 << 8, 1 << 8, 0}
    calls = by_kind["syscall"]
    missed = [call for call in calls if call["arguments"].get("path") == "/nowhere" and "error" in call]
    assert [call["error"] for call in missed] == ["ENOENT"]
    assert {call["name"] for call in calls} >= {"execve", "openat", "read", "write", "wait4"}
    assert events == sorted(events, key=lambda event: event["time"])


def test_trace_that_cannot_be_written(run_sandboxed: Callable[..., Any]) -> None:
    outcome = run_sandboxed(["/bin/true"], flags=["--trace-session=/nonexistent/file"])
    assert outcome.code == 128
    assert b"/nonexistent/file: No such file or directory" in outcome.stderr


def test_profile(runsc: str, platform: str, run_native: Callable[..., Any]) -> None:
    """The profile names the calls of this program; what the program prints is not mixed up with it."""
    command = [runsc, f"--platform={platform}", "profile", "--"]
    code, out, err = run_native([*command, "/bin/sh", "-c", "echo hello; exit 4"])
    assert code == 4
    assert err == b"hello\n"
    profile = json.loads(out)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    (rule,) = profile["syscalls"]
    assert rule["action"] == "SCMP_ACT_ALLOW"
    assert "write" in rule["names"]
    assert "socket" not in rule["names"]
    _code, out, _err = run_native([*command, "python3", "-c", "import socket; socket.socket()"])
    assert "socket" in json.loads(out)["syscalls"][0]["names"]


def test_measure(run_sandboxed: Callable[..., Any], tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    outcome = run_sandboxed(
        ["python3", "-c", "import os\nfor _ in range(500): os.getppid()"],
        flags=[f"--observer=measure:{figures}"],
    )
    assert outcome.code == 0
    record = json.loads(figures.read_text())
    assert record["syscalls"]["getppid"]["count"] >= 500
    assert 0 < record["syscalls"]["getppid"]["handler"] <= record["kernel_cpu"]
    assert record["wall"] > 0
    assert record["threads"] >= 1
