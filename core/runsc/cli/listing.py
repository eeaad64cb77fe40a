"""``runsc plugins`` and ``runsc syscalls``: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def columns(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of text in columns, two spaces apart; the last column is not padded."""
    table = [header, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = []
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines) + "\n"


def plugins(form: str) -> int:
    """Print every installed plugin: what it is, where it comes from, whether it works here."""
    from runsc.plugins.arbiter import survey

    reports = survey()
    if form == "json":
        _print_json(
            [
                {
                    "kind": report.entry.kind,
                    "name": report.entry.name,
                    "distribution": report.entry.distribution,
                    "version": report.entry.version,
                    "works": report.works,
                    "reason": report.reason,
                    "remedy": report.remedy,
                    "note": report.note,
                }
                for report in reports
            ]
        )
        return 0
    rows = []
    for report in reports:
        if report.works:
            verdict = f"works here: {report.note}" if report.note else "works here"
        else:
            verdict = f"no: {report.reason}: {report.remedy}"
        entry = report.entry
        rows.append((entry.kind, entry.name, entry.distribution, entry.version, " ".join(verdict.split())))
    sys.stdout.write(columns(("KIND", "NAME", "DISTRIBUTION", "VERSION", "STATUS"), rows))
    return 0


def syscalls(form: str) -> int:
    """Print every system call of x86-64, how much of it there is, and what is missing."""
    from runsc.kernel.syscalls.table import build_table

    table = sorted(build_table(), key=lambda call: call.number)
    if form == "json":
        _print_json(
            [
                {"number": call.number, "name": call.name, "support": call.support, "note": call.note}
                for call in table
            ]
        )
        return 0
    rows = [(str(call.number), call.name, call.support, call.note) for call in table]
    sys.stdout.write(columns(("NUMBER", "NAME", "SUPPORT", "NOTE"), rows))
    return 0


def _print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")
