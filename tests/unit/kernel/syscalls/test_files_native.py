"""The file system calls against the host's, on tmpfs: the same calls, the same answers."""

from __future__ import annotations

import random
import struct
from errno import EBADF
from typing import TYPE_CHECKING, Any

import pytest
from twin import Fd, Out, Twin

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

CWD = -100
O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND = 1, 2, 0o100, 0o200, 0o1000, 0o2000
O_NONBLOCK, O_DIRECTORY, O_NOFOLLOW, O_PATH = 0o4000, 0o200000, 0o400000, 0o10000000
O_TMPFILE = 0o20200000

_STAT = struct.Struct("<QQQIII4xQqqqqqqqqq24x")


@pytest.fixture
def twin() -> Iterator[Twin]:
    found = Twin()
    yield found
    found.close()


def meaning(raw: bytes) -> dict[str, Any]:
    """What must agree of a struct stat: not times and numbers, and of the device only what kind it is."""
    dev, _ino, nlink, mode, uid, gid, rdev, size, blksize, blocks, *_times = _STAT.unpack(raw[:144])
    return {
        "nlink": nlink,
        "mode": oct(mode),
        "uid": uid,
        "gid": gid,
        "rdev": rdev,
        "size": size,
        "blksize": blksize,
        "blocks": blocks,
        "dev": dev != 0,
    }


def same_stat(twin: Twin, path: bytes) -> None:
    args = (CWD, path, Out(144), 0x100)
    native, ours = twin.natively("newfstatat", *args), twin.ourselves("newfstatat", *args)
    assert native.result == ours.result, (path, native, ours, twin.log[-8:])
    if not native.result:
        assert meaning(native.buffers[0]) == meaning(ours.buffers[0]), (path, twin.log[-8:])


def populate(twin: Twin) -> None:
    """A small tree with one of everything."""
    for name in (b"/dir", b"/dir/sub", b"/empty", b"/sticky"):
        twin.both("mkdir", name, 0o755)
    twin.both("chmod", b"/sticky", 0o1777)
    for name, size in (
        (b"/file", 10),
        (b"/dir/file", 5000),
        (b"/sticky/file", 3),
        (b"/secret", 4),
        (b"/run", 4),
    ):
        fd = twin.fd(CWD, name, O_RDWR | O_CREAT, 0o644)
        twin.both("write", fd, b"0123456789" * (size // 10 + 1), size)
        twin.both("close", fd)
    twin.both("chmod", b"/secret", 0o600)
    twin.both("chmod", b"/run", 0o4755)
    for target, name in (
        (b"file", b"/link"),
        (b"nowhere", b"/dangling"),
        (b"dir", b"/dirlink"),
        (b"loop", b"/loop"),
        (b"/", b"/rootlink"),
        (b"dir/sub/../file", b"/updown"),
        (b"new", b"/tonew"),
        (b"dir/", b"/slashed"),
        (b"file/", b"/fileslash"),
    ):
        twin.both("symlink", target, name)
    twin.both("mknod", b"/fifo", 0o10644, 0)
    twin.both("mknod", b"/sock", 0o140644, 0)


PATHS = (
    b"",
    b"/",
    b".",
    b"..",
    b"file",
    b"file/",
    b"file/.",
    b"file/..",
    b"file/x",
    b"dir",
    b"dir/",
    b"dir/.",
    b"dir/..",
    b"dir/sub",
    b"dir//sub///",
    b"dir/file",
    b"link",
    b"link/",
    b"dirlink",
    b"dirlink/",
    b"dirlink/sub",
    b"dangling",
    b"dangling/",
    b"loop",
    b"loop/x",
    b"rootlink/dir",
    b"updown",
    b"tonew",
    b"slashed",
    b"fileslash",
    b"nothing",
    b"nothing/",
    b"nothing/x",
    b"empty",
    b"empty/",
    b"empty/new",
    b"fifo",
    b"fifo/",
    b"sock",
    b"secret",
    b"sticky",
    b"sticky/file",
    b"x" * 255,
    b"x" * 256,
    b"dir/" + b"y" * 256,
    b"run",
    b"/../../file",
    b"./dir/../file",
    b"dir/sub/../../link",
)


@pytest.mark.parametrize("user", [0, 1000])
def test_open_flags(twin: Twin, user: int) -> None:
    """open(2): every path with many combinations of flags."""
    populate(twin)
    if user:
        twin.user(user, user)
    choices = (
        0,
        O_WRONLY,
        O_RDWR,
        3,
        O_DIRECTORY,
        O_NOFOLLOW,
        O_DIRECTORY | O_NOFOLLOW,
        O_PATH,
        O_PATH | O_NOFOLLOW,
        O_PATH | O_DIRECTORY,
        O_RDWR | O_TRUNC,
        O_TRUNC,
        O_CREAT | O_EXCL,
        O_CREAT | O_EXCL | O_WRONLY,
        O_CREAT | O_DIRECTORY,
        O_CREAT | O_NOFOLLOW,
        O_TMPFILE,
        O_TMPFILE | O_RDWR,
        O_TMPFILE | O_RDWR | O_EXCL,
        0o20000000 | O_RDWR,
        O_APPEND | O_WRONLY,
        0o1000000,
        O_CREAT | O_TRUNC | O_RDWR,
    )
    for path in PATHS:
        for flags in choices:
            if flags & O_CREAT and path in (b"nothing", b"dangling", b"tonew", b"empty/new", b"x" * 255):
                continue  # those that would make it are below
            fd = twin.open(CWD, path, flags | O_NONBLOCK if not flags & O_PATH else flags, 0o640)
            if isinstance(fd, Fd):
                twin.both("fcntl", fd, 3, 0)
                twin.both("close", fd)
    for path in (b"nothing", b"dangling", b"tonew", b"empty/new", b"x" * 255):
        for flags in (O_CREAT, O_CREAT | O_EXCL, O_CREAT | O_WRONLY | O_TRUNC, O_CREAT | O_NOFOLLOW | O_EXCL):
            fd = twin.open(CWD, path, flags, 0o7777)
            if isinstance(fd, Fd):
                twin.both("close", fd)
            same_stat(twin, path)
            same_stat(twin, b"nowhere")
            for made in (path, b"nowhere", b"new"):
                twin.both("unlink", made)


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize(
    "name",
    [
        "stat",
        "lstat",
        "access",
        "chdir",
        "rmdir",
        "unlink",
        "readlink",
        "truncate",
        "mkdir",
        "chmod",
        "utime",
    ],
)
def test_one_path(twin: Twin, name: str, user: int) -> None:
    """Calls of one path, on every path."""
    populate(twin)
    if user:
        twin.user(user, user)
    for path in PATHS:
        if name in ("stat", "lstat"):
            native, ours = twin.natively(name, path, Out(144)), twin.ourselves(name, path, Out(144))
            assert native.result == ours.result, (path, native, ours)
            if not native.result:
                assert meaning(native.buffers[0]) == meaning(ours.buffers[0]), path
            continue
        if name == "access":
            for mode in (0, 1, 2, 4, 6, 7, 8):
                twin.both(name, path, mode)
                twin.both("faccessat2", CWD, path, mode, 0x100)
        elif name == "readlink":
            for size in (-1, 0, 1, 5, 100):
                twin.both(name, path, Out(100), size)
        elif name == "truncate":
            for size in (-1, 0, 7, 100000):
                twin.both(name, path, size)
        elif name == "mkdir":
            twin.both(name, path, 0o3777)
        elif name == "chmod":
            twin.both(name, path, 0o6751)
        elif name == "utime":
            twin.both(name, path, 0)
            twin.both(name, path, struct.pack("<qq", 5, 7))
        else:
            twin.both(name, path)
            if name == "chdir":
                twin.both("getcwd", Out(100), 100)
                twin.both("chdir", b"/")
    for path in PATHS:
        same_stat(twin, path)


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("name", ["rename", "link", "symlink", "noreplace", "exchange"])
def test_two_paths(twin: Twin, name: str, user: int) -> None:
    """Calls of two paths, on every pair; what a call did is undone by the next pairs as it comes."""
    populate(twin)
    twin.both("chmod", b"/", 0o777)
    twin.both("chmod", b"/dir", 0o777)
    if name == "link":
        # Hosts mostly have fs.protected_hardlinks set, which concerns files of others; here it is off.
        for path in PATHS:
            twin.both("lchown", path, user, user)
    if user:
        twin.user(user, user)
    few = [path for path in PATHS if len(path) < 20]
    for old in few:
        for new in few:
            if name == "rename":
                twin.both("rename", old, new)
            elif name in ("noreplace", "exchange"):
                twin.both("renameat2", CWD, old, CWD, new, 1 if name == "noreplace" else 2)
            else:
                twin.both(name, old, new)
    for path in PATHS:
        same_stat(twin, path)


NAMES = (
    b"a",
    b"b",
    b"c",
    b"d",
    b"a/b",
    b"a/c",
    b"b/a",
    b"c/d/e",
    b"d/a",
    b"a/b/c",
    b"./a",
    b"a/../b",
    b"d/",
    b"a/.",
)


def _random_call(rng: random.Random, fds: list[Fd]) -> tuple[str, tuple[Any, ...]]:
    """One call on a small set of names."""
    name = rng.choice(NAMES)
    other = rng.choice(NAMES)
    kind = rng.randrange(20)
    if kind < 4:
        flags = rng.choice(
            (
                0,
                1,
                2,
                O_CREAT | 2,
                O_CREAT | O_EXCL | 2,
                O_CREAT | O_TRUNC | 1,
                O_DIRECTORY,
                O_PATH,
                O_NOFOLLOW,
            )
        )
        return "openat", (CWD, name, flags, rng.choice((0o644, 0o600, 0o777)))
    if kind < 6:
        return "mkdir", (name, rng.choice((0o755, 0o700, 0o1777)))
    if kind < 7:
        return "rmdir", (name,)
    if kind < 8:
        return "unlink", (name,)
    if kind < 11:
        return "renameat2", (CWD, name, CWD, other, rng.choice((0, 0, 0, 1, 2, 4, 3)))
    if kind < 12:
        return "link", (name, other)
    if kind < 13:
        return "symlink", (other, name)
    if kind < 14:
        return "chmod", (name, rng.choice((0o755, 0o000, 0o1777, 0o4755)))
    if kind < 15:
        return "truncate", (name, rng.choice((0, 1, 4096, 100000)))
    if kind < 16:
        return "chdir", (rng.choice((b"/", b"a", b"..", b"b", b"a/b")),)
    if not fds:
        return "getcwd", (Out(64), 64)
    fd = rng.choice(fds)
    if kind < 17:
        size = rng.choice((0, 1, 100, 5000))
        return "write", (fd, b"z" * size, size)
    if kind < 18:
        return "read", (fd, Out(6000), rng.choice((0, 1, 100, 6000)))
    if kind < 19:
        return "lseek", (fd, rng.choice((-5, 0, 3, 100, 5000)), rng.randrange(6))
    return rng.choice((("ftruncate", (fd, rng.choice((0, 10, 9000)))), ("getcwd", (Out(64), 64))))


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("seed", range(12))
def test_random_calls(twin: Twin, seed: int, user: int) -> None:
    """Long random sequences on few names, so that most calls meet what others left."""
    rng = random.Random(seed)
    if user:
        twin.user(user, user)
    fds: list[Fd] = []
    for _ in range(600):
        name, args = _random_call(rng, fds)
        if name == "openat":
            fd = twin.open(*args)
            if isinstance(fd, Fd):
                fds.append(fd)
                if len(fds) > 8:
                    twin.both("close", fds.pop(rng.randrange(len(fds))))
        else:
            twin.both(name, *args)
        if rng.randrange(4) == 0:
            same_stat(twin, rng.choice(NAMES))
    twin.both("chdir", b"/")
    for path in NAMES:
        same_stat(twin, path)


def test_reading_and_writing(twin: Twin) -> None:
    """Offsets, sizes and modes of the calls that move data."""
    rw = twin.fd(CWD, b"f", O_RDWR | O_CREAT, 0o644)
    append = twin.fd(CWD, b"f", O_RDWR | O_APPEND, 0)
    ro = twin.fd(CWD, b"f", 0, 0)
    wo = twin.fd(CWD, b"f", O_WRONLY, 0)
    path = twin.fd(CWD, b"f", O_PATH, 0)
    directory = twin.fd(CWD, b"/", O_DIRECTORY, 0)
    for fd in (rw, append, ro, wo, path, directory, 99, -1):
        for size in (0, 5, 4096):
            twin.both("write", fd, b"w" * 4096, size)
            twin.both("pwrite64", fd, b"p" * 4096, size, 3)
            twin.both("pwrite64", fd, b"p", 1, -1)
            twin.both("read", fd, Out(5000), size)
            twin.both("pread64", fd, Out(5000), size, 2)
            twin.both("pread64", fd, Out(8), 1, -1)
            twin.both("lseek", fd, size, 0)
            twin.both("lseek", fd, 0, 1)
            twin.both("lseek", fd, -1, 2)
        twin.both("lseek", fd, 0, 5)
        twin.both("ftruncate", fd, 100)
        twin.both("ftruncate", fd, -1)
        twin.both("fsync", fd)
        twin.both("fallocate", fd, 0, 0, 100)
        twin.both("fallocate", fd, 3, 0, 4096)
        twin.both("fallocate", fd, 2, 0, 4096)
        twin.both("fallocate", fd, 0, -1, 4096)
        twin.both("fallocate", fd, 0x40, 0, 4096)
        twin.both("readahead", fd, 0, 10)
        twin.both("fadvise64", fd, 0, 0, 4)
        twin.both("fadvise64", fd, 0, 0, 9)
        twin.both("fchmod", fd, 0o640)
        twin.both("fchown", fd, 0, 0)
        twin.both("flock", fd, 1 | 4)
        twin.both("flock", fd, 8)
        twin.both("ioctl", fd, 0x541B, Out(4))
        twin.both("fcntl", fd, 1, 0)
        twin.both("fcntl", fd, 3, 0)
        twin.both("fcntl", fd, 1034, 0)
        twin.both("fcntl", fd, 1032, 0)
        twin.both("fcntl", fd, 1025, 0)
        twin.both("fcntl", fd, 9999, 0)
    twin.both("lseek", rw, 0, 3)
    twin.both("lseek", rw, 1 << 40, 3)
    twin.both("lseek", rw, (1 << 63) - 1, 0)
    twin.both("write", rw, b"x", 1)
    twin.both("lseek", rw, 0, 0)
    for bad in (8, -4096):
        for size in (0, 1):
            twin.both("read", rw, bad, size)
            twin.both("write", rw, bad, size)
            twin.both("pread64", rw, bad, size, 0)
    for size in (-1, 1 << 62, 1 << 47):
        twin.both("read", ro, Out(8), size)
        twin.both("write", wo, b"x", size)


def test_vectors(twin: Twin) -> None:
    """Bad counts and addresses, and RWF flags."""
    rw = twin.fd(CWD, b"f", O_RDWR | O_CREAT, 0o644)
    twin.both("write", rw, b"0123456789", 10)
    for name in ("readv", "writev"):
        twin.both(name, rw, 0, 0)
        twin.both(name, rw, 0, 1)
        twin.both(name, rw, 8, 1)
        twin.both(name, rw, bytes(16), 1025)
        twin.both(name, rw, bytes(16), -1)
        twin.both(name, rw, bytes(16), 1)
        twin.both(name, rw, struct.pack("<QQ", 0, 1 << 63), 1)
        twin.both(name, rw, struct.pack("<QQ", 8, 10), 1)
        twin.both(name, rw, struct.pack("<QQ", (1 << 64) - 4096, 10), 1)
        twin.both(name, 99, 0, 0)
    for name in ("preadv", "pwritev"):
        twin.both(name, rw, bytes(16), 1, -1, 0)
        twin.both(name, rw, bytes(16), 1, 5, 0)
    for name in ("preadv2", "pwritev2"):
        for flags in (0, 1, 2, 4, 16, 32, 48, 64, 128, 1 << 20):
            for offset in (0, -1, -2):
                twin.both(name, rw, bytes(16), 1, offset, 0, flags)


def test_descriptors(twin: Twin) -> None:
    """dup, close, close_range, F_DUPFD."""
    fd = twin.fd(CWD, b"f", O_RDWR | O_CREAT, 0o644)
    twin.both("close", 99)
    twin.both("close", -1)
    twin.both("dup2", 99, 50)
    twin.both("dup2", 99, 99)
    twin.both("dup2", fd, -1)
    twin.both("dup2", fd, 1 << 30)
    twin.both("dup2", fd, 60)
    twin.both("dup3", fd, 61, 0o2000000)
    twin.both("dup3", fd, 61, 1)
    twin.both("dup3", 60, 60, 0)
    twin.both("fcntl", 61, 1, 0)
    twin.both("fcntl", 60, 1, 0)
    twin.both("fcntl", fd, 0, 1 << 30)
    twin.both("fcntl", fd, 0, -1)
    twin.both("fcntl", fd, 0, 70)
    twin.both("fcntl", fd, 1030, 70)
    twin.both("fcntl", 71, 1, 0)
    twin.both("close_range", 5, 4, 0)
    twin.both("close_range", 60, 70, 8)
    twin.both("close_range", 60, 61, 4)
    twin.both("fcntl", 60, 1, 0)
    twin.both("close_range", 60, 0xFFFFFFFF, 0)
    twin.both("fcntl", 60, 1, 0)
    assert twin.both("fcntl", 70, 1, 0).result == -EBADF


def test_directories(twin: Twin) -> None:
    """getdents: records, small buffers, rewinding, a removed directory."""
    twin.both("mkdir", b"d", 0o755)
    fd = twin.fd(CWD, b"d", O_DIRECTORY, 0)
    twin.both("getdents64", fd, Out(10), 10)
    twin.both("getdents64", fd, Out(24), 24, data=False)
    for number in range(20):
        twin.both("mkdir", b"d/%d" % number, 0o755)
    assert names(twin, fd) == {b".", b".."} | {b"%d" % number for number in range(20)}
    file = twin.fd(CWD, b"f", O_RDWR | O_CREAT, 0o644)
    twin.both("getdents64", file, Out(100), 100)
    twin.both("getdents", file, Out(100), 100)
    path = twin.fd(CWD, b"d", O_PATH, 0)
    twin.both("getdents64", path, Out(100), 100)
    twin.both("fchdir", path)
    twin.both("fchdir", file)
    for number in range(20):
        twin.both("rmdir", b"%d" % number)
    twin.both("rmdir", b"../d")
    twin.both("lseek", fd, 0, 0)
    twin.both("getdents64", fd, Out(100), 100)
    twin.both("getcwd", Out(100), 100)
    twin.both("mkdir", b"new", 0o755)
    twin.both("openat", CWD, b"new", O_CREAT, 0o644)
    twin.both("symlink", b"x", b"new")
    twin.both("chdir", b".")
    twin.both("chdir", b"..")
    twin.both("getcwd", Out(1), 1)
    twin.both("getcwd", Out(100), 2)
    twin.both("getcwd", 8, 100)


def names(twin: Twin, fd: Fd) -> set[bytes]:
    """The names of a directory, the same on both sides."""
    found = []
    for side in (twin.natively, twin.ourselves):
        seen: set[bytes] = set()
        assert side("lseek", fd, 0, 0).result == 0
        while (answer := side("getdents64", fd, Out(200), 200)).result > 0:
            data, at = answer.buffers[0], 0
            while at < answer.result:
                _ino, _off, length, _type = struct.unpack_from("<QqHB", data, at)
                seen.add(data[at + 19 : at + length].split(b"\0")[0])
                at += length
        assert answer.result == 0
        found.append(seen)
    assert found[0] == found[1]
    return found[1]


@pytest.mark.parametrize("user", [0, 1000])
def test_attributes(twin: Twin, user: int) -> None:
    """chmod, chown and times: who may, and what becomes of setuid bits."""
    for name in (b"mine", b"other"):
        fd = twin.fd(CWD, name, O_RDWR | O_CREAT, 0o644)
        twin.both("close", fd)
    twin.both("chown", b"mine", 1000, 1000)
    twin.both("mkdir", b"d", 0o755)
    if user:
        twin.user(user, user)
    for name in (b"mine", b"other", b"d", b"no"):
        for mode in (0o644, 0o6755, 0o2745, 0o4711, 0o1777):
            twin.both("chmod", name, mode)
            same_stat(twin, name)
            for uid, gid in ((-1, -1), (1000, -1), (-1, 1000), (0, 0), (1000, 1000)):
                twin.both("chmod", name, mode)
                twin.both("lchown", name, uid, gid)
                same_stat(twin, name)
        for nsec in (0, 999999999, 1000000000, -1, 0x3FFFFFFF, 0x3FFFFFFE):
            twin.both("utimensat", CWD, name, struct.pack("<qqqq", 1, 5, 2, nsec), 0)
            twin.both("utimensat", CWD, name, struct.pack("<qqqq", 1, nsec, 2, nsec), 0)
        twin.both("utimensat", CWD, name, 0, 0)
        twin.both("utimensat", CWD, name, 0, 0x1000)
        twin.both("utimensat", CWD, name, 0, 1)
        twin.both("utimes", name, struct.pack("<qqqq", 1, 1000000, 2, 0))
        twin.both("utimes", name, struct.pack("<qqqq", 1, 999999, 2, 0))
    twin.both("utimensat", CWD, 0, 0, 0)
    twin.both("utimensat", 99, 0, 0, 0)
    twin.both("utimensat", CWD, b"no", struct.pack("<qqqq", 1, 0x3FFFFFFE, 2, 0x3FFFFFFE), 0)
    # A write by somebody unprivileged clears setuid.
    twin.both("chmod", b"mine", 0o6777)
    wo = twin.fd(CWD, b"mine", O_WRONLY, 0)
    same_stat(twin, b"mine")
    twin.both("write", wo, b"x", 1)
    same_stat(twin, b"mine")
    twin.both("chmod", b"mine", 0o6777)
    twin.both("ftruncate", wo, 10)
    same_stat(twin, b"mine")


def test_file_size_limit(twin: Twin) -> None:
    """RLIMIT_FSIZE: what fits is written, then EFBIG."""
    from runsc.kernel.thread_group import RLIMIT_FSIZE

    fd = twin.fd(CWD, b"f", O_RDWR | O_CREAT, 0o644)
    twin.natively("prlimit64", 0, RLIMIT_FSIZE, struct.pack("<QQ", 100, 100), 0)
    twin.task.group.limits[RLIMIT_FSIZE] = (100, 100)
    twin.both("write", fd, b"x" * 150, 150)
    twin.both("write", fd, b"x" * 150, 150)
    twin.both("pwrite64", fd, b"x" * 150, 150, 99)
    twin.both("pwrite64", fd, b"x" * 150, 150, 100)
    twin.both("ftruncate", fd, 101)
    twin.both("ftruncate", fd, 100)
    twin.both("truncate", b"f", 1 << 40)
    twin.both("fallocate", fd, 0, 0, 200)
    twin.both("fallocate", fd, 1, 0, 200)
    assert twin.both("lseek", fd, 0, 2).result == 100


def test_descriptor_limit(twin: Twin) -> None:
    """With no descriptor free nothing is created."""
    from runsc.kernel.thread_group import RLIMIT_NOFILE

    ours = twin.task.group.limits
    twin.both("dup2", 99, 98)
    ours[RLIMIT_NOFILE] = (2, 2)
    assert isinstance(twin.ourselves("openat", CWD, b"f", O_CREAT, 0o644).result, int)
    twin.ourselves("openat", CWD, b"g", O_CREAT, 0o644)
    assert twin.ourselves("openat", CWD, b"h", O_CREAT, 0o644).result == -24
    assert twin.ourselves("access", b"h", 0).result == -2


def test_unlinked_file_lives_on(twin: Twin) -> None:
    """A file is there as long as it is open; O_TMPFILE ones may get a name."""
    fd = twin.fd(CWD, b"f", O_RDWR | O_CREAT, 0o644)
    twin.both("write", fd, b"hello", 5)
    twin.both("unlink", b"f")
    twin.both("pread64", fd, Out(10), 10, 0)
    twin.both("linkat", fd, b"", CWD, b"g", 0x1000)
    new = twin.fd(CWD, b"f", O_RDWR | O_CREAT | O_EXCL, 0o644)
    twin.both("pread64", new, Out(10), 10, 0)
    for flags in (0, O_EXCL):
        temporary = twin.fd(CWD, b".", O_TMPFILE | O_RDWR | flags, 0o600)
        twin.both("write", temporary, b"hello", 5)
        twin.both("linkat", temporary, b"", CWD, b"named", 0x1000)
        same_stat(twin, b"named")
    twin.both("unlink", b"named")


@pytest.mark.parametrize("user", [0, 1000])
def test_extended_attributes(twin: Twin, user: int) -> None:
    populate(twin)
    twin.both("chmod", b"/file", 0o666)
    if user:
        twin.user(user, user)
    attributes = (
        b"user.a",
        b"user.",
        b"trusted.a",
        b"security.a",
        b"security.capability",
        b"system.a",
        b"nothing",
        b"",
        b"user." + b"n" * 250,
        b"user." + b"n" * 251,
    )
    for path in (b"file", b"dir", b"link", b"fifo", b"dangling", b"nothing", b"secret", b"sticky"):
        for name in attributes:
            if name in (b"security.capability", b"system.a"):
                twin.both("removexattr", path, name)
                continue
            for flags in (2, 1, 1, 0, 3, 4):
                twin.both("setxattr", path, name, b"value", 5, flags)
            twin.both("lgetxattr", path, name, Out(10), 10)
            twin.both("getxattr", path, name, Out(10), 4)
            twin.both("getxattr", path, name, Out(10), 0)
            twin.both("setxattr", path, name, b"v", 65537, 0)
            twin.both("setxattr", path, name, 8, 5, 0)
        twin.both("listxattr", path, Out(10), 1)
        twin.both("llistxattr", path, Out(10), 0)
        for name in attributes:
            twin.both("removexattr", path, name)
            twin.both("lremovexattr", path, name)


def test_memfd_seals(twin: Twin) -> None:
    for flags in (0, 1, 2, 3, 8, 16, 24, 32, 10):
        fd = twin.open(b"name", flags, name="memfd_create")
        if not isinstance(fd, Fd):
            continue
        twin.both("fcntl", fd, 1034, 0)
        twin.both("fcntl", fd, 1, 0)
        twin.both("fcntl", fd, 3, 0)
        twin.both("write", fd, b"x" * 5000, 5000)
        for seal in (0x100, 4, 2, 0x10, 8, 1, 2):
            twin.both("fcntl", fd, 1033, seal)
            twin.both("fcntl", fd, 1034, 0)
            twin.both("pwrite64", fd, b"y" * 10, 10, 4000)
            twin.both("pwrite64", fd, b"y" * 10, 10, 5000)
            twin.both("pwrite64", fd, b"y" * 200, 200, 4900)
            twin.both("ftruncate", fd, 4999)
            twin.both("ftruncate", fd, 5001)
            twin.both("fallocate", fd, 0, 0, 9000)
            twin.both("fallocate", fd, 3, 0, 4096)
            twin.both("fchmod", fd, 0o700)
            twin.both("fchmod", fd, 0o644)
        twin.both("close", fd)
    twin.both("memfd_create", b"n" * 249, 0x1000)
    assert isinstance(twin.open(b"n" * 249, 0, name="memfd_create"), Fd)
    twin.both("memfd_create", b"n" * 250, 0)
    twin.both("memfd_create", 8, 0)


def test_copies(twin: Twin) -> None:
    """sendfile and copy_file_range."""
    a = twin.fd(CWD, b"a", O_RDWR | O_CREAT, 0o644)
    b = twin.fd(CWD, b"b", O_RDWR | O_CREAT, 0o644)
    appending = twin.fd(CWD, b"b", O_RDWR | O_APPEND, 0)
    directory = twin.fd(CWD, b"/", 0, 0)
    twin.both("write", a, b"0123456789" * 1000, 10000)
    twin.both("lseek", a, 0, 0)
    twin.both("sendfile", b, a, 0, 100)
    twin.both("lseek", a, 0, 1)
    twin.both("sendfile", b, a, struct.pack("<q", 5), 100)
    twin.both("sendfile", b, a, struct.pack("<q", -5), 100)
    twin.both("sendfile", b, a, 8, 100)
    twin.both("sendfile", b, a, 0, -1)
    twin.both("sendfile", b, a, 0, 1 << 40)
    twin.both("sendfile", appending, a, 0, 5)
    twin.both("sendfile", b, directory, 0, 5)
    twin.both("sendfile", 99, a, 0, 5)
    twin.both("copy_file_range", a, struct.pack("<q", 0), b, struct.pack("<q", 3), 50, 0)
    twin.both("copy_file_range", a, struct.pack("<q", 0), a, struct.pack("<q", 3), 50, 0)
    twin.both("copy_file_range", a, struct.pack("<q", 0), a, struct.pack("<q", 300), 50, 0)
    twin.both("copy_file_range", a, struct.pack("<q", 99999), b, 0, 50, 0)
    twin.both("copy_file_range", a, struct.pack("<q", -1), b, 0, 50, 0)
    twin.both("copy_file_range", a, 0, directory, 0, 50, 0)
    twin.both("copy_file_range", directory, 0, a, 0, 50, 0)
    twin.both("copy_file_range", a, 0, appending, 0, 50, 0)
    twin.both("copy_file_range", a, 0, b, 0, 50, 1)
    twin.both("copy_file_range", a, 0, 99, 0, 50, 0)
    twin.both("pread64", b, Out(11000), 11000, 0)


def test_range_locks(twin: Twin) -> None:
    """fcntl locks: what F_GETLK tells, bad ranges, and open files' against the process's."""
    fd = twin.fd(CWD, b"f", O_RDWR | O_CREAT, 0o644)
    ro = twin.fd(CWD, b"f", 0, 0)
    twin.both("write", fd, b"x" * 100, 100)
    layout = struct.Struct("<hh4xqqi4x")
    rng = random.Random(7)
    for _ in range(300):
        command = rng.choice((6, 6, 37, 37))
        lock = layout.pack(
            rng.choice((0, 1, 2, 2, 3)),
            rng.choice((0, 0, 1, 2, 5)),
            rng.choice((0, 5, 10, 50, -5, -200, (1 << 63) - 1)),
            rng.choice((0, 1, 5, 10, -3, -100, (1 << 63) - 1)),
            0,
        )
        twin.both("fcntl", rng.choice((fd, ro)), command, lock)
        probe = layout.pack(rng.choice((0, 1)), 0, rng.choice((0, 5, 10, 50)), rng.choice((0, 1, 5, 10)), 0)
        target = rng.choice((fd, ro))
        answers = [side("fcntl", target, 36, Out(32, probe)) for side in (twin.natively, twin.ourselves)]
        assert answers[0].result == answers[1].result
        seen = [layout.unpack(answer.buffers[0])[:4] for answer in answers]
        assert seen[0] == seen[1], twin.log[-10:]
    twin.both("close", ro)
    twin.both("fcntl", fd, 6, 8)
    twin.both("fcntl", fd, 37, layout.pack(1, 0, 0, 0, 5))


def test_statx_and_flags(twin: Twin) -> None:
    populate(twin)
    fd = twin.fd(CWD, b"file", O_RDWR, 0)
    for flags in (0, 0x100, 0x800, 0x1000, 0x2000, 0x4000, 0x6000, 0x10, 0x200):
        for path in (b"file", b"", b"link", b"nothing"):
            for dirfd in (CWD, fd, 99):
                for name in ("newfstatat", "statx"):
                    args = (
                        (dirfd, path, Out(256), flags)
                        if name == "newfstatat"
                        else (dirfd, path, flags, 0xFFF, Out(256))
                    )
                    assert twin.natively(name, *args).result == twin.ourselves(name, *args).result, (
                        name,
                        args,
                    )
    twin.both("statx", CWD, b"file", 0, 0x80000000, Out(256))
    twin.both("newfstatat", fd, 0, Out(144), 0x1000, data=False)
    twin.both("newfstatat", fd, 0, Out(144), 0)
    for path in (b"file", b"dir", b"/"):
        native, ours = (
            twin.natively("statx", CWD, path, 0, 0xFFF, Out(256)),
            twin.ourselves("statx", CWD, path, 0, 0xFFF, Out(256)),
        )
        layout = struct.Struct("<IIQIIIHxxQQQ")
        pick = [list(layout.unpack_from(answer.buffers[0])) for answer in (native, ours)]
        for values in pick:
            del values[7]  # the inode number
            values[2] &= ~0x2000 if path == b"/" else -1  # only our root is a mount
        assert pick[0] == pick[1]
