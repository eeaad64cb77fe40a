"""Settings of /proc/sys that can be written: numbers within bounds (kernel/sysctl.c)."""

from __future__ import annotations

from errno import EINVAL

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc.node import ProcFile, ProcFs
from runsc.kernel.ipc.namespace import ipc_tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runsc.kernel.task import Task

INT_MAX = 0x7FFFFFFF
INT_MIN = -INT_MAX - 1
ULONG_MAX = 0xFFFFFFFFFFFFFFFF
#: The most objects of a kind (IPCMNI).
_IPCMNI = 32768


def parse_vector(data: bytes, current: Sequence[int], low: int, high: int) -> list[int]:
    """Up to as many numbers as ``current`` has, separated by white space; what isn't given stays.

    Raises EINVAL for anything else, and for a number out of bounds (proc_dointvec_minmax)."""
    words = data.split(b"\0", 1)[0].split()
    if not words:
        raise LinuxError(EINVAL)
    values = list(current)
    for index, word in enumerate(words[: len(values)]):
        values[index] = parse_number(word, low, high)
    return values


def parse_number(word: bytes, low: int, high: int) -> int:
    """One number in C's notation (0x, 0, decimal), within bounds; raises EINVAL."""
    negative = word[:1] == b"-"
    digits = word[1:] if negative else word
    if not digits[:1].isdigit() or b"_" in digits:
        raise LinuxError(EINVAL)
    if digits[:2].lower() == b"0x":
        base, digits = 16, digits[2:]
    else:
        base = 8 if digits[:1] == b"0" and len(digits) > 1 else 10
    try:
        value = int(digits, base)
    except ValueError:
        raise LinuxError(EINVAL) from None
    if negative:
        value = -value
    if not low <= value <= high:
        raise LinuxError(EINVAL)
    return value


def vector_file(
    fs: ProcFs,
    get: Callable[[Task], Sequence[int]],
    put: Callable[[Task, list[int]], None],
    low: int = INT_MIN,
    high: int = INT_MAX,
) -> ProcFile:
    """A file of numbers, separated by tabs."""

    def show(reader: Task) -> str:
        return "\t".join(str(value) for value in get(reader)) + "\n"

    def store(writer: Task, data: bytes) -> None:
        put(writer, parse_vector(data, get(writer), low, high))

    return ProcFile(fs, show, store)


# -- the limits of the IPC namespace ----------------------------------------------------------------

#: file: (fields of IpcLimits, lowest, highest)
_IPC: dict[str, tuple[tuple[str, ...], int, int]] = {
    "kernel/shmmax": (("shm_ctlmax",), 0, ULONG_MAX),
    "kernel/shmall": (("shm_ctlall",), 0, ULONG_MAX),
    "kernel/shmmni": (("shm_ctlmni",), 0, _IPCMNI),
    "kernel/shm_rmid_forced": (("shm_rmid_forced",), 0, 1),
    "kernel/msgmax": (("msg_ctlmax",), 0, INT_MAX),
    "kernel/msgmnb": (("msg_ctlmnb",), 0, INT_MAX),
    "kernel/msgmni": (("msg_ctlmni",), 0, _IPCMNI),
    "kernel/sem": (("sem_ctlmsl", "sem_ctlmns", "sem_ctlopm", "sem_ctlmni"), INT_MIN, INT_MAX),
    "fs/mqueue/queues_max": (("mq_queues_max",), INT_MIN, INT_MAX),
    "fs/mqueue/msg_max": (("mq_msg_max",), 1, 65536),
    "fs/mqueue/msg_default": (("mq_msg_default",), 1, 65536),
    "fs/mqueue/msgsize_max": (("mq_msgsize_max",), 128, 16 << 20),
    "fs/mqueue/msgsize_default": (("mq_msgsize_default",), 128, 16 << 20),
}


def ipc_files(fs: ProcFs) -> dict[str, ProcFile]:
    """The limits of the namespace of whoever looks."""
    files: dict[str, ProcFile] = {}
    for name, (fields, low, high) in _IPC.items():
        files[name] = _ipc_file(fs, name, fields, low, high)
    return files


def _ipc_file(fs: ProcFs, name: str, fields: tuple[str, ...], low: int, high: int) -> ProcFile:
    def get(reader: Task) -> list[int]:
        limits = ipc_tables(reader).limits
        return [getattr(limits, field) for field in fields]

    def put(writer: Task, values: list[int]) -> None:
        if name == "kernel/sem" and not 0 <= values[3] <= _IPCMNI:
            raise LinuxError(EINVAL)
        limits = ipc_tables(writer).limits
        for field, value in zip(fields, values, strict=True):
            setattr(limits, field, value)

    return vector_file(fs, get, put, low, high)
