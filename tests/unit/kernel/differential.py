"""The same system calls made of the host's kernel and of ours, and the results compared.

A ``Step`` is a system call by its name, with arguments that are numbers, byte strings, ``OUT(n)`` for a
buffer that the call fills, ``HERE`` for the directory under test and ``FD(n)`` for the file in slot ``n``.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, Any, Protocol

from support import Buffer, call, make_task

from runsc.abi.fcntl import AT_FDCWD, AT_SYMLINK_NOFOLLOW
from runsc.abi.syscalls import NAMES
from runsc.kernel.syscalls.table import declarations

if TYPE_CHECKING:
    from runsc.kernel.vfs.inode import FileSystem

_NUMBERS = {name: number for number, name in NAMES.items()}
_STAT = struct.Struct("<QQQIIIIQqqqqQqQqQ24x")

HERE = "here"


class OUT:
    """A buffer of ``size`` bytes for results; ``of``: which part of it counts (None: the call's result)."""

    def __init__(self, size: int) -> None:
        self.size = size


class FD:
    """The file that was opened into slot ``slot``."""

    def __init__(self, slot: int) -> None:
        self.slot = slot

    def __repr__(self) -> str:
        return f"FD({self.slot})"


class Fill(bytes):
    """Bytes that print as what they are made of."""

    def __repr__(self) -> str:
        return f"Fill({self[:1]!r} * {len(self)})"


class System(Protocol):
    """One of the two kernels. ``slots``: descriptors by slot."""

    slots: dict[int, int]

    def raw(self, name: str, args: tuple[Any, ...]) -> tuple[int, list[bytes]]:
        """Make the call: its result or -errno, and the contents of its OUT buffers."""


class Native:
    """The host's kernel, in the directory of ``dirfd``."""

    def __init__(self, dirfd: int) -> None:
        self.dirfd = dirfd
        self.slots: dict[int, int] = {}
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.syscall.restype = ctypes.c_long

    def raw(self, name: str, args: tuple[Any, ...]) -> tuple[int, list[bytes]]:
        outs = []
        converted: list[Any] = [ctypes.c_long(_NUMBERS[name])]
        for arg in args:
            if arg is HERE:
                converted.append(ctypes.c_long(self.dirfd))
            elif isinstance(arg, OUT):
                buffer = ctypes.create_string_buffer(arg.size)
                outs.append(buffer)
                converted.append(buffer)
            elif isinstance(arg, FD):
                converted.append(ctypes.c_long(self.slots.get(arg.slot, -1)))
            elif isinstance(arg, bytes):
                converted.append(ctypes.c_char_p(arg))
            else:
                converted.append(ctypes.c_long(arg))
        result = self.libc.syscall(*converted)
        if result == -1:
            result = -ctypes.get_errno()
        return result, [buffer.raw for buffer in outs]

    def close(self) -> None:
        for fd in self.slots.values():
            os.close(fd)
        self.slots.clear()


class Ours:
    """Our kernel, with ``root`` as /."""

    def __init__(self, root: FileSystem, uid: int = 0, gid: int = 0) -> None:
        self.task = make_task(root=root, uid=uid, gid=gid)
        self.task.fs.umask = 0
        self.slots: dict[int, int] = {}
        self.handlers = {item.name: item.handler for item in declarations().values()}

    def raw(self, name: str, args: tuple[Any, ...]) -> tuple[int, list[bytes]]:
        buffer = Buffer(self.task)
        outs = []
        converted = []
        for arg in args:
            if arg is HERE:
                converted.append(AT_FDCWD)
            elif isinstance(arg, OUT):
                outs.append((buffer.room(arg.size), arg.size))
                converted.append(outs[-1][0])
            elif isinstance(arg, FD):
                converted.append(self.slots.get(arg.slot, -1))
            elif isinstance(arg, bytes):
                converted.append(buffer.text(arg))
            else:
                converted.append(arg)
        result = call(self.task, self.handlers[name], *converted)
        assert isinstance(result, int), f"{name} waits"
        return result, [buffer.get(addr, size) for addr, size in outs]

    def close(self) -> None:
        self.task.files.close_all(self.task)
        self.task.kernel.poller.close()
        self.slots.clear()


def run(system: System, step: tuple[Any, ...]) -> Any:
    """One step's outcome, in a form that can be compared between the systems.

    Steps: ("open", slot, path, flags, mode), ("close", slot), ("read", slot, count),
    ("pread64", slot, count, at), ("stat", path), ("fstat", slot), ("list", path), or the name of a call
    with its arguments.
    """
    name = step[0]
    if name == "open":
        _name, slot, path, flags, mode = step
        if slot in system.slots:
            run(system, ("close", slot))
        result, _outs = system.raw("openat", (HERE, path, flags | os.O_NONBLOCK, mode))
        if result >= 0:
            system.slots[slot] = result
            return 0
        return result
    if name == "close":
        if step[1] not in system.slots:
            return None
        result, _outs = system.raw("close", (FD(step[1]),))
        del system.slots[step[1]]
        return result
    if name in ("read", "pread64"):
        result, outs = system.raw(name, (FD(step[1]), OUT(step[2]), step[2], *step[3:]))
        return outs[0][:result] if result >= 0 else result
    if name == "stat":
        return stat_of(system, HERE, step[1])
    if name == "fstat":
        return stat_of(system, FD(step[1]), b"")
    if name == "list":
        return sorted(listing(system, step[1]))
    if name in ("readlinkat", "lgetxattr", "llistxattr"):
        result, outs = system.raw(name, (*step[1:], OUT(4096), 4096))
        if name == "llistxattr" and result > 0:
            return sorted(outs[0][:result].split(b"\0")[:-1])
        return outs[0][:result] if result >= 0 else result
    return system.raw(name, step[1:])[0]


def run_in(native: Native, step: tuple[Any, ...]) -> Any:
    """``run``, with the directory under test as the working one for calls that take no directory."""
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fchdir(native.dirfd)
        return run(native, step)
    finally:
        os.fchdir(before)
        os.close(before)


#: What of stat(2) is compared: the rest is different by nature (dev, ino, times).
def stat_of(system: System, where: Any, path: bytes) -> Any:
    flags = AT_SYMLINK_NOFOLLOW | (0x1000 if not path else 0)
    result, outs = system.raw("newfstatat", (where, path, OUT(144), flags))
    if result < 0:
        return result
    _dev, _ino, nlink, mode, uid, gid, _pad, rdev, size, _blksize, blocks, *_times = _STAT.unpack(outs[0])
    return {
        "mode": oct(mode), "nlink": nlink, "uid": uid, "gid": gid, "rdev": rdev, "size": size,
        "blocks": blocks,
    }  # fmt: skip


def times_of(system: System, path: bytes) -> tuple[int, int, int, int]:
    """ino, atime, mtime, ctime (ns)."""
    result, outs = system.raw("newfstatat", (HERE, path, OUT(144), AT_SYMLINK_NOFOLLOW))
    assert result == 0, path
    found = _STAT.unpack(outs[0])
    return (
        found[1],
        *(found[index] * 10**9 + found[index + 1] for index in (11, 13, 15)),
    )  # type: ignore[return-value]


def listing(system: System, path: bytes) -> list[tuple[bytes, int]]:
    """Names and d_type of a directory; [] if it can't be opened."""
    fd, _outs = system.raw("openat", (HERE, path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, 0))
    if fd < 0:
        return []
    found = []
    while True:
        count, outs = system.raw("getdents64", (fd, OUT(32768), 32768))
        assert count >= 0
        if not count:
            break
        at = 0
        while at < count:
            length, kind = struct.unpack_from("<HB", outs[0], at + 16)
            name = outs[0][at + 19 : at + length].split(b"\0")[0]
            if name not in (b".", b".."):
                found.append((name, kind))
            at += length
    system.raw("close", (fd,))
    return found


def tree(system: System, path: bytes = b"") -> dict[bytes, Any]:
    """Everything below ``path``: attributes, contents, targets, extended attributes."""
    found: dict[bytes, Any] = {}
    for name, _kind in listing(system, path):
        place = path + b"/" + name if path else name
        about = stat_of(system, HERE, place)
        assert isinstance(about, dict), (place, about)
        kind = int(about["mode"], 8) & 0o170000
        if kind == 0o100000:
            assert run(system, ("open", 99, place, os.O_RDONLY, 0)) == 0
            # The beginning, and of large sparse files also the end.
            content = [run(system, ("read", 99, 65536)) for _ in range(20)]
            about["content"] = b"".join(content)
            about["end"] = run(system, ("pread64", 99, 65536, max(about["size"] - 65536, 0)))
            run(system, ("close", 99))
        elif kind == 0o120000:
            about["target"] = run(system, ("readlinkat", HERE, place))
        found[place] = about
        if kind == 0o040000:
            found.update(tree(system, place))
    return found


# -- mounts of the host without a place in its tree ------------------------------------------------


def detached_mount(fstype: str, **options: str) -> int:
    """A descriptor of the root of a new mount that no directory shows (fsopen(2), fsmount(2)).

    Raises OSError; it vanishes when the descriptor is closed."""
    libc = ctypes.CDLL(None, use_errno=True)

    def syscall(number: int, *args: Any) -> int:
        result = libc.syscall(ctypes.c_long(number), *args)
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return int(result)

    context = syscall(430, ctypes.c_char_p(fstype.encode()), ctypes.c_uint(1))
    try:
        for key, value in options.items():
            syscall(
                431, ctypes.c_int(context), ctypes.c_uint(1), ctypes.c_char_p(key.encode()),
                ctypes.c_char_p(value.encode()), ctypes.c_int(0),
            )  # fmt: skip
        syscall(431, ctypes.c_int(context), ctypes.c_uint(6), None, None, ctypes.c_int(0))
        return syscall(432, ctypes.c_int(context), ctypes.c_uint(1), ctypes.c_uint(0))
    finally:
        os.close(context)
