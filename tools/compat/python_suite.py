"""CPython's own tests, as Debian packages them (libpython3.11-testsuite), a module a unit."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

from compat.model import ABSENT, CRASH, HANG, Outcome, Unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from compat.places import Completed, Place

PYTHON = "/usr/bin/python3.11"
LIBRARY = Path("/usr/lib/python3.11/test")
RUNNER = Path(__file__).with_name("python_runner.py")

#: What one test may take, in seconds. The longest natively take some 20.
PATIENCE = 120.0
#: How often a module is started again behind a test that hung or crashed it.
RESTARTS = 12

SETTINGS = tomllib.loads(Path(__file__).with_name("suites.toml").read_text())["python"]


class PythonSuite:
    """The modules named in suites.toml that are installed."""

    name = "python"

    def version(self) -> str:
        if not LIBRARY.joinpath("test_os.py").exists() or not os.path.exists(PYTHON):
            return ""
        done = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True)
        return f"{done.stdout.strip()}, libpython3.11-testsuite"

    def units(self) -> Sequence[Unit]:
        names: dict[str, None] = {}
        for name in SETTINGS["modules"].split():
            if name.endswith(".*"):
                package = LIBRARY / name[:-2]
                for file in sorted(package.glob("test_*.py")):
                    names[f"{name[:-2]}.{file.stem}"] = None
            elif (LIBRARY / f"{name}.py").exists() or (LIBRARY / name / "__init__.py").exists():
                names[name] = None
        return [Unit(self.name, name, seconds_for(name)) for name in names]

    def run(self, unit: Unit, place: Place, only: Sequence[str] = ()) -> dict[str, Outcome]:
        found: dict[str, Outcome] = {}
        for _ in range(RESTARTS):
            order: dict[str, Any] = {
                "module": f"test.{unit.name}",
                "done": list(found),
                "only": list(only) or None,
                "seconds": PATIENCE,
            }
            completed = place.run([PYTHON, str(RUNNER)], unit.seconds, json.dumps(order))
            if read_lines(completed, order["module"], found):
                return found
        return found


def seconds_for(name: str) -> float:
    """How long a module may take."""
    for prefix, seconds in SETTINGS["seconds"].items():
        if name.startswith(prefix):
            return float(seconds)
    return 420.0


def read_lines(completed: Completed, module: str, found: dict[str, Outcome]) -> bool:
    """Add to ``found`` what a run of the runner told; whether it got to its end."""
    running = ""
    ended = False
    before = len(found)
    for text in completed.stdout.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if "start" in line:
            running = line["start"]
        elif "end" in line:
            ended = True
        elif "id" in line:
            found[line["id"]] = Outcome(line["status"], line["detail"], line["seconds"])
            running = ""
            ended = ended or (line["status"] == "skip" and line["id"] == module)
    if ended:
        return True
    said = completed.stderr[-1500:]
    if running:
        hung = completed.code is None or "Timeout (" in completed.stderr
        found[running] = Outcome(HANG if hung else CRASH, f"exit {completed.code}: {said}")
    elif len(found) == before:
        found["(module)"] = Outcome(ABSENT, f"exit {completed.code}: {said}")
        return True
    elif completed.code is None:
        found["(module)"] = Outcome(HANG, said)
        return True
    return False
