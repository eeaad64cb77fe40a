"""The message that the sandbox's process leaves."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runsc.sandbox import report


def through_a_pipe(*fields: str) -> list[str]:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    try:
        report.write(writer, *fields)
        return report.read(reader)
    finally:
        os.close(reader)
        os.close(writer)


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=50), min_size=1, max_size=4))
def test_what_goes_in_comes_out(fields: list[str]) -> None:
    assert through_a_pipe(*fields) == fields


def test_bytes_that_are_no_text() -> None:
    assert through_a_pipe("error", os.fsdecode(b"a\xff\\n\n")) == ["error", os.fsdecode(b"a\xff\\n\n")]


def test_nothing_was_written() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    assert report.read(reader) == []
    os.close(writer)
    assert report.read(reader) == []
    os.close(reader)


@pytest.mark.parametrize("size", [70000, 1_000_000])
def test_too_long_a_message_is_cut(size: int) -> None:
    fields = through_a_pipe("bug", "short", "x" * size, "y")
    assert fields == ["bug", "short"]
