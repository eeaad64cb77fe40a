"""Flags, declared once as a table: the argument parser, the help and the completion read the same one.

The syntax is that of Go's flag package, which callers of OCI runtimes expect: ``-x``, ``--x``, ``--x=y``,
``--x y``; a boolean takes no separate word, but ``--x=true`` and ``--x=false``; flags end at the first word
that is none, or behind ``--``; of a repeated flag the last one counts.

This module is on the way of every ``runsc state``: it imports nothing.
"""

from __future__ import annotations

from runsc.errors import UsageError, did_you_mean

BOOL = "bool"
INT = "int"
STRING = "string"
#: Names separated by commas; the value is a list.
LIST = "list"
#: May be given several times; the value is the list of all.
REPEAT = "repeat"

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class Flag:
    """One flag.

    ``attr``: the attribute of the target that it sets (the name with ``_`` by default); ``choices``: the
    values a STRING may have; ``alias``: an older spelling that works too; ``inert``: accepted because
    other runtimes have it, without effect so far, which the user is told; ``hidden``: help and completion
    don't show it; ``holder``: the attribute of the target whose attribute is set, instead of the target's
    own.
    """

    __slots__ = ("alias", "attr", "choices", "help", "hidden", "holder", "inert", "kind", "metavar", "name")

    def __init__(
        self,
        name: str,
        kind: str,
        help: str,  # noqa: A002 - the word that fits
        *,
        metavar: str = "",
        choices: tuple[str, ...] = (),
        attr: str = "",
        alias: str = "",
        inert: bool = False,
        hidden: bool = False,
        holder: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.help = help
        self.metavar = metavar
        self.choices = choices
        self.attr = attr or name.replace("-", "_")
        self.alias = alias
        self.inert = inert
        self.hidden = hidden
        self.holder = holder


class UnknownFlag(UsageError):
    """A flag that is in no table."""


class HelpWanted(Exception):
    """``-h`` or ``--help`` was met."""


def parse(flags: tuple[Flag, ...], words: list[str], target: object, start: int = 0) -> tuple[int, set[str]]:
    """Set the attributes of ``target`` from the flags in ``words[start:]``.

    Returns the index of the first word that belongs to no flag, and the names of the flags that were given.
    Raises ``UsageError``, or ``HelpWanted``.
    """
    seen: set[str] = set()
    i = start
    while i < len(words):
        word = words[i]
        if len(word) < 2 or word[0] != "-":
            break
        i += 1
        if word == "--":
            break
        text = word[2:] if word[1] == "-" else word[1:]
        name, equals, value = text.partition("=")
        if not name or name[0] == "-":
            raise UsageError(f"{word}: not a flag", "flags look like --name or --name=value")
        flag = _find(flags, name)
        if flag is None:
            if name in ("h", "help"):
                raise HelpWanted
            raise UnknownFlag(f"unknown flag --{name}", _suggest(flags, name))
        owner = getattr(target, flag.holder) if flag.holder else target
        if flag.kind == BOOL:
            setattr(owner, flag.attr, _bool(flag, value) if equals else True)
        else:
            if not equals:
                if i == len(words):
                    raise UsageError(
                        f"flag --{name} needs a value", f"write --{name}={flag.metavar or 'VALUE'}"
                    )
                value = words[i]
                i += 1
            _assign(flag, value, owner, flag.name in seen)
        seen.add(flag.name)
    return i, seen


def names(flags: tuple[Flag, ...]) -> list[str]:
    """Every spelling there is, without dashes."""
    return [name for flag in flags for name in (flag.name, flag.alias) if name]


def _find(flags: tuple[Flag, ...], name: str) -> Flag | None:
    for flag in flags:
        if name == flag.name or name == flag.alias:
            return flag
    return None


def _bool(flag: Flag, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise UsageError(
        f"--{flag.name}={value}: not a truth value", f"write --{flag.name}=true or --{flag.name}=false"
    )


def _assign(flag: Flag, value: str, target: object, again: bool) -> None:
    if flag.kind == INT:
        # Decimal digits only: int() would take " 7 ", "1_000" and digits of other scripts.
        if not (value.isascii() and value.isdigit()):
            raise UsageError(
                f"--{flag.name}={value}: not a number", f"write --{flag.name}={flag.metavar or 'N'}"
            )
        setattr(target, flag.attr, int(value))
    elif flag.kind == LIST:
        setattr(target, flag.attr, [part for part in value.split(",") if part])
    elif flag.kind == REPEAT:
        so_far = list(getattr(target, flag.attr)) if again else []
        setattr(target, flag.attr, [*so_far, value])
    else:
        if flag.choices and value not in flag.choices:
            raise UsageError(f"--{flag.name}={value}: no such choice", f"there are {', '.join(flag.choices)}")
        setattr(target, flag.attr, value)


def _suggest(flags: tuple[Flag, ...], name: str) -> str:
    return did_you_mean(name, names(flags), "--") or "'runsc help' lists the flags"
