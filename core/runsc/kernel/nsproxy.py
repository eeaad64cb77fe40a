"""The namespaces of a task (namespaces(7), kernel/nsproxy.c).

A ``NsProxy`` is shared by tasks and never changed: a call that gives a task another namespace gives it
another proxy. The mount namespace goes with root and working directory (``FsContext``), the user namespace
with the credentials.
"""

from __future__ import annotations

from runsc.kernel.pid import PidNamespace
from runsc.kernel.user_ns import INIT_USER_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.user_ns import UserNamespace

#: CLONE_NEW* flags, as unshare(2), setns(2) and NS_GET_NSTYPE have them.
CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

#: Inode numbers of the first namespaces (linux/proc_ns.h); others are numbered from FIRST_INO on.
UTS_INIT_INO = 0xEFFFFFFE
IPC_INIT_INO = 0xEFFFFFFF
CGROUP_INIT_INO = 0xEFFFFFFB
TIME_INIT_INO = 0xEFFFFFFA
NET_INIT_INO = 0xEFFFFFF9
FIRST_INO = 0xF0000001


class Namespace:
    """Any namespace: ``kind`` as in /proc/PID/ns, ``flag`` its CLONE_NEW* bit, ``inum`` its inode number,
    ``user_ns`` the user namespace that owns it."""

    __slots__ = ("inum", "user_ns")

    kind = ""
    flag = 0

    def __init__(self, user_ns: UserNamespace, inum: int) -> None:
        self.user_ns = user_ns
        self.inum = inum

    def __repr__(self) -> str:
        return f"{self.kind}:[{self.inum}]"


class UtsNamespace(Namespace):
    """Host and domain name (uts_namespaces(7))."""

    __slots__ = ("domainname", "hostname")

    kind = "uts"
    flag = CLONE_NEWUTS

    def __init__(
        self, user_ns: UserNamespace, inum: int, hostname: bytes = b"runsc", domainname: bytes = b"(none)"
    ) -> None:
        super().__init__(user_ns, inum)
        self.hostname = hostname
        self.domainname = domainname


class IpcNamespace(Namespace):
    """System V objects and POSIX message queues (ipc_namespaces(7)). ``extra``: what their modules keep, by
    name; its ``tables`` go with the last task or file that keeps the namespace."""

    __slots__ = ("extra",)

    kind = "ipc"
    flag = CLONE_NEWIPC

    def __init__(self, user_ns: UserNamespace, inum: int) -> None:
        super().__init__(user_ns, inum)
        self.extra: dict[str, Any] = {}

    def __del__(self) -> None:
        tables = self.extra.get("tables")
        if tables is not None and self.inum != IPC_INIT_INO:
            tables.release()


class NetNamespace(Namespace):
    """Network devices, addresses, ports (network_namespaces(7)). ``network``: who makes its sockets;
    ``extra``: what modules keep for it, by name (a kernel's first one has the kernel's)."""

    __slots__ = ("extra", "network")

    kind = "net"
    flag = CLONE_NEWNET

    def __init__(self, user_ns: UserNamespace, inum: int, network: Any) -> None:
        super().__init__(user_ns, inum)
        self.network = network
        self.extra: dict[str, Any] = {}


class CgroupNamespace(Namespace):
    """Where /proc/PID/cgroup starts (cgroup_namespaces(7))."""

    __slots__ = ()

    kind = "cgroup"
    flag = CLONE_NEWCGROUP


class TimeNamespace(Namespace):
    """Offsets of the monotonic and the boot-time clock, in ns (time_namespaces(7)). ``frozen``: a task is in
    it, and the offsets stay what they are."""

    __slots__ = ("boottime", "frozen", "monotonic")

    kind = "time"
    flag = CLONE_NEWTIME

    def __init__(self, user_ns: UserNamespace, inum: int, monotonic: int = 0, boottime: int = 0) -> None:
        super().__init__(user_ns, inum)
        self.monotonic = monotonic
        self.boottime = boottime
        self.frozen = False


class NsProxy:
    """The namespaces of a task, but for those of mounts and users."""

    __slots__ = ("cgroup", "ipc", "net", "pid_for_children", "time", "time_for_children", "uts")

    def __init__(
        self,
        uts: UtsNamespace,
        ipc: IpcNamespace,
        net: NetNamespace,
        pid_for_children: PidNamespace,
        cgroup: CgroupNamespace,
        time: TimeNamespace,
    ) -> None:
        self.uts = uts
        self.ipc = ipc
        self.net = net
        self.pid_for_children = pid_for_children
        self.cgroup = cgroup
        self.time = self.time_for_children = time

    def replace(self, **changed: Any) -> NsProxy:
        """A proxy with some namespaces exchanged (by attribute name)."""
        new = NsProxy(self.uts, self.ipc, self.net, self.pid_for_children, self.cgroup, self.time)
        new.time_for_children = self.time_for_children
        for name, namespace in changed.items():
            setattr(new, name, namespace)
        return new


def initial(network: Any = None, hostname: bytes = b"runsc", limit: int = 32768) -> NsProxy:
    """The namespaces of a kernel that comes up."""
    user = INIT_USER_NS
    time = TimeNamespace(user, TIME_INIT_INO)
    time.frozen = True
    return NsProxy(
        UtsNamespace(user, UTS_INIT_INO, hostname),
        IpcNamespace(user, IPC_INIT_INO),
        NetNamespace(user, NET_INIT_INO, network),
        PidNamespace(None, user, limit),
        CgroupNamespace(user, CGROUP_INIT_INO),
        time,
    )


def next_inum(kernel: Kernel) -> int:
    """The inode number of a new namespace."""
    number: int = kernel.extra.get("ns_inum", FIRST_INO)
    kernel.extra["ns_inum"] = number + 1
    return number
