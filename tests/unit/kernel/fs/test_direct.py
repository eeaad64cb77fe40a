"""The direct file system: host files, and nothing but the ones that were given."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from differential import FD, HERE, OUT, Ours, run, tree
from hostmount import mount_direct
from runsc._native import lib

from runsc.abi.inotify import IN_CREATE, INOTIFY_EVENT
from runsc.errors import RunscError
from runsc.filesystem import HostMount
from runsc.kernel.credentials import ALL_CAPS, Credentials
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.hostfs.directory import HostDirectory
from runsc.kernel.fs.overlay import Overlay
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc.kernel.vfs.inode import SetAttr
from runsc_fs_direct import ops
from runsc_fs_direct.hostfiles import READ_CALLS, WRITE_CALLS, DirectFiles
from runsc_fs_direct.opener import DirectOpener
from runsc_fs_direct.plugin import DirectPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

OWNER = Credentials(os.geteuid(), os.getegid(), (), ALL_CAPS if os.geteuid() == 0 else 0)


@pytest.fixture
def files(no_descriptor_left: None) -> Iterator[DirectFiles]:
    made = DirectFiles()
    yield made
    made.close()
    made.close()


def mount(files: DirectFiles, path: Path, read_only: bool = False, shared: bool = False) -> Any:
    fs = mount_direct(files, path, read_only, shared)
    fs.dev = 30
    return fs


def error_of(call: Any, *args: Any) -> int:
    with pytest.raises((LinuxError, OSError)) as caught:
        call(*args)
    number = caught.value.errno
    assert isinstance(number, int)
    return number


def test_it_works_here() -> None:
    assert DirectPlugin().check_filesystem().works


def test_what_only_writing_needs_is_asked_for_only_then(files: DirectFiles, tmp_path: Path) -> None:
    mount(files, tmp_path, read_only=True)
    reading = {call.name for call in files.host_calls()}
    writable = DirectFiles()
    mount(writable, tmp_path)
    writing = {call.name for call in writable.host_calls()}
    writable.close()
    assert "pwrite64" not in reading
    assert writing > reading
    assert all(call.why for call in (*READ_CALLS, *WRITE_CALLS))


def test_a_missing_root_is_reported(no_descriptor_left: None) -> None:
    with pytest.raises(RunscError, match=r"nowhere.*No such file"):
        DirectOpener().open([HostMount(b"/"), HostMount(b"/nowhere/at/all")])


def test_nothing_becomes_writable_later(files: DirectFiles, tmp_path: Path) -> None:
    mount(files, tmp_path, read_only=True)
    files.host_calls()
    mount(files, tmp_path, read_only=True)
    with pytest.raises(RunscError, match="can't be mounted writable"):
        mount(files, tmp_path)


def test_no_name_leads_out(files: DirectFiles, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "inside" / "link").symlink_to("../secret")
    (tmp_path / "inside" / "away").symlink_to("/etc")
    root = mount(files, tmp_path / "inside").root()
    for name in (b"..", b".", b"../secret", b"a/b", b"/etc/passwd", b"x\0y"):
        assert error_of(root.lookup, name) == errno.EINVAL
        assert error_of(root.create, name, 0o100644, OWNER) == errno.EINVAL
        assert error_of(root.mkdir, name, 0o40755, OWNER) == errno.EINVAL
    link = root.lookup(b"link")
    assert (link.is_symlink(), link.readlink()) == (True, b"../secret")
    assert error_of(root.lookup(b"away").lookup, b"passwd") == errno.ENOTDIR


def test_a_link_in_the_place_of_a_file_is_not_followed(files: DirectFiles, tmp_path: Path) -> None:
    """The race: what was a file or directory when it was looked up is a link when it is opened."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("harmless")
    root = mount(files, tmp_path / "d").root()
    file = root.lookup(b"f")
    (tmp_path / "d" / "f").unlink()
    (tmp_path / "d" / "f").symlink_to(tmp_path / "secret")
    assert error_of(file.open_data, False) == errno.ELOOP
    assert error_of(file.open_data, True) == errno.ELOOP
    assert error_of(file.truncate, 0) == errno.ELOOP
    assert error_of(file.setattr, SetAttr(mode=0o777)) == errno.ESTALE
    assert (tmp_path / "secret").read_text() == "secret"

    (tmp_path / "d" / "e").mkdir()
    below = root.lookup(b"e")
    (tmp_path / "d" / "e").rmdir()
    (tmp_path / "d" / "e").symlink_to(tmp_path)
    assert error_of(below.lookup, b"secret") in (errno.ELOOP, errno.ENOTDIR)


def test_a_directory_in_the_place_of_another_is_noticed(files: DirectFiles, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    root = mount(files, tmp_path).root()
    below = root.lookup(b"d")
    (tmp_path / "d").rename(tmp_path / "old")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").touch()
    assert error_of(below.lookup, b"f") == errno.ESTALE


def test_hard_links_are_one_inode(files: DirectFiles, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    root = mount(files, tmp_path).root()
    assert root.lookup(b"a") is root.lookup(b"b")
    file = root.lookup(b"a")
    root.unlink(b"a", file)
    assert root.lookup(b"b") is file
    assert file.stat().nlink == 1
    file.open_data(False)
    assert file.read_data(10, 0) == b"x"
    file.close_data(False)


def test_attributes_are_the_hosts(files: DirectFiles, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 5000)
    os.chmod(tmp_path / "f", 0o640)
    os.utime(tmp_path / "f", ns=(10**18, 10**18 + 7))
    (tmp_path / "d").mkdir()
    root = mount(files, tmp_path).root()
    for name in ("f", "d"):
        ours, host = root.lookup(name.encode()).stat(), os.lstat(tmp_path / name)
        assert (ours.mode, ours.size, ours.blocks, ours.ino, ours.nlink, ours.uid, ours.gid) == (
            host.st_mode, host.st_size, host.st_blocks, host.st_ino, host.st_nlink, host.st_uid, host.st_gid,
        )  # fmt: skip
        assert (ours.atime, ours.mtime, ours.ctime) == (host.st_atime_ns, host.st_mtime_ns, host.st_ctime_ns)
        assert ours.dev == 30


class Counter:
    """Stands for the host and counts calls that ask for attributes."""

    def __init__(self) -> None:
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        if name == "rn_stat":
            self.count += 1
        return getattr(lib, name)


def test_attributes_are_asked_for_once(
    files: DirectFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    fs = mount(files, tmp_path)
    ours = Ours(fs)
    counter = Counter()
    monkeypatch.setattr(ops, "lib", counter)
    run(ours, ("stat", b"f"))
    assert counter.count == 1
    for _ in range(20):
        run(ours, ("stat", b"f"))
    assert counter.count == 1
    ours.close()


def changes(ours: Ours) -> None:
    """Have the kernel look at what the host tells, as its loop does."""
    ours.task.kernel.poller.dispatch()


@pytest.mark.parametrize("shared", [False, True])
def test_others_changes_are_seen(files: DirectFiles, tmp_path: Path, shared: bool) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("x")
    ours = Ours(mount(files, tmp_path, shared=shared))
    files.start(ours.task.kernel)
    assert run(ours, ("stat", b"d/f"))["size"] == 1
    assert run(ours, ("stat", b"d/new")) == -errno.ENOENT
    with (tmp_path / "d" / "f").open("a") as file:
        file.write("longer")
    changes(ours)
    assert run(ours, ("stat", b"d/f"))["size"] == 7
    (tmp_path / "d" / "f").chmod(0o640)
    changes(ours)
    assert run(ours, ("stat", b"d/f"))["mode"] == "0o100640"
    (tmp_path / "d" / "new").write_text("new")
    changes(ours)
    assert run(ours, ("stat", b"d/new"))["size"] == 3
    (tmp_path / "d" / "f").unlink()
    changes(ours)
    assert run(ours, ("stat", b"d/f")) == -errno.ENOENT
    (tmp_path / "d" / "f").mkdir()
    changes(ours)
    assert run(ours, ("stat", b"d/f"))["mode"].startswith("0o40")
    # A whole directory in the place of another.
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "other").write_text("1234")
    (tmp_path / "d").rename(tmp_path / "old")
    (tmp_path / "e").rename(tmp_path / "d")
    changes(ours)
    assert run(ours, ("stat", b"d/other"))["size"] == 4
    assert run(ours, ("stat", b"d/new")) == -errno.ENOENT
    ours.close()


def test_others_changes_are_seen_below_an_overlay(files: DirectFiles, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    ours = Ours(Overlay(Tmpfs(mode=0o755).root(), [mount(files, tmp_path, read_only=True).root()]))
    files.start(ours.task.kernel)
    assert run(ours, ("stat", b"d/f")) == -errno.ENOENT
    (tmp_path / "d" / "f").write_text("x")
    changes(ours)
    assert run(ours, ("stat", b"d/f"))["mode"] == "0o100644"
    (tmp_path / "d" / "f").chmod(0o600)
    changes(ours)
    assert run(ours, ("stat", b"d/f"))["mode"] == "0o100600"
    (tmp_path / "d" / "f").unlink()
    changes(ours)
    assert run(ours, ("stat", b"d/f")) == -errno.ENOENT
    ours.close()


def test_our_own_changes_are_no_news(files: DirectFiles, tmp_path: Path) -> None:
    """What the guest does comes back from the host, and must not make anything be looked up again."""
    ours = Ours(mount(files, tmp_path))
    files.start(ours.task.kernel)
    run(ours, ("open", 0, b"f", os.O_RDWR | os.O_CREAT, 0o644))
    run(ours, ("mkdirat", HERE, b"d", 0o755))
    run(ours, ("renameat2", HERE, b"f", HERE, b"g", 0))
    children = ours.task.fs.root.dentry.children
    before = dict(children)
    changes(ours)
    assert children == before
    assert children[b"g"].inode is before[b"g"].inode
    root = ours.task.fs.root.dentry.inode
    assert isinstance(root, HostDirectory)
    assert not root.expected
    (tmp_path / "g").unlink()
    changes(ours)
    assert b"g" not in children
    ours.close()


def test_the_guests_watches_are_told(files: DirectFiles, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    ours = Ours(mount(files, tmp_path))
    files.start(ours.task.kernel)
    fd = ours.raw("inotify_init1", (os.O_NONBLOCK,))[0]
    ours.slots[9] = fd
    assert ours.raw("inotify_add_watch", (FD(9), b"d", 0xFFF))[0] == 1
    (tmp_path / "d" / "new").write_text("x")
    changes(ours)
    count, (data,) = ours.raw("read", (FD(9), OUT(4096), 4096))
    assert count > 0
    _wd, mask, _cookie, length = INOTIFY_EVENT.unpack_from(data)
    assert (mask, data[16 : 16 + length].rstrip(b"\0")) == (IN_CREATE, b"new")
    # What the guest does itself is told once.
    while ours.raw("read", (FD(9), OUT(4096), 4096))[0] > 0:
        pass
    run(ours, ("mkdirat", HERE, b"d/sub", 0o755))
    changes(ours)
    count, (data,) = ours.raw("read", (FD(9), OUT(4096), 4096))
    assert data[:count].count(b"sub\0") == 1
    ours.close()


def test_watches_are_bounded(files: DirectFiles, tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "f").write_text("x")
    assert files.watcher is not None
    files.watcher.limit = 16
    ours = Ours(mount(files, tmp_path))
    files.start(ours.task.kernel)
    for number in range(40):
        assert run(ours, ("stat", b"%d/f" % number))["size"] == 1
        assert len(files.watcher.directories) <= 17
    for number in range(40):
        (tmp_path / str(number) / "f").write_text("xx")
    changes(ours)
    for number in range(40):
        assert run(ours, ("stat", b"%d/f" % number))["size"] == 2
    ours.close()


def test_without_watches_names_are_looked_up_each_time(
    files: DirectFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops.DirectOps, "watch", lambda *_args: -1)
    fs = mount(files, tmp_path)
    ours = Ours(Overlay(Tmpfs(mode=0o755).root(), [fs.root()]))
    assert run(ours, ("stat", b"f")) == -errno.ENOENT
    (tmp_path / "f").write_text("x")
    assert run(ours, ("stat", b"f"))["size"] == 1
    (tmp_path / "f").unlink()
    assert run(ours, ("stat", b"f")) == -errno.ENOENT
    ours.close()


def test_a_file_that_the_host_replaces(files: DirectFiles, tmp_path: Path) -> None:
    """As editors do."""
    (tmp_path / "f").write_text("old")
    ours = Ours(mount(files, tmp_path))
    files.start(ours.task.kernel)
    assert run(ours, ("open", 0, b"f", os.O_RDONLY, 0)) == 0
    (tmp_path / "new").write_text("newer")
    (tmp_path / "new").rename(tmp_path / "f")
    changes(ours)
    assert run(ours, ("read", 0, 10)) == b"old"
    run(ours, ("close", 0))
    assert run(ours, ("open", 0, b"f", os.O_RDONLY, 0)) == 0
    assert run(ours, ("read", 0, 10)) == b"newer"
    ours.close()


def test_descriptors_are_bounded(files: DirectFiles, tmp_path: Path) -> None:
    fs = mount(files, tmp_path)
    fs.idle_limit = 8
    for number in range(30):
        place = tmp_path / str(number) / "x" / "y"
        place.mkdir(parents=True)
        (place / "f").write_text(str(number))
    ours = Ours(fs)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        for number in range(30):
            assert run(ours, ("open", 0, b"%d/x/y/f" % number, os.O_RDONLY, 0)) == 0
            assert run(ours, ("read", 0, 10)) == b"%d" % number
            run(ours, ("close", 0))
            assert len(os.listdir("/proc/self/fd")) <= before + 10
    ours.close()


def test_a_deep_directory_is_reached_again(files: DirectFiles, tmp_path: Path) -> None:
    fs = mount(files, tmp_path)
    fs.idle_limit = 16
    at = fs.root()
    made = [at]
    for _ in range(2000):
        at = at.mkdir(b"d", 0o40755, OWNER)
        made.append(at)
    at.create(b"f", 0o100644, OWNER)
    assert made[-1].handle_ < 0 or made[3].handle_ < 0
    for place in (made[3], made[-1], made[1000]):
        assert [entry.name for entry in place.readdir()] == [b"f" if place is made[-1] else b"d"]
    made[-1].unlink(b"f", made[-1].lookup(b"f"))
    while len(made) > 1:
        gone = made.pop()
        made[-1].rmdir(b"d", gone)


def test_writing(files: DirectFiles, tmp_path: Path) -> None:
    ours = Ours(mount(files, tmp_path), OWNER.uid, OWNER.gid)
    steps: list[tuple[tuple[Any, ...], Any]] = [
        (("mkdirat", HERE, b"d", 0o2755), 0),
        (("open", 0, b"d/f", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640), 0),
        (("write", FD(0), b"hello", 5), 5),
        (("pwrite64", FD(0), b"end", 3, 100000), 3),
        (("lseek", FD(0), 0, os.SEEK_DATA), 0),
        (("fallocate", FD(0), 3, 0, 4096), 0),
        (("pread64", 0, 5, 0), bytes(5)),
        (("fallocate", FD(0), 1, 0, 4096), 0),
        (("ftruncate", FD(0), 3), 0),
        (("linkat", HERE, b"d/f", HERE, b"g", 0), 0),
        (("symlinkat", b"d/f", HERE, b"l"), 0),
        (("renameat2", HERE, b"g", HERE, b"h", 0), 0),
        (("renameat2", HERE, b"d", HERE, b"e", 0), 0),
        (("renameat2", HERE, b"e", HERE, b"h", 2), 0),
        (("renameat2", HERE, b"e", HERE, b"h", 2), 0),
        (("fchmodat", HERE, b"e/f", 0o600), 0),
        (("mknodat", HERE, b"fifo", 0o10644, 0), 0),
        (("unlinkat", HERE, b"e/f", 0), 0),
        (("fstat", 0), None),
        (("write", FD(0), b"gone", 4), 4),
        (("open", 1, b"a", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o200), 0),
        (("write", FD(1), b"one", 3), 3),
        (("write", FD(1), b"two", 3), 3),
    ]
    for step, wanted in steps:
        found = run(ours, step)
        assert wanted is None or found == wanted, step
    assert run(ours, ("fstat", 0))["size"] == 4
    run(ours, ("close", 0))
    run(ours, ("close", 1))
    assert (tmp_path / "a").read_bytes() == b"onetwo"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o200
    assert (tmp_path / "h").stat().st_nlink == 1
    assert (tmp_path / "l").readlink() == Path("d/f")
    assert (tmp_path / "fifo").is_fifo()
    assert list((tmp_path / "e").iterdir()) == []
    if OWNER.uid == 0:
        run(ours, ("fchmodat", HERE, b"a", 0o600))
    assert set(tree(ours)) == {b"e", b"h", b"l", b"fifo", b"a"}
    ours.close()


@pytest.mark.root
def test_a_guest_users_files_are_that_users(files: DirectFiles, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    ours = Ours(mount(files, tmp_path), 1234, 567)
    assert run(ours, ("open", 0, b"f", os.O_RDWR | os.O_CREAT, 0o4711)) == 0
    assert run(ours, ("mkdirat", HERE, b"d", 0o700)) == 0
    for name, mode in (("f", 0o4711), ("d", 0o700)):
        found = os.stat(tmp_path / name)
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 567, mode)
    ours.close()


def test_nothing_is_written_when_read_only(files: DirectFiles, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    fs = mount(files, tmp_path, read_only=True)
    ours = Ours(fs)
    for step in (
        ("open", 0, b"f", os.O_RDWR, 0),
        ("open", 0, b"g", os.O_RDWR | os.O_CREAT, 0o644),
        ("mkdirat", HERE, b"d", 0o755),
        ("unlinkat", HERE, b"f", 0),
        ("fchmodat", HERE, b"f", 0o600),
    ):
        assert run(ours, step) == -errno.EROFS, step
    ours.close()
    assert error_of(fs.root().lookup(b"f").open_data, True) == errno.EROFS


@pytest.mark.root
def test_nodes_are_not_opened_on_the_host(files: DirectFiles, tmp_path: Path) -> None:
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(tmp_path / "fifo")
    fs = mount(files, tmp_path)
    ours = Ours(fs)
    # The kernel's own /dev/null, by its number.
    assert run(ours, ("open", 0, b"null", os.O_RDWR, 0)) == 0
    assert run(ours, ("write", FD(0), b"x", 1)) == 1
    # A FIFO is the kernel's own: nobody of the host's is at its other end.
    assert run(ours, ("open", 1, b"fifo", os.O_RDWR, 0)) == 0
    assert run(ours, ("write", FD(1), b"y", 1)) == 1
    host = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(host, 1) == b""
    os.close(host)
    assert run(ours, ("mknodat", HERE, b"sda", 0o60660, os.makedev(8, 0))) == 0
    assert os.stat(tmp_path / "sda").st_rdev == os.makedev(8, 0)
    ours.close()


def test_a_single_file(files: DirectFiles, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    file = mount(files, tmp_path / "f").root()
    file.open_data(True)
    assert file.write_data(b"three", 0) == 5
    # It is the file that was mounted, whatever happens to its name.
    (tmp_path / "f").rename(tmp_path / "g")
    (tmp_path / "f").write_text("another")
    file.open_data(False)
    assert file.read_data(10, 0) == b"three"
    file.setattr(SetAttr(mode=0o600))
    assert stat.S_IMODE((tmp_path / "g").stat().st_mode) == 0o600
    file.close_data(False)
    file.close_data(True)
    assert file.read_data(10, 0) == b"three"


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR])
def test_a_single_node(files: DirectFiles, tmp_path: Path, kind: int) -> None:
    try:
        os.mknod(tmp_path / "node", kind | 0o640, os.makedev(1, 3) if kind == stat.S_IFCHR else 0)
    except PermissionError:
        pytest.skip("this user can't make devices")
    node = mount(files, tmp_path / "node", read_only=True).root()
    os.rename(tmp_path / "node", tmp_path / "moved")
    os.chmod(tmp_path / "moved", 0o600)
    node.valid_until = 0
    assert node.stat().mode == kind | 0o600
    assert node.fs.statfs().type == mount(files, tmp_path).statfs().type


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write any file")
def test_a_single_file_that_may_not_be_written(files: DirectFiles, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    (tmp_path / "f").chmod(0o400)
    file = mount(files, tmp_path / "f").root()
    assert error_of(file.open_data, True) == errno.EACCES


def test_extended_attributes(files: DirectFiles, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    root = mount(files, tmp_path).root()
    file = root.lookup(b"f")
    assert error_of(file.getxattr, b"user.x") == errno.ENODATA
    assert error_of(file.getxattr, b"system.posix_acl_access") == errno.EOPNOTSUPP
    file.setxattr(b"user.x", b"1", 0)
    assert os.getxattr(tmp_path / "f", "user.x") == b"1"
    assert (file.getxattr(b"user.x"), file.listxattr()) == (b"1", [b"user.x"])
    assert error_of(file.setxattr, b"user.x", b"2", os.XATTR_CREATE) == errno.EEXIST
    file.removexattr(b"user.x")
    assert error_of(file.removexattr, b"user.x") == errno.ENODATA
    assert os.listxattr(tmp_path / "f") == []


@pytest.mark.root
def test_mounts_of_the_host_below_the_root_are_other_devices(files: DirectFiles) -> None:
    fs = mount_direct(files, b"/")
    fs.dev = 30
    shm = fs.root().lookup(b"dev").lookup(b"shm")
    assert shm.stat().dev not in (0, 30)
    assert shm.stat().dev == shm.device_number()
    assert fs.root().lookup(b"etc").stat().dev == 30


def test_statfs(files: DirectFiles, tmp_path: Path) -> None:
    found = mount(files, tmp_path).statfs()
    host = os.statvfs(tmp_path)
    assert (found.bsize, found.blocks, found.files, found.namelen) == (
        host.f_bsize, host.f_blocks, host.f_files, host.f_namemax,
    )  # fmt: skip
    assert mount(files, Path("/proc")).statfs().type == 0x9FA0
