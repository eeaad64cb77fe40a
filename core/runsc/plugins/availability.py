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


ALL_64 = 0xFFFFFFFFFFFFFFFF
ALL_32 = 0xFFFFFFFF


class ArgCheck:
    """A condition on one argument of a host call: ``arg[index] & mask`` is one of ``values``.

    Of an argument that the host's kernel takes as an int (descriptors, most flags, commands) it looks at the
    low 32 bits only: then the mask must leave out the high ones. What a pointer points to can't be checked.
    """

    __slots__ = ("index", "mask", "values")

    def __init__(self, index: int, mask: int, values: tuple[int, ...]) -> None:
        if not 0 <= index < 6 or not 0 < mask <= ALL_64:
            raise ValueError(f"no such argument, or no such bits of it: {index}, {mask:#x}")
        if not values or any(value & ~mask for value in values):
            raise ValueError(f"argument {index} is never one of {values} under the mask {mask:#x}")
        self.index = index
        self.mask = mask
        self.values = values


def argument(index: int, *values: int) -> ArgCheck:
    """A long or a pointer that is one of ``values``."""
    return ArgCheck(index, ALL_64, tuple(value & ALL_64 for value in values))


def int_argument(index: int, *values: int) -> ArgCheck:
    """An int that is one of ``values``."""
    return ArgCheck(index, ALL_32, tuple(value & ALL_32 for value in values))


def without(index: int, flags: int) -> ArgCheck:
    """An argument that has none of the bits ``flags``."""
    return ArgCheck(index, flags, (0,))


def having(index: int, flags: int) -> ArgCheck:
    """An argument that has all of the bits ``flags``."""
    return ArgCheck(index, flags, (flags,))


def descriptor(index: int) -> ArgCheck:
    """An int that isn't negative: a descriptor, and not AT_FDCWD."""
    return without(index, 0x80000000)


class HostCall:
    """One host system call that a plugin makes after the jail is closed.

    ``why`` is the justification that ``docs/`` and the reviewer read; a call
    without one is refused when the allow-list is put together. ``checks``: what must hold of its arguments,
    all of them. A call that is declared several times is allowed whenever one of its declarations fits.
    """

    __slots__ = ("checks", "name", "why")

    def __init__(self, name: str, why: str, *checks: ArgCheck) -> None:
        if not why:
            raise ValueError(f"host call {name}: say why it is needed")
        self.name = name
        self.why = why
        self.checks = checks
