"""Files of the host as the server holds them, and fids, by which a client names them.

The working directory of the process is its own /proc/self/fd, so that the decimal number of a descriptor is a
path: by it, what was found with O_PATH is opened, changed and watched, and it can't be anything else by then.
Names are looked up one component at a time, and a symbolic link is never followed.
"""

from __future__ import annotations

import os
from errno import EBADF, EINVAL, ELOOP, ENFILE, ENOENT, ENOTDIR
from stat import S_ISDIR, S_ISLNK, S_ISREG

from runsc._native import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_fs_gofer9p.server.directory import Listing

#: How many fids a client may have.
MAX_FIDS = 32768

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_SAFELY = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def check_name(name: bytes) -> None:
    """One component, and neither . nor ..: a client of ours sends no other. Raises OSError."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise failure(EINVAL if name else ENOENT)


class Node:
    """A file of the host: ``fd`` is an O_PATH descriptor. ``parent``: where the walk came from, so that ".."
    need not be asked of the host; None for the root."""

    __slots__ = ("fd", "parent")

    def __init__(self, fd: int, parent: Node | None) -> None:
        self.fd = fd
        self.parent = parent

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def path(self) -> bytes:
        """A path that means this very file."""
        return b"%d" % self.fd

    def stat(self) -> os.stat_result:
        return os.fstat(self.fd)

    def child(self, name: bytes) -> Node:
        return Node(os.open(name, _LOOK, dir_fd=self.fd), self)

    def open(self, flags: int) -> int:
        """A descriptor for reading or writing. Regular files and directories only: opening anything else may
        do something, or wait."""
        mode = self.stat().st_mode
        if S_ISLNK(mode):
            raise failure(ELOOP)
        if not S_ISREG(mode) and not S_ISDIR(mode):
            raise failure(EINVAL)
        return os.open(self.path(), flags & ~os.O_NOFOLLOW | _SAFELY)


class Fid:
    """What a client's number stands for: a file, perhaps opened (``fd``), perhaps an attribute of it
    (``attribute``, ``value``, and the size and flags that it is to be written with)."""

    __slots__ = ("attribute", "fd", "flags", "listing", "node", "room", "value")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.fd = -1
        self.listing: Listing | None = None
        self.attribute: bytes | None = None
        self.value = b""
        self.room = -1
        self.flags = 0

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)
        self.listing = None


class Fids:
    """The fids of one client."""

    __slots__ = ("table",)

    def __init__(self) -> None:
        self.table: dict[int, Fid] = {}

    def __getitem__(self, number: int) -> Fid:
        fid = self.table.get(number)
        if fid is None:
            raise failure(EBADF)
        return fid

    def directory(self, number: int) -> Node:
        """The directory that a fid stands for: names can be looked up in it."""
        return self[number].node

    def add(self, number: int, node: Node) -> Fid:
        if number in self.table:
            raise failure(EBADF)
        if len(self.table) >= MAX_FIDS:
            raise failure(ENFILE)
        fid = self.table[number] = Fid(node)
        return fid

    def remove(self, number: int) -> Fid:
        fid = self.table.pop(number, None)
        if fid is None:
            raise failure(EBADF)
        fid.close()
        return fid

    def clear(self) -> None:
        for fid in self.table.values():
            fid.close()
        self.table.clear()


_BUFFER = ffi.new("int64_t[13]")
_BYTES = ffi.buffer(_BUFFER)


def attributes(fd: int, name: bytes = b"") -> bytes:
    """What is known of a file (or of ``name`` in a directory), as our extension packs it. Raises OSError."""
    result = lib.rn_stat(fd, name or ffi.NULL, _BUFFER)
    if result < 0:
        raise failure(-result)
    return bytes(_BYTES)


def check(result: int) -> int:
    """A result of ours from C. Raises OSError."""
    if result < 0:
        raise failure(-result)
    return result


def require_directory(node: Node) -> None:
    if not S_ISDIR(node.stat().st_mode):
        raise failure(ENOTDIR)
