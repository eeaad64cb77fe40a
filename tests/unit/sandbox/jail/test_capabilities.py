"""Giving up capabilities, in a child process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runsc.sandbox.jail.capabilities import give_up_all_but

if TYPE_CHECKING:
    from collections.abc import Callable

DAC_READ_SEARCH = 2
NET_RAW = 13
NOBODY = 65534


def in_a_child(action: Callable[[], str]) -> str:
    """What ``action`` answers in a process of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, action().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return text


def sets() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line[3:6]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}


@pytest.mark.root
@pytest.mark.parametrize("wanted", [(), (DAC_READ_SEARCH,), (DAC_READ_SEARCH, NET_RAW)])
def test_root_keeps_what_is_wanted(wanted: tuple[int, ...]) -> None:
    def action() -> str:
        kept = give_up_all_but(wanted)
        return repr((kept, sets()))

    has = sets()["Prm"]
    mask = sum(1 << number for number in wanted) & has
    expected = {"Inh": 0, "Prm": mask, "Eff": mask, "Bnd": mask & sets()["Bnd"], "Amb": 0}
    assert in_a_child(action) == repr((mask, expected))


@pytest.mark.root
def test_nothing_comes_back() -> None:
    """Neither by becoming root again nor by asking for it."""

    def action() -> str:
        from runsc._native import lib

        give_up_all_but((DAC_READ_SEARCH,))
        try:
            os.setresuid(0, 0, 0)
        except OSError:
            return "refused"
        return repr((lib.rn_set_capabilities(1 << NET_RAW), sets()["Prm"]))

    assert in_a_child(action) == repr((-1, 1 << DAC_READ_SEARCH & sets()["Prm"]))


def test_an_ordinary_user_has_none_to_keep() -> None:
    def action() -> str:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        kept = give_up_all_but((DAC_READ_SEARCH,))
        now = sets()
        return repr((kept, now["Prm"], now["Eff"], now["Inh"], now["Amb"]))

    assert in_a_child(action) == "(0, 0, 0, 0, 0)"
