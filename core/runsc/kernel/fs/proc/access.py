"""May a task look into another one? (ptrace(2), access mode checking; kernel/ptrace.c)"""

from __future__ import annotations

from errno import EACCES

from runsc.kernel.credentials import CAP_SYS_PTRACE
from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task


def may_access(reader: Task, target: Task) -> bool:
    """PTRACE_MODE_READ_FSCREDS: the same process; or the same user and group throughout, a target that may be
    dumped and has no capability that the reader lacks; or CAP_SYS_PTRACE."""
    if reader.group is target.group:
        return True
    mine, theirs = reader.cred, target.cred
    if mine.ns_capable(theirs.user_ns, CAP_SYS_PTRACE):
        return True
    if not (
        mine.fsuid == theirs.euid == theirs.suid == theirs.uid
        and mine.fsgid == theirs.egid == theirs.sgid == theirs.gid
    ):
        return False
    if mine.user_ns is not theirs.user_ns and theirs.permitted:
        return False
    return target.group.dumpable == 1 and theirs.permitted & ~mine.effective == 0


def check_access(reader: Task, target: Task, errno: int = EACCES) -> None:
    """Raise ``errno`` unless ``may_access``."""
    if not may_access(reader, target):
        raise LinuxError(errno)
