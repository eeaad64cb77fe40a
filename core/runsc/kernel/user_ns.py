"""User namespaces (user_namespaces(7), kernel/user_namespace.c): whose ids mean what, and who may do what to
the namespaces that they own."""

from __future__ import annotations

#: The inode number of the first user namespace (linux/proc_ns.h: PROC_USER_INIT_INO).
USER_INIT_INO = 0xEFFFFFFD
_CLONE_NEWUSER = 0x10000000


class UserNamespace:
    """``owner``: the effective user id (as the kernel keeps ids) that made it, and has every capability in
    it; ``parent``: the namespace it was made in, None for the first one."""

    __slots__ = ("gid", "inum", "level", "owner", "parent")

    kind = "user"
    flag = _CLONE_NEWUSER

    def __init__(
        self,
        parent: UserNamespace | None = None,
        owner: int = 0,
        gid: int = 0,
        inum: int = USER_INIT_INO,
    ) -> None:
        self.parent = parent
        self.owner = owner
        self.gid = gid
        self.inum = inum
        self.level: int = 0 if parent is None else parent.level + 1

    def __repr__(self) -> str:
        return f"user:[{self.inum}]"
