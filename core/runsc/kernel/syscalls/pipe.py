"""pipe(2) and pipe2(2)."""

from __future__ import annotations

from errno import EINVAL

from runsc.abi.fcntl import O_CLOEXEC, O_DIRECT, O_NONBLOCK
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.pipe import make_pipe
from runsc.kernel.syscalls.decl import OutFdPair, PipeFlags, syscall
from runsc.kernel.vfs.install import install_pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task


def _pipe(task: Task, fds: int, flags: int) -> int:
    if flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT):
        raise LinuxError(EINVAL)
    reader, writer = make_pipe(task.kernel, task, flags)
    install_pair(task, reader, writer, bool(flags & O_CLOEXEC), fds)
    return 0


@syscall(22)
def pipe(task: Task, fds: OutFdPair) -> Result:
    """pipe(2)."""
    return _pipe(task, fds, 0)


@syscall(293)
def pipe2(task: Task, fds: OutFdPair, flags: PipeFlags) -> Result:
    """pipe2(2): O_CLOEXEC, O_NONBLOCK, O_DIRECT."""
    return _pipe(task, fds, flags)
