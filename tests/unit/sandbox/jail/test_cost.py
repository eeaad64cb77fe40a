"""What the jail adds to a start, in instructions (see ``test_startup``: a million is 0.3 ms)."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.callgrind, pytest.mark.timeout(120)]

#: Of five milliseconds that the jail may take; the host calls themselves are another 0.5 ms.
CEILING = 14.5

BEFORE = """
import gc; gc.disable()
import runsc.cli.main, runsc.cli.do, runsc.sandbox.boot, runsc.sandbox.sentry
import runsc_platform_ptrace.platform, runsc_fs_direct.hostfiles, runsc_net_none.plugin
import runsc.kernel.boot
from runsc.kernel.syscalls.table import dispatch_table
dispatch_table()
import runsc.kernel.fs.devtmpfs, runsc.kernel.fs.proc, runsc.kernel.fs.sysfs, runsc.kernel.fs.overlay.file
import runsc.kernel.mm.exec, runsc.kernel.fs.hostfile
"""

CLOSING = """
import runsc.sandbox.jail.enter as enter
from runsc._native import ffi, lib
from runsc_platform_ptrace.host_calls import host_calls
enter.import_all()
enter.read_time_zone()
declared = [
    ("core", "core", enter.core_calls(1)),
    ("platform", "ptrace", host_calls()),
    ("filesystem", "direct", runsc_fs_direct.hostfiles.READ_CALLS),
]
enter.assemble(enter.allow_list(declared))
enter.leave_files_alone(print)
"""


def count(script: str) -> float:
    """Millions of instructions that a script takes."""
    head = f"import sys; sys.path[:] = {sys.path!r}\n"
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        sys.executable,
        "-c",
        head + script,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, done.stderr[-2000:]
    assert done.returncode == 0, done.stderr[-2000:]
    return int(found[1]) / 1e6


def test_instructions(source_root: Path) -> None:
    # Byte code must be there, as it is once installed.
    folders = [str(source_root / "core"), str(source_root / "plugins")]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *folders], check=True)
    took = count(BEFORE + CLOSING) - count(BEFORE)
    assert took <= CEILING, f"{took:.1f} million instructions, allowed are {CEILING}"
