"""User namespaces (user_namespaces(7), kernel/user_namespace.c): whose ids mean what, and who may do what to
the namespaces that they own.

The kernel keeps every id as the first namespace has it ("kernel id"); a namespace's maps translate at the
edge, where a call takes or tells an id.
"""

from __future__ import annotations

from errno import EINVAL, EPERM

from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials

#: The inode number of the first user namespace (linux/proc_ns.h: PROC_USER_INIT_INO).
USER_INIT_INO = 0xEFFFFFFD
_CLONE_NEWUSER = 0x10000000

#: No id: what a number without a mapping is.
INVALID_ID = 0xFFFFFFFF
#: What an id without a mapping is shown as (/proc/sys/kernel/overflowuid).
OVERFLOW_ID = 65534

#: Most lines of a map (UID_GID_MAP_MAX_EXTENTS), and of its text.
MAX_EXTENTS = 340
MAX_TEXT = 4096


class Extent:
    """``count`` ids from ``first`` on in a namespace are the kernel ids from ``lower`` on."""

    __slots__ = ("count", "first", "lower")

    def __init__(self, first: int, lower: int, count: int) -> None:
        self.first = first
        self.lower = lower
        self.count = count


class IdMap:
    """A namespace's user or group ids. Empty until it is written, once."""

    __slots__ = ("extents",)

    def __init__(self, extents: tuple[Extent, ...] = ()) -> None:
        self.extents = extents

    def down(self, ident: int, count: int = 1) -> int:
        """The kernel id of the first of ``count`` ids; INVALID_ID if they aren't mapped, all in one piece
        (map_id_range_down)."""
        for extent in self.extents:
            if extent.first <= ident and ident + count <= extent.first + extent.count:
                return extent.lower + ident - extent.first
        return INVALID_ID

    def up(self, kernel_id: int) -> int:
        """The id here of a kernel id, or INVALID_ID (map_id_up)."""
        for extent in self.extents:
            if extent.lower <= kernel_id < extent.lower + extent.count:
                return extent.first + kernel_id - extent.lower
        return INVALID_ID


#: Of the first namespace: every id but the last, which is none.
_IDENTITY = IdMap((Extent(0, 0, INVALID_ID),))


class UserNamespace:
    """``owner``, ``gid``: the effective ids (kernel ids) of who made it, and has every capability in it;
    ``parent``: the namespace it was made in, None for the first one; ``setgroups``: may groups be set in it;
    ``could_setfcap``: had its maker CAP_SETFCAP."""

    __slots__ = ("could_setfcap", "gid", "gids", "inum", "level", "owner", "parent", "setgroups", "uids")

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
        self.setgroups: bool = True if parent is None else parent.setgroups
        self.could_setfcap = True
        self.uids = _IDENTITY if parent is None else IdMap()
        self.gids = _IDENTITY if parent is None else IdMap()

    def contains(self, other: UserNamespace) -> bool:
        """Is ``other`` this namespace or one below it (in_userns)?"""
        at: UserNamespace | None = other
        while at is not None and at.level > self.level:
            at = at.parent
        return at is self

    # -- ids ----------------------------------------------------------------------------------

    def uid(self, kernel_id: int) -> int:
        """A user id as it is told in this namespace (from_kuid_munged)."""
        if not self.level:
            return kernel_id
        found = self.uids.up(kernel_id)
        return OVERFLOW_ID if found == INVALID_ID else found

    def group_id(self, kernel_id: int) -> int:
        """A group id as it is told in this namespace (from_kgid_munged)."""
        if not self.level:
            return kernel_id
        found = self.gids.up(kernel_id)
        return OVERFLOW_ID if found == INVALID_ID else found

    def make_uid(self, uid: int) -> int:
        """The kernel id of a user id that is said in this namespace, INVALID_ID without a mapping
        (make_kuid)."""
        return self.uids.down(uid) if self.level else uid

    def make_gid(self, gid: int) -> int:
        """The kernel id of a group id that is said in this namespace (make_kgid)."""
        return self.gids.down(gid) if self.level else gid

    def has_ids(self, uid: int, gid: int) -> bool:
        """Have these kernel ids a mapping here?"""
        if not self.level:
            return True
        return self.uids.up(uid) != INVALID_ID and self.gids.up(gid) != INVALID_ID

    def may_setgroups(self) -> bool:
        """May setgroups(2) be called in it, by who is privileged (userns_may_setgroups)?"""
        return self.setgroups and bool(self.gids.extents)

    def __repr__(self) -> str:
        return f"user:[{self.inum}]"


#: The first user namespace: of every kernel, since nothing in it ever changes.
INIT_USER_NS = UserNamespace()


def parse_map(data: bytes) -> list[Extent]:
    """The lines of a map that a guest wrote, with ids of the parent as ``lower``; raises EINVAL."""
    if len(data) >= MAX_TEXT:
        raise LinuxError(EINVAL)
    extents: list[Extent] = []
    text = data.split(b"\0", 1)[0]
    lines = text.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for line in lines:
        words = line.split()
        if len(words) != 3 or not all(word.isdigit() for word in words):
            raise LinuxError(EINVAL)
        first, lower, count = map(int, words)
        extent = Extent(first, lower, count)
        if count == 0 or first + count > INVALID_ID or lower + count > INVALID_ID:
            raise LinuxError(EINVAL)
        for other in extents:
            if (first < other.first + other.count and other.first < first + count) or (
                lower < other.lower + other.count and other.lower < lower + count
            ):
                raise LinuxError(EINVAL)
        extents.append(extent)
        if len(extents) > MAX_EXTENTS:
            raise LinuxError(EINVAL)
    if not extents:
        raise LinuxError(EINVAL)
    return extents


def write_map(ns: UserNamespace, writer: Credentials, data: bytes, groups: bool) -> None:
    """Set the user or group map of ``ns`` as ``writer``, who opened the file (map_write). Raises EPERM,
    EINVAL."""
    parent = ns.parent
    if parent is None or writer.user_ns not in (ns, parent):
        raise LinuxError(EPERM)
    if (ns.gids if groups else ns.uids).extents:
        raise LinuxError(EPERM)
    if not writer.ns_capable(ns, _CAP_SYS_ADMIN):
        raise LinuxError(EPERM)
    extents = parse_map(data)
    if not _may_map(ns, parent, writer, extents, groups):
        raise LinuxError(EPERM)
    lower_map = parent.gids if groups else parent.uids
    for extent in extents:
        extent.lower = lower_map.down(extent.lower, extent.count)
        if extent.lower == INVALID_ID:
            raise LinuxError(EPERM)
    made = IdMap(tuple(extents))
    if groups:
        ns.gids = made
    else:
        ns.uids = made


_CAP_SETGID, _CAP_SETUID, _CAP_SYS_ADMIN, _CAP_SETFCAP = 6, 7, 21, 31


def _may_map(
    ns: UserNamespace, parent: UserNamespace, writer: Credentials, extents: list[Extent], groups: bool
) -> bool:
    """May ``writer`` map these ids (new_idmap_permitted)? The own effective id may always be; a group only
    where setgroups(2) is denied; others need the capability over the parent, and root CAP_SETFCAP too."""
    if not groups and any(extent.lower == 0 for extent in extents):
        if writer.user_ns is ns:
            if not ns.could_setfcap:
                return False
        elif not writer.ns_capable(parent, _CAP_SETFCAP):
            return False
    if len(extents) == 1 and extents[0].count == 1 and ns.owner == writer.euid:
        lower = extents[0].lower
        if not groups:
            if parent.make_uid(lower) == writer.euid:
                return True
        elif not ns.setgroups and parent.make_gid(lower) == writer.egid:
            return True
    return writer.ns_capable(parent, _CAP_SETGID if groups else _CAP_SETUID)


def write_setgroups(ns: UserNamespace, data: bytes) -> None:
    """``allow`` or ``deny`` (proc_setgroups_write). Raises EINVAL, EPERM."""
    word = data.strip()
    if len(data) >= 8 or word not in (b"allow", b"deny"):
        raise LinuxError(EINVAL)
    if word == b"allow":
        if not ns.setgroups:
            raise LinuxError(EPERM)
    elif ns.gids.extents and ns.setgroups:
        raise LinuxError(EPERM)
    else:
        ns.setgroups = False
