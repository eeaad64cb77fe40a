"""Open namespaces (nsfs, ioctl_ns(2)): what a look through /proc/PID/ns/KIND finds, and setns(2) takes."""

from __future__ import annotations

from errno import EINVAL, EPERM
from stat import S_IFREG

from runsc.abi.ioctl import NS_GET_NSTYPE, NS_GET_OWNER_UID, NS_GET_PARENT, NS_GET_USERNS
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.anon import PseudoFs
from runsc.kernel.pid import PidNamespace
from runsc.kernel.user_ns import UserNamespace
from runsc.kernel.vfs.file import File
from runsc.kernel.vfs.inode import Inode
from runsc.kernel.vfs.install import install
from runsc.kernel.vfs.namespace import MountNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import Namespace
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

    AnyNamespace: TypeAlias = Namespace | PidNamespace | UserNamespace | MountNamespace

NSFS_MAGIC = 0x6E736673
_NSFS_DEV = 4


class NsInode(Inode):
    """A namespace as a file. While there is one, a mount namespace is kept."""

    __slots__ = ("namespace",)

    def __init__(self, kernel: Kernel, namespace: AnyNamespace) -> None:
        super().__init__(nsfs(kernel), namespace.inum, S_IFREG | 0o444)
        self.namespace = namespace
        if isinstance(namespace, MountNamespace):
            namespace.users += 1

    def __del__(self) -> None:
        if isinstance(self.namespace, MountNamespace):
            self.namespace.put()

    def name(self) -> str:
        """As the link reads: mnt:[4026531841]."""
        return f"{self.namespace.kind}:[{self.namespace.inum}]"

    def open(self, path: Path, flags: int, task: Task) -> File:
        if flags & 3:
            raise LinuxError(EPERM)
        return NsFile(self, flags)


class NsFile(File):
    """An open namespace."""

    __slots__ = ()

    inode: NsInode

    def read(self, task: Task, count: int) -> bytes:
        raise LinuxError(EINVAL)

    def describe(self) -> str:
        return self.inode.name()

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        namespace = self.inode.namespace
        if request == NS_GET_NSTYPE:
            return namespace.flag
        if request == NS_GET_USERNS:
            owner = namespace.parent if isinstance(namespace, UserNamespace) else namespace.user_ns
            if owner is None or not task.cred.user_ns.contains(owner):
                raise LinuxError(EPERM)
            return open_namespace(task, owner)
        if request == NS_GET_PARENT:
            if not isinstance(namespace, PidNamespace | UserNamespace):
                raise LinuxError(EINVAL)
            parent = namespace.parent
            own = task.cred.user_ns if isinstance(namespace, UserNamespace) else task.pid_ns
            if parent is None or not own.contains(parent):  # type: ignore[arg-type]
                raise LinuxError(EPERM)
            return open_namespace(task, parent)
        if request == NS_GET_OWNER_UID:
            if not isinstance(namespace, UserNamespace):
                raise LinuxError(EINVAL)
            task.mm.write_u32(arg, task.cred.user_ns.uid(namespace.owner))
            return 0
        return super().ioctl(task, request, arg)


def nsfs(kernel: Kernel) -> PseudoFs:
    """The file system of a kernel's open namespaces."""
    found: PseudoFs | None = kernel.extra.get("nsfs")
    if found is None:
        found = kernel.extra["nsfs"] = PseudoFs("nsfs", NSFS_MAGIC, _NSFS_DEV)
    return found


def open_namespace(task: Task, namespace: AnyNamespace) -> int:
    """A new descriptor for a namespace, closed on exec."""
    return install(task, NsFile(NsInode(task.kernel, namespace), 0), True)
