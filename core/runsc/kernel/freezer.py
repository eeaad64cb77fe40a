"""Pausing processes: none of their tasks gets back to guest code until they are resumed (the cgroup freezer).

Unlike a stop by a signal, nobody inside can see or end it.
"""

from __future__ import annotations

from runsc.kernel.task import WORK_FROZEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.thread_group import ThreadGroup


def freeze(group: ThreadGroup) -> None:
    """Pause a process. A task that sleeps in a call stays there; it is held on its way back."""
    group.frozen = True
    for task in group.tasks:
        task.work |= WORK_FROZEN
        if not task.parked and task.stop_state is None:
            task.thread.interrupt()


def thaw(group: ThreadGroup) -> None:
    """Let a paused process go on."""
    group.frozen = False
    for task in group.tasks:
        task.work &= ~WORK_FROZEN
        if task.stop_state is not None:
            task.wake_stopped()
