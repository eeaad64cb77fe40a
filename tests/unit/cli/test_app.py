"""The typer app and the tables that ``main`` parses with agree."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from runsc.cli.app import build_app
from runsc.cli.commands import COMMANDS, CommandSpec
from runsc.config import FLAGS, Config
from runsc.flags import BOOL, INT, LIST, REPEAT, STRING, Flag
from runsc.plugins.flags import contributed

#: What click, and typer's copy of it, call the types.
TEXT = ("text", "str")
TYPES = {
    BOOL: ("boolean", "bool"),
    INT: ("integer", "int"),
    STRING: (*TEXT, "choice"),
    LIST: TEXT,
    REPEAT: TEXT,
}


@pytest.fixture(scope="module")
def group() -> Any:
    return typer.main.get_command(build_app())


def options_of(command: Any) -> dict[str, Any]:
    own = ("install_completion", "show_completion", "help")
    found = {param.name: param for param in command.params if param.param_type_name == "option"}
    return {name: param for name, param in found.items() if name not in own}


def agree(flags: tuple[Flag, ...], options: dict[str, Any], defaults: object) -> None:
    assert list(options) == [flag.attr for flag in flags]
    for flag in flags:
        option = options[flag.attr]
        spellings = {f"--{flag.name}"}
        if flag.alias:
            spellings.add(f"-{flag.alias}" if len(flag.alias) == 1 else f"--{flag.alias}")
        assert set(option.opts) == spellings
        assert not option.secondary_opts
        assert option.help == flag.help
        assert option.type.name in TYPES[flag.kind]
        assert option.multiple == (flag.kind == REPEAT)
        if flag.choices:
            assert tuple(option.type.choices) == flag.choices
        default = getattr(defaults, flag.attr)
        assert (option.default or "") == (",".join(default) if isinstance(default, list) else default or "")


def test_flags_before_the_command(group: Any) -> None:
    options = options_of(group)
    brought_along = [options.pop(flag.attr) for flag in contributed()]
    assert brought_along
    agree(FLAGS, options, Config())


def test_commands(group: Any) -> None:
    assert list(group.commands) == [spec.name for spec in COMMANDS]


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name)
def test_flags_of_commands(group: Any, spec: CommandSpec) -> None:
    from runsc.cli.app import _defaults

    agree(spec.flags, options_of(group.commands[spec.name]), _defaults(spec))
