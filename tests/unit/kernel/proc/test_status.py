"""The text of a process's files: the host's field names in the host's order, and figures that are right."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import Buffer, make_kernel, make_task

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc import make_proc
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc.kernel.mm.vma import MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE
from runsc.kernel.vfs.dentry import Path
from runsc.kernel.vfs.inode import SetAttr

if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.inode import Inode


class World:
    """A process that looks at /proc."""

    def __init__(self) -> None:
        self.kernel = make_kernel()
        self.task = make_task(self.kernel, Tmpfs())
        self.task.comm = b"guest"
        self.proc = make_proc(self.kernel)

    def find(self, path: str, reader: Task | None = None) -> Inode:
        reader = reader or self.task
        inode = self.proc.root()
        for name in path.strip("/").split("/"):
            if inode.is_symlink():
                raise AssertionError("walk links yourself")
            inode = inode.lookup(name.encode(), reader)
        return inode

    def read(self, path: str, reader: Task | None = None) -> str:
        reader = reader or self.task
        inode = self.find(path, reader)
        file = inode.open(Path(reader.fs.root.mount, reader.fs.root.dentry), 0, reader).get()
        parts = []
        while part := file.read(reader, 1000):
            parts.append(part)
        file.put()
        return b"".join(parts).decode()

    def write(self, path: str, data: bytes, writer: Task | None = None) -> int:
        writer = writer or self.task
        file = self.find(path, writer).open(Path(writer.fs.root.mount, writer.fs.root.dentry), 1, writer)
        return file.write(writer, data)


def host(path: str) -> str:
    with open(path) as file:
        return file.read()


def names(text: str) -> list[str]:
    """The field names of lines like ``Name: value``."""
    return [line.split(":")[0] for line in text.splitlines() if ":" in line]


def assert_in_order(ours: list[str], theirs: list[str]) -> None:
    """All of ours are theirs too, in their order (the host's kernel may be newer and say more)."""
    assert [name for name in theirs if name in set(ours)] == ours


@pytest.mark.parametrize("name", ["status", "limits", "io"])
def test_fields_are_the_hosts(name: str) -> None:
    world = World()
    ours = world.read(f"{world.task.tid}/{name}")
    if name == "limits":
        assert [line[:25] for line in ours.splitlines()] == [
            line[:25] for line in host("/proc/self/limits").splitlines()
        ]
        assert ours.splitlines()[0] == host("/proc/self/limits").splitlines()[0]
    else:
        assert_in_order(names(ours), names(host(f"/proc/self/{name}")))


def test_status_lines_have_the_hosts_shape() -> None:
    """Each line with its digits taken away is the host's line."""
    world = World()

    def shapes(text: str) -> dict[str, str]:
        found = {}
        for line in text.splitlines():
            key, _, value = line.partition(":")
            found[key] = re.sub(r"[0-9a-f]+", "0", re.sub(r"\s+(?=\d)", " ", value))
        return found

    theirs = shapes(host("/proc/self/status"))
    for key, shape in shapes(world.read(f"{world.task.tid}/status")).items():
        if key in ("Name", "Groups", "Cpus_allowed", "Cpus_allowed_list", "Mems_allowed", "State"):
            continue
        if key.startswith("Speculation"):
            continue
        assert shape == theirs[key], key


def test_status_figures() -> None:
    world = World()
    world.task.cred = world.task.cred.copy()
    world.task.cred.uid, world.task.cred.groups = 7, (1, 20)
    world.task.blocked = 0x40
    text = world.read(f"{world.task.tid}/status")
    assert "Name:\tguest\n" in text
    assert "Uid:\t7\t0\t0\t0\n" in text
    assert "Groups:\t1 20 \n" in text
    assert "SigBlk:\t0000000000000040\n" in text
    assert "VmSize:\t    1024 kB\n" in text
    assert "Threads:\t1\n" in text


def test_a_name_that_would_break_the_table() -> None:
    world = World()
    world.task.comm = b"a\nb) R\\"
    assert "Name:\ta\\nb) R\\\\\n" in world.read(f"{world.task.tid}/status")
    assert world.read(f"{world.task.tid}/stat").startswith(f"{world.task.tid} (a\nb) R\\) R ")


def test_stat_has_52_fields() -> None:
    world = World()
    rest = world.read(f"{world.task.tid}/stat").rpartition(")")[2].split()
    theirs = host("/proc/self/stat").rpartition(")")[2].split()
    assert len(rest) == len(theirs) == 50
    assert rest[0] == "R"
    assert rest[19 - 2 + 1] == str(world.task.nice + 0)  # nice is field 19
    assert int(rest[23 - 3]) == 1 << 20  # vsize


def test_statm_counts_pages() -> None:
    world = World()
    fields = world.read(f"{world.task.tid}/statm").split()
    assert len(fields) == len(host("/proc/self/statm").split())
    assert fields[0] == "256"


def test_maps_lines_are_the_hosts() -> None:
    """Made again from its parts, each line of the host's own maps comes out the same."""
    from runsc.kernel.fs.proc.maps import area_line
    from runsc.kernel.mm.vma import Vma
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import FileSystem, Inode

    world = World()

    class Named(File):
        def describe(self) -> str:
            return self.name  # type: ignore[attr-defined, no-any-return]

    for line in host("/proc/self/maps").splitlines(keepends=True):
        found = re.fullmatch(r"(\w+)-(\w+) (....) (\w+) (\w+):(\w+) (\d+) *(.*)\n", line)
        assert found is not None
        start, end, bits, offset, major, minor, ino, name = found.groups()
        file = None
        if ino != "0":
            fs = FileSystem("test")
            fs.dev = os.makedev(int(major, 16), int(minor, 16))
            file = Named(Inode(fs, int(ino), 0o100644), 0)
            file.name = name  # type: ignore[attr-defined]
        prot = PROT_READ * (bits[0] == "r") | PROT_WRITE * (bits[1] == "w") | PROT_EXEC * (bits[2] == "x")
        vma = Vma(
            int(start, 16),
            int(end, 16),
            prot,
            bits[3] == "s",
            file,
            int(offset, 16),
            name if file is None else "",
        )
        assert area_line(vma, world.task.mm, world.task) == line


def test_smaps_shape() -> None:
    world = World()
    theirs = host("/proc/self/smaps")
    assert_in_order(
        names(world.read(f"{world.task.tid}/smaps"))[1:], names(theirs.split("VmFlags")[0] + "VmFlags:")[1:]
    )
    first = world.read(f"{world.task.tid}/smaps").splitlines()
    shape = {line.split(":")[0]: len(line) for line in theirs.splitlines() if line.endswith("kB")}
    for line in first:
        if line.endswith("kB"):
            assert len(line) == shape[line.split(":")[0]], line
    rollup = world.read(f"{world.task.tid}/smaps_rollup")
    assert_in_order(names(rollup)[1:], names(host("/proc/self/smaps_rollup"))[1:])


def test_heap_and_stack_are_named() -> None:
    world = World()
    mm = world.task.mm
    mm.map(0x20000000, 0x4000, 3, MAP_PRIVATE, None, 0)
    mm.brk_start, mm.brk = 0x20000000, 0x20004000
    mm.map(0x30000000, 0x4000, 3, MAP_PRIVATE, None, 0)
    mm.stack_start = 0x30003000
    lines = world.read(f"{world.task.tid}/maps").splitlines()
    assert [line[73:] for line in lines] == ["", "[heap]", "[stack]"]


def test_command_line_and_environment() -> None:
    world = World()
    memory, mm = Buffer(world.task), world.task.mm
    text = b"prog\0--flag\0"
    env = b"A=1\0B=2\0"
    mm.arg_start = memory.put(text + env)
    mm.arg_end = mm.env_start = mm.arg_start + len(text)
    mm.env_end = mm.env_start + len(env)
    assert world.read(f"{world.task.tid}/cmdline") == text.decode()
    assert world.read(f"{world.task.tid}/environ") == env.decode()
    # setproctitle: one long string over both.
    mm.copy_out(mm.arg_start, b"a title that goes o\0")
    assert world.read(f"{world.task.tid}/cmdline") == "a title that goes o"


def test_who_may_look() -> None:
    """Another user's environment, memory, areas and links are closed; status isn't."""
    world = World()
    other = make_task(world.kernel, uid=1000, gid=1000, parent=world.task)
    tid = world.task.tid
    world.read(f"{tid}/status", other)
    for name in ("environ", "auxv", "maps", "smaps", "io"):
        with pytest.raises(LinuxError) as raised:
            world.read(f"{tid}/{name}", other)
        assert raised.value.errno == errno.EACCES
    for name in ("cwd", "root", "exe"):
        with pytest.raises(LinuxError) as raised:
            world.find(f"{tid}/{name}", other).readlink(other)
        assert raised.value.errno == errno.EACCES
    fields = world.read(f"{tid}/stat", other).rpartition(")")[2].split()
    assert fields[24:27] == ["0", "0", "0"] or fields[23:25] == ["1", "1"]
    # Root may look at everything.
    world.read(f"{other.tid}/environ", world.task)


def test_owner_follows_the_credentials() -> None:
    world = World()
    other = make_task(world.kernel, uid=1000, gid=100, parent=world.task)
    node = world.find(f"{other.tid}/environ")
    assert (node.uid, node.gid) == (1000, 100)
    other.group.dumpable = 0
    node = world.find(f"{other.tid}/environ")
    assert (node.uid, node.gid) == (0, 0)
    assert world.find(f"{other.tid}").uid == 1000
    with pytest.raises(LinuxError) as raised:
        node.setattr(SetAttr(mode=0o777))
    assert raised.value.errno == errno.EPERM


def test_inode_numbers_stay() -> None:
    world = World()
    tid = world.task.tid
    for path in (
        f"{tid}",
        f"{tid}/status",
        f"{tid}/task/{tid}",
        f"{tid}/task/{tid}/stat",
        f"{tid}/fd",
        "sys/kernel",
    ):
        assert world.find(path).ino == world.find(path).ino
    entries = world.proc.root().readdir(world.task) + world.find(f"{tid}").readdir(world.task)
    numbers = [entry.ino for entry in entries]
    assert len(numbers) == len(set(numbers))
    for entry in world.find(f"{tid}").readdir(world.task):
        assert world.find(f"{tid}/{entry.name.decode()}").ino == entry.ino


def test_names_can_be_set() -> None:
    world = World()
    tid = world.task.tid
    world.write(f"{tid}/comm", b"a new name that is long")
    assert world.task.comm == b"a new name that"
    assert world.read(f"{tid}/comm") == "a new name that\n"
    other = make_task(world.kernel, parent=world.task)
    with pytest.raises(LinuxError) as raised:
        world.write(f"{tid}/comm", b"x", other)
    assert raised.value.errno == errno.EINVAL


@pytest.mark.parametrize("text", ["0", "17", "-500", "1000", "-1000", "1001", "abc", "0x10", " 5\n"])
def test_oom_score_adj_like_the_host(text: str) -> None:
    """In a process of its own, which has as few capabilities here as there."""
    script = (
        "import os, sys\n"
        "try: os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), sys.argv[1].encode())\n"
        "except OSError as error: print(error.errno)\n"
        "print(open('/proc/self/oom_score_adj').read(), open('/proc/self/oom_adj').read())\n"
    )
    expected = subprocess.run(
        [sys.executable, "-c", script, text], capture_output=True, text=True, check=True
    ).stdout
    world = World()
    tid = world.task.tid
    world.task.group.oom_score_adj = int(host("/proc/self/oom_score_adj"))
    world.task.cred = world.task.cred.copy()
    world.task.cred.effective = int(host("/proc/self/status").split("CapEff:")[1].split()[0], 16)
    got = ""
    try:
        world.write(f"{tid}/oom_score_adj", text.encode())
    except LinuxError as error:
        got = f"{error.errno}\n"
    got += f"{world.read(f'{tid}/oom_score_adj')} {world.read(f'{tid}/oom_adj')}\n"
    assert got == expected


def test_oom_score_adj_needs_a_capability_to_sink() -> None:
    world = World()
    other = make_task(world.kernel, uid=1000, parent=world.task)
    world.write(f"{other.tid}/oom_score_adj", b"100", other)
    world.write(f"{other.tid}/oom_score_adj", b"0", other)
    with pytest.raises(LinuxError) as raised:
        world.write(f"{other.tid}/oom_score_adj", b"-1", other)
    assert raised.value.errno == errno.EACCES


def test_gone_processes() -> None:
    from runsc.kernel.exit import exit_group, reap

    world = World()
    child = make_task(world.kernel, parent=world.task)
    path = Path(world.task.fs.root.mount, world.task.fs.root.dentry)
    status = world.find(f"{child.tid}/status").open(path, 0, world.task)
    directory = world.find(f"{child.tid}")
    exit_group(child, 0)
    assert "State:\tZ (zombie)\n" in world.read(f"{child.tid}/status")
    assert "VmSize" not in world.read(f"{child.tid}/status")
    assert world.read(f"{child.tid}/cmdline") == ""
    assert world.read(f"{child.tid}/maps") == ""
    assert world.read(f"{child.tid}/statm") == "0 0 0 0 0 0 0\n"
    assert world.find(f"{child.tid}/fd").readdir() == []
    reap(child.group)
    with pytest.raises(LinuxError) as raised:
        status.read(world.task, 100)
    assert raised.value.errno == errno.ESRCH
    with pytest.raises(LinuxError) as raised:
        directory.lookup(b"status", world.task)
    assert raised.value.errno == errno.ENOENT
    with pytest.raises(LinuxError) as raised:
        world.find(f"{child.tid}")
    assert raised.value.errno == errno.ENOENT


def test_memory_file() -> None:
    world = World()
    memory = Buffer(world.task)
    addr = memory.put(b"secret words")
    path = Path(world.task.fs.root.mount, world.task.fs.root.dentry)
    file = world.find(f"{world.task.tid}/mem").open(path, 2, world.task)
    assert file.pread(world.task, 6, addr) == b"secret"
    assert file.lseek(world.task, addr + 7, 0) == addr + 7
    assert file.write(world.task, b"WORDS") == 5
    assert memory.get(addr, 12) == b"secret WORDS"
    with pytest.raises(LinuxError) as raised:
        file.pread(world.task, 6, 8)
    assert raised.value.errno == errno.EIO
    other = make_task(world.kernel, uid=1000, parent=world.task)
    with pytest.raises(LinuxError) as raised:
        world.find(f"{world.task.tid}/mem", other).open(path, 0, other)
    assert raised.value.errno == errno.EACCES
