"""A signal mask for the time of one call: ppoll(2), pselect(2), epoll_pwait(2) (set_user_sigmask)."""

from __future__ import annotations

from errno import EINVAL

from runsc.kernel.errors import Interrupted, LinuxError
from runsc.kernel.signal import set_blocked
from runsc.kernel.task import WORK_RESTORE_MASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from runsc.kernel.task import Task


def copy_in_sigset(task: Task, addr: int, size: int) -> int | None:
    """The signal set at ``addr``, None for NULL; raises EINVAL if ``size`` isn't that of a set, EFAULT."""
    if not addr:
        return None
    if size != 8:
        raise LinuxError(EINVAL)
    return task.mm.read_u64(addr)


def with_mask(
    task: Task, mask: int | None, call: Callable[..., int | Coroutine[Any, Any, int]], *args: Any
) -> int | Coroutine[Any, Any, int]:
    """``call(*args)`` with ``mask`` as the task's signal mask (None: as it is).

    The old mask is back when the call is done. If a signal broke it off, that signal is delivered first and
    the old mask is what its handler returns to.
    """
    if mask is None:
        return call(*args)
    saved = task.blocked
    set_blocked(task, mask)
    try:
        result = call(*args)
    except Exception:
        set_blocked(task, saved)
        raise
    if isinstance(result, int):
        set_blocked(task, saved)
        return result
    return _finish_masked(task, saved, result)


async def _finish_masked(task: Task, saved: int, call: Coroutine[Any, Any, int]) -> int:
    try:
        result = await call
    except Interrupted:
        task.saved_mask = saved
        task.work |= WORK_RESTORE_MASK
        raise
    except Exception:
        set_blocked(task, saved)
        raise
    set_blocked(task, saved)
    return result
