"""tmpfs: what comparing with the host can't see: accounts, descriptors, forms of data."""

from __future__ import annotations

import errno
import gc
import os

import pytest
from differential import FD, HERE, OUT, Ours, run

from runsc.kernel.credentials import ALL_CAPS, Credentials
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.shmem import SMALL, MemfdPool
from runsc.kernel.fs.tmpfs import TMPFS_MAGIC, Tmpfs, TmpfsDirectory, TmpfsFile

ROOT = Credentials(0, 0, (), ALL_CAPS)
MIB = 1 << 20


def make_file(fs: Tmpfs, name: bytes = b"f") -> TmpfsFile:
    inode = fs.root().create(name, 0o100644, ROOT)
    assert isinstance(inode, TmpfsFile)
    return inode


def test_what_is_removed_is_given_back() -> None:
    fs = Tmpfs(size=16 * MIB, nr_inodes=100)
    root = fs.root()
    before = (fs.pages_used, fs.ino_space_used)
    directory = root.mkdir(b"d", 0o40755, ROOT)
    file = make_file(fs)
    file.write_data(b"x" * 10000, 0)
    file.setxattr(b"user.a", b"v" * 100, 0)
    directory.link(b"again", file)
    link = directory.symlink(b"l", b"t" * 500, ROOT)
    large = directory.create(b"large", 0o100600, ROOT)
    assert isinstance(large, TmpfsFile)
    large.write_data(b"y" * (2 * MIB), 5 * MIB)
    assert fs.pages_used == 3 + 1 + 512
    root.unlink(b"f", file)
    directory.unlink(b"again", file)
    directory.unlink(b"l", link)
    directory.unlink(b"large", large)
    root.rmdir(b"d", directory)
    assert fs.pages_used == 516, "still in use by this test"
    gc.disable()
    try:
        del file, link, large, directory
        assert (fs.pages_used, fs.ino_space_used) == before
    finally:
        gc.enable()


def test_no_space_and_no_inodes() -> None:
    fs = Tmpfs(size=8192, nr_inodes=3)
    file = make_file(fs)
    assert file.write_data(b"x" * 20000, 0) == 8192
    with pytest.raises(LinuxError) as caught:
        file.write_data(b"x", 8192)
    assert caught.value.errno == errno.ENOSPC
    assert file.write_data(b"y" * 4096, 4096) == 4096
    fs.root().mkdir(b"d", 0o40755, ROOT)
    with pytest.raises(LinuxError) as caught:
        fs.root().mkdir(b"e", 0o40755, ROOT)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(LinuxError):
        fs.root().link(b"e", file)
    assert fs.root().readdir()[0].name == b"d"
    stat = fs.statfs()
    assert (stat.type, stat.blocks, stat.bfree, stat.files, stat.ffree) == (TMPFS_MAGIC, 2, 0, 3, 0)


def test_sizes_of_zero_are_no_limit() -> None:
    fs = Tmpfs(size=0, nr_inodes=0)
    make_file(fs).write_data(b"x" * MIB, 0)
    assert (fs.statfs().blocks, fs.statfs().files) == (0, 0)


def test_a_small_file_becomes_a_memfd_when_mapped() -> None:
    fs = Tmpfs()
    file = make_file(fs)
    file.write_data(b"before", 0)
    assert file.content.fd < 0
    fd = file.host_fd(True)
    assert os.pread(fd, 10, 0) == b"before"
    os.pwrite(fd, b"mapped", 0)
    assert file.read_data(10, 0) == b"mapped"
    file.write_data(b"!", 6)
    assert os.pread(fd, 10, 0) == b"mapped!"
    # The guest may make the file's pages through its mapping; they are charged when somebody looks.
    os.pwrite(fd, b"x", 0)
    file.truncate(3 * 4096)
    os.pwrite(fd, b"x", 2 * 4096)
    assert file.stat().blocks == 16
    assert fs.pages_used == 2


def test_a_large_file_is_sparse() -> None:
    fs = Tmpfs(size=8 * MIB)
    file = make_file(fs)
    file.truncate(1 << 40)
    file.write_data(b"end", (1 << 40) - 3)
    assert fs.pages_used == 1
    assert file.read_data(4096, 1 << 39) == bytes(4096)
    assert file.seek_data(0, os.SEEK_DATA) == (1 << 40) - 4096


def test_descriptors_are_bounded() -> None:
    pool = MemfdPool(limit=4)
    fs = Tmpfs(memfds=pool)
    files = [make_file(fs, b"%d" % number) for number in range(10)]
    for number, file in enumerate(files):
        file.write_data(b"%d" % number * 100, 5000)
        file.host_fd(False)
        assert len(pool.files) <= 4
    for number, file in enumerate(files):
        assert file.read_data(200, 4999) == b"\0" + b"%d" % number * 100
        assert file.stat().blocks == 8, "holes stay holes in either form"
    assert fs.pages_used == 10


def test_a_file_in_use_keeps_its_descriptor() -> None:
    fs = Tmpfs(memfds=MemfdPool(limit=2))
    first, second, third = (make_file(fs, name) for name in (b"1", b"2", b"3"))
    first.open_data(True)
    second.open_data(True)
    fds = {first.host_fd(True), second.host_fd(True)}
    with pytest.raises(LinuxError) as caught:
        third.host_fd(True)
    assert caught.value.errno == errno.ENFILE
    # Data has room without one, up to where it can be told.
    assert third.write_data(b"x" * (SMALL + 10), 0) == SMALL + 10
    assert third.read_data(20, SMALL) == b"x" * 10
    second.close_data(True)
    assert third.host_fd(False) in fds
    assert os.fstat(third.host_fd(False)).st_size == SMALL + 10
    assert second.content.fd < 0


def test_descriptors_are_closed() -> None:
    fs = Tmpfs()
    file = make_file(fs)
    fd = file.host_fd(False)
    fs.root().unlink(b"f", file)
    del file
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_deep_tree_goes_away_without_recursion() -> None:
    fs = Tmpfs(nr_inodes=0)
    at = fs.root()
    for _ in range(50000):
        at = at.mkdir(b"d", 0o40755, ROOT)
    del at
    fs.release()
    assert fs.ino_space_used == 1024


def test_links_of_directories() -> None:
    fs = Tmpfs()
    root = fs.root()
    one = root.mkdir(b"one", 0o40755, ROOT)
    two = root.mkdir(b"two", 0o40755, ROOT)
    assert (root.nlink, one.nlink) == (4, 2)
    one.rename(b"x", one.mkdir(b"x", 0o40755, ROOT), two, b"y", None, 0)
    assert (one.nlink, two.nlink) == (2, 3)
    with pytest.raises(LinuxError) as caught:
        root.rmdir(b"two", two)
    assert caught.value.errno == errno.ENOTEMPTY
    root.rmdir(b"one", one)
    assert (root.nlink, one.nlink) == (3, 0)
    with pytest.raises(LinuxError) as caught:
        one.create(b"f", 0o100644, ROOT)
    assert caught.value.errno == errno.ENOENT


def test_setgid_directories_hand_on_their_group() -> None:
    fs = Tmpfs()
    directory = fs.root().mkdir(b"d", 0o42775, ROOT)
    directory.gid = 50
    user = Credentials(1000, 1000)
    file = directory.create(b"f", 0o102755, user)
    below = directory.mkdir(b"e", 0o40755, user)
    assert (file.gid, file.mode & 0o7777) == (50, 0o755), "no member: no set-group-ID"
    assert (below.gid, below.mode & 0o7777) == (50, 0o2755)
    assert isinstance(below, TmpfsDirectory)


def test_a_write_takes_file_capabilities_away() -> None:
    fs = Tmpfs()
    file = make_file(fs)
    file.setxattr(b"security.capability", b"\1" * 20, 0)
    file.setxattr(b"user.other", b"stays", 0)
    file.write_data(b"x", 0)
    assert file.listxattr() == [b"user.other"]


def test_options_as_shown() -> None:
    assert Tmpfs().mount_options() == ""
    shown = Tmpfs(size=65536, mode=0o700, uid=3, gid=4, nr_inodes=9).mount_options()
    assert shown == ",size=64k,nr_inodes=9,mode=700,uid=3,gid=4"


def test_files_go_while_the_directory_is_read() -> None:
    """What rm -r does: unlink each name as it comes, with a small buffer."""
    ours = Ours(Tmpfs())
    for number in range(200):
        assert run(ours, ("open", 0, b"%03d" % number, os.O_CREAT | os.O_WRONLY, 0o644)) == 0
    assert run(ours, ("open", 0, b".", os.O_RDONLY, 0)) == 0
    seen = 0
    while True:
        count, outs = ours.raw("getdents64", (FD(0), OUT(512), 512))
        assert count >= 0
        if not count:
            break
        at = 0
        while at < count:
            length = int.from_bytes(outs[0][at + 16 : at + 18], "little")
            name = outs[0][at + 19 : at + length].split(b"\0")[0]
            at += length
            if name not in (b".", b".."):
                seen += 1
                assert run(ours, ("unlinkat", HERE, name, 0)) == 0
    assert seen == 200
    assert run(ours, ("list", b".")) == []
