"""/proc/PID/ns: the namespaces of a process (namespaces(7))."""

from __future__ import annotations

from errno import EACCES, ENOENT
from stat import S_IFLNK

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.nsfs import NsInode
from runsc.kernel.fs.proc.access import may_access
from runsc.kernel.fs.proc.node import ProcFs, ProcInode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

#: Name in the directory, and whose it is.
NAMESPACES: tuple[tuple[str, Callable[[Task], Any]], ...] = (
    ("cgroup", lambda target: target.nsproxy.cgroup),
    ("ipc", lambda target: target.nsproxy.ipc),
    ("mnt", lambda target: target.fs.namespace),
    ("net", lambda target: target.nsproxy.net),
    ("pid", lambda target: target.pid_ns),
    ("pid_for_children", lambda target: target.nsproxy.pid_for_children),
    ("time", lambda target: target.nsproxy.time),
    ("time_for_children", lambda target: target.nsproxy.time_for_children),
    ("user", lambda target: target.cred.user_ns),
    ("uts", lambda target: target.nsproxy.uts),
)


class NsLink(ProcInode):
    """The magic link in /proc/PID/ns; ``find`` says which namespace it leads to now."""

    __slots__ = ("find", "target")

    def __init__(self, fs: ProcFs, target: Task, find: Callable[[Task], Any], ino: int) -> None:
        super().__init__(fs, ino, S_IFLNK | 0o777)
        self.target = target
        self.find = find

    def _inode(self, reader: Task | None) -> NsInode:
        target = self.target
        if reader is not None and not may_access(reader, target):
            raise LinuxError(EACCES)
        # A process that has ended has given up its namespaces, but for that of its ids' owner.
        if target.fs.users <= 0:
            raise LinuxError(ENOENT)
        namespace = self.find(target)
        if namespace is target.nsproxy.pid_for_children and namespace is not target.pid_ns:
            # One in which nobody has been made yet can't be joined.
            if namespace.child_reaper is None:
                raise LinuxError(ENOENT)
        return NsInode(self.fs.kernel, namespace)

    fs: ProcFs

    def readlink(self, task: Task | None = None) -> bytes:
        return self._inode(task).name().encode()

    def follow(self, task: Task) -> Path | None:
        from runsc.kernel.vfs.namei import anonymous_path

        return anonymous_path(task, self._inode(task))
