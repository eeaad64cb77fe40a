"""One benchmark program under several runtimes, side by side in one run.

    python bench/compare.py PROGRAM [ROW...] [--rounds=3] [--platform=ptrace]... [--other=RUNSC] [--json=FILE]

PROGRAM prints a JSON object a line, {"name": ..., "us": ...}, for each row it is asked for (all without
arguments); it must be static, so that it runs the same everywhere. Each round runs every runtime once, in
turn, so that a busy moment of the machine falls on all of them; the figure is the median of the rounds.
``--other`` names another OCI runtime's binary that has a ``do`` command (Debian's runsc), run with its ptrace
platform.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

OURS = Path(sys.executable).parent / "runsc"


def run(command: list[str]) -> dict[str, float]:
    """The rows that ``command`` printed, in microseconds; a row that failed is missing."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    found = {}
    for line in done.stdout.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "us" in row:
            found[row["name"]] = float(row["us"])
    return found


def main(words: list[str]) -> None:
    options = [word for word in words if word.startswith("--")]
    program, *rows = [word for word in words if not word.startswith("--")]
    rounds, platforms, other, target = 3, [], "", ""
    for option in options:
        name, _, value = option.partition("=")
        if name == "--rounds":
            rounds = int(value)
        elif name == "--platform":
            platforms.append(value)
        elif name == "--other":
            other = value
        elif name == "--json":
            target = value
        else:
            raise SystemExit(f"compare.py: unknown option {option}")
    runtimes = {"native": [program]}
    if other:
        flags = ["--rootless", "--network=none", "--platform=ptrace"]
        runtimes["other"] = [other, *flags, "do", program]
    for platform in platforms or ["ptrace"]:
        runtimes[platform] = [str(OURS), f"--platform={platform}", "do", "--", program]
    figures: dict[str, dict[str, list[float]]] = {}
    before = os.getloadavg()[0]
    for _ in range(rounds):
        for runtime, command in runtimes.items():
            for row, value in run([*command, *rows]).items():
                figures.setdefault(row, {}).setdefault(runtime, []).append(value)
    medians = {
        row: {runtime: statistics.median(values) for runtime, values in found.items()}
        for row, found in figures.items()
    }
    print(
        f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after; {os.cpu_count()} CPUs; median of {rounds}"
    )
    print(f"{'microseconds':24}" + "".join(f"{runtime:>12}" for runtime in runtimes))
    for row, found in medians.items():
        cells = [f"{found[runtime]:12.2f}" if runtime in found else f"{'-':>12}" for runtime in runtimes]
        print(f"{row:24}" + "".join(cells))
    if target:
        Path(target).write_text(json.dumps(medians, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
