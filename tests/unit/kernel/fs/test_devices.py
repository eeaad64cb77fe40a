"""The memory devices, against the host's."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

import pytest
from support import Buffer, make_kernel, make_task

from runsc.abi.fcntl import O_RDWR
from runsc.abi.ioctl import FIONREAD, RNDADDTOENTCNT, RNDGETENTCNT
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.devices import open_device
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc.kernel.vfs.inode import FileSystem, Inode

if TYPE_CHECKING:
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

_NUMBERS = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}


def make(task: Task, major: int, minor: int, kind: int = stat.S_IFCHR) -> File:
    inode = Inode(FileSystem("test"), 1, kind | 0o666, rdev=os.makedev(major, minor))
    return open_device(inode, None, O_RDWR, task)  # type: ignore[arg-type]


def outcome(action: object, *args: object) -> object:
    assert callable(action)
    try:
        return action(*args)
    except (LinuxError, OSError) as error:
        return f"errno {error.errno}"


@pytest.mark.parametrize("name", list(_NUMBERS))
def test_like_the_host(name: str) -> None:
    task = make_task(make_kernel(), Tmpfs())
    memory = Buffer(task)
    ours = make(task, 1, _NUMBERS[name])
    fd = os.open(f"/dev/{name}", os.O_RDWR)

    def same(expected: object, got: object) -> None:
        if "random" in name and isinstance(expected, bytes):
            assert isinstance(got, bytes)
            assert len(got) == len(expected)
            assert got != expected, "random bytes"
        else:
            assert got == expected

    same(outcome(os.read, fd, 100), outcome(ours.read, task, 100))
    same(outcome(os.pread, fd, 10, 5), outcome(ours.pread, task, 10, 5))
    same(outcome(os.write, fd, b"abc"), outcome(ours.write, task, b"abc"))
    same(outcome(os.pwrite, fd, b"abc", 9), outcome(ours.pwrite, task, b"abc", 9))
    for offset, whence in ((100, 0), (5, 1), (0, 2), (-7, 0)):
        same(outcome(os.lseek, fd, offset, whence), outcome(ours.lseek, task, offset, whence))
    same(outcome(os.fsync, fd), outcome(ours.fsync, False))
    same(outcome(os.posix_fallocate, fd, 0, 10), outcome(ours.fallocate, 0, 0, 10))
    expected = outcome(fcntl.ioctl, fd, FIONREAD, bytes(4))
    same(expected, outcome(ours.ioctl, task, FIONREAD, memory.room(4)))
    entropy = outcome(fcntl.ioctl, fd, RNDGETENTCNT, bytes(4))
    addr = memory.room(4)
    got = outcome(ours.ioctl, task, RNDGETENTCNT, addr)
    assert entropy == (memory.get(addr, 4) if got == 0 else got)
    os.close(fd)


def test_only_zero_maps() -> None:
    task = make_task(make_kernel(), Tmpfs())
    for name, minor in _NUMBERS.items():
        file = make(task, 1, minor)
        assert getattr(file, "maps_zero", False) == (name == "zero")
        with pytest.raises(LinuxError) as raised:
            file.mmap_fd(1, False)
        assert raised.value.errno == errno.ENODEV


def test_large_reads() -> None:
    task = make_task(make_kernel(), Tmpfs())
    assert len(make(task, 1, 5).read(task, 1 << 40)) == 256 << 20
    assert make(task, 1, 5).read(task, 100_000) == bytes(100_000)


def test_entropy_is_the_administrators() -> None:
    kernel = make_kernel()
    root, user = make_task(kernel, Tmpfs()), make_task(kernel, Tmpfs(), uid=1000)
    count = Buffer(root).put(b"\x08\0\0\0")
    assert make(root, 1, 9).ioctl(root, RNDADDTOENTCNT, count) == 0
    assert outcome(make(user, 1, 9).ioctl, user, RNDADDTOENTCNT, count) == f"errno {errno.EPERM}"


@pytest.mark.parametrize(
    ("major", "minor", "kind"),
    [
        (1, 1, stat.S_IFCHR),
        (1, 11, stat.S_IFCHR),
        (8, 0, stat.S_IFBLK),
        (1, 3, stat.S_IFBLK),
        (10, 200, stat.S_IFCHR),
    ],
)
def test_devices_that_are_not_there(major: int, minor: int, kind: int) -> None:
    task = make_task(make_kernel(), Tmpfs())
    assert outcome(make, task, major, minor, kind) == f"errno {errno.ENXIO}"


def test_no_terminal() -> None:
    task = make_task(make_kernel(), Tmpfs())
    assert outcome(make, task, 5, 0) == f"errno {errno.ENXIO}"
    assert outcome(make, task, 5, 1) == f"errno {errno.ENXIO}"
