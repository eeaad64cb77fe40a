"""Names of ``typing`` that are needed at run time, without importing it: that takes 5 ms of every start.

To a type checker they are the real ones. At run time they do the little that their users need.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated, Protocol, cast
else:

    class _Marked:
        """What ``Annotated[type, mark]`` is at run time: something with the mark in ``__metadata__``."""

        __slots__ = ("__metadata__",)

        def __init__(self, marks):
            self.__metadata__ = marks

    class Annotated:
        def __class_getitem__(cls, item):
            return _Marked(item[1:])

    class Protocol:
        """A base without behaviour."""

        __slots__ = ()

    def cast(_type, value):
        return value


__all__ = ["Annotated", "Protocol", "cast"]
