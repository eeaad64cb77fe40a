"""The entry point: reads the flags, and runs the commands that must start fast without the typer app.

What is imported here is imported by every ``runsc state`` that a container engine calls; so nothing is but
the tables and the parser. (``import typing`` alone takes as long as all of them.)
"""

from __future__ import annotations

import os
import sys
import time

from runsc import __version__
from runsc.cli.commands import COMMANDS, INSPECTING, command
from runsc.config import FLAGS, Config
from runsc.errors import RunscError, UsageError, did_you_mean
from runsc.flags import HelpWanted, UnknownFlag, parse
from runsc.log import ERROR, Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: The version of the OCI runtime specification that is followed.
OCI_SPEC = "1.2.0"

#: runsc's own failures; a program's exit codes go up to 127, and 128+n is for signals.
EXIT_FAILURE = 128


def main() -> NoReturn:
    """Run ``sys.argv`` and end the process with its exit code."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = EXIT_FAILURE + 13  # the reader has gone: as if by SIGPIPE
    except KeyboardInterrupt:
        code = EXIT_FAILURE + 2
    # Taking the interpreter down in good order takes a millisecond, and nothing needs it.
    os._exit(code)


def run(words: list[str]) -> int:
    """Do what the command line says; the exit code."""
    config = Config()
    try:
        return _run(config, words)
    except RunscError as error:
        _complain(config, error)
        return EXIT_FAILURE
    except Exception as error:
        if config.debug:
            raise
        what = f"internal error: {type(error).__name__}: {error}"
        _complain(config, RunscError(what, "run it again with --debug to see where"))
        return EXIT_FAILURE


def _run(config: Config, words: list[str]) -> int:
    started = time.time()
    if "_RUNSC_COMPLETE" in os.environ or (
        words and words[0] in ("--install-completion", "--show-completion")
    ):
        return _app(config, words)
    try:
        at, seen = _parse(words, config)
    except HelpWanted:
        return _app(config, ["--help"])
    if config.version:
        print(f"runsc version {__version__}\nspec: {OCI_SPEC}")
        return 0
    config.validate()
    for line in config.warnings(seen):
        print(f"runsc: warning: {line}", file=sys.stderr)
    if at == len(words):
        raise UsageError("no command given", "'runsc help' lists them")
    name = words[at]
    rest = words[at + 1 :]
    if name == "help":
        return _app(config, [*rest[:1], "--help"])
    spec = command(name)
    if spec is None:
        hint = did_you_mean(name, ["help", *(known.name for known in COMMANDS)])
        raise UsageError(f"unknown command {name!r}", hint or "'runsc help' lists them")
    if "-h" in rest[:1] or "--help" in rest[:1]:
        return _app(config, [name, "--help"])
    if not spec.ready:
        raise RunscError(f"the command {name} is not implemented yet", "'runsc help' lists what there is")
    try:
        if name == "do":
            from runsc.cli.do import do

            return do(config, spec.flags, rest, started)
        if name == "ab":
            from runsc.cli.ab import ab

            return ab(config, spec.flags, rest)
        if name == "profile":
            from runsc.cli.profile import profile

            return profile(config, spec.flags, rest, started)
        if name in ("state", "kill", "delete", "create", "start", "run"):
            from runsc.cli import lifecycle

            return lifecycle.command(config, spec, rest, started)
        if name == "exec":
            from runsc.cli import execute

            return execute.command(config, spec, rest, started)
        if name in INSPECTING:
            from runsc.cli import inspect

            return inspect.command(config, spec, rest, started)
    except HelpWanted:
        return _app(config, [name, "--help"])
    return _app(config, words[at:])


def _parse(words: list[str], config: Config) -> tuple[int, set[str]]:
    """The flags before the command; those that plugins brought along only if one is met."""
    try:
        return parse(FLAGS, words, config)
    except UnknownFlag:
        from runsc.plugins.flags import contributed

        return parse((*FLAGS, *contributed()), words, config)


def _app(config: Config, words: list[str]) -> int:
    from runsc.cli.app import run_app

    return run_app(config, words)


def _complain(config: Config, error: RunscError) -> None:
    """One line on stderr, and in the caller's log; a traceback if it was asked for."""
    if config.debug:
        import traceback

        trace = getattr(error, "traceback", "")
        sys.stderr.write(trace or "".join(traceback.format_exception(error)))
    sys.stderr.write(f"runsc: {error}\n")
    if config.log:
        try:
            log = Log.open(config, "error")
        except RunscError as second:
            sys.stderr.write(f"runsc: {second}\n")
        else:
            log.user_line(ERROR, str(error))
