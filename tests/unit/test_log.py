"""Names, formats and contents of logs."""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runsc.config import Config
from runsc.errors import RunscError
from runsc.log import Log, debug_log_path, json_string, open_append

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STARTED = 1700000000.25


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def config() -> Config:
    return Config()


def close(log: Log) -> None:
    for fd in log.fds() - {2}:
        os.close(fd)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("/d/", "/d/runsc.log.20231114-221320.250000.boot.txt"),
        ("/d/log.txt", "/d/log.txt"),
        ("/d/%COMMAND%.%ID%.%TIMESTAMP%", "/d/boot.c%COMMAND%1.20231114-221320.250000"),
        ("/d/100%/%COMMAND%%", "/d/100%/boot%"),
        ("/d/%WHAT%-%ID%", "/d/%WHAT%-c%COMMAND%1"),
        ("%", "%"),
    ],
)
def test_file_names(pattern: str, name: str) -> None:
    assert debug_log_path(pattern, "boot", "c%COMMAND%1", STARTED) == name


def test_an_existing_directory_needs_no_slash(tmp_path: Path) -> None:
    path = debug_log_path(str(tmp_path), "do", "", STARTED)
    assert path == str(tmp_path / "runsc.log.20231114-221320.250000.do.txt")


def test_directories_are_made(tmp_path: Path) -> None:
    fd = open_append(str(tmp_path / "a" / "b" / "c.log"))
    os.close(fd)
    assert (tmp_path / "a" / "b" / "c.log").exists()


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunscError, match=r"can't write the log .*file/log: .*irectory"):
        open_append(str(tmp_path / "file" / "log"))


def test_text_lines(tmp_path: Path, config: Config) -> None:
    config.debug_log = str(tmp_path / "log")
    log = Log.open(config, "boot", "", STARTED)
    log.debug("not shown without --debug")
    log.info("first")
    log.error("Traceback:\n  in \x1b[31mred\n")
    log.strace("read(0) = 0")
    close(log)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [re.sub(r"^(.)\d{4} [\d:]{8}\.\d{6} +\d+] ", r"\1 ", line) for line in lines] == [
        "I first",
        "E Traceback:",
        "\t  in \\x1b[31mred",
        "I read(0) = 0",
    ]


def test_debug_adds_debug_lines(tmp_path: Path, config: Config) -> None:
    config.debug_log = str(tmp_path / "log")
    config.debug = True
    log = Log.open(config, "boot")
    assert log.verbose
    log.debug("shown")
    close(log)
    assert (tmp_path / "log").read_text().endswith("] shown\n")


def test_json_lines(tmp_path: Path, config: Config) -> None:
    config.debug_log = str(tmp_path / "log")
    config.debug_log_format = "json"
    log = Log.open(config, "boot")
    log.info('say "hi"\n\tto \udcff')
    close(log)
    line = json.loads((tmp_path / "log").read_text())
    assert set(line) == {"level", "msg", "time"}
    assert line["level"] == "info"
    assert line["msg"] == 'say "hi"\n\tto \ufffd'
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])


def test_the_callers_log_gets_errors_and_warnings_only(tmp_path: Path, config: Config) -> None:
    config.log = str(tmp_path / "log")
    config.log_format = "json"
    log = Log.open(config, "do")
    log.info("no")
    log.warning("careful")
    log.error("broken")
    close(log)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["level"], line["msg"]) for line in lines] == [("warning", "careful"), ("error", "broken")]


def test_the_callers_log_as_text(tmp_path: Path, config: Config) -> None:
    config.log = str(tmp_path / "log")
    log = Log.open(config, "do")
    log.error('a "b"\nc')
    close(log)
    text = (tmp_path / "log").read_text()
    assert re.fullmatch(r'time="[^"]+Z" level=error msg="a \\"b\\"\\nc"\n', text)


def test_where_lines_go_without_a_debug_log(config: Config) -> None:
    assert Log.open(config, "do").fds() == set()
    config.strace = True
    log = Log.open(config, "do")
    assert (log.strace_fd, log.debug_fd) == (2, -1)
    config.debug = True
    assert Log.open(config, "do").debug_fd == 2


def test_a_full_disk_ends_nothing(config: Config) -> None:
    config.debug_log = "/dev/full"
    log = Log.open(config, "boot")
    log.info("lost")
    close(log)


@given(st.text())
def test_json_strings_are_json(text: str) -> None:
    assert json.loads(json_string(text)) == text
