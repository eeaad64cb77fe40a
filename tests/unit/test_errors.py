"""How runsc tells of its own failures."""

from __future__ import annotations

from runsc.errors import RunscError, trace


def test_what_and_remedy_are_one_line() -> None:
    assert str(RunscError("it\nbroke", "mend it")) == "it broke: mend it"


def test_a_trace_names_the_frames_and_the_cause() -> None:
    def inner() -> None:
        raise ValueError("no")

    def outer() -> None:
        try:
            inner()
        except ValueError as error:
            raise RuntimeError("so not either") from error

    try:
        outer()
    except RuntimeError as error:
        lines = trace(error).splitlines()
    assert [line.rpartition(" in ")[2].rpartition(".")[2] for line in lines if " in " in line] == [
        "outer",
        "inner",
        "test_a_trace_names_the_frames_and_the_cause",
        "outer",
    ]
    assert "ValueError: no" in lines
    assert lines[-1] == "RuntimeError: so not either"
