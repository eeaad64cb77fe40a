"""inotify, compared with the host's: the same changes give the same events."""

from __future__ import annotations

from struct import unpack
from typing import TYPE_CHECKING, Any

import pytest
from scenario import HANDLERS, Guest, Machine, same
from support import Pending, call

from runsc.abi.fcntl import AT_FDCWD, O_CREAT, O_NONBLOCK, O_RDWR, O_TRUNC
from runsc.abi.inotify import (
    IN_ALL_EVENTS,
    IN_DONT_FOLLOW,
    IN_EXCL_UNLINK,
    IN_MASK_ADD,
    IN_MASK_CREATE,
    IN_MODIFY,
    IN_ONESHOT,
    IN_ONLYDIR,
    IN_OPEN,
)  # fmt: skip
from runsc.abi.poll import POLLIN
from runsc.kernel.fs.inotify import MAX_QUEUED_EVENTS

if TYPE_CHECKING:
    from pathlib import Path


class Tree:
    """A directory with ``dir``, ``file`` and ``dir/inner`` in it, and an inotify descriptor."""

    def __init__(self, machine: Machine, tmp_path: Path) -> None:
        self.m = machine
        self.base = b"" if isinstance(machine, Guest) else bytes(tmp_path)
        self.do("mkdir", b"/dir", 0o755)
        self.make(b"/file")
        self.make(b"/dir/inner")
        self.fd = machine.call("inotify_init1", O_NONBLOCK)
        self.cookies: dict[int, int] = {0: 0}

    def path(self, name: bytes) -> int:
        return self.m.put(self.base + name + b"\0")

    def do(self, name: str, path: bytes, *args: int) -> int:
        return self.m.call(name, self.path(path), *args)

    def make(self, path: bytes) -> None:
        self.m.call("close", self.do("open", path, O_CREAT | O_RDWR, 0o644))

    def watch(self, path: bytes, mask: int = IN_ALL_EVENTS) -> int:
        return self.m.call("inotify_add_watch", self.fd, self.path(path), mask)

    def events(self) -> Any:
        """What was queued; cookies by the order in which they came."""
        raw = self.m.read(self.fd, 65536)
        if isinstance(raw, int):
            return raw
        found, at = [], 0
        while at < len(raw):
            wd, mask, cookie, length = unpack("<iIII", raw[at : at + 16])
            name = raw[at + 16 : at + 16 + length]
            found.append((wd, mask, self.cookies.setdefault(cookie, len(self.cookies)), name))
            at += 16 + length
        return found


def test_life_of_files_in_a_watched_directory(tmp_path: Path) -> None:
    def scenario(m: Machine) -> Any:
        t = Tree(m, tmp_path / type(m).__name__)
        found = [t.watch(b"/dir"), t.events()]
        fd = t.do("open", b"/dir/new", O_CREAT | O_RDWR, 0o644)
        found += [
            m.write(fd, b"text"),
            m.write(fd, b"more"),
            m.call("lseek", fd, 0, 0),
            m.read(fd, 2),
            t.events(),
        ]
        found += [m.call("ftruncate", fd, 1), m.call("fchmod", fd, 0o600), m.call("close", fd), t.events()]
        found += [m.call("rename", t.path(b"/dir/new"), t.path(b"/dir/other")), t.events()]
        found += [m.call("rename", t.path(b"/dir/other"), t.path(b"/dir/inner")), t.events()]
        found += [m.call("rename", t.path(b"/dir/inner"), t.path(b"/out")), t.events()]
        found += [
            m.call("rename", t.path(b"/out"), t.path(b"/dir/a name that needs more than sixteen")),
            t.events(),
        ]
        found += [
            t.do("mkdir", b"/dir/sub", 0o755),
            m.call("symlink", t.path(b"x"), t.path(b"/dir/link")),
            t.events(),
        ]
        found += [
            m.call("link", t.path(b"/file"), t.path(b"/dir/hard")),
            t.do("mknod", b"/dir/fifo", 0o010644, 0),
            t.events(),
        ]
        found += [
            t.do("rmdir", b"/dir/sub"),
            t.do("unlink", b"/dir/link"),
            t.do("unlink", b"/dir/hard"),
            t.events(),
        ]
        found += [t.do("chmod", b"/dir", 0o700), t.do("truncate", b"/file", 3), t.events()]
        fd = t.do("open", b"/dir", 0, 0)
        found += [m.call("close", fd), t.events()]
        return found

    (tmp_path / "Host").mkdir()
    same(scenario)


def test_a_watched_file(tmp_path: Path) -> None:
    def scenario(m: Machine) -> Any:
        t = Tree(m, tmp_path / type(m).__name__)
        found = [t.watch(b"/file")]
        fd = t.do("open", b"/file", O_RDWR | O_TRUNC, 0)
        copy = m.call("dup", fd)
        found += [m.write(fd, b"x"), m.call("close", fd), t.events(), m.call("close", copy), t.events()]
        found += [
            m.call("utimensat", AT_FDCWD, t.path(b"/file"), 0, 0),
            m.call("link", t.path(b"/file"), t.path(b"/second")),
        ]
        found += [
            m.call("rename", t.path(b"/file"), t.path(b"/third")),
            t.events(),
            t.do("unlink", b"/second"),
            t.events(),
        ]
        fd = t.do("open", b"/third", 0, 0)
        found += [t.do("unlink", b"/third"), t.events(), m.call("close", fd), t.events()]
        found += [m.call("inotify_rm_watch", t.fd, 1)]
        return found

    (tmp_path / "Host").mkdir()
    same(scenario)


def test_a_watched_file_is_replaced_or_removed(tmp_path: Path) -> None:
    def scenario(m: Machine) -> Any:
        t = Tree(m, tmp_path / type(m).__name__)
        t.make(b"/new")
        found = [t.watch(b"/file"), t.watch(b"/dir"), t.watch(b"/dir/inner")]
        found += [m.call("rename", t.path(b"/new"), t.path(b"/file")), t.events()]
        found += [t.do("unlink", b"/dir/inner"), t.events(), t.do("rmdir", b"/dir"), t.events()]
        return found

    (tmp_path / "Host").mkdir()
    same(scenario)


def test_kinds_of_watch(tmp_path: Path) -> None:
    def scenario(m: Machine) -> Any:
        t = Tree(m, tmp_path / type(m).__name__)
        m.call("symlink", t.path(b"/file"), t.path(b"/link"))
        found = [
            t.watch(b"/file", IN_OPEN),
            t.watch(b"/file", IN_MODIFY | IN_MASK_ADD),
            t.watch(b"/link", IN_OPEN),
        ]
        found += [t.watch(b"/file", IN_OPEN | IN_MASK_CREATE), t.watch(b"/file", IN_ONLYDIR | IN_OPEN)]
        found += [t.watch(b"/link", IN_OPEN | IN_DONT_FOLLOW), t.watch(b"/none"), t.watch(b"/file", 0)]
        found += [t.watch(b"/file", 0x00F00000), t.watch(b"/file", IN_OPEN | IN_MASK_ADD | IN_MASK_CREATE)]
        found += [
            m.call("inotify_add_watch", t.fd, 8, IN_OPEN),
            m.call("inotify_add_watch", 100000, t.path(b"/file"), 1),
        ]
        found += [m.call("inotify_add_watch", m.pipe()[0], t.path(b"/file"), 1), m.call("inotify_init1", 1)]
        found += [m.call("inotify_rm_watch", t.fd, 77), m.call("inotify_rm_watch", m.pipe()[0], 1)]
        fd = t.do("open", b"/file", O_RDWR, 0)
        found += [m.write(fd, b"x"), m.poll((t.fd, POLLIN)), t.events(), m.poll((t.fd, POLLIN)), t.events()]
        found += [t.watch(b"/file", IN_MODIFY | IN_ONESHOT), m.write(fd, b"x"), m.write(fd, b"x"), t.events()]
        found += [m.call("inotify_rm_watch", t.fd, 1), t.watch(b"/dir", IN_ALL_EVENTS | IN_EXCL_UNLINK)]
        inner = t.do("open", b"/dir/inner", O_RDWR, 0)
        found += [
            t.do("unlink", b"/dir/inner"),
            t.events(),
            m.write(inner, b"x"),
            m.call("close", inner),
            t.events(),
        ]
        found += [m.write(t.fd, b"x"), m.call("lseek", t.fd, 0, 0)]
        return found

    (tmp_path / "Host").mkdir()
    same(scenario)


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 47, 48, 64, 100])
def test_small_buffers(tmp_path: Path, size: int) -> None:
    def scenario(m: Machine) -> Any:
        t = Tree(m, tmp_path / type(m).__name__)
        t.watch(b"/dir", 0x100)
        t.make(b"/dir/a")
        t.make(b"/dir/" + b"b" * 16)
        waiting = m.room(4)
        found: list[Any] = [m.call("ioctl", t.fd, 0x541B, waiting), m.ints(waiting, 1)]
        for _ in range(4):
            answer = m.read(t.fd, size)
            found.append(answer if isinstance(answer, int) else len(answer))
        return found

    (tmp_path / "Host").mkdir()
    same(scenario)


def test_too_many_events() -> None:
    guest = Guest()
    t = Tree(guest, None)  # type: ignore[arg-type]
    t.watch(b"/dir", IN_OPEN)
    t.watch(b"/file", IN_OPEN)
    for _ in range(MAX_QUEUED_EVENTS):
        for name in (b"/dir", b"/file"):
            guest.call("close", t.do("open", name, 0, 0))
        guest.buffer.next = 0x10000000
    queue = guest.task.files.get(t.fd).events  # type: ignore[attr-defined]
    assert len(queue) == MAX_QUEUED_EVENTS + 1
    assert unpack("<iIII", queue[-1]) == (-1, 0x4000, 0, 0)


def test_a_closed_descriptor_leaves_nothing() -> None:
    guest = Guest()
    t = Tree(guest, None)  # type: ignore[arg-type]
    t.watch(b"/dir")
    t.watch(b"/file")
    guest.call("close", t.fd)
    notifier = guest.task.kernel.notify
    assert notifier is not None
    assert notifier.watchers == {}
    assert notifier.pins == {}


def test_waiting_for_an_event() -> None:
    guest = Guest()
    t = Tree(guest, None)  # type: ignore[arg-type]
    fd = guest.call("inotify_init1", 0)
    guest.call("inotify_add_watch", fd, t.path(b"/file"), IN_MODIFY)
    reading = call(guest.task, HANDLERS["read"], fd, guest.room(64), 64)
    assert isinstance(reading, Pending)
    t.do("truncate", b"/file", 1)
    assert reading.woken()
    assert reading.step() == 16
