"""Nothing is imported or opened later on: looked for in the sources, and tried out."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

IMPORTS = """
import runsc.cli.main, runsc.cli.do, runsc.sandbox.boot, runsc.sandbox.sentry, runsc.sandbox.command
from runsc.plugins.loader import load
for kind, name in (("platform", "ptrace"), ("filesystem", "direct"), ("network", "none")):
    load(kind, name)
import runsc_platform_ptrace.platform, runsc_fs_direct.hostfiles
import runsc.kernel.boot
from runsc.kernel.syscalls.table import dispatch_table
dispatch_table()
import runsc.sandbox.jail.enter
"""

#: Imports inside functions that run before the jail is closed, or outside of the sandbox's process.
BEFORE = {
    "difflib": "did_you_mean, for the command line",
    "pluggy": "loading plugins",
    "runsc._native": "what closes the jail",
    "runsc.cli.app": "help",
    "runsc.cli.ab": "other commands",
    "runsc.cli.execute": "other commands",
    "runsc.cli.inspect": "other commands",
    "runsc.cli.lifecycle": "other commands",
    "runsc.cli.profile": "other commands",
    "runsc.kernel.serve": "before the jail is closed, where it is needed",
    "runsc.observer": "loading plugins",
    "runsc.plugins.arbiter": "loading plugins",
    "runsc.plugins.flags": "the command line's process",
    "runsc.plugins.observers": "before the jail is closed",
    "runsc.strace": "imported at start if it is asked for",
    "runsc_fs_direct.opener": "the command line's process",
    "runsc_platform_ptrace.check": "check()",
    "runsc_platform_ptrace.host_calls": "asked for when the jail is closed",
    "socket": "imported at start if a standard descriptor is a socket",
    "termios": "the command line's process",
    "traceback": "the command line's process",
}


def python(script: str) -> str:
    """Run it in an interpreter of its own, with our sys.path; what it printed."""
    head = f"import sys; sys.path[:] = {sys.path!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(script)], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def late_imports(path: Path) -> set[str]:
    """The modules that functions in this file import."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import):
                found |= {alias.name for alias in inner.names}
            elif isinstance(inner, ast.ImportFrom) and inner.module:
                found.add(inner.module)
                # "from package import module"
                for base in map(Path, sys.path):
                    if (base / inner.module.replace(".", "/")).is_dir():
                        found |= {
                            f"{inner.module}.{alias.name}"
                            for alias in inner.names
                            if (base / inner.module.replace(".", "/") / f"{alias.name}.py").exists()
                        }
    return found


def test_every_late_import_is_done_early() -> None:
    script = f"""
    {textwrap.indent(IMPORTS, "    ").strip()}
    from runsc.sandbox.jail.preload import import_all
    import_all()
    for name, module in list(sys.modules.items()):
        print(name, getattr(module, "__file__", None) or "-")
    """
    loaded = dict(line.split(" ", 1) for line in python(script).splitlines())
    missing = {}
    for name, path in loaded.items():
        if name.startswith("runsc") and path.endswith(".py"):
            for late in late_imports(Path(path)):
                if late not in loaded and late not in BEFORE:
                    missing[late] = name
    assert missing == {}, "add them to runsc.sandbox.jail.preload.LAZY"


def test_no_module_is_listed_in_vain() -> None:
    from runsc.sandbox.jail.preload import LAZY

    assert sorted(LAZY) == list(LAZY)
    assert python(f"import importlib\nfor name in {LAZY!r}: importlib.import_module(name)") == ""


CLOSED = """
import os, sys
from runsc.sandbox.jail.preload import leave_files_alone
told = []
leave_files_alone(told.append)
"""


def test_an_import_is_refused_and_told() -> None:
    script = (
        CLOSED
        + """
import os.path, errno  # what is there stays
try:
    import http.client
except ImportError as error:
    print(type(error).__name__, error)
try:
    from runsc.sandbox import nothing
except ImportError as error:
    print(type(error).__name__, error)
print(len(told), told[0])
"""
    )
    refused = "http was imported after the jail was closed: it must be imported before"
    again = "runsc.sandbox.nothing was imported after the jail was closed: it must be imported before"
    assert python(script).splitlines() == [f"ImportError {refused}", f"ImportError {again}", f"2 {refused}"]


def test_tracebacks_look_at_no_source(tmp_path: Path) -> None:
    module = tmp_path / "broken.py"
    module.write_text("def fail():\n    raise ValueError('no')\n")
    script = f"""
sys.path.insert(0, {str(tmp_path)!r})
import broken, traceback
{CLOSED}
try:
    broken.fail()
except ValueError:
    text = traceback.format_exc()
print('line 2, in fail' in text, "raise ValueError" in text, "ValueError: no" in text)
"""
    assert python(script) == "True False True\n"


def test_what_nobody_catches_is_told() -> None:
    script = (
        CLOSED
        + """
import warnings
class Broken:
    def __del__(self):
        raise ValueError("in del")
Broken()
warnings.simplefilter("always")
warnings.warn("mind this")
async def never(): pass
never()
print(len(told), "ValueError: in del" in told[0], "UserWarning: mind" in told[1], "never awaited" in told[2])
"""
    )
    assert python(script) == "3 True True True\n"


def test_time_stamps_need_no_file() -> None:
    """Seen by strace(1)'s means: the time zone is read once."""
    script = """
import os, sys, time
os.environ.pop("TZ", None)
time.tzset()
before = time.strftime("%c", time.localtime(0))
from runsc.sandbox.jail.preload import read_time_zone
read_time_zone()
print(time.strftime("%c", time.localtime(0)) == before, os.environ["TZ"])
"""
    assert python(script) == "True :/etc/localtime\n"
