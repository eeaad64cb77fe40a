"""Memory policies of a machine with one node (set_mempolicy(2), mm/mempolicy.c): kept, checked and told."""

from __future__ import annotations

from errno import EINVAL

from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

DEFAULT, PREFERRED, BIND, INTERLEAVE, LOCAL, PREFERRED_MANY, WEIGHTED_INTERLEAVE = range(7)
F_STATIC_NODES = 1 << 15
F_RELATIVE_NODES = 1 << 14
F_NUMA_BALANCING = 1 << 13
_MODE_FLAGS = F_STATIC_NODES | F_RELATIVE_NODES | F_NUMA_BALANCING
#: The nodes there are, and the largest mask that a caller may hand over, in bits.
NODES = 1
_MAX_BITS = 4096 * 8
#: Linux is built for this many nodes (MAX_NUMNODES).
_POSSIBLE = 1024

#: (mode with flags, mask of nodes)
Policy = tuple[int, int]
DEFAULT_POLICY: Policy = (DEFAULT, 0)


def read_nodes(task: Task, addr: int, maxnode: int) -> int:
    """The mask of nodes at ``addr`` (get_nodes): ``maxnode`` counts one bit more than is looked at.

    Raises EINVAL, EFAULT."""
    maxnode -= 1
    if maxnode <= 0 or not addr:
        return 0
    if maxnode > _MAX_BITS:
        raise LinuxError(EINVAL)
    raw = task.mm.copy_in(addr, (maxnode + 63) // 64 * 8)
    mask = int.from_bytes(raw, "little") & ((1 << maxnode) - 1)
    if mask >> _POSSIBLE:
        raise LinuxError(EINVAL)
    return mask


def write_nodes(task: Task, addr: int, maxnode: int, mask: int) -> None:
    """The answer's mask (copy_nodes_to_user); raises EINVAL, EFAULT."""
    size = (maxnode - 1 + 63) // 64 * 8
    if size > _POSSIBLE // 8:
        if size > 4096:
            raise LinuxError(EINVAL)
    task.mm.copy_out(addr, mask.to_bytes(_POSSIBLE // 8, "little")[:size].ljust(size, b"\0"))


def make_policy(mode: int, mask: int) -> Policy:
    """Check a mode and its nodes (sanitize_mpol_flags, mpol_new, mpol_set_nodemask). Raises EINVAL."""
    flags, mode = mode & _MODE_FLAGS, mode & ~_MODE_FLAGS
    if not 0 <= mode <= PREFERRED_MANY or flags & (F_STATIC_NODES | F_RELATIVE_NODES) == (
        F_STATIC_NODES | F_RELATIVE_NODES
    ):
        raise LinuxError(EINVAL)
    if flags & F_NUMA_BALANCING and mode != BIND:
        raise LinuxError(EINVAL)
    if mode == DEFAULT:
        if mask:
            raise LinuxError(EINVAL)
        return DEFAULT_POLICY
    if mode == PREFERRED and not mask:
        if flags & (F_STATIC_NODES | F_RELATIVE_NODES):
            raise LinuxError(EINVAL)
        return LOCAL, 0
    if mode == LOCAL:
        if mask or flags & (F_STATIC_NODES | F_RELATIVE_NODES):
            raise LinuxError(EINVAL)
        return LOCAL, 0
    if not mask:
        raise LinuxError(EINVAL)
    online = 1 if flags & F_RELATIVE_NODES else mask & ((1 << NODES) - 1)
    if not online:
        raise LinuxError(EINVAL)
    return mode | flags, mask if flags & (F_STATIC_NODES | F_RELATIVE_NODES) else online
