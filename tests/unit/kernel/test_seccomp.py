"""Filters: the compiler of rules against their meaning, the shortcut of programs against their plain run."""

from __future__ import annotations

from random import Random

import pytest
from support import make_task

from runsc.errors import RunscError
from runsc.kernel.errors import LinuxError
from runsc.kernel.seccomp import bpf
from runsc.kernel.seccomp.compile import OPERATORS, Comparison, Rule, compile_rules, parse_profile
from runsc.kernel.seccomp.filter import (
    MODE_FILTER,
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
    RET_LOG,
    Data,
    evaluate,
    install,
)

VALUES = (0, 1, 2, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (2 << 32) | 1, (1 << 64) - 1, 0x12345678_9ABCDEF0)


def run(program: bpf.Program, number: int, *args: int) -> int:
    task = make_task()
    padded = (args + (0,) * 6)[:6]
    return program.run(number, Data(task, number, padded).word)  # type: ignore[arg-type]


def holds(comparison: Comparison, value: int) -> bool:
    wanted, second = comparison.value, comparison.second
    return {
        "SCMP_CMP_NE": value != wanted,
        "SCMP_CMP_LT": value < wanted,
        "SCMP_CMP_LE": value <= wanted,
        "SCMP_CMP_EQ": value == wanted,
        "SCMP_CMP_GE": value >= wanted,
        "SCMP_CMP_GT": value > wanted,
        "SCMP_CMP_MASKED_EQ": value & wanted == second,
    }[comparison.operator]


@pytest.mark.parametrize("operator", OPERATORS)
def test_comparisons_of_64_bits(operator: str) -> None:
    task = make_task()
    for wanted in VALUES:
        for second in (0, 1, wanted) if operator == "SCMP_CMP_MASKED_EQ" else (0,):
            comparison = Comparison(2, operator, wanted, second)
            program = compile_rules(RET_ALLOW, [Rule((7,), RET_ERRNO | 3, [comparison])])
            for value in VALUES:
                said = program.run(7, Data(task, 7, (0, 0, value, 0, 0, 0)).word)
                assert (said == RET_ERRNO | 3) == holds(comparison, value), (wanted, second, value)


def test_rules_in_order_and_several_comparisons() -> None:
    first = Rule((1, 2), RET_ERRNO | 1, [Comparison(0, "SCMP_CMP_EQ", 5), Comparison(1, "SCMP_CMP_GT", 9)])
    second = Rule((1,), RET_ERRNO | 2, [Comparison(0, "SCMP_CMP_EQ", 5)])
    third = Rule((1,), RET_ERRNO | 3)
    program = compile_rules(RET_ALLOW, [first, second, third])
    assert run(program, 1, 5, 10) == RET_ERRNO | 1
    assert run(program, 1, 5, 9) == RET_ERRNO | 2
    assert run(program, 1, 6, 10) == RET_ERRNO | 3
    assert run(program, 2, 5, 9) == RET_ALLOW
    assert run(program, 3) == RET_ALLOW


def test_profiles() -> None:
    program = parse_profile({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["read", "write", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    })  # fmt: skip
    assert run(program, 0) == RET_ALLOW
    assert run(program, 2) == RET_ERRNO | 1
    assert run(program, 56, 0x11) == RET_ALLOW
    assert run(program, 56, 0x10000000) == RET_ERRNO | 1
    assert run(program, 435) == RET_ERRNO | 38


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"defaultAction": "SCMP_ACT_PERHAPS"},
        {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1},
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "op": "EQ"}]}]},
    ],
)  # fmt: skip
def test_bad_profiles_are_explained(profile: dict[str, object]) -> None:
    with pytest.raises(RunscError):
        parse_profile(profile)


def test_another_architecture() -> None:
    program = compile_rules(RET_ALLOW, [])
    words = {0: 1, 4: 0x40000003}
    assert program._run(0, 0, 0, [0] * 16, lambda at: words[at]) == RET_KILL_PROCESS


def random_program(random: Random) -> tuple[bpf.Instruction, ...]:
    """A program that the check takes, most of the time."""
    count = random.randrange(2, 30)
    code: list[bpf.Instruction] = []
    for at in range(count - 1):
        left = count - at - 2
        kind = random.randrange(6)
        if kind == 0:
            code.append((bpf.LD_ABS, 0, 0, 4 * random.randrange(16)))
        elif kind == 1:
            jumps = random.randrange(left + 1), random.randrange(left + 1)
            op = random.choice((bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET)) | random.choice((0, bpf.BY_X))
            code.append((op, *jumps, random.choice((0, 1, 5, 0xFFFFFFFF))))
        elif kind == 2:
            op = random.choice(bpf.ARITHMETIC)
            code.append((op | bpf.BY_X, 0, 0, 0))
        elif kind == 3:
            code.append((random.choice((bpf.LD_IMM, bpf.LDX_IMM)), 0, 0, random.randrange(1 << 32)))
        elif kind == 4:
            op = random.choice((bpf.ST, bpf.STX, bpf.LD_MEM, bpf.LDX_MEM))
            code.append((op, 0, 0, random.randrange(3)))
        else:
            code.append((random.choice((bpf.TAX, bpf.TXA, bpf.NEG, bpf.LD_LEN)), 0, 0, 0))
    code.append((bpf.RET_A, 0, 0, 0))
    return tuple(code)


def test_what_is_remembered_is_what_is_so() -> None:
    random = Random(1)
    task = make_task()
    taken = 0
    for _ in range(3000):
        code = random_program(random)
        try:
            bpf.check(code)
        except LinuxError:
            continue
        taken += 1
        program = bpf.Program(code)
        for number in (0, 1, 5):
            args = tuple(random.choice(VALUES) for _ in range(6))
            words = Data(task, number, args).word  # type: ignore[arg-type]
            plain = program._run(0, 0, 0, [0] * 16, words)
            assert program.run(number, words) == plain
            assert program.run(number, words) == plain
    assert taken > 500


def test_the_strictest_answer_counts_and_the_newest_of_equals() -> None:
    task = make_task()

    def add(default: int, *rules: Rule) -> None:
        install(task, compile_rules(default, rules))

    add(RET_ALLOW, Rule((1,), RET_ERRNO | 1), Rule((2,), RET_ERRNO | 1))
    add(RET_LOG, Rule((1,), RET_ERRNO | 2))
    newest = task.seccomp
    assert task.seccomp_mode == MODE_FILTER
    assert task.table is task.kernel.gated
    assert evaluate(task, 1, (0,) * 6)[0] == RET_ERRNO | 2
    assert evaluate(task, 2, (0,) * 6)[0] == RET_ERRNO | 1
    assert evaluate(task, 3, (0,) * 6) == (RET_LOG, newest)


def test_the_path_of_filters_is_bounded() -> None:
    task = make_task()
    long = bpf.Program([(bpf.LD_IMM, 0, 0, 0)] * 4095 + [(bpf.RET_K, 0, 0, RET_ALLOW)])
    for _ in range(7):
        install(task, long)
    with pytest.raises(LinuxError):
        install(task, long)


def test_a_program_remembers_no_more_than_it_may() -> None:
    program = compile_rules(RET_ALLOW, [])
    for number in range(3 * bpf.Program.LIMIT):
        assert program.decide(number) == RET_ALLOW
    assert len(program.known) <= bpf.Program.LIMIT
