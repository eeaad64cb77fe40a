"""How much memory may be promised (vm.overcommit_memory: __vm_enough_memory)."""

from __future__ import annotations

from runsc.kernel.fs.proc.hostfacts import host_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel


def could_ever_fit(kernel: Kernel, pages: int) -> bool:
    """Is ``pages`` no more than all memory and swap there is? What is more is refused whatever the mode but
    OVERCOMMIT_ALWAYS."""
    memory = host_facts(kernel).memory()
    return pages * 4 <= memory["MemTotal"] + memory["SwapTotal"]
