"""An open regular file of an overlay."""

from __future__ import annotations

from runsc.abi.fcntl import O_ACCMODE, O_RDONLY
from runsc.hints import cast
from runsc.kernel.fs.regular import RegularFile
from runsc.kernel.vfs.file import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.fs.overlay.inode import OverlayInode
    from runsc.kernel.fs.regular import DataInode
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path


class OverlayFile(RegularFile):
    """``source`` is the layer's inode that this file was last used on.

    One that is open for writing copies up when it first writes or maps, not when it is opened: a file that is
    truncated next need not be copied. Readers follow the file into the upper layer, as Linux's do; what they
    have mapped before stays the lower file.
    """

    __slots__ = ("opened_for_writing",)

    def __init__(self, inode: OverlayInode, flags: int, path: Path | None = None) -> None:
        source = inode.real
        writing = inode.copied and flags & O_ACCMODE != O_RDONLY
        source.open_data(writing)
        File.__init__(self, inode, flags, path)
        self.source = source
        self.opened_for_writing = writing
        if flags & O_ACCMODE != O_RDONLY:
            inode.write_count += 1

    def release(self) -> None:
        if self.flags & O_ACCMODE != O_RDONLY:
            self.inode.write_count -= 1
        self.source.close_data(self.opened_for_writing)

    def _current(self) -> DataInode:
        """The layer's inode to use now."""
        inode = cast("OverlayInode", self.inode)
        real = inode.real
        if real is not self.source:
            writing = self.flags & O_ACCMODE != O_RDONLY
            real.open_data(writing)
            self.source.close_data(self.opened_for_writing)
            self.source = real
            self.opened_for_writing = writing
        return real

    def _changing(self) -> OverlayInode:
        """The same, in the upper layer."""
        inode = cast("OverlayInode", self.inode)
        if not inode.copied:
            inode.copy_up()
        self._current()
        return inode

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        inode = cast("OverlayInode", self.inode)
        source = self.source
        if source is not inode.real:
            source = self._current()
        data = source.read_data(count, offset)
        if inode.copied:
            source.accessed(self.flags, self.path)
        return data

    def write(self, task: Task, data: bytes) -> int:
        if not data:
            return 0
        inode = self._changing()
        count = super().write(task, data)
        inode.take_over()
        return count

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        if not data:
            return 0
        inode = self._changing()
        count = super().pwrite(task, data, offset)
        inode.take_over()
        return count

    def lseek(self, task: Task, offset: int, whence: int) -> int:
        self._current()
        return super().lseek(task, offset, whence)

    def fsync(self, datasync: bool) -> None:
        self._current().sync_data(datasync)

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        inode = self._changing()
        super().fallocate(mode, offset, length)
        inode.take_over()

    def mmap_fd(self, prot: int, shared: bool) -> int:
        # Even a private or read-only mapping of a file that is open for writing must see what is written.
        if self.flags & O_ACCMODE != O_RDONLY:
            self._changing()
            return self.source.host_fd(shared)
        return self._current().host_fd(False)
