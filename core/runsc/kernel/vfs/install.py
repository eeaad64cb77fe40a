"""New descriptors for new files: installed, or the file closed again if that fails."""

from __future__ import annotations

from struct import pack

from runsc.kernel.errors import LinuxError
from runsc.kernel.thread_group import RLIMIT_NOFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File


def install(task: Task, file: File, cloexec: bool) -> int:
    """Give a new file (which nobody has a reference to yet) the lowest descriptor; raises EMFILE, and then
    the file is closed."""
    file.get()
    try:
        return task.files.install(file, task.limit(RLIMIT_NOFILE), cloexec)
    finally:
        file.put()


def install_pair(task: Task, first: File, second: File, cloexec: bool, addr: int) -> None:
    """Two new files' descriptors, written to the guest's ``int[2]`` at ``addr``; raises EMFILE or EFAULT, and
    then both files are closed."""
    first.get()
    second.get()
    fds: list[int] = []
    limit = task.limit(RLIMIT_NOFILE)
    try:
        fds.append(task.files.install(first, limit, cloexec))
        fds.append(task.files.install(second, limit, cloexec))
        task.mm.copy_out(addr, pack("<ii", *fds))
    except LinuxError:
        for fd in fds:
            task.files.close(fd, task)
        raise
    finally:
        first.put()
        second.put()
