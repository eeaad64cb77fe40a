"""How runsc itself fails: with what is wrong, and what to do about it."""

from __future__ import annotations


class RunscError(Exception):
    """runsc can't do what it was asked to.

    ``what`` says what is wrong, ``remedy`` what the user can do about it (may be empty where ``what``
    already says it). Both are plain words without a final full stop; the user sees
    ``runsc: what: remedy`` on one line.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.what}: {self.remedy}" if self.remedy else self.what
        # One line, whatever a name or a host's message brought in.
        return " ".join(text.split("\n"))


def trace(error: BaseException) -> str:
    """Where an exception came from, a line for each frame, the innermost last, and what it says.

    Not the standard library's traceback: that imports its way to re and tokenize (10 ms of a start), and
    opens source files, which a closed sandbox can't.
    """
    lines = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines.append(trace(cause))
        lines.append("which led to:")
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{step.tb_lineno} in {code.co_qualname}")
        step = step.tb_next
    lines.append(f"{type(error).__name__}: {error}")
    return "\n".join(lines)


class UsageError(RunscError):
    """The command line can't be understood."""


def nearest(word: str, known: list[str]) -> list[str]:
    """``known``, the names most like ``word`` first.

    Imports difflib, which is slow: for the way out only.
    """
    from difflib import SequenceMatcher

    return sorted(known, key=lambda name: (-SequenceMatcher(None, word, name).ratio(), name))


def did_you_mean(word: str, known: list[str], prefix: str = "") -> str:
    """``did you mean X?`` for the known name most like ``word``, or an empty string if none is."""
    from difflib import get_close_matches

    found = get_close_matches(word, known, 1, 0.6)
    return f"did you mean {prefix}{found[0]}?" if found else ""
