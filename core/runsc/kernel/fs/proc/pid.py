"""/proc/PID and /proc/PID/task/TID: the nodes of a process, their modes, and who owns them
(fs/proc/base.c)."""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOENT, ESRCH
from stat import S_IFDIR, S_IFLNK, S_IFREG

from runsc.kernel.credentials import CAP_SYS_RESOURCE
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc import maps, mounts, status
from runsc.kernel.fs.proc.access import check_access, may_access
from runsc.kernel.fs.proc.fd import FdDirectory
from runsc.kernel.fs.proc.id_map import GIDS, PROJECTS, SETGROUPS, UIDS, IdMapFile
from runsc.kernel.fs.proc.mem import MemInode
from runsc.kernel.fs.proc.net import net_files
from runsc.kernel.fs.proc.node import ProcFile, ProcFs, ProcInode, parse_int
from runsc.kernel.fs.proc.ns import NAMESPACES, NsLink
from runsc.kernel.fs.proc.pagemap import PagemapInode
from runsc.kernel.vfs.file import DirectoryFile, File
from runsc.kernel.vfs.inode import DirEntry, Inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

    Show = Callable[[Task, Task], str | bytes]
    Store = Callable[[Task, Task, bytes], None]

#: The most of a command line or an environment that is shown.
_MAX_STRINGS = 4 << 20


def _strings(target: Task, start: int, end: int) -> bytes:
    mm = status.memory_of(target)
    if mm is None or end <= start:
        return b""
    return mm.space.read(start, min(end - start, _MAX_STRINGS))


def show_cmdline(target: Task, reader: Task) -> bytes:
    """The arguments, each with its NUL. A program that wrote over them (setproctitle) may go on into the
    environment: then it is one string, up to its NUL."""
    mm = target.mm
    text = _strings(target, mm.arg_start, mm.arg_end)
    if text and text[-1]:
        more = _strings(target, mm.arg_end, mm.env_end) if mm.env_start == mm.arg_end else b""
        text = (text + more).split(b"\0", 1)[0]
    return text


def show_environ(target: Task, reader: Task) -> bytes:
    check_access(reader, target)
    return _strings(target, target.mm.env_start, target.mm.env_end)


def show_auxv(target: Task, reader: Task) -> bytes:
    check_access(reader, target)
    return b"" if status.memory_of(target) is None else target.mm.auxv


def show_comm(target: Task, reader: Task) -> bytes:
    return target.comm + b"\n"


def store_comm(target: Task, writer: Task, data: bytes) -> None:
    """A process may name its own threads."""
    if writer.group is not target.group:
        raise LinuxError(EINVAL)
    target.comm = data[:15].split(b"\0", 1)[0]


def show_oom_score_adj(target: Task, reader: Task) -> str:
    return f"{target.group.oom_score_adj}\n"


def store_oom_score_adj(target: Task, writer: Task, data: bytes) -> None:
    value = parse_int(data, -1000, 1000)
    group, allowed = target.group, writer.cred.capable(CAP_SYS_RESOURCE)
    # How low anybody may go: as far as who has the capability went last.
    lowest = (group.extra or {}).get("oom_score_adj_min", 0)
    if value < lowest and not allowed:
        raise LinuxError(EACCES)
    group.oom_score_adj = value
    if allowed:
        group.extra = group.extra or {}
        group.extra["oom_score_adj_min"] = value


def show_oom_adj(target: Task, reader: Task) -> str:
    """The old form, from -17 to 15."""
    adj = target.group.oom_score_adj
    if adj == 1000:
        return "15\n"
    scaled = adj * 17
    return f"{scaled // 1000 if scaled >= 0 else -(-scaled // 1000)}\n"


def store_oom_adj(target: Task, writer: Task, data: bytes) -> None:
    value = parse_int(data, -17, 15)
    scaled = value * 1000
    adj = 1000 if value == 15 else scaled // 17 if scaled >= 0 else -(-scaled // 17)
    if adj < target.group.oom_score_adj and not writer.cred.capable(CAP_SYS_RESOURCE):
        raise LinuxError(EACCES)
    target.group.oom_score_adj = adj


def show_timerslack(target: Task, reader: Task) -> str:
    return f"{target.timer_slack}\n"


def store_timerslack(target: Task, writer: Task, data: bytes) -> None:
    if writer is not target:
        check_access(writer, target)
    target.timer_slack = parse_int(data, 0, (1 << 63) - 1) or 50000


def show_io(target: Task, reader: Task) -> str:
    """Transfers aren't counted: the figures stay 0."""
    check_access(reader, target)
    names = ("rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes")
    return "".join(f"{name}: 0\n" for name in names)


def show_timers(target: Task, reader: Task) -> str:
    """POSIX timers (timer_create(2))."""
    lines = []
    for ident, timer in sorted((target.group.posix_timers or {}).items()):
        notify, signo = timer.notify, timer.signo
        kind = {0: "signal", 1: "none", 2: "thread"}.get(notify & 3, "signal")
        whom = f"tid.{timer.target.tid}" if timer.target is not None else f"pid.{target.group.tgid}"
        lines.append(
            f"ID: {ident}\nsignal: {signo}/{timer.value:016x}\nnotify: {kind}/{whom}\n"
            f"ClockID: {timer.timer.clock}\n"
        )
    return "".join(lines)


def _constant(text: str) -> Show:
    return lambda target, reader: text


def _link_exe(target: Task) -> Path:
    mm = status.memory_of(target)
    if mm is None or mm.exe is None or mm.exe.path is None:
        raise LinuxError(ENOENT)
    return mm.exe.path


def _link_cwd(target: Task) -> Path:
    if target.fs.users <= 0:
        raise LinuxError(ENOENT)
    return target.fs.cwd


def _link_root(target: Task) -> Path:
    if target.fs.users <= 0:
        raise LinuxError(ENOENT)
    return target.fs.root


#: Files: name, mode, show, store.
_FILES: tuple[tuple[str, int, Show, Store | None], ...] = (
    ("environ", 0o400, show_environ, None),
    ("auxv", 0o400, show_auxv, None),
    ("personality", 0o400, _constant("00000000\n"), None),
    ("limits", 0o444, status.show_limits, None),
    ("comm", 0o644, show_comm, store_comm),
    ("cmdline", 0o444, show_cmdline, None),
    ("statm", 0o444, status.show_statm, None),
    ("maps", 0o444, maps.show_maps, None),
    ("mounts", 0o444, mounts.show_mounts, None),
    ("mountinfo", 0o444, mounts.show_mountinfo, None),
    ("mountstats", 0o400, mounts.show_mountstats, None),
    ("smaps", 0o444, maps.show_smaps, None),
    ("smaps_rollup", 0o444, maps.show_smaps_rollup, None),
    ("wchan", 0o444, _constant("0"), None),
    ("schedstat", 0o444, status.show_schedstat, None),
    ("cpuset", 0o444, _constant("/\n"), None),
    ("cgroup", 0o444, _constant("0::/\n"), None),
    ("oom_score", 0o444, status.show_oom_score, None),
    ("oom_adj", 0o644, show_oom_adj, store_oom_adj),
    ("oom_score_adj", 0o644, show_oom_score_adj, store_oom_score_adj),
    ("loginuid", 0o444, _constant("4294967295"), None),
    ("sessionid", 0o444, _constant("4294967295"), None),
    ("io", 0o400, show_io, None),
    ("timers", 0o444, show_timers, None),
    ("timerslack_ns", 0o666, show_timerslack, store_timerslack),
)
_LINKS = (("cwd", _link_cwd), ("root", _link_root), ("exe", _link_exe))
#: What only the process has, and its threads don't.
_NOT_OF_THREADS = frozenset({b"task", b"mountstats", b"timers", b"timerslack_ns"})


class TaskLink(ProcInode):
    """exe, cwd, root: the very object."""

    __slots__ = ("find", "target")

    def __init__(self, fs: ProcFs, target: Task, find: Callable[[Task], Path], ino: int) -> None:
        super().__init__(fs, ino, S_IFLNK | 0o777)
        self.target = target
        self.find = find

    def _path(self, reader: Task | None) -> Path:
        if reader is not None and not may_access(reader, self.target):
            raise LinuxError(EACCES)
        return self.find(self.target)

    def readlink(self, task: Task | None = None) -> bytes:
        path = self._path(task)
        fs = (task or self.target).fs
        return fs.namespace.path_string(path, fs.root)

    def follow(self, task: Task) -> Path | None:
        return self._path(task)


class TaskDir(ProcInode):
    """/proc/PID (``thread`` False) or /proc/PID/task/TID. Inode numbers follow from the id, so that they
    stay the same from one look to the next."""

    __slots__ = ("nodes", "target", "thread")

    fs: ProcFs

    def __init__(self, fs: ProcFs, target: Task, thread: bool) -> None:
        super().__init__(fs, (target.pid.nr(fs.pid_ns) << 9 | (256 if thread else 0)) + 1, S_IFDIR | 0o555)
        self.target = target
        self.thread = thread
        #: made when they are first looked at: a process has dozens, and of most nobody asks for any
        self.nodes: dict[bytes, Inode] = {}
        self.nlink = 7 if thread else 9
        self.refresh()

    def alive(self) -> bool:
        """Is there still such a process or thread (also a zombie)?"""
        target = self.target
        return target.pid.task is target

    def make_file(self, show: Show, store: Store | None, mode: int, ino: int) -> ProcFile:
        """A file that answers ESRCH once the process is gone."""
        target = self.target

        def read(reader: Task) -> str | bytes:
            if not self.alive():
                raise LinuxError(ESRCH)
            return show(target, reader)

        def write(writer: Task, data: bytes) -> None:
            if not self.alive():
                raise LinuxError(ESRCH)
            assert store is not None
            store(target, writer, data)

        return ProcFile(self.fs, read, None if store is None else write, mode, ino)

    def refresh(self) -> None:
        """Nodes belong to the process's effective user, or to root if it may not be dumped; the directory
        itself always to the user (task_dump_owner)."""
        cred = self.target.cred
        self.uid, self.gid = cred.euid, cred.egid
        owner = (cred.euid, cred.egid) if self.target.group.dumpable == 1 else (0, 0)
        for node in self.nodes.values():
            node.uid, node.gid = owner

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        entry = _ENTRIES.get(name)
        if entry is None or (self.thread and name in _NOT_OF_THREADS) or not self.alive():
            raise LinuxError(ENOENT)
        node = self.nodes.get(name)
        if node is None:
            index, _kind, make = entry
            node = self.nodes[name] = make(self, self.ino + index)
        self.refresh()
        return node

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        if not self.alive():
            raise LinuxError(ENOENT)
        return [
            DirEntry(name, self.ino + index, kind)
            for name, (index, kind, _make) in _ENTRIES.items()
            if not (self.thread and name in _NOT_OF_THREADS)
        ]

    def open(self, path: Path, flags: int, task: Task) -> File:
        return DirectoryFile(self, flags, path)


class SubDir(ProcInode):
    """A directory of a process: entries made once, at the first look."""

    __slots__ = ("entries", "target")

    fs: ProcFs

    def __init__(self, fs: ProcFs, target: Task, ino: int, mode: int = 0o555) -> None:
        super().__init__(fs, ino, S_IFDIR | mode)
        self.target = target
        self.entries: dict[bytes, Inode] | None = None
        self.nlink = 2

    def fill(self) -> dict[bytes, Inode]:
        raise NotImplementedError(f"{type(self).__name__} has no fill()")  # an abstract class

    def _all(self) -> dict[bytes, Inode]:
        if self.entries is None:
            self.entries = self.fill()
        for node in self.entries.values():
            node.uid, node.gid = self.uid, self.gid
        return self.entries

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        node = self._all().get(name)
        if node is None:
            raise LinuxError(ENOENT)
        return node

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        return [DirEntry(name, node.ino, node.mode & 0o170000) for name, node in self._all().items()]

    def open(self, path: Path, flags: int, task: Task) -> File:
        return DirectoryFile(self, flags, path)


class NsDir(SubDir):
    """/proc/PID/ns."""

    __slots__ = ()

    def __init__(self, fs: ProcFs, target: Task, ino: int) -> None:
        super().__init__(fs, target, ino, 0o511)

    def fill(self) -> dict[bytes, Inode]:
        return {
            name.encode(): NsLink(self.fs, self.target, find, self.ino << 16 | index)
            for index, (name, find) in enumerate(NAMESPACES)
        }


class AttrDir(SubDir):
    """/proc/PID/attr: of security modules, of which there is none (EINVAL)."""

    __slots__ = ()

    def fill(self) -> dict[bytes, Inode]:
        def refuse(reader: Task) -> str:
            raise LinuxError(EINVAL)

        def refuse_store(writer: Task, data: bytes) -> None:
            raise LinuxError(EINVAL)

        names = ("current", "prev", "exec", "fscreate", "keycreate", "sockcreate")
        return {
            name.encode(): ProcFile(
                self.fs, refuse, None if name == "prev" else refuse_store, 0o444 if name == "prev" else 0o666,
                self.ino << 16 | index,
            )
            for index, name in enumerate(names)
        }  # fmt: skip


class NetDir(SubDir):
    """/proc/PID/net."""

    __slots__ = ()

    def fill(self) -> dict[bytes, Inode]:
        return {
            name.encode(): ProcFile(self.fs, show, ino=self.ino << 16 | index)
            for index, (name, show) in enumerate(net_files(self.target))
        }


class ThreadsDir(ProcInode):
    """/proc/PID/task."""

    __slots__ = ("known", "target")

    fs: ProcFs

    def __init__(self, fs: ProcFs, target: Task, ino: int) -> None:
        super().__init__(fs, ino, S_IFDIR | 0o555)
        self.target = target
        self.known: dict[int, TaskDir] = {}

    def refresh(self) -> None:
        self.nlink = 2 + len(self._tasks())

    def _tasks(self) -> list[Task]:
        group = self.target.group
        return group.tasks or [group.leader]

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        tasks = self._tasks()
        if len(self.known) > 2 * len(tasks) + 16:
            self.known = {tid: node for tid, node in self.known.items() if node.target in tasks}
        for thread in tasks:
            if name == b"%d" % thread.pid.nr(self.fs.pid_ns):
                node = self.known.get(thread.tid)
                if node is None or node.target is not thread:
                    node = self.known[thread.tid] = TaskDir(self.fs, thread, True)
                node.refresh()
                return node
        raise LinuxError(ENOENT)

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        return [
            DirEntry(b"%d" % tid, (tid << 9 | 256) + 1, S_IFDIR)
            for tid in sorted(thread.pid.nr(self.fs.pid_ns) for thread in self._tasks())
        ]

    def open(self, path: Path, flags: int, task: Task) -> File:
        return DirectoryFile(self, flags, path)


def _entries() -> dict[bytes, tuple[int, int, Callable[[TaskDir, int], Inode]]]:
    """The entries of a process's directory: name -> (index, type, maker of the node from the directory
    and an inode number)."""
    made: list[tuple[str, int, Callable[[TaskDir, int], Inode]]] = [
        ("task", S_IFDIR, lambda at, ino: ThreadsDir(at.fs, at.target, ino)),
        ("fd", S_IFDIR, lambda at, ino: FdDirectory(at.fs, at.target, ino, False)),
        ("fdinfo", S_IFDIR, lambda at, ino: FdDirectory(at.fs, at.target, ino, True)),
        ("ns", S_IFDIR, lambda at, ino: NsDir(at.fs, at.target, ino)),
        ("net", S_IFDIR, lambda at, ino: NetDir(at.fs, at.target, ino)),
        ("attr", S_IFDIR, lambda at, ino: AttrDir(at.fs, at.target, ino)),
        ("mem", S_IFREG, lambda at, ino: MemInode(at.fs, at.target, S_IFREG | 0o600, ino)),
        ("pagemap", S_IFREG, lambda at, ino: PagemapInode(at.fs, at.target, S_IFREG | 0o400, ino)),
        ("stat", S_IFREG, _make_stat),
        ("status", S_IFREG, _make_status),
    ]
    made.extend((name, S_IFREG, _map_maker(name)) for name in (UIDS, GIDS, PROJECTS, SETGROUPS))
    made.extend((name, S_IFLNK, _link_maker(find)) for name, find in _LINKS)
    made.extend((name, S_IFREG, _file_maker(show, store, mode)) for name, mode, show, store in _FILES)
    return {name.encode(): (index + 1, kind, make) for index, (name, kind, make) in enumerate(made)}


def _make_stat(at: TaskDir, ino: int) -> Inode:
    return at.make_file(
        lambda target, reader: status.show_stat(target, reader, at.fs.pid_ns, at.thread), None, 0o444, ino
    )


def _make_status(at: TaskDir, ino: int) -> Inode:
    return at.make_file(
        lambda target, reader: status.show_status(target, reader, at.fs.pid_ns, at.thread), None, 0o444, ino
    )


def _map_maker(name: str) -> Callable[[TaskDir, int], Inode]:
    return lambda at, ino: IdMapFile(at.fs, at.target, name, ino)


def _link_maker(find: Callable[[Task], Path]) -> Callable[[TaskDir, int], Inode]:
    return lambda at, ino: TaskLink(at.fs, at.target, find, ino)


def _file_maker(show: Show, store: Store | None, mode: int) -> Callable[[TaskDir, int], Inode]:
    return lambda at, ino: at.make_file(show, store, mode, ino)


_ENTRIES = _entries()
