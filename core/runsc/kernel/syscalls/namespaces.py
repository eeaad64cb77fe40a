"""unshare(2) and setns(2)."""

from __future__ import annotations

from errno import EBADF, EINVAL, EPERM, ESRCH

from runsc.kernel.errors import LinuxError
from runsc.kernel.fork import (
    CLONE_FILES,
    CLONE_FS,
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    CLONE_SIGHAND,
    CLONE_SYSVSEM,
    CLONE_THREAD,
    CLONE_VM,
)
from runsc.kernel.fs.nsfs import NsFile
from runsc.kernel.fs.proc.access import may_access
from runsc.kernel.namespaces import copy_mount_namespace, copy_namespaces, create_user_ns, join
from runsc.kernel.syscalls.decl import PARTIAL, CloneFlags, Fd, UnshareFlags, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

_JOINABLE = (
    CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP
)
_KNOWN = (
    CLONE_THREAD
    | CLONE_FS
    | CLONE_SIGHAND
    | CLONE_VM
    | CLONE_FILES
    | CLONE_SYSVSEM
    | CLONE_NEWTIME
    | _JOINABLE
)
_NO_TIME = "no time namespaces: the clocks of the vDSO are the host's"


@syscall(272, PARTIAL, _NO_TIME)
def unshare(task: Task, flags: UnshareFlags) -> Result:
    """unshare(2)."""
    if flags & CLONE_NEWUSER:
        flags |= CLONE_THREAD | CLONE_FS
    if flags & CLONE_VM:
        flags |= CLONE_SIGHAND
    if flags & CLONE_SIGHAND:
        flags |= CLONE_THREAD
    if flags & CLONE_NEWNS:
        flags |= CLONE_FS
    if flags & ~_KNOWN:
        raise LinuxError(EINVAL)
    if flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) and len(task.group.tasks) > 1:
        raise LinuxError(EINVAL)
    if flags & (CLONE_SIGHAND | CLONE_VM) and task.sighand.users > 1:
        raise LinuxError(EINVAL)
    if flags & CLONE_VM and task.mm.users > 1:
        raise LinuxError(EINVAL)
    cred = create_user_ns(task) if flags & CLONE_NEWUSER else task.cred
    nsproxy = copy_namespaces(task, flags, cred)
    if flags & CLONE_FS and task.fs.users > 1:
        shared, task.fs = task.fs, task.fs.fork()
        shared.users -= 1
    if flags & CLONE_FILES and task.files.users > 1:
        table, task.files = task.files, task.files.fork()
        table.users -= 1
    if flags & CLONE_NEWNS:
        copy_mount_namespace(task.kernel, task.fs, cred.user_ns)
    task.nsproxy = nsproxy
    task.cred = cred
    return 0


@syscall(308, PARTIAL, _NO_TIME)
def setns(task: Task, fd: Fd, kind: CloneFlags) -> Result:
    """setns(2)."""
    file = task.files.files.get(fd)
    if file is None:
        raise LinuxError(EBADF)
    kind &= 0xFFFFFFFF
    if isinstance(file, NsFile):
        namespace = file.inode.namespace
        if kind and kind != namespace.flag:
            raise LinuxError(EINVAL)
        join(task, namespace)
        return 0
    target = file.target_task() if hasattr(file, "target_task") else None
    if target is None and not hasattr(file, "target_task"):
        raise LinuxError(EINVAL)
    if not kind or kind & ~(_JOINABLE | CLONE_NEWTIME):
        raise LinuxError(EINVAL)
    if target is None:
        raise LinuxError(ESRCH)
    if not may_access(task, target):
        raise LinuxError(EPERM)
    _join_all(task, target, kind)
    return 0


def _join_all(task: Task, target: Task, kinds: int) -> None:
    """Those namespaces of ``target``: all, or none if one of them refuses."""
    before = (task.cred, task.nsproxy)
    proxy = target.nsproxy
    wanted = (
        (CLONE_NEWUSER, target.cred.user_ns),
        (CLONE_NEWUTS, proxy.uts),
        (CLONE_NEWIPC, proxy.ipc),
        (CLONE_NEWPID, target.pid_ns),
        (CLONE_NEWCGROUP, proxy.cgroup),
        (CLONE_NEWNET, proxy.net),
        (CLONE_NEWTIME, proxy.time),
        (CLONE_NEWNS, target.fs.namespace),
    )
    try:
        for flag, namespace in wanted:
            if kinds & flag:
                join(task, namespace)
    except LinuxError:
        task.cred, task.nsproxy = before
        raise
