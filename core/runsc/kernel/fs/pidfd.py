"""pidfds (pidfd_open(2), fs/pidfs.c): a process by a descriptor, which never means another one."""

from __future__ import annotations

from errno import EBADF, EINVAL

from runsc.abi.fcntl import O_RDWR
from runsc.abi.poll import POLLHUP, POLLIN, POLLRDNORM
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.anon import AnonFile, anon_inodes
from runsc.kernel.wait import WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.pid import Pid, PidNamespace
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File


class PidFd(AnonFile):
    """``pid``: of the process. Readable once that has ended, and hung up once it was waited for."""

    __slots__ = ("ns", "pid")

    def __init__(self, task: Task, pid: Pid, flags: int) -> None:
        super().__init__(anon_inodes(task.kernel).anon_inode, O_RDWR | flags)
        self.pid = pid
        #: as whose ids fdinfo shows it
        self.ns: PidNamespace = task.pid_ns

    def target_task(self) -> Task | None:
        """The process's first thread, perhaps a zombie; None once it was waited for."""
        return self.pid.task

    def read(self, task: Task, count: int) -> bytes:
        raise LinuxError(EINVAL)

    def write(self, task: Task, data: bytes) -> int:
        raise LinuxError(EINVAL)

    def poll(self, task: Task | None = None) -> int:
        target = self.pid.task
        if target is None:
            return POLLIN | POLLRDNORM | POLLHUP
        return POLLIN | POLLRDNORM if target.group.zombie else 0

    def wait_queue(self) -> WaitQueue:
        if self.pid.ended is None:
            self.pid.ended = WaitQueue()
        return self.pid.ended

    def describe(self) -> str:
        return "anon_inode:[pidfd]"

    def fdinfo(self) -> str:
        """Pid is -1 once the process is gone, 0 if it can't be seen; NSpid goes down to its own namespace."""
        if self.pid.task is None:
            return "Pid:\t-1\nNSpid:\t-1\n"
        shown = self.pid.nr(self.ns)
        below = self.pid.numbers[self.ns.level :] if shown else (0,)
        return f"Pid:\t{shown}\nNSpid:" + "".join(f"\t{number}" for number in below) + "\n"


def pid_of(file: File | None) -> Pid:
    """The process of a pidfd; raises EBADF for any other file."""
    if not isinstance(file, PidFd):
        raise LinuxError(EBADF)
    return file.pid
