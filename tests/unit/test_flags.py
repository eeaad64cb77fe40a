"""The flag parser, against the rules of Go's flag package."""

from __future__ import annotations

import pytest

from runsc.errors import UsageError
from runsc.flags import BOOL, INT, LIST, REPEAT, STRING, Flag, HelpWanted, parse

FLAGS = (
    Flag("quick", BOOL, ""),
    Flag("count", INT, ""),
    Flag("where", STRING, "", alias="place"),
    Flag("form", STRING, "", choices=("text", "json")),
    Flag("only", LIST, ""),
    Flag("env", REPEAT, ""),
)


class Target:
    def __init__(self) -> None:
        self.quick = False
        self.count = 7
        self.where = "here"
        self.form = "text"
        self.only: list[str] = []
        self.env: list[str] = ["default"]


def read(*words: str) -> tuple[Target, list[str], set[str]]:
    target = Target()
    at, seen = parse(FLAGS, list(words), target)
    return target, list(words[at:]), seen


@pytest.mark.parametrize("word", ["-quick", "--quick", "--quick=true", "-quick=1", "--quick=T"])
def test_boolean_needs_no_value(word: str) -> None:
    target, rest, seen = read(word, "false", "x")
    assert target.quick
    assert rest == ["false", "x"]
    assert seen == {"quick"}


@pytest.mark.parametrize("value", ["0", "f", "F", "false", "FALSE", "False"])
def test_boolean_can_be_false(value: str) -> None:
    assert not read("--quick", f"--quick={value}")[0].quick


@pytest.mark.parametrize("words", [("-where", "a=b"), ("--where", "a=b"), ("--where=a=b",), ("--place=a=b",)])
def test_value_is_joined_or_the_next_word(words: tuple[str, ...]) -> None:
    target, rest, seen = read(*words, "cmd")
    assert target.where == "a=b"
    assert rest == ["cmd"]
    assert seen == {"where"}


def test_a_value_may_look_like_a_flag_and_be_empty() -> None:
    assert read("--where", "--quick")[0].where == "--quick"
    assert read("--where=")[0].where == ""


def test_flags_end_at_the_first_other_word() -> None:
    assert read("cmd", "--quick")[1] == ["cmd", "--quick"]
    assert read("-", "--quick")[1] == ["-", "--quick"]
    assert read("", "--quick")[1] == ["", "--quick"]


def test_two_dashes_end_flags_and_are_eaten() -> None:
    target, rest, _ = read("--", "--quick", "--")
    assert rest == ["--quick", "--"]
    assert not target.quick


def test_the_last_one_counts() -> None:
    assert read("--count=1", "--count=2")[0].count == 2


def test_lists_and_repeated_flags() -> None:
    target = read("--only=a,b,,c", "--env=A=1", "--env", "B=2")[0]
    assert target.only == ["a", "b", "c"]
    assert target.env == ["A=1", "B=2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--quik",), "unknown flag --quik: did you mean --quick?"),
        (("--zzz",), "unknown flag --zzz: 'runsc help' lists the flags"),
        (("--quick=perhaps",), "--quick=perhaps: not a truth value: write --quick=true or --quick=false"),
        (("--count=-1",), "--count=-1: not a number: write --count=N"),
        (("--count= 1",), "--count= 1: not a number: write --count=N"),
        (("--count=1_0",), "--count=1_0: not a number: write --count=N"),
        (("--count=\u0663",), "--count=\u0663: not a number: write --count=N"),
        (("--count",), "flag --count needs a value: write --count=VALUE"),
        (("--form=xml",), "--form=xml: no such choice: there are text, json"),
        (("---quick",), "---quick: not a flag: flags look like --name or --name=value"),
        (("--=x",), "--=x: not a flag: flags look like --name or --name=value"),
    ],
)
def test_errors_say_what_to_do(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert str(caught.value) == message


@pytest.mark.parametrize("word", ["-h", "--h", "-help", "--help"])
def test_help(word: str) -> None:
    with pytest.raises(HelpWanted):
        read("--quick", word)
