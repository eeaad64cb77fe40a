"""pkey_alloc(2), pkey_free(2), pkey_mprotect(2): a processor without protection keys (mm/mprotect.c)."""

from __future__ import annotations

from errno import EINVAL, ENOSPC

from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import PARTIAL, Int, Prot, Ptr, Size, ULong, syscall
from runsc.kernel.syscalls.memory import mprotect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

_NONE = "the processor is said to have no protection keys"


@syscall(330, PARTIAL, _NONE)
def pkey_alloc(task: Task, flags: ULong, rights: ULong) -> int:
    """pkey_alloc(2)."""
    if flags or rights & ~3:
        raise LinuxError(EINVAL)
    raise LinuxError(ENOSPC)


@syscall(331, PARTIAL, _NONE)
def pkey_free(task: Task, pkey: Int) -> int:
    """pkey_free(2)."""
    raise LinuxError(EINVAL)


@syscall(329, PARTIAL, _NONE)
def pkey_mprotect(task: Task, addr: Ptr, length: Size, prot: Prot, pkey: Int) -> int:
    """pkey_mprotect(2): with -1 it is mprotect(2)."""
    if pkey != -1:
        raise LinuxError(EINVAL)
    return mprotect(task, addr, length, prot)  # type: ignore[return-value]
