"""The descriptor table of a process (struct files_struct), and its working place (struct fs_struct)."""

from __future__ import annotations

from errno import EBADF, EMFILE

from runsc.abi.fcntl import O_PATH
from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.locks import release_process_locks
from runsc.kernel.vfs.notify import file_closed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.namespace import MountNamespace


class FdTable:
    """Descriptors: number -> open file, and which close on exec. Shared by CLONE_FILES (``users``)."""

    __slots__ = ("cloexec", "files", "next", "users")

    def __init__(self) -> None:
        self.files: dict[int, File] = {}
        self.cloexec: set[int] = set()
        #: no descriptor below this is free
        self.next = 0
        self.users = 1

    def get(self, fd: int) -> File:
        """The file of ``fd``, for a call that needs more than a place; raises EBADF (also for O_PATH)."""
        file = self.files.get(fd)
        if file is None or file.flags & O_PATH:
            raise LinuxError(EBADF)
        return file

    def get_any(self, fd: int) -> File:
        """The file of ``fd``, O_PATH or not; raises EBADF."""
        file = self.files.get(fd)
        if file is None:
            raise LinuxError(EBADF)
        return file

    def install(self, file: File, limit: int, cloexec: bool = False, lowest: int = 0) -> int:
        """Give ``file`` the lowest free descriptor from ``lowest`` on (taking a reference).

        ``limit`` is RLIMIT_NOFILE; raises EMFILE, and the caller still owns the file."""
        fd = max(lowest, self.next) if lowest <= self.next else lowest
        files = self.files
        while fd in files:
            fd += 1
        if fd >= limit:
            raise LinuxError(EMFILE)
        if lowest <= self.next:
            self.next = fd + 1
        files[fd] = file.get()
        if cloexec:
            self.cloexec.add(fd)
        return fd

    def install_at(self, fd: int, file: File, cloexec: bool, task: Task) -> None:
        """Make ``fd`` point to ``file``, closing what it was (dup2(2))."""
        old = self.files.get(fd)
        self.files[fd] = file.get()
        if cloexec:
            self.cloexec.add(fd)
        else:
            self.cloexec.discard(fd)
        if old is not None:
            if old.inode.extra is not None:
                release_process_locks(old, self)
            if old.refs == 1 and task.kernel.notify is not None:
                file_closed(task.kernel, old)
            old.flush(task)
            old.put()

    def close(self, fd: int, task: Task) -> None:
        """Take ``fd`` out; raises EBADF."""
        file = self.files.pop(fd, None)
        if file is None:
            raise LinuxError(EBADF)
        self.cloexec.discard(fd)
        if fd < self.next:
            self.next = fd
        if file.inode.extra is not None:
            release_process_locks(file, self)
        if file.refs == 1 and task.kernel.notify is not None:
            file_closed(task.kernel, file)
        try:
            file.flush(task)
        finally:
            file.put()

    def close_on_exec(self, task: Task) -> None:
        """execve(2): close what is marked."""
        for fd in sorted(self.cloexec):
            self.close_quietly(fd, task)

    def close_all(self, task: Task) -> None:
        """The last user is gone."""
        for fd in sorted(self.files):
            self.close_quietly(fd, task)

    def close_quietly(self, fd: int, task: Task) -> None:
        """Close when there is nobody to tell of an error (exit, exec)."""
        try:
            self.close(fd, task)
        except (LinuxError, OSError) as error:
            task.kernel.log.debug(f"closing descriptor {fd} at exit: {error}")

    def fork(self) -> FdTable:
        """A copy with its own references (fork(2))."""
        new = FdTable()
        new.files = {fd: file.get() for fd, file in self.files.items()}
        new.cloexec = set(self.cloexec)
        new.next = self.next
        return new

    def numbers(self) -> Iterator[int]:
        return iter(sorted(self.files))


class FsContext:
    """Root, working directory and umask; shared by CLONE_FS (``users``)."""

    __slots__ = ("cwd", "namespace", "root", "umask", "users")

    def __init__(self, namespace: MountNamespace, root: Path, cwd: Path, umask: int = 0o022) -> None:
        self.namespace = namespace
        self.root = root
        self.cwd = cwd
        self.umask = umask
        self.users = 1
        namespace.users += 1
        root.dentry.pins += 1
        cwd.dentry.pins += 1

    def set_cwd(self, path: Path) -> None:
        path.dentry.pins += 1
        self.cwd.dentry.pins -= 1
        self.cwd = path

    def set_root(self, path: Path) -> None:
        path.dentry.pins += 1
        self.root.dentry.pins -= 1
        self.root = path

    def fork(self) -> FsContext:
        return FsContext(self.namespace, self.root, self.cwd, self.umask)

    def release(self) -> None:
        """The last task that used it is gone."""
        self.root.dentry.pins -= 1
        self.cwd.dentry.pins -= 1
        self.namespace.put()

    def move(self, namespace: MountNamespace, root: Path, cwd: Path) -> None:
        """Go to another mount namespace (setns(2), unshare(2))."""
        namespace.users += 1
        self.set_root(root)
        self.set_cwd(cwd)
        old, self.namespace = self.namespace, namespace
        old.put()
