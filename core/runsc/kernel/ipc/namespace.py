"""The IPC namespace: objects, keys and limits of its own (ipc_namespaces(7), struct ipc_tables)."""

from __future__ import annotations

from runsc.kernel.ipc.ids import IpcIds
from runsc.kernel.ipc.limits import IpcLimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.ipc.mqueue import MqueueFs
    from runsc.kernel.ipc.msg import MessageQueue
    from runsc.kernel.ipc.sem import SemaphoreSet
    from runsc.kernel.ipc.shm import SharedMemorySegment
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task


class IpcTables:
    """``shm_pages``: pages of all segments; ``sem_count``: semaphores of all sets; ``msg_bytes``,
    ``msg_count``: what waits in all queues. ``mqueues``: the file system of POSIX queues, made when
    first used."""

    __slots__ = (
        "kernel", "limits", "mqueues", "msg", "msg_bytes", "msg_count", "sem", "sem_count", "shm",
        "shm_pages",
    )  # fmt: skip

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.limits = IpcLimits()
        self.shm: IpcIds[SharedMemorySegment] = IpcIds()
        self.sem: IpcIds[SemaphoreSet] = IpcIds()
        self.msg: IpcIds[MessageQueue] = IpcIds()
        self.shm_pages = 0
        self.sem_count = 0
        self.msg_bytes = 0
        self.msg_count = 0
        self.mqueues: MqueueFs | None = None

    def release(self) -> None:
        """Nobody is in the namespace any more: what was left in it goes (free_ipc_ns)."""
        for segment in self.shm:
            segment.remove()
        for semaphores in self.sem:
            semaphores.remove()
        for queue in self.msg:
            queue.remove()
        self.mqueues = None


def ipc_tables(task: Task) -> IpcTables:
    """What the IPC namespace of ``task`` has."""
    extra = task.nsproxy.ipc.extra
    found: IpcTables | None = extra.get("tables")
    if found is None:
        found = extra["tables"] = IpcTables(task.kernel)
    return found
