"""Files of the whole system, descriptors, mounts and settings in /proc, and /sys."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

import pytest
from support import make_kernel, make_task

from runsc.abi.fcntl import O_CLOEXEC, O_RDONLY, O_WRONLY
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.devices import NullFile
from runsc.kernel.fs.devtmpfs import mount_dev
from runsc.kernel.fs.proc import make_proc
from runsc.kernel.fs.sysfs import make_sysfs
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc.kernel.vfs.dentry import MS_NOSUID, MS_RDONLY, MS_RELATIME, Path
from runsc.kernel.vfs.namei import lookup
from runsc.kernel.vfs.operations import open_file, open_inode

if TYPE_CHECKING:
    from runsc.kernel.task import Task

AT_FDCWD = -100


class World:
    """A process with /proc, /sys and /dev."""

    def __init__(self) -> None:
        self.kernel = make_kernel()
        root = Tmpfs()
        self.task = make_task(self.kernel, root)
        self.namespace = self.task.fs.namespace
        for name in (b"proc", b"sys", b"dev", b"a b"):
            root.root_inode.mkdir(name, 0o755, self.task.cred)
        self.namespace.mount(make_proc(self.kernel), self.path(b"/proc"), MS_NOSUID | MS_RELATIME)
        self.namespace.mount(make_sysfs(self.kernel), self.path(b"/sys"), MS_RDONLY)
        mount_dev(self.kernel, self.namespace, self.path(b"/dev"))

    def path(self, name: bytes, follow: bool = True, reader: Task | None = None) -> Path:
        return lookup(reader or self.task, AT_FDCWD, name, follow)

    def read(self, name: str, reader: Task | None = None) -> str:
        reader = reader or self.task
        file = open_file(reader, AT_FDCWD, name.encode(), O_RDONLY).get()
        parts = []
        while part := file.read(reader, 1000):
            parts.append(part)
        file.put()
        return b"".join(parts).decode()

    def readlink(self, name: str, reader: Task | None = None) -> str:
        inode = self.path(name.encode(), False, reader).dentry.inode
        assert inode is not None
        return inode.readlink(reader or self.task).decode()

    def names(self, name: str) -> list[str]:
        inode = self.path(name.encode()).dentry.inode
        assert inode is not None
        return [entry.name.decode() for entry in inode.readdir(self.task)]


def host(path: str) -> str:
    with open(path) as file:
        return file.read()


class TestSystem:
    def test_meminfo(self) -> None:
        theirs = {line.split(":")[0]: line for line in host("/proc/meminfo").splitlines()}
        ours = World().read("/proc/meminfo").splitlines()
        for line in ours:
            name = line.split(":")[0]
            if name in theirs:
                assert len(line) == len(theirs[name]), name
        order = [line.split(":")[0] for line in ours]
        known = [name for name in order if name in theirs]
        assert known == [name for name in theirs if name in set(order)]
        assert ours[0] == theirs["MemTotal"]

    def test_cpuinfo_is_the_hosts(self) -> None:
        world = World()
        text = world.read("/proc/cpuinfo")
        assert text.count("processor\t:") == len(world.kernel.cpus)
        fields = re.findall(r"^(.*?)\s*:", text, re.M)
        theirs = re.findall(r"^(.*?)\s*:", host("/proc/cpuinfo"), re.M)
        assert fields == theirs[: len(fields)]

    def test_stat_adds_up(self) -> None:
        world = World()
        lines = world.read("/proc/stat").splitlines()
        assert [line.split()[0] for line in lines] == [
            "cpu", *(f"cpu{cpu}" for cpu in world.kernel.cpus), "intr", "ctxt", "btime", "processes",
            "procs_running", "procs_blocked", "softirq",
        ]  # fmt: skip
        assert len(lines[0].split()) == len(host("/proc/stat").splitlines()[0].split())

    def test_uptime_and_loadavg(self) -> None:
        world = World()
        assert re.fullmatch(r"\d+\.\d\d \d+\.\d\d\n", world.read("/proc/uptime"))
        assert re.fullmatch(r"0\.00 0\.00 0\.00 1/1 1\n", world.read("/proc/loadavg"))

    def test_tables_have_the_hosts_headings(self) -> None:
        world = World()
        for name in (
            "swaps",
            "partitions",
            "net/dev",
            "net/tcp",
            "net/udp",
            "net/unix",
            "net/route",
            "net/raw",
            "net/arp",
        ):
            ours, theirs = world.read(f"/proc/{name}"), host(f"/proc/{name}")
            assert ours.splitlines()[0] == theirs.splitlines()[0], name
        assert world.read("/proc/net/dev").splitlines()[2].split() == ["lo:", *["0"] * 16]

    def test_interfaces_like_the_hosts(self) -> None:
        """Made again from its figures, the host's table comes out the same."""
        text = host("/proc/net/dev")
        rows = []
        for line in text.splitlines()[2:]:
            name, _, figures = line.partition(":")
            rows.append((name.strip(), tuple(map(int, figures.split()))))
        world = World()
        world.kernel.extra["proc_net"] = {"dev": lambda: rows}
        assert world.read("/proc/net/dev") == text

    def test_only_processes_are_listed(self) -> None:
        world = World()
        other = make_task(world.kernel, parent=world.task)
        thread = make_task(world.kernel, parent=world.task)
        thread.group = other.group
        other.group.tasks.append(thread)
        names = world.names("/proc")
        assert [name for name in names if name.isdigit()] == [str(world.task.tid), str(other.tid)]
        assert world.names(f"/proc/{other.tid}/task") == [str(other.tid), str(thread.tid)]
        # A thread's id can be looked up all the same.
        assert f"Tgid:\t{other.tid}\n" in world.read(f"/proc/{thread.tid}/status")
        for bad in ("0", "00", f"0{world.task.tid}", "9999", "12x"):
            with pytest.raises(LinuxError) as raised:
                world.path(f"/proc/{bad}".encode())
            assert raised.value.errno == errno.ENOENT

    def test_self(self) -> None:
        world = World()
        tid = world.task.tid
        assert world.readlink("/proc/self") == str(tid)
        assert world.readlink("/proc/thread-self") == f"{tid}/task/{tid}"
        assert world.read("/proc/self/stat") == world.read(f"/proc/{tid}/stat")
        other = make_task(world.kernel, parent=world.task)
        assert world.readlink("/proc/self", other) == str(other.tid)

    def test_rereading_makes_the_text_anew(self) -> None:
        world = World()
        file = open_file(world.task, AT_FDCWD, b"/proc/self/comm", O_RDONLY).get()
        world.task.comm = b"one"
        assert file.read(world.task, 2) == b"on"
        world.task.comm = b"two"
        assert file.read(world.task, 100) == b"e\n", "a text is read to its end as it began"
        assert file.lseek(world.task, 0, 0) == 0
        assert file.read(world.task, 100) == b"two\n"
        with pytest.raises(LinuxError) as raised:
            file.lseek(world.task, 0, 2)
        assert raised.value.errno == errno.EINVAL


class TestMounts:
    def test_mounts(self) -> None:
        world = World()
        world.namespace.mount(Tmpfs(source="x y"), world.path(b"/a b"))
        lines = world.read("/proc/mounts").splitlines()
        assert lines[1] == "proc /proc proc rw,nosuid,relatime 0 0"
        assert lines[2] == "sysfs /sys sysfs ro 0 0"
        assert lines[-1] == "x\\040y /a\\040b tmpfs rw 0 0"

    def test_mountinfo_like_the_hosts(self) -> None:
        world = World()
        pattern = r"\d+ \d+ \d+:\d+ \S+ \S+ r[ow][\w,]*( shared:\d+)? - \S+ \S+ r[ow]\S*"
        for line in (
            host("/proc/self/mountinfo").splitlines() + world.read("/proc/self/mountinfo").splitlines()
        ):
            assert re.fullmatch(pattern, line), line
        assert (
            world.read("/proc/self/mountstats").splitlines()[1]
            == "device proc mounted on /proc with fstype proc"
        )

    def test_seen_from_another_root(self) -> None:
        world = World()
        world.namespace.mount(Tmpfs(), world.path(b"/a b"))
        other = make_task(world.kernel, parent=world.task)
        other.fs.set_root(world.path(b"/a b"))
        text = world.read(f"/proc/{other.tid}/mounts")
        assert text == "tmpfs / tmpfs rw 0 0\n"


class TestDescriptors:
    def test_links(self) -> None:
        world = World()
        null = open_file(world.task, AT_FDCWD, b"/dev/null", O_WRONLY)
        world.task.files.install(null, 100, cloexec=True)
        assert world.names("/proc/self/fd") == ["0"]
        assert world.readlink("/proc/self/fd/0") == "/dev/null"
        link = world.path(b"/proc/self/fd/0", False).dentry.inode
        assert link is not None
        assert link.mode == 0o120300
        directory = world.path(b"/proc/self/fd", False).dentry.inode
        assert directory is not None
        assert directory.stat().size == 1
        assert f"flags:\t0{O_WRONLY | O_CLOEXEC:o}\n" in world.read("/proc/self/fdinfo/0")
        ours = [line.split(":")[0] for line in world.read("/proc/self/fdinfo/0").splitlines()]
        assert ours == [line.split(":")[0] for line in host("/proc/self/fdinfo/0").splitlines()][:4]
        # The link leads to the file itself, and can be opened again.
        again = open_inode(world.task, world.path(b"/proc/self/fd/0"), O_RDONLY)
        assert isinstance(again, NullFile)

    def test_unlinked_file(self) -> None:
        world = World()
        file = open_file(world.task, AT_FDCWD, b"/dev/shm/gone", 0o102, 0o600)
        world.task.files.install(file, 100)
        assert file.path is not None
        file.path.dentry.dead = True
        assert world.readlink("/proc/self/fd/0") == "/dev/shm/gone (deleted)"

    def test_bad_numbers(self) -> None:
        world = World()
        for name in (b"5", b"x", b"00", b"-1"):
            with pytest.raises(LinuxError) as raised:
                world.path(b"/proc/self/fd/" + name, False)
            assert raised.value.errno == errno.ENOENT

    def test_working_directory_and_root(self) -> None:
        world = World()
        world.task.fs.set_cwd(world.path(b"/a b"))
        assert world.readlink("/proc/self/cwd") == "/a b"
        assert world.path(b"/proc/self/cwd") == world.task.fs.cwd
        assert world.readlink("/proc/self/root") == "/"
        with pytest.raises(LinuxError) as raised:
            world.readlink("/proc/self/exe")
        assert raised.value.errno == errno.ENOENT

    def test_namespaces(self) -> None:
        world = World()
        names = world.names("/proc/self/ns")
        assert set(names) == set(os.listdir("/proc/self/ns"))
        for name in names:
            text = world.readlink(f"/proc/self/ns/{name}")
            found = re.fullmatch(r"(\w+):\[(\d+)\]", text)
            assert found is not None
            assert os.readlink(f"/proc/self/ns/{name}").split(":")[0] == found[1]
            inode = world.path(f"/proc/self/ns/{name}".encode()).dentry.inode
            assert inode is not None
            assert inode.ino == int(found[2])


class TestSettings:
    def test_like_the_hosts(self) -> None:
        """Every setting there is exists on the host too, with as many values."""
        world = World()
        missing = []
        stack = ["/proc/sys"]
        while stack:
            at = stack.pop()
            for name in world.names(at):
                inode = world.path(f"{at}/{name}".encode()).dentry.inode
                assert inode is not None
                if inode.is_dir():
                    stack.append(f"{at}/{name}")
                    continue
                ours = world.read(f"{at}/{name}")
                try:
                    theirs = host(f"{at}/{name}")
                except FileNotFoundError:
                    missing.append(name)  # not configured in this host's kernel
                    continue
                if "congestion" not in name and name not in ("version", "core_pattern"):
                    assert len(ours.split()) == len(theirs.split()), name
        assert len(missing) <= 3, missing

    def test_host_name(self) -> None:
        world = World()
        file = open_file(world.task, AT_FDCWD, b"/proc/sys/kernel/hostname", O_WRONLY | 0o1000)
        file.write(world.task, b"new-name\n")
        assert world.kernel.nsproxy.uts.hostname == b"new-name"
        assert world.read("/proc/sys/kernel/hostname") == "new-name\n"
        user = make_task(world.kernel, uid=1000, parent=world.task)
        with pytest.raises(LinuxError) as raised:
            open_file(user, AT_FDCWD, b"/proc/sys/kernel/hostname", O_WRONLY)
        assert raised.value.errno == errno.EACCES

    def test_random_ids(self) -> None:
        world = World()
        pattern = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n"
        uuids = {world.read("/proc/sys/kernel/random/uuid") for _ in range(3)}
        assert len(uuids) == 3
        assert all(re.fullmatch(pattern, uuid) for uuid in uuids)
        boot = world.read("/proc/sys/kernel/random/boot_id")
        assert re.fullmatch(pattern, boot)
        assert boot == world.read("/proc/sys/kernel/random/boot_id")


class TestSysfs:
    def test_cpus(self) -> None:
        world = World()
        assert world.read("/sys/devices/system/cpu/online") == "0\n"
        world.kernel.cpus = (0, 1, 2, 5)
        world.kernel.extra.pop("host_facts")
        sysfs = make_sysfs(world.kernel)
        inode = sysfs.root()
        for name in (b"devices", b"system", b"cpu", b"online"):
            inode = inode.lookup(name)
        file = inode.open(world.path(b"/"), 0, world.task)
        assert file.read(world.task, 100) == b"0-2,5\n"

    def test_files_are_the_hosts(self) -> None:
        world = World()
        for name in ("kernel/mm/transparent_hugepage/enabled", "devices/system/cpu/cpu0/topology/core_id"):
            if os.path.exists(f"/sys/{name}"):
                assert world.read(f"/sys/{name}") == host(f"/sys/{name}")
        assert world.names("/sys/fs/cgroup") == []
        assert world.read("/sys/class/net/lo/mtu") == "65536\n"


def test_dev() -> None:
    world = World()
    assert set(world.names("/dev")) == {
        "null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr", "ptmx", "pts",
        "shm", "mqueue",
    }  # fmt: skip
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        inode = world.path(f"/dev/{name}".encode()).dentry.inode
        assert inode is not None
        assert inode.stat().rdev == os.stat(f"/dev/{name}").st_rdev
        assert inode.mode == 0o020666
    assert world.path(b"/dev/ptmx").mount.fs.name == "devpts"
    shm = world.path(b"/dev/shm").dentry.inode
    assert shm is not None
    assert shm.mode & 0o7777 == 0o1777
