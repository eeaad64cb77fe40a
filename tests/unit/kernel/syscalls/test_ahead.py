"""What declarations say about memory that can be copied ahead."""

from __future__ import annotations

import pytest

from runsc.abi.syscalls import NUMBERS
from runsc.kernel.syscalls.ahead import copied_ahead
from runsc.kernel.syscalls.table import declarations
from runsc.platform import COPY_COUNTED, COPY_FIXED, COPY_STRING

DECLARED = declarations()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("getpid", ()),
        ("read", ()),
        ("write", ((1, COPY_COUNTED, 1, 2),)),
        ("openat", ((1, COPY_STRING, 0, 0),)),
        ("rename", ((0, COPY_STRING, 0, 0), (1, COPY_STRING, 0, 0))),
        ("writev", ((1, COPY_COUNTED, 16, 2),)),
        ("poll", ((0, COPY_COUNTED, 8, 1),)),
        ("nanosleep", ((0, COPY_FIXED, 16, 0),)),
        ("rt_sigaction", ((1, COPY_FIXED, 32, 0),)),
        ("bind", ((1, COPY_COUNTED, 1, 2),)),
        ("sendmsg", ((1, COPY_FIXED, 56, 0),)),
        ("futex", ()),
    ],
)
def test_ranges(name, expected):
    assert copied_ahead(DECLARED[NUMBERS[name]]) == expected


def test_all_are_well_formed():
    for declaration in DECLARED.values():
        for argument, kind, size, counter in copied_ahead(declaration):
            assert 0 <= argument < 6
            assert kind in (COPY_FIXED, COPY_STRING, COPY_COUNTED)
            assert (0 < size < 256) == (kind != COPY_STRING)
            assert counter < 6
