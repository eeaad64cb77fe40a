"""A task: one guest thread as the kernel sees it (struct task_struct)."""

from __future__ import annotations

from time import monotonic_ns

from runsc.kernel.errors import Interrupted
from runsc.kernel.wait import ALL, WaitEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable
    from typing import Any

    from runsc.kernel.credentials import Credentials
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.mm.mm import MemoryManager
    from runsc.kernel.nsproxy import NsProxy
    from runsc.kernel.pid import Pid, PidNamespace
    from runsc.kernel.ptrace import Ptrace
    from runsc.kernel.seccomp.filter import Filter
    from runsc.kernel.signal import SigInfo, SignalHandlers, SignalQueue
    from runsc.kernel.syscalls.decl import Entry
    from runsc.kernel.thread_group import ThreadGroup
    from runsc.kernel.vfs.fdtable import FdTable, FsContext
    from runsc.kernel.wait import WaitQueue
    from runsc.platform import Thread

# What is to be done before a task goes back to its guest code (TIF_* flags).
WORK_SIGNAL = 1  #: a signal may be deliverable
WORK_STOP = 2  #: its group is stopping
WORK_DEAD = 4  #: it has exited
WORK_FROZEN = 8  #: its container is paused
WORK_TRAP = 8  #: its tracer wants it to stop
WORK_RESTORE_MASK = 16  #: a call changed the signal mask for its own duration

# Where a task is, as /proc shows it.
RUNNING = "R"
SLEEPING = "S"
UNINTERRUPTIBLE = "D"
STOPPED = "T"
TRACED = "t"
ZOMBIE = "Z"
DEAD = "X"


class Park:
    """What a coroutine awaits to give the loop back until its task is woken."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


PARK = Park()


class Task:
    """One guest thread.

    ``tid``: its id in the root pid namespace; ``vtid``: in its own one, ``pid_ns``; ``pid``: both, and those
    between; ``nsproxy``: the other namespaces; ``group``: its thread group (process); ``thread``: the
    platform's thread, stopped while the task is in the kernel; ``mm``, ``files``, ``fs``, ``sighand``: shared
    as clone(2) said; ``work``: WORK_* bits; ``coroutine``: the system call that is waiting, or None.
    """

    __slots__ = (
        "alt_flags",
        "alt_size",
        "alt_stack",
        "blocked",
        "clear_child_tid",
        "comm",
        "coroutine",
        "cpu_mask",
        "cred",
        "exit_code",
        "exit_signal",
        "files",
        "fs",
        "group",
        "io_priority",
        "kernel",
        "mempolicy",
        "mm",
        "nice",
        "nsproxy",
        "oom_score_adj",
        "parked",
        "pdeath_signal",
        "pending",
        "personality",
        "pid",
        "pid_ns",
        "policy",
        "ptrace",
        "ready",
        "restart",
        "robust_list",
        "saved_mask",
        "sched_priority",
        "seccomp",
        "seccomp_mode",
        "sighand",
        "start_time",
        "state",
        "stop_state",
        "syscall_nr",
        "sysvsem",
        "table",
        "thread",
        "tid",
        "timer_slack",
        "vfork_done",
        "vtid",
        "wake",
        "work",
    )

    def __init__(self, kernel: Kernel, pid: Pid, thread: Thread, nsproxy: NsProxy) -> None:
        self.kernel = kernel
        self.set_pid(pid)
        self.thread = thread
        thread.owner = self
        self.nsproxy = nsproxy
        #: who answers its system calls: the kernel's table, or ``Kernel.gated``
        self.table: list[Entry] = kernel.table
        #: its newest seccomp filter, and SECCOMP_MODE_*
        self.seccomp: Filter | None = None
        self.seccomp_mode = 0
        #: how it is traced (None: by nobody)
        self.ptrace: Ptrace | None = None
        self.group: ThreadGroup
        self.mm: MemoryManager
        self.files: FdTable
        self.fs: FsContext
        self.cred: Credentials
        self.sighand: SignalHandlers
        self.pending: SignalQueue
        self.blocked = 0
        #: the mask to go back to after sigsuspend, ppoll..., with WORK_RESTORE_MASK
        self.saved_mask = 0
        self.alt_stack = 0
        self.alt_size = 0
        self.alt_flags = 2  # SS_DISABLE
        self.work = 0
        self.coroutine: Coroutine[Any, Any, int] | None = None
        self.parked = False
        self.ready = False
        self.restart: Callable[[Task], Any] | None = None
        #: what ``entry.return_to_user`` was about to do when the group stopped, to be done on SIGCONT
        self.stop_state: tuple[int | None, Interrupted | None] | None = None
        self.syscall_nr = -1
        self.state = RUNNING
        self.comm = b""
        self.exit_code = 0
        self.exit_signal = 0
        self.clear_child_tid = 0
        self.robust_list = (0, 0)
        self.pdeath_signal = 0
        self.vfork_done: WaitQueue | None = None
        self.nice = 0
        self.policy = 0
        self.sched_priority = 0
        self.cpu_mask = 0
        self.io_priority = 0
        self.timer_slack = 50000
        self.personality = 0
        self.oom_score_adj = 0
        self.start_time = monotonic_ns()
        #: what of semaphores is to be undone at its end, shared as clone(2) said; None until needed
        self.sysvsem: Any = None
        #: set_mempolicy(2): (mode, nodes), None for the default
        self.mempolicy: tuple[int, int] | None = None
        #: bound once: wait entries and timers hold it without making a new object each time
        self.wake = self._wake

    def set_pid(self, pid: Pid) -> None:
        """Take an id (which has yet to be attached)."""
        self.pid = pid
        self.pid_ns: PidNamespace = pid.ns
        self.tid: int = pid.numbers[0]
        self.vtid: int = pid.numbers[-1]

    def regate(self) -> None:
        """Filters or tracing changed: choose the table that its calls go through."""
        ptrace = self.ptrace
        gated = self.seccomp_mode or (ptrace is not None and ptrace.watches_calls())
        self.table = self.kernel.gated if gated else self.kernel.table

    @property
    def tgid(self) -> int:
        return self.group.tgid

    def limit(self, resource: int) -> int:
        """The soft limit of a RLIMIT_* resource."""
        return self.group.limits[resource][0]

    # -- waiting ------------------------------------------------------------------------------

    def _wake(self, mask: int = ALL) -> bool:
        """Let a parked coroutine look again. True if that changed anything."""
        if self.parked and not self.ready:
            self.ready = True
            self.kernel.run_queue.append(self)
            return True
        return False

    def wake_stopped(self) -> None:
        """The group goes on: let the loop take this task back to its guest code."""
        if not self.ready:
            self.ready = True
            self.kernel.run_queue.append(self)

    async def wait(
        self,
        queue: WaitQueue | None,
        mask: int = ALL,
        deadline: int | None = None,
        exclusive: bool = False,
        interruptible: bool = True,
    ) -> bool:
        """Sleep until ``queue`` is woken for ``mask`` or the monotonic clock reaches ``deadline`` (ns).

        True if woken (perhaps for nothing: look again), False if time is up. Raises ``Interrupted`` when a
        signal is pending, unless not ``interruptible`` (then only a kill ends it).
        """
        return await self.wait_any(
            () if queue is None else ((queue, mask),), deadline, exclusive, interruptible
        )

    async def wait_any(
        self,
        queues: Iterable[tuple[WaitQueue, int]],
        deadline: int | None = None,
        exclusive: bool = False,
        interruptible: bool = True,
    ) -> bool:
        """``wait`` on several queues, each with its mask."""
        if interruptible and self.work & ~WORK_RESTORE_MASK:
            raise Interrupted
        if deadline is not None and deadline <= monotonic_ns():
            return False
        entries = []
        timer = None
        self.state = SLEEPING if interruptible else UNINTERRUPTIBLE
        try:
            for queue, mask in queues:
                entry = WaitEntry(self.wake, mask, exclusive)
                queue.add(entry)
                entries.append((queue, entry))
            if deadline is not None:
                timer = self.kernel.timers.add(deadline, self.wake)
            while True:
                await PARK
                if not interruptible and self.work and not self.group.exiting:
                    expired = deadline is not None and deadline <= monotonic_ns()
                    return not expired
                break
        finally:
            self.state = RUNNING
            for queue, entry in entries:
                queue.remove(entry)
            if timer is not None:
                timer.cancel()
        if self.work & ~WORK_RESTORE_MASK and (interruptible or self.group.exiting):
            raise Interrupted
        return deadline is None or deadline > monotonic_ns()

    # -- signals (delivered by runsc.kernel.signal) -------------------------------------------

    def send_signal(self, info: SigInfo, group: bool = True) -> None:
        """Send a signal to this task, or to its process."""
        from runsc.kernel.signal import send

        send(self, info, group)

    def __repr__(self) -> str:
        return f"Task({self.tid}, {self.comm.decode('latin-1')})"
