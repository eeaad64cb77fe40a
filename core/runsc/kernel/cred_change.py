"""What else changes when a task's ids or capabilities do (kernel/cred.c, security/commoncap.c)."""

from __future__ import annotations

from runsc.abi.capability import SECBIT_KEEP_CAPS, SECBIT_NO_SETUID_FIXUP
from runsc.kernel.credentials import (
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CAP_FSETID,
    CAP_LINUX_IMMUTABLE,
    CAP_MAC_OVERRIDE,
    CAP_MKNOD,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.task import Task

#: Capabilities that follow the file-system uid (linux/capability.h: CAP_FS_SET).
FS_CAPS = (
    1 << CAP_CHOWN
    | 1 << CAP_MKNOD
    | 1 << CAP_DAC_OVERRIDE
    | 1 << CAP_DAC_READ_SEARCH
    | 1 << CAP_FOWNER
    | 1 << CAP_FSETID
    | 1 << CAP_LINUX_IMMUTABLE
    | 1 << CAP_MAC_OVERRIDE
)


def commit(task: Task, new: Credentials) -> None:
    """Give ``new`` to a task. One that gained anything may not be dumped any more, nor
    hear of its parent's death (commit_creds)."""
    old = task.cred
    if (
        new.euid != old.euid
        or new.egid != old.egid
        or new.fsuid != old.fsuid
        or new.fsgid != old.fsgid
        or new.permitted & ~old.permitted
    ):
        task.group.dumpable = 0
        task.pdeath_signal = 0
    task.cred = new


def fix_setuid(new: Credentials, old: Credentials) -> None:
    """Adjust capabilities after uid, euid or suid changed (cap_emulate_setxuid; capabilities(7),
    "Effect of user ID changes on capabilities")."""
    if new.securebits & SECBIT_NO_SETUID_FIXUP:
        return
    root = old.user_ns.make_uid(0)
    if root in (old.uid, old.euid, old.suid) and root not in (new.uid, new.euid, new.suid):
        if not new.securebits & SECBIT_KEEP_CAPS:
            new.permitted = 0
            new.effective = 0
        # A program that knows nothing of ambient capabilities expects to lose all by exec.
        new.ambient = 0
    if old.euid == root and new.euid != root:
        new.effective = 0
    if old.euid != root and new.euid == root:
        new.effective = new.permitted


def fix_setfsuid(new: Credentials, old: Credentials) -> None:
    """Adjust capabilities after setfsuid(2) (cap_task_fix_setuid, LSM_SETID_FS)."""
    if new.securebits & SECBIT_NO_SETUID_FIXUP:
        return
    root = old.user_ns.make_uid(0)
    if old.fsuid == root and new.fsuid != root:
        new.effective &= ~FS_CAPS
    if old.fsuid != root and new.fsuid == root:
        new.effective |= new.permitted & FS_CAPS
