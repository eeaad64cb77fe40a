"""getrandom(2)."""

from __future__ import annotations

from errno import EINVAL
from os import urandom
from time import monotonic_ns

from runsc.kernel.errors import Interrupted, LinuxError
from runsc.kernel.syscalls.decl import OutBuf, RandomFlags, Size, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

GRND_NONBLOCK = 1
GRND_RANDOM = 2
GRND_INSECURE = 4

_INT_MAX = 0x7FFFFFFF
#: Bytes that are made in one go, so that a large request holds nobody else up.
_STEP = 1 << 18


@syscall(318)
def getrandom(task: Task, buf: OutBuf, count: Size, flags: RandomFlags) -> Result:
    """The host's random numbers, which never block once the host has booted."""
    if flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) or flags & 6 == GRND_RANDOM | GRND_INSECURE:
        raise LinuxError(EINVAL)
    if count > _STEP:
        return _in_steps(task, buf, min(count, _INT_MAX))
    return task.mm.copy_out_partial(buf, urandom(count))


async def _in_steps(task: Task, buf: int, count: int) -> int:
    """A request so large that others have their turn, and signals are looked at, in between."""
    done = 0
    while done < count:
        step = min(_STEP, count - done)
        try:
            written = task.mm.copy_out_partial(buf + done, urandom(step))
        except LinuxError:
            if done:
                return done
            raise
        done += written
        if written < step:
            break
        if done < count:
            try:
                # Long enough to park, and let the loop go round once.
                await task.wait(None, deadline=monotonic_ns() + 50_000)
            except Interrupted:
                break
    return done
