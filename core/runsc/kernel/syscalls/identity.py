"""User and group ids (credentials(7), setuid(2), setreuid(2), setresuid(2), setfsuid(2), getgroups(2))."""

from __future__ import annotations

from errno import EINVAL, EPERM
from struct import pack, unpack

from runsc.kernel.cred_change import commit, fix_setfsuid, fix_setuid
from runsc.kernel.credentials import CAP_SETGID, CAP_SETUID
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import Int, OutInt, Ptr, Uid, UInt, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

#: An id that means "leave it as it is", and that nobody can have.
NO_ID = 0xFFFFFFFF

#: Most supplementary groups (linux/limits.h).
NGROUPS_MAX = 65536


@syscall(102)
def getuid(task: Task) -> Result:
    return task.cred.uid


@syscall(104)
def getgid(task: Task) -> Result:
    return task.cred.gid


@syscall(107)
def geteuid(task: Task) -> Result:
    return task.cred.euid


@syscall(108)
def getegid(task: Task) -> Result:
    return task.cred.egid


@syscall(105)
def setuid(task: Task, uid: Uid) -> Result:
    if uid == NO_ID:
        raise LinuxError(EINVAL)
    old = task.cred
    new = old.copy()
    if old.capable(CAP_SETUID):
        new.uid = new.suid = uid
    elif uid not in (old.uid, old.suid):
        raise LinuxError(EPERM)
    new.euid = new.fsuid = uid
    return _commit_uids(task, new, old)


@syscall(106)
def setgid(task: Task, gid: Uid) -> Result:
    if gid == NO_ID:
        raise LinuxError(EINVAL)
    old = task.cred
    new = old.copy()
    if old.capable(CAP_SETGID):
        new.gid = new.sgid = gid
    elif gid not in (old.gid, old.sgid):
        raise LinuxError(EPERM)
    new.egid = new.fsgid = gid
    commit(task, new)
    return 0


@syscall(113)
def setreuid(task: Task, ruid: Uid, euid: Uid) -> Result:
    old = task.cred
    may = old.capable(CAP_SETUID)
    new = old.copy()
    if ruid != NO_ID:
        if not may and ruid not in (old.uid, old.euid):
            raise LinuxError(EPERM)
        new.uid = ruid
    if euid != NO_ID:
        if not may and euid not in (old.uid, old.euid, old.suid):
            raise LinuxError(EPERM)
        new.euid = euid
    if ruid != NO_ID or euid not in (NO_ID, old.uid):
        new.suid = new.euid
    new.fsuid = new.euid
    return _commit_uids(task, new, old)


@syscall(114)
def setregid(task: Task, rgid: Uid, egid: Uid) -> Result:
    old = task.cred
    may = old.capable(CAP_SETGID)
    new = old.copy()
    if rgid != NO_ID:
        if not may and rgid not in (old.gid, old.egid):
            raise LinuxError(EPERM)
        new.gid = rgid
    if egid != NO_ID:
        if not may and egid not in (old.gid, old.egid, old.sgid):
            raise LinuxError(EPERM)
        new.egid = egid
    if rgid != NO_ID or egid not in (NO_ID, old.gid):
        new.sgid = new.egid
    new.fsgid = new.egid
    commit(task, new)
    return 0


@syscall(117)
def setresuid(task: Task, ruid: Uid, euid: Uid, suid: Uid) -> Result:
    old = task.cred
    if (
        ruid in (NO_ID, old.uid)
        and suid in (NO_ID, old.suid)
        and (euid == NO_ID or (euid == old.euid and euid == old.fsuid))
    ):
        return 0
    known = (NO_ID, old.uid, old.euid, old.suid)
    if not (ruid in known and euid in known and suid in known) and not old.capable(CAP_SETUID):
        raise LinuxError(EPERM)
    new = old.copy()
    if ruid != NO_ID:
        new.uid = ruid
    if euid != NO_ID:
        new.euid = euid
    if suid != NO_ID:
        new.suid = suid
    new.fsuid = new.euid
    return _commit_uids(task, new, old)


@syscall(119)
def setresgid(task: Task, rgid: Uid, egid: Uid, sgid: Uid) -> Result:
    old = task.cred
    if (
        rgid in (NO_ID, old.gid)
        and sgid in (NO_ID, old.sgid)
        and (egid == NO_ID or (egid == old.egid and egid == old.fsgid))
    ):
        return 0
    known = (NO_ID, old.gid, old.egid, old.sgid)
    if not (rgid in known and egid in known and sgid in known) and not old.capable(CAP_SETGID):
        raise LinuxError(EPERM)
    new = old.copy()
    if rgid != NO_ID:
        new.gid = rgid
    if egid != NO_ID:
        new.egid = egid
    if sgid != NO_ID:
        new.sgid = sgid
    new.fsgid = new.egid
    commit(task, new)
    return 0


def _commit_uids(task: Task, new: Credentials, old: Credentials) -> int:
    fix_setuid(new, old)
    commit(task, new)
    return 0


@syscall(118)
def getresuid(task: Task, ruid: OutInt, euid: OutInt, suid: OutInt) -> Result:
    cred = task.cred
    task.mm.write_u32(ruid, cred.uid)
    task.mm.write_u32(euid, cred.euid)
    task.mm.write_u32(suid, cred.suid)
    return 0


@syscall(120)
def getresgid(task: Task, rgid: OutInt, egid: OutInt, sgid: OutInt) -> Result:
    cred = task.cred
    task.mm.write_u32(rgid, cred.gid)
    task.mm.write_u32(egid, cred.egid)
    task.mm.write_u32(sgid, cred.sgid)
    return 0


@syscall(122)
def setfsuid(task: Task, uid: Uid) -> Result:
    """Never fails: it answers the old id, whether or not it was changed."""
    old = task.cred
    if uid in (NO_ID, old.fsuid):
        return old.fsuid
    if uid in (old.uid, old.euid, old.suid) or old.capable(CAP_SETUID):
        new = old.copy()
        new.fsuid = uid
        fix_setfsuid(new, old)
        commit(task, new)
    return old.fsuid


@syscall(123)
def setfsgid(task: Task, gid: Uid) -> Result:
    """Never fails: it answers the old id, whether or not it was changed."""
    old = task.cred
    if gid in (NO_ID, old.fsgid):
        return old.fsgid
    if gid in (old.gid, old.egid, old.sgid) or old.capable(CAP_SETGID):
        new = old.copy()
        new.fsgid = gid
        commit(task, new)
    return old.fsgid


@syscall(115)
def getgroups(task: Task, size: Int, list_: Ptr) -> Result:
    groups = task.cred.groups
    if size < 0:
        raise LinuxError(EINVAL)
    if size:
        if len(groups) > size:
            raise LinuxError(EINVAL)
        task.mm.copy_out(list_, pack(f"<{len(groups)}I", *groups))
    return len(groups)


@syscall(116)
def setgroups(task: Task, size: UInt, list_: Ptr) -> Result:
    old = task.cred
    if not old.capable(CAP_SETGID):
        raise LinuxError(EPERM)
    if size > NGROUPS_MAX:
        raise LinuxError(EINVAL)
    groups = unpack(f"<{size}I", task.mm.copy_in(list_, 4 * size))
    if NO_ID in groups:
        raise LinuxError(EINVAL)
    new = old.copy()
    new.groups = tuple(sorted(groups))
    commit(task, new)
    return 0
