"""Host directories that are mounted writable: what is done there is done on the host, as Linux does it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROGRAM = Path(__file__).parent / "programs" / "volume.py"


def tree(place: Path) -> list[tuple[str, str, int, int, int]]:
    found = []
    for top, directories, files in os.walk(os.fsencode(place)):
        for name in (*directories, *files):
            path = os.path.join(top, name)
            st = os.lstat(path)
            shown = os.fsdecode(os.path.relpath(path, os.fsencode(place)))
            size = st.st_size if not os.path.isdir(path) or os.path.islink(path) else 0
            found.append((shown, oct(st.st_mode), st.st_uid, st.st_gid, size))
    return sorted(found)


@pytest.fixture(params=["direct", "gofer9p"])
def sandboxed(request: pytest.FixtureRequest, run_sandboxed: Callable[..., Any]) -> Callable[..., Any]:
    """``sandboxed(argv, *volumes)``, by each file-system plugin."""

    def run(argv: Sequence[str], *volumes: str) -> Any:
        options = [f"--volume={volume}" for volume in volumes]
        return run_sandboxed(argv, flags=[f"--fs={request.param}"], options=options)

    return run


@pytest.mark.root
def test_files_are_as_natively(
    run_native: Callable[..., Any], sandboxed: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "native").mkdir()
    (tmp_path / "ours").mkdir()
    native = run_native([sys.executable, str(PROGRAM), str(tmp_path / "native")])
    ours = sandboxed([sys.executable, str(PROGRAM), "/mnt"], f"{tmp_path / 'ours'}:/mnt")
    assert native.stderr == b""
    assert (ours.stdout.decode().splitlines(), ours.stderr) == (native.stdout.decode().splitlines(), b"")
    assert ours.code == native.code == 0
    assert tree(tmp_path / "ours") == tree(tmp_path / "native")


def test_read_only(sandboxed: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    script = "echo y > /mnt/f; touch /mnt/g; rm -f /mnt/f; cat /mnt/f"
    done = sandboxed(["/bin/sh", "-c", script], f"{tmp_path}:/mnt:ro")
    assert done.stdout == b"x"
    assert done.stderr.count(b"Read-only file system") == 3


def test_a_single_file(sandboxed: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    script = "echo more >> /etc/hostname; cat /etc/hostname"
    done = sandboxed(["/bin/sh", "-c", script], f"{tmp_path / 'f'}:/etc/hostname")
    assert done == (0, b"xmore\n", b"")
    assert (tmp_path / "f").read_text() == "xmore\n"


@pytest.mark.parametrize("fs", ["direct", "gofer9p"])
def test_what_others_do_is_seen_at_once(runsc: str, platform: str, fs: str, tmp_path: Path) -> None:
    look_again = "stat -c %n:%s:%a /mnt/f; cat /mnt/f; echo ."
    script = f"stat -c %s /mnt/f; echo ready; while read line; do {look_again}; done"
    command = [runsc, f"--platform={platform}", f"--fs={fs}", "do", f"--volume={tmp_path}:/mnt", "--"]
    with subprocess.Popen(
        [*command, "/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None

        def look() -> bytes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            return b"".join(iter(process.stdout.readline, b".\n"))

        assert process.stdout.readline() == b"ready\n"
        (tmp_path / "f").write_text("one\n")
        assert look() == b"/mnt/f:4:644\none\n"
        (tmp_path / "new").write_text("three\n")
        (tmp_path / "new").chmod(0o600)
        (tmp_path / "new").rename(tmp_path / "f")
        assert look() == b"/mnt/f:6:600\nthree\n"
        with (tmp_path / "f").open("r+") as file:
            file.write("THREE and more\n")
        assert look() == b"/mnt/f:15:600\nTHREE and more\n"
        process.stdin.close()
    assert process.returncode == 0


def processes_of(pid: int) -> list[tuple[int, str]]:
    """The children of a process, with their names."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [(int(word), Path(f"/proc/{word}/comm").read_text()) for word in file.read().split()]


def test_without_its_gofer_a_sandbox_goes_on(runsc: str, platform: str, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "open").write_text("still here\n")
    script = "exec 3< /mnt/open; echo ready; read line; echo x > /mnt/new; read x <&3; echo $x; echo alive"
    logs = tmp_path / "logs"
    with subprocess.Popen(
        [runsc, f"--platform={platform}", "--fs=gofer9p", f"--debug-log={logs}/", "do",
         f"--volume={tmp_path / 'v'}:/mnt", "--", "/bin/sh", "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        # The gofer is the older of the two children.
        gofer, _sentry = sorted(pid for pid, _name in processes_of(process.pid))
        os.kill(gofer, 9)
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stdout.read() == b"still here\nalive\n"
        assert b"Input/output error" in process.stderr.read()
    assert process.returncode == 0
    (log,) = logs.glob("*boot*")
    # Which of its connections is found to be closed first is nobody's business; each is told of once.
    told = [line for line in log.read_text().splitlines() if "is lost" in line]
    assert told
    assert len(told) == len(set(told)) <= 2
