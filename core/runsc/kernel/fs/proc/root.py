"""The root of proc: processes by id, self, and the files of the whole system (fs/proc/root.c)."""

from __future__ import annotations

from errno import ENOENT
from stat import S_IFDIR

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc import system
from runsc.kernel.fs.proc.hostfacts import host_facts
from runsc.kernel.fs.proc.node import ProcDir, ProcFile, ProcFs, ProcLink
from runsc.kernel.fs.proc.pid import TaskDir
from runsc.kernel.fs.proc.sysctl import make_sysctl
from runsc.kernel.fs.proc.sysvipc import make_sysvipc
from runsc.kernel.vfs.inode import DirEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.pid import PidNamespace
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode

_ROOT_INO = 1

_FILES: tuple[tuple[str, Callable[[Kernel], str]], ...] = (
    ("cgroups", system.show_cgroups),
    ("cmdline", lambda kernel: "\n"),
    ("cpuinfo", system.show_cpuinfo),
    ("devices", lambda kernel: system.DEVICES),
    ("diskstats", lambda kernel: ""),
    ("filesystems", lambda kernel: system.FILESYSTEMS),
    ("loadavg", system.show_loadavg),
    ("meminfo", system.show_meminfo),
    ("misc", lambda kernel: ""),
    ("modules", lambda kernel: ""),
    ("partitions", lambda kernel: "major minor  #blocks  name\n\n"),
    ("stat", system.show_stat),
    ("swaps", lambda kernel: "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    ("uptime", system.show_uptime),
    ("version", system.show_version),
    ("vmstat", system.show_vmstat),
)


class ProcRoot(ProcDir):
    """The directory /proc. Only processes of the pid namespace that it was mounted for are seen."""

    __slots__ = ("known",)

    fs: ProcFs

    def __init__(self, fs: ProcFs) -> None:
        super().__init__(fs, ino=_ROOT_INO)
        self.known: dict[int, TaskDir] = {}

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        if name[:1].isdigit():
            return self._task_dir(name, self.fs.pid_ns)
        return super().lookup(name, task)

    def _task_dir(self, name: bytes, namespace: PidNamespace) -> TaskDir:
        """The directory of a process, or of a thread, which has the same contents and isn't listed."""
        if not name.isdigit() or name.startswith(b"0") or len(name) > 9:
            raise LinuxError(ENOENT)
        tid = int(name)
        target = namespace.tasks.get(tid)
        if target is None:
            raise LinuxError(ENOENT)
        if len(self.known) > 2 * len(namespace.tasks) + 64:
            self.known = {tid: node for tid, node in self.known.items() if node.alive()}
        node = self.known.get(tid)
        if node is None or node.target is not target:
            node = self.known[tid] = TaskDir(self.fs, target, False)
        node.refresh()
        return node

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        tasks = self.fs.pid_ns.tasks
        processes = sorted(tid for tid, target in tasks.items() if target.group.leader is target)
        return super().readdir(task) + [DirEntry(b"%d" % tid, (tid << 9) + 1, S_IFDIR) for tid in processes]

    def refresh(self) -> None:
        tasks = self.fs.pid_ns.tasks
        self.nlink = len(self.entries) + sum(target.group.leader is target for target in tasks.values()) + 2


def make_proc(kernel: Kernel, pid_ns: PidNamespace | None = None) -> ProcFs:
    """A proc file system that shows the processes of ``pid_ns`` (None: all). What it tells of the machine is
    read from the host now, before the sandbox is closed."""
    host_facts(kernel)
    fs = ProcFs(kernel, pid_ns=pid_ns)
    root = ProcRoot(fs)
    fs.root_inode = root

    def show(make: Callable[[Kernel], str]) -> Callable[[Task], str]:
        return lambda reader: make(kernel)

    for name, make in _FILES:
        root.add(name, ProcFile(fs, show(make)))
    root.add("self", ProcLink(fs, lambda reader: _self(fs, reader)))
    root.add("thread-self", ProcLink(fs, lambda reader: _thread_self(fs, reader)))
    root.add("mounts", ProcLink(fs, lambda reader: b"self/mounts"))
    root.add("net", ProcLink(fs, lambda reader: b"self/net"))
    root.add("sys", make_sysctl(fs, kernel))
    root.add("sysvipc", make_sysvipc(fs))
    root.add("fs", ProcDir(fs))
    root.add("bus", ProcDir(fs))
    root.add("driver", ProcDir(fs))
    root.add("tty", ProcDir(fs))
    return fs


def _self(fs: ProcFs, reader: Task | None) -> bytes:
    number = reader.group.leader.pid.nr(fs.pid_ns) if reader is not None else 0
    if not number:
        raise LinuxError(ENOENT)
    return b"%d" % number


def _thread_self(fs: ProcFs, reader: Task | None) -> bytes:
    number = reader.pid.nr(fs.pid_ns) if reader is not None else 0
    if reader is None or not number:
        raise LinuxError(ENOENT)
    return b"%d/task/%d" % (reader.group.leader.pid.nr(fs.pid_ns), number)
