"""Our overlay beside the host's overlayfs, over the same lower directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from differential import FD, HERE, Native, Ours, detached_mount, run, run_in, tree
from fs_steps import attribute_steps, file_steps, look_steps, name_steps
from hostmount import mount_direct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runsc.kernel.fs.overlay import Overlay
from runsc.kernel.fs.overlay.file import OverlayFile
from runsc.kernel.fs.overlay.inode import OverlayInode
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc_fs_direct.hostfiles import DirectFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What the lower directory holds.
LOWER: list[tuple[Any, ...]] = [
    ("mkdirat", HERE, b"a", 0o755),
    ("mkdirat", HERE, b"a/b", 0o755),
    ("mkdirat", HERE, b"b", 0o2777),
    ("open", 0, b"c", os.O_RDWR | os.O_CREAT, 0o644),
    ("write", FD(0), b"content" * 100, 700),
    ("open", 0, b"a/a", os.O_RDWR | os.O_CREAT, 0o755),
    ("pwrite64", FD(0), b"second", 6, 9000),
    ("open", 0, b"b/a", os.O_RDWR | os.O_CREAT, 0o4755),
    ("write", FD(0), b"x" * 5000, 5000),
    ("fchownat", HERE, b"b/a", 7, 9, 0),
    ("linkat", HERE, b"a/a", HERE, b"b/b", 0),
    ("symlinkat", b"a", HERE, b"b/c"),
    ("mkdirat", HERE, b"a/c", 0o755),
    ("mknodat", HERE, b"a/b/a", 0o10644, 0),
    ("open", 0, b"a/b/b", os.O_RDWR | os.O_CREAT, 0o600),
    ("close", 0),
]


#: What another lower directory above it holds: a whiteout, an opaque directory, and others that merge.
MIDDLE: list[tuple[Any, ...]] = [
    ("mknodat", HERE, b"c", 0o20000, 0),
    ("mkdirat", HERE, b"a", 0o700),
    ("mkdirat", HERE, b"a/c", 0o755),
    ("mkdirat", HERE, b"a/c/a", 0o711),
    ("mkdirat", HERE, b"a/b", 0o755),
    ("lsetxattr", b"a/b", b"trusted.overlay.opaque", b"y", 1, 0),
    ("mkdirat", HERE, b"a/b/b", 0o755),
    ("mknodat", HERE, b"b", 0o100644, 0),
]


class Layers:
    """Lower directories in memory of the host's; overlays over them, the host's and ours."""

    def __init__(self, middle: bool = False) -> None:
        self.base = detached_mount("tmpfs", size="64m")
        for name in (b"upper", b"work"):
            os.mkdir(name, dir_fd=self.base)
        self.place = f"/proc/self/fd/{self.base}"
        self.lowers = ["middle", "lower"] if middle else ["lower"]
        for lower, steps in (("lower", LOWER), ("middle", MIDDLE))[: len(self.lowers)]:
            os.mkdir(lower, dir_fd=self.base)
            builder = Native(os.open(lower, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.base))
            for step in steps:
                assert run_in(builder, step) in (0, 6, 700, 5000, None), step
            os.close(builder.dirfd)
        self.files = DirectFiles()

    def native(self) -> int:
        """A new overlayfs of the host."""
        lowers = ":".join(f"{self.place}/{name}" for name in self.lowers)
        return detached_mount(
            "overlay", lowerdir=lowers, upperdir=f"{self.place}/upper",
            workdir=f"{self.place}/work", redirect_dir="on", index="off", metacopy="off", xino="off",
        )  # fmt: skip

    def ours(self) -> Overlay:
        return self.over(Tmpfs(size=64 << 20, mode=0o755))

    def over(self, upper: Tmpfs) -> Overlay:
        """Our overlay with ``upper``, the lower directories opened anew."""
        places = [f"{self.place}/{name}".encode() for name in self.lowers]
        return Overlay(upper.root(), [mount_direct(self.files, place).root() for place in places])

    def close(self) -> None:
        self.files.close()
        os.close(self.base)


@pytest.fixture
def make_layers() -> Iterator[Any]:
    """Makes ``Layers``, and closes them after the test."""
    made: list[Layers] = []

    def make(middle: bool = False) -> Layers:
        while made:
            made.pop().close()
        try:
            layers = Layers(middle)
            made.append(layers)
            os.close(layers.native())
        except OSError as error:
            pytest.skip(f"no overlay can be mounted here: {error}")
        return layers

    yield make
    while made:
        made.pop().close()


def without(about: dict[bytes, Any], *fields: str) -> dict[bytes, Any]:
    """A tree without attributes that are the layers' own affair: the blocks of a copied file; the size of a
    directory, which counts whiteouts; its links, which tell
    whether it was copied up (a call that fails may do that)."""
    kept = {}
    for path, attributes in about.items():
        hidden = set(fields)
        if int(attributes["mode"], 8) & 0o170000 == 0o040000:
            hidden |= {"size", "nlink"}
        kept[path] = {key: value for key, value in attributes.items() if key not in hidden}
    return kept


def copy_up_at_open(ours: Ours, slot: int) -> None:
    """The host copies up what is opened for writing, we what is written: it shows in the number of links."""
    file = ours.task.files.files.get(ours.slots.get(slot, -1))
    if isinstance(file, OverlayFile) and file.writable():
        assert isinstance(file.inode, OverlayInode)
        file.inode.copy_up()


def comparable(result: Any) -> Any:
    if isinstance(result, dict):
        return without({b"": result}, "blocks")[b""]
    return result


@pytest.mark.root
@settings(
    max_examples=int(os.environ.get("FS_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.parametrize("middle", [False, True], ids=["one lower", "two lowers"])
@given(
    steps=st.lists(st.one_of(name_steps, name_steps, attribute_steps, file_steps, look_steps), max_size=30)
)
def test_the_same_as_the_hosts(make_layers: Any, middle: bool, steps: list[tuple[Any, ...]]) -> None:
    old = os.umask(0)
    layers = make_layers(middle)
    mounted = layers.native()
    upper = Tmpfs(size=64 << 20, mode=0o755)
    native, ours = Native(mounted), Ours(layers.over(upper))
    try:
        assert without(tree(ours), "blocks") == without(tree(native), "blocks")
        for step in steps:
            if step[0] == "lsetxattr" and step[2] in (b"bogus.x", b"user."):
                continue  # the host copies up before it says no, which shows in the number of links
            wanted = run_in(native, step)
            assert comparable(run(ours, step)) == comparable(wanted), step
            if step[0] == "open":
                copy_up_at_open(ours, step[1])
        left = without(tree(ours), "blocks")
        assert left == without(tree(native), "blocks")
        # All of it is in the upper directory: mounted anew, it shows the same.
        ours.close()
        ours = Ours(layers.over(upper))
        assert without(tree(ours), "blocks") == left
    finally:
        native.close()
        ours.close()
        os.close(mounted)
        os.umask(old)
