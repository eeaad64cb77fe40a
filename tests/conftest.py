"""What all tests share: which runsc is tested, what is skipped here and why, and checks for leaks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


def _can_make_netns() -> bool:
    unshare = shutil.which("unshare")
    return (
        unshare is not None and subprocess.run([unshare, "-n", "true"], capture_output=True).returncode == 0
    )


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "version"], capture_output=True).returncode == 0


#: marker: (can its tests run here?, why not)
NEEDS = {
    "root": (lambda: os.geteuid() == 0, "needs root"),
    "kvm": (lambda: os.access("/dev/kvm", os.R_OK | os.W_OK), "needs /dev/kvm, readable and writable"),
    "docker": (_docker_answers, "needs a Docker daemon that answers"),
    "netns": (_can_make_netns, "needs to make network namespaces"),
    "callgrind": (lambda: shutil.which("valgrind") is not None, "needs valgrind"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what can't run here, each with its reason."""
    verdicts: dict[str, bool] = {}
    for item in items:
        for marker, (possible, reason) in NEEDS.items():
            if item.get_closest_marker(marker) is None:
                continue
            if marker not in verdicts:
                verdicts[marker] = possible()
            if not verdicts[marker]:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def runsc() -> str:
    """The runsc under test: ``$RUNSC``, or the one installed beside the Python that runs the tests."""
    path = os.environ.get("RUNSC") or str(Path(sys.executable).parent / "runsc")
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is not there: run 'make build', or name another one in RUNSC")
    return path


@pytest.fixture(scope="session")
def source_root() -> Path:
    """The checkout."""
    return ROOT


def children() -> list[int]:
    """Processes whose parent is this one."""
    found = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            found += [int(pid) for pid in file.read().split()]
    return found


@pytest.fixture
def no_process_left() -> Iterator[None]:
    """Fail if the test leaves a process behind. Orphans count: they become children of the test process."""
    import ctypes

    set_child_subreaper = 36  # prctl(2)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(set_child_subreaper, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    before = set(children())
    yield
    deadline = time.monotonic() + 5
    while left := [pid for pid in children() if pid not in before]:
        for pid in left:
            os.waitpid(pid, os.WNOHANG)
        left = [pid for pid in children() if pid not in before]
        if not left:
            break
        if time.monotonic() > deadline:
            names = [f"{pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})" for pid in left]
            for pid in left:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            pytest.fail(f"processes left behind: {', '.join(names)}")
        time.sleep(0.02)


@pytest.fixture
def no_descriptor_left() -> Iterator[None]:
    """Fail if the test leaves a descriptor open."""

    def links() -> dict[str, str]:
        found = {}
        for fd in os.listdir("/proc/self/fd"):
            try:
                found[fd] = os.readlink(f"/proc/self/fd/{fd}")
            except FileNotFoundError:
                continue  # the listing's own descriptor
        return found

    before = links()
    yield
    left = {fd: link for fd, link in links().items() if before.get(fd) != link}
    assert not left, f"descriptors left open: {left}"
