"""System V semaphores: sets, operations that happen together or not at all, and their undoing (ipc/sem.c)."""

from __future__ import annotations

from errno import EAGAIN, EIDRM, EINVAL, ENOSPC, ERANGE

from runsc.abi.ipc import IPC_NOWAIT, SEM_UNDO, SEMID_DS, SEMVMX
from runsc.kernel.errors import LinuxError
from runsc.kernel.ipc.ids import IpcObject, now, process_of
from runsc.kernel.task import WORK_DEAD
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.ipc.namespace import IpcTables
    from runsc.kernel.pid import Pid
    from runsc.kernel.task import Task

    #: One of semop(2)'s: semaphore number, what to add, flags.
    Operation = tuple[int, int, int]
    #: What a process (or the threads that share it) has to undo: for each set, a value for each semaphore.
    Undo = dict["SemaphoreSet", list[int]]

#: The largest adjustment that is kept (SEMAEM).
_SEMAEM = SEMVMX


class Semaphore:
    """``value``, and the process that changed it last."""

    __slots__ = ("pid", "value")

    def __init__(self) -> None:
        self.value = 0
        self.pid: Pid | None = None


class Sleeper:
    """Operations that can't be done yet. ``status``: their result once somebody has dealt with them (0, or
    an errno), None before; ``blocking``: the operation that they wait for (struct sem_queue)."""

    __slots__ = ("alters", "blocking", "operations", "pid", "queue", "status", "undo")

    def __init__(self, operations: list[Operation], undo: Undo | None, pid: Pid) -> None:
        self.operations = operations
        self.undo = undo
        self.pid = pid
        self.alters = any(change for _number, change, _flags in operations)
        self.status: int | None = None
        self.blocking: Operation = operations[0]
        self.queue = WaitQueue()

    def done(self, status: int) -> None:
        self.status = status
        self.queue.wake()


class SemaphoreSet(IpcObject):
    """A set (struct sem_array). ``sleepers``: who waits, in the order in which they came; ``undos``: the
    lists that have something of this set in them."""

    __slots__ = ("namespace", "otime", "semaphores", "sleepers", "undos")

    def __init__(self, namespace: IpcTables, task: Task, key: int, count: int, mode: int) -> None:
        super().__init__(key, mode, task.cred)
        self.namespace = namespace
        self.otime = 0
        self.semaphores = [Semaphore() for _ in range(count)]
        self.sleepers: list[Sleeper] = []
        self.undos: list[Undo] = []

    # -- operations ---------------------------------------------------------------------------

    def perform(self, sleeper: Sleeper) -> bool:
        """Do all operations, or none: False if one must wait (perform_atomic_semop).

        Raises EAGAIN for one that mustn't, ERANGE."""
        semaphores = self.semaphores
        changed: list[tuple[Semaphore, int]] = []
        adjust = sleeper.undo.get(self) if sleeper.undo is not None else None
        adjusted: dict[int, int] = {}
        failed = 0
        for operation in sleeper.operations:
            number, change, flags = operation
            semaphore = semaphores[number]
            value = semaphore.value + change
            if value < 0 or (not change and semaphore.value):
                sleeper.blocking = operation
                failed = EAGAIN if flags & IPC_NOWAIT else -1
                break
            if value > SEMVMX:
                failed = ERANGE
                break
            if flags & SEM_UNDO:
                left = adjusted.get(number, adjust[number] if adjust is not None else 0) - change
                if not -_SEMAEM - 1 <= left <= _SEMAEM:
                    failed = ERANGE
                    break
                adjusted[number] = left
            changed.append((semaphore, semaphore.value))
            semaphore.value = value
        if failed:
            for semaphore, before in reversed(changed):
                semaphore.value = before
            if failed > 0:
                raise LinuxError(failed)
            return False
        for semaphore, _before in changed:
            semaphore.pid = sleeper.pid
        if adjusted:
            self._keep(sleeper, adjusted)
        return True

    def _keep(self, sleeper: Sleeper, adjusted: dict[int, int]) -> None:
        undo = sleeper.undo
        assert undo is not None
        values = undo.get(self)
        if values is None:
            values = undo[self] = [0] * len(self.semaphores)
            self.undos.append(undo)
        for number, value in adjusted.items():
            values[number] = value

    def changed(self) -> None:
        """Semaphores have other values: let those go on whose operations are possible now, in their
        order (do_smart_update)."""
        done = False
        progress = True
        while progress:
            progress = False
            # Those who wait for zero, and change nothing, go before the others.
            for alters in (False, True):
                for sleeper in self.sleepers.copy():
                    if sleeper.alters is not alters or sleeper.status is not None:
                        continue
                    try:
                        if not self.perform(sleeper):
                            continue
                        status = 0
                        done = True
                    except LinuxError as error:
                        status = error.errno
                    self.sleepers.remove(sleeper)
                    sleeper.done(status)
                    if alters and not status:
                        progress = True
                        break
        if done:
            self.otime = now()

    def waiting(self, number: int, for_zero: bool) -> int:
        """How many operations wait for the semaphore to become zero, or to grow (count_semcnt)."""
        return sum(
            1
            for sleeper in self.sleepers
            if sleeper.blocking[0] == number and (not sleeper.blocking[1]) is for_zero
        )

    # -- values -------------------------------------------------------------------------------

    def set_values(self, values: dict[int, int], pid: Pid) -> None:
        """SETVAL, SETALL: what was to be undone on them is forgotten."""
        for number, value in values.items():
            self.semaphores[number].value = value
            self.semaphores[number].pid = pid
            for undo in self.undos:
                undo[self][number] = 0
        self.ctime = now()
        self.changed()

    def undo_for(self, undo: Undo, pid: Pid) -> None:
        """The end of whoever had ``undo``: its changes are taken back, as far as that goes (exit_sem)."""
        for number, change in enumerate(undo[self]):
            if change:
                semaphore = self.semaphores[number]
                semaphore.value = min(max(semaphore.value + change, 0), SEMVMX)
                semaphore.pid = pid
        self.undos.remove(undo)
        self.changed()
        self.otime = now()

    def remove(self) -> None:
        """IPC_RMID: who waits gets EIDRM (freeary)."""
        self.namespace.sem.remove(self)
        self.namespace.sem_count -= len(self.semaphores)
        for undo in self.undos:
            del undo[self]
        self.undos.clear()
        sleepers, self.sleepers = self.sleepers, []
        for sleeper in sleepers:
            sleeper.done(EIDRM)

    def pack(self) -> bytes:
        """struct semid64_ds."""
        return self.pack_perm() + SEMID_DS.pack(self.otime, self.ctime, len(self.semaphores))


def create(namespace: IpcTables, task: Task, key: int, count: int, flags: int) -> int:
    """A new set's identifier (newary). Raises EINVAL, ENOSPC."""
    limits = namespace.limits
    if not count:
        raise LinuxError(EINVAL)
    if namespace.sem_count + count > limits.sem_ctlmns:
        raise LinuxError(ENOSPC)
    ident = namespace.sem.add(SemaphoreSet(namespace, task, key, count, flags), limits.sem_ctlmni)
    namespace.sem_count += count
    return ident


def undo_list(task: Task) -> Undo:
    """What the task has to undo, shared with those it was cloned with CLONE_SYSVSEM."""
    if task.sysvsem is None:
        task.sysvsem = {}
    hooks = task.kernel.exit_hooks
    if exit_sem not in hooks:
        hooks.append(exit_sem)
    undo: Undo = task.sysvsem
    return undo


def exit_sem(task: Task) -> None:
    """The task ends, or stops sharing its list: the last one that shares it undoes what is in it."""
    undo: Undo | None = task.sysvsem
    task.sysvsem = None
    if not undo:
        return
    for other in task.kernel.tasks.values():
        if other.sysvsem is undo and not other.work & WORK_DEAD:
            return
    for semaphores in list(undo):
        semaphores.undo_for(undo, process_of(task))
    undo.clear()
