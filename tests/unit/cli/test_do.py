"""What ``do`` makes of its flags and surroundings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runsc.cli.do import Options, make_command, parse_user
from runsc.config import Config

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_by_default_everything_is_as_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAME", "value")
    command = make_command(Options(), ["prog", "a\udcff"], Config())
    assert command.argv == [b"prog", b"a\xff"]
    assert command.cwd == os.fsencode(tmp_path)
    assert command.root.source == b"/"
    assert (command.uid, command.gid) == (os.geteuid(), os.getegid())
    assert command.groups == tuple(os.getgroups())
    assert b"NAME=value" in command.env
    assert len(command.env) == len(os.environ)


def test_flags_change_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "value")
    options = Options()
    options.root = str(tmp_path)
    options.env = ["NAME=other", "EMPTY=", "EQUALS=a=b"]
    options.user = "12:34"
    command = make_command(options, ["prog"], Config())
    assert command.root.source == os.fsencode(tmp_path)
    assert command.cwd == b"/"
    assert (command.uid, command.gid, command.groups) == (12, 34, ())
    assert {b"NAME=other", b"EMPTY=", b"EQUALS=a=b"} <= set(command.env)
    assert b"NAME=value" not in command.env
    options.cwd = "/sub"
    assert make_command(options, ["prog"], Config()).cwd == b"/sub"


def test_a_group_is_the_users_unless_given() -> None:
    assert parse_user("7") == (7, 7)
    assert parse_user("0:4294967294") == (0, 4294967294)
