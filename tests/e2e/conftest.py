"""Real programs: each is run natively and in a sandbox, on every platform, and must do the same.

``PLATFORMS`` is the one place that lists the platforms.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PLATFORMS = os.environ.get("RUNSC_PLATFORMS", "systrap,ptrace").split(",")

#: A program that takes longer hangs.
PATIENCE = 50.0


class Outcome(NamedTuple):
    """What a program did; ``code`` is as a shell shows it: 128+n for signal n."""

    code: int
    stdout: bytes
    stderr: bytes


def execute(
    argv: Sequence[str | bytes],
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    timeout: float = PATIENCE,
) -> Outcome:
    """Run a program to its end. A time-out kills its whole process group and fails the test."""
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, err = process.communicate()
            pytest.fail(f"{argv!r} did not end in {timeout} s; stdout {out[-500:]!r}, stderr {err[-500:]!r}")
    code = process.returncode
    return Outcome(128 - code if code < 0 else code, out, err)


@pytest.fixture(params=PLATFORMS)
def platform(request: pytest.FixtureRequest) -> str:
    """The platform that this run of the test is for."""
    return str(request.param)


@pytest.fixture
def run_native() -> Callable[..., Outcome]:
    """``run_native(argv, stdin=b"", env=None, cwd=None, timeout=...)`` -> (code, stdout, stderr)."""
    return execute


@pytest.fixture
def run_sandboxed(runsc: str, platform: str, no_process_left: None) -> Callable[..., Outcome]:
    """``run_sandboxed(argv, ..., flags=(), options=())`` -> (code, stdout, stderr).

    Like ``run_native``, in a sandbox; ``flags`` go before ``do``, ``options`` behind it.
    """

    def run(
        argv: Sequence[str | bytes],
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: float = PATIENCE,
        platform: str = platform,
        flags: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> Outcome:
        words = [runsc, f"--platform={platform}", *flags, "do", *options, "--", *argv]
        return execute(words, stdin, env, cwd, timeout)

    return run


class Sandbox:
    """Both ways to run a program, and the comparison."""

    def __init__(self, native: Callable[..., Outcome], sandboxed: Callable[..., Outcome]) -> None:
        self.native = native
        self.run = sandboxed

    def same(
        self,
        argv: Sequence[str | bytes],
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: float = PATIENCE,
    ) -> Outcome:
        """Run it natively and in a sandbox; fail unless code, stdout and stderr agree. What they agree on."""
        expected = self.native(argv, stdin, env, cwd, timeout)
        got = self.run(argv, stdin, env, cwd, timeout)
        assert got == expected
        return expected

    def shell(self, script: str, shell: str = "/bin/sh", stdin: bytes = b"") -> Outcome:
        """``same`` for a shell script."""
        return self.same([shell, "-c", script], stdin)


@pytest.fixture
def sandbox(run_native: Callable[..., Outcome], run_sandboxed: Callable[..., Outcome]) -> Sandbox:
    """Runs programs natively and in a sandbox."""
    return Sandbox(run_native, run_sandboxed)
