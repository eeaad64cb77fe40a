"""The table of system calls against the headers of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runsc.abi.syscalls import LAST, NAMES, NUMBERS

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


@pytest.mark.skipif(not HEADER.exists(), reason="no kernel headers")
def test_every_number_of_the_headers_has_the_same_name() -> None:
    defined = {
        int(number): name
        for name, number in re.findall(r"^#define __NR_(\w+)\s+(\d+)$", HEADER.read_text(), re.M)
    }
    assert len(defined) > 300
    assert {number: NAMES.get(number) for number in defined if number <= LAST} == {
        number: name for number, name in defined.items() if number <= LAST
    }


def test_names_and_numbers_are_each_others_inverse() -> None:
    assert len(NAMES) == len(NUMBERS)
    assert all(NAMES[number] == name for name, number in NUMBERS.items())


def test_the_gap_belongs_to_nobody() -> None:
    assert LAST == 466
    assert [number for number in range(LAST + 1) if number not in NAMES] == list(range(336, 424))
