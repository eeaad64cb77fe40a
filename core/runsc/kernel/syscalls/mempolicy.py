"""set_mempolicy(2), get_mempolicy(2), mbind(2), migrate_pages(2), move_pages(2): a machine with one node."""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM, ESRCH
from struct import iter_unpack, pack

from runsc.kernel.credentials import CAP_SYS_NICE
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc.access import may_access
from runsc.kernel.mm.mempolicy import (
    BIND,
    DEFAULT_POLICY,
    NODES,
    PREFERRED_MANY,
    make_policy,
    read_nodes,
    write_nodes,
)
from runsc.kernel.mm.mm import page_up
from runsc.kernel.mm.vma import PAGE
from runsc.kernel.syscalls.decl import PARTIAL, Int, OutInt, Pid, Ptr, UInt, ULong, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.mm.mempolicy import Policy
    from runsc.kernel.task import Task

_F_NODE, _F_ADDR, _F_MEMS_ALLOWED = 1, 2, 4
_MF_STRICT, _MF_MOVE, _MF_MOVE_ALL = 1, 2, 4
_KEPT = "kept and told; the host places memory where it likes"
_ALL_NODES = (1 << NODES) - 1


@syscall(238, PARTIAL, _KEPT)
def set_mempolicy(task: Task, mode: Int, nodemask: Ptr, maxnode: ULong) -> int:
    """set_mempolicy(2)."""
    if mode & ~0xFFFF:
        raise LinuxError(EINVAL)
    task.mempolicy = make_policy(mode, read_nodes(task, nodemask, maxnode))
    return 0


@syscall(239)
def get_mempolicy(task: Task, mode: OutInt, nodemask: Ptr, maxnode: ULong, addr: Ptr, flags: ULong) -> int:
    """get_mempolicy(2)."""
    if nodemask and maxnode < NODES:
        raise LinuxError(EINVAL)
    if flags & ~(_F_NODE | _F_ADDR | _F_MEMS_ALLOWED):
        raise LinuxError(EINVAL)
    policy: Policy = task.mempolicy or DEFAULT_POLICY
    if flags & _F_MEMS_ALLOWED:
        if flags & (_F_NODE | _F_ADDR):
            raise LinuxError(EINVAL)
        number, mask = 0, _ALL_NODES
    else:
        if flags & _F_ADDR:
            vma = task.mm.vmas.find(addr)
            if vma is None:
                raise LinuxError(EFAULT)
            policy = vma.mempolicy or policy
        elif addr:
            raise LinuxError(EINVAL)
        number, mask = policy
        if flags & _F_NODE:
            if not flags & _F_ADDR:
                # The next node of an interleave: nothing else has one.
                raise LinuxError(EINVAL)
            number = 0
    if mode:
        task.mm.write_u32(mode, number)
    if nodemask:
        write_nodes(task, nodemask, maxnode, mask)
    return 0


@syscall(237, PARTIAL, _KEPT)
def mbind(
    task: Task, addr: Ptr, length: ULong, mode: ULong, nodemask: Ptr, maxnode: ULong, flags: UInt
) -> int:
    """mbind(2)."""
    mm = task.mm
    mask = read_nodes(task, nodemask, maxnode)
    if mode & ~0xFFFF:
        raise LinuxError(EINVAL)
    if flags & ~(_MF_STRICT | _MF_MOVE | _MF_MOVE_ALL):
        raise LinuxError(EINVAL)
    if flags & _MF_MOVE_ALL and not task.cred.capable(CAP_SYS_NICE):
        raise LinuxError(EPERM)
    if addr & (PAGE - 1):
        raise LinuxError(EINVAL)
    end = addr + page_up(length)
    if end >= 1 << 64 or (length and end == addr):
        raise LinuxError(EINVAL)
    if end == addr:
        return 0
    policy = make_policy(mode, mask)
    if not mm.vmas.covered(addr, end):
        raise LinuxError(EFAULT)
    mm.vmas.split_at(addr)
    mm.vmas.split_at(end)
    for vma in mm.vmas.overlapping(addr, end):
        vma.mempolicy = None if policy == DEFAULT_POLICY else policy
    mm.vmas.rejoin(addr, end)
    return 0


@syscall(450, PARTIAL, _KEPT)
def set_mempolicy_home_node(task: Task, addr: ULong, length: ULong, home: ULong, flags: ULong) -> int:
    """set_mempolicy_home_node(2): for areas with a policy of MPOL_BIND or MPOL_PREFERRED_MANY."""
    if addr & (PAGE - 1) or flags or home >= NODES:
        raise LinuxError(EINVAL)
    end = addr + page_up(length)
    if end >= 1 << 64 or (length and end == addr):
        raise LinuxError(EINVAL)
    if end == addr:
        return 0
    error = ENOENT
    for vma in task.mm.vmas.overlapping(addr, end):
        if vma.mempolicy is None:
            continue
        if vma.mempolicy[0] & 0xFFF not in (BIND, PREFERRED_MANY):
            raise LinuxError(EOPNOTSUPP)
        error = 0
    if error:
        raise LinuxError(error)
    return 0


def _target(task: Task, pid: int) -> Task:
    """The process that is meant; raises ESRCH, EPERM."""
    target = task if not pid else task.pid_ns.tasks.get(pid)
    if target is None:
        raise LinuxError(ESRCH)
    if not may_access(task, target):
        raise LinuxError(EPERM)
    return target


@syscall(256)
def migrate_pages(task: Task, pid: Pid, maxnode: ULong, old: Ptr, new: Ptr) -> int:
    """migrate_pages(2): from a node to the same node there is nothing to move."""
    read_nodes(task, old, maxnode)
    wanted = read_nodes(task, new, maxnode)
    _target(task, pid)
    if wanted & ~_ALL_NODES and not task.cred.capable(CAP_SYS_NICE):
        raise LinuxError(EPERM)
    if not wanted & _ALL_NODES:
        raise LinuxError(EINVAL)
    return 0


@syscall(279)
def move_pages(
    task: Task, pid: Pid, count: ULong, pages: Ptr, nodes: Ptr, status: Ptr, flags: Int
) -> int:
    """move_pages(2): all pages are on node 0 already."""
    if flags & ~(_MF_MOVE | _MF_MOVE_ALL):
        raise LinuxError(EINVAL)
    if flags & _MF_MOVE_ALL and not task.cred.capable(CAP_SYS_NICE):
        raise LinuxError(EPERM)
    mm = _target(task, pid).mm
    done = 0
    while done < count:
        step = min(count - done, 512)
        addresses = [item[0] for item in iter_unpack("<Q", task.mm.copy_in(pages + 8 * done, 8 * step))]
        if nodes:
            for (node,) in iter_unpack("<i", task.mm.copy_in(nodes + 4 * done, 4 * step)):
                if not 0 <= node < NODES:
                    raise LinuxError(ENODEV)
        found = []
        for addr in addresses:
            vma = mm.vmas.find(addr)
            if vma is None or vma.fixed:
                found.append(-EFAULT)
            else:
                resident = mm.space.residency(addr & -PAGE, PAGE)[0] & 1
                found.append(0 if resident else -ENOENT)
        task.mm.copy_out(status + 4 * done, pack(f"<{step}i", *found))
        done += step
    return 0
