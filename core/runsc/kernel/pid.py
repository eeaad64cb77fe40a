"""Process ids (pid_namespaces(7)). Ids are given upwards and wrap at pid_max, as in kernel/pid.c."""

from __future__ import annotations

from errno import EAGAIN, EEXIST, EINVAL, ENOMEM

from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ProcessGroup, Session, ThreadGroup
    from runsc.kernel.wait import WaitQueue

#: Ids below this are not given again after a wrap (kernel/pid.c: RESERVED_PIDS).
RESERVED_PIDS = 300
#: How deep pid and user namespaces may be nested (MAX_PID_NS_LEVEL).
MAX_LEVEL = 32
#: The inode number of the first pid namespace (linux/proc_ns.h: PROC_PID_INIT_INO).
PID_INIT_INO = 0xEFFFFFFC
#: CLONE_NEWPID, as NS_GET_NSTYPE answers it.
_CLONE_NEWPID = 0x20000000


class Pid:
    """One identity (struct pid): a number in its own namespace and in each one above.

    ``numbers``: from the root namespace down to ``ns``. ``task``: who has it (None once it is gone),
    ``process_group`` and ``session``: those named by it. It is given back when none of the three is left;
    who still holds the object (a pidfd, a socket's credentials) finds no task behind it.
    """

    __slots__ = ("ended", "ns", "numbers", "process_group", "session", "task")

    def __init__(self, ns: PidNamespace, numbers: tuple[int, ...]) -> None:
        self.ns = ns
        self.numbers = numbers
        self.task: Task | None = None
        self.process_group: ProcessGroup | None = None
        self.session: Session | None = None
        #: woken when the task has become a zombie; made by the first who asks (pidfds)
        self.ended: WaitQueue | None = None

    def nr(self, ns: PidNamespace) -> int:
        """The number in ``ns``, 0 if it can't be seen from there (pid_nr_ns)."""
        level = ns.level
        chain = self.ns.chain
        return self.numbers[level] if level < len(chain) and chain[level] is ns else 0

    def attach(self, task: Task) -> None:
        """``task`` has this id from now on."""
        self.task = task
        for ns, number in zip(self.ns.chain, self.numbers, strict=True):
            ns.tasks[number] = task

    def detach(self, task: Task) -> None:
        """``task`` is gone, or has another id now."""
        if self.task is not task:
            return
        self.task = None
        for ns, number in zip(self.ns.chain, self.numbers, strict=True):
            del ns.tasks[number]
        self.drop()
        if self.ended is not None:
            self.ended.wake()

    def drop(self) -> None:
        """Give the numbers back if nothing is named by them any more (free_pid)."""
        if self.task is None and self.process_group is None and self.session is None:
            for ns, number in zip(self.ns.chain, self.numbers, strict=True):
                ns.pids.pop(number, None)

    def __repr__(self) -> str:
        return f"Pid({'/'.join(map(str, self.numbers))})"


class PidNamespace:
    """Ids as one container sees them: its own tasks and those of the namespaces below.

    ``tasks``: the tasks that have a number here; ``pids``: every number in use; ``child_reaper``: the process
    with number 1, which adopts orphans and takes everybody with it when it ends (None: the kernel itself
    adopts); ``user_ns``: who owns it; ``chain``: the namespaces from the root down to this one.
    """

    __slots__ = (
        "chain",
        "child_reaper",
        "closed",
        "inum",
        "last",
        "level",
        "limit",
        "parent",
        "pids",
        "tasks",
        "user_ns",
    )

    kind = "pid"
    flag = _CLONE_NEWPID

    def __init__(
        self,
        parent: PidNamespace | None = None,
        user_ns: Any = None,
        limit: int = 32768,
        inum: int = PID_INIT_INO,
    ) -> None:
        self.parent = parent
        self.user_ns = user_ns
        self.inum = inum
        self.level: int = 0 if parent is None else parent.level + 1
        self.chain: tuple[PidNamespace, ...] = (self,) if parent is None else (*parent.chain, self)
        self.tasks: dict[int, Task] = {}
        self.pids: dict[int, Pid] = {}
        self.child_reaper: ThreadGroup | None = None
        #: its first process has ended: no more are made
        self.closed = False
        self.last = 0
        self.limit = limit

    def allocate(self, wanted: Sequence[int] = ()) -> Pid:
        """A new id, with a number here and in each namespace above (alloc_pid).

        ``wanted``: numbers to take, from this namespace upwards (clone3's set_tid). Raises EAGAIN when all
        are taken, EEXIST when a wanted one is, EINVAL when it can't be one, ENOMEM when the namespace's
        first process has ended.
        """
        if self.closed:
            raise LinuxError(ENOMEM)
        if self.parent is None and not wanted:
            number = self._next()
            pid = self.pids[number] = Pid(self, (number,))
            return pid
        numbers: list[int] = []
        for index, ns in enumerate(reversed(self.chain)):
            numbers.append(ns._check(wanted[index]) if index < len(wanted) else ns._next())
        numbers.reverse()
        pid = Pid(self, tuple(numbers))
        for ns, number in zip(self.chain, numbers, strict=True):
            ns.pids[number] = pid
        return pid

    def _next(self) -> int:
        """The next number that is free here."""
        candidate = self.last
        pids = self.pids
        for _ in range(self.limit):
            candidate += 1
            if candidate >= self.limit:
                candidate = RESERVED_PIDS
            if candidate not in pids:
                self.last = candidate
                return candidate
        raise LinuxError(EAGAIN)

    def _check(self, number: int) -> int:
        """A number that the caller chose."""
        if not 0 < number < self.limit or (number != 1 and self.child_reaper is None and self.parent):
            raise LinuxError(EINVAL)
        if number in self.pids:
            raise LinuxError(EEXIST)
        return number

    def id_of(self, task: Task) -> int:
        """The number of ``task`` here, 0 if it can't be seen."""
        return task.pid.nr(self)

    def find_task(self, number: int) -> Task | None:
        """The task with this number here."""
        return self.tasks.get(number)

    def find_group(self, number: int) -> ThreadGroup | None:
        """The process with this number here (that of its first thread)."""
        task = self.tasks.get(number)
        return task.group if task is not None and task.group.leader is task else None

    def find_process_group(self, number: int) -> ProcessGroup | None:
        """The process group with this number here."""
        pid = self.pids.get(number)
        return pid.process_group if pid is not None else None

    def processes(self) -> Iterator[ThreadGroup]:
        """Every process that has a number here, zombies too; a list of its own, so that they may end
        meanwhile."""
        return iter([task.group for task in self.tasks.values() if task.group.leader is task])

    def contains(self, other: PidNamespace) -> bool:
        """Is ``other`` this namespace or one below it?"""
        return self.level < len(other.chain) and other.chain[self.level] is self

    def __repr__(self) -> str:
        return f"PidNamespace({self.level}, {self.inum})"
