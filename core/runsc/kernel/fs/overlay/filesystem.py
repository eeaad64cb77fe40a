"""The superblock of an overlay: its layers, and which inode stands for what in them."""

from __future__ import annotations

from weakref import WeakValueDictionary

from runsc.hints import cast
from runsc.kernel.credentials import ALL_CAPS, Credentials
from runsc.kernel.fs.overlay.directory import OverlayDirectory
from runsc.kernel.fs.regular import DataInode
from runsc.kernel.vfs.inode import FileSystem, StatFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.kernel.fs.overlay.inode import OverlayInode
    from runsc.kernel.vfs.inode import Inode

OVERLAYFS_SUPER_MAGIC = 0x794C7630

#: Inode numbers of the second and further file systems among the layers have its index above this bit.
_LAYER_SHIFT = 48


class Overlay(FileSystem):
    """``upper``: the directory that takes the changes; ``lowers``: the ones below it, topmost first.

    All must be inodes that hold data (``DataInode``), of any file systems; those stay the caller's, to be
    released after the overlay. The upper one must be able to exchange names and to rename with a whiteout,
    and nobody else may change it. ``options``: what /proc/mounts shows.

    ``inodes``: the overlay's inode of a layer's inode, as long as it is in use; ``origins``: which number
    (and device, 0 for the overlay's own) a file had before it was copied up, by its number in the upper.
    """

    __slots__ = ("cred", "indexes", "inodes", "lowers", "options", "origins", "root_inode", "upper")

    def __init__(
        self, upper: Inode, lowers: Sequence[Inode], source: str = "overlay", options: str = ""
    ) -> None:
        super().__init__("overlay", source)
        for layer in (upper, *lowers):
            if not isinstance(layer, DataInode) or not layer.is_dir():
                raise ValueError("the layers of an overlay are directories of file systems that hold data")
        if not lowers:
            raise ValueError("an overlay needs a lower directory")
        self.upper = cast("DataInode", upper)
        self.lowers = [cast("DataInode", lower) for lower in lowers]
        self.options = options
        #: with which the layers are changed on the kernel's behalf
        self.cred = Credentials(0, 0, (), ALL_CAPS)
        self.indexes: dict[FileSystem, int] = {}
        for layer in (*lowers, upper):
            layer.fs.stack(self)
            self.indexes.setdefault(layer.fs, len(self.indexes))
        self.inodes: WeakValueDictionary[Inode, OverlayInode] = WeakValueDictionary()
        self.origins: dict[int, tuple[int, int]] = {}
        # The root has the number of the lower root, as if it had been copied up from there.
        ino, dev = self.identity(self.lowers[0])
        self.root_inode = OverlayDirectory(self, self.upper, self.lowers, ino, dev, None, b"", b"/")
        self.inodes[self.upper] = self.root_inode

    def root(self) -> Inode:
        return self.root_inode

    def identity(self, real: DataInode) -> tuple[int, int]:
        """The inode number that a file of a layer has in the overlay, and its device (0: the overlay's)."""
        fs = real.fs
        dev = real.device_number()
        return real.ino ^ self.indexes.get(fs, 0) << _LAYER_SHIFT, 0 if dev == fs.dev else dev

    def number(self, real_ino: int, fs: FileSystem) -> int:
        """The inode number alone, from a directory entry."""
        return real_ino ^ self.indexes.get(fs, 0) << _LAYER_SHIFT

    def statfs(self) -> StatFs:
        stat = self.upper.fs.statfs()
        stat.type = OVERLAYFS_SUPER_MAGIC
        return stat

    def mount_options(self) -> str:
        return self.options

    def sync(self) -> None:
        self.upper.fs.sync()
