"""execve(2) and execveat(2): what a process gives up and keeps when it runs a new program (fs/exec.c)."""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOENT
from stat import S_ISGID, S_ISUID

from runsc.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_NOFOLLOW, O_RDONLY
from runsc.abi.signal import SIGCHLD, SIGSEGV
from runsc.kernel.cred_change import commit
from runsc.kernel.cred_exec import exec_credentials
from runsc.kernel.errors import LinuxError
from runsc.kernel.exit import exit_group, exit_task
from runsc.kernel.futex import task_exit
from runsc.kernel.syscalls.decl import (
    GONE,
    REGISTERS_SET,
    AtFlags,
    DirFd,
    PathStr,
    StringList,
    syscall,
)
from runsc.kernel.tunables import tunables
from runsc.kernel.vfs.dentry import MS_NOSUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File


@syscall(59)
def execve(task: Task, path: PathStr, argv: StringList, envp: StringList) -> Result:
    from runsc.kernel.vfs.operations import open_file

    return do_exec(task, open_file(task, AT_FDCWD, path, O_RDONLY).get(), path, argv, envp)


@syscall(322)
def execveat(
    task: Task, dirfd: DirFd, path: PathStr, argv: StringList, envp: StringList, flags: AtFlags
) -> Result:
    from runsc.kernel.vfs.operations import open_file, open_inode

    if flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
        raise LinuxError(EINVAL)
    if not path:
        if not flags & AT_EMPTY_PATH:
            raise LinuxError(ENOENT)
        place = task.files.get_any(dirfd)
        if place.path is None:
            raise LinuxError(EACCES)
        file = open_inode(task, place.path, O_RDONLY)
        name = b"/dev/fd/%d" % dirfd
    else:
        file = open_file(task, dirfd, path, O_RDONLY | (O_NOFOLLOW if flags & AT_SYMLINK_NOFOLLOW else 0))
        name = path if path.startswith(b"/") or dirfd == AT_FDCWD else b"/dev/fd/%d/%s" % (dirfd, path)
    return do_exec(task, file.get(), name, argv, envp)


def do_exec(task: Task, file: File, name: bytes, argv: int, envp: int) -> int:
    """The common part; takes over the reference to ``file``."""
    from runsc.kernel.mm.exec import argument_limit, copy_in_strings

    try:
        budget = argument_limit(task)
        arguments, used = copy_in_strings(task, argv, budget)
        environment, _used = copy_in_strings(task, envp, budget - used)
    except BaseException:
        file.put()
        raise
    return exec_program(task, file, name, arguments or [b""], environment)


def exec_program(task: Task, file: File, name: bytes, argv: list[bytes], env: list[bytes]) -> int:
    """Replace the program of ``task``. REGISTERS_SET, or GONE if it failed too late and the process was
    killed."""
    from runsc.kernel.mm.exec import load, start
    from runsc.kernel.mm.mm import MemoryManager

    program = load(task, file, name, argv, env)
    kernel = task.kernel
    group = task.group
    try:
        for other in list(group.tasks):
            if other is not task:
                exit_task(other, 0)
        task_exit(task)
        _become_leader(task)
        # Memory that others share stays theirs. A program that may gain privileges doesn't inherit a stub
        # either: what its user arranged there (a sibling's view of a shared page) must not outlive the user.
        if task.mm.users > 1 or program.file.inode.mode & (S_ISUID | S_ISGID):
            space = kernel.platform.new_address_space()
            old_thread, old_mm = task.thread, task.mm
            task.mm = MemoryManager(space, tunables(kernel))
            task.thread = space.new_thread()
            task.thread.owner = task
            old_thread.release()
            old_mm.drop()
        else:
            task.mm.reset()
        if task.vfork_done is not None:
            task.vfork_done.wake()
            task.vfork_done = None
        _reset_for_exec(task)
        secure = _change_credentials(task, program.file)
        try:
            regs = start(task, task.mm, program, task.cred, secure)
            task.thread.set_fpu(kernel.initial_fpu)
            task.thread.set_regs(regs)
        except (LinuxError, OSError) as error:
            kernel.log.info(f"{task!r}: exec of {name!r} failed half-way: {error}")
            exit_group(task, SIGSEGV)
            return GONE
        task.comm = name.rpartition(b"/")[2][:15]
        if kernel.events is not None:
            kernel.events.executed(task, name, argv)
        return REGISTERS_SET
    finally:
        program.release()


def _become_leader(task: Task) -> None:
    """A thread that execs takes the place and the id of its process's leader (de_thread)."""
    group = task.group
    if group.leader is task:
        return
    old = group.leader
    task.pid.detach(task)
    task.set_pid(old.pid)
    task.pid.attach(task)
    group.leader = task
    task.exit_signal = group.exit_signal


def _reset_for_exec(task: Task) -> None:
    """What a new program does not inherit (begin_new_exec, execve(2) "Effect on process attributes")."""
    if task.sighand.users > 1:
        task.sighand.users -= 1
        task.sighand = task.sighand.fork()
    task.sighand.reset_for_exec()
    if task.files.users > 1:
        task.files.users -= 1
        task.files = task.files.fork()
    task.files.close_on_exec(task)
    task.alt_stack = task.alt_size = 0
    task.alt_flags = 2
    task.pdeath_signal = 0
    task.group.exec_generation += 1
    task.group.exit_signal = SIGCHLD
    if task.group.posix_timers:
        for timer in list(task.group.posix_timers.values()):
            timer.delete()
        task.group.posix_timers = None


def _change_credentials(task: Task, file: File) -> bool:
    """Give the task the credentials that the program brings; whether AT_SECURE is to be set."""
    old = task.cred
    inode = file.inode
    nosuid = file.path is not None and bool(file.path.mount.flags & MS_NOSUID)
    others = task.fs.users > 1
    new, secure = exec_credentials(old, inode.mode, inode.uid, inode.gid, nosuid, others)
    task.group.dumpable = int(old.euid == old.uid and old.egid == old.gid)
    commit(task, new)
    return secure
