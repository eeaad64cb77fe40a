"""Arguments of calls about processes and signals that depend on one another (see ``runsc.strace.calls``)."""

from __future__ import annotations

from struct import unpack_from

from runsc.abi import prctl as pr
from runsc.strace import flags
from runsc.strace.arguments import (
    MOST_ENTRIES,
    address,
    in_struct,
    out_struct,
    string,
    unsigned64,
)
from runsc.strace.file_calls import out_string
from runsc.strace.signals import wait_status_text
from runsc.strace.structs import sigset_text
from runsc.strace.text import Enum, pointer, signed32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.strace.view import Formatter, View

# -- processes --------------------------------------------------------------------------------------


def wait_status(view: View, index: int) -> str:
    """The status that wait4 stored, if it did."""
    addr = view.args[index]
    data = view.read(addr, 4) if addr and not view.failed and view.result else None
    return pointer(addr) if data is None else f"[{wait_status_text(int.from_bytes(data, 'little'))}]"


def rusage_if_waited(view: View, index: int) -> str:
    """The usage that wait4 stored, if it did."""
    return out_struct("rusage")(view, index) if view.result else pointer(view.args[index])


_CLONE_SETTLS, _PARENT_SETTID, _CLEARTID, _SETTID, _PIDFD = 0x80000, 0x100000, 0x200000, 0x1000000, 0x1000


def _clone_flags(value: int) -> str:
    number = value & 0xFF
    rest = value & ~0xFF
    names = flags.CLONE(rest) if rest else ""
    signal = flags.SIGNALS.get(number) or (str(number) if number else "")
    return "|".join(part for part in (names, signal) if part) or "0"


def clone_before(view: View) -> list[str]:
    """clone's arguments that are known at once."""
    return [f"child_stack={pointer(view.args[1])}", f"flags={_clone_flags(view.args[0])}"]


def clone_after(view: View, parts: list[str]) -> list[str]:
    """And those that depend on the flags."""
    options, _stack, parent_tid, child_tid, tls = view.args[:5]
    if options & (_PARENT_SETTID | _PIDFD):
        data = view.read(parent_tid, 4) if not view.failed else None
        shown = pointer(parent_tid) if data is None else f"[{int.from_bytes(data, 'little', signed=True)}]"
        parts.append(f"parent_tid={shown}")
    if options & _CLONE_SETTLS:
        parts.append(f"tls={pointer(tls)}")
    if options & (_SETTID | _CLEARTID):
        parts.append(f"child_tidptr={pointer(child_tid)}")
    return parts


def clone3_arguments(view: View, index: int) -> str:
    """The fields of struct clone_args that the flags give a meaning."""
    addr = view.args[index]
    data = view.read(addr, min(view.args[1], 88)) if view.args[1] >= 64 else None
    if data is None:
        return pointer(addr)
    options, pidfd, child, parent, signo, stack, size, tls = unpack_from("<8Q", data)
    text = f"{{flags={flags.CLONE(options)}"
    for wanted, name, value in (
        (_PIDFD, "pidfd", pidfd),
        (_SETTID | _CLEARTID, "child_tid", child),
        (_PARENT_SETTID, "parent_tid", parent),
    ):
        if options & wanted:
            text += f", {name}={pointer(value)}"
    text += f", exit_signal={flags.SIGNALS.get(signo) or signo}, stack={pointer(stack)}, stack_size={size:#x}"
    text = text.replace("stack_size=0x0", "stack_size=0")
    if options & _CLONE_SETTLS:
        text += f", tls={pointer(tls)}"
    text += "}"
    if not view.failed and options & _PARENT_SETTID:
        word = view.read(parent, 4)
        if word is not None:
            text += f" => {{parent_tid=[{int.from_bytes(word, 'little', signed=True)}]}}"
    return text


def futex_arguments(view: View) -> list[str]:
    """futex's arguments: which there are, and what they mean, depends on the operation."""
    word, code, value, other, word2, value3 = view.args
    operation = code & 0x7F
    parts = [pointer(word), flags.futex_op(signed32(code))]
    timeout = in_struct("timespec")(view, 3)
    if operation in (7, 8):  # UNLOCK_PI, TRYLOCK_PI
        return parts
    if operation in (6, 13):  # LOCK_PI, LOCK_PI2
        return [*parts, timeout]
    parts.append(str(value & 0xFFFFFFFF))
    bits = value3 & 0xFFFFFFFF
    bitset = "FUTEX_BITSET_MATCH_ANY" if bits == 0xFFFFFFFF else f"{bits:#x}" if bits else "0"
    if operation in (1, 2):  # WAKE, FD
        return parts
    if operation == 0:  # WAIT
        return [*parts, timeout]
    if operation == 9:  # WAIT_BITSET
        return [*parts, timeout, bitset]
    if operation == 10:  # WAKE_BITSET
        return [*parts, bitset]
    if operation == 11:  # WAIT_REQUEUE_PI
        return [*parts, timeout, pointer(word2)]
    if operation in (3, 4, 5, 12):  # REQUEUE, CMP_REQUEUE, WAKE_OP, CMP_REQUEUE_PI
        parts += [str(other & 0xFFFFFFFF), pointer(word2)]
        return parts if operation == 3 else [*parts, f"{bits:#x}" if operation == 5 else str(bits)]
    return [*parts, *(f"{extra:#x}" if extra else "0" for extra in (other, word2, value3))]


# -- prctl ------------------------------------------------------------------------------------------

_PRCTL_OUT_INT = (pr.PR_GET_PDEATHSIG, pr.PR_GET_CHILD_SUBREAPER, pr.PR_GET_TSC)
_PRCTL_NONE = (
    pr.PR_GET_DUMPABLE,
    pr.PR_GET_KEEPCAPS,
    pr.PR_GET_SECUREBITS,
    pr.PR_GET_TIMERSLACK,
    pr.PR_GET_SECCOMP,
    pr.PR_GET_TIMING,
)
_PRCTL_ONE = (
    pr.PR_SET_PDEATHSIG,
    pr.PR_SET_DUMPABLE,
    pr.PR_SET_KEEPCAPS,
    pr.PR_SET_NAME,
    pr.PR_GET_NAME,
    pr.PR_CAPBSET_READ,
    pr.PR_CAPBSET_DROP,
    pr.PR_SET_TIMERSLACK,
    pr.PR_SET_CHILD_SUBREAPER,
    pr.PR_SET_SECUREBITS,
    pr.PR_SET_TIMING,
    pr.PR_SET_TSC,
)


_DUMPABLE = Enum("SUID_DUMP_???", {0: "SUID_DUMP_DISABLE", 1: "SUID_DUMP_USER", 2: "SUID_DUMP_ROOT"})


def prctl_note(view: View) -> str:
    """The result of PR_GET_DUMPABLE by name."""
    if signed32(view.args[0]) == pr.PR_GET_DUMPABLE and not view.failed:
        return f" ({_DUMPABLE(view.result or 0)})"
    return ""


def prctl_count(view: View) -> int:
    """How many arguments the option has."""
    option = signed32(view.args[0])
    if option in _PRCTL_NONE:
        return 1
    if option in _PRCTL_ONE or option in _PRCTL_OUT_INT:
        return 2
    return 5


def prctl_argument(view: View, index: int) -> str:
    """The option's first argument."""
    option = signed32(view.args[0])
    if option == pr.PR_SET_NAME:
        return string(view, index)
    if option == pr.PR_GET_NAME:
        return out_string(view, index)
    if option in _PRCTL_OUT_INT:
        return out_struct("int")(view, index)
    if option == pr.PR_SET_PDEATHSIG:
        return flags.SIGNALS.get(view.args[index]) or str(view.args[index])
    if option == pr.PR_SET_DUMPABLE:
        return _DUMPABLE(view.args[index])
    if option in (
        pr.PR_SET_KEEPCAPS,
        pr.PR_SET_NO_NEW_PRIVS,
        pr.PR_GET_NO_NEW_PRIVS,
        pr.PR_SET_TIMERSLACK,
        pr.PR_SET_CHILD_SUBREAPER,
    ):
        return unsigned64(view, index)
    return f"{view.args[index]:#x}" if view.args[index] else "0"


def prctl_rest(view: View, index: int) -> str:
    """The option's other arguments."""
    if signed32(view.args[0]) in (pr.PR_SET_NO_NEW_PRIVS, pr.PR_GET_NO_NEW_PRIVS):
        return unsigned64(view, index)
    return f"{view.args[index]:#x}" if view.args[index] else "0"


def arch_prctl_argument(view: View, index: int) -> str:
    """A segment base, to set or as it was got."""
    if view.args[0] in (pr.ARCH_GET_FS, pr.ARCH_GET_GS) and not view.failed:
        data = view.read(view.args[index], 8)
        if data is not None:
            return f"[{pointer(int.from_bytes(data, 'little'))}]"
    return address(view, index)


# -- lists of numbers -------------------------------------------------------------------------------


def _cpu_set(view: View, addr: int, length: int) -> str:
    data = view.read(addr, min(length, 128))
    if data is None:
        return pointer(addr)
    bits = int.from_bytes(data, "little")
    return "[" + " ".join(str(cpu) for cpu in range(8 * len(data)) if bits >> cpu & 1) + "]"


def in_cpus(view: View, index: int) -> str:
    """A CPU set that is given."""
    return _cpu_set(view, view.args[index], view.args[1] & 0xFFFFFFFF)


def out_cpus(view: View, index: int) -> str:
    """The CPU set that came back."""
    if view.failed or view.result is None:
        return pointer(view.args[index])
    return _cpu_set(view, view.args[index], view.result)


def _groups(view: View, index: int, count: int) -> str:
    addr = view.args[index]
    if not addr:
        return "NULL"
    shown = min(count, MOST_ENTRIES)
    data = view.read(addr, 4 * shown)
    if data is None:
        return pointer(addr)
    parts = [str(gid) for gid in unpack_from(f"<{shown}I", data)]
    return "[" + ", ".join(parts if shown == count else [*parts, "..."]) + "]"


def in_groups(view: View, index: int) -> str:
    """The groups that are given."""
    return _groups(view, index, signed32(view.args[0]))


def out_groups(view: View, index: int) -> str:
    """The groups that came back."""
    if view.failed or view.result is None or not view.args[0]:
        return pointer(view.args[index])
    return _groups(view, index, view.result)


def sysinfo(view: View, index: int) -> str:
    """struct sysinfo."""
    data = None if view.failed else view.read(view.args[index], 112)
    if data is None:
        return pointer(view.args[index])
    v = unpack_from("<q9QH6xQQI", data)
    return (
        f"{{uptime={v[0]}, loads=[{v[1]}, {v[2]}, {v[3]}], totalram={v[4]}, freeram={v[5]}, "
        f"sharedram={v[6]}, bufferram={v[7]}, totalswap={v[8]}, freeswap={v[9]}, procs={v[10]}, "
        f"totalhigh={v[11]}, "
        f"freehigh={v[12]}, mem_unit={v[13]}}}"
    )


# -- signals ----------------------------------------------------------------------------------------


def in_stack(view: View, index: int) -> str:
    """An alternate signal stack."""
    addr = view.args[index]
    data = view.read(addr, 24) if addr else None
    if data is None:
        return pointer(addr)
    base, options, size = unpack_from("<QI4xQ", data)
    return f"{{ss_sp={pointer(base)}, ss_flags={flags.SS_FLAGS(options)}, ss_size={size}}}"


def out_stack(view: View, index: int) -> str:
    """The alternate signal stack that was."""
    return pointer(view.args[index]) if view.failed else in_stack(view, index)


def remaining(view: View, index: int) -> str:
    """The time left, which is written only when the sleep was interrupted."""
    if view.result in (-4, -516):
        return in_struct("timespec")(view, index)
    return pointer(view.args[index])


def sized_sigset(size_index: int, late: bool = False) -> tuple[Formatter, bool]:
    """A signal set, if the size that goes with it is the one there is."""

    def shown(view: View, index: int) -> str:
        addr = view.args[index]
        hidden = view.args[size_index] != 8 or (late and view.failed) or not addr
        data = None if hidden else view.read(addr, 8)
        return pointer(addr) if data is None else sigset_text(int.from_bytes(data, "little"))

    return shown, late
