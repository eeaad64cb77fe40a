"""The typer app: help, shell completion, and the commands that people call.

It is built from the same tables that ``main`` parses with. ``main`` has dealt with the flags before the
command when it gets here, so those are here to be shown and completed.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from runsc.cli.commands import COMMANDS, INSPECTING, CommandSpec
from runsc.cli.listing import plugins, syscalls
from runsc.config import FLAGS, Config
from runsc.errors import UsageError
from runsc.flags import BOOL, INT, LIST, REPEAT, Flag
from runsc.plugins.flags import contributed

if TYPE_CHECKING:
    from collections.abc import Callable

ABOUT = "An application kernel for containers: runs programs so that they never talk to the host's kernel."


#: What a flag of a plugin's is, when it is not given and has no choices.
_EMPTY: dict[str, object] = {BOOL: False, INT: 0, LIST: [], REPEAT: []}


def run_app(config: Config, words: list[str]) -> int:
    """Run the app with these words; the exit code. Raises ``RunscError``."""
    try:
        result = build_app()(words, prog_name="runsc", obj=config, standalone_mode=False)
    except typer.Exit as finished:
        return finished.exit_code
    except Exception as error:
        # typer's errors come from click, or from its own copy of it: told apart by what they can do.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        raise UsageError(str(message()).rstrip("."), "'runsc help' shows how it is written") from None
    return result if isinstance(result, int) else 0


def build_app() -> typer.Typer:
    """The app, with one command for each line of ``COMMANDS``."""
    app = typer.Typer(
        help=ABOUT,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    app.callback()(_with_parameters(_before, (*FLAGS, *contributed()), Config()))
    for spec in COMMANDS:
        text = spec.help if spec.ready else f"{spec.help} (Not implemented yet.)"
        settings = {"allow_interspersed_args": False, "ignore_unknown_options": True}
        function = _with_parameters(_body(spec), spec.flags, _defaults(spec), spec.usage)
        app.command(spec.name, help=text, short_help=text, context_settings=settings)(function)
    return app


def _before(**_values: object) -> None:
    """The flags before the command: ``main`` has taken them."""


def _body(spec: CommandSpec) -> Callable[..., int]:
    if spec.name == "plugins":
        return lambda **values: plugins(values["format"])
    if spec.name == "syscalls":
        return lambda **values: syscalls(values["format"])

    def unreachable(**_values: object) -> int:
        raise RuntimeError(f"the command {spec.name} is run by main itself")

    return unreachable


class _Formats:
    """The default of ``--format``."""

    format = "text"


def _defaults(spec: CommandSpec) -> object:
    if spec.name in ("do", "profile"):
        from runsc.cli.do import Options

        return Options()
    if spec.name == "ab":
        from runsc.cli.ab import Options as AbOptions

        return AbOptions()
    if spec.name in ("kill", "delete", "create", "run"):
        from runsc.cli.lifecycle import Options as LifecycleOptions

        return LifecycleOptions()
    if spec.name == "exec":
        from runsc.cli.execute import Options as ExecOptions

        return ExecOptions()
    if spec.name in INSPECTING:
        from runsc.cli.inspect import Options as InspectOptions

        return InspectOptions()
    return _Formats()


def _with_parameters(
    function: Callable[..., Any], flags: tuple[Flag, ...], defaults: object, usage: str = ""
) -> Callable[..., Any]:
    """``function`` with a signature that typer reads: one option for each flag, and the words behind."""
    parameters = [_parameter(flag, getattr(defaults, flag.attr, _empty(flag))) for flag in flags]
    if usage:
        annotation = Annotated[list[str], typer.Argument(hidden=True, metavar=usage)]
        parameters.append(inspect.Parameter("words", inspect.Parameter.KEYWORD_ONLY, annotation=annotation))
    typed = cast("Any", function)
    typed.__signature__ = inspect.Signature(parameters)
    typed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def _empty(flag: Flag) -> object:
    """What help shows as the default of a plugin's flag: the plugin takes the first of its choices."""
    return flag.choices[0] if flag.choices else _EMPTY.get(flag.kind, "")


def _parameter(flag: Flag, default: object) -> inspect.Parameter:
    kind: Any
    if flag.kind == BOOL:
        kind = bool
    elif flag.kind == INT:
        kind = int
    elif flag.kind == REPEAT:
        kind = list[str]
    elif flag.choices:
        kind = Literal.__getitem__(flag.choices)
    else:
        kind = str
    if isinstance(default, list) and flag.kind != REPEAT:
        default = ",".join(default)
    names = [f"--{flag.name}"]
    if flag.alias:
        names.append(f"-{flag.alias}" if len(flag.alias) == 1 else f"--{flag.alias}")
    shown = flag.kind != BOOL and default not in ("", [])
    option = typer.Option(
        *names, help=flag.help, metavar=flag.metavar or None, show_default=shown, hidden=flag.hidden
    )
    return inspect.Parameter(
        flag.attr, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind, option], default=default
    )
