"""Thread groups (processes), process groups and sessions (credentials(7), setsid(2))."""

from __future__ import annotations

from time import monotonic_ns

from runsc.kernel.siginfo import SignalQueue
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runsc.kernel.container import Container
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.pid import Pid
    from runsc.kernel.siginfo import SigInfo
    from runsc.kernel.task import Task

RLIM_INFINITY = 0xFFFFFFFFFFFFFFFF

(
    RLIMIT_CPU,
    RLIMIT_FSIZE,
    RLIMIT_DATA,
    RLIMIT_STACK,
    RLIMIT_CORE,
    RLIMIT_RSS,
    RLIMIT_NPROC,
    RLIMIT_NOFILE,
    RLIMIT_MEMLOCK,
    RLIMIT_AS,
    RLIMIT_LOCKS,
    RLIMIT_SIGPENDING,
    RLIMIT_MSGQUEUE,
    RLIMIT_NICE,
    RLIMIT_RTPRIO,
    RLIMIT_RTTIME,
) = range(16)


def default_limits() -> list[tuple[int, int]]:
    """(soft, hard) of each resource for the first process, as a distribution's kernel sets them."""
    inf = RLIM_INFINITY
    limits = [(inf, inf)] * 16
    limits[RLIMIT_STACK] = (8 << 20, inf)
    limits[RLIMIT_CORE] = (0, inf)
    limits[RLIMIT_NPROC] = (30000, 30000)
    limits[RLIMIT_NOFILE] = (1024, 1048576)
    limits[RLIMIT_MEMLOCK] = (8 << 20, 8 << 20)
    limits[RLIMIT_SIGPENDING] = (30000, 30000)
    limits[RLIMIT_MSGQUEUE] = (819200, 819200)
    limits[RLIMIT_NICE] = (0, 0)
    limits[RLIMIT_RTPRIO] = (0, 0)
    return limits


class Session:
    """A session: its id, its controlling terminal (None without one), its leader's thread group."""

    __slots__ = ("groups", "leader", "pid", "tty")

    def __init__(self, pid: Pid, leader: ThreadGroup | None = None) -> None:
        self.pid = pid
        self.leader = leader
        self.tty: Any = None
        self.groups: set[ProcessGroup] = set()
        pid.session = self

    @property
    def sid(self) -> int:
        """Its id in the root pid namespace."""
        return self.pid.numbers[0]


class ProcessGroup:
    """A process group: the processes (``members``) that go by its ``pid``."""

    __slots__ = ("members", "pid", "session")

    def __init__(self, pid: Pid, session: Session) -> None:
        self.pid = pid
        self.session = session
        self.members: list[ThreadGroup] = []
        session.groups.add(self)
        pid.process_group = self

    @property
    def pgid(self) -> int:
        """Its id in the root pid namespace."""
        return self.pid.numbers[0]

    def add(self, group: ThreadGroup) -> None:
        self.members.append(group)
        group.process_group = self
        group.session = self.session

    def remove(self, group: ThreadGroup) -> None:
        """Take a process out; an empty group, and then an empty session, is gone."""
        self.members.remove(group)
        if not self.members:
            session = self.session
            session.groups.discard(self)
            self.pid.process_group = None
            if not session.groups:
                session.pid.session = None
                session.pid.drop()
            self.pid.drop()

    def orphaned(self) -> bool:
        """Has no member a parent in the same session but another group (setpgid(2))?"""
        for member in self.members:
            parent = member.parent
            if member.zombie or parent is None:
                continue
            if parent.session is self.session and parent.process_group is not self:
                return False
        return True


class ThreadGroup:
    """A process (struct signal_struct): what its threads share besides memory and files.

    ``tasks``: the live threads; ``leader``: the one whose tid is ``tgid`` (kept while the group is a zombie);
    ``zombie``: all threads have ended and the parent has not waited yet; ``exit_code``: a wait status.
    """

    __slots__ = (
        "child_cpu_ns",
        "child_maxrss",
        "child_sys_ns",
        "child_wait",
        "children",
        "container",
        "continued",
        "cpu_ns",
        "dumpable",
        "ended",
        "exec_generation",
        "exit_code",
        "exit_signal",
        "exiting",
        "extra",
        "frozen",
        "is_subreaper",
        "itimers",
        "kernel",
        "leader",
        "limits",
        "maxrss",
        "oom_score_adj",
        "parent",
        "pending",
        "posix_timers",
        "process_group",
        "reported_stop",
        "session",
        "start_time",
        "stop_signal",
        "stopped",
        "sys_ns",
        "tasks",
        "tgid",
        "traced",
        "unkillable",
        "vtgid",
        "zombie",
    )

    def __init__(
        self, kernel: Kernel, leader: Task, parent: ThreadGroup | None, limits: list[tuple[int, int]]
    ) -> None:
        self.kernel = kernel
        self.leader = leader
        self.tgid = leader.tid
        #: its id in its own pid namespace
        self.vtgid = leader.vtid
        self.tasks: list[Task] = [leader]
        self.parent = parent
        self.children: list[ThreadGroup] = []
        self.limits = limits
        #: the container it belongs to, None in a kernel without
        self.container: Container | None = None
        self.pending = SignalQueue()
        self.process_group: ProcessGroup
        self.session: Session
        self.child_wait = WaitQueue()
        self.exiting = False
        self.zombie = False
        self.exit_code = 0
        self.exit_signal = 0
        #: the signal that stopped the group, while it is stopped
        self.stop_signal = 0
        self.stopped = False
        #: its container is paused
        self.frozen = False
        #: has the parent been told (by wait) of the stop; is there a continuation to tell
        self.reported_stop = False
        self.continued = False
        self.is_subreaper = False
        #: signals without a handler do nothing to it (SIGNAL_UNKILLABLE: the first process of a namespace)
        self.unkillable = False
        self.dumpable = 1
        self.oom_score_adj = 0
        self.exec_generation = 0
        self.start_time = monotonic_ns()
        #: CPU time of threads that have ended, and of children waited for (ns)
        self.cpu_ns = 0
        self.sys_ns = 0
        self.child_cpu_ns = 0
        self.child_sys_ns = 0
        self.maxrss = 0
        self.child_maxrss = 0
        self.itimers: Any = None
        self.posix_timers: dict[int, Any] | None = None
        self.extra: dict[str, Any] | None = None
        #: the tasks that its threads trace
        self.traced: list[Task] | None = None
        #: called once when it has ended (who started it from outside and has to know its status)
        self.ended: Callable[[ThreadGroup], None] | None = None

    def cpu_time_ns(self) -> tuple[int, int]:
        """(user, system) time of all threads, living and ended."""
        user, system = self.cpu_ns, self.sys_ns
        for task in self.tasks:
            more_user, more_system = task.thread.cpu_time_ns()
            user += more_user
            system += more_system
        return user, system

    @property
    def pid(self) -> Pid:
        return self.leader.pid

    def is_init(self) -> bool:
        """Is it the first process of its pid namespace, which adopts orphans?"""
        return self.leader.pid_ns.child_reaper is self

    def send_signal(self, info: SigInfo) -> None:
        """Send a signal to the process."""
        if not self.zombie:
            self.leader.send_signal(info, group=True)

    def __repr__(self) -> str:
        return f"ThreadGroup({self.tgid})"
