"""A JSON object with its place in the document: what is read out of it is checked on the way.

Whatever is wrong is told by its JSON path, as in ``$.process.user.uid: expected a number, found "x"``.
Fields that nobody asks for are ignored, as the runtime specification wants it.
"""

from __future__ import annotations

from runsc.errors import RunscError
from runsc.oci.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

UINT32 = 0xFFFFFFFF
UINT64 = 0xFFFFFFFFFFFFFFFF
INT64 = 0x7FFFFFFFFFFFFFFF


class SpecError(RunscError):
    """A document (config.json...) breaks its format; ``path``: where."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


def show(value: Any) -> str:
    """A value for a message, cut short."""
    text = dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def wrong(path: str, expected: str, value: Any) -> SpecError:
    return SpecError(path, f"expected {expected}, found {show(value)}")


class Node:
    """An object; ``path``: its JSON path."""

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: str = "$") -> None:
        if not isinstance(value, dict):
            raise wrong(path, "an object", value)
        self.value = value
        self.path = path

    def of(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}"

    def missing(self, name: str) -> SpecError:
        return SpecError(self.of(name), "is missing")

    def has(self, name: str) -> bool:
        """Is the field there? ``null`` counts as absent, as for Go programs, which wrote most documents."""
        return self.value.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a ``default`` it must be there."""
        value = self.value.get(name, default)
        if value is None:
            if default is None:
                raise self.missing(name)
            return default
        if not isinstance(value, str):
            raise wrong(self.of(name), "a string", value)
        if "\0" in value:
            raise SpecError(self.of(name), "holds a NUL character")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.value.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise wrong(self.of(name), "true or false", value)
        return value

    def number(self, name: str, low: int, high: int) -> int | None:
        """An integer from ``low`` to ``high``, or None where there is none."""
        value = self.value.get(name)
        if value is None:
            return None
        return _number(value, self.of(name), low, high)

    def needed(self, name: str, low: int, high: int) -> int:
        """An integer that must be there."""
        value = self.number(name, low, high)
        if value is None:
            raise self.missing(name)
        return value

    def child(self, name: str) -> Node | None:
        """An object, or None where there is none."""
        value = self.value.get(name)
        return None if value is None else Node(value, self.of(name))

    def parsed(self, name: str, parse: Callable[[Node], T]) -> T | None:
        """An object, given to ``parse``."""
        node = self.child(name)
        return None if node is None else parse(node)

    def items(self, name: str) -> list[tuple[Any, str]]:
        """The elements of an array, each with its path; none where there is no array."""
        value = self.value.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong(self.of(name), "an array", value)
        return [(item, f"{self.of(name)}[{i}]") for i, item in enumerate(value)]

    def texts(self, name: str) -> list[str]:
        """An array of strings."""
        found = []
        for item, path in self.items(name):
            if not isinstance(item, str):
                raise wrong(path, "a string", item)
            if "\0" in item:
                raise SpecError(path, "holds a NUL character")
            found.append(item)
        return found

    def numbers(self, name: str, low: int, high: int) -> list[int]:
        """An array of integers."""
        return [_number(item, path, low, high) for item, path in self.items(name)]

    def children(self, name: str, parse: Callable[[Node], T]) -> list[T]:
        """An array of objects, each given to ``parse``."""
        return [parse(Node(item, path)) for item, path in self.items(name)]

    def mapping(self, name: str) -> dict[str, str]:
        """An object whose fields are all strings."""
        node = self.child(name)
        if node is None:
            return {}
        for key, value in node.value.items():
            if not isinstance(value, str):
                raise wrong(node.of(key), "a string", value)
        return dict(node.value)

    def absolute(self, name: str, default: str | None = None) -> str:
        """A path that starts with a slash."""
        path = self.text(name, default)
        if not path.startswith("/"):
            raise SpecError(self.of(name), f"expected an absolute path, found {show(path)}")
        return path


def _number(value: Any, path: str, low: int, high: int) -> int:
    # true and false are ints to Python; 3.0 is an integer to JSON, and some writers make it of 3.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(path, "an integer", value)
    if not low <= value <= high:
        raise SpecError(path, f"expected an integer from {low} to {high}, found {value}")
    return value
