"""The sandbox's half and the gofer together: what is asked of it, and how often."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from differential import HERE, Ours, run

from runsc.config import Config
from runsc.filesystem import host_mount
from runsc_fs_gofer9p import protocol
from runsc_fs_gofer9p.hostfiles import GoferFiles
from runsc_fs_gofer9p.opener import GoferOpener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("no_process_left", "no_descriptor_left")


class Counted:
    """A mount, with the messages that are sent for it."""

    def __init__(self, files: GoferFiles, fs: Any) -> None:
        self.files = files
        self.fs = fs
        self.sent: list[int] = []
        connection = fs.ops.connection
        call = connection.call

        def counting(kind: int, body: bytes) -> memoryview:
            self.sent.append(kind)
            answer: memoryview = call(kind, body)
            return answer

        fs.ops.connection = Connected(connection, counting)

    def during(self, action: Callable[[], Any]) -> list[int]:
        self.sent.clear()
        action()
        return list(self.sent)


class Connected:
    """A connection whose ``call`` is another."""

    def __init__(self, connection: Any, call: Any) -> None:
        self._connection = connection
        self.call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Counted]]:
    files = GoferFiles()
    openers = []

    def mount(read_only: bool = False, shared: bool = False) -> Counted:
        what = host_mount(os.fsencode(tmp_path), read_only, shared)
        opener = GoferOpener(Config())
        openers.append(opener)
        (fd,) = opener.open([what])
        return Counted(files, files.mount(fd, what))

    yield mount
    files.close()
    files.close()
    for opener in openers:
        for pid in opener.processes():
            assert os.waitpid(pid, 0)[1] == 0


def test_a_directory_comes_with_attributes(mounted: Callable[..., Counted], tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number:04}").touch()
    counted = mounted(read_only=True)
    ours = Ours(counted.fs)
    counted.files.start(ours.task.kernel)
    listed = counted.during(lambda: run(ours, ("list", b".")))
    assert listed.count(protocol.XLIST) == 3
    sent = counted.during(lambda: [run(ours, ("stat", b"%04d" % number)) for number in range(3000)])
    assert sent == []
    assert counted.during(lambda: run(ours, ("stat", b"missing"))) == []
    ours.close()


def test_names_stay_cached_while_the_guest_changes_them(
    mounted: Callable[..., Counted], tmp_path: Path
) -> None:
    counted = mounted()
    ours = Ours(counted.fs)
    counted.files.start(ours.task.kernel)
    assert counted.fs.cached
    run(ours, ("open", 0, b"f", os.O_RDWR | os.O_CREAT, 0o644))
    run(ours, ("mkdirat", HERE, b"d", 0o755))
    ours.task.kernel.poller.dispatch()
    assert counted.fs.cached
    assert counted.during(lambda: run(ours, ("stat", b"d"))) in ([], [protocol.XFIND])
    # Reading and writing pass the gofer by.
    assert counted.during(lambda: run(ours, ("write", 0, b"x" * 1000, 1000))) == []
    assert counted.during(lambda: run(ours, ("pread64", 0, 10, 0))) == []
    run(ours, ("close", 0))
    assert run(ours, ("stat", b"nothing")) == -errno.ENOENT
    ours.close()
