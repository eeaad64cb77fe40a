"""The host's files by messages to the gofer. A handle is a fid."""

from __future__ import annotations

import os
from errno import ENOENT, EPROTO
from struct import Struct
from struct import error as StructError  # noqa: N812

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.hostfs.ops import INO, MODE, PACKED, SELF, HostOps
from runsc.kernel.vfs.inode import StatFs
from runsc_fs_gofer9p.protocol import (
    CHMOD,
    CHOWN,
    EXTENDED,
    MSIZE,
    NOFID,
    TATTACH,
    TRUNCATE,
    TUNLINKAT,
    TVERSION,
    UTIMES,
    XATTR,
    XATTR_GET,
    XATTR_LIST,
    XATTR_REMOVE,
    XATTR_SET,
    XCHANGE,
    XCREATE,
    XEVENTS,
    XFIND,
    XLINK,
    XLIST,
    XMAKE,
    XOPEN,
    XOPENDIR,
    XREADLINK,
    XRENAME,
    XROOT,
    XSTATFS,
    XSYNC,
    XUNWATCH,
    XWALK,
    XWATCH,
    text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.kernel.fs.hostfs.ops import Attributes
    from runsc_fs_gofer9p.connection import Connection

_ONE = Struct("<I")
_TWO = Struct("<II")
_THREE = Struct("<III")
_CREATE = Struct("<IIIII")
_MAKE = Struct("<IIQII")
_CHANGE = Struct("<IBqq")
_XATTR = Struct("<IBI")
_STATFS = Struct("<9q")
_WALKED = Struct("<Ii13q")
_ATTACH_TAIL = text(b"") + text(b"") + bytes(4)

#: The most names in one walk; more are walked by the next.
_MAX_WALK = 64
_AT_REMOVEDIR = 0x200


class GoferOps(HostOps):
    """One mount, by its connection."""

    __slots__ = ("connection", "watching")

    remote = True

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.events = -1
        self.watching = False
        answer = connection.call(TVERSION, _ONE.pack(MSIZE) + text(EXTENDED))
        if bytes(answer[4:]) != text(EXTENDED):
            raise connection.fail("it speaks another version")
        self.root = connection.fid()
        connection.call(TATTACH, _TWO.pack(self.root, NOFID) + _ATTACH_TAIL)

    def watches(self) -> tuple[int, int]:
        """The number of this gofer, and a descriptor of its watches (-1: it can't have any), the caller's."""
        ident = int.from_bytes(self.connection.call(XEVENTS, b""), "little")
        fd = self.connection.passed[0]
        if fd >= 0:
            self.connection.passed[0] = -1
            self.watching = True
        return ident, int(fd)

    # -- handles ------------------------------------------------------------------------------

    def _opened(self, kind: int, fid: int, body: bytes) -> tuple[int, int, Attributes]:
        try:
            answer = self.connection.call(kind, body)
            attributes = _unpack(answer)
        except BaseException:
            self.connection.free.append(fid)
            raise
        return self.connection.take(), fid, attributes

    def open_directory(self, handle: int, name: bytes) -> tuple[int, Attributes]:
        fid = self.connection.fid()
        try:
            return fid, _unpack(self.connection.call(XOPENDIR, _TWO.pack(handle, fid) + _name(name)))
        except BaseException:
            self.connection.free.append(fid)
            raise

    def open(self, handle: int, name: bytes, flags: int) -> tuple[int, int, Attributes]:
        fid = self.connection.fid()
        return self._opened(XOPEN, fid, _THREE.pack(handle, fid, flags) + _name(name))

    def open_root(self) -> tuple[int, int, int]:
        readable, writable = self.connection.call(XROOT, _ONE.pack(self.root))
        fd = self.connection.take()
        return fd, self.connection.take(1) if readable and writable else -1, self.root

    def create(self, handle: int, name: bytes, mode: int, uid: int, gid: int) -> tuple[int, int, Attributes]:
        fid = self.connection.fid()
        return self._opened(XCREATE, fid, _CREATE.pack(handle, fid, mode, uid, gid) + _name(name))

    def create_nameless(self, handle: int, mode: int, uid: int, gid: int) -> tuple[int, int, Attributes]:
        fid = self.connection.fid()
        return self._opened(XCREATE, fid, _CREATE.pack(handle, fid, mode, uid, gid) + text(b""))

    def close_directory(self, handle: int) -> None:
        self.connection.clunk(handle)

    def close_file(self, fd: int, handle: int) -> None:
        os.close(fd)
        self.connection.clunk(handle)

    def close(self) -> None:
        self.connection.close()

    # -- looking ------------------------------------------------------------------------------

    def stat(self, handle: int, name: bytes) -> Attributes:
        return _unpack(self.connection.call(XFIND, _ONE.pack(handle) + _name(name)))

    def find(self, handle: int, name: bytes) -> Attributes | None:
        try:
            return _unpack(self.connection.call(XFIND, _ONE.pack(handle) + _name(name)))
        except LinuxError as error:
            if error.errno != ENOENT:
                raise
            return None

    def walk(self, handle: int, names: Sequence[bytes]) -> list[tuple[Attributes | None, int]]:
        asked = names[:_MAX_WALK]
        body = b"".join([_ONE.pack(handle), bytes((self.watching,)), len(asked).to_bytes(2, "little"),
                         *map(text, asked)])  # fmt: skip
        answer = self.connection.call(XWALK, body)
        if (len(answer) - 2) % _WALKED.size:
            raise self.connection.fail("a walk's answer is cut off")
        found: list[tuple[Attributes | None, int]] = []
        for row in _WALKED.iter_unpack(answer[2:]):
            number, watch = row[0], row[1]
            if number == 0:
                found.append((row[2:], watch))
            elif number == ENOENT:
                found.append((None, watch))
            # Another error is told to who looks up that name.
        return found

    def list(self, handle: int) -> tuple[list[bytes], list[int], list[int], list[Attributes] | None]:
        names: list[bytes] = []
        rows: list[Attributes] = []
        first = 1
        while True:
            answer = self.connection.call(XLIST, _ONE.pack(handle) + bytes((first,)))
            first = 0
            count = int.from_bytes(answer[:4], "little")
            if not count:
                break
            end = 4 + count * PACKED.size
            found = bytes(answer[end:]).split(b"\0")
            if len(found) != count + 1:
                raise self.connection.fail("a list is cut off")
            names += found[:-1]
            rows += PACKED.iter_unpack(answer[4:end])
        numbers = [row[INO] for row in rows]
        types = [row[MODE] & 0o170000 for row in rows]
        return names, numbers, types, rows

    def readlink(self, handle: int, name: bytes) -> bytes:
        return bytes(self.connection.call(XREADLINK, _ONE.pack(handle) + _name(name)))

    def statfs(self) -> StatFs:
        return StatFs(*_STATFS.unpack(self.connection.call(XSTATFS, _ONE.pack(self.root)))[:8])

    def watch(self, handle: int, data: bool) -> int:
        if not self.watching:
            return -1
        return _signed(self.connection.call(XWATCH, _ONE.pack(handle) + bytes((data,))))

    def unwatch(self, number: int) -> None:
        try:
            self.connection.call(XUNWATCH, _ONE.pack(number))
        except LinuxError:
            return  # it was gone already, or all is lost, which was told

    # -- changing -----------------------------------------------------------------------------

    def _make(
        self, handle: int, name: bytes, mode: int, uid: int, gid: int, rdev: int = 0, target: bytes = b""
    ) -> Attributes:
        body = _MAKE.pack(handle, mode, rdev, uid, gid) + _name(name) + text(target)
        return _unpack(self.connection.call(XMAKE, body))

    def mkdir(self, handle: int, name: bytes, mode: int, uid: int, gid: int) -> Attributes:
        return self._make(handle, name, 0o040000 | mode & 0o7777, uid, gid)

    def mknod(self, handle: int, name: bytes, mode: int, rdev: int, uid: int, gid: int) -> Attributes:
        return self._make(handle, name, mode, uid, gid, rdev)

    def symlink(self, handle: int, name: bytes, target: bytes, uid: int, gid: int) -> Attributes:
        return self._make(handle, name, 0o120777, uid, gid, 0, target)

    def link(self, handle: int, name: bytes, new_handle: int, new_name: bytes) -> None:
        self.connection.call(XLINK, _TWO.pack(handle, new_handle) + _name(name) + _name(new_name))

    def unlink(self, handle: int, name: bytes, directory: bool) -> None:
        flags = _AT_REMOVEDIR if directory else 0
        self.connection.call(TUNLINKAT, _ONE.pack(handle) + _name(name) + _ONE.pack(flags))

    def rename(self, handle: int, name: bytes, new_handle: int, new_name: bytes, flags: int) -> None:
        self.connection.call(XRENAME, _THREE.pack(handle, new_handle, flags) + _name(name) + _name(new_name))

    def _change(self, handle: int, what: int, a: int, b: int, name: bytes) -> None:
        self.connection.call(XCHANGE, _CHANGE.pack(handle, what, a, b) + _name(name))

    def chmod(self, handle: int, name: bytes, mode: int) -> None:
        self._change(handle, CHMOD, mode, 0, name)

    def chown(self, handle: int, name: bytes, uid: int, gid: int) -> None:
        self._change(handle, CHOWN, uid, gid, name)

    def set_times(self, handle: int, name: bytes, atime: int, mtime: int) -> None:
        self._change(handle, UTIMES, atime, mtime, name)

    def truncate(self, handle: int, name: bytes, size: int) -> None:
        self._change(handle, TRUNCATE, size, 0, name)

    def sync_directory(self, handle: int) -> None:
        self.connection.call(XSYNC, _ONE.pack(handle) + b"\0")

    def sync(self) -> None:
        self.connection.call(XSYNC, _ONE.pack(self.root) + b"\1")

    # -- extended attributes ------------------------------------------------------------------

    def _xattr(
        self, handle: int, name: bytes, what: int, attribute: bytes, value: bytes = b"", flags: int = 0
    ) -> bytes:
        body = _XATTR.pack(handle, what, flags) + _name(name) + text(attribute) + value
        return bytes(self.connection.call(XATTR, body))

    def getxattr(self, handle: int, name: bytes, attribute: bytes) -> bytes:
        return self._xattr(handle, name, XATTR_GET, attribute)

    def listxattr(self, handle: int, name: bytes) -> Sequence[bytes]:
        return self._xattr(handle, name, XATTR_LIST, b"").split(b"\0")[:-1]

    def setxattr(self, handle: int, name: bytes, attribute: bytes, value: bytes, flags: int) -> None:
        self._xattr(handle, name, XATTR_SET, attribute, value, flags)

    def removexattr(self, handle: int, name: bytes, attribute: bytes) -> None:
        self._xattr(handle, name, XATTR_REMOVE, attribute)


def _name(name: bytes) -> bytes:
    return text(b"" if name == SELF else name)


def _unpack(answer: memoryview) -> Attributes:
    try:
        return PACKED.unpack(answer)
    except StructError:
        raise LinuxError(EPROTO) from None


def _signed(answer: memoryview) -> int:
    value = int.from_bytes(answer, "little")
    return value - (1 << 32) if value >= 1 << 31 else value


