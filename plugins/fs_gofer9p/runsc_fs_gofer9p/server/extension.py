"""What our own client is offered besides: see ``runsc_fs_gofer9p.protocol``. As ``plain``."""

from __future__ import annotations

import os
from errno import EINVAL, EXDEV
from stat import S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISLNK, S_ISREG, S_ISSOCK
from struct import Struct

from runsc._native import lib

from runsc_fs_gofer9p.protocol import (
    CHMOD,
    CHOWN,
    NOFID,
    TRUNCATE,
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
)
from runsc_fs_gofer9p.server.directory import Listing
from runsc_fs_gofer9p.server.node import Node, attributes, check, check_name, failure, require_directory
from runsc_fs_gofer9p.server.plain import number, read_link, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc_fs_gofer9p.server.client import Client

_THREE = Struct("<III")
_CREATE = Struct("<IIIII")
_MAKE = Struct("<IIQII")
_CHANGE = Struct("<IBqq")
_XATTR = Struct("<IBI")
_STATFS = Struct("<9q")
_LISTED = Struct("<II")
_OPEN_FLAGS = os.O_ACCMODE | os.O_TRUNC | os.O_APPEND
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_O_TMPFILE = os.O_TMPFILE

# inotify(7): names, attributes, IN_ONLYDIR, IN_EXCL_UNLINK; and data.
_WATCH = 0x100 | 0x200 | 0x40 | 0x80 | 0x4 | 0x01000000 | 0x04000000
_WATCH_DATA = 0x2

#: How many names one message may walk.
_MAX_WALK = 256


def node_of(client: Client, fid: int, name: bytes) -> Node:
    """The file that a fid and a name (or none) stand for."""
    node = client.fids[fid].node
    if not name:
        return node
    check_name(name)
    return node.child(name)


def find(client: Client, body: memoryview) -> bytes:
    name, _at = string(body, 4)
    node = client.fids[number(body)].node
    if name:
        check_name(name)
    return attributes(node.fd, name)


def walk(client: Client, body: memoryview) -> bytes:
    node = client.fids[number(body)].node
    watching = bool(body[4])
    count = int.from_bytes(body[5:7], "little")
    if count > _MAX_WALK:
        raise failure(EINVAL)
    at = 7
    parts = []
    for index in range(count):
        name, at = string(body, at)
        check_name(name)
        watch = watch_node(client, node, True) if watching else -1
        try:
            if index == count - 1:
                found = attributes(node.fd, name)
            else:
                node = node.child(name)
                found = attributes(node.fd)
        except OSError as error:
            parts.append(_LISTED.pack(error.errno or EINVAL, watch & 0xFFFFFFFF) + bytes(104))
            break
        parts.append(_LISTED.pack(0, watch & 0xFFFFFFFF) + found)
        if not S_ISDIR(int.from_bytes(found[:8], "little")):
            break
    return len(parts).to_bytes(2, "little") + b"".join(parts)


def open_directory(client: Client, body: memoryview) -> bytes:
    name, _at = string(body, 8)
    node = node_of(client, number(body), name)
    require_directory(node)
    client.fids.add(number(body, 4), node)
    return attributes(node.fd)


def open_(client: Client, body: memoryview) -> bytes:
    fid, newfid, flags = _THREE.unpack_from(body)
    name, _at = string(body, 12)
    flags &= _OPEN_FLAGS
    if flags & (os.O_ACCMODE | os.O_TRUNC):
        client.writable()
    node = node_of(client, fid, name)
    if S_ISDIR(node.stat().st_mode):
        raise failure(EINVAL)
    fd = node.open(flags)
    client.passing.append(fd)
    client.fids.add(newfid, node)
    return attributes(fd)


def create(client: Client, body: memoryview) -> bytes:
    fid, newfid, mode, uid, gid = _CREATE.unpack_from(body)
    name, _at = string(body, 20)
    client.writable()
    directory = client.fids[fid].node
    if name:
        check_name(name)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFELY
        fd = os.open(name, flags, mode & 0o7777, dir_fd=directory.fd)
    else:
        fd = os.open(directory.path(), os.O_RDWR | _O_TMPFILE | os.O_CLOEXEC, mode & 0o7777)
    client.passing.append(fd)
    node = Node(os.open(b"%d" % fd, os.O_PATH | os.O_CLOEXEC), directory)
    own(node, mode, uid, gid)
    if newfid != NOFID:
        client.fids.add(newfid, node)
    return attributes(fd)


def own(node: Node, mode: int | None, uid: int, gid: int) -> None:
    """Give a new file its owner and mode, as far as the host allows."""
    st = node.stat()
    changed = False
    if (st.st_uid, st.st_gid) != (uid, gid):
        try:
            os.chown(node.path(), uid, gid)
            changed = True
        except PermissionError:
            # An ordinary user's files are that user's; the guest sees who owns them.
            changed = False
    if mode is not None and not S_ISLNK(st.st_mode) and (changed or (st.st_mode ^ mode) & 0o7777):
        os.chmod(node.path(), mode & 0o7777)


def list_(client: Client, body: memoryview) -> bytes:
    fid = client.fids[number(body)]
    if body[4] or fid.listing is None:
        fd = os.open(fid.node.path(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fid.listing = Listing(fid.node, fd)
        finally:
            os.close(fd)
    reply = fid.listing.with_attributes()
    if fid.listing.at >= len(fid.listing.entries):
        fid.listing = None if reply[:4] == bytes(4) else fid.listing
    return reply


def make(client: Client, body: memoryview) -> bytes:
    fid, mode, rdev, uid, gid = _MAKE.unpack_from(body)
    name, at = string(body, _MAKE.size)
    target, _at = string(body, at)
    client.writable()
    check_name(name)
    directory = client.fids[fid].node
    if S_ISDIR(mode):
        os.mkdir(name, mode & 0o7777, dir_fd=directory.fd)
    elif S_ISLNK(mode):
        os.symlink(target, name, dir_fd=directory.fd)
    elif S_ISFIFO(mode) or S_ISSOCK(mode) or S_ISCHR(mode) or S_ISBLK(mode):
        os.mknod(name, mode, rdev, dir_fd=directory.fd)
    else:
        raise failure(EINVAL)
    made = directory.child(name)
    own(made, mode, uid, gid)
    return attributes(made.fd)


def change(client: Client, body: memoryview) -> bytes:
    fid, what, a, b = _CHANGE.unpack_from(body)
    name, _at = string(body, _CHANGE.size)
    client.writable()
    node = node_of(client, fid, name)
    path = node.path()
    if what == CHMOD:
        if S_ISLNK(node.stat().st_mode):
            raise failure(EINVAL)
        os.chmod(path, a & 0o7777)
    elif what == CHOWN:
        os.chown(path, a, b)
    elif what == UTIMES:
        os.utime(path, ns=(a, b))
    elif what == TRUNCATE:
        fd = node.open(os.O_WRONLY)
        try:
            os.ftruncate(fd, a)
        finally:
            os.close(fd)
    else:
        raise failure(EINVAL)
    return b""


def xattr(client: Client, body: memoryview) -> bytes:
    fid, what, flags = _XATTR.unpack_from(body)
    name, at = string(body, _XATTR.size)
    attribute, at = string(body, at)
    path_node = node_of(client, fid, name)
    path = path_node.path()
    if what == XATTR_GET:
        return os.getxattr(path, attribute)
    if what == XATTR_LIST:
        return b"".join(os.fsencode(item) + b"\0" for item in os.listxattr(path))
    client.writable()
    if what == XATTR_SET:
        os.setxattr(path, attribute, bytes(body[at:]), flags & 3)
    elif what == XATTR_REMOVE:
        os.removexattr(path, attribute)
    else:
        raise failure(EINVAL)
    return b""


def link(client: Client, body: memoryview) -> bytes:
    name, at = string(body, 8)
    new_name, _at = string(body, at)
    client.writable()
    check_name(new_name)
    node = node_of(client, number(body), name)
    directory = client.fids[number(body, 4)].node
    os.link(
        node.path(), new_name, src_dir_fd=client.here, dst_dir_fd=directory.fd, follow_symlinks=True
    )
    return b""


def rename(client: Client, body: memoryview) -> bytes:
    fid, newfid, flags = _THREE.unpack_from(body)
    name, at = string(body, 12)
    new_name, _at = string(body, at)
    client.writable()
    check_name(name)
    check_name(new_name)
    if flags & ~7:
        raise failure(EINVAL)
    old, new = client.fids[fid].node, client.fids[newfid].node
    check(lib.rn_renameat2(old.fd, name, new.fd, new_name, flags))
    return b""


def readlink(client: Client, body: memoryview) -> bytes:
    name, _at = string(body, 4)
    return read_link(node_of(client, number(body), name))


def watch_node(client: Client, node: Node, data: bool) -> int:
    if client.events < 0:
        return -1
    result = lib.rn_watch(client.events, node.path(), _WATCH | _WATCH_DATA if data else _WATCH)
    return int(result) if result >= 0 else -1


def watch(client: Client, body: memoryview) -> bytes:
    found = watch_node(client, client.fids[number(body)].node, bool(body[4]))
    return (found & 0xFFFFFFFF).to_bytes(4, "little")


def unwatch(client: Client, body: memoryview) -> bytes:
    lib.rn_unwatch(client.events, number(body))
    return b""


def events(client: Client, body: memoryview) -> bytes:
    if client.events >= 0:
        client.passing.append(os.dup(client.events))
    return client.ident.to_bytes(8, "little")


def root(client: Client, body: memoryview) -> bytes:
    node = client.fids[number(body)].node
    if not S_ISREG(node.stat().st_mode):
        raise failure(EXDEV)
    client.passing.append(node.open(os.O_RDONLY))
    writable = False
    if not client.read_only:
        try:
            client.passing.append(node.open(os.O_RDWR))
            writable = True
        except OSError:
            # As with any mount of what this user may only read: writing will fail, not mounting.
            writable = False
    return bytes((1, writable))


def sync(client: Client, body: memoryview) -> bytes:
    node = client.fids[number(body)].node
    if client.read_only:
        return b""
    fd = os.open(node.path(), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if body[4]:
            check(lib.rn_syncfs(fd))
        else:
            os.fsync(fd)
    finally:
        os.close(fd)
    return b""


def statfs(client: Client, body: memoryview) -> bytes:
    node = client.fids[number(body)].node
    st = os.statvfs(node.path())
    kind = check(lib.rn_file_system_type(node.fd))
    return _STATFS.pack(
        kind, st.f_bsize, st.f_blocks, st.f_bfree, st.f_bavail, st.f_files, st.f_ffree, st.f_namemax, 0
    )


MESSAGES: dict[int, Callable[[Client, memoryview], bytes]] = {
    XATTR: xattr,
    XCHANGE: change,
    XCREATE: create,
    XEVENTS: events,
    XFIND: find,
    XLINK: link,
    XLIST: list_,
    XMAKE: make,
    XOPEN: open_,
    XOPENDIR: open_directory,
    XREADLINK: readlink,
    XRENAME: rename,
    XROOT: root,
    XSTATFS: statfs,
    XSYNC: sync,
    XUNWATCH: unwatch,
    XWALK: walk,
    XWATCH: watch,
}
