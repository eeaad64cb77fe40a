"""``runsc ab``: one command under several configurations."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile

from runsc.errors import RunscError, UsageError
from runsc.flags import parse as parse_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.ab.runner import Row
    from runsc.config import Config
    from runsc.flags import Flag


class Options:
    """The flags of ``ab``."""

    __slots__ = ("html", "json", "runs", "variant", "warmup", "workload")

    def __init__(self) -> None:
        self.variant: list[str] = []
        self.runs = 10
        self.warmup = 1
        self.workload = ""
        self.json = ""
        self.html = ""


def ab(config: Config, flags: tuple[Flag, ...], words: list[str]) -> int:
    """Compare; 0. Raises ``RunscError``."""
    options = Options()
    at, _ = parse_flags(flags, words, options)
    rows = _rows(options, words[at:])
    if len(options.variant) < 2:
        raise UsageError(
            "ab compares at least two variants",
            "write --variant=platform=ptrace --variant=platform=systrap; also: native, default, runtime=PATH",
        )
    from runsc.ab import variants as known
    from runsc.ab.page import page
    from runsc.ab.report import figures, print_text
    from runsc.ab.runner import compare_variants

    variants = [known.parse(text) for text in options.variant]
    if len({variant.name for variant in variants}) != len(variants):
        raise UsageError("two variants have the same name", "put a name in front: first:platform=ptrace")
    if options.runs < 1:
        raise UsageError("--runs=0: nothing to compare", "give at least one run")
    results = []
    with tempfile.TemporaryDirectory(prefix="runsc-ab-") as scratch, _Progress() as progress:
        ours = sum(variant.ours for variant in variants)
        total = (options.runs + options.warmup) * len(variants) + ours
        for row in rows:
            step = progress.begin(row.name, total)
            compare_variants(row, variants, options.runs, options.warmup, scratch, step)
            results.append(figures(row))
    print_text(results)
    if options.json:
        _write(options.json, json.dumps(results, indent=2) + "\n")
    if options.html:
        _write(options.html, page(results))
    return 0


def _rows(options: Options, words: list[str]) -> list[Row]:
    """The commands to compare: the one on the command line, or each line ``NAME: COMMAND`` of a file."""
    from runsc.ab.runner import Row

    if not options.workload:
        if not words:
            raise UsageError("ab needs a command", "write runsc ab --variant=... -- CMD ARGS")
        return [Row(" ".join(words), words)]
    if words:
        raise UsageError("--workload and a command exclude each other", "give one of them")
    try:
        with open(options.workload, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise RunscError(f"--workload={options.workload}: {error}", "name a text file") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        name, colon, command = line.partition(":")
        argv = shlex.split(command)
        if not colon or not argv:
            raise UsageError(f"{options.workload}:{number}: not understood", "write NAME: COMMAND ARGS")
        rows.append(Row(name.strip(), argv))
    if not rows:
        raise UsageError(f"--workload={options.workload}: no commands in it", "write NAME: COMMAND ARGS")
    return rows


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise RunscError(f"{path}: {error.strerror}", "name a file that can be written") from error


class _Progress:
    """A progress bar on stderr, where that is a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True, disable=not os.isatty(2))

    def __enter__(self) -> _Progress:
        sys.stdout.flush()
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def begin(self, name: str, total: int) -> Callable[[], None]:
        """A new bar; what to call after each step."""
        task = self._bar.add_task(name, total=total)
        return lambda: self._bar.advance(task)
