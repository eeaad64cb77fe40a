"""The host's files by system calls of our own.

Each call that takes a name takes a single component, relative to the descriptor of its directory, and
follows no symbolic link. A handle is a descriptor: of a directory, O_PATH.
"""

from __future__ import annotations

import os
from errno import ENOENT, ENOSYS, EOPNOTSUPP
from fcntl import F_GETFL, fcntl
from stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG

from runsc._native import ffi, lib

from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.hostfs.ops import INO, MODE, OPENED, SELF, HostOps
from runsc.kernel.fs.hostfs.watch import DATA, MASK
from runsc.kernel.vfs.inode import StatFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.kernel.fs.hostfs.ops import Attributes

#: Always with an open: nothing is followed, nothing waits, no terminal is taken over.
OPEN_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

#: The longest value of an extended attribute, and the longest list of names (linux/limits.h).
_XATTR_MAX = 65536


class DirectOps(HostOps):
    """``root``: an O_PATH descriptor of a directory or a node, or an ordinary one of a regular file."""

    __slots__ = ("buffer", "no_xattrat")

    def __init__(self, root: int, events: int) -> None:
        self.root = root
        self.events = events
        self.buffer = ffi.new("int64_t[13]")
        self.no_xattrat = False

    # -- handles ------------------------------------------------------------------------------

    def open_directory(self, handle: int, name: bytes) -> tuple[int, Attributes]:
        fd = os.open(name, _OPEN_DIRECTORY, dir_fd=handle)
        return fd, self.stat(fd, OPENED)

    def open(self, handle: int, name: bytes, flags: int) -> tuple[int, int, Attributes]:
        fd = os.open(name, flags | OPEN_SAFELY, dir_fd=handle)
        return fd, fd, self.stat(fd, OPENED)

    def open_root(self) -> tuple[int, int, int]:
        writable = fcntl(self.root, F_GETFL) & os.O_ACCMODE == os.O_RDWR
        return self.root, self.root if writable else -1, self.root

    def create(self, handle: int, name: bytes, mode: int, uid: int, gid: int) -> tuple[int, int, Attributes]:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN_SAFELY, mode, dir_fd=handle)
        return self._own(fd, mode, uid, gid)

    def create_nameless(self, handle: int, mode: int, uid: int, gid: int) -> tuple[int, int, Attributes]:
        fd = os.open(b".", os.O_RDWR | os.O_TMPFILE | OPEN_SAFELY, mode, dir_fd=handle)
        return self._own(fd, mode, uid, gid)

    def _own(self, fd: int, mode: int, uid: int, gid: int) -> tuple[int, int, Attributes]:
        try:
            made = self.stat(fd, OPENED)
            changed = False
            if (made[4], made[5]) != (uid, gid):
                try:
                    os.fchown(fd, uid, gid)
                    changed = True
                except PermissionError:
                    # An ordinary user's files are that user's; the guest sees who owns them.
                    changed = False
            if changed or made[MODE] & 0o7777 != mode:
                os.fchmod(fd, mode)
                made = self.stat(fd, OPENED)
        except BaseException:
            os.close(fd)
            raise
        return fd, fd, made

    def close_directory(self, handle: int) -> None:
        os.close(handle)

    def close_file(self, fd: int, handle: int) -> None:
        os.close(fd)

    def close(self) -> None:
        if self.root >= 0:
            fd, self.root = self.root, -1
            os.close(fd)

    # -- looking ------------------------------------------------------------------------------

    def stat(self, handle: int, name: bytes) -> Attributes:
        result = lib.rn_stat(handle, name or ffi.NULL, self.buffer)
        if result < 0:
            raise LinuxError(-result)
        return tuple(self.buffer)

    def find(self, handle: int, name: bytes) -> Attributes | None:
        result = lib.rn_stat(handle, name, self.buffer)
        if result < 0:
            if result == -ENOENT:
                return None
            raise LinuxError(-result)
        return tuple(self.buffer)

    def list(self, handle: int) -> tuple[list[bytes], list[int], list[int], list[Attributes] | None]:
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | OPEN_SAFELY, dir_fd=handle)
        names, numbers, types = [], [], []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    names.append(os.fsencode(entry.name))
                    numbers.append(entry.inode())
                    types.append(_type(entry))
        finally:
            os.close(fd)
        return names, numbers, types, None

    def readlink(self, handle: int, name: bytes) -> bytes:
        return os.readlink(name, dir_fd=handle)

    def statfs(self) -> StatFs:
        st = os.fstatvfs(self.root)
        return StatFs(
            lib.rn_file_system_type(self.root), st.f_bsize, st.f_blocks, st.f_bfree, st.f_bavail, st.f_files,
            st.f_ffree, st.f_namemax,
        )  # fmt: skip

    def watch(self, handle: int, data: bool) -> int:
        if self.events < 0:
            return -1
        found: int = lib.rn_watch(self.events, b"/proc/self/fd/%d" % handle, MASK | DATA if data else MASK)
        return found

    def unwatch(self, number: int) -> None:
        lib.rn_unwatch(self.events, number)

    # -- changing -----------------------------------------------------------------------------

    def _made(self, handle: int, name: bytes, mode: int | None, uid: int, gid: int) -> Attributes:
        """What was just made, with owner and mode as far as the host allows."""
        made = self.stat(handle, name)
        changed = False
        if (made[4], made[5]) != (uid, gid):
            try:
                os.chown(name, uid, gid, dir_fd=handle, follow_symlinks=False)
                changed = True
            except PermissionError:
                changed = False
        if mode is not None and (changed or made[MODE] & 0o7777 != mode & 0o7777):
            # If another has taken its place, it isn't what we have made.
            if self.stat(handle, name)[INO] == made[INO]:
                self.chmod(handle, name, mode & 0o7777)
                changed = True
        return self.stat(handle, name) if changed else made

    def mkdir(self, handle: int, name: bytes, mode: int, uid: int, gid: int) -> Attributes:
        os.mkdir(name, mode & 0o7777, dir_fd=handle)
        return self._made(handle, name, mode, uid, gid)

    def mknod(self, handle: int, name: bytes, mode: int, rdev: int, uid: int, gid: int) -> Attributes:
        os.mknod(name, mode, rdev, dir_fd=handle)
        return self._made(handle, name, mode, uid, gid)

    def symlink(self, handle: int, name: bytes, target: bytes, uid: int, gid: int) -> Attributes:
        os.symlink(target, name, dir_fd=handle)
        return self._made(handle, name, None, uid, gid)

    def link(self, handle: int, name: bytes, new_handle: int, new_name: bytes) -> None:
        if name == OPENED:
            _check(lib.rn_link_open(handle, new_handle, new_name))
        else:
            os.link(name, new_name, src_dir_fd=handle, dst_dir_fd=new_handle, follow_symlinks=False)

    def unlink(self, handle: int, name: bytes, directory: bool) -> None:
        if directory:
            os.rmdir(name, dir_fd=handle)
        else:
            os.unlink(name, dir_fd=handle)

    def rename(self, handle: int, name: bytes, new_handle: int, new_name: bytes, flags: int) -> None:
        _check(lib.rn_renameat2(handle, name, new_handle, new_name, flags))

    def chmod(self, handle: int, name: bytes, mode: int) -> None:
        if name == OPENED:
            os.chmod(handle, mode)
        elif name == SELF:
            os.chmod(name, mode, dir_fd=handle)
        else:
            # fchmodat(2) would follow a link, so where fchmodat2(2) isn't there yet the file is opened.
            result = lib.rn_fchmodat(handle, name, mode)
            if result != -ENOSYS:
                _check(result)
                return
            fd = os.open(name, os.O_RDONLY | OPEN_SAFELY, dir_fd=handle)
            try:
                os.fchmod(fd, mode)
            finally:
                os.close(fd)

    def chown(self, handle: int, name: bytes, uid: int, gid: int) -> None:
        if name == OPENED:
            os.chown(handle, uid, gid)
        else:
            os.chown(name, uid, gid, dir_fd=handle, follow_symlinks=False)

    def set_times(self, handle: int, name: bytes, atime: int, mtime: int) -> None:
        if name == OPENED:
            os.utime(handle, ns=(atime, mtime))
        else:
            os.utime(name, ns=(atime, mtime), dir_fd=handle, follow_symlinks=False)

    def truncate(self, handle: int, name: bytes, size: int) -> None:
        if name == OPENED:
            os.ftruncate(handle, size)
            return
        fd = os.open(name, os.O_WRONLY | OPEN_SAFELY, dir_fd=handle)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def sync_directory(self, handle: int) -> None:
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | OPEN_SAFELY, dir_fd=handle)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def sync(self) -> None:
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | OPEN_SAFELY, dir_fd=self.root)
        try:
            _check(lib.rn_syncfs(fd))
        finally:
            os.close(fd)

    # -- extended attributes ------------------------------------------------------------------

    def _open_for_xattr(self, handle: int, name: bytes) -> int:
        """A descriptor, where the host has no calls that take a name (before Linux 6.13)."""
        kind = self.stat(handle, name)[MODE] & 0o170000
        if kind not in (S_IFREG, S_IFDIR):
            raise LinuxError(EOPNOTSUPP)
        return os.open(name, os.O_RDONLY | OPEN_SAFELY, dir_fd=handle)

    def getxattr(self, handle: int, name: bytes, attribute: bytes) -> bytes:
        if name == OPENED:
            return os.getxattr(handle, attribute)
        if not self.no_xattrat:
            value = ffi.new("char[]", _XATTR_MAX)
            result = lib.rn_getxattrat(handle, name, attribute, value, _XATTR_MAX)
            if not self._missing(result):
                return bytes(ffi.buffer(value, result))
        fd = self._open_for_xattr(handle, name)
        try:
            return os.getxattr(fd, attribute)
        finally:
            os.close(fd)

    def _missing(self, result: int) -> bool:
        """Was the answer that the host's kernel has no such call? Raises the others."""
        if result == -ENOSYS:
            self.no_xattrat = True
            return True
        _check(result)
        return False

    def listxattr(self, handle: int, name: bytes) -> Sequence[bytes]:
        if name == OPENED:
            return [os.fsencode(item) for item in os.listxattr(handle)]
        if not self.no_xattrat:
            names = ffi.new("char[]", _XATTR_MAX)
            try:
                result = lib.rn_listxattrat(handle, name, names, _XATTR_MAX)
                if not self._missing(result):
                    return bytes(ffi.buffer(names, result)).split(b"\0")[:-1]
            except LinuxError as error:
                if error.errno == EOPNOTSUPP:
                    return ()
                raise
        try:
            fd = self._open_for_xattr(handle, name)
        except LinuxError as error:
            if error.errno == EOPNOTSUPP:
                return ()
            raise
        try:
            return [os.fsencode(item) for item in os.listxattr(fd)]
        finally:
            os.close(fd)

    def setxattr(self, handle: int, name: bytes, attribute: bytes, value: bytes, flags: int) -> None:
        if name == OPENED:
            os.setxattr(handle, attribute, value, flags)
            return
        if not self.no_xattrat:
            if not self._missing(lib.rn_setxattrat(handle, name, attribute, value, len(value), flags)):
                return
        fd = self._open_for_xattr(handle, name)
        try:
            os.setxattr(fd, attribute, value, flags)
        finally:
            os.close(fd)

    def removexattr(self, handle: int, name: bytes, attribute: bytes) -> None:
        if name == OPENED:
            os.removexattr(handle, attribute)
            return
        if not self.no_xattrat:
            if not self._missing(lib.rn_removexattrat(handle, name, attribute)):
                return
        fd = self._open_for_xattr(handle, name)
        try:
            os.removexattr(fd, attribute)
        finally:
            os.close(fd)


def _check(result: int) -> None:
    if result < 0:
        raise LinuxError(-result)


def _type(entry: os.DirEntry[str]) -> int:
    """The S_IFMT part of an entry's mode, from the directory itself where it says so."""
    if entry.is_symlink():
        return S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return S_IFDIR
    if entry.is_file(follow_symlinks=False):
        return S_IFREG
    # One of the rare nodes, which Python can only tell apart by looking at the file.
    try:
        return S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return 0
