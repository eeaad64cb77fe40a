"""Overlay: what comparing with the host can't see: identity, formats, what is copied and when."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from differential import FD, HERE, OUT, Ours, run, times_of, tree
from hostmount import mount_direct

from runsc.kernel.credentials import ALL_CAPS, Credentials
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.overlay import Overlay
from runsc.kernel.fs.overlay.inode import OverlayInode
from runsc.kernel.fs.tmpfs import Tmpfs, TmpfsFile
from runsc_fs_direct.hostfiles import DirectFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.vfs.inode import Inode

ROOT = Credentials(0, 0, (), ALL_CAPS)


def put(directory: Inode, path: bytes, content: bytes | None = None) -> Inode:
    """Make a file with ``content``, or a directory, and the directories above it."""
    *above, name = path.split(b"/")
    for part in above:
        try:
            directory = directory.lookup(part)
        except LinuxError:
            directory = directory.mkdir(part, 0o40755, ROOT)
    if content is None:
        return directory.mkdir(name, 0o40755, ROOT)
    file = directory.create(name, 0o100644, ROOT)
    assert isinstance(file, TmpfsFile)
    file.write_data(content, 0)
    return file


class Stack:
    """An overlay of tmpfs over tmpfs, used through system calls."""

    def __init__(self, size: int | None = None, nr_inodes: int | None = None) -> None:
        self.lower = Tmpfs()
        self.upper = Tmpfs(size=size, nr_inodes=nr_inodes, mode=0o755)
        self.lower.dev, self.upper.dev = 41, 42
        put(self.lower.root(), b"f", b"lower")
        put(self.lower.root(), b"d/g", b"g" * 10000)
        put(self.lower.root(), b"d/e/h", b"h")
        self.mount()

    def mount(self) -> None:
        self.fs = Overlay(self.upper.root(), [self.lower.root()])
        self.ours = Ours(self.fs)

    def up(self, path: bytes) -> Inode:
        at = self.upper.root()
        for name in path.split(b"/"):
            at = at.lookup(name)
        return at

    def ino(self, path: bytes) -> int:
        return times_of(self.ours, path)[0]

    def listed_ino(self, name: bytes, directory: bytes = b".") -> int:
        fd, _outs = self.ours.raw("openat", (HERE, directory, os.O_RDONLY, 0))
        count, outs = self.ours.raw("getdents64", (fd, OUT(32768), 32768))
        self.ours.raw("close", (fd,))
        at = 0
        while at < count:
            length = int.from_bytes(outs[0][at + 16 : at + 18], "little")
            if outs[0][at + 19 : at + length].split(b"\0")[0] == name:
                return int.from_bytes(outs[0][at : at + 8], "little")
            at += length
        raise AssertionError(f"{name!r} is not listed")


@pytest.fixture
def stack() -> Iterator[Stack]:
    made = Stack()
    yield made
    made.ours.close()


def test_numbers_stay_when_a_file_is_copied_up(stack: Stack) -> None:
    ours = stack.ours
    before = {name: stack.ino(name) for name in (b"f", b"d", b"d/g", b"d/e")}
    run(ours, ("open", 0, b"f", os.O_WRONLY | os.O_APPEND, 0))
    run(ours, ("write", FD(0), b"!", 1))
    run(ours, ("fchmodat", HERE, b"d/g", 0o600))
    run(ours, ("renameat2", HERE, b"d/e", HERE, b"d/moved", 0))
    after = {name: stack.ino(b"d/moved" if name == b"d/e" else name) for name in before}
    assert after == before
    assert stack.listed_ino(b"f") == before[b"f"]
    assert stack.listed_ino(b"moved", b"d") == before[b"d/e"]
    # Also when nothing of it is remembered but the mount itself.
    assert isinstance(stack.fs.root().lookup(b"f"), OverlayInode)
    ours.task.fs.namespace.cache.shrink(100)
    assert stack.ino(b"f") == before[b"f"]
    new = run(ours, ("open", 1, b"new", os.O_CREAT | os.O_RDWR, 0o644))
    assert new == 0
    assert stack.ino(b"new") == stack.listed_ino(b"new")
    assert len({stack.ino(name) for name in (b"f", b"d", b"d/g", b"d/moved", b"new", b"d/moved/h")}) == 6


def test_reading_copies_nothing(stack: Stack) -> None:
    ours = stack.ours
    tree(ours)
    run(ours, ("open", 0, b"d/g", os.O_RDWR, 0))
    run(ours, ("read", 0, 100))
    run(ours, ("lgetxattr", b"d/g", b"user.x"))
    assert run(ours, ("lremovexattr", b"d/g", b"user.x")) == -errno.ENODATA
    assert stack.upper.root().readdir() == []


def test_a_file_that_is_truncated_is_not_copied(stack: Stack) -> None:
    assert run(stack.ours, ("open", 0, b"d/g", os.O_WRONLY | os.O_TRUNC, 0)) == 0
    copied = stack.up(b"d/g")
    assert isinstance(copied, TmpfsFile)
    assert (copied.size, stack.upper.pages_used) == (0, 0)
    assert run(stack.ours, ("truncate", b"f", 2)) == 0
    assert stack.up(b"f").size == 2


def test_attributes_go_along(stack: Stack) -> None:
    lower = stack.lower.root().lookup(b"d").lookup(b"g")
    lower.mode, lower.uid, lower.gid, lower.atime, lower.mtime = 0o102711, 5, 6, 10**18 + 1, 10**18 + 2
    lower.setxattr(b"user.a", b"1", 0)
    lower.setxattr(b"trusted.overlay.metacopy", b"", 0)
    lower_dir = stack.lower.root().lookup(b"d")
    lower_dir.mode, lower_dir.mtime = 0o43777, 10**18
    assert run(stack.ours, ("lsetxattr", b"d/g", b"user.b", b"2", 1, 0)) == 0
    copied = stack.up(b"d/g")
    assert (copied.mode, copied.uid, copied.gid, copied.atime, copied.mtime) == (
        lower.mode, 5, 6, lower.atime, lower.mtime,
    )  # fmt: skip
    assert sorted(copied.listxattr()) == [b"user.a", b"user.b"]
    above = stack.up(b"d")
    assert (above.mode, above.mtime) == (lower_dir.mode, lower_dir.mtime)
    assert stack.lower.root().lookup(b"d").lookup(b"g").listxattr() == [
        b"user.a",
        b"trusted.overlay.metacopy",
    ]


def test_holes_are_not_copied() -> None:
    stack = Stack()
    lower = stack.lower.root().lookup(b"f")
    assert isinstance(lower, TmpfsFile)
    lower.truncate(1 << 30)
    lower.write_data(b"end", (1 << 30) + 5000)
    lower.truncate(1 << 31)
    assert run(stack.ours, ("fchmodat", HERE, b"f", 0o600)) == 0
    copied = stack.up(b"f")
    assert isinstance(copied, TmpfsFile)
    assert (copied.size, copied.pages()) == (1 << 31, lower.pages())
    assert copied.read_data(3, (1 << 30) + 5000) == b"end"
    stack.ours.close()


def test_readers_follow_and_mappings_do_not(stack: Stack) -> None:
    ours = stack.ours
    run(ours, ("open", 0, b"f", os.O_RDONLY, 0))
    assert run(ours, ("pread64", 0, 10, 0)) == b"lower"
    reader = ours.task.files.get(ours.slots[0])
    mapped = reader.mmap_fd(1, False)
    run(ours, ("open", 1, b"f", os.O_RDWR, 0))
    writer = ours.task.files.get(ours.slots[1])
    run(ours, ("pwrite64", FD(1), b"UP", 2, 0))
    assert run(ours, ("pread64", 0, 10, 0)) == b"UPwer"
    assert os.pread(mapped, 10, 0) == b"lower"
    assert os.pread(reader.mmap_fd(1, False), 10, 0) == b"UPwer"
    assert os.pread(writer.mmap_fd(1, True), 10, 0) == b"UPwer"
    assert stack.lower.root().lookup(b"f").size == 5


def test_a_mapping_of_a_writer_sees_what_is_written(stack: Stack) -> None:
    """A file open for writing is copied up before it is mapped, even if only for reading."""
    ours = stack.ours
    run(ours, ("open", 0, b"f", os.O_RDWR, 0))
    mapped = ours.task.files.get(ours.slots[0]).mmap_fd(1, True)
    run(ours, ("pwrite64", FD(0), b"NEW", 3, 0))
    assert os.pread(mapped, 10, 0) == b"NEWer"


def test_formats_in_the_upper_directory(stack: Stack) -> None:
    ours = stack.ours
    assert run(ours, ("unlinkat", HERE, b"f", 0)) == 0
    whiteout = stack.up(b"f")
    assert (whiteout.mode & 0o170000, whiteout.rdev) == (0o020000, 0)
    assert run(ours, ("renameat2", HERE, b"d", HERE, b"moved", 0)) == 0
    assert stack.up(b"moved").getxattr(b"trusted.overlay.redirect") == b"/d"
    assert run(ours, ("mkdirat", HERE, b"d", 0o755)) == 0
    assert stack.up(b"d").getxattr(b"trusted.overlay.opaque") == b"y"
    assert run(ours, ("list", b"d")) == []
    assert run(ours, ("llistxattr", b"d")) == b""
    assert [name for name, _kind in run(ours, ("list", b"moved"))] == [b"e", b"g"]
    assert run(ours, ("mknodat", HERE, b"w", 0o20600, 0)) == -errno.EPERM
    # An attribute of that name that the guest sets is another one.
    assert run(ours, ("lsetxattr", b"moved", b"trusted.overlay.redirect", b"/x", 2, 0)) == 0
    assert run(ours, ("lgetxattr", b"moved", b"trusted.overlay.redirect")) == b"/x"
    assert stack.up(b"moved").getxattr(b"trusted.overlay.redirect") == b"/d"
    before = tree(ours)
    ours.close()
    stack.mount()
    assert tree(stack.ours) == before


def test_a_redirect_below_a_redirect(stack: Stack) -> None:
    ours = stack.ours
    run(ours, ("mkdirat", HERE, b"n", 0o755))
    assert run(ours, ("renameat2", HERE, b"d", HERE, b"n/d", 0)) == 0
    assert run(ours, ("renameat2", HERE, b"n/d/e", HERE, b"e", 0)) == 0
    assert run(ours, ("renameat2", HERE, b"n/d", HERE, b"e/d", 0)) == 0
    ours.close()
    stack.mount()
    assert set(tree(stack.ours)) == {b"f", b"n", b"e", b"e/h", b"e/d", b"e/d/g"}


def test_a_merged_directory_is_removed_with_its_whiteouts(stack: Stack) -> None:
    ours = stack.ours
    run(ours, ("unlinkat", HERE, b"d/e/h", 0))
    assert run(ours, ("unlinkat", HERE, b"d", 0x200)) == -errno.ENOTEMPTY
    assert run(ours, ("unlinkat", HERE, b"d/e", 0x200)) == 0
    assert run(ours, ("unlinkat", HERE, b"d/g", 0)) == 0
    assert run(ours, ("unlinkat", HERE, b"d", 0x200)) == 0
    assert [name for name, _kind in run(ours, ("list", b"."))] == [b"f"]
    assert [entry.name for entry in stack.upper.root().readdir()] == [b"d"]


def test_links_of_a_merged_directory(stack: Stack) -> None:
    assert run(stack.ours, ("stat", b"d"))["nlink"] == 3
    run(stack.ours, ("mkdirat", HERE, b"d/new", 0o755))
    assert run(stack.ours, ("stat", b"d"))["nlink"] == 1


def test_hard_links_part_when_one_is_copied_up(stack: Stack) -> None:
    root = stack.lower.root()
    root.link(b"again", root.lookup(b"f"))
    ours = stack.ours
    assert run(ours, ("stat", b"again"))["nlink"] == 2
    run(ours, ("open", 0, b"f", os.O_RDWR, 0))
    run(ours, ("write", FD(0), b"X", 1))
    run(ours, ("open", 1, b"again", os.O_RDONLY, 0))
    assert run(ours, ("read", 1, 10)) == b"lower"
    assert run(ours, ("stat", b"f"))["nlink"] == 1
    # Names that are made in the overlay stay together.
    run(ours, ("linkat", HERE, b"again", HERE, b"third", 0))
    run(ours, ("open", 0, b"third", os.O_WRONLY, 0))
    run(ours, ("write", FD(0), b"YY", 2))
    assert run(ours, ("pread64", 1, 10, 0)) == b"YYwer"


def test_an_unlinked_file_can_still_be_changed(stack: Stack) -> None:
    ours = stack.ours
    run(ours, ("open", 0, b"f", os.O_RDWR, 0))
    run(ours, ("unlinkat", HERE, b"f", 0))
    assert run(ours, ("write", FD(0), b"still", 5)) == 5
    assert run(ours, ("pread64", 0, 10, 0)) == b"still"
    assert run(ours, ("fstat", 0))["nlink"] == 0
    assert run(ours, ("stat", b"f")) == -errno.ENOENT


@pytest.mark.parametrize(
    "step",
    [
        ("unlinkat", HERE, b"f", 0),
        ("unlinkat", HERE, b"own", 0),
        ("renameat2", HERE, b"f", HERE, b"x", 0),
        ("renameat2", HERE, b"d", HERE, b"x", 0),
        ("fchmodat", HERE, b"d/g", 0o600),
        ("linkat", HERE, b"d/g", HERE, b"x", 0),
        ("mkdirat", HERE, b"d/e/x", 0o755),
        ("open", 5, b"d/x", os.O_CREAT | os.O_RDWR, 0o644),
        ("truncate", b"d/g", 9000),
    ],
    ids=lambda step: f"{step[0]}-{step[2]!r}",
)
def test_no_space_changes_nothing(step: tuple[Any, ...]) -> None:
    """Whatever runs out halfway, the tree is as it was."""
    results = set()
    for inodes in range(2, 12):
        stack = Stack(size=16384, nr_inodes=inodes)
        # A file that was copied up and is held open: removing it frees nothing.
        put(stack.lower.root(), b"own", b"own")
        ours = stack.ours
        assert run(ours, ("fchmodat", HERE, b"own", 0o600)) == 0
        run(ours, ("open", 4, b"own", os.O_RDONLY, 0))
        before = tree(ours)
        result = run(ours, step)
        results.add(result)
        assert result in (0, -errno.ENOSPC)
        if result:
            assert _same(tree(ours)) == _same(before), inodes
            ours.close()
            stack.mount()
            assert _same(tree(stack.ours)) == _same(before), inodes
        stack.ours.close()
    assert results == {0, -errno.ENOSPC}


def _same(about: dict[bytes, Any]) -> dict[bytes, Any]:
    """Without what copying a directory changes: its size and its links."""
    return {
        name: {key: value for key, value in attributes.items() if key not in ("size", "nlink")}
        if int(attributes["mode"], 8) & 0o170000 == 0o040000
        else attributes
        for name, attributes in about.items()
    }


def test_nodes_of_a_lower_directory(stack: Stack) -> None:
    root = stack.lower.root()
    root.create(b"fifo", 0o10644, ROOT)
    root.create(b"null", 0o20666, ROOT, os.makedev(1, 3))
    root.create(b"socket", 0o140755, ROOT)
    ours = stack.ours
    assert run(ours, ("open", 0, b"fifo", os.O_RDWR, 0)) == 0
    assert run(ours, ("write", FD(0), b"x", 1)) == 1
    run(ours, ("open", 1, b"fifo", os.O_RDONLY, 0))
    # It stays one FIFO when it is copied up.
    assert run(ours, ("fchmodat", HERE, b"fifo", 0o600)) == 0
    assert run(ours, ("read", 1, 10)) == b"x"
    assert run(ours, ("open", 2, b"null", os.O_RDWR, 0)) == 0
    assert run(ours, ("open", 2, b"socket", os.O_RDWR, 0)) == -errno.ENXIO
    assert stack.up(b"fifo").is_fifo()


def test_an_overlay_of_an_overlay(stack: Stack) -> None:
    run(stack.ours, ("unlinkat", HERE, b"f", 0))
    run(stack.ours, ("open", 0, b"d/new", os.O_CREAT | os.O_RDWR, 0o644))
    run(stack.ours, ("write", FD(0), b"new", 3))
    upper = Tmpfs(mode=0o755)
    top = Ours(Overlay(upper.root(), [stack.fs.root()]))
    assert set(tree(top)) == {b"d", b"d/g", b"d/e", b"d/e/h", b"d/new"}
    run(top, ("open", 0, b"d/g", os.O_RDWR, 0))
    run(top, ("write", FD(0), b"TOP", 3))
    run(top, ("open", 0, b"d/new", os.O_RDONLY, 0))
    assert run(top, ("read", 0, 10)) == b"new"
    assert run(stack.ours, ("open", 1, b"d/g", os.O_RDONLY, 0)) == 0
    assert run(stack.ours, ("read", 1, 3)) == b"ggg"
    top.close()


def test_statfs_is_the_uppers(stack: Stack) -> None:
    found = stack.fs.statfs()
    assert (found.type, found.blocks) == (0x794C7630, stack.upper.statfs().blocks)


def test_layers_must_be_directories_with_data() -> None:
    fs = Tmpfs()
    with pytest.raises(ValueError, match="directories"):
        Overlay(fs.root(), [fs.root().create(b"f", 0o100644, ROOT)])
    with pytest.raises(ValueError, match="lower"):
        Overlay(fs.root(), [])


def test_over_the_hosts_files(no_descriptor_left: None, tmp_path: Any) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("host")
    files = DirectFiles()
    ours = Ours(Overlay(Tmpfs(mode=0o755).root(), [mount_direct(files, tmp_path).root()]))
    assert times_of(ours, b"d/f")[0] == os.stat(tmp_path / "d" / "f").st_ino
    run(ours, ("open", 0, b"d/f", os.O_RDWR | os.O_APPEND, 0))
    run(ours, ("write", FD(0), b" and more", 9))
    run(ours, ("open", 1, b"d/f", os.O_RDONLY, 0))
    assert run(ours, ("read", 1, 100)) == b"host and more"
    run(ours, ("renameat2", HERE, b"d", HERE, b"e", 0))
    run(ours, ("unlinkat", HERE, b"e/f", 0))
    assert (tmp_path / "d" / "f").read_text() == "host"
    assert set(tree(ours)) == {b"e"}
    ours.close()
    files.close()
