"""The two processes of a sandbox, with something simple in the kernel's place.

Each test runs a script in a process of its own that replaces ``sentry._run`` and starts a sandbox.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

DRIVER = """
import os, select, signal, sys, time
from runsc.config import Config
from runsc.errors import RunscError
from runsc.log import Log
from runsc.sandbox import boot, sentry
from runsc.sandbox.command import Command

def body(config, command, filesystem, log):
{body}

config = Config()
config.debug_log = sys.argv[1] if len(sys.argv) > 1 else ""
sentry._run = body
print("ready", flush=True)
try:
    code = boot.run(config, Command([b"true"], []), Log(), time.time())
except RunscError as error:
    print(f"{{type(error).__name__}}: {{error}}")
    print(getattr(error, "traceback", ""))
else:
    print(f"code {{code}}")
"""


pytestmark = pytest.mark.usefixtures("no_process_left")


def start(body: str, *args: str, **options: object) -> subprocess.Popen[str]:
    script = DRIVER.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    process: subprocess.Popen[str] = subprocess.Popen(
        [sys.executable, "-c", script, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )  # type: ignore[call-overload]
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=20)
    assert err == ""
    return out


def run(body: str, *args: str) -> str:
    return finish(start(body, *args))


@pytest.mark.parametrize("code", [0, 7, 128, 255])
def test_the_exit_code_is_the_programs(code: int) -> None:
    assert run(f"return {code}") == f"code {code}\n"


def test_an_error_comes_back_with_its_remedy() -> None:
    assert run("raise RunscError('no such thing', 'look for another')").startswith(
        "RunscError: no such thing: look for another\n"
    )


def test_a_bug_comes_back_with_its_traceback(tmp_path: Path) -> None:
    out = run("return {}['key']", f"{tmp_path}/%COMMAND%.log")
    assert out.startswith(
        f"InternalError: internal error in the sandbox: KeyError: 'key': see {tmp_path}/boot.log"
    )
    assert " in body\nKeyError: 'key'" in out
    assert "KeyError" in (tmp_path / "boot.log").read_text()


def test_leaving_by_exit_is_a_bug_too() -> None:
    assert "SystemExit" in run("sys.exit(3)")


def test_a_sudden_death_is_told(tmp_path: Path) -> None:
    out = run("os.kill(os.getpid(), signal.SIGKILL)", f"{tmp_path}/")
    assert out.startswith("RunscError: the sandbox's process died (killed by SIGKILL): see ")
    assert "boot.txt" in out
    assert "died (ended with status 5): run it again with --debug" in run("os._exit(5)")


def test_a_log_that_cannot_be_opened_is_told() -> None:
    assert "can't write the log /proc/nowhere/x" in run("return 0", "/proc/nowhere/x")


SHOW_SIGNALS = """
    got = []
    log_fd = command.signals
    sys.stderr = None
    os.write(1, b"waiting\\n")
    while len(got) < %d:
        select.select([log_fd], [], [], 10)
        try:
            got += os.read(log_fd, 100)
        except BlockingIOError:
            break
    os.write(1, f"got {got}\\n".encode())
    return 0
"""


@pytest.mark.parametrize("number", [1, 2, 3, 10, 12, 15, 20, 28])
def test_a_signal_is_passed_on_once(number: int) -> None:
    process = start(SHOW_SIGNALS % 1)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    assert finish(process) == f"got [{number}]\ncode 0\n"


def test_a_signal_to_the_whole_group_is_passed_on_once() -> None:
    process = start(SHOW_SIGNALS % 2, process_group=0)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGTERM)
    assert finish(process) == f"got [{signal.SIGINT:d}, {signal.SIGTERM:d}]\ncode 0\n"


def test_what_was_ignored_stays_ignored() -> None:
    process = start(SHOW_SIGNALS % 1, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    process.send_signal(signal.SIGUSR1)
    assert finish(process) == f"got [{signal.SIGUSR1:d}]\ncode 0\n"


def test_an_ignored_sigchld_does_no_harm() -> None:
    process = start("return 3", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert finish(process) == "code 3\n"


def test_the_sandbox_dies_with_its_parent() -> None:
    process = start("os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)")
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate(timeout=20)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        # We are its reaper now.
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            assert os.WTERMSIG(status) == signal.SIGKILL
            return
        time.sleep(0.01)
    pytest.fail("it is still there")


def test_stopping_the_sandbox_stops_runsc() -> None:
    process = start("os.kill(os.getpid(), signal.SIGSTOP); return 0", process_group=0)
    found, status = os.waitpid(process.pid, os.WUNTRACED)
    assert found == process.pid
    assert os.WIFSTOPPED(status)
    os.kill(process.pid, signal.SIGCONT)
    assert finish(process) == "code 0\n"


def test_the_sandbox_can_stop_both() -> None:
    process = start(
        "from runsc.kernel.hostjob import stop_sandbox; stop_sandbox(); return 5", process_group=0
    )
    found, status = os.waitpid(process.pid, os.WUNTRACED)
    assert found == process.pid
    assert os.WIFSTOPPED(status)
    os.killpg(process.pid, signal.SIGCONT)
    assert finish(process) == "code 5\n"


def test_where_nobody_could_continue_it_nothing_stops() -> None:
    assert (
        finish(
            start(
                "from runsc.kernel.hostjob import stop_sandbox; stop_sandbox(); return 5",
                start_new_session=True,
            )
        )
        == "code 5\n"
    )


def test_descriptors_of_the_caller_are_not_passed_on() -> None:
    reader, writer = os.pipe()
    # Five are ours: the two ends that stay open of pipes, the report, the root directory, and the one that
    # lists them.
    body = "return sum(1 for fd in os.listdir('/proc/self/fd') if int(fd) > 2)"
    process = start("from runsc.sandbox.sentry import _close_all_but\n" + body, pass_fds=(reader, writer))
    os.close(writer)
    os.close(reader)
    assert finish(process) == "code 5\n"


def test_closed_standard_descriptors_are_occupied(tmp_path: Path) -> None:
    body = f"""
    links = [os.readlink(f"/proc/self/fd/{{fd}}") for fd in range(3)]
    open({str(tmp_path / "out")!r}, "w").write(repr(links))
    return 0
    """
    script = DRIVER.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    (tmp_path / "script.py").write_text(script.replace('print("ready", flush=True)', "os.closerange(0, 3)"))
    subprocess.run([sys.executable, str(tmp_path / "script.py")], timeout=20, check=False)
    assert (tmp_path / "out").read_text() == repr(["/dev/null"] * 3)


def test_the_descriptor_limit_that_the_guest_sees_is_the_callers() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    body = f"""
    import resource
    sentry._raise_descriptor_limit()
    assert command.nofile == ({min(soft, 300)}, {hard})
    return int(resource.getrlimit(resource.RLIMIT_NOFILE) == ({hard}, {hard}))
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 300), hard))

    assert finish(start(body, preexec_fn=limit)) == "code 1\n"
