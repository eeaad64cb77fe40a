"""Process ids (pid_namespaces(7)). Ids are given upwards and wrap at pid_max, as in kernel/pid.c."""

from __future__ import annotations

from errno import EAGAIN

from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ProcessGroup, Session

#: Ids below this are not given again after a wrap (kernel/pid.c: RESERVED_PIDS).
RESERVED_PIDS = 300


class PidNamespace:
    """The ids of one container: tasks by tid, process groups, sessions."""

    __slots__ = ("groups", "last", "limit", "sessions", "tasks")

    def __init__(self, limit: int = 32768) -> None:
        self.tasks: dict[int, Task] = {}
        self.groups: dict[int, ProcessGroup] = {}
        self.sessions: dict[int, Session] = {}
        self.last = 0
        self.limit = limit

    def allocate(self) -> int:
        """A free id; raises EAGAIN when all are taken."""
        candidate = self.last
        for _ in range(self.limit):
            candidate += 1
            if candidate >= self.limit:
                candidate = RESERVED_PIDS
            if (
                candidate not in self.tasks
                and candidate not in self.groups
                and candidate not in self.sessions
            ):
                self.last = candidate
                return candidate
        raise LinuxError(EAGAIN)
