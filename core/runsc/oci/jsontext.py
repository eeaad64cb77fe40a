"""JSON in and out, without the standard library's package: importing that takes as long as all of ``runsc
state``.

The scanner is the one that ``json`` itself uses, written in C.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Settings:
    """What the scanner asks its maker for, as ``json.JSONDecoder`` has it by default."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner clears it after each text

    @staticmethod
    def parse_constant(name: str) -> float:
        raise ValueError(f"{name} is not JSON")


_SPACE = " \t\n\r"
_scan: Any = make_scanner(_Settings())  # type: ignore[arg-type]


def loads(text: str | bytes) -> Any:
    """The value that ``text`` (UTF-8) is. Raises ValueError with what is wrong and where."""
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise ValueError(f"no JSON value at {place(text, stop.value)}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except SystemError:
        # The scanner looks for the exception's class in a package that isn't imported.
        raise ValueError(_explain(text)) from None
    if text[end:].strip(_SPACE):
        raise ValueError(f"more than one JSON value, at {place(text, end)}")
    return value


def _explain(text: str) -> str:
    """What is wrong with a text that the scanner gave up on."""
    try:
        import json
    except ImportError:
        return "malformed JSON"  # in the jail
    try:
        json.loads(text)
    except ValueError as error:
        return str(error)
    return "malformed JSON"


def place(text: str, at: int) -> str:
    """Where in ``text`` the character ``at`` is, for people."""
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def dumps(value: Any, indent: int = 0) -> str:
    """``value`` (None, bool, int, float, str, list, tuple, dict with str keys) as JSON.

    ``indent``: spaces for each level; 0 puts everything on one line.
    """
    return _text(value, indent, 0)


def _text(value: Any, indent: int, depth: int) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, dict):
        colon = ": " if indent else ":"
        items = [
            f"{encode_basestring_ascii(key)}{colon}{_text(item, indent, depth + 1)}"
            for key, item in value.items()
        ]
        return _bracketed("{", items, "}", indent, depth)
    if isinstance(value, (list, tuple)):
        return _bracketed("[", [_text(item, indent, depth + 1) for item in value], "]", indent, depth)
    raise TypeError(f"{type(value).__name__} is not a JSON type")


def _bracketed(left: str, items: list[str], right: str, indent: int, depth: int) -> str:
    if not items:
        return left + right
    if not indent:
        return left + ",".join(items) + right
    inner = "\n" + " " * indent * (depth + 1)
    return left + inner + ("," + inner).join(items) + "\n" + " " * indent * depth + right
