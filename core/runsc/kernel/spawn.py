"""Processes that no process in the sandbox makes: the first one of a container, and those that are started in
it from outside (exec)."""

from __future__ import annotations

from runsc.abi.signal import SIGCHLD
from runsc.kernel.fork import adopt
from runsc.kernel.mm.mm import MemoryManager
from runsc.kernel.nsproxy import IpcNamespace, UtsNamespace, next_inum
from runsc.kernel.pid import PidNamespace
from runsc.kernel.siginfo import SignalQueue
from runsc.kernel.signal import SignalHandlers
from runsc.kernel.task import Task
from runsc.kernel.thread_group import ProcessGroup, Session, ThreadGroup
from runsc.kernel.tunables import tunables
from runsc.kernel.vfs.fdtable import FdTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import NsProxy
    from runsc.kernel.vfs.fdtable import FsContext


def container_namespaces(
    kernel: Kernel, hostname: bytes | None = None, *, pid: bool = True, ipc: bool = True
) -> NsProxy:
    """Namespaces for a new container: pid and ipc namespaces of its own if asked for, a uts namespace of its
    own with ``hostname`` (None: that of the kernel's), the rest shared with the kernel's first processes."""
    base = kernel.nsproxy
    owner = base.uts.user_ns
    changed: dict[str, object] = {}
    if hostname is not None:
        changed["uts"] = UtsNamespace(owner, next_inum(kernel), hostname, base.uts.domainname)
    if ipc:
        changed["ipc"] = IpcNamespace(owner, next_inum(kernel))
    if pid:
        changed["pid_for_children"] = PidNamespace(kernel.pid_ns, owner, inum=next_inum(kernel))
    return base.replace(**changed)


def spawn(
    kernel: Kernel, nsproxy: NsProxy, cred: Credentials, fs: FsContext, limits: list[tuple[int, int]]
) -> Task:
    """A process in the namespaces of ``nsproxy``, leader of a session of its own, without memory or files.

    The first one in its pid namespace gets number 1 there and becomes its init; for a later one the others
    are strangers, and it has no parent (getppid: 0). ``group.ended`` may be set to hear of its end. The task
    is stopped: load a program into it (``exec_program``) and resume its thread. Raises LinuxError(ENOMEM) if
    the namespace's init has ended.
    """
    pid = nsproxy.pid_for_children.allocate()
    try:
        space = kernel.platform.new_address_space()
        thread = space.new_thread()
    except BaseException:
        pid.drop()
        raise
    if not kernel.initial_fpu:
        kernel.initial_fpu = thread.get_fpu()
    task = Task(kernel, pid, thread, nsproxy)
    task.mm = MemoryManager(space, tunables(kernel))
    task.cred = cred
    task.pending = SignalQueue()
    task.sighand = SignalHandlers()
    task.files = FdTable()
    task.cpu_mask = sum(1 << cpu for cpu in kernel.cpus)
    task.fs = fs
    group = ThreadGroup(kernel, task, None, limits)
    group.exit_signal = SIGCHLD
    task.group = group
    ProcessGroup(pid, Session(pid, group)).add(group)
    adopt(task)
    return task
