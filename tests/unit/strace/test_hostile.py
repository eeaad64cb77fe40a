"""Whatever a guest passes, the tracer writes one line and nothing breaks."""

from __future__ import annotations

import random
from typing import Any

import pytest
from support import make_task

from runsc.abi.syscalls import NAMES
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.syscalls.table import build_table
from runsc.strace.tracer import Tracer

SPECIAL = [
    0,
    1,
    2,
    3,
    5,
    8,
    16,
    88,
    4096,
    0xFFFFFFFF,
    1 << 31,
    1 << 32,
    1 << 63,
    (1 << 64) - 1,
    (1 << 64) - 100,
]


@pytest.mark.parametrize("number", [*sorted(NAMES), 400, 1000, -1])
def test_any_arguments_over_any_memory(number: int) -> None:
    chance = random.Random(number)
    task = make_task()
    base = 0x10000000
    for page in range(16):
        task.mm.copy_out(base + 4096 * page, chance.randbytes(4096))
    lines: list[str] = []
    tracer = Tracer(build_table(), lines.append, limit=chance.choice([0, 1, 32, 1024]))
    for _ in range(60):
        args: Any = tuple(
            chance.choice(
                [
                    *SPECIAL,
                    chance.getrandbits(64),
                    chance.randrange(100),
                    base + chance.randrange(65536),
                    base + (1 << 20) - chance.randrange(64),
                ]
            )
            for _ in range(6)
        )
        tracer.enter(task, number, args)
        result = chance.choice(
            [0, 1, 3, 8, 100, 4096, 1 << 40, -1, -14, -133, -134, -512, -516, -4095, -(1 << 40)]
        )
        tracer.exit(task, number, args, result, chance.getrandbits(40))
    assert len(lines) == 60
    assert all("\n" not in line and line.isprintable() for line in lines)


def test_small_values_decode_too() -> None:
    chance = random.Random(1)
    task = make_task()
    base = 0x10000000
    lines: list[str] = []
    tracer = Tracer(build_table(), lines.append)
    for number in sorted(NAMES):
        for _ in range(20):
            words = [
                chance.choice([0, 1, 2, 3, 10, 16, 64, base + 64 * chance.randrange(64)]) for _ in range(512)
            ]
            task.mm.copy_out(base, b"".join(word.to_bytes(8, "little") for word in words))
            args: Any = tuple(
                chance.choice([*range(8), 64, 88, base + 8 * chance.randrange(500)]) for _ in range(6)
            )
            tracer.enter(task, number, args)
            tracer.exit(task, number, args, chance.choice([0, 1, 2, 24]), 0)
    assert len(lines) == 20 * len(NAMES)


def test_any_signal() -> None:
    chance = random.Random(2)
    task = make_task()
    lines: list[str] = []
    tracer = Tracer(build_table(), lines.append)
    for signo in range(1, 65):
        for code in (*range(-8, 10), 0x80, -60, 1000):
            raw = chance.randbytes(128)
            tracer.signal(task, SigInfo(signo, code, raw=raw))
            tracer.signal(task, SigInfo(signo, code, pid=5, uid=6, addr=1 << 63, value=1 << 30))
    for status in range(0, 1 << 16, 7):
        tracer.exited(task, status)
    assert all(line.isprintable() for line in lines)


def test_a_task_name_cannot_forge_a_line() -> None:
    task = make_task()
    task.comm = b"x\n[   1] y\x1b["
    lines: list[str] = []
    tracer = Tracer(build_table(), lines.append)
    tracer.enter(task, 39, (0,) * 6)
    tracer.exit(task, 39, (0,) * 6, 5, 1234)
    assert lines == [f"[{task.tid:4}] x\\n[   1] y\\33[ getpid() = 5 <0.000001>"]
