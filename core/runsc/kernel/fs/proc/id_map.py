"""/proc/PID/uid_map, gid_map, projid_map and setgroups (user_namespaces(7))."""

from __future__ import annotations

from errno import EACCES, EINVAL, EPERM
from stat import S_IFREG

from runsc.kernel.credentials import CAP_SYS_ADMIN
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc.node import ProcFile, ProcFs, TextFile
from runsc.kernel.user_ns import INVALID_ID, write_map, write_setgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.task import Task
    from runsc.kernel.user_ns import UserNamespace
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File

UIDS, GIDS, PROJECTS, SETGROUPS = "uid_map", "gid_map", "projid_map", "setgroups"


def show_map(ns: UserNamespace, reader: UserNamespace, groups: bool) -> str:
    """The lines of a map, as ``reader`` has the ids outside; in the own namespace, those of its parent."""
    lower = ns.parent if reader is ns and ns.parent is not None else reader
    lines = []
    for extent in (ns.gids if groups else ns.uids).extents:
        if lower.level:
            outside = (lower.gids if groups else lower.uids).up(extent.lower)
        else:
            outside = extent.lower
        lines.append(f"{extent.first:10} {outside:10} {extent.count:10}\n")
    return "".join(lines)


class IdMapFile(ProcFile):
    """One of the four files; who opened it is who must have been allowed to write."""

    __slots__ = ("kind", "target")

    def __init__(self, fs: ProcFs, target: Task, kind: str, ino: int) -> None:
        super().__init__(fs, self._show, None, 0o644, ino)
        self.mode = S_IFREG | 0o644
        self.target = target
        self.kind = kind

    def _show(self, reader: Task) -> str:
        ns = self.target.cred.user_ns
        if self.kind == SETGROUPS:
            return "allow\n" if ns.setgroups else "deny\n"
        if self.kind == PROJECTS:
            return f"{0:10} {0:10} {INVALID_ID:10}\n" if not ns.level else ""
        return show_map(ns, reader.cred.user_ns, self.kind == GIDS)

    def open(self, path: Path, flags: int, task: Task) -> File:
        ns = self.target.cred.user_ns
        if self.kind == SETGROUPS and flags & 3 and not task.cred.ns_capable(ns, CAP_SYS_ADMIN):
            raise LinuxError(EACCES)
        return OpenIdMap(self, flags, path, task.cred)


class OpenIdMap(TextFile):
    """The open file."""

    __slots__ = ("opener",)

    inode: IdMapFile

    def __init__(self, inode: IdMapFile, flags: int, path: Path, opener: Credentials) -> None:
        super().__init__(inode, flags, path)
        self.opener = opener

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        kind = self.inode.kind
        ns = self.inode.target.cred.user_ns
        if offset:
            raise LinuxError(EINVAL)
        if kind == SETGROUPS:
            write_setgroups(ns, data)
        elif kind == PROJECTS:
            # There are no project quotas that ids would be for.
            raise LinuxError(EPERM)
        else:
            write_map(ns, self.opener, data, kind == GIDS)
        self.text = None
        return len(data)
