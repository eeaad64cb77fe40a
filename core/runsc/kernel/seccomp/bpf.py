"""Classic BPF as seccomp takes it: the check of a program, and running it (net/core/filter.c,
kernel/seccomp.c).

A program sees ``struct seccomp_data``: the call's number, the architecture, the instruction pointer, six
arguments. For most numbers the answer depends on nothing else: ``Program.decide`` finds that out by running
with the number alone known, remembers it, and otherwise remembers where the first look at anything else is,
to go on from there.
"""

from __future__ import annotations

from errno import EINVAL

from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: code, jt, jf, k of struct sock_filter
    Instruction = tuple[int, int, int, int]
    Words = Callable[[int], int]

MAX_INSTRUCTIONS = 4096
#: Bytes of struct seccomp_data.
DATA_SIZE = 64
AUDIT_ARCH_X86_64 = 0xC000003E

_MEMORY_WORDS = 16
_U32 = 0xFFFFFFFF

# Opcodes (linux/bpf_common.h), those that seccomp knows.
LD_ABS, LD_LEN, LD_IMM, LD_MEM = 0x20, 0x80, 0x00, 0x60
LDX_LEN, LDX_IMM, LDX_MEM = 0x81, 0x01, 0x61
ST, STX = 0x02, 0x03
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, XOR = 0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x84, 0xA4
JA, JEQ, JGT, JGE, JSET = 0x05, 0x15, 0x25, 0x35, 0x45
RET_K, RET_A = 0x06, 0x16
TAX, TXA = 0x07, 0x87
#: The second operand is X instead of the constant.
BY_X = 0x08

ARITHMETIC = (ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, XOR)
_BRANCHES = (JEQ, JGT, JGE, JSET)
_KNOWN = frozenset((
    LD_ABS, LD_LEN, LD_IMM, LD_MEM, LDX_LEN, LDX_IMM, LDX_MEM, ST, STX, NEG, JA, RET_K, RET_A, TAX, TXA,
    *ARITHMETIC, *(code | BY_X for code in ARITHMETIC),
    *_BRANCHES, *(code | BY_X for code in _BRANCHES),
))  # fmt: skip


def check(program: Sequence[Instruction]) -> None:
    """Raise EINVAL unless the kernel would take the program: known opcodes, jumps forwards and within it,
    loads within the data and aligned, no read of memory that wasn't written, a return at its end
    (bpf_check_classic, check_load_and_stores, seccomp_check_filter)."""
    count = len(program)
    if not 0 < count <= MAX_INSTRUCTIONS:
        raise LinuxError(EINVAL)
    #: which memory words are surely written when an instruction is reached
    written = [_U32] * count
    valid = 0
    for at, (code, jt, jf, k) in enumerate(program):
        valid &= written[at]
        if code not in _KNOWN:
            raise LinuxError(EINVAL)
        if code == LD_ABS and (k >= DATA_SIZE or k & 3):
            raise LinuxError(EINVAL)
        if (code == DIV and not k) or (code in (LSH, RSH) and k >= 32):
            raise LinuxError(EINVAL)
        if code in (ST, STX, LD_MEM, LDX_MEM):
            if k >= _MEMORY_WORDS:
                raise LinuxError(EINVAL)
            if code in (ST, STX):
                valid |= 1 << k
            elif not valid >> k & 1:
                raise LinuxError(EINVAL)
        elif code == JA:
            if k >= count - at - 1:
                raise LinuxError(EINVAL)
            written[at + 1 + k] &= valid
            valid = _U32
        elif code & 7 == JA:
            if at + 1 + max(jt, jf) >= count:
                raise LinuxError(EINVAL)
            written[at + 1 + jt] &= valid
            written[at + 1 + jf] &= valid
            valid = _U32
    if program[-1][0] not in (RET_K, RET_A):
        raise LinuxError(EINVAL)


class Program:
    """A checked program. ``known``: for numbers that were seen, the answer, or the state in which the first
    look at something else finds the machine."""

    __slots__ = ("code", "known")

    #: Numbers that are remembered: the calls there are, and some that aren't.
    LIMIT = 1024

    def __init__(self, code: Sequence[Instruction]) -> None:
        self.code = tuple(code)
        self.known: dict[int, int | tuple[int, int, int, tuple[int, ...]]] = {}

    def __len__(self) -> int:
        return len(self.code)

    def decide(self, number: int) -> int | None:
        """The answer for a call if it follows from the number alone."""
        found = self.known.get(number)
        if found is None:
            found = self._explore(number)
            if len(self.known) >= self.LIMIT:
                self.known.clear()
            self.known[number] = found
        return found if type(found) is int else None

    def _explore(self, number: int) -> int | tuple[int, int, int, tuple[int, ...]]:
        try:
            return self._run(0, 0, 0, [0] * _MEMORY_WORDS, lambda at: _first_words(number, at))
        except _Unknown as unknown:
            return unknown.state

    def run(self, number: int, words: Words) -> int:
        """The answer for a call; ``words(offset)`` reads struct seccomp_data."""
        decided = self.decide(number)
        if decided is not None:
            return decided
        at, a, x, memory = self.known[number]  # type: ignore[misc]
        return self._run(at, a, x, list(memory), words)

    def _run(self, at: int, a: int, x: int, memory: list[int], words: Words) -> int:
        code = self.code
        while True:
            op, jt, jf, k = code[at]
            at += 1
            kind = op & 7
            if kind == 5:
                if op == JA:
                    at += k
                    continue
                other = x if op & BY_X else k
                test = op & ~BY_X
                if test == JEQ:
                    holds = a == other
                elif test == JGT:
                    holds = a > other
                elif test == JGE:
                    holds = a >= other
                else:
                    holds = bool(a & other)
                at += jt if holds else jf
            elif op == LD_ABS:
                try:
                    a = words(k)
                except _Unknown as unknown:
                    unknown.state = (at - 1, a, x, tuple(memory))
                    raise
            elif op == RET_K:
                return k
            elif op == RET_A:
                return a
            elif kind == 4:
                other = x if op & BY_X else k
                if op == NEG:
                    a = -a & _U32
                    continue
                test = op & ~BY_X
                if test == DIV and not other:
                    return 0
                a = _compute(test, a, other)
            elif op == LD_IMM:
                a = k
            elif op == LD_MEM:
                a = memory[k]
            elif op == LD_LEN:
                a = DATA_SIZE
            elif op == LDX_IMM:
                x = k
            elif op == LDX_MEM:
                x = memory[k]
            elif op == LDX_LEN:
                x = DATA_SIZE
            elif op == ST:
                memory[k] = a
            elif op == STX:
                memory[k] = x
            elif op == TAX:
                x = a
            else:
                a = x  # TXA


def _compute(op: int, a: int, b: int) -> int:
    if op == ADD:
        return a + b & _U32
    if op == SUB:
        return a - b & _U32
    if op == MUL:
        return a * b & _U32
    if op == DIV:
        return a // b
    if op == OR:
        return a | b
    if op == AND:
        return a & b
    if op == XOR:
        return a ^ b
    if op == LSH:
        return a << (b & 31) & _U32
    return a >> (b & 31)


class _Unknown(Exception):
    """A program looks at what isn't known."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: tuple[int, int, int, tuple[int, ...]] = (0, 0, 0, ())


def _first_words(number: int, at: int) -> int:
    if at == 0:
        return number & _U32
    if at == 4:
        return AUDIT_ARCH_X86_64
    raise _Unknown
