"""Running the variants in turn: A B C, A B C..., so that what the machine does meanwhile hits all of them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from random import Random

from runsc.errors import RunscError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from runsc.ab.variants import Variant

#: A run that takes longer hangs.
PATIENCE = 3600.0


class Run:
    """One run: times in seconds; ``cpu`` of all its processes, ``peak`` of the largest of them, in bytes."""

    __slots__ = ("cpu_system", "cpu_user", "peak", "switches", "wall")

    def __init__(self, wall: float, cpu_user: float, cpu_system: float, peak: int, switches: int) -> None:
        self.wall = wall
        self.cpu_user = cpu_user
        self.cpu_system = cpu_system
        self.peak = peak
        self.switches = switches


class Row:
    """All runs of one command: ``runs`` by variant; ``split``: where the time of ours goes, as measured."""

    __slots__ = ("argv", "name", "runs", "split")

    def __init__(self, name: str, argv: list[str]) -> None:
        self.name = name
        self.argv = argv
        self.runs: dict[str, list[Run]] = {}
        self.split: dict[str, dict[str, Any]] = {}


def compare_variants(
    row: Row,
    variants: Sequence[Variant],
    runs: int,
    warmup: int,
    scratch: str,
    progress: Callable[[], None],
) -> None:
    """Fill ``row`` in. ``progress`` is called after each run. Raises ``RunscError`` if a run fails."""
    random = Random(len(row.argv))
    row.runs = {variant.name: [] for variant in variants}
    for number in range(-warmup, runs):
        # In another order each time: a run may profit from, or pay for, what the one before it left.
        for variant in random.sample(variants, len(variants)):
            run = run_once(variant, row.argv, scratch)
            if number >= 0:
                row.runs[variant.name].append(run)
            progress()
    for variant in variants:
        if variant.ours:
            row.split[variant.name] = measure_split(variant, row.argv, scratch)
            progress()


def run_once(variant: Variant, argv: Sequence[str], scratch: str, extra: Sequence[str] = ()) -> Run:
    """One run. Raises ``RunscError`` with the last lines of its output if it fails."""
    words = variant.command(argv, scratch, extra)
    output = os.path.join(scratch, "output")
    with open(output, "wb") as file:
        started = time.perf_counter()
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        _pid, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        with open(output, encoding="utf-8", errors="replace") as text:
            last = " / ".join(text.read().strip().splitlines()[-3:]) or "no output"
        raise RunscError(
            f"{variant.name}: the command ended with {process.returncode}: {last}",
            "make sure that it works under this variant, and ends with 0",
        )
    return Run(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024, usage.ru_nvcsw + usage.ru_nivcsw)


def measure_split(variant: Variant, argv: Sequence[str], scratch: str) -> dict[str, Any]:
    """Where the time goes, from one more run with the observer ``measure``.

    ``guest``: the program's own computing; ``handler``: the kernel's handlers; ``switch``: everything between
    the two, on both sides (the platform, the host's kernel, the loop). Seconds of processor time, and
    microseconds a call. The observer itself costs some microseconds a call, which stand under ``switch``.
    """
    path = os.path.join(scratch, "figures.json")
    run_once(variant, argv, scratch, [f"--observer=measure:{path}"])
    with open(path, encoding="utf-8") as file:
        record: dict[str, Any] = json.load(file)
    calls = record["syscalls"]
    count = sum(call["count"] for call in calls.values())
    handler = sum(call["handler"] for call in calls.values())
    switch = max(0.0, record["kernel_cpu"] - handler) + record["guest_system"]
    each = 1e6 / max(count, 1)
    return {
        "guest": record["guest_user"],
        "handler": handler,
        "switch": switch,
        "calls": count,
        "handler_us": handler * each,
        "switch_us": switch * each,
        "syscalls": calls,
    }
