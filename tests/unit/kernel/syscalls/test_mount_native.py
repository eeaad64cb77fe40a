"""mount(2) and its relatives against the host's, in a mount namespace of its own."""

from __future__ import annotations

import random
from errno import EBUSY, EINVAL, ENODEV, EPERM, EROFS, EXDEV
from typing import TYPE_CHECKING, Any

import pytest
from twin import Fd, Out, Twin

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

CWD = -100
O_RDWR, O_CREAT = 2, 0o100
MS_RDONLY, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC = 1, 8, 32, 4096, 8192, 16384
MS_PRIVATE, MS_SLAVE = 1 << 18, 1 << 19
MNT_DETACH = 2


@pytest.fixture
def twin() -> Iterator[Twin]:
    found = Twin(mounts=True)
    for name in (b"/a", b"/b", b"/c", b"/a/sub", b"/b/sub"):
        found.both("mkdir", name, 0o755)
    for name in (b"/file", b"/a/file", b"/a/sub/deep", b"/b/other"):
        found.both("close", found.fd(CWD, name, O_RDWR | O_CREAT, 0o644))
    yield found
    found.close()


def test_new_mounts_hide_and_reveal(twin: Twin) -> None:
    assert twin.both("mount", b"none", b"/a", b"nosuchfs", 0, 0).result == -ENODEV
    assert twin.both("mount", b"none", b"/a", 0, 0, 0).result == -EINVAL
    twin.both("mount", b"none", b"/file", b"tmpfs", 0, 0)
    twin.both("mount", b"none", b"/nothing", b"tmpfs", 0, 0)
    twin.both("mount", b"none", b"/a", b"tmpfs", 0, b"nonsense")
    twin.both("mount", b"none", b"/a", b"tmpfs", 0, b"size=x")
    assert twin.both("mount", b"none", b"/a", b"tmpfs", 0, b"size=64k,mode=700").result == 0
    twin.both("access", b"/a/file", 0)
    fd = twin.fd(CWD, b"/a/new", O_RDWR | O_CREAT, 0o644)
    twin.both("write", fd, bytes(200000), 200000)
    twin.both("write", fd, b"x", 1)
    assert twin.both("umount2", b"/a", 0).result == -EBUSY
    twin.both("close", fd)
    assert twin.both("rename", b"/a/new", b"/b/new").result == -EXDEV
    assert twin.both("link", b"/a/new", b"/b/new").result == -EXDEV
    assert twin.both("rmdir", b"/a").result == -EBUSY
    assert twin.both("rename", b"/a", b"/d").result == -EBUSY
    assert twin.both("rename", b"/b", b"/a").result == -EBUSY
    twin.both("umount2", b"/a/new", 0)
    twin.both("umount2", b"/b", 0)
    twin.both("umount2", b"/nothing", 0)
    twin.both("umount2", b"/a", 16)
    assert twin.both("umount2", b"/a", 0).result == 0
    assert twin.both("access", b"/a/file", 0).result == 0


def test_read_only(twin: Twin) -> None:
    twin.both("mount", b"none", b"/a", b"tmpfs", 0, 0)
    fd = twin.fd(CWD, b"/a/f", O_RDWR | O_CREAT, 0o666)
    assert twin.both("mount", 0, b"/a", 0, MS_REMOUNT | MS_RDONLY, 0).result == -EBUSY
    twin.both("close", fd)
    assert twin.both("mount", 0, b"/a", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0).result == 0
    changes: tuple[tuple[Any, ...], ...] = (
        ("mkdir", b"/a/d", 0o755),
        ("mkdir", b"/a/f", 0o755),
        ("rmdir", b"/a/d"),
        ("unlink", b"/a/f"),
        ("unlink", b"/a/no"),
        ("rename", b"/a/f", b"/a/g"),
        ("link", b"/a/f", b"/a/g"),
        ("symlink", b"x", b"/a/g"),
        ("mknod", b"/a/g", 0o10644, 0),
        ("chmod", b"/a/f", 0o600),
        ("chown", b"/a/f", 1, 1),
        ("truncate", b"/a/f", 0),
        ("utime", b"/a/f", 0),
        ("setxattr", b"/a/f", b"user.x", b"v", 1, 0),
        ("removexattr", b"/a/f", b"user.x"),
        ("access", b"/a/f", 2),
        ("access", b"/a/f", 4),
        ("openat", CWD, b"/a/f", O_RDWR, 0),
        ("openat", CWD, b"/a/f", 0o1000, 0),
        ("openat", CWD, b"/a/new", O_RDWR | O_CREAT, 0o644),
        ("openat", CWD, b"/a", 0o20200002, 0o644),
    )
    for change in changes:
        assert twin.both(*change).result in (-EROFS, -17, 0), change
    assert isinstance(twin.open(CWD, b"/a/f", O_CREAT, 0o644), Fd)
    assert twin.both("mount", 0, b"/a", 0, MS_REMOUNT | MS_BIND, 0).result == 0
    assert twin.both("unlink", b"/a/f").result == 0


def test_bind_mounts(twin: Twin) -> None:
    twin.both("mount", 0, b"/b", 0, MS_BIND, 0)
    twin.both("mount", b"", b"/b", 0, MS_BIND, 0)
    twin.both("mount", b"/nothing", b"/b", 0, MS_BIND, 0)
    twin.both("mount", b"/file", b"/b", 0, MS_BIND, 0)
    twin.both("mount", b"/a", b"/file", 0, MS_BIND, 0)
    assert twin.both("mount", b"/a", b"/b", 0, MS_BIND, 0).result == 0
    assert twin.both("access", b"/b/file", 0).result == 0
    twin.both("close", twin.fd(CWD, b"/b/new", O_RDWR | O_CREAT, 0o644))
    assert twin.both("access", b"/a/new", 0).result == 0
    assert twin.both("rename", b"/a/new", b"/b/newer").result == -EXDEV
    assert twin.both("mount", b"/a/file", b"/file", 0, MS_BIND, 0).result == 0
    assert twin.both("unlink", b"/file").result == -EBUSY
    twin.both("umount2", b"/file", 0)
    # What is mounted below comes along only with MS_REC.
    twin.both("mount", b"none", b"/a/sub", b"tmpfs", 0, 0)
    twin.both("mkdir", b"/a/sub/inner", 0o755)
    twin.both("access", b"/b/sub/inner", 0)
    twin.both("mount", b"/a", b"/c", 0, MS_BIND | MS_REC, 0)
    assert twin.both("access", b"/c/sub/inner", 0).result == 0
    assert twin.both("umount2", b"/c", 0).result == -EBUSY
    twin.both("umount2", b"/c", MNT_DETACH)
    twin.both("umount2", b"/b", 0)
    twin.both("access", b"/b/other", 0)
    # Into itself.
    assert twin.both("mount", b"/", b"/c", 0, MS_BIND | MS_REC, 0).result == 0
    twin.both("access", b"/c/a/sub/inner", 0)
    twin.both("access", b"/c/c/a", 0)
    twin.both("umount2", b"/c", MNT_DETACH)


def test_moves(twin: Twin) -> None:
    twin.both("mount", b"none", b"/a", b"tmpfs", 0, 0)
    twin.both("mkdir", b"/a/x", 0o755)
    twin.both("mount", b"none", b"/a/x", b"tmpfs", 0, 0)
    twin.both("mount", b"/b", b"/c", 0, MS_MOVE, 0)
    twin.both("mount", b"/a", b"/a/x", 0, MS_MOVE, 0)
    twin.both("mount", b"/a", b"/file", 0, MS_MOVE, 0)
    assert twin.both("mount", b"/a", b"/c", 0, MS_MOVE, 0).result == 0
    assert twin.both("access", b"/c/x", 0).result == 0
    assert twin.both("access", b"/a/file", 0).result == 0
    twin.both("chdir", b"/c/x")
    twin.both("getcwd", Out(50), 50)
    assert twin.both("umount2", b"/c/x", 0).result == -EBUSY
    twin.both("umount2", b"/c/x", MNT_DETACH)
    twin.both("chdir", b"/")
    twin.both("umount2", b"/c", 0)


def test_propagation_and_flags(twin: Twin) -> None:
    twin.both("mount", b"none", b"/a", b"tmpfs", 0, 0)
    twin.both("mount", 0, b"/a", 0, MS_PRIVATE, 0)
    twin.both("mount", 0, b"/a", 0, MS_PRIVATE | MS_REC, 0)
    twin.both("mount", 0, b"/a", 0, MS_PRIVATE | MS_SLAVE, 0)
    twin.both("mount", 0, b"/a", 0, MS_PRIVATE | MS_RDONLY, 0)
    twin.both("mount", 0, b"/b", 0, MS_PRIVATE, 0)
    twin.both("mount", 0, b"/b", 0, MS_REMOUNT, 0)
    twin.both("mount", 0, b"/b", 0, MS_REMOUNT | MS_BIND, 0)
    twin.both("mount", b"none", b"/b", b"tmpfs", MS_NOEXEC, b"mode=755")
    twin.both("close", twin.fd(CWD, b"/b/run", O_RDWR | O_CREAT, 0o755))
    twin.both("access", b"/b/run", 1)
    twin.both("mknod", b"/b/null", 0o20666, 0x103)
    assert isinstance(twin.open(CWD, b"/b/null", O_RDWR, 0), Fd)
    twin.both("mount", 0, b"/b", 0, MS_REMOUNT | MS_BIND | 4, 0)  # MS_NODEV
    twin.open(CWD, b"/b/null", O_RDWR, 0)


def test_an_unprivileged_user_may_not(twin: Twin) -> None:
    twin.both("mount", b"none", b"/a", b"tmpfs", 0, 0)
    twin.user(1000, 1000)
    assert twin.both("mount", b"none", b"/b", b"tmpfs", 0, 0).result == -EPERM
    assert twin.both("umount2", b"/a", 0).result == -EPERM
    assert twin.both("umount2", b"/b", 0).result == -EPERM
    twin.both("mount", b"none", b"/nothing", b"tmpfs", 0, 0)
    assert twin.both("chroot", b"/a").result == -EPERM
    assert twin.both("pivot_root", b"/a", b"/a").result == -EPERM


def test_pivot_root(twin: Twin) -> None:
    assert twin.both("pivot_root", b"/a", b"/a/sub").result == -EBUSY
    twin.both("mount", b"none", b"/a", b"tmpfs", 0, 0)
    twin.both("mkdir", b"/a/old", 0o755)
    twin.both("mkdir", b"/a/dir", 0o755)
    twin.both("pivot_root", b"/a", b"/b")
    twin.both("pivot_root", b"/a", b"/nothing")
    twin.both("pivot_root", b"/file", b"/a/old")
    assert twin.both("pivot_root", b"/a", b"/a/old").result == 0
    assert twin.both("access", b"/dir", 0).result == 0
    assert twin.both("access", b"/old/b/other", 0).result == 0
    twin.both("getcwd", Out(50), 50)
    twin.both("chdir", b"/")
    assert twin.both("umount2", b"/old", MNT_DETACH).result == 0
    assert twin.both("rmdir", b"/old").result == 0


def test_pivot_root_onto_itself(twin: Twin) -> None:
    """As container runtimes do: the old root is stacked on the new one, and then taken off."""
    twin.both("mount", b"none", b"/a", b"tmpfs", 0, 0)
    twin.both("mkdir", b"/a/dir", 0o755)
    twin.both("chdir", b"/a")
    assert twin.both("pivot_root", b".", b".").result == 0
    assert twin.both("umount2", b".", MNT_DETACH).result == 0
    twin.both("chdir", b"/")
    assert twin.both("access", b"/dir", 0).result == 0
    assert twin.both("access", b"/b", 0).result == -2


def test_chroot(twin: Twin) -> None:
    fd = twin.fd(CWD, b"/", 0o200000, 0)
    twin.both("chroot", b"/file")
    twin.both("chroot", b"/nothing")
    assert twin.both("chroot", b"/a").result == 0
    twin.both("chdir", b"/..")
    twin.both("getcwd", Out(50), 50)
    assert twin.both("access", b"/../file", 0).result == 0
    assert twin.both("access", b"/../b", 0).result == -2
    # The known way out stays open, as in Linux.
    assert twin.both("fchdir", fd).result == 0
    assert twin.ourselves("getcwd", Out(50), 50).buffers[0].startswith(b"(unreachable)/\0")
    assert twin.both("access", b"b", 0).result == 0


PLACES = (
    b"/a",
    b"/b",
    b"/c",
    b"/a/sub",
    b"/b/sub",
    b"/c/sub",
    b"/a/sub/x",
    b"/file",
    b"/a/file",
    b"/b/d",
    b"/a/d",
)


def _random_call(rng: random.Random) -> tuple[str, tuple[Any, ...]]:
    one, other = rng.choice(PLACES), rng.choice(PLACES)
    kind = rng.randrange(14)
    if kind < 2:
        return "mount", (b"none", one, b"tmpfs", 0, b"mode=755")
    if kind < 4:
        return "mount", (one, other, 0, MS_BIND | rng.choice((0, MS_REC)), 0)
    if kind < 5:
        return "mount", (one, other, 0, MS_MOVE, 0)
    if kind < 6:
        return "mount", (0, one, 0, MS_REMOUNT | MS_BIND | rng.choice((0, 0, MS_RDONLY)), 0)
    if kind < 9:
        return "umount2", (one, rng.choice((0, 0, MNT_DETACH)))
    if kind < 10:
        return "mkdir", (one, 0o755)
    if kind < 11:
        return "rename", (one, other)
    if kind < 12:
        return "rmdir", (one,)
    if kind < 13:
        return "chdir", (rng.choice((*PLACES, b"/", b"..")),)
    return "getcwd", (Out(60), 60)


@pytest.mark.parametrize("seed", range(10))
def test_random_mounts(twin: Twin, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(250):
        name, args = _random_call(rng)
        twin.both(name, *args)
        twin.both("access", rng.choice(PLACES), rng.choice((0, 2)))
