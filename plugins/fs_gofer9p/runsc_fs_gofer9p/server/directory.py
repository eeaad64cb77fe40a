"""Listing directories: for 9P2000.L, where a client counts through the entries, and for our extension."""

from __future__ import annotations

import os
from stat import S_ISDIR, S_ISLNK, S_ISREG
from struct import Struct

from runsc._native import ffi, lib

from runsc_fs_gofer9p.protocol import QID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc_fs_gofer9p.server.node import Node

#: How many entries with attributes one message brings.
CHUNK = 2048

_ENTRY = Struct("<QBH")
_QTDIR, _QTSYMLINK = 0x80, 0x02


def qid(mode: int, ino: int, version: int = 0) -> bytes:
    """What identifies a file to a client: its kind, a version, and a number."""
    kind = _QTDIR if S_ISDIR(mode) else _QTSYMLINK if S_ISLNK(mode) else 0
    return QID.pack(kind, version & 0xFFFFFFFF, ino & 0xFFFFFFFFFFFFFFFF)


class Listing:
    """The entries of an open directory, read once; from ``at`` on they haven't been sent yet."""

    __slots__ = ("at", "entries", "node")

    def __init__(self, node: Node, fd: int) -> None:
        self.node = node
        self.at = 0
        with os.scandir(fd) as found:
            self.entries = [(os.fsencode(entry.name), entry.inode(), _type(entry)) for entry in found]

    def plain(self, offset: int, room: int) -> bytes:
        """Treaddir: entries from ``offset`` on that fit into ``room`` bytes."""
        parts = []
        entries = self.entries
        dots = [(b".", self.node), (b"..", self.node.parent or self.node)]
        while offset < len(entries) + 2:
            if offset < 2:
                name, node = dots[offset]
                st = node.stat()
                ino, kind = st.st_ino, st.st_mode
            else:
                name, ino, kind = entries[offset - 2]
            offset += 1
            part = qid(kind, ino) + _ENTRY.pack(offset, kind >> 12, len(name)) + name
            room -= len(part)
            if room < 0:
                break
            parts.append(part)
        return b"".join(parts)

    def with_attributes(self) -> bytes:
        """XLIST: the next ``CHUNK`` entries. One that is gone meanwhile is left out."""
        fd = self.node.fd
        buffer = ffi.new("int64_t[13]")
        packed = ffi.buffer(buffer)
        stat = lib.rn_stat
        names, rows = [], []
        for name, _ino, _type in self.entries[self.at : self.at + CHUNK]:
            if stat(fd, name, buffer) == 0:
                names.append(name + b"\0")
                rows.append(packed[:])
        self.at += CHUNK
        if not rows and self.at < len(self.entries):
            return self.with_attributes()
        return len(rows).to_bytes(4, "little") + b"".join(rows) + b"".join(names)


def _type(entry: os.DirEntry[str]) -> int:
    """A mode with at least the right type, for a qid."""
    if entry.is_symlink():
        return 0o120000
    if entry.is_dir(follow_symlinks=False):
        return 0o040000
    if entry.is_file(follow_symlinks=False):
        return 0o100000
    try:
        return entry.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def is_regular(mode: int) -> bool:
    return S_ISREG(mode)
