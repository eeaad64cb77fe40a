"""capget(2) and capset(2)."""

from __future__ import annotations

from errno import EINVAL, EPERM, ESRCH
from struct import pack, unpack

from runsc.abi.capability import HEADER, VERSION_1, VERSION_2, VERSION_3
from runsc.kernel.cred_change import commit
from runsc.kernel.credentials import ALL_CAPS, CAP_SETPCAP
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import Ptr, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

#: 32-bit words of a capability set in each version of the interface.
_WORDS = {VERSION_1: 1, VERSION_2: 2, VERSION_3: 2}


def _header(task: Task, header: int) -> tuple[int, int] | None:
    """(words of a set, pid), or None when the version is unknown: the caller is then told ours."""
    mm = task.mm
    words = _WORDS.get(mm.read_u32(header))
    if words is None:
        mm.write_u32(header, VERSION_3)
        return None
    return words, int.from_bytes(mm.copy_in(header + 4, HEADER.size - 4), "little", signed=True)


@syscall(125)
def capget(task: Task, header: Ptr, data: Ptr) -> Result:
    found = _header(task, header)
    if found is None:
        # Asking with a wrong version and no buffer is how a program learns the version.
        if data == 0:
            return 0
        raise LinuxError(EINVAL)
    if data == 0:
        return 0
    words, pid = found
    if pid < 0:
        raise LinuxError(EINVAL)
    target = task.pid_ns.tasks.get(pid) if pid else task
    if target is None:
        raise LinuxError(ESRCH)
    cred = target.cred
    sets = []
    for word in range(words):
        for mask in (cred.effective, cred.permitted, cred.inheritable):
            sets.append(mask >> 32 * word & 0xFFFFFFFF)
    task.mm.copy_out(data, pack(f"<{len(sets)}I", *sets))
    return 0


@syscall(126)
def capset(task: Task, header: Ptr, data: Ptr) -> Result:
    found = _header(task, header)
    if found is None:
        raise LinuxError(EINVAL)
    words, pid = found
    if pid not in (0, task.vtid):
        raise LinuxError(EPERM)
    sets = unpack(f"<{3 * words}I", task.mm.copy_in(data, 12 * words))
    effective, permitted, inheritable = (
        sum(sets[3 * word + index] << 32 * word for word in range(words)) & ALL_CAPS for index in range(3)
    )
    old = task.cred
    if inheritable & ~(old.inheritable | old.permitted) and not old.own_capable(CAP_SETPCAP):
        raise LinuxError(EPERM)
    if inheritable & ~(old.inheritable | old.bounding):
        raise LinuxError(EPERM)
    if permitted & ~old.permitted or effective & ~permitted:
        raise LinuxError(EPERM)
    new = old.copy()
    new.effective = effective
    new.permitted = permitted
    new.inheritable = inheritable
    new.ambient &= permitted & inheritable
    commit(task, new)
    return 0
