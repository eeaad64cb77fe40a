"""A container as the kernel sees it: its first process, its mounts, and the processes started in it from
outside.

A kernel has one, or several of a pod. What a container is to be comes from its ``Spec``; everything of the
host that it needs was opened before.
"""

from __future__ import annotations

import os
from errno import EACCES, ENOENT, ENOTDIR
from time import monotonic_ns

from runsc.abi.fcntl import AT_FDCWD, O_RDONLY
from runsc.abi.signal import SI_USER, SIGKILL
from runsc.errors import RunscError
from runsc.kernel.credentials import ALL_CAPS, Credentials
from runsc.kernel.errors import LinuxError
from runsc.kernel.exit import exit_group
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.signal import send_as
from runsc.kernel.spawn import spawn
from runsc.kernel.thread_group import (
    RLIMIT_NOFILE,
    default_limits,
)
from runsc.kernel.vfs.dentry import Path
from runsc.kernel.vfs.fdtable import FsContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import NsProxy
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ThreadGroup
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.namespace import MountNamespace
    from runsc.oci.process import Process
    from runsc.oci.spec import Spec

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: A passwd file is read up to here: a guest may have made it any size.
_PASSWD_LIMIT = 1 << 20


class Container:
    """``init``: its first process; ``status``: that one's wait status once it has ended, None before.

    ``ended``: called with the status.
    """

    __slots__ = (
        "ended", "frozen", "id", "init", "kernel", "namespace", "nsproxy", "program", "spec", "started",
        "status",
    )  # fmt: skip

    def __init__(
        self, kernel: Kernel, container_id: str, spec: Spec, namespace: MountNamespace, nsproxy: NsProxy
    ) -> None:
        self.kernel = kernel
        self.id = container_id
        self.spec = spec
        self.namespace = namespace
        self.nsproxy = nsproxy
        self.init: ThreadGroup
        self.program: Prepared
        self.started = False
        self.frozen = False
        self.status: int | None = None
        self.ended: list[Callable[[int], None]] = []

    def groups(self) -> list[ThreadGroup]:
        """Its processes, in the order of their ids in the whole kernel."""
        found = {task.group.tgid: task.group for task in self.kernel.tasks.values()}
        return [
            found[tgid] for tgid in sorted(found) if found[tgid].container is self and not found[tgid].zombie
        ]

    def number(self, group: ThreadGroup | None) -> int:
        """The id of a process as the container sees it, 0 if it doesn't."""
        return 0 if group is None else self.nsproxy.pid_for_children.id_of(group.leader)


class Prepared:
    """A process that is ready to run its program: made, with its files, and with nothing of the guest's
    run."""

    __slots__ = ("name", "process", "task")

    def __init__(self, task: Task, process: Process, name: bytes) -> None:
        self.task = task
        self.process = process
        self.name = name

    def go(self) -> None:
        """Load the program and let it run. Raises ``RunscError``; then the process is gone."""
        from runsc.kernel.syscalls.decl import REGISTERS_SET
        from runsc.kernel.syscalls.exec import exec_program
        from runsc.kernel.vfs.operations import open_file

        process, task = self.process, self.task
        shown = process.args[0]
        argv = [os.fsencode(word) for word in process.args]
        env = [os.fsencode(word) for word in process.env]
        try:
            file = open_file(task, AT_FDCWD, self.name, O_RDONLY).get()
            result = exec_program(task, file, self.name, argv, env)
        except (LinuxError, OSError) as error:
            exit_group(task, 0)
            raise cannot_run(shown, error.errno or 0) from None
        if result != REGISTERS_SET:
            raise RunscError(f"can't run {shown!r}: its image could not be mapped", "check the file")
        task.thread.resume()


def cannot_run(shown: str, errno: int) -> RunscError:
    """The error for a program that can't be run; engines look for these words, and for the name."""
    reason = {ENOENT: "no such file or directory", EACCES: "permission denied"}.get(
        errno, os.strerror(errno).lower()
    )
    remedy = {
        2: "check the name, and that the interpreter or loader it names exists",
        8: "only 64-bit x86-64 programs and scripts with a #! line can be run",
        13: "it must be a regular file with the execute permission for this user",
    }.get(errno, "see the debug log")
    return RunscError(f'exec: "{shown}": {reason}', remedy)


def new_process(container: Container) -> Task:
    """A process in a container that runs nothing yet, in a session of its own, with all of root's rights.

    The first one is its init; the parent of a later one is nobody inside.
    """
    root = container.namespace.root_path()
    cred = Credentials(0, 0, (), ALL_CAPS)
    fs = FsContext(container.namespace, root, root)
    task = spawn(container.kernel, container.nsproxy, cred, fs, default_limits())
    task.group.container = container
    return task


def prepare(task: Task, process: Process) -> Prepared:
    """Give a process what ``process`` says, and look its program up. Raises ``RunscError``."""
    group = task.group
    for number, limit in process.rlimits.items():
        group.limits[number] = limit
    if RLIMIT_NOFILE not in process.rlimits:
        group.limits[RLIMIT_NOFILE] = (1024, 1048576)
    if process.oom_score_adj is not None:
        group.oom_score_adj = task.oom_score_adj = process.oom_score_adj
    if not any(word.startswith("HOME=") for word in process.env):
        process.env.append("HOME=" + home_of(task, process.user.uid))
    cwd = _working_directory(task, os.fsencode(process.cwd))
    task.fs.umask = 0o022 if process.user.umask is None else process.user.umask
    task.fs.set_cwd(cwd)
    task.cred = credentials(process)
    return Prepared(task, process, find_program(task, process))


def credentials(process: Process) -> Credentials:
    """Who the process is, before its program is loaded."""
    user = process.user
    cred = Credentials(user.uid, user.gid, user.groups)
    sets = process.capabilities or {}
    cred.bounding = sets.get("bounding", 0)
    cred.permitted = sets.get("permitted", 0)
    cred.effective = sets.get("effective", 0) & cred.permitted
    cred.inheritable = sets.get("inheritable", 0)
    cred.ambient = sets.get("ambient", 0) & cred.permitted & cred.inheritable
    cred.no_new_privs = process.no_new_privileges
    return cred


def _working_directory(task: Task, name: bytes) -> Path:
    """The working directory, made if it isn't there."""
    from runsc.kernel.container_root import ensure_directory
    from runsc.kernel.vfs.namei import lookup

    try:
        try:
            cwd = lookup(task, AT_FDCWD, name)
        except LinuxError as error:
            if error.errno != ENOENT:
                raise
            cwd = ensure_directory(task, name)
        if cwd.dentry.inode is None or not cwd.dentry.inode.is_dir():
            raise LinuxError(ENOTDIR)
    except (LinuxError, OSError) as error:
        reason = os.strerror(error.errno or 0).lower()
        raise RunscError(f'chdir to cwd "{os.fsdecode(name)}": {reason}', "name another one") from None
    return Path(cwd.mount, cwd.dentry)


def home_of(task: Task, uid: int) -> str:
    """The home directory that the guest's /etc/passwd has for a user; / where it has none."""
    from runsc.kernel.vfs.operations import open_file

    try:
        file = open_file(task, AT_FDCWD, b"/etc/passwd", O_RDONLY).get()
    except (LinuxError, OSError):
        return "/"
    try:
        if not file.is_regular:
            return "/"
        text = file.pread(task, _PASSWD_LIMIT, 0)
    except (LinuxError, OSError):
        return "/"
    finally:
        file.put()
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == b"%d" % uid and fields[5].startswith(b"/"):
            return os.fsdecode(fields[5])
    return "/"


def find_program(task: Task, process: Process) -> bytes:
    """The program's path: as it is with a slash, else the first executable one in PATH. Raises
    ``RunscError``."""
    from runsc.kernel.vfs.namei import lookup
    from runsc.kernel.vfs.permission import MAY_EXEC, allowed

    shown = process.args[0]
    name = os.fsencode(shown)
    if b"/" in name:
        candidates = [name]
    else:
        path = next((word[5:] for word in process.env if word.startswith("PATH=")), _DEFAULT_PATH)
        candidates = [os.path.join(os.fsencode(directory) or b".", name) for directory in path.split(":")]
    found = ENOENT
    for candidate in candidates:
        try:
            inode = lookup(task, AT_FDCWD, candidate).dentry.inode
        except LinuxError as error:
            if error.errno == EACCES:
                found = EACCES
            continue
        if inode is not None and inode.is_reg() and allowed(inode, task.cred, MAY_EXEC):
            return candidate
        found = EACCES
    if found == ENOENT and b"/" not in name:
        raise RunscError(f'exec: "{shown}": executable file not found in $PATH', "check the name")
    raise cannot_run(shown, found)


# -- signals ------------------------------------------------------------------------------------


def send_from_outside(group: ThreadGroup, signo: int) -> None:
    """A signal from the host, as from an ancestor of the container's pid namespace: SIGKILL always works."""
    if group.zombie:
        return
    if signo == SIGKILL:
        kill_group(group)
    else:
        send_as(None, group.leader, SigInfo(signo, SI_USER))


def kill_group(group: ThreadGroup) -> None:
    """End a process at once, wherever it is."""
    if not group.zombie and group.tasks:
        exit_group(group.tasks[0], SIGKILL)


def later(kernel: Kernel, act: Callable[[], None]) -> None:
    """Have the loop do something, when what it is at now is done."""
    kernel.timers.add(monotonic_ns(), lambda: act())


def when_ended(group: ThreadGroup, tell: Callable[[int], None]) -> None:
    """Have ``tell`` called with a process's wait status, once it has ended and its files are closed."""

    def ended(group: ThreadGroup) -> None:
        later(group.kernel, lambda: tell(group.exit_code))

    group.ended = ended


def exit_code(status: int) -> int:
    """A wait status as a shell shows it: 128+n for signal n."""
    return 128 + (status & 0x7F) if status & 0x7F else status >> 8 & 0xFF


def install_files(task: Task, files: dict[int, File]) -> None:
    """Give a process its descriptors."""
    for number, file in files.items():
        task.files.install_at(number, file, False, task)
