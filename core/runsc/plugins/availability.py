"""The answer to "does this plugin work on this machine?"."""

from __future__ import annotations


class Availability:
    """What a plugin's ``check()`` answers.

    ``works`` False needs a ``reason`` (what is missing, one sentence) and a
    ``remedy`` (what the user can do about it, one sentence); both are shown to
    the user as they stand.  ``note`` says something worth knowing of a plugin
    that does work (for example which of two ways it took).
    """

    __slots__ = ("note", "reason", "remedy", "works")

    def __init__(self, works: bool, reason: str = "", remedy: str = "", note: str = "") -> None:
        if not works and not (reason and remedy):
            raise ValueError("an unavailable plugin must say why, and what to do about it")
        self.works = works
        self.reason = reason
        self.remedy = remedy
        self.note = note

    @classmethod
    def yes(cls, note: str = "") -> Availability:
        return cls(True, note=note)

    @classmethod
    def no(cls, reason: str, remedy: str) -> Availability:
        return cls(False, reason, remedy)

    def __repr__(self) -> str:
        return f"Availability({self.works}, {self.reason or self.note!r})"


class HostCall:
    """One host system call that a plugin makes after the jail is closed.

    ``why`` is the justification that ``docs/`` and the reviewer read; a call
    without one is refused when the allow-list is put together.
    """

    __slots__ = ("name", "why")

    def __init__(self, name: str, why: str) -> None:
        if not why:
            raise ValueError(f"host call {name}: say why it is needed")
        self.name = name
        self.why = why
