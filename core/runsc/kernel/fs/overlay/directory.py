"""Directories of an overlay: one name space out of several directories (fs/overlayfs/dir.c, readdir.c)."""

from __future__ import annotations

from errno import EINVAL, EISDIR, ENOENT, ENOTEMPTY, EPERM
from stat import S_IFCHR, S_IFDIR

from runsc.abi.fcntl import O_ACCMODE, O_RDONLY, RENAME_EXCHANGE, RENAME_WHITEOUT
from runsc.abi.stat import S_IFMT
from runsc.hints import cast
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.overlay.inode import OPAQUE, REDIRECT, OverlayInode, is_whiteout, own_xattr
from runsc.kernel.vfs.file import DirectoryFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.credentials import Credentials
    from runsc.kernel.fs.overlay.filesystem import Overlay
    from runsc.kernel.fs.regular import DataInode
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Dentry, DentryCache, Path
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import DirEntry, Inode, Stat


class OverlayDirectory(OverlayInode):
    """A directory of an overlay.

    ``lowers``: the directories below that it shows besides its upper one, topmost first; none if opaque.
    ``lower_path``: where they lie in the lower layers, which a redirect tells if it isn't the same place.
    """

    __slots__ = ("lower_path", "lowers")

    def __init__(
        self, fs: Overlay, upper: DataInode | None, lowers: list[DataInode], ino: int, device: int,
        parent: OverlayDirectory | None, name: bytes, lower_path: bytes,
    ) -> None:  # fmt: skip
        self.lowers = lowers
        self.lower_path = lower_path
        super().__init__(fs, upper or lowers[0], upper is not None, ino, device, parent, name)

    # -- attributes ---------------------------------------------------------------------------

    def merged(self) -> bool:
        """Is this more than one directory?"""
        return len(self.lowers) + self.copied > 1

    def take_over(self) -> None:
        super().take_over()
        if self.merged() and self.nlink:
            # Subdirectories aren't counted; one is what tells programs so.
            self.nlink = 1

    def stat(self) -> Stat:
        stat = super().stat()
        if self.merged():
            stat.nlink = 1
        return stat

    # -- reading ------------------------------------------------------------------------------

    def open(self, path: Path, flags: int, task: Task) -> File:
        if flags & O_ACCMODE != O_RDONLY:
            raise LinuxError(EISDIR)
        return DirectoryFile(self, flags, path)

    def keep_names(self, dentry: Dentry, cache: DentryCache) -> None:
        if self.copied:
            self.real.keep_names(dentry, cache)
        for lower in self.lowers:
            lower.keep_names(dentry, cache)

    def be_told(self, dentry: Dentry, cache: DentryCache) -> None:
        if self.copied:
            self.real.be_told(dentry, cache)
        for lower in self.lowers:
            lower.be_told(dentry, cache)

    def look_ahead(self, names: list[bytes]) -> None:
        if len(self.lowers) == 1 and not (self.copied and self.real.find(names[0])):
            self.lowers[0].look_ahead(names)

    def lookup(self, name: bytes, task: Task | None = None) -> Inode:
        fs = self.fs
        upper = None
        if self.copied:
            upper = self.real.find(name, task)
            if upper is not None:
                known = fs.inodes.get(upper)
                if known is not None:
                    return known
                if is_whiteout(upper):
                    raise LinuxError(ENOENT)
                if upper.mode & S_IFMT != S_IFDIR:
                    ino, device = fs.origins.get(upper.ino) or fs.identity(upper)
                    return self._remember(OverlayInode(fs, upper, True, ino, device, self, name))
        if upper is None:
            lowers = self._merge(self.lowers, name, task)
            if not lowers:
                raise LinuxError(ENOENT)
            lower = lowers[0]
            known = fs.inodes.get(lower)
            if known is not None:
                return known
            ino, device = fs.identity(lower)
            if lower.mode & S_IFMT != S_IFDIR:
                inode = OverlayInode(fs, lower, False, ino, device, self, name)
                # Names of one lower file part when one of them is copied up: each has an inode of its own.
                return inode if lower.nlink > 1 else self._remember(inode)
            return self._remember(
                OverlayDirectory(fs, None, lowers, ino, device, self, name, self._lower_path_of(name))
            )
        lowers = []
        lower_path = self._lower_path_of(name)
        redirect = own_xattr(upper, REDIRECT)
        if redirect is not None:
            lower_path = redirect
            lowers = self._redirected(redirect, task)
        elif own_xattr(upper, OPAQUE) != b"y":
            lowers = self._merge(self.lowers, name, task)
            if lowers and lowers[0].mode & S_IFMT != S_IFDIR:
                lowers = []
        ino, device = fs.origins.get(upper.ino) or fs.identity(upper)
        return self._remember(OverlayDirectory(fs, upper, lowers, ino, device, self, name, lower_path))

    def _lower_path_of(self, name: bytes) -> bytes:
        return self.lower_path + name if self.lower_path == b"/" else self.lower_path + b"/" + name

    def _remember(self, inode: OverlayInode) -> OverlayInode:
        self.fs.inodes[inode.real] = inode
        return inode

    def _merge(self, directories: list[DataInode], name: bytes, task: Task | None) -> list[DataInode]:
        """What ``name`` is in the lower directories: one file, directories that make up one, or nothing."""
        if len(directories) == 1:
            inode = directories[0].find(name, task)
            return [] if inode is None or is_whiteout(inode) else [inode]
        found: list[DataInode] = []
        for directory in directories:
            inode = directory.find(name, task)
            if inode is None:
                continue
            if is_whiteout(inode):
                break
            if inode.mode & S_IFMT != S_IFDIR:
                return found or [inode]
            found.append(inode)
            if own_xattr(inode, OPAQUE) == b"y":
                break
        return found

    def _redirected(self, path: bytes, task: Task | None) -> list[DataInode]:
        """The lower directories at ``path``, from the root of the layers."""
        directories = self.fs.lowers
        for name in path.split(b"/"):
            if name:
                directories = self._merge(directories, name, task)
                if directories and directories[0].mode & S_IFMT != S_IFDIR:
                    return []
        return directories

    def readdir(self, task: Task | None = None) -> list[DirEntry]:
        fs = self.fs
        layers = [self.real, *self.lowers] if self.copied else self.lowers
        if len(layers) == 1 and not self.copied:
            return self._plain(layers[0], task)
        seen: set[bytes] = set()
        entries: list[DirEntry] = []
        last = layers[-1]
        for layer in layers:
            upper = self.copied and layer is self.real
            for entry in layer.readdir(task):
                name = entry.name
                if name in seen:
                    continue
                if layer is not last:
                    seen.add(name)
                if entry.type in (S_IFCHR, 0) and self._hidden(layer, name, task):
                    continue
                origin = fs.origins.get(entry.ino) if upper else None
                entry.ino = origin[0] if origin is not None else fs.number(entry.ino, layer.fs)
                entries.append(entry)
        return entries

    def _plain(self, layer: DataInode, task: Task | None) -> list[DirEntry]:
        """A directory that is in one lower layer only."""
        entries = layer.readdir(task)
        shifted = self.fs.indexes.get(layer.fs, 0)
        kept = []
        for entry in entries:
            if entry.type in (S_IFCHR, 0) and self._hidden(layer, entry.name, task):
                continue
            if shifted:
                entry.ino = self.fs.number(entry.ino, layer.fs)
            kept.append(entry)
        return kept

    def _hidden(self, layer: DataInode, name: bytes, task: Task | None) -> bool:
        inode = layer.find(name, task)
        return inode is not None and is_whiteout(inode)

    # -- making -------------------------------------------------------------------------------

    def _lower_has(self, name: bytes) -> bool:
        """Would ``name`` appear from below if the upper directory had nothing of that name?"""
        return bool(self.lowers) and bool(self._merge(self.lowers, name, None))

    def _make(self, name: bytes, make: Callable[[DataInode], Inode]) -> DataInode:
        """Make something in the upper directory, in the place of a whiteout if there is one."""
        if self.nlink == 0:
            raise LinuxError(ENOENT)
        self.copy_up()
        upper = self.real
        whiteout = upper.find(name)
        if whiteout is None:
            return cast("DataInode", make(upper))
        upper.unlink(name, whiteout)
        try:
            return cast("DataInode", make(upper))
        except BaseException:
            self._whiteout(name)
            raise

    def _whiteout(self, name: bytes) -> None:
        self.real.create(name, S_IFCHR, self.fs.cred)

    def _new(self, name: bytes, upper: DataInode) -> OverlayInode:
        ino, device = self.fs.identity(upper)
        self.entries_changed()
        return self._remember(OverlayInode(self.fs, upper, True, ino, device, self, name))

    def entries_changed(self) -> None:
        """Take over what making and removing names changes in a directory."""
        real = self.real
        self.size = real.size
        self.mtime = real.mtime
        self.ctime = real.ctime
        if not self.lowers:
            self.nlink = real.nlink

    def create(self, name: bytes, mode: int, cred: Credentials, rdev: int = 0) -> Inode:
        if mode & S_IFMT == S_IFCHR and rdev == 0:
            raise LinuxError(EPERM)
        if not self.copied:
            self.copy_up()
        upper = self.real
        if upper.find(name) is None and self.nlink:
            # The usual case. The name isn't there, and not for a whiteout: nothing below has it either.
            inode = self._new(name, cast("DataInode", upper.create(name, mode, cred, rdev)))
            inode.hides_nothing = True
            return inode
        return self._new(name, self._make(name, lambda upper: upper.create(name, mode, cred, rdev)))

    def symlink(self, name: bytes, target: bytes, cred: Credentials) -> Inode:
        return self._new(name, self._make(name, lambda upper: upper.symlink(name, target, cred)))

    def mkdir(self, name: bytes, mode: int, cred: Credentials) -> Inode:
        hides = self._lower_has(name)

        def make(directory: DataInode) -> Inode:
            made = directory.mkdir(name, mode, cred)
            if hides:
                try:
                    made.setxattr(OPAQUE, b"y", 0)
                except BaseException:
                    directory.rmdir(name, made)
                    raise
            return made

        upper = self._make(name, make)
        ino, device = self.fs.identity(upper)
        self.take_over()
        inode = OverlayDirectory(self.fs, upper, [], ino, device, self, name, b"")
        return self._remember(inode)

    def link(self, name: bytes, inode: Inode) -> None:
        assert isinstance(inode, OverlayInode)
        inode.copy_up()

        def make(directory: DataInode) -> Inode:
            directory.link(name, inode.real)
            return inode.real

        self._make(name, make)
        if inode.parent is None:
            inode.parent, inode.name, inode.hides_nothing = self, name, False
        inode.take_over()
        self.take_over()

    def tmpfile(self, mode: int, cred: Credentials) -> Inode:
        self.copy_up()
        upper = cast("DataInode", self.real.tmpfile(mode, cred))
        ino, device = self.fs.identity(upper)
        inode = OverlayInode(self.fs, upper, True, ino, device, None, b"")
        return self._remember(inode)

    # -- taking away --------------------------------------------------------------------------

    def unlink(self, name: bytes, inode: Inode) -> None:
        assert isinstance(inode, OverlayInode)
        self._take_away(name, inode)
        self._gone(name, inode)

    def _take_away(self, name: bytes, inode: OverlayInode) -> None:
        """Take ``name`` out of the upper directory, and hide what lies below. All of it or nothing."""
        directory = isinstance(inode, OverlayDirectory)
        if (inode.hides_nothing and inode.parent is self and inode.name == name) or not self._lower_has(name):
            if directory:
                self.real.rmdir(name, inode.real)
            else:
                self.real.unlink(name, inode.real)
            return
        self.copy_up()
        upper = self.real
        if not inode.copied:
            self._whiteout(name)
            return
        spare = self._spare_name()
        whiteout = upper.create(spare, S_IFCHR, self.fs.cred)
        try:
            if directory:
                upper.rename(spare, whiteout, upper, name, inode.real, RENAME_EXCHANGE)
                upper.rmdir(spare, inode.real)
            else:
                upper.rename(spare, whiteout, upper, name, inode.real, 0)
        except BaseException:
            upper.unlink(spare, whiteout)
            raise

    def _spare_name(self) -> bytes:
        """A name that the upper directory doesn't have, for the length of one operation."""
        number = 0
        while self.real.find(name := b"#overlay%d" % number) is not None:
            number += 1
        return name

    def _gone(self, name: bytes, inode: OverlayInode) -> None:
        real = inode.real
        inode.nlink = real.nlink
        inode.ctime = real.ctime
        if inode.copied and not real.nlink:
            self.fs.origins.pop(real.ino, None)
        if inode.parent is self and inode.name == name:
            inode.parent = None
        self.entries_changed()

    def rmdir(self, name: bytes, inode: Inode) -> None:
        assert isinstance(inode, OverlayDirectory)
        if inode.readdir():
            raise LinuxError(ENOTEMPTY)
        if inode.copied:
            inode.clear_whiteouts()
        self._take_away(name, inode)
        inode.lowers = []
        self._gone(name, inode)
        inode.nlink = 0

    def clear_whiteouts(self) -> None:
        """Empty the upper directory of an empty merged one."""
        for entry in self.real.readdir():
            whiteout = self.real.find(entry.name)
            if whiteout is not None:
                self.real.unlink(entry.name, whiteout)

    # -- renaming -----------------------------------------------------------------------------

    def rename(
        self, name: bytes, inode: Inode, new_dir: Inode, new_name: bytes, target: Inode | None, flags: int
    ) -> None:
        assert isinstance(inode, OverlayInode)
        assert isinstance(new_dir, OverlayDirectory)
        if flags & ~RENAME_EXCHANGE:
            raise LinuxError(EINVAL)
        if new_dir.nlink == 0:
            raise LinuxError(ENOENT)
        exchange = bool(flags & RENAME_EXCHANGE)
        if target is not None and not exchange and isinstance(target, OverlayDirectory):
            if target.readdir():
                raise LinuxError(ENOTEMPTY)
        inode.copy_up()
        self.copy_up()
        new_dir.copy_up()
        inode.settle(new_dir, new_name)
        if exchange:
            assert isinstance(target, OverlayInode)
            target.copy_up()
            target.settle(self, name)
            self.real.rename(name, inode.real, new_dir.real, new_name, target.real, RENAME_EXCHANGE)
            target.parent, target.name, target.hides_nothing = self, name, False
        else:
            self._move(name, inode, new_dir, new_name, target)
        inode.parent, inode.name, inode.hides_nothing = new_dir, new_name, False
        for changed in (self, new_dir, inode):
            changed.take_over()
        if exchange and isinstance(target, OverlayInode):
            target.take_over()

    def _move(
        self,
        name: bytes,
        inode: OverlayInode,
        new_dir: OverlayDirectory,
        new_name: bytes,
        target: Inode | None,
    ) -> None:
        hides = self._lower_has(name)
        in_place = new_dir.real.find(new_name)
        if isinstance(target, OverlayDirectory) and target.copied:
            target.clear_whiteouts()
        if in_place is not None and is_whiteout(in_place):
            # Of a directory nothing but a directory can take the place.
            new_dir.real.unlink(new_name, in_place)
            in_place = None
        self.real.rename(name, inode.real, new_dir.real, new_name, in_place, RENAME_WHITEOUT if hides else 0)
        if isinstance(target, OverlayInode):
            new_dir._gone(new_name, target)
            if isinstance(target, OverlayDirectory):
                target.lowers = []
                target.nlink = 0

    def settle(self, new_dir: OverlayDirectory, new_name: bytes) -> None:
        """Before a directory is moved: say in its upper part where its lower part stays, or that there is
        none although there is a directory below at the new place."""
        if self.lowers:
            self.real.setxattr(REDIRECT, self.lower_path, 0)
        elif new_dir._lower_has(new_name) and own_xattr(self.real, OPAQUE) != b"y":
            self.real.setxattr(OPAQUE, b"y", 0)
