"""What came of it: a table for people, JSON for programs."""

from __future__ import annotations

from runsc.ab.stats import FEWEST, compare, interval, median

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from runsc.ab.runner import Row, Run

#: How wide tables are in a file.
_WIDTH = 150
#: How many system calls of a split are shown.
TOP = 8


def figures(row: Row) -> dict[str, Any]:
    """Everything about a row, as plain data. The first variant is the baseline of the others."""
    names = list(row.runs)
    baseline = _walls(row.runs[names[0]])
    variants = []
    for name in names:
        runs = row.runs[name]
        walls = _walls(runs)
        low, high = interval(walls) if len(walls) >= FEWEST else (min(walls), max(walls))
        against = compare(walls, baseline)
        variants.append(
            {
                "name": name,
                "wall": {"median": median(walls), "low": low, "high": high, "runs": walls},
                "cpu": median([run.cpu_user + run.cpu_system for run in runs]),
                "peak": median([run.peak for run in runs]),
                "switches": median([run.switches for run in runs]),
                "ratio": against.ratio,
                "ratio_low": against.low,
                "ratio_high": against.high if against.high != float("inf") else None,
                "verdict": "baseline" if name == names[0] else against.verdict,
                "split": row.split.get(name),
            }
        )
    return {"name": row.name, "command": row.argv, "baseline": names[0], "variants": variants}


def _walls(runs: Sequence[Run]) -> list[float]:
    return [run.wall for run in runs]


def seconds(value: float) -> str:
    """A time with three digits."""
    if value < 1e-3:
        return f"{value * 1e6:.3g} us"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s"


def print_text(results: Sequence[dict[str, Any]]) -> None:
    """Tables on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    for result in results:
        table = Table(title=result["name"], title_justify="left")
        table.add_column("variant")
        for column in (
            "median",
            "95 % interval",
            "CPU",
            "largest process",
            "switches",
            "ratio",
            "calls",
        ):
            table.add_column(column, justify="right")
        table.add_column("verdict")
        for variant in result["variants"]:
            wall, split = variant["wall"], variant["split"]
            table.add_row(
                variant["name"],
                seconds(wall["median"]),
                f"{seconds(wall['low'])} - {seconds(wall['high'])}",
                seconds(variant["cpu"]),
                f"{variant['peak'] / 1048576:.1f} MiB",
                f"{variant['switches']:.0f}",
                f"{variant['ratio']:.2f}",
                "" if split is None else str(split["calls"]),
                variant["verdict"],
            )
        console.print(table)
        split_table = _split_table(result)
        if split_table is not None:
            console.print(split_table)


def _split_table(result: dict[str, Any]) -> Any:
    """Where the time of runsc's own variants goes, call by call; None if there are none."""
    from rich.table import Table

    ours = [variant for variant in result["variants"] if variant["split"] is not None]
    if not ours:
        return None
    table = Table(title="processor time by system call: handler in us (count)", title_justify="left")
    table.add_column("")
    for variant in ours:
        table.add_column(variant["name"], justify="right")
    totals: dict[str, float] = {}
    for variant in ours:
        for name, call in variant["split"]["syscalls"].items():
            totals[name] = max(totals.get(name, 0.0), call["handler"])
    for name in sorted(totals, key=lambda name: -totals[name])[:TOP]:
        cells = []
        for variant in ours:
            call = variant["split"]["syscalls"].get(name)
            cells.append(
                "" if call is None else f"{call['handler'] * 1e6 / call['count']:.1f} ({call['count']})"
            )
        table.add_row(name, *cells)
    table.add_section()
    for label, key in (("all handlers, us a call", "handler_us"), ("switch, us a call", "switch_us")):
        table.add_row(label, *[f"{variant['split'][key]:.1f}" for variant in ours])
    for label, key in (("guest", "guest"), ("handlers", "handler"), ("switch", "switch")):
        table.add_row(label, *[seconds(variant["split"][key]) for variant in ours])
    return table
