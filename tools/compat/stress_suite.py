"""stress-ng's stressors, one by one, each with its own verification."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from compat.model import CRASH, FAIL, HANG, PASS, SKIP, Outcome, Unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from compat.places import Completed, Place

#: How long a stressor runs, and how much longer it may take to end.
SECONDS = 1
PATIENCE = 60.0

LEFT_OUT = tomllib.loads(Path(__file__).with_name("suites.toml").read_text())["stress"]["left_out"]


class StressSuite:
    """Every stressor that is safe to run natively."""

    name = "stress"

    def version(self) -> str:
        if shutil.which("stress-ng") is None:
            return ""
        done = subprocess.run(["stress-ng", "--version"], capture_output=True, text=True, check=True)
        return done.stdout.split("(")[0].strip()

    def units(self) -> Sequence[Unit]:
        done = subprocess.run(["stress-ng", "--stressors"], capture_output=True, text=True, check=True)
        names = [name for name in done.stdout.split() if name not in LEFT_OUT]
        return [Unit(self.name, name, SECONDS + PATIENCE) for name in names]

    def run(self, unit: Unit, place: Place, only: Sequence[str] = ()) -> dict[str, Outcome]:
        del only
        words = ["stress-ng", f"--{unit.name}", "1", "--verify", "--timeout", f"{SECONDS}", "--metrics"]
        return {unit.name: judge(unit.name, place.run([*words, "--oomable"], unit.seconds))}


def judge(name: str, completed: Completed) -> Outcome:
    """What one stressor's run came to. ``detail`` holds the operations a second when it passed."""
    said = completed.stdout + completed.stderr
    if completed.code is None:
        return Outcome(HANG, said[-1000:], completed.seconds)
    if re.search(r"\[\d+\] skipped: [1-9]|skipped stressor|not implemented|needs to be run with CAP", said):
        return Outcome(SKIP, said[-600:], completed.seconds)
    if completed.code == 0 and not re.search(r"\bfail:|\[\d+\] failed: [1-9]", said):
        rate = re.search(rf"metrc: \[\d+\] {name}\s+\d+\s+\S+\s+\S+\s+\S+\s+(\S+)", said)
        if rate and not float(rate[1]):
            return Outcome(FAIL, f"not one operation was done\n{said[-600:]}", completed.seconds)
        return Outcome(PASS, f"{rate[1]} ops/s" if rate else "", completed.seconds)
    status = CRASH if completed.code < 0 or completed.code > 128 else FAIL
    return Outcome(status, said[-1000:], completed.seconds)
