"""The command: ``python -m compat [SUITE[:UNIT[:TEST]]]... [--platform=P,P] [--output=DIR] [--jobs=N] ...``.

    --platform=ptrace,systrap  where to run besides natively
    --output=DIR               results.json and results.txt are written (and added to) there; .build/compat
    --retries=2                a test that differs is run again, alone, this often, everywhere
    --jobs=1                   units at once
    --flags=WORDS              more flags for runsc, before ``do``
    --reuse                    don't run natively what is in results.json already
    --list                     print the units and exit
    --page                     write docs/compatibility.md from results.json and exit
"""

from __future__ import annotations

import json
import os
import platform as machine
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from compat.model import PASS
from compat.places import native, sandbox
from compat.python_suite import PythonSuite
from compat.report import Results, differences, page, text
from compat.stress_suite import StressSuite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from compat.model import Outcome, Suite, Unit
    from compat.places import Place

TOP = Path(__file__).resolve().parents[2]
SUITES: tuple[Suite, ...] = (PythonSuite(), StressSuite())


class Options:
    """The command line, read."""

    def __init__(self, words: Sequence[str]) -> None:
        self.platforms = ["ptrace", "systrap"]
        self.output = TOP / ".build" / "compat"
        self.retries = 2
        self.jobs = 1
        self.flags: list[str] = []
        self.reuse = self.list = self.page = False
        self.chosen: list[list[str]] = []
        for word in words:
            name, equals, value = word.partition("=")
            if name == "--platform" and value:
                self.platforms = value.split(",")
            elif name == "--output" and value:
                self.output = Path(value)
            elif name in ("--retries", "--jobs") and value.isdigit():
                setattr(self, name[2:], int(value))
            elif name == "--flags" and equals:
                self.flags = value.split()
            elif word in ("--reuse", "--list", "--page"):
                setattr(self, word[2:], True)
            elif word.startswith("-"):
                raise SystemExit(f"compat: unknown option {word}\n\n{__doc__}")
            else:
                self.chosen.append(word.split(":", 2))

    def picks(self, suite: str, unit: str) -> bool:
        """Whether the unit was asked for."""
        return not self.chosen or any(
            words[0] == suite and (len(words) == 1 or fits(words[1], unit)) for words in self.chosen
        )

    def only(self, suite: str, unit: str) -> list[str]:
        """The tests of the unit that were asked for; [] for all of them."""
        return [w[2] for w in self.chosen if len(w) == 3 and w[0] == suite and fits(w[1], unit)]


def fits(pattern: str, name: str) -> bool:
    """``test_asyncio.*`` fits what begins like that."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


class Comparison:
    """One run of the command."""

    def __init__(self, options: Options) -> None:
        self.options = options
        options.output.mkdir(parents=True, exist_ok=True)
        self.results = Results(options.output / "results.json")
        self.native = native()
        self.places = [sandbox(name, options.flags) for name in options.platforms]
        self.lock = Lock()

    def unit(self, suite: Suite, unit: Unit) -> None:
        """Run one unit everywhere, run again what differs, and keep the outcomes."""
        only = self.options.only(suite.name, unit.name)
        known = self.results.data["suites"][suite.name]["units"].get(unit.name, {})
        if self.options.reuse and any("native" in places for places in known.values()):
            expected = None
        else:
            expected = suite.run(unit, self.native, only)
            self.keep(suite, unit, self.native, expected)
        for place in self.places:
            self.keep(suite, unit, place, suite.run(unit, place, only))
            self.again(suite, unit, place)

    def again(self, suite: Suite, unit: Unit, place: Place) -> None:
        """Tests that differ get another chance at both places, alone: what passes then is timing."""
        tests = self.results.data["suites"][suite.name]["units"].get(unit.name, {})
        for _ in range(self.options.retries):
            with self.lock:
                different = [test for test in differences(tests, place.name) if place.name in tests[test]]
            if not different or len(different) > 60:
                return
            for where in (self.native, place):
                outcomes = suite.run(unit, where, different)
                with self.lock:
                    for test, outcome in outcomes.items():
                        if test in tests and (where is self.native) == (outcome.status != PASS):
                            tests[test][where.name] = list(outcome)

    def keep(self, suite: Suite, unit: Unit, place: Place, outcomes: dict[str, Outcome]) -> None:
        with self.lock:
            self.results.put(suite.name, unit.name, place.name, outcomes)
            self.results.save()
        good = sum(outcome.status == PASS for outcome in outcomes.values())
        spent = sum(outcome.seconds for outcome in outcomes.values())
        what = f"{suite.name}:{unit.name}"
        print(f"{place.name:8} {what}: {good}/{len(outcomes)} pass, {spent:.1f} s", flush=True)

    def run(self) -> None:
        """Everything that was asked for."""
        work = []
        for suite in SUITES:
            version = suite.version()
            if not version:
                print(f"{suite.name}: not installed, left out", file=sys.stderr)
                continue
            self.results.suite(suite.name, version)
            work += [(suite, unit) for unit in suite.units() if self.options.picks(suite.name, unit.name)]
        if not work:
            raise SystemExit("compat: nothing to run by that name; --list shows the units")
        self.results.data["when"] = time.strftime("%Y-%m-%d", time.gmtime())
        self.results.data["machine"] = f"Linux {machine.release()}, {os.cpu_count()} CPUs"
        with ThreadPoolExecutor(self.options.jobs) as pool:
            for done in [pool.submit(self.unit, suite, unit) for suite, unit in work]:
                done.result()
        self.results.save()


def applications() -> dict[str, Any] | None:
    """What bench/apps.py found last, if it was run."""
    file = TOP / ".build" / "apps" / "results.json"
    return json.loads(file.read_text()) if file.exists() else None


def main(words: Sequence[str]) -> None:
    options = Options(words)
    if options.list:
        for suite in SUITES:
            if suite.version():
                print("\n".join(f"{suite.name}:{unit.name}" for unit in suite.units()))
        return
    comparison = Comparison(options)
    if not options.page:
        comparison.run()
        found = text(comparison.results.data)
        (options.output / "results.txt").write_text(found)
        print(found, end="")
        return
    (TOP / "docs" / "compatibility.md").write_text(page(comparison.results.data, applications()))


if __name__ == "__main__":
    main(sys.argv[1:])
