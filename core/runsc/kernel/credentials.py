"""Who a task is: ids, groups, capabilities (credentials(7), capabilities(7)).

Credentials are immutable once a task has them: a call that changes them makes a copy, so that an
open file or a signal can keep the ones it was made with.
"""

from __future__ import annotations

from runsc.kernel.user_ns import INIT_USER_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.user_ns import UserNamespace

#: Capability numbers (linux/capability.h).
(
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CAP_FSETID,
    CAP_KILL,
    CAP_SETGID,
    CAP_SETUID,
    CAP_SETPCAP,
    CAP_LINUX_IMMUTABLE,
    CAP_NET_BIND_SERVICE,
    CAP_NET_BROADCAST,
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    CAP_IPC_LOCK,
    CAP_IPC_OWNER,
    CAP_SYS_MODULE,
    CAP_SYS_RAWIO,
    CAP_SYS_CHROOT,
    CAP_SYS_PTRACE,
    CAP_SYS_PACCT,
    CAP_SYS_ADMIN,
    CAP_SYS_BOOT,
    CAP_SYS_NICE,
    CAP_SYS_RESOURCE,
    CAP_SYS_TIME,
    CAP_SYS_TTY_CONFIG,
    CAP_MKNOD,
    CAP_LEASE,
    CAP_AUDIT_WRITE,
    CAP_AUDIT_CONTROL,
    CAP_SETFCAP,
    CAP_MAC_OVERRIDE,
    CAP_MAC_ADMIN,
    CAP_SYSLOG,
    CAP_WAKE_ALARM,
    CAP_BLOCK_SUSPEND,
    CAP_AUDIT_READ,
    CAP_PERFMON,
    CAP_BPF,
    CAP_CHECKPOINT_RESTORE,
) = range(41)

#: Every capability, as a bit mask.
ALL_CAPS = (1 << 41) - 1


class Credentials:
    """Ids (as the kernel keeps them) and capability sets (masks). ``groups``: the supplementary groups;
    ``user_ns``: in which the capabilities count."""

    __slots__ = (
        "ambient",
        "bounding",
        "effective",
        "egid",
        "euid",
        "fsgid",
        "fsuid",
        "gid",
        "groups",
        "inheritable",
        "no_new_privs",
        "permitted",
        "securebits",
        "sgid",
        "suid",
        "uid",
        "user_ns",
    )

    def __init__(
        self,
        uid: int,
        gid: int,
        groups: tuple[int, ...] = (),
        caps: int = 0,
        bounding: int = ALL_CAPS,
        user_ns: UserNamespace = INIT_USER_NS,
    ) -> None:
        self.user_ns = user_ns
        self.uid = self.euid = self.suid = self.fsuid = uid
        self.gid = self.egid = self.sgid = self.fsgid = gid
        self.groups = groups
        self.permitted = self.effective = caps
        self.inheritable = 0
        self.ambient = 0
        self.bounding = bounding
        self.securebits = 0
        self.no_new_privs = False

    def copy(self) -> Credentials:
        """A copy to change, and then to give to a task."""
        new = Credentials.__new__(Credentials)
        for name in Credentials.__slots__:
            setattr(new, name, getattr(self, name))
        return new

    def capable(self, cap: int) -> bool:
        """May what concerns the whole machine be done: is ``cap`` effective in the first user namespace?"""
        return bool(self.effective >> cap & 1) and not self.user_ns.level

    def own_capable(self, cap: int) -> bool:
        """Is ``cap`` effective in the own user namespace?"""
        return bool(self.effective >> cap & 1)

    def ns_capable(self, ns: UserNamespace, cap: int) -> bool:
        """Is ``cap`` effective over what ``ns`` owns? In the own namespace it is what the set says; over one
        below it, also for who made that, or one above that, from here (cap_capable)."""
        own = self.user_ns
        at = ns
        while at is not own:
            if at.level <= own.level or at.parent is None:
                return False
            if at.parent is own and at.owner == self.euid:
                return True
            at = at.parent
        return bool(self.effective >> cap & 1)

    def inode_capable(self, cap: int, uid: int, gid: int) -> bool:
        """Is ``cap`` effective over a file of this owner: have its ids a mapping in the own namespace
        (capable_wrt_inode_uidgid)?"""
        return bool(self.effective >> cap & 1) and self.user_ns.has_ids(uid, gid)

    def in_group(self, gid: int) -> bool:
        """Is ``gid`` the file-system group or a supplementary one?"""
        return gid == self.fsgid or gid in self.groups
