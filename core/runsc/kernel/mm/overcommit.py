"""How much memory may be promised (vm.overcommit_memory: __vm_enough_memory)."""

from __future__ import annotations

from runsc.kernel.fs.proc.hostfacts import host_facts
from runsc.kernel.mm.vma import PROT_WRITE
from runsc.kernel.tunables import OVERCOMMIT_ALWAYS, OVERCOMMIT_NEVER, tunables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.mm.mm import MemoryManager

#: What is asked of the host's figures only beyond this many pages: less is there.
_SURE = 1 << 16


def may_promise(kernel: Kernel, pages: int) -> bool:
    """May ``pages`` more of memory that will be written be handed out?

    The usual mode refuses only what could never fit, the strict one what exceeds CommitLimit, and the third
    nothing."""
    mode = tunables(kernel).overcommit_memory
    if mode == OVERCOMMIT_ALWAYS or (mode != OVERCOMMIT_NEVER and pages < _SURE):
        return True
    memory = host_facts(kernel).memory()
    if mode != OVERCOMMIT_NEVER:
        return pages * 4 <= memory["MemTotal"] + memory["SwapTotal"]
    return committed_pages(kernel) + pages <= commit_limit(kernel, memory) // 4


def commit_limit(kernel: Kernel, memory: dict[str, int]) -> int:
    """CommitLimit in kB."""
    settings = tunables(kernel)
    if settings.overcommit_kbytes:
        return settings.overcommit_kbytes + memory["SwapTotal"]
    return memory["MemTotal"] * settings.overcommit_ratio // 100 + memory["SwapTotal"]


def committed_pages(kernel: Kernel) -> int:
    """Pages that all processes have been promised (Committed_AS)."""
    spaces: dict[int, MemoryManager] = {}
    for task in kernel.tasks.values():
        if not task.mm.released:
            spaces[id(task.mm)] = task.mm
    return sum(promised_pages(mm) for mm in spaces.values())


def promised_pages(mm: MemoryManager) -> int:
    """Pages of private memory that can be written."""
    return sum(
        vma.end - vma.start for vma in mm.vmas if vma.prot & PROT_WRITE and not vma.shared and not vma.fixed
    ) // 4096  # fmt: skip
