"""Scripts' first lines, ELF headers and argument lists, where the answer doesn't need a platform."""

from __future__ import annotations

import struct
from errno import E2BIG, EFAULT, ENOEXEC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Buffer, make_task

from runsc.kernel.errors import LinuxError
from runsc.kernel.mm.elf import parse
from runsc.kernel.mm.exec import MAX_ARG_STRLEN, copy_in_strings, parse_script


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"#!/bin/sh\n", (b"/bin/sh", [])),
        (b"#! /bin/sh \n", (b"/bin/sh", [])),
        (b"#!\t/bin/sh -e -u\n", (b"/bin/sh", [b"-e -u"])),
        (b"#!/usr/bin/env python3\nprint()", (b"/usr/bin/env", [b"python3"])),
        (b"#!/bin/sh", (b"/bin/sh", [])),
    ],
)
def test_script_lines(line: bytes, expected: tuple[bytes, list[bytes]]) -> None:
    assert parse_script(line) == expected


@pytest.mark.parametrize("line", [b"#!\n", b"#!   \n", b"#!" + b"x" * 254])
def test_script_lines_that_name_nothing(line: bytes) -> None:
    with pytest.raises(LinuxError) as caught:
        parse_script(line)
    assert caught.value.errno == ENOEXEC


class Content:
    """A file that only has bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def pread(self, task: Any, count: int, offset: int) -> bytes:
        return self.data[offset : offset + count]


def header(kind: int = 2, machine: int = 62, phnum: int = 1, phoff: int = 64, phentsize: int = 56) -> bytes:
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    return struct.pack(
        "<16sHHIQQQIHHHHHH", ident, kind, machine, 1, 0x400000, phoff, 0, 0, 64, phentsize, phnum, 0, 0, 0
    )


def segment(
    vaddr: int = 0x400000, offset: int = 0, filesz: int = 4096, memsz: int = 4096, kind: int = 1
) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, 5, offset, vaddr, vaddr, filesz, memsz, 4096)


BROKEN = -1


def errno_of(data: bytes) -> int:
    """What ``parse`` raises; 0 for a good image, BROKEN for one that kills the process that runs it."""
    try:
        image = parse(make_task(), Content(data), data[:4096])  # type: ignore[arg-type]
    except LinuxError as error:
        return error.errno
    return BROKEN if image.broken else 0


@pytest.mark.parametrize(
    ("data", "errno"),
    [
        (header() + segment(), 0),
        (b"", ENOEXEC),
        (header()[:40], ENOEXEC),
        (b"\x7fELF\x01" + header()[5:] + segment(), ENOEXEC),
        (header(kind=1) + segment(), ENOEXEC),
        (header(machine=3) + segment(), ENOEXEC),
        (header(phnum=0) + segment(), ENOEXEC),
        (header(phnum=65535) + segment(), ENOEXEC),
        (header(phentsize=32) + segment(), ENOEXEC),
        (header(phnum=2) + segment(), ENOEXEC),
        (header() + segment(kind=4), 0),
        (header() + segment(filesz=8192), BROKEN),
        (header() + segment(vaddr=0xFFFF800000000000), BROKEN),
        (header() + segment(memsz=1 << 63), BROKEN),
        (header() + segment(offset=1), BROKEN),
    ],
)
def test_headers(data: bytes, errno: int) -> None:
    assert errno_of(data) == errno


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_header_breaks_the_parser(data: st.DataObject) -> None:
    good = bytearray(header(phnum=3) + segment() + segment(0x500000) + segment(0, 0x100, 20, 20, 3))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(good) - 1))
        good[at] = data.draw(st.integers(0, 255))
    errno_of(bytes(good[: data.draw(st.integers(0, len(good)))]))


def test_argument_lists() -> None:
    task = make_task()
    buffer = Buffer(task)
    words = [buffer.text(text) for text in (b"a", b"", b"bc")]
    array = buffer.put(struct.pack("<4Q", *words, 0))
    assert copy_in_strings(task, array, 1000) == ([b"a", b"", b"bc"], 3 + 3 + 24)
    assert copy_in_strings(task, 0, 1000) == ([], 0)
    with pytest.raises(LinuxError) as caught:
        copy_in_strings(task, array, 20)
    assert caught.value.errno == E2BIG
    with pytest.raises(LinuxError) as caught:
        copy_in_strings(task, 0x20000000, 1000)
    assert caught.value.errno == EFAULT
    long = buffer.text(b"x" * MAX_ARG_STRLEN)
    with pytest.raises(LinuxError) as caught:
        copy_in_strings(task, buffer.put(struct.pack("<2Q", long, 0)), 1 << 20)
    assert caught.value.errno == E2BIG
