"""Which of a file's times each call moves, on the host's tmpfs and overlayfs and on ours."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from differential import FD, HERE, Native, Ours, detached_mount, run, run_in, times_of
from hostmount import mount_direct

from runsc.kernel.fs.overlay import Overlay
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc_fs_direct.hostfiles import DirectFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from differential import System

FILES: list[tuple[Any, ...]] = [
    ("mkdirat", HERE, b"d", 0o755),
    ("mkdirat", HERE, b"d/e", 0o755),
    ("open", 0, b"f", os.O_RDWR | os.O_CREAT, 0o644),
    ("write", FD(0), b"content", 7),
    ("open", 0, b"d/g", os.O_RDWR | os.O_CREAT, 0o644),
    ("symlinkat", b"f", HERE, b"l"),
    ("close", 0),
]

STEPS: list[list[tuple[Any, ...]]] = [
    [("open", 0, b"f", os.O_RDONLY, 0), ("read", 0, 3)],
    [("open", 0, b"f", os.O_RDONLY, 0), ("read", 0, 3), ("read", 0, 3)],
    [("open", 0, b"f", os.O_RDWR, 0), ("write", FD(0), b"x", 1)],
    [("open", 0, b"f", os.O_RDWR | os.O_TRUNC, 0)],
    [("open", 0, b"f", os.O_RDWR, 0), ("ftruncate", FD(0), 7)],
    [("open", 0, b"f", os.O_RDWR, 0), ("ftruncate", FD(0), 100)],
    [("truncate", b"f", 100)],
    [("open", 0, b"f", os.O_RDWR, 0), ("fallocate", FD(0), 0, 0, 10000)],
    [("open", 0, b"f", os.O_RDWR, 0), ("fallocate", FD(0), 1, 0, 10000)],
    [("open", 0, b"f", os.O_RDWR, 0), ("fallocate", FD(0), 3, 0, 10000)],
    [("open", 0, b"d/new", os.O_RDWR | os.O_CREAT, 0o644)],
    [("mkdirat", HERE, b"d/new", 0o755)],
    [("symlinkat", b"x", HERE, b"d/new")],
    [("linkat", HERE, b"f", HERE, b"d/new", 0)],
    [("unlinkat", HERE, b"d/g", 0)],
    [("unlinkat", HERE, b"d/e", 0x200)],
    [("renameat2", HERE, b"f", HERE, b"d/new", 0)],
    [("renameat2", HERE, b"f", HERE, b"d/g", 0)],
    [("renameat2", HERE, b"f", HERE, b"d/g", 2)],
    [("renameat2", HERE, b"d/e", HERE, b"e", 0)],
    [("fchmodat", HERE, b"f", 0o600)],
    [("fchownat", HERE, b"f", 5, 6, 0)],
    [("lsetxattr", b"f", b"user.x", b"1", 1, 0)],
    [("lsetxattr", b"f", b"user.x", b"1", 1, 0), ("lremovexattr", b"f", b"user.x")],
    [("readlinkat", HERE, b"l")],
    [("list", b"d")],
    [("stat", b"f")],
]
#: Only for tmpfs: the host's overlay copies up what is opened for writing, which moves ctime.
TMPFS_STEPS: list[list[tuple[Any, ...]]] = [
    [("open", 0, b"f", os.O_RDWR, 0)],
    [("open", 0, b"f", os.O_RDWR, 0), ("write", FD(0), b"", 0)],
]
WATCHED = [b".", b"d", b"d/e", b"e", b"f", b"d/g", b"d/new", b"l"]


def moved(system: System, steps: list[tuple[Any, ...]]) -> dict[bytes, list[str]]:
    """For each file that is there before and after: which of its times the steps moved."""
    names = [name for name in WATCHED if isinstance(run(system, ("stat", name)), dict)]
    before = {name: times_of(system, name) for name in names}
    # The host's clock for files ticks every 1 to 10 ms.
    time.sleep(0.012)
    for step in steps:
        run_in(system, step) if isinstance(system, Native) else run(system, step)
    found = {}
    for name in WATCHED:
        if name not in before or not isinstance(run(system, ("stat", name)), dict):
            continue
        old, new = before[name], times_of(system, name)
        changes = [field for field, a, b in zip(("a", "m", "c"), old[1:], new[1:], strict=True) if a != b]
        found[name] = changes if old[0] == new[0] else ["another file"]
    return found


def calls(steps: list[tuple[Any, ...]]) -> str:
    return "-".join(step[0] for step in steps)


@pytest.fixture
def places() -> Iterator[list[int]]:
    """Descriptors to close after the test."""
    opened: list[int] = []
    yield opened
    for fd in opened:
        os.close(fd)


def host_mount(places: list[int], fstype: str, **options: str) -> int:
    try:
        places.append(detached_mount(fstype, **options))
    except OSError as error:
        pytest.skip(f"no {fstype} can be mounted here: {error}")
    return places[-1]


def prepare(system: System) -> None:
    for step in FILES:
        assert run(system, step) in (0, 7), step


@pytest.mark.root
@pytest.mark.parametrize("steps", STEPS + TMPFS_STEPS, ids=calls)
def test_tmpfs(places: list[int], steps: list[tuple[Any, ...]]) -> None:
    native, ours = Native(host_mount(places, "tmpfs")), Ours(Tmpfs())
    for system in (native, ours):
        prepare(system)
    assert moved(ours, steps) == moved(native, steps)
    native.close()


@pytest.mark.root
@pytest.mark.parametrize("steps", STEPS, ids=calls)
def test_overlay(places: list[int], steps: list[tuple[Any, ...]]) -> None:
    base = host_mount(places, "tmpfs")
    for name in ("lower", "upper", "work"):
        os.mkdir(name, dir_fd=base)
    builder = Native(os.open("lower", os.O_RDONLY, dir_fd=base))
    places.append(builder.dirfd)
    prepare(builder)
    place = f"/proc/self/fd/{base}"
    native = Native(
        host_mount(
            places, "overlay", lowerdir=f"{place}/lower", upperdir=f"{place}/upper", workdir=f"{place}/work",
            redirect_dir="on", index="off", metacopy="off", xino="off",
        )
    )  # fmt: skip
    files = DirectFiles()
    ours = Ours(Overlay(Tmpfs(mode=0o755).root(), [mount_direct(files, f"{place}/lower").root()]))
    try:
        assert moved(ours, steps) == moved(native, steps)
    finally:
        native.close()
        ours.close()
        files.close()
