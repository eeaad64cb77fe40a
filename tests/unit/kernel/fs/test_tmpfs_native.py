"""Our tmpfs beside the host's: the same calls, the same results, the same tree in the end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from differential import Native, Ours, detached_mount, run, run_in, tree
from fs_steps import SETUP, attribute_steps, file_steps, look_steps, name_steps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runsc.kernel.fs.tmpfs import Tmpfs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def host_tmpfs() -> Iterator[Any]:
    """Makes host tmpfs mounts that nobody else sees."""
    opened = []

    def make(**options: str) -> int:
        try:
            fd = detached_mount("tmpfs", **options)
        except OSError as error:
            pytest.skip(f"no tmpfs can be mounted here: {error}")
        opened.append(fd)
        return fd

    yield make
    for fd in opened:
        os.close(fd)


def compare(native: Native, ours: Ours, steps: list[tuple[Any, ...]]) -> None:
    """Run the steps on both, comparing each, and the trees at the end."""
    try:
        for step in steps:
            wanted = run_in(native, step)
            assert run(ours, step) == wanted, step
        assert tree(ours) == tree(native)
    finally:
        native.close()
        ours.close()


@pytest.mark.root
@settings(
    max_examples=int(os.environ.get("FS_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=st.lists(
        st.one_of(name_steps, name_steps, attribute_steps, file_steps, file_steps, look_steps), max_size=40
    )
)
def test_the_same_as_the_hosts(host_tmpfs: Any, steps: list[tuple[Any, ...]]) -> None:
    old = os.umask(0)
    try:
        compare(Native(host_tmpfs(size="64m")), Ours(Tmpfs(size=64 << 20)), SETUP + steps)
    finally:
        os.umask(old)


@pytest.mark.root
@settings(
    max_examples=int(os.environ.get("FS_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(st.one_of(name_steps, file_steps, file_steps), max_size=40))
def test_the_same_when_full(host_tmpfs: Any, steps: list[tuple[Any, ...]]) -> None:
    """Space for 64 pages, and for 16 inodes or names."""
    old = os.umask(0)
    try:
        compare(
            Native(host_tmpfs(size="256k", nr_inodes="16")),
            Ours(Tmpfs(size=256 << 10, nr_inodes=16)),
            SETUP + steps,
        )
    finally:
        os.umask(old)
