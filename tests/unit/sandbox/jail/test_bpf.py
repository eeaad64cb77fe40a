"""The assembler, against an interpreter of classic BPF and against the host's kernel."""

from __future__ import annotations

import errno
import os
import signal
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runsc.abi.syscalls import NUMBERS
from runsc.plugins.availability import (
    ArgCheck,
    argument,
    descriptor,
    having,
    int_argument,
    without,
)
from runsc.sandbox.jail.bpf import (
    ALLOW,
    ARCH_X86_64,
    ERRNO,
    INSTRUCTION,
    KILL_PROCESS,
    MAX_INSTRUCTIONS,
    assemble,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ARCH_I386 = 0x40000003
U64 = (1 << 64) - 1


def run(program: bytes, nr: int, args: Sequence[int] = (), arch: int = ARCH_X86_64) -> int:
    """What the host's kernel would answer (Documentation/networking/filter.rst)."""
    padded = [arg & U64 for arg in args] + [0] * (6 - len(args))
    data = struct.pack("<IIQ6Q", nr & 0xFFFFFFFF, arch, 0, *padded)
    code = list(INSTRUCTION.iter_unpack(program))
    accumulator = 0
    at = 0
    while True:
        operation, if_true, if_false, k = code[at]
        at += 1
        if operation == 0x20:
            assert k % 4 == 0
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif operation == 0x54:
            accumulator &= k
        elif operation == 0x05:
            at += k
        elif operation == 0x15:
            at += if_true if accumulator == k else if_false
        elif operation == 0x35:
            at += if_true if accumulator >= k else if_false
        elif operation == 0x06:
            return k
        else:
            raise AssertionError(f"unknown operation {operation:#x}")


def expected(allowed: dict[int, list[tuple[ArgCheck, ...]]], nr: int, args: Sequence[int]) -> int:
    """The meaning of an allow-list, said plainly."""
    for way in allowed.get(nr, []):
        if all(args[check.index] & check.mask in check.values for check in way):
            return ALLOW
    return KILL_PROCESS


def test_numbers() -> None:
    program = assemble({0: [()], 3: [()], 500: [()]})
    verdicts = {nr: run(program, nr) for nr in (-1, 0, 1, 2, 3, 4, 499, 500, 501, 0xFFFFFFFF)}
    assert [nr for nr, verdict in verdicts.items() if verdict == ALLOW] == [0, 3, 500]
    assert set(verdicts.values()) == {ALLOW, KILL_PROCESS}


def test_other_architectures_are_refused() -> None:
    program = assemble({nr: [()] for nr in range(400)})
    assert run(program, 20) == ALLOW
    assert run(program, 20, arch=ARCH_I386) == KILL_PROCESS
    assert run(program, 20 | 0x40000000) == KILL_PROCESS


def test_nothing_allowed() -> None:
    assert run(assemble({}), 0) == KILL_PROCESS


def test_the_answer_to_what_is_refused() -> None:
    program = assemble({1: [(argument(0, 1),)]}, ERRNO | errno.EPERM)
    assert run(program, 1, [1]) == ALLOW
    assert run(program, 1, [2]) == ERRNO | errno.EPERM
    assert run(program, 2) == ERRNO | errno.EPERM
    assert run(program, 1, [1], ARCH_I386) == ERRNO | errno.EPERM


@pytest.mark.parametrize(
    ("check", "yes", "no"),
    [
        (argument(0, 5), [5], [4, 5 | 1 << 32, 5 << 32, -5]),
        (argument(0, 0), [0], [1, 1 << 32, 1 << 63]),
        (argument(0, -1), [U64], [0xFFFFFFFF, 0]),
        (argument(0, 1, 2, 1 << 40), [1, 2, 1 << 40], [0, 3, 1 | 1 << 40, 1 << 41]),
        (
            argument(0, 1 << 40 | 7, 2 << 40 | 7, 9),
            [1 << 40 | 7, 2 << 40 | 7, 9],
            [7, 3 << 40 | 7, 1 << 40 | 9],
        ),
        # The kernel takes an int's low half, and so must the check: no way around it by the high half.
        (int_argument(0, 5), [5, 5 | 1 << 32, 5 | 7 << 40], [4, 0]),
        (int_argument(0, -100), [U64 - 99, 0xFFFFFF9C, 0x7_FFFF_FF9C], [100, 0]),
        (descriptor(0), [0, 3, 1 << 32, 0x7FFFFFFF], [-1, -100, 0xFFFFFF9C, 0x7_FFFF_FF9C, 1 << 31]),
        (without(0, 4), [0, 3, 1 << 32], [4, 7, U64]),
        (having(0, 0x20000), [0x20000, 0x20003, U64], [0, 0x10000, 0x1FFFF]),
        (ArgCheck(0, 1 << 40 | 1 << 50, (1 << 40,)), [1 << 40, 1 << 40 | 5], [0, 1 << 50, 3 << 49]),
        (ArgCheck(0, 3 << 40, (1 << 40, 2 << 40)), [1 << 40, 2 << 40 | 9], [0, 3 << 40, 1, 2]),
    ],
)
def test_checks(check: ArgCheck, yes: list[int], no: list[int]) -> None:
    program = assemble({7: [(check,)], 9: [()]})
    assert [run(program, 7, [value]) for value in yes] == [ALLOW] * len(yes)
    assert [run(program, 7, [value]) for value in no] == [KILL_PROCESS] * len(no)
    assert run(program, 9, [no[0]]) == ALLOW


def test_all_checks_of_one_way_must_hold_and_one_way_is_enough() -> None:
    allowed = {72: [(int_argument(1, 1, 2), argument(2, 0)), (int_argument(1, 3),)]}
    program = assemble(allowed)
    for command in range(5):
        for third in (0, 1, 1 << 32):
            args = [0, command, third, 0, 0, 0]
            assert run(program, 72, args) == expected(allowed, 72, args), args


def test_absent_calls() -> None:
    """They fail as unknown ones do, whatever is refused otherwise."""
    program = assemble({5: [()]}, KILL_PROCESS, [435, 9])
    assert [run(program, nr) for nr in (435, 9)] == [ERRNO | errno.ENOSYS] * 2
    assert [run(program, nr) for nr in (5, 6)] == [ALLOW, KILL_PROCESS]


def test_an_unconditional_way_wins() -> None:
    program = assemble({5: [(argument(0, 1),), ()]})
    assert run(program, 5, [2]) == ALLOW


interesting = st.sampled_from(
    [0, 1, 2, 3, 0xFFFFFFFF, 0xFFFFFF9C, 1 << 31, 1 << 32, 1 << 32 | 1, 1 << 40, 1 << 63, U64, 0x7_FFFF_FF9C]
)


@st.composite
def checks(draw: st.DrawFn) -> ArgCheck:
    mask = draw(
        st.one_of(
            st.sampled_from([U64, 0xFFFFFFFF, 1 << 31, 4, 0x101 << 32, 1 << 40 | 1]), st.integers(1, U64)
        )
    )
    values = draw(st.lists(interesting, min_size=1, max_size=6))
    return ArgCheck(draw(st.integers(0, 5)), mask, tuple(value & mask for value in values))


allow_lists = st.dictionaries(
    st.one_of(st.integers(0, 40), st.integers(0, 500)),
    st.lists(st.lists(checks(), max_size=3).map(tuple), min_size=1, max_size=3),
    max_size=120,
)


@settings(max_examples=150, deadline=None, database=None)
@given(allowed=allow_lists, data=st.data())
def test_any_allow_list_means_what_it_says(
    allowed: dict[int, list[tuple[ArgCheck, ...]]], data: st.DataObject
) -> None:
    program = assemble(allowed)
    assert len(program) % INSTRUCTION.size == 0
    numbers = sorted(allowed)
    for _ in range(12):
        nr = data.draw(
            st.one_of(st.sampled_from(numbers), st.integers(0, 600)) if numbers else st.integers(0, 600)
        )
        args = data.draw(st.lists(interesting, min_size=6, max_size=6))
        assert run(program, nr, args) == expected(allowed, nr, args)


def test_many_calls_with_many_checks() -> None:
    """Pieces longer than a conditional jump reaches."""
    ways = [tuple(argument(index, 1, 2, 3) for index in range(6)) for _ in range(5)]
    allowed = dict.fromkeys(range(0, 30, 2), ways)
    program = assemble(allowed)
    assert len(program) // INSTRUCTION.size > 1000
    for nr in range(31):
        for args in ([1, 2, 3, 1, 2, 3], [1, 2, 3, 1, 2, 4]):
            assert run(program, nr, args) == expected(allowed, nr, args)


def test_a_program_that_is_too_long_is_refused() -> None:
    ways = [tuple(argument(index, *range(30)) for index in range(6))]
    with pytest.raises(ValueError, match=f"allowed are {MAX_INSTRUCTIONS}"):
        assemble(dict.fromkeys(range(100), ways))


def test_a_check_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        assemble({1: [(argument(0, *range(400)),)]})


# -- the host's kernel ----------------------------------------------------------------------------


def filtered(allowed: dict[int, list[tuple[ArgCheck, ...]]], action: Callable[[], int], refuse: int) -> int:
    """The wait status of a process that has taken the filter and exits with what ``action`` answers."""
    from runsc._native import ffi, lib

    names = ("exit_group", "brk", "mmap", "munmap", "futex", "rt_sigreturn", "madvise")
    program = assemble({**{NUMBERS[name]: [()] for name in names}, **allowed}, refuse)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            if (
                lib.rn_no_new_privs() == 0
                and lib.rn_seccomp(ffi.from_buffer(program), len(program) // 8) == 0
            ):
                code = action()
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def errno_of(action: Callable[[], object]) -> Callable[[], int]:
    def run() -> int:
        try:
            action()
        except OSError as error:
            return error.errno or 98
        return 0

    return run


def test_the_host_kills() -> None:
    status = filtered({}, errno_of(lambda: os.getppid()), KILL_PROCESS)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGSYS


def test_the_host_allows() -> None:
    status = filtered({NUMBERS["getppid"]: [()]}, errno_of(lambda: os.getppid()), KILL_PROCESS)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(("fd", "code"), [(0, 0), (1, errno.ENOANO)])
def test_the_host_checks_arguments(fd: int, code: int) -> None:
    allowed: dict[int, list[tuple[ArgCheck, ...]]] = {NUMBERS["fsync"]: [(int_argument(0, 0),)]}

    def sync() -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno == errno.ENOANO:
                raise

    assert os.waitstatus_to_exitcode(filtered(allowed, errno_of(sync), ERRNO | errno.ENOANO)) == code
