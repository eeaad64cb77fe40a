"""Copying a file up into the upper layer (fs/overlayfs/copy_up.c)."""

from __future__ import annotations

from errno import ENOENT, ENXIO, EOPNOTSUPP
from stat import S_IFDIR, S_IFLNK, S_IFREG

from runsc.abi.stat import S_IFMT
from runsc.hints import cast
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.overlay.inode import PREFIX
from runsc.kernel.vfs.file import SEEK_DATA, SEEK_HOLE
from runsc.kernel.vfs.inode import SetAttr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.fs.overlay.directory import OverlayDirectory
    from runsc.kernel.fs.overlay.inode import OverlayInode
    from runsc.kernel.fs.regular import DataInode

#: How much is copied at once.
_CHUNK = 1 << 20


def copy_up(inode: OverlayInode, size: int | None) -> None:
    """Copy ``inode`` up, with every directory above it that isn't in the upper layer yet.

    ``size``: how much of its data is needed, None for all. Raises what the layers raise (ENOSPC, EIO...); the
    overlay is then as it was, perhaps with directories copied up, which nobody can tell.
    """
    way: list[OverlayInode] = [inode]
    while (parent := way[-1].parent) is not None and not parent.copied:
        way.append(parent)
    while way:
        _copy_one(way.pop(), size if not way else None)


def _copy_one(inode: OverlayInode, size: int | None) -> None:
    fs = inode.fs
    lower = inode.real
    parent = inode.parent
    lower.refresh()
    kind = lower.mode & S_IFMT
    attributes = SetAttr(
        mode=None if kind == S_IFLNK else lower.mode & 0o7777, uid=lower.uid, gid=lower.gid,
        atime=lower.atime, mtime=lower.mtime,
    )  # fmt: skip
    if parent is None:
        # Unlinked but open: the copy has no name either.
        if kind != S_IFREG:
            raise LinuxError(ENOENT)
        upper = cast("DataInode", fs.upper.tmpfile(S_IFREG | 0o600, fs.cred))
        _copy_data(lower, upper, size)
        _finish(lower, upper, attributes)
    else:
        upper = _copy_named(inode, lower, parent, attributes, kind, size)
        fs.origins[upper.ino] = (inode.ino, inode.device)
    inode.real = upper
    inode.copied = True
    inode.take_over()
    fs.inodes[upper] = inode


def _copy_named(
    inode: OverlayInode, lower: DataInode, parent: OverlayDirectory, attributes: SetAttr, kind: int,
    size: int | None,
) -> DataInode:  # fmt: skip
    fs = inode.fs
    directory = parent.real
    times = SetAttr(atime=directory.atime, mtime=directory.mtime)
    name = inode.name
    if kind == S_IFDIR:
        upper = directory.mkdir(name, S_IFDIR | 0o700, fs.cred)
    elif kind == S_IFLNK:
        upper = directory.symlink(name, lower.readlink(), fs.cred)
    elif kind == S_IFREG:
        upper = directory.create(name, S_IFREG | 0o600, fs.cred)
    else:
        upper = directory.create(name, lower.mode, fs.cred, lower.rdev)
    upper = cast("DataInode", upper)
    try:
        if kind == S_IFREG:
            _copy_data(lower, upper, size)
        _finish(lower, upper, attributes)
    except BaseException:
        if kind == S_IFDIR:
            directory.rmdir(name, upper)
        else:
            directory.unlink(name, upper)
        raise
    finally:
        # For those who look at the directory nothing has changed.
        directory.setattr(times)
    return upper


def _finish(lower: DataInode, upper: DataInode, attributes: SetAttr) -> None:
    """Extended attributes, then owner and mode, then times, which the others would change."""
    for name in lower.listxattr():
        if name.startswith(PREFIX):
            continue
        try:
            upper.setxattr(name, lower.getxattr(name), 0)
        except (LinuxError, OSError) as error:
            # An attribute that the upper file system has no place for is left behind, as by cp -a.
            if error.errno != EOPNOTSUPP:
                raise
    upper.setattr(attributes)


def _copy_data(lower: DataInode, upper: DataInode, limit: int | None) -> None:
    """Copy the data, but not the holes."""
    size = lower.size if limit is None else min(limit, lower.size)
    if not size:
        return
    lower.open_data(False)
    try:
        upper.open_data(True)
        try:
            at = 0
            while at < size:
                start = _seek(lower, at, SEEK_DATA, size)
                end = _seek(lower, start, SEEK_HOLE, size) if start < size else size
                at = start
                while at < end:
                    data = lower.read_data(min(_CHUNK, end - at), at)
                    if not data:
                        size = at
                        break
                    done = 0
                    while done < len(data):
                        done += upper.write_data(data[done:] if done else data, at + done)
                    at += done
            if upper.size < size:
                upper.truncate(size)
        finally:
            upper.close_data(True)
    finally:
        lower.close_data(False)


def _seek(lower: DataInode, offset: int, whence: int, size: int) -> int:
    try:
        return min(lower.seek_data(offset, whence), size)
    except (LinuxError, OSError) as error:
        if error.errno != ENXIO:
            raise
        return size
