"""Every command that a page shows is run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def shown(page: str) -> list[str]:
    """The runsc commands in a page's indented blocks."""
    with open(os.path.join(ROOT, page)) as file:
        lines = file.read().splitlines()
    return [line.strip() for line in lines if line.startswith("    runsc ")]


COMMANDS = [(page, command) for page in ("README.md",) for command in shown(page)]


@pytest.mark.parametrize(("page", "command"), [item for item in COMMANDS if "CMD" not in item[1]])
def test_a_command_that_is_shown_works(page: str, command: str, runsc: str, tmp_path: Path) -> None:
    environment = dict(os.environ, PATH=f"{os.path.dirname(runsc)}:{os.environ['PATH']}")
    command = command.replace("/tmp/runsc/", f"{tmp_path}/logs/")
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_readme_shows_commands() -> None:
    assert len([page for page, _ in COMMANDS if page == "README.md"]) >= 3


def test_plugins_and_flags_on_the_page_exist(runsc: str) -> None:
    with open(os.path.join(ROOT, "README.md")) as file:
        text = file.read()
    listed = subprocess.run([runsc, "plugins"], capture_output=True, text=True, timeout=50).stdout
    for name in ("ptrace", "none", "host", "direct"):
        assert re.search(rf"\b{name}\b", listed), f"{name} is not installed"
        assert f"`{name}`" in text, f"README.md does not tell of {name}"
    flags = set(re.findall(r"`(--[a-z-]+)=?", text))
    helped = subprocess.run([runsc, "help"], capture_output=True, text=True, timeout=50).stdout
    helped += subprocess.run([runsc, "do", "--help"], capture_output=True, text=True, timeout=50).stdout
    missing = sorted(flag for flag in flags if flag not in helped and flag not in ("--format",))
    assert not missing, f"README.md names flags that are not in the help: {missing}"
