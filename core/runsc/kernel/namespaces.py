"""New namespaces for a task, and others' namespaces joined: what clone(2), unshare(2) and setns(2) have in
common (kernel/nsproxy.c, kernel/user_namespace.c, fs/namespace.c)."""

from __future__ import annotations

from errno import EINVAL, ENOSPC, EPERM

from runsc.kernel.credentials import ALL_CAPS, CAP_SETFCAP, CAP_SYS_ADMIN, CAP_SYS_CHROOT
from runsc.kernel.errors import LinuxError
from runsc.kernel.nsproxy import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUTS,
    CgroupNamespace,
    IpcNamespace,
    NetNamespace,
    TimeNamespace,
    UtsNamespace,
    next_inum,
)
from runsc.kernel.pid import MAX_LEVEL, PidNamespace
from runsc.kernel.user_ns import UserNamespace
from runsc.kernel.vfs.dentry import Path
from runsc.kernel.vfs.namespace import MountNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import NsProxy
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Mount
    from runsc.kernel.vfs.fdtable import FsContext

#: All but users' and times'.
PROXIED = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP


def chrooted(fs: FsContext) -> bool:
    """Is the root directory another than the mount namespace's (current_chrooted)?"""
    return fs.root != fs.namespace.topmost(fs.namespace.root_path())


def create_user_ns(task: Task) -> Credentials:
    """Credentials with every capability in a new user namespace of the task's own (create_user_ns). Raises
    ENOSPC for one nested too deep, EPERM in a chroot, or where the own ids have no mapping."""
    old = task.cred
    parent = old.user_ns
    if parent.level > MAX_LEVEL:
        raise LinuxError(ENOSPC)
    if chrooted(task.fs) or not parent.has_ids(old.euid, old.egid):
        raise LinuxError(EPERM)
    ns = UserNamespace(parent, old.euid, old.egid, next_inum(task.kernel))
    ns.could_setfcap = old.own_capable(CAP_SETFCAP)
    return in_user_ns(old, ns)


def in_user_ns(old: Credentials, ns: UserNamespace) -> Credentials:
    """``old`` with every capability in ``ns`` (set_cred_user_ns)."""
    new = old.copy()
    new.user_ns = ns
    new.securebits = 0
    new.inheritable = new.ambient = 0
    new.permitted = new.effective = new.bounding = ALL_CAPS
    return new


def copy_namespaces(task: Task, flags: int, cred: Credentials) -> NsProxy:
    """The task's namespaces, those of ``flags`` exchanged for new ones that the user namespace of ``cred``
    owns; that of mounts is copied by ``copy_mount_namespace``. Raises EPERM, EINVAL, ENOSPC."""
    if not flags & (PROXIED | CLONE_NEWTIME):
        return task.nsproxy
    kernel, old, owner = task.kernel, task.nsproxy, cred.user_ns
    if not cred.own_capable(CAP_SYS_ADMIN):
        raise LinuxError(EPERM)
    if flags & CLONE_NEWTIME:
        # The vDSO is the host's: its clocks could not be shifted.
        raise LinuxError(EINVAL)
    changed: dict[str, object] = {}
    if flags & CLONE_NEWUTS:
        changed["uts"] = UtsNamespace(owner, next_inum(kernel), old.uts.hostname, old.uts.domainname)
    if flags & CLONE_NEWIPC:
        changed["ipc"] = IpcNamespace(owner, next_inum(kernel))
    if flags & CLONE_NEWPID:
        above = old.pid_for_children
        if above is not task.pid_ns or not above.user_ns.contains(owner):
            raise LinuxError(EINVAL)
        if above.level >= MAX_LEVEL:
            raise LinuxError(ENOSPC)
        changed["pid_for_children"] = PidNamespace(above, owner, inum=next_inum(kernel))
    if flags & CLONE_NEWCGROUP:
        changed["cgroup"] = CgroupNamespace(owner, next_inum(kernel))
    if flags & CLONE_NEWNET:
        changed["net"] = new_net_namespace(kernel, owner)
    return old.replace(**changed)


def new_net_namespace(kernel: Kernel, owner: UserNamespace) -> NetNamespace:
    """A network namespace with a loopback of its own and nothing else."""
    from runsc.kernel.socket.devices import devices_of
    from runsc.kernel.socket.inet.proc import install
    from runsc.kernel.socket.inet.stack import loopback
    from runsc.kernel.socket.isolated import IsolatedNetwork

    net = NetNamespace(owner, next_inum(kernel), IsolatedNetwork())
    devices_of(net).start_down()
    loopback(net).up = False
    install(net)
    return net


def copy_mount_namespace(kernel: Kernel, fs: FsContext, owner: UserNamespace) -> None:
    """Give ``fs``, which nobody shares, a copy of its mount namespace (copy_mnt_ns)."""
    new, copies = fs.namespace.copy(owner, next_inum(kernel))

    def moved(path: Path) -> Path:
        mount: Mount | None = copies.get(path.mount)
        return Path(mount, path.dentry) if mount is not None else path

    fs.move(new, moved(fs.root), moved(fs.cwd))


def join(task: Task, namespace: object) -> None:
    """setns(2): make ``namespace`` the task's own. Raises EINVAL, EPERM."""
    cred = task.cred
    if isinstance(namespace, UserNamespace):
        if namespace is cred.user_ns or len(task.group.tasks) > 1 or task.fs.users != 1:
            raise LinuxError(EINVAL)
        if not cred.ns_capable(namespace, CAP_SYS_ADMIN):
            raise LinuxError(EPERM)
        task.cred = in_user_ns(cred, namespace)
        return
    if isinstance(namespace, MountNamespace):
        _join_mounts(task, namespace)
        return
    assert isinstance(namespace, _PROXY_KINDS)
    if not cred.ns_capable(namespace.user_ns, CAP_SYS_ADMIN) or not cred.own_capable(CAP_SYS_ADMIN):
        raise LinuxError(EPERM)
    if isinstance(namespace, PidNamespace):
        if not task.pid_ns.contains(namespace):
            raise LinuxError(EINVAL)
        name = "pid_for_children"
    else:
        name = namespace.kind
    if isinstance(namespace, TimeNamespace):
        task.nsproxy = task.nsproxy.replace(time=namespace, time_for_children=namespace)
    else:
        task.nsproxy = task.nsproxy.replace(**{name: namespace})


_PROXY_KINDS = (UtsNamespace, IpcNamespace, NetNamespace, CgroupNamespace, TimeNamespace, PidNamespace)


def _join_mounts(task: Task, namespace: MountNamespace) -> None:
    """Root and working directory become the root of the other namespace (mntns_install)."""
    cred = task.cred
    if not (
        cred.ns_capable(namespace.user_ns, CAP_SYS_ADMIN)
        and cred.own_capable(CAP_SYS_CHROOT)
        and cred.own_capable(CAP_SYS_ADMIN)
    ):
        raise LinuxError(EPERM)
    if task.fs.users != 1:
        raise LinuxError(EINVAL)
    root = namespace.topmost(namespace.root_path())
    task.fs.move(namespace, root, root)
