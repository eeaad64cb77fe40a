"""What a run found, as JSON, as text, and as the page docs/compatibility.md."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from compat.model import PASS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from compat.model import Outcome

REASONS = Path(__file__).with_name("reasons.toml")


class Results:
    """suite -> unit -> test -> place -> outcome, kept in a JSON file that a later run adds to."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.data: dict[str, Any] = {"suites": {}}
        if file.exists():
            self.data = json.loads(file.read_text())

    def suite(self, name: str, version: str) -> dict[str, Any]:
        found: dict[str, Any] = self.data["suites"].setdefault(name, {"version": version, "units": {}})
        found["version"] = version
        return found

    def put(self, suite: str, unit: str, place: str, outcomes: dict[str, Outcome]) -> None:
        """Replace what is known of a unit at a place."""
        tests = self.data["suites"][suite]["units"].setdefault(unit, {})
        for places in tests.values():
            places.pop(place, None)
        for test, outcome in outcomes.items():
            tests.setdefault(test, {})[place] = list(outcome)
        for test in [test for test, places in tests.items() if not places]:
            del tests[test]

    def save(self) -> None:
        scratch = self.file.with_suffix(".new")
        scratch.write_text(json.dumps(self.data, indent=1, sort_keys=True) + "\n")
        scratch.rename(self.file)


def differs(places: dict[str, Sequence[Any]], place: str) -> bool:
    """Whether a test that passes natively does not pass at ``place``."""
    expected = places.get("native")
    return expected is not None and expected[0] == PASS and places.get(place, ["absent"])[0] != PASS


def differences(tests: dict[str, dict[str, Sequence[Any]]], place: str) -> list[str]:
    """The tests of a unit that differ at ``place``."""
    return sorted(test for test, places in tests.items() if differs(places, place))


def places_of(suite: dict[str, Any]) -> list[str]:
    """The places that a suite was run at, native first."""
    names = {name for tests in suite["units"].values() for places in tests.values() for name in places}
    return sorted(names, key=lambda name: (name != "native", name))


def text(data: dict[str, Any], details: bool = True) -> str:
    """For a terminal: counts for each suite and place, then what differs."""
    lines = []
    for name, suite in sorted(data["suites"].items()):
        for place in places_of(suite):
            lines.append(f"{name} ({suite['version']}) at {place}: {summary(suite, place)}")
        for place in places_of(suite)[1:]:
            for unit, tests in sorted(suite["units"].items()):
                for test in differences(tests, place):
                    status, detail = [*tests[test].get(place, ["absent", ""])][:2]
                    lines.append(f"  {place} {name}:{unit} {test}: {status}")
                    if details:
                        lines.extend(f"      {line}" for line in detail.strip().splitlines()[-4:])
    return "\n".join(lines) + "\n"


def summary(suite: dict[str, Any], place: str) -> str:
    """Counts of one suite at one place."""
    counts: Counter[str] = Counter()
    different = 0
    for tests in suite["units"].values():
        for places in tests.values():
            if place in places:
                counts[places[place][0]] += 1
            different += place != "native" and place in known(tests) and differs(places, place)
    words = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return words + (f"; {different} differ from native" if place != "native" else "")


def known(tests: dict[str, dict[str, Any]]) -> set[str]:
    """The places at which a unit was run at all."""
    return {name for places in tests.values() for name in places}


def reasons() -> list[dict[str, str]]:
    """The table of reasons: what is known to differ, and why."""
    found: list[dict[str, str]] = tomllib.loads(REASONS.read_text())["difference"]
    return found


def reason_for(table: Iterable[dict[str, str]], suite: str, unit: str, test: str, place: str) -> str:
    """The reason for a difference; "" if nobody wrote one down."""
    for row in table:
        if row["suite"] == suite and row["test"] in (unit, test) and row.get("place", place) == place:
            return row["reason"]
    return ""


def page(data: dict[str, Any], applications: dict[str, Any] | None) -> str:
    """docs/compatibility.md."""
    table = reasons()
    lines = [
        "# What runs",
        "",
        "Programs that other people wrote, run natively and in a sandbox in one run, and compared test by",
        "test. A test counts if it passes natively, in namespaces like a container's. This page is generated",
        f"by `make compat` (`tools/compat`) from its last run: {data['when']}, {data['machine']}.",
        "",
    ]
    for name, suite in sorted(data["suites"].items()):
        places = places_of(suite)
        lines += [f"## {name}: {suite['version']}", "", "| where | outcome |", "| --- | --- |"]
        lines += [f"| {place} | {summary(suite, place)} |" for place in places]
        lines += ["", "What differs, and why:", ""]
        rows: dict[tuple[str, str], list[str]] = {}
        for place in places[1:]:
            for unit, tests in sorted(suite["units"].items()):
                for test in differences(tests, place):
                    why = reason_for(table, name, unit, test, place)
                    status = tests[test].get(place, ["absent"])[0]
                    shown = f"`{test}`: {status}. {why or 'Not explained yet.'}"
                    rows.setdefault((unit, shown), []).append(place)
        for (_, shown), where in sorted(rows.items()):
            lines.append(f"- {', '.join(where)}: {shown}")
        if not rows:
            lines.append("Nothing.")
        lines.append("")
    if applications:
        lines += application_table(applications)
    return "\n".join(lines)


def application_table(results: dict[str, Any]) -> list[str]:
    """The applications, as bench/apps.py measured them."""
    runtimes = results["runtimes"]
    lines = ["## Applications", "", results.get("when", ""), ""]
    lines.append("| application | what | " + " | ".join(runtimes) + " |")
    lines.append("| --- " * (2 + len(runtimes)) + "|")
    for row in results["rows"]:
        cells = [str(row["figures"].get(runtime, "")) for runtime in runtimes]
        lines.append(f"| {row['application']} | {row['what']} | " + " | ".join(cells) + " |")
    return [*lines, ""]
