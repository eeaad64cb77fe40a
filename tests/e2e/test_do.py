"""``runsc do`` as a user meets it: exit codes, signals, logs, and that nothing reaches the host."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Outcome, Sandbox

    Run = Callable[..., Outcome]


@pytest.mark.parametrize(
    "script", ["exit 0", "exit 7", "exit 127", "exit 255", "kill -9 $$", "kill -TERM $$"]
)
def test_exit_codes_are_the_programs(sandbox: Sandbox, script: str) -> None:
    sandbox.shell(script)


def test_streams_arguments_and_environment(sandbox: Sandbox, tmp_path: Path) -> None:
    script = 'cat; echo "$#:$0:$1:$NAME:$PWD"; echo oops >&2'
    argv = ["/bin/sh", "-c", script, "zero", "a b"]
    env = {"NAME": "v\u00e4lue", "PATH": "/usr/bin:/bin"}
    sandbox.same(argv, stdin=b"input\0\xff", env=env, cwd=tmp_path)


def test_a_program_is_looked_up_in_the_path(sandbox: Sandbox) -> None:
    sandbox.same(["echo", "found"])


def test_flags_of_the_program_are_its_own(run_sandboxed: Run) -> None:
    assert run_sandboxed(["echo", "--cwd=/", "-n"]).stdout == b"--cwd=/ -n\n"


def test_writes_stay_inside(run_sandboxed: Run, tmp_path: Path) -> None:
    victim = tmp_path / "file"
    victim.write_text("before")
    script = f"cd {tmp_path} && echo after > file && echo x > new && rm -r dir && cat file && ls"
    (tmp_path / "dir").mkdir()
    assert run_sandboxed(["/bin/sh", "-c", script]).stdout == b"after\nfile\nnew\n"
    assert victim.read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["dir", "file"]


def test_flags_of_do(run_sandboxed: Run) -> None:
    options = ["--cwd=/usr", "--env=A=1", "--env", "B=2", "--user=12:34"]
    script = "pwd; echo $A$B; id -u; id -g; id -G"
    assert run_sandboxed(["/bin/sh", "-c", script], options=options).stdout == b"/usr\n12\n12\n34\n34\n"


def test_another_root(run_sandboxed: Run, tmp_path: Path) -> None:
    busybox = "/bin/busybox"
    if not os.path.exists(busybox):
        pytest.skip("needs busybox-static")
    (tmp_path / "bin").mkdir()
    shutil.copy(busybox, tmp_path / "bin" / "sh")
    out = run_sandboxed(["/bin/sh", "-c", "echo $PWD; echo /*"], options=[f"--root={tmp_path}"])
    assert out == (0, b"/\n/bin\n", b"")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("no-such-program", "not found"),
        ("/no/such/program", "No such file or directory"),
        ("/etc", "Permission denied"),
        ("/etc/passwd", "Permission denied"),
    ],
)
def test_a_program_that_cannot_be_run(run_sandboxed: Run, program: str, reason: str) -> None:
    code, out, err = run_sandboxed([program])
    assert (code, out) == (128, b"")
    assert err.startswith(b"runsc: ")
    assert err.count(b"\n") == 1
    assert program in err.decode()
    assert reason in err.decode()


def test_a_truncated_program(run_sandboxed: Run, tmp_path: Path) -> None:
    path = tmp_path / "prog"
    path.write_bytes(b"\x7fELF\x02\x01\x01")
    path.chmod(0o755)
    code, _, err = run_sandboxed([str(path)])
    assert code == 128
    assert err.startswith(b"runsc: ")
    assert err.count(b"\n") == 1


def test_a_working_directory_that_is_not_there(run_sandboxed: Run) -> None:
    code, _, err = run_sandboxed(["true"], options=["--cwd=/no/such"])
    assert code == 128
    assert b"/no/such" in err
    assert err.count(b"\n") == 1


def test_logs_are_where_they_were_asked_for(run_sandboxed: Run, tmp_path: Path) -> None:
    flags = [f"--debug-log={tmp_path}/logs/", "--debug", "--strace"]
    assert run_sandboxed(["echo", "hi"], flags=flags).code == 0
    logs = sorted(os.listdir(tmp_path / "logs"))
    stamp = r"runsc\.log\.\d{8}-\d{6}\.\d{6}\."
    assert [re.sub(stamp, "", name) for name in logs] == ["boot.txt", "do.txt"]
    boot = (tmp_path / "logs" / logs[0]).read_text()
    assert re.search(r'write\(1, "hi\\n", 3\) += 3', boot)
    assert "the program ended with 0" in boot


def test_strace_without_a_log_goes_to_stderr(run_sandboxed: Run) -> None:
    code, out, err = run_sandboxed(["echo", "hi"], flags=["--strace", "--strace-syscalls=write"])
    assert (code, out) == (0, b"hi\n")
    assert re.search(rb'write\(1, "hi\\n", 3\) += 3', err)
    assert b"mmap" not in err


def test_the_debug_log_as_json(run_sandboxed: Run, tmp_path: Path) -> None:
    flags = [f"--debug-log={tmp_path}/%COMMAND%", "--debug-log-format=json", "--strace"]
    assert run_sandboxed(["true"], flags=flags).code == 0
    lines = [json.loads(line) for line in (tmp_path / "boot").read_text().splitlines()]
    assert all(set(line) == {"level", "msg", "time"} for line in lines)


def test_descriptors_of_the_caller_stay_outside(runsc: str, platform: str) -> None:
    reader, writer = os.pipe()
    words = [runsc, f"--platform={platform}", "do", "--", "ls", "/proc/self/fd"]
    done = subprocess.run(words, pass_fds=(reader, writer), capture_output=True, timeout=50)
    os.close(reader)
    os.close(writer)
    assert done.stdout == b"0\n1\n2\n3\n"  # 3 is the directory


def begin(runsc: str, platform: str, script: str) -> subprocess.Popen[bytes]:
    words = [runsc, f"--platform={platform}", "do", "--", "/bin/sh", "-c", script]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "USR2", "QUIT"])
@pytest.mark.usefixtures("no_process_left")
def test_a_signal_reaches_the_program(runsc: str, platform: str, name: str) -> None:
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    process = begin(runsc, platform, script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(getattr(signal, f"SIG{name}"))
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (9, f"got {name}\n".encode(), b"")


@pytest.mark.usefixtures("no_process_left")
def test_a_signal_kills_the_program(runsc: str, platform: str) -> None:
    process = begin(runsc, platform, "echo ready; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.usefixtures("no_process_left")
def test_killing_runsc_leaves_nothing(runsc: str, platform: str) -> None:
    process = begin(runsc, platform, "sleep 60 & echo ready; wait")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.communicate(timeout=20)


class Terminal:
    """A program on a terminal of its own, as the leader of the terminal's session."""

    def __init__(self, words: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execv(words[0], words)
            finally:
                os._exit(127)
        self.seen = b""
        self.ended = False

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.ended:
            os.close(self.fd)
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def expect(self, what: bytes, timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while what not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {what!r} in {self.seen!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    data = os.read(self.fd, 4096)
                except OSError:
                    data = b""
                assert data, f"it ended without {what!r}: {self.seen!r}"
                self.seen += data
        self.seen = self.seen[self.seen.index(what) + len(what) :]

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def wait(self) -> int:
        """Read what is left; the exit code."""
        while True:
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                break
            if not data:
                break
            self.seen += data
        self.ended = True
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


COUNT_INTERRUPTS = """
import signal, time
n = 0
def got(*_):
    global n
    n += 1
    print("got", n, flush=True)
signal.signal(signal.SIGINT, got)
print("ready", flush=True)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    time.sleep(0.1)
print("total", n)
"""


@pytest.mark.usefixtures("no_process_left")
def test_control_c_on_a_terminal_arrives_once(runsc: str, platform: str) -> None:
    words = [runsc, f"--platform={platform}", "do", "--", sys.executable, "-S", "-c", COUNT_INTERRUPTS]
    with Terminal(words) as terminal:
        terminal.expect(b"ready\r\n")
        terminal.type(b"\x03")
        terminal.expect(b"got 1\r\n")
        terminal.expect(b"total 1\r\n")
        assert terminal.wait() == 0


@pytest.mark.usefixtures("no_process_left")
def test_a_shell_inside_controls_its_jobs(runsc: str, platform: str) -> None:
    with Terminal([runsc, f"--platform={platform}", "do", "--", "/bin/bash", "--norc", "-i"]) as terminal:
        terminal.type(b"PS1='pro''mpt '\n")
        terminal.expect(b"prompt ")
        terminal.type(b"sleep 60\n")
        time.sleep(1)
        terminal.type(b"\x1a")
        terminal.expect(b"Stopped")
        terminal.type(b"jobs\n")
        terminal.expect(b"sleep 60")
        terminal.type(b"fg\n")
        terminal.expect(b"sleep 60")
        time.sleep(1)
        terminal.type(b"\x03")
        terminal.expect(b"prompt ")
        terminal.type(b"exit 3\n")
        assert terminal.wait() == 3


@pytest.mark.usefixtures("no_process_left")
def test_the_shell_sees_runsc_stop_and_goes_on_with_it(runsc: str, platform: str) -> None:
    with Terminal(["/bin/bash", "--norc", "-i"]) as terminal:
        terminal.type(b"PS1='pro''mpt '\n")
        terminal.expect(b"prompt ")
        terminal.type(f"{runsc} --platform={platform} do -- sh -c 'echo up; exec cat'\n".encode())
        terminal.expect(b"up\r\n")
        terminal.type(b"first\n")
        terminal.expect(b"first\r\nfirst\r\n")
        terminal.type(b"\x1a")
        terminal.expect(b"Stopped")
        terminal.expect(b"prompt ")
        terminal.type(b"fg\n")
        terminal.expect(b"exec cat'\r\n")
        time.sleep(0.5)  # or the line would come while the shell edits lines itself, and not be echoed
        terminal.type(b"second\n")
        terminal.expect(b"second\r\nsecond\r\n")
        terminal.type(b"\x04")
        terminal.expect(b"prompt ")
        terminal.type(b"exit 3\n")
        assert terminal.wait() == 3
