"""Programs that can't be run, or only just: the errno or the end that Linux gives, and the kernel goes on."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Sandbox

EXECALL = Path(__file__).parent / "programs" / "execall.py"

#: mov $60, %eax; mov $7, %edi; syscall
EXIT_7 = bytes.fromhex("b83c000000bf070000000f05")


def elf(
    code: bytes = EXIT_7,
    kind: int = 2,
    machine: int = 62,
    phentsize: int = 56,
    phnum: int = 1,
    entry: int = 0x400078,
    segments: tuple[tuple[int, ...], ...] = ((1, 5, 0, 0x400000, 0x400000, 0x1000, 0x1000, 0x1000),),
    ident: bytes = b"\x7fELF\x02\x01\x01",
    size: int = 4096,
) -> bytes:
    """A small ELF file; every field can be made to lie."""
    head = ident.ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, entry, 64, 0, 0, 64, phentsize, phnum, 0, 0, 0
    )
    table = b"".join(struct.pack("<IIQQQQQQ", *segment) for segment in segments)
    return (head + table + code).ljust(size, b"\0")


def load(
    vaddr: int = 0x400000, offset: int = 0, filesz: int = 0x1000, memsz: int = 0x1000, flags: int = 5
) -> tuple[int, ...]:
    return (1, flags, offset, vaddr, vaddr, filesz, memsz, 0x1000)


CASES = {
    "good": elf(),
    "position-independent": elf(kind=3, entry=0x78, segments=(load(0),)),
    "empty": b"",
    "one-byte": b"\x7f",
    "magic-only": b"\x7fELF",
    "half-a-header": elf()[:40],
    "header-only": elf()[:64],
    "half-a-table": elf()[:90],
    "cut-after-the-table": elf()[:120],
    "32-bit": elf(ident=b"\x7fELF\x01\x01\x01", machine=3),
    "big-endian": elf(ident=b"\x7fELF\x02\x02\x01"),
    "another-machine": elf(machine=183),
    "relocatable": elf(kind=1),
    "core-file": elf(kind=4),
    "no-segments": elf(phnum=0),
    "too-many-segments": elf(phnum=0xFFFE),
    "entries-of-a-wrong-size": elf(phentsize=57),
    "no-load": elf(segments=((4, 5, 0, 0x400000, 0x400000, 0x1000, 0x1000, 0x1000),)),
    "file-size-beyond-memory": elf(segments=(load(filesz=0x2000),)),
    "in-the-kernel-half": elf(segments=(load(0xFFFF800000000000),)),
    "wraps-around": elf(segments=(load(0x400000, memsz=0xFFFFFFFFFFFFF000),)),
    "beyond-user-space": elf(segments=(load(0x7FFFFFFFF000),)),
    "offset-not-congruent": elf(segments=(load(offset=1),)),
    "entry-nowhere": elf(entry=0),
    "entry-not-canonical": elf(entry=0x8000000000000000),
    "entry-in-the-kernel": elf(entry=0xFFFFFFFF81000000),
    "not-executable-memory": elf(segments=(load(flags=4),)),
    "text-file": b"hello\n",
    "binary-junk": bytes(range(256)),
    "no-such-loader": elf(phnum=2, segments=((3, 4, 176, 0, 0, 9, 9, 1), load()), code=b"/nowhere\0"),
    "loader-without-an-end": elf(phnum=2, segments=((3, 4, 176, 0, 0, 8, 8, 1), load()), code=b"/nowhere"),
    "loader-is-a-directory": elf(phnum=2, segments=((3, 4, 176, 0, 0, 5, 5, 1), load()), code=b"/etc\0"),
    "loader-is-text": elf(phnum=2, segments=((3, 4, 176, 0, 0, 12, 12, 1), load()), code=b"/etc/passwd\0"),
    "script": b"#!/bin/sh\nexit 5\n",
    "script-with-argument": b"#!/bin/sh -e\nfalse\nexit 5\n",
    "script-without-newline": b"#!/bin/true",
    "script-of-nothing": b"#!\n",
    "script-of-spaces": b"#!    \n",
    "script-of-nowhere": b"#!/no/such/thing\n",
    "script-of-a-directory": b"#!/etc\n",
    "script-of-a-long-name": b"#!" + b"/" * 300 + b"bin/true\n",
}  # fmt: skip


def outcomes(sandbox: Sandbox, directory: Path) -> tuple[list[str], list[str]]:
    command = [sys.executable, "-S", "-E", str(EXECALL), str(directory)]
    native, ours = sandbox.native(command), sandbox.run(command)
    assert native.code == ours.code == 0, ours.stderr
    return native.stdout.decode().splitlines(), ours.stdout.decode().splitlines()


def test_files_that_lie(sandbox: Sandbox, tmp_path: Path) -> None:
    for name, content in CASES.items():
        file = tmp_path / name
        file.write_bytes(content)
        file.chmod(0o755)
    loop = tmp_path / "script-of-itself"
    loop.write_text(f"#!{loop}\n")
    loop.chmod(0o755)
    (tmp_path / "not-executable").write_bytes(elf())
    (tmp_path / "directory").mkdir()
    native, ours = outcomes(sandbox, tmp_path)
    assert dict(zip(native, ours, strict=True)) == {line: line for line in native}
    assert "good 7" in native
    assert len(native) == len(CASES) + 3


@pytest.mark.parametrize("seed", range(2))
def test_headers_with_random_damage(sandbox: Sandbox, tmp_path: Path, seed: int) -> None:
    """Bytes of a real static program's headers are changed at random."""
    source = tmp_path / "program.c"
    source.write_text("int main(void) { return 7; }\n")
    built = tmp_path / "built"
    subprocess.run(["cc", "-static", "-O1", "-o", built, source], check=True)
    good = built.read_bytes()
    programs = tmp_path / "programs"
    programs.mkdir()
    chance = random.Random(seed)
    for number in range(60):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            # All of the headers but the entry point: where that leads is anybody's guess.
            at = chance.choice([*range(24), *range(32, 64 + 56 * 4)])
            bad[at] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        file = programs / f"{number:03}"
        file.write_bytes(bad[: chance.choice([len(bad), len(bad), 100, 5000])])
        file.chmod(0o755)
    native, ours = outcomes(sandbox, programs)

    # What a process dies of that was mapped by such headers depends on where things were placed.
    def ending(line: str) -> str:
        name, result = line.split()
        return f"{name} {'killed' if result.startswith('-') else result}"

    different = [pair for pair in zip(native, ours, strict=True) if ending(pair[0]) != ending(pair[1])]
    assert different == []


@pytest.mark.parametrize(
    ("count", "size"), [(1, 131071), (1, 131072), (60, 100_000), (70, 100_000), (200_000, 1)]
)
def test_argument_lists(sandbox: Sandbox, count: int, size: int) -> None:
    script = (
        "import os, errno\n"
        f"try: os.execv('/bin/true', ['/bin/true'] + ['x' * {size}] * {count})\n"
        "except OSError as error: print(errno.errorcode[error.errno])"
    )
    sandbox.same([sys.executable, "-S", "-E", "-c", script])
