"""A filter program from a list of rules: what a container's configuration says (linux.seccomp of the OCI
runtime specification), as plain data.

    compile_rules(RET_ERRNO | 1, [Rule((0, 1), RET_ALLOW)])    # EPERM but for read and write
"""

from __future__ import annotations

from runsc.abi.syscalls import NAMES
from runsc.errors import RunscError
from runsc.kernel.seccomp import bpf
from runsc.kernel.seccomp.filter import (
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
    RET_KILL_THREAD,
    RET_LOG,
    RET_TRACE,
    RET_TRAP,
    RET_USER_NOTIF,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

#: Actions by the names of the specification.
ACTIONS = {
    "SCMP_ACT_KILL": RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": RET_TRAP,
    "SCMP_ACT_ERRNO": RET_ERRNO,
    "SCMP_ACT_TRACE": RET_TRACE,
    "SCMP_ACT_ALLOW": RET_ALLOW,
    "SCMP_ACT_LOG": RET_LOG,
    "SCMP_ACT_NOTIFY": RET_USER_NOTIF,
}
#: How an argument is compared with a value.
OPERATORS = (
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)  # fmt: skip

_EPERM = 1
_NUMBERS = {name: number for number, name in NAMES.items()}


class Comparison:
    """Argument ``index`` compared by ``operator`` (SCMP_CMP_*) with ``value``; for MASKED_EQ, ``value`` is
    the mask and ``second`` what is to be left."""

    __slots__ = ("index", "operator", "second", "value")

    def __init__(self, index: int, operator: str, value: int, second: int = 0) -> None:
        self.index = index
        self.operator = operator
        self.value = value & 0xFFFFFFFFFFFFFFFF
        self.second = second & 0xFFFFFFFFFFFFFFFF


class Rule:
    """``action`` (a SECCOMP_RET_* value with its data) for calls with one of ``numbers`` whose arguments pass
    all ``comparisons``."""

    __slots__ = ("action", "comparisons", "numbers")

    def __init__(self, numbers: Iterable[int], action: int, comparisons: Iterable[Comparison] = ()) -> None:
        self.numbers = tuple(numbers)
        self.action = action
        self.comparisons = tuple(comparisons)


def compile_rules(default: int, rules: Sequence[Rule], foreign: int = RET_KILL_PROCESS) -> bpf.Program:
    """The program: the first rule that fits a call answers, else ``default``; calls of another architecture,
    ``foreign``. Raises RunscError if it gets too long."""
    code: list[bpf.Instruction] = [(bpf.LD_ABS, 0, 0, 4), (bpf.JEQ, 1, 0, bpf.AUDIT_ARCH_X86_64)]
    code.append((bpf.RET_K, 0, 0, foreign))
    code.append((bpf.LD_ABS, 0, 0, 0))
    by_number: dict[int, list[Rule]] = {}
    for rule in rules:
        for number in rule.numbers:
            found = by_number.setdefault(number, [])
            # What stands behind a rule without conditions can't be reached.
            if not found or found[-1].comparisons:
                found.append(rule)
    for number, found in sorted(by_number.items()):
        body = _body(found, default)
        if len(body) < 256:
            code.append((bpf.JEQ, 0, len(body), number))
        else:
            # A conditional jump reaches 255 instructions, the other kind any number.
            code += [(bpf.JEQ, 1, 0, number), (bpf.JA, 0, 0, len(body))]
        code += body
    code.append((bpf.RET_K, 0, 0, default))
    if len(code) > bpf.MAX_INSTRUCTIONS:
        raise RunscError("the seccomp profile is too long for one filter", "give fewer rules with arguments")
    bpf.check(code)
    return bpf.Program(code)


def _body(rules: Sequence[Rule], default: int) -> list[bpf.Instruction]:
    """What is done for one number: its rules in order, each falling to the next."""
    code: list[bpf.Instruction] = []
    for rule in rules:
        test: list[bpf.Instruction] = []
        for comparison in reversed(rule.comparisons):
            # Behind a comparison stand those of the same rule, and its answer: that is how far a miss jumps.
            test = _comparison(comparison, len(test) + 1) + test
        code += [*test, (bpf.RET_K, 0, 0, rule.action)]
    if rules[-1].comparisons:
        code.append((bpf.RET_K, 0, 0, default))
    return code


def _comparison(wanted: Comparison, behind: int) -> list[bpf.Instruction]:
    """Compare 64 bits in two halves: fall through if it holds, jump over ``behind`` instructions if not."""
    low_at, high_at = 16 + 8 * wanted.index, 20 + 8 * wanted.index
    operator, value = wanted.operator, wanted.value
    mask: int | None = None
    if operator == "SCMP_CMP_MASKED_EQ":
        mask, value = wanted.value, wanted.second
    low, high = value & 0xFFFFFFFF, value >> 32

    def load(at: int, part: int | None) -> list[bpf.Instruction]:
        code: list[bpf.Instruction] = [(bpf.LD_ABS, 0, 0, at)]
        if part is not None:
            code.append((bpf.AND, 0, 0, part))
        return code

    first = load(high_at, None if mask is None else mask >> 32)
    second = load(low_at, None if mask is None else mask & 0xFFFFFFFF)
    rest = len(second)
    if operator in ("SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"):
        return [*first, (bpf.JEQ, 0, rest + 1 + behind, high), *second, (bpf.JEQ, 0, behind, low)]
    if operator == "SCMP_CMP_NE":
        return [*first, (bpf.JEQ, 0, rest + 1, high), *second, (bpf.JEQ, behind, 0, low)]
    # Unequal high halves decide; equal ones leave it to the low halves.
    if operator in ("SCMP_CMP_GT", "SCMP_CMP_GE"):
        last = bpf.JGT if operator == "SCMP_CMP_GT" else bpf.JGE
        return [
            *first,
            (bpf.JGT, rest + 2, 0, high),
            (bpf.JEQ, 0, rest + 1 + behind, high),
            *second,
            (last, 0, behind, low),
        ]
    last = bpf.JGE if operator == "SCMP_CMP_LT" else bpf.JGT
    return [
        *first,
        (bpf.JGT, rest + 2 + behind, 0, high),
        (bpf.JEQ, 0, rest + 1, high),
        *second,
        (last, behind, 0, low),
    ]


def parse_profile(profile: Mapping[str, Any]) -> bpf.Program:
    """The program of a ``linux.seccomp`` object. Names of calls that x86-64 doesn't have are left out, as
    libseccomp does. Raises RunscError with what is wrong in it."""
    default = _action(profile, "defaultAction", profile.get("defaultErrnoRet"))
    rules = []
    for entry in profile.get("syscalls") or ():
        action = _action(entry, "action", entry.get("errnoRet"))
        numbers = [_NUMBERS[name] for name in entry.get("names", ()) if name in _NUMBERS]
        comparisons = [_argument(argument) for argument in entry.get("args") or ()]
        if action == default and not comparisons:
            continue
        rules.append(Rule(numbers, action, comparisons))
    return compile_rules(default, rules)


def _action(entry: Mapping[str, Any], key: str, errno: Any) -> int:
    name = entry.get(key)
    if name not in ACTIONS:
        raise RunscError(f"seccomp: {key} {name!r} is not known", f"use one of {', '.join(ACTIONS)}")
    action = ACTIONS[name]
    if action in (RET_ERRNO, RET_TRACE):
        data = _EPERM if errno is None else errno
        if not isinstance(data, int) or not 0 <= data <= 0xFFFF:
            raise RunscError(f"seccomp: the errno {errno!r} is no errno", "give a number up to 4095")
        return action | data
    if errno is not None:
        raise RunscError(f"seccomp: {name} takes no errno", "leave errnoRet out")
    return action


def _argument(entry: Mapping[str, Any]) -> Comparison:
    index, operator = entry.get("index"), entry.get("op")
    if not isinstance(index, int) or not 0 <= index < 6:
        raise RunscError(f"seccomp: there is no argument {index!r}", "give an index from 0 to 5")
    if operator not in OPERATORS:
        raise RunscError(f"seccomp: op {operator!r} is not known", f"use one of {', '.join(OPERATORS)}")
    value, second = entry.get("value", 0), entry.get("valueTwo", 0)
    if not isinstance(value, int) or not isinstance(second, int):
        raise RunscError("seccomp: an argument's value is no number", "give value and valueTwo as numbers")
    return Comparison(index, operator, value, second)
