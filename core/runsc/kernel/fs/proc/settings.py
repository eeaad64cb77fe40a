"""Settings of /proc/sys that can be written: numbers within bounds (kernel/sysctl.c)."""

from __future__ import annotations

from errno import EINVAL

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc.node import ProcFile, ProcFs
from runsc.kernel.ipc.namespace import ipc_tables
from runsc.kernel.tunables import tunables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runsc.kernel.kernel import Kernel
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


# -- settings of the kernel that take effect ---------------------------------------------------------

#: file: (field of Tunables, lowest, highest)
_TUNABLES: dict[str, tuple[str, int, int]] = {
    "fs/aio-max-nr": ("aio_max_nr", 0, ULONG_MAX),
    "fs/file-max": ("file_max", 0, (1 << 63) - 1),
    "fs/lease-break-time": ("lease_break_time", INT_MIN, INT_MAX),
    "fs/leases-enable": ("leases_enable", 0, 1),
    "fs/nr_open": ("nr_open", 64, INT_MAX & ~63),
    "fs/pipe-max-size": ("pipe_max_size", 4096, 1 << 31),
    "kernel/threads-max": ("threads_max", 1, INT_MAX),
    "net/core/rmem_default": ("rmem_default", 2304, INT_MAX),
    "net/core/rmem_max": ("rmem_max", 2304, INT_MAX),
    "net/core/somaxconn": ("somaxconn", 0, INT_MAX),
    "net/core/wmem_default": ("wmem_default", 4608, INT_MAX),
    "net/core/wmem_max": ("wmem_max", 4608, INT_MAX),
    "net/unix/max_dgram_qlen": ("max_dgram_qlen", INT_MIN, INT_MAX),
    "vm/max_map_count": ("max_map_count", 0, INT_MAX),
    "vm/overcommit_kbytes": ("overcommit_kbytes", 0, ULONG_MAX),
    "vm/overcommit_memory": ("overcommit_memory", 0, 2),
    "vm/overcommit_ratio": ("overcommit_ratio", 0, INT_MAX),
}

#: Settings that Linux takes for hints, or for what happens outside of a sandbox (writing back, swapping,
#: what a crash does): they are kept and told. file: (value, lowest, highest)
_HINTS: dict[str, tuple[int, int, int]] = {
    "kernel/core_uses_pid": (0, INT_MIN, INT_MAX),
    "kernel/panic": (0, INT_MIN, INT_MAX),
    "vm/admin_reserve_kbytes": (8192, 0, ULONG_MAX),
    "vm/dirty_background_ratio": (10, 0, 100),
    "vm/dirty_expire_centisecs": (3000, 0, INT_MAX),
    "vm/dirty_ratio": (20, 0, 100),
    "vm/dirty_writeback_centisecs": (500, INT_MIN, INT_MAX),
    "vm/min_free_kbytes": (67584, 0, INT_MAX),
    "vm/nr_hugepages": (0, 0, 0),
    "vm/panic_on_oom": (0, 0, 2),
    "vm/swappiness": (60, 0, 200),
    "vm/user_reserve_kbytes": (131072, 0, ULONG_MAX),
    "vm/vfs_cache_pressure": (100, 0, INT_MAX),
}

#: The longest kernel.core_pattern (CORENAME_MAX_SIZE).
_PATTERN_MAX = 128


def tunable_files(fs: ProcFs, kernel: Kernel) -> dict[str, ProcFile]:
    """The settings of the kernel: those with an effect, and those that are only kept."""
    files = {name: _tunable_file(fs, kernel, *about) for name, about in _TUNABLES.items()}
    for name, (value, low, high) in _HINTS.items():
        files[name] = _kept_file(fs, kernel, name, value, low, high)
    files["kernel/core_pattern"] = _core_pattern_file(fs, kernel)
    files["kernel/pid_max"] = vector_file(
        fs, lambda reader: (reader.pid_ns.limit,), _set_pid_max, 301, 1 << 22
    )
    return files


def _tunable_file(fs: ProcFs, kernel: Kernel, field: str, low: int, high: int) -> ProcFile:
    settings = tunables(kernel)

    def put(writer: Task, values: list[int]) -> None:
        value = values[0]
        if field == "pipe_max_size":
            value = max(4096, 1 << (value - 1).bit_length())
        setattr(settings, field, value)

    return vector_file(fs, lambda reader: (getattr(settings, field),), put, low, high)


def _kept_file(fs: ProcFs, kernel: Kernel, name: str, value: int, low: int, high: int) -> ProcFile:
    kept: dict[str, int] = kernel.extra.setdefault("sysctl", {})

    def put(writer: Task, values: list[int]) -> None:
        kept[name] = values[0]

    return vector_file(fs, lambda reader: (kept.get(name, value),), put, low, high)


def _core_pattern_file(fs: ProcFs, kernel: Kernel) -> ProcFile:
    """Where a core would go. Nothing dumps core here, so a program behind ``|`` is never started."""
    kept: dict[str, bytes] = kernel.extra.setdefault("core_pattern", {})

    def store(writer: Task, data: bytes) -> None:
        kept["pattern"] = data.split(b"\n", 1)[0].split(b"\0", 1)[0][: _PATTERN_MAX - 1]

    return ProcFile(fs, lambda reader: kept.get("pattern", b"core") + b"\n", store)


def _set_pid_max(writer: Task, values: list[int]) -> None:
    writer.pid_ns.limit = values[0]
