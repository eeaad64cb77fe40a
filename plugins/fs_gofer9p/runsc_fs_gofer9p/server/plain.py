"""9P2000.L: one function for each message. Each takes the client and the message's body, and answers the
body of the reply; it raises OSError, whose errno goes back as Rlerror.
"""

from __future__ import annotations

import os
from errno import EBADF, EINVAL, EISDIR, ENOSPC, EOPNOTSUPP
from stat import S_ISDIR, S_ISGID
from struct import Struct

from runsc._native import lib

from runsc_fs_gofer9p.protocol import (
    EXTENDED,
    MSIZE,
    TATTACH,
    TAUTH,
    TCLUNK,
    TFLUSH,
    TFSYNC,
    TGETATTR,
    TGETLOCK,
    TLCREATE,
    TLINK,
    TLOCK,
    TLOPEN,
    TMKDIR,
    TMKNOD,
    TREAD,
    TREADDIR,
    TREADLINK,
    TREMOVE,
    TRENAME,
    TRENAMEAT,
    TSETATTR,
    TSTATFS,
    TSYMLINK,
    TUNLINKAT,
    TVERSION,
    TWALK,
    TWRITE,
    TXATTRCREATE,
    TXATTRWALK,
    VERSION,
    text,
)
from runsc_fs_gofer9p.server.directory import Listing, qid
from runsc_fs_gofer9p.server.node import Node, check, check_name, failure, require_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc_fs_gofer9p.server.client import Client

_TWO = Struct("<II")
_GETATTR = Struct("<IQ")
_ATTRIBUTES = Struct("<IIIQQQQQ" + "QQ" * 4 + "QQ")
_SETATTR = Struct("<IIIIIQQQQQ")
_READ = Struct("<IQI")
_STATFS = Struct("<IIQQQQQQI")
_LOCK = Struct("<BIQQI")
_XATTRCREATE_TAIL = Struct("<QI")

#: Bits of Tsetattr.
_MODE, _UID, _GID, _SIZE, _ATIME, _MTIME, _CTIME, _ATIME_SET, _MTIME_SET = (1 << bit for bit in range(9))
#: What Tgetattr answers: everything but btime, generation and data version.
_BASIC = 0x7FF
_AT_REMOVEDIR = 0x200
#: Open flags that a client may ask for; Linux's numbers, which 9P2000.L has too.
_OPEN_FLAGS = os.O_ACCMODE | os.O_TRUNC | os.O_APPEND | os.O_DIRECTORY | os.O_DSYNC | os.O_SYNC | os.O_NOATIME
_MAX_XATTR = 65536


def string(body: memoryview, at: int) -> tuple[bytes, int]:
    """The string at ``at``, and what comes behind it. Raises EINVAL."""
    end = at + 2 + int.from_bytes(body[at : at + 2], "little")
    if at + 2 > len(body) or end > len(body):
        raise failure(EINVAL)
    return bytes(body[at + 2 : end]), end


def number(body: memoryview, at: int = 0) -> int:
    if at + 4 > len(body):
        raise failure(EINVAL)
    return int.from_bytes(body[at : at + 4], "little")


def version(client: Client, body: memoryview) -> bytes:
    asked, _end = string(body, 4)
    client.fids.clear()
    client.msize = min(max(number(body), 4096), MSIZE)
    client.extended = asked == EXTENDED
    name = EXTENDED if client.extended else VERSION if asked.startswith(VERSION) else b"unknown"
    return client.msize.to_bytes(4, "little") + text(name)


def auth(client: Client, body: memoryview) -> bytes:
    """None is needed: who has the connection was given it. That is an error without a number."""
    raise OSError(0, "no authentication is needed")


def attach(client: Client, body: memoryview) -> bytes:
    fid, _afid = _TWO.unpack_from(body)
    client.fids.add(fid, client.root)
    return _qid(client.root)


def _qid(node: Node) -> bytes:
    st = node.stat()
    return qid(st.st_mode, st.st_ino, st.st_mtime_ns)


def walk(client: Client, body: memoryview) -> bytes:
    fid, newfid = _TWO.unpack_from(body)
    count = int.from_bytes(body[8:10], "little")
    at = 10
    node = client.fids[fid].node
    qids = []
    try:
        for _ in range(count):
            name, at = string(body, at)
            if name == b"..":
                node = node.parent or client.root
            elif name != b".":
                check_name(name)
                node = node.child(name)
            qids.append(_qid(node))
    except OSError:
        # The first failure is an error, a later one ends the walk.
        if not qids:
            raise
        return len(qids).to_bytes(2, "little") + b"".join(qids)
    if newfid == fid:
        client.fids.remove(fid)
    client.fids.add(newfid, node)
    return len(qids).to_bytes(2, "little") + b"".join(qids)


def clunk(client: Client, body: memoryview) -> bytes:
    fid = client.fids[number(body)]
    try:
        if fid.attribute is not None and fid.room >= 0:
            if len(fid.value) != fid.room:
                raise failure(EINVAL)
            if fid.room == 0 and not fid.flags:
                os.removexattr(fid.node.path(), fid.attribute)
            else:
                os.setxattr(fid.node.path(), fid.attribute, fid.value, fid.flags)
    finally:
        client.fids.remove(number(body))
    return b""


def remove(client: Client, body: memoryview) -> bytes:
    """Linux's client doesn't send it: a file that has several names can't be told which."""
    client.fids.remove(number(body))
    raise failure(EOPNOTSUPP)


def flush(client: Client, body: memoryview) -> bytes:
    """Requests are answered in turn, so what is to be flushed has been answered."""
    return b""


def getattr_(client: Client, body: memoryview) -> bytes:
    fid, _mask = _GETATTR.unpack_from(body)
    st = client.fids[fid].node.stat()
    return (
        _BASIC.to_bytes(8, "little")
        + qid(st.st_mode, st.st_ino, st.st_mtime_ns)
        + _ATTRIBUTES.pack(
            st.st_mode, st.st_uid, st.st_gid, st.st_nlink, st.st_rdev, st.st_size, st.st_blksize,
            st.st_blocks, *divmod(st.st_atime_ns, 10**9), *divmod(st.st_mtime_ns, 10**9),
            *divmod(st.st_ctime_ns, 10**9), 0, 0, 0, 0,
        )
    )  # fmt: skip


def setattr_(client: Client, body: memoryview) -> bytes:
    fid, valid, mode, uid, gid, size, atime, atime_ns, mtime, mtime_ns = _SETATTR.unpack_from(body)
    client.writable()
    node = client.fids[fid].node
    path = node.path()
    if valid & _SIZE:
        fd = node.open(os.O_WRONLY)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)
    if valid & (_UID | _GID):
        os.chown(path, uid if valid & _UID else -1, gid if valid & _GID else -1)
    if valid & _MODE:
        os.chmod(path, mode & 0o7777)
    if valid & (_ATIME | _MTIME):
        st = node.stat()
        times = [st.st_atime_ns, st.st_mtime_ns]
        if valid & _ATIME:
            times[0] = atime * 10**9 + atime_ns if valid & _ATIME_SET else client.now()
        if valid & _MTIME:
            times[1] = mtime * 10**9 + mtime_ns if valid & _MTIME_SET else client.now()
        os.utime(path, ns=(times[0], times[1]))
    return b""


def lopen(client: Client, body: memoryview) -> bytes:
    number_, flags = _TWO.unpack_from(body)
    fid = client.fids[number_]
    if fid.fd >= 0:
        raise failure(EBADF)
    flags &= _OPEN_FLAGS
    if flags & (os.O_ACCMODE | os.O_TRUNC):
        client.writable()
    fid.fd = fid.node.open(flags)
    return _qid(fid.node) + bytes(4)


def lcreate(client: Client, body: memoryview) -> bytes:
    fid = client.fids[number(body)]
    name, at = string(body, 4)
    flags, mode = _TWO.unpack_from(body, at)
    gid = number(body, at + 8)
    client.writable()
    check_name(name)
    if fid.fd >= 0:
        raise failure(EBADF)
    flags = flags & _OPEN_FLAGS | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, mode & 0o7777, dir_fd=fid.node.fd)
    try:
        made = Node(os.open(b"%d" % fd, os.O_PATH | os.O_CLOEXEC), fid.node)
        own_group(made, gid, fid.node)
    except BaseException:
        os.close(fd)
        raise
    fid.node = made
    fid.fd = fd
    return _qid(made) + bytes(4)


def own_group(made: Node, gid: int, directory: Node) -> None:
    """A new file has the group that the client says, unless the directory says which."""
    if not directory.stat().st_mode & S_ISGID and made.stat().st_gid != gid:
        try:
            os.chown(made.path(), -1, gid)
        except PermissionError:
            return  # an ordinary user's files are of that user's group


def symlink(client: Client, body: memoryview) -> bytes:
    directory = client.fids[number(body)].node
    name, at = string(body, 4)
    target, at = string(body, at)
    client.writable()
    check_name(name)
    os.symlink(target, name, dir_fd=directory.fd)
    made = directory.child(name)
    own_group(made, number(body, at), directory)
    return _qid(made)


def mknod(client: Client, body: memoryview) -> bytes:
    directory = client.fids[number(body)].node
    name, at = string(body, 4)
    mode, major = _TWO.unpack_from(body, at)
    minor, gid = _TWO.unpack_from(body, at + 8)
    client.writable()
    check_name(name)
    os.mknod(name, mode, os.makedev(major, minor), dir_fd=directory.fd)
    made = directory.child(name)
    own_group(made, gid, directory)
    return _qid(made)


def mkdir(client: Client, body: memoryview) -> bytes:
    directory = client.fids[number(body)].node
    name, at = string(body, 4)
    mode, gid = _TWO.unpack_from(body, at)
    client.writable()
    check_name(name)
    os.mkdir(name, mode & 0o7777, dir_fd=directory.fd)
    made = directory.child(name)
    own_group(made, gid, directory)
    return _qid(made)


def link(client: Client, body: memoryview) -> bytes:
    directory, fid = _TWO.unpack_from(body)
    name, _at = string(body, 8)
    client.writable()
    check_name(name)
    os.link(
        client.fids[fid].node.path(), name, src_dir_fd=client.here, dst_dir_fd=client.fids[directory].node.fd,
        follow_symlinks=True,
    )  # fmt: skip
    return b""


def rename(client: Client, body: memoryview) -> bytes:
    """By a fid, whose name isn't known: Linux's client falls back to it only where Trenameat isn't there."""
    raise failure(EOPNOTSUPP)


def renameat(client: Client, body: memoryview) -> bytes:
    old = client.fids[number(body)].node
    name, at = string(body, 4)
    new = client.fids[number(body, at)].node
    new_name, _at = string(body, at + 4)
    client.writable()
    check_name(name)
    check_name(new_name)
    os.rename(name, new_name, src_dir_fd=old.fd, dst_dir_fd=new.fd)
    return b""


def unlinkat(client: Client, body: memoryview) -> bytes:
    directory = client.fids[number(body)].node
    name, at = string(body, 4)
    client.writable()
    check_name(name)
    if number(body, at) & _AT_REMOVEDIR:
        os.rmdir(name, dir_fd=directory.fd)
    else:
        os.unlink(name, dir_fd=directory.fd)
    return b""


def readlink(client: Client, body: memoryview) -> bytes:
    return text(read_link(client.fids[number(body)].node))


def read_link(node: Node) -> bytes:
    """The text of a link that is held open (readlinkat(2) with an empty name)."""
    target: bytes = os.readlink(b"", dir_fd=node.fd)
    return target


def read(client: Client, body: memoryview) -> bytes:
    number_, offset, count = _READ.unpack_from(body)
    fid = client.fids[number_]
    count = min(count, client.msize - 11)
    if fid.attribute is not None:
        data = fid.value[offset : offset + count]
    else:
        if fid.fd < 0:
            raise failure(EBADF)
        data = os.pread(fid.fd, count, offset)
    return len(data).to_bytes(4, "little") + data


def write(client: Client, body: memoryview) -> bytes:
    number_, offset, count = _READ.unpack_from(body)
    fid = client.fids[number_]
    data = body[16 : 16 + count]
    if len(data) != count:
        raise failure(EINVAL)
    if fid.attribute is not None:
        if fid.room < 0 or offset != len(fid.value) or offset + count > fid.room:
            raise failure(EINVAL if fid.room < 0 else ENOSPC)
        fid.value += bytes(data)
        return bytes(body[12:16])
    if fid.fd < 0:
        raise failure(EBADF)
    done = os.pwrite(fid.fd, data, offset)
    return done.to_bytes(4, "little")


def readdir(client: Client, body: memoryview) -> bytes:
    number_, offset, count = _READ.unpack_from(body)
    fid = client.fids[number_]
    if fid.fd < 0:
        raise failure(EBADF)
    if fid.listing is None or offset == 0:
        require_directory(fid.node)
        fid.listing = Listing(fid.node, fid.fd)
    data = fid.listing.plain(offset, min(count, client.msize - 11))
    return len(data).to_bytes(4, "little") + data


def fsync(client: Client, body: memoryview) -> bytes:
    fid = client.fids[number(body)]
    if fid.fd < 0:
        raise failure(EBADF)
    if len(body) >= 8 and number(body, 4):
        os.fdatasync(fid.fd)
    else:
        os.fsync(fid.fd)
    return b""


def statfs(client: Client, body: memoryview) -> bytes:
    node = client.fids[number(body)].node
    st = os.statvfs(node.path())
    kind = check(lib.rn_file_system_type(node.fd))
    return _STATFS.pack(
        kind, st.f_bsize, st.f_blocks, st.f_bfree, st.f_bavail, st.f_files, st.f_ffree, 0, st.f_namemax
    )


def xattrwalk(client: Client, body: memoryview) -> bytes:
    number_, newfid = _TWO.unpack_from(body)
    name, _at = string(body, 8)
    node = client.fids[number_].node
    if name:
        value = os.getxattr(node.path(), name)
    else:
        value = b"".join(os.fsencode(item) + b"\0" for item in os.listxattr(node.path()))
    fid = client.fids.add(newfid, node)
    fid.attribute = name
    fid.value = value
    return len(value).to_bytes(8, "little")


def xattrcreate(client: Client, body: memoryview) -> bytes:
    fid = client.fids[number(body)]
    name, at = string(body, 4)
    if at + 12 > len(body):
        raise failure(EINVAL)
    size, flags = _XATTRCREATE_TAIL.unpack_from(body, at)
    client.writable()
    if size > _MAX_XATTR:
        raise failure(ENOSPC)
    if flags & ~3 or not name:
        raise failure(EINVAL)
    fid.attribute = name
    fid.value = b""
    fid.room = size
    fid.flags = flags
    return b""


def lock(client: Client, body: memoryview) -> bytes:
    """Locks are the client's affair: granted, as between clients nobody else has any."""
    fid = client.fids[number(body)]
    _LOCK.unpack_from(body, 4)
    if S_ISDIR(fid.node.stat().st_mode):
        raise failure(EISDIR)
    return b"\0"


def getlock(client: Client, body: memoryview) -> bytes:
    client.fids[number(body)]
    fields = bytes(body[4:])
    if len(fields) < 21:
        raise failure(EINVAL)
    return b"\2" + fields[1:]  # F_UNLCK: nobody has one


MESSAGES: dict[int, Callable[[Client, memoryview], bytes]] = {
    TATTACH: attach,
    TAUTH: auth,
    TCLUNK: clunk,
    TFLUSH: flush,
    TFSYNC: fsync,
    TGETATTR: getattr_,
    TGETLOCK: getlock,
    TLCREATE: lcreate,
    TLINK: link,
    TLOCK: lock,
    TLOPEN: lopen,
    TMKDIR: mkdir,
    TMKNOD: mknod,
    TREAD: read,
    TREADDIR: readdir,
    TREADLINK: readlink,
    TREMOVE: remove,
    TRENAME: rename,
    TRENAMEAT: renameat,
    TSETATTR: setattr_,
    TSTATFS: statfs,
    TSYMLINK: symlink,
    TUNLINKAT: unlinkat,
    TVERSION: version,
    TWALK: walk,
    TWRITE: write,
    TXATTRCREATE: xattrcreate,
    TXATTRWALK: xattrwalk,
}

