"""The areas of a process: maps, smaps, smaps_rollup (proc(5), fs/proc/task_mmu.c)."""

from __future__ import annotations

from os import major, minor

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc.access import check_access
from runsc.kernel.mm.vma import PAGE, PROT_EXEC, PROT_READ, PROT_WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.mm.mm import MemoryManager
    from runsc.kernel.mm.vma import Vma
    from runsc.kernel.task import Task

#: Where names begin (25 + 6 * sizeof(long) columns).
_NAME_COLUMN = 73

#: Fields of an area in smaps, in Linux's order; those that aren't known are 0.
_SMAPS_FIELDS = (
    "Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced",
    "Anonymous", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb",
    "Private_Hugetlb", "Swap", "SwapPss", "Locked",
)  # fmt: skip


def area_name(vma: Vma, mm: MemoryManager, reader: Task) -> str:
    """What the last column says of an area."""
    file = vma.file
    if file is not None:
        if file.path is None:
            return file.describe()
        name = reader.fs.namespace.path_string(file.path, reader.fs.root)
        return name.decode("utf-8", "surrogateescape").replace("\n", "\\012")
    if vma.name:
        return vma.name
    if vma.start <= mm.brk and vma.end >= mm.brk_start and mm.brk > mm.brk_start:
        return "[heap]"
    if vma.start <= mm.stack_start <= vma.end:
        return "[stack]"
    return ""


def area_line(vma: Vma, mm: MemoryManager, reader: Task) -> str:
    """The line of one area in maps."""
    prot = vma.prot
    bits = (
        ("r" if prot & PROT_READ else "-")
        + ("w" if prot & PROT_WRITE else "-")
        + ("x" if prot & PROT_EXEC else "-")
        + ("s" if vma.shared else "p")
    )
    dev = ino = offset = 0
    if vma.file is not None:
        inode = vma.file.inode
        dev, ino, offset = inode.fs.dev, inode.ino, vma.offset
    line = f"{vma.start:08x}-{vma.end:08x} {bits} {offset:08x} {major(dev):02x}:{minor(dev):02x} {ino} "
    name = area_name(vma, mm, reader)
    return line.ljust(_NAME_COLUMN) + name + "\n" if name else line + "\n"


def _memory(target: Task, reader: Task) -> MemoryManager | None:
    check_access(reader, target)
    return None if target.mm.released or target.group.zombie else target.mm


def show_maps(target: Task, reader: Task) -> str:
    """/proc/PID/maps."""
    mm = _memory(target, reader)
    if mm is None:
        return ""
    return "".join([area_line(vma, mm, reader) for vma in mm.vmas])


def _resident(mm: MemoryManager, vma: Vma) -> int:
    """kB in core, as far as the platform can tell."""
    try:
        pages = mm.space.residency(vma.start, vma.end - vma.start)
    except (OSError, LinuxError):
        return 0  # an area that the platform's host has no pages for
    return (len(pages) - pages.count(0)) * (PAGE // 1024)


def _sizes(mm: MemoryManager, vma: Vma) -> dict[str, int]:
    resident = _resident(mm, vma)
    anonymous = resident if vma.file is None and not vma.shared else 0
    sizes = dict.fromkeys(_SMAPS_FIELDS, 0)
    sizes["Rss"] = sizes["Pss"] = sizes["Referenced"] = resident
    sizes["Anonymous"] = anonymous
    sizes["Private_Dirty"] = sizes["Pss_Dirty"] = anonymous
    sizes["Shared_Dirty" if vma.shared else "Private_Clean"] = resident - anonymous
    sizes["Locked"] = resident if vma.locked else 0
    return sizes


def _fields(sizes: dict[str, int]) -> str:
    return "".join(f"{name + ':':<16}{value:8} kB\n" for name, value in sizes.items())


def _flags(vma: Vma) -> str:
    """VmFlags: what is set, and what may be set by mprotect(2)."""
    flags = [
        name for bit, name in ((PROT_READ, "rd"), (PROT_WRITE, "wr"), (PROT_EXEC, "ex")) if vma.prot & bit
    ]
    if vma.shared:
        flags.append("sh")
    flags += ["mr", "mw", "me"]
    if vma.shared:
        flags.append("ms")
    if vma.grows_down:
        flags.append("gd")
    if vma.locked:
        flags.append("lo")
    if vma.dontfork:
        flags.append("dc")
    if vma.wipeonfork:
        flags.append("wf")
    return "".join(flag + " " for flag in flags)


def show_smaps(target: Task, reader: Task) -> str:
    """/proc/PID/smaps. What is resident is known, how it is shared isn't: Pss is Rss."""
    mm = _memory(target, reader)
    if mm is None:
        return ""
    parts = []
    for vma in mm.vmas:
        size = (vma.end - vma.start) // 1024
        parts.append(area_line(vma, mm, reader))
        parts.append(_fields({"Size": size, "KernelPageSize": 4, "MMUPageSize": 4}))
        parts.append(_fields(_sizes(mm, vma)))
        parts.append(f"THPeligible:    {0:8}\nVmFlags: {_flags(vma)}\n")
    return "".join(parts)


def show_smaps_rollup(target: Task, reader: Task) -> str:
    """/proc/PID/smaps_rollup: the sums."""
    mm = _memory(target, reader)
    if mm is None or not len(mm.vmas):
        return ""
    total: dict[str, int] = {}
    for vma in mm.vmas:
        for name, value in _sizes(mm, vma).items():
            total[name] = total.get(name, 0) + value
    shown: dict[str, int] = {}
    for name, value in total.items():
        shown[name] = value
        if name == "Pss_Dirty":
            shown["Pss_Anon"] = total["Anonymous"]
            shown["Pss_File"] = total["Rss"] - total["Anonymous"] - total["Shared_Dirty"]
            shown["Pss_Shmem"] = total["Shared_Dirty"]
    areas = mm.vmas.areas
    head = f"{areas[0].start:08x}-{areas[-1].end:08x} ---p 00000000 00:00 0 ".ljust(_NAME_COLUMN)
    return head + "[rollup]\n" + _fields(shown)
