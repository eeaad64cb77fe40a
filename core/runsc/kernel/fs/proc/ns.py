"""/proc/PID/ns: the name spaces of a process (namespaces(7)). There is one of each kind, for everybody."""

from __future__ import annotations

from errno import EACCES, EINVAL, EPERM
from stat import S_IFLNK, S_IFREG

from runsc.abi.ioctl import NS_GET_NSTYPE, NS_GET_OWNER_UID, NS_GET_PARENT, NS_GET_USERNS
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc.access import may_access
from runsc.kernel.fs.proc.node import ProcFs, ProcInode
from runsc.kernel.vfs.file import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

#: Name in the directory, kind, inode number (linux/proc_ns.h: the initial name spaces), CLONE_NEW* flag.
NAMESPACES = (
    ("cgroup", "cgroup", 0xEFFFFFFB, 0x02000000),
    ("ipc", "ipc", 0xEFFFFFFF, 0x08000000),
    ("mnt", "mnt", 0xF0000000, 0x00020000),
    ("net", "net", 0xEFFFFFF9, 0x40000000),
    ("pid", "pid", 0xEFFFFFFC, 0x20000000),
    ("pid_for_children", "pid", 0xEFFFFFFC, 0x20000000),
    ("time", "time", 0xEFFFFFFA, 0x00000080),
    ("time_for_children", "time", 0xEFFFFFFA, 0x00000080),
    ("user", "user", 0xEFFFFFFD, 0x10000000),
    ("uts", "uts", 0xEFFFFFFE, 0x04000000),
)


class NsInode(ProcInode):
    """A name space as an object: what an open of the link opens."""

    __slots__ = ("kind", "type_flag")

    def __init__(self, fs: ProcFs, kind: str, ino: int, type_flag: int) -> None:
        super().__init__(fs, ino, S_IFREG | 0o444)
        self.kind = kind
        self.type_flag = type_flag

    def open(self, path: Path, flags: int, task: Task) -> File:
        return NsFile(self, flags)


class NsFile(File):
    """An open name space (ioctl_ns(2))."""

    __slots__ = ()

    inode: NsInode

    def read(self, task: Task, count: int) -> bytes:
        raise LinuxError(EINVAL)

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        if request == NS_GET_NSTYPE:
            return self.inode.type_flag
        if request in (NS_GET_USERNS, NS_GET_PARENT):
            # Its owner, or its parent, is outside of what can be seen from here.
            raise LinuxError(EPERM)
        if request == NS_GET_OWNER_UID and self.inode.kind == "user":
            task.mm.write_u32(arg, 0)
            return 0
        return super().ioctl(task, request, arg)

    def describe(self) -> str:
        return f"{self.inode.kind}:[{self.inode.ino}]"


class NsLink(ProcInode):
    """The magic link in /proc/PID/ns."""

    __slots__ = ("namespace", "target")

    def __init__(self, fs: ProcFs, target: Task, namespace: NsInode, ino: int) -> None:
        super().__init__(fs, ino, S_IFLNK | 0o777)
        self.target = target
        self.namespace = namespace

    def readlink(self, task: Task | None = None) -> bytes:
        if task is not None and not may_access(task, self.target):
            raise LinuxError(EACCES)
        return f"{self.namespace.kind}:[{self.namespace.ino}]".encode()

    def follow(self, task: Task) -> Path | None:
        if not may_access(task, self.target):
            raise LinuxError(EACCES)
        from runsc.kernel.vfs.namei import anonymous_path

        return anonymous_path(task, self.namespace)
