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
    from collections.abc import Callable

    from runsc.kernel.credentials import Credentials
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

#: An id that means "leave it as it is", and that nobody can have.
NO_ID = 0xFFFFFFFF

#: Most supplementary groups (linux/limits.h).
NGROUPS_MAX = 65536


@syscall(102)
def getuid(task: Task) -> Result:
    cred = task.cred
    return cred.user_ns.uid(cred.uid) if cred.user_ns.level else cred.uid


@syscall(104)
def getgid(task: Task) -> Result:
    cred = task.cred
    return cred.user_ns.group_id(cred.gid) if cred.user_ns.level else cred.gid


@syscall(107)
def geteuid(task: Task) -> Result:
    cred = task.cred
    return cred.user_ns.uid(cred.euid) if cred.user_ns.level else cred.euid


@syscall(108)
def getegid(task: Task) -> Result:
    cred = task.cred
    return cred.user_ns.group_id(cred.egid) if cred.user_ns.level else cred.egid


@syscall(105)
def setuid(task: Task, uid: Uid) -> Result:
    old = task.cred
    uid = old.user_ns.make_uid(uid)
    if uid == NO_ID:
        raise LinuxError(EINVAL)
    new = old.copy()
    if old.own_capable(CAP_SETUID):
        new.uid = new.suid = uid
    elif uid not in (old.uid, old.suid):
        raise LinuxError(EPERM)
    new.euid = new.fsuid = uid
    return _commit_uids(task, new, old)


@syscall(106)
def setgid(task: Task, gid: Uid) -> Result:
    old = task.cred
    gid = old.user_ns.make_gid(gid)
    if gid == NO_ID:
        raise LinuxError(EINVAL)
    new = old.copy()
    if old.own_capable(CAP_SETGID):
        new.gid = new.sgid = gid
    elif gid not in (old.gid, old.sgid):
        raise LinuxError(EPERM)
    new.egid = new.fsgid = gid
    commit(task, new)
    return 0


@syscall(113)
def setreuid(task: Task, ruid: Uid, euid: Uid) -> Result:
    old = task.cred
    ruid, euid = _kernel_ids(old.user_ns.make_uid, ruid, euid)
    may = old.own_capable(CAP_SETUID)
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
    rgid, egid = _kernel_ids(old.user_ns.make_gid, rgid, egid)
    may = old.own_capable(CAP_SETGID)
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
    ruid, euid, suid = _kernel_ids(old.user_ns.make_uid, ruid, euid, suid)
    if (
        ruid in (NO_ID, old.uid)
        and suid in (NO_ID, old.suid)
        and (euid == NO_ID or (euid == old.euid and euid == old.fsuid))
    ):
        return 0
    known = (NO_ID, old.uid, old.euid, old.suid)
    if not (ruid in known and euid in known and suid in known) and not old.own_capable(CAP_SETUID):
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
    rgid, egid, sgid = _kernel_ids(old.user_ns.make_gid, rgid, egid, sgid)
    if (
        rgid in (NO_ID, old.gid)
        and sgid in (NO_ID, old.sgid)
        and (egid == NO_ID or (egid == old.egid and egid == old.fsgid))
    ):
        return 0
    known = (NO_ID, old.gid, old.egid, old.sgid)
    if not (rgid in known and egid in known and sgid in known) and not old.own_capable(CAP_SETGID):
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


def _kernel_ids(make: Callable[[int], int], *ids: int) -> tuple[int, ...]:
    """Ids as the kernel keeps them; NO_ID stays what it is, EINVAL for one without a mapping."""
    made = tuple(ident if ident == NO_ID else make(ident) for ident in ids)
    if made.count(NO_ID) != ids.count(NO_ID):
        raise LinuxError(EINVAL)
    return made


def _commit_uids(task: Task, new: Credentials, old: Credentials) -> int:
    fix_setuid(new, old)
    commit(task, new)
    return 0


@syscall(118)
def getresuid(task: Task, ruid: OutInt, euid: OutInt, suid: OutInt) -> Result:
    cred = task.cred
    task.mm.write_u32(ruid, cred.user_ns.uid(cred.uid))
    task.mm.write_u32(euid, cred.user_ns.uid(cred.euid))
    task.mm.write_u32(suid, cred.user_ns.uid(cred.suid))
    return 0


@syscall(120)
def getresgid(task: Task, rgid: OutInt, egid: OutInt, sgid: OutInt) -> Result:
    cred = task.cred
    task.mm.write_u32(rgid, cred.user_ns.group_id(cred.gid))
    task.mm.write_u32(egid, cred.user_ns.group_id(cred.egid))
    task.mm.write_u32(sgid, cred.user_ns.group_id(cred.sgid))
    return 0


@syscall(122)
def setfsuid(task: Task, uid: Uid) -> Result:
    """Never fails: it answers the old id, whether or not it was changed."""
    old = task.cred
    before = old.user_ns.uid(old.fsuid)
    uid = old.user_ns.make_uid(uid)
    if uid in (NO_ID, old.fsuid):
        return before
    if uid in (old.uid, old.euid, old.suid) or old.own_capable(CAP_SETUID):
        new = old.copy()
        new.fsuid = uid
        fix_setfsuid(new, old)
        commit(task, new)
    return before


@syscall(123)
def setfsgid(task: Task, gid: Uid) -> Result:
    """Never fails: it answers the old id, whether or not it was changed."""
    old = task.cred
    before = old.user_ns.group_id(old.fsgid)
    gid = old.user_ns.make_gid(gid)
    if gid in (NO_ID, old.fsgid):
        return before
    if gid in (old.gid, old.egid, old.sgid) or old.own_capable(CAP_SETGID):
        new = old.copy()
        new.fsgid = gid
        commit(task, new)
    return before


@syscall(115)
def getgroups(task: Task, size: Int, list_: Ptr) -> Result:
    groups = task.cred.groups
    if task.cred.user_ns.level:
        groups = tuple(map(task.cred.user_ns.group_id, groups))
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
    if not old.own_capable(CAP_SETGID) or not old.user_ns.may_setgroups():
        raise LinuxError(EPERM)
    if size > NGROUPS_MAX:
        raise LinuxError(EINVAL)
    groups = unpack(f"<{size}I", task.mm.copy_in(list_, 4 * size))
    groups = tuple(map(old.user_ns.make_gid, groups))
    if NO_ID in groups:
        raise LinuxError(EINVAL)
    new = old.copy()
    new.groups = tuple(sorted(groups))
    commit(task, new)
    return 0
