"""Where a unit runs: natively, in namespaces like a container's, or in a sandbox on one platform."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: All that a program sees of the environment.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
    "TERM": "xterm",
    "TZ": "UTC",
}

RUNSC = Path(sys.executable).parent / "runsc"
#: How much output is kept; a program that says more is cut off in the middle.
OUTPUT = 16 << 20


class Completed(NamedTuple):
    """What a program did. ``code``: exit status, or minus the signal; None: killed when its time was over."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float


class Place:
    """One place. ``name``: "native" or a platform's; ``prefix``: the words before a command."""

    __slots__ = ("name", "prefix")

    def __init__(self, name: str, prefix: Sequence[str]) -> None:
        self.name = name
        self.prefix = list(prefix)

    def run(self, argv: Sequence[str], seconds: float, stdin: str = "") -> Completed:
        """Run a program in a directory of its own, which is removed afterwards."""
        directory = tempfile.mkdtemp(prefix="compat-")
        env = ENVIRONMENT | {"TMPDIR": directory}
        started = time.monotonic()
        try:
            with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
                process = subprocess.Popen(
                    [*self.prefix, *argv],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=err,
                    env=env,
                    cwd=directory,
                    start_new_session=True,
                )
                code: int | None
                try:
                    process.communicate(stdin.encode(), timeout=seconds)
                    code = process.returncode
                except subprocess.TimeoutExpired:
                    code = None
                finally:
                    end_group(process)
                return Completed(code, tail(out), tail(err), time.monotonic() - started)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a program and of what it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def tail(file: object) -> str:
    """The last ``OUTPUT`` bytes of a file, as text."""
    descriptor = file.fileno()  # type: ignore[attr-defined]
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, OUTPUT, max(0, size - OUTPUT)).decode(errors="replace")


def native() -> Place:
    """Like a container without a network: namespaces of its own, the loopback up."""
    unshare = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc", "--uts"]
    inside = ["sh", "-c", 'ip link set lo up 2>/dev/null; exec "$@"', "sh"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:
        return Place("native", [*unshare, *inside])
    return Place("native", [])


def sandbox(platform: str, flags: Sequence[str] = ()) -> Place:
    """A sandbox on the host's files."""
    return Place(platform, [str(RUNSC), f"--platform={platform}", "--network=none", *flags, "do", "--"])
