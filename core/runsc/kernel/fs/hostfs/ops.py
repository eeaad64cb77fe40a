"""How the host is asked about files: what a file-system plugin implements.

A file is named by a *handle* and a name. A handle stands for a directory or an opened file; it is a number
that the plugin gives out (a descriptor of ours, a fid of a 9P server). With a handle of a directory, ``name``
is one component, never followed if it is a symbolic link, or ``SELF`` for the directory itself; with a handle
of an opened file it is ``OPENED``. The caller has checked that a name is one component.

Operations raise ``OSError`` or ``LinuxError``, with the errno that the guest sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.kernel.vfs.inode import StatFs

#: What is known of a file: st_mode, st_ino, st_dev (of the host), st_nlink, st_uid, st_gid, st_rdev, st_size,
#: st_blksize, st_blocks, and atime, mtime, ctime in ns.
Attributes = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]

#: The same as 13 numbers in a row, as plugins get them from C or over a connection.
PACKED = Struct("<13q")
MODE, INO, DEV = 0, 1, 2

#: Names that aren't: a directory itself, and an opened file itself.
SELF = b"."
OPENED = b""


class HostOps(ABC):
    """One host tree. ``root``: the handle of its root, or of the opened file if it is a single one (-1 for a
    node that is never opened)."""

    __slots__ = ("events", "root")

    #: An inotify descriptor (inotify(7)) for ``watch``, or -1.
    events: int

    #: Is a question so dear that answers are fetched ahead (a whole path, a whole directory with attributes)?
    remote = False

    root: int

    # -- handles ------------------------------------------------------------------------------

    @abstractmethod
    def open_directory(self, handle: int, name: bytes) -> tuple[int, Attributes]:
        """A handle of a directory, and what it is; ENOTDIR or ELOOP if it is none."""

    @abstractmethod
    def open(self, handle: int, name: bytes, flags: int) -> tuple[int, int, Attributes]:
        """Open a regular file: a descriptor of ours, a handle of the opened file, and what it is.

        Never waits, follows nothing. Both are given back by ``close_file``."""

    @abstractmethod
    def create(self, handle: int, name: bytes, mode: int, uid: int, gid: int) -> tuple[int, int, Attributes]:
        """Make a regular file and open it for reading and writing; EEXIST. Owner and mode as far as the host
        allows."""

    @abstractmethod
    def create_nameless(self, handle: int, mode: int, uid: int, gid: int) -> tuple[int, int, Attributes]:
        """A regular file without a name (O_TMPFILE) in the file system of the directory, opened."""

    @abstractmethod
    def open_root(self) -> tuple[int, int, int]:
        """Of a single file that is the root: its descriptors for reading and writing (-1 if it may not be
        written), and its handle. They go with ``close``."""

    @abstractmethod
    def close_directory(self, handle: int) -> None: ...

    @abstractmethod
    def close_file(self, fd: int, handle: int) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Give the root back; idempotent."""

    # -- looking ------------------------------------------------------------------------------

    @abstractmethod
    def stat(self, handle: int, name: bytes) -> Attributes: ...

    @abstractmethod
    def find(self, handle: int, name: bytes) -> Attributes | None:
        """``stat`` of a name that may not be there."""

    def walk(self, handle: int, names: Sequence[bytes]) -> list[tuple[Attributes | None, int]]:
        """What is along a path, as far as directories lead; None at the end for what isn't there. With each,
        the number of the watch that was set on the directory it is in, before it was looked up, or -1."""
        return [(self.find(handle, names[0]), -1)]

    @abstractmethod
    def list(self, handle: int) -> tuple[list[bytes], list[int], list[int], list[Attributes] | None]:
        """What is in a directory, except . and ..: names, inode numbers, types (S_IF*, 0 if unknown), and the
        attributes if they come along."""

    @abstractmethod
    def readlink(self, handle: int, name: bytes) -> bytes: ...

    @abstractmethod
    def statfs(self) -> StatFs: ...

    def watch(self, handle: int, data: bool) -> int:
        """Watch a directory for changes: the number of the watch among the events of ``events``, or -1 if
        that can't be done. ``data``: of the files' data, too. Again: change what is watched for."""
        return -1

    def unwatch(self, number: int) -> None:  # noqa: B027 - where nothing is watched
        """End a watch."""

    # -- changing -----------------------------------------------------------------------------

    @abstractmethod
    def mkdir(self, handle: int, name: bytes, mode: int, uid: int, gid: int) -> Attributes: ...

    @abstractmethod
    def mknod(self, handle: int, name: bytes, mode: int, rdev: int, uid: int, gid: int) -> Attributes: ...

    @abstractmethod
    def symlink(self, handle: int, name: bytes, target: bytes, uid: int, gid: int) -> Attributes: ...

    @abstractmethod
    def link(self, handle: int, name: bytes, new_handle: int, new_name: bytes) -> None: ...

    @abstractmethod
    def unlink(self, handle: int, name: bytes, directory: bool) -> None: ...

    @abstractmethod
    def rename(self, handle: int, name: bytes, new_handle: int, new_name: bytes, flags: int) -> None: ...

    @abstractmethod
    def chmod(self, handle: int, name: bytes, mode: int) -> None: ...

    @abstractmethod
    def chown(self, handle: int, name: bytes, uid: int, gid: int) -> None:
        """-1 leaves one as it is."""

    @abstractmethod
    def set_times(self, handle: int, name: bytes, atime: int, mtime: int) -> None: ...

    @abstractmethod
    def truncate(self, handle: int, name: bytes, size: int) -> None: ...

    @abstractmethod
    def sync_directory(self, handle: int) -> None: ...

    @abstractmethod
    def sync(self) -> None:
        """Write what is dirty in the whole file system."""

    # -- extended attributes ------------------------------------------------------------------

    @abstractmethod
    def getxattr(self, handle: int, name: bytes, attribute: bytes) -> bytes: ...

    @abstractmethod
    def listxattr(self, handle: int, name: bytes) -> Sequence[bytes]: ...

    @abstractmethod
    def setxattr(self, handle: int, name: bytes, attribute: bytes, value: bytes, flags: int) -> None: ...

    @abstractmethod
    def removexattr(self, handle: int, name: bytes, attribute: bytes) -> None: ...
