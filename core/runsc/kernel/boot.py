"""Bringing a kernel up: the file tree, the first process, the loop, and down again."""

from __future__ import annotations

import gc
import os
from errno import ENOTDIR
from time import monotonic_ns

from runsc.abi.fcntl import AT_FDCWD, O_RDONLY
from runsc.abi.signal import SI_USER, SIGTSTP, SIGWINCH
from runsc.errors import RunscError
from runsc.kernel.credentials import ALL_CAPS, Credentials
from runsc.kernel.errors import LinuxError
from runsc.kernel.kernel import Kernel
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.signal import send_as
from runsc.kernel.spawn import spawn
from runsc.kernel.syscalls.table import dispatch_table
from runsc.kernel.thread_group import RLIMIT_NOFILE, default_limits
from runsc.kernel.vfs.dentry import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_RELATIME, Path
from runsc.kernel.vfs.fdtable import FsContext
from runsc.kernel.vfs.namespace import MountNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from runsc.config import Config
    from runsc.filesystem import HostFiles
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import FileSystem
    from runsc.network import Network
    from runsc.platform import Platform
    from runsc.plugins.observers import Observer
    from runsc.sandbox.command import Command

_DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def start(
    config: Config,
    command: Command,
    platform: Platform,
    filesystem: HostFiles,
    network: Network,
    log: Any,
    close_jail: Callable[[], None],
    observers: Sequence[Observer] = (),
) -> int:
    """Run ``command`` in a new kernel until it ends; the exit code a shell would show (128+n for a signal).

    ``close_jail`` is called when everything that is needed of the host is open, and before anything is read
    that a guest may have written; ``observers`` are told of everything from then on. Raises RunscError if
    the program can't be started.
    """
    kernel = new_kernel(config, platform, network, log)
    try:
        namespace = mount_tree(kernel, command, filesystem)
        task = first_task(kernel, command, namespace)
        mount_system(kernel, task, namespace)
        mount_volumes(task, command, filesystem, namespace)
        filesystem.start(kernel)
        open_stdio(kernel, task)
        start_observers(kernel, config, log, observers)
        close_jail()
        begin_program(kernel, task, command)
        if command.signals >= 0:
            forward_signals(kernel, command.signals)
        # What exists by now stays: the collector need not look at it ever again.
        gc.freeze()
        gc.enable()
        status = kernel.run()
    finally:
        shut_down(kernel)
    if status & 0x7F:
        return 128 + (status & 0x7F)
    return status >> 8 & 0xFF


def new_kernel(config: Config, platform: Platform, network: Network, log: Any) -> Kernel:
    """A kernel without processes, with what it needs to know of the host."""
    kernel = Kernel(platform, log, config, dispatch_table())
    kernel.network = network
    network.start(kernel)
    kernel.cpus = tuple(sorted(os.sched_getaffinity(0)))
    kernel.extra["hwcap"] = host_hwcap()
    kernel.nsproxy.uts.hostname = os.uname().nodename.encode()
    return kernel


def host_hwcap() -> tuple[int, int, int]:
    """AT_HWCAP, AT_HWCAP2 and AT_MINSIGSTKSZ of this processor, from our own auxiliary vector."""
    values = {16: 0, 26: 0, 51: 2048}
    with open("/proc/self/auxv", "rb") as file:
        data = file.read()
    for offset in range(0, len(data) - 15, 16):
        key = int.from_bytes(data[offset : offset + 8], "little")
        if key in values:
            values[key] = int.from_bytes(data[offset + 8 : offset + 16], "little")
    return values[16], values[26], values[51]


def mount_tree(kernel: Kernel, command: Command, filesystem: HostFiles) -> MountNamespace:
    """The root: the host's directory, read-only, under a layer in memory that takes all writing."""
    from runsc.kernel.fs.overlay import Overlay
    from runsc.kernel.fs.tmpfs import Tmpfs

    lower = filesystem.mount(command.opened[0], command.root)
    upper = Tmpfs(mode=0o755)
    root: FileSystem = Overlay(upper.root(), [lower.root()])
    return MountNamespace(root, MS_RELATIME)


def mount_system(kernel: Kernel, task: Task, namespace: MountNamespace) -> None:
    """/proc, /sys and /dev, wherever the root has such a directory."""
    from runsc.kernel.fs.devtmpfs import mount_dev
    from runsc.kernel.fs.proc import make_proc
    from runsc.kernel.fs.sysfs import make_sysfs
    from runsc.kernel.vfs.namei import lookup

    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME
    for path, make in ((b"/proc", make_proc), (b"/sys", make_sysfs)):
        try:
            at = lookup(task, AT_FDCWD, path)
        except LinuxError as error:
            kernel.log.warning(f"{path.decode()} is not mounted: {error}")
            continue
        namespace.mount(make(kernel), at, flags)
    try:
        at = lookup(task, AT_FDCWD, b"/dev")
    except LinuxError as error:
        kernel.log.warning(f"/dev is not mounted: {error}")
        return
    mount_dev(kernel, namespace, at)


def mount_volumes(
    task: Task, command: Command, filesystem: HostFiles, namespace: MountNamespace
) -> None:
    """What else of the host was asked for. Raises ``RunscError``."""
    from runsc.kernel.vfs.namei import lookup

    for fd, (place, mount) in zip(command.opened[1:], command.volumes, strict=True):
        fs = filesystem.mount(fd, mount)
        shown = os.fsdecode(place)
        try:
            at = lookup(task, AT_FDCWD, place)
            inode = at.dentry.inode
            if inode is None or inode.is_dir() != fs.root().is_dir():
                raise LinuxError(ENOTDIR)
        except LinuxError as error:
            raise RunscError(
                f"can't mount {os.fsdecode(mount.source)} at {shown}: {os.strerror(error.errno)}",
                f"name a {'directory' if fs.root().is_dir() else 'file'} that exists in the sandbox",
            ) from None
        namespace.mount(fs, at, MS_RELATIME | (MS_RDONLY if mount.read_only else 0))


def first_task(kernel: Kernel, command: Command, namespace: MountNamespace) -> Task:
    """The first process, its address space still empty. Its id is 2: 1 is the kernel, which adopts
    orphans."""
    kernel.pid_ns.last = 1
    caps = ALL_CAPS if command.uid == 0 else 0
    cred = Credentials(command.uid, command.gid, command.groups, caps)
    root = namespace.root_path()
    limits = default_limits()
    limits[RLIMIT_NOFILE] = command.nofile
    task = spawn(kernel, kernel.nsproxy, cred, FsContext(namespace, root, root), limits)
    kernel.init_group = task.group
    return task


def open_stdio(kernel: Kernel, task: Task) -> None:
    """Descriptors 0, 1 and 2 from the sandbox's own."""
    from runsc.kernel.fs.hostfile import attach_console, host_stdio

    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            continue  # closed by whoever called us: closed for the guest too
        task.files.install_at(fd, host_stdio(kernel, fd), False, task)
    attach_console(kernel, task)


def start_observers(kernel: Kernel, config: Config, log: Any, observers: Sequence[Observer]) -> None:
    """--strace and --observer."""
    for observer in observers:
        observer.attach(kernel)
    if config.strace:
        from runsc.strace import make_tracer

        make_tracer(config, log).attach(kernel)


def begin_program(kernel: Kernel, task: Task, command: Command) -> None:
    """Change to the working directory, find the program and load it; raises RunscError."""
    from runsc.kernel.syscalls.decl import REGISTERS_SET
    from runsc.kernel.syscalls.exec import exec_program
    from runsc.kernel.vfs.namei import lookup
    from runsc.kernel.vfs.operations import open_file

    shown = os.fsdecode(command.argv[0])
    try:
        cwd = lookup(task, AT_FDCWD, command.cwd)
        if cwd.dentry.inode is None or not cwd.dentry.inode.is_dir():
            raise LinuxError(20)
        task.fs.set_cwd(Path(cwd.mount, cwd.dentry))
    except LinuxError as error:
        raise RunscError(
            f"working directory {os.fsdecode(command.cwd)!r}: {error}", "name one with --cwd"
        ) from None
    name = find_program(task, command)
    try:
        file = open_file(task, AT_FDCWD, name, O_RDONLY).get()
        result = exec_program(task, file, name, command.argv, command.env)
    except (LinuxError, OSError) as error:
        reason = os.strerror(error.errno or 0)
        raise RunscError(f"cannot run {shown!r}: {reason}", hint(error.errno or 0)) from None
    if result != REGISTERS_SET:
        raise RunscError(
            f"cannot run {shown!r}: its image could not be mapped", "check that the file is whole"
        )
    task.thread.resume()


def hint(errno: int) -> str:
    """What a user can do about a program that does not start."""
    return {
        2: "check the name, and that the interpreter or loader it names exists",
        8: "only 64-bit x86-64 programs and scripts with a #! line can be run",
        13: "it must be a regular file with the execute permission for this user",
        7: "give it fewer or shorter arguments",
        40: "a chain of scripts or links does not end",
    }.get(errno, "run with --debug and see the log")


def find_program(task: Task, command: Command) -> bytes:
    """The program's path: as it is with a slash, else the first executable one in PATH; raises RunscError."""
    from runsc.kernel.vfs.namei import lookup
    from runsc.kernel.vfs.permission import MAY_EXEC, allowed

    name = command.argv[0]
    if b"/" in name:
        return name
    path = next((item[5:] for item in command.env if item.startswith(b"PATH=")), _DEFAULT_PATH)
    denied = False
    for directory in path.split(b":"):
        candidate = (directory or b".") + b"/" + name
        try:
            found = lookup(task, AT_FDCWD, candidate)
        except LinuxError:
            continue
        inode = found.dentry.inode
        if inode is not None and inode.is_reg():
            if allowed(inode, task.cred, MAY_EXEC):
                return candidate
            denied = True
    shown = os.fsdecode(name)
    if denied:
        raise RunscError(
            f"cannot run {shown!r}: Permission denied", "it is in PATH, but not executable for this user"
        )
    raise RunscError(f"cannot run {shown!r}: not found in PATH", "check the name, or give its whole path")


def forward_signals(kernel: Kernel, fd: int) -> None:
    """Each byte that comes in on ``fd`` is a signal for the guest: to the terminal's foreground, or the
    first process."""
    from select import EPOLLIN

    from runsc.kernel.hostjob import stop_sandbox, stops_all

    def arrived(_events: int) -> None:
        try:
            numbers = os.read(fd, 64)
        except BlockingIOError:
            return
        if not numbers:
            watch.close()
            return
        for signo in numbers:
            bridge = kernel.extra.get("bridge")
            if bridge is not None and signo == SIGWINCH:
                bridge.take_size()
                continue
            if signo == SIGTSTP and stops_all(kernel):
                stop_sandbox()
                continue
            if kernel.console is not None and kernel.console.host_signal(signo):
                continue
            if kernel.init_group is not None:
                send_as(None, kernel.init_group.leader, SigInfo(signo, SI_USER))

    watch = kernel.poller.watch(fd, EPOLLIN, arrived)


def shut_down(kernel: Kernel) -> None:
    """Whatever happened: no guest thread is left, every file is closed."""
    from runsc.kernel.exit import exit_task

    started = monotonic_ns()
    kernel.halted = True
    if kernel.exit_status is None:
        kernel.exit_status = 9
    for task in list(kernel.tasks.values()):
        for thread in list(task.group.tasks):
            exit_task(thread, 9)
    if kernel.console is not None:
        kernel.console.restore()
    kernel.close()
    kernel.log.debug(f"kernel shut down in {(monotonic_ns() - started) / 1e6:.1f} ms")
