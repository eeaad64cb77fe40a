"""Classic BPF for seccomp(2): an allow-list becomes a program (linux/filter.h, linux/seccomp.h).

The program is a binary search for the call's number; a leaf holds what is asked of that call's arguments.
All jumps lead forward and stay within their piece of the program, so pieces are put together as they are.
Calls that are allowed whatever their arguments cost nothing at run time: the host's kernel (5.11 and
later) finds out by itself that the answer depends on the number only, and doesn't run the program.
"""

from __future__ import annotations

from errno import ENOSYS
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runsc.plugins.availability import ArgCheck

#: Verdicts.
ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
TRAP = 0x00030000
ERRNO = 0x00050000  #: or'ed with the errno

ARCH_X86_64 = 0xC000003E

#: The longest program the kernel takes (BPF_MAXINSNS).
MAX_INSTRUCTIONS = 4096

# Offsets in struct seccomp_data.
_NR = 0
_ARCH = 4
_ARGS = 16

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP = 0x05  # BPF_JMP | BPF_JA
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

#: struct sock_filter: code, where to go on if true and if false (instructions to skip), operand.
INSTRUCTION = Struct("<HBBI")
_MAX_SKIP = 255
_MAX_32 = 0xFFFFFFFF

#: What is allowed: number -> the ways to call it, each a set of checks that must all hold.
AllowList = dict[int, list[tuple["ArgCheck", ...]]]

_Code = list[tuple[int, int, int, int]]


def assemble(
    allowed: Mapping[int, Sequence[Sequence[ArgCheck]]],
    refuse: int = KILL_PROCESS,
    absent: Sequence[int] = (),
) -> bytes:
    """The program that answers ALLOW for ``allowed`` and ``refuse`` for all else, another architecture's
    calls (32-bit, x32) included. Calls in ``absent`` fail with ENOSYS, as on a kernel that hasn't got them.
    Raises ValueError if it gets too long."""
    code: _Code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, ARCH_X86_64), (_RETURN, 0, 0, refuse)]
    code.append((_LOAD, 0, 0, _NR))
    for nr in absent:
        code += [(_EQUAL, 0, 1, nr), (_RETURN, 0, 0, ERRNO | ENOSYS)]
    if allowed:
        code += _search([(nr, allowed[nr]) for nr in sorted(allowed)], refuse)
    else:
        code.append((_RETURN, 0, 0, refuse))
    if len(code) > MAX_INSTRUCTIONS:
        raise ValueError(f"the filter has {len(code)} instructions, allowed are {MAX_INSTRUCTIONS}")
    pack = INSTRUCTION.pack
    return b"".join([pack(*instruction) for instruction in code])


def _search(calls: list[tuple[int, Sequence[Sequence[ArgCheck]]]], refuse: int) -> _Code:
    """Find the number, which is in the accumulator, among ``calls`` (sorted)."""
    if len(calls) == 1:
        return _leaf(calls[0][0], calls[0][1], refuse)
    middle = len(calls) // 2
    left = _search(calls[:middle], refuse)
    right = _search(calls[middle:], refuse)
    pivot = calls[middle][0]
    if len(left) <= _MAX_SKIP:
        return [(_AT_LEAST, len(left), 0, pivot), *left, *right]
    return [(_AT_LEAST, 0, 1, pivot), (_JUMP, 0, 0, len(left)), *left, *right]


def _leaf(nr: int, ways: Sequence[Sequence[ArgCheck]], refuse: int) -> _Code:
    """Is it ``nr``, and called in one of these ways?"""
    end: _Code = [(_RETURN, 0, 0, refuse)]
    if any(not way for way in ways):
        return [(_EQUAL, 0, 1, nr), (_RETURN, 0, 0, ALLOW), *end]
    body: _Code = []
    for way in ways:
        body += _way(way)
    if len(body) > _MAX_SKIP:
        return [(_EQUAL, 1, 0, nr), (_JUMP, 0, 0, len(body)), *body, *end]
    return [(_EQUAL, 0, len(body), nr), *body, *end]


def _way(checks: Sequence[ArgCheck]) -> _Code:
    """ALLOW if all hold, else go on behind this piece."""
    code: _Code = [(_RETURN, 0, 0, ALLOW)]
    for check in reversed(checks):
        code = [*_check(check, len(code)), *code]
    return code


def _check(check: ArgCheck, behind: int) -> _Code:
    """Go on behind this piece if the check holds, else skip ``behind`` more instructions."""
    offset = _ARGS + 8 * check.index
    low_mask, high_mask = check.mask & _MAX_32, check.mask >> 32
    lows_of: dict[int, list[int]] = {}
    for value in check.values:
        lows_of.setdefault(value >> 32, []).append(value & _MAX_32)
    code: _Code = []
    # From the last group to the first, since each jumps over those behind it.
    for high, lows in reversed(lows_of.items()):
        fail = len(code) + behind
        piece = _words(offset, low_mask, lows, len(code), fail) if low_mask else []
        if high_mask:
            # With one group of values only, this fails at once.
            other = len(piece) if code else len(piece) + fail
            if not low_mask:
                piece = _words(offset + 4, high_mask, [high], len(code), fail if not code else 0)
            else:
                piece = [*_words(offset + 4, high_mask, [high], 0, other), *piece]
        code = [*piece, *code]
    return code


def _words(offset: int, mask: int, values: list[int], success: int, fail: int) -> _Code:
    """Load a word; skip ``success`` instructions if it is one of ``values`` under ``mask``, else ``fail``."""
    code: _Code = [(_LOAD, 0, 0, offset)]
    if mask != _MAX_32:
        code.append((_AND, 0, 0, mask))
    left = len(values)
    for value in values:
        left -= 1
        if_true, if_false = left + success, 0 if left else fail
        if if_true > _MAX_SKIP or if_false > _MAX_SKIP:
            raise ValueError("too many values or checks for one host call")
        code.append((_EQUAL, if_true, if_false, value))
    return code
