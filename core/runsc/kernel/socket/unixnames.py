"""Names of local sockets: path names, abstract names, and unnamed (unix(7))."""

from __future__ import annotations

from errno import EACCES, EADDRINUSE, ECONNREFUSED, EEXIST, EINVAL, ENOSPC, EPROTOTYPE
from os import urandom
from stat import S_IFSOCK

from runsc.abi.fcntl import AT_FDCWD
from runsc.abi.socket import AF_UNIX, SOCKADDR_UN
from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.namei import lookup
from runsc.kernel.vfs.operations import make_node
from runsc.kernel.vfs.permission import MAY_WRITE, allowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.nsproxy import NetNamespace
    from runsc.kernel.socket.unix import UnixSocket
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

FAMILY = AF_UNIX.to_bytes(2, "little")
#: How many names autobind chooses from: five hexadecimal digits.
_AUTOBIND_NAMES = 1 << 20


def split(address: bytes) -> bytes:
    """The name in a socket address: with a leading NUL if it is abstract, else a path without NUL. Raises
    EINVAL (unix_validate_addr)."""
    if not 2 < len(address) <= SOCKADDR_UN or address[:2] != FAMILY:
        raise LinuxError(EINVAL)
    name = address[2:]
    return name if not name[0] else name.split(b"\0", 1)[0]


def abstract_names(net: NetNamespace) -> dict[bytes, UnixSocket]:
    """The abstract names in use, each with its leading NUL."""
    names: dict[bytes, UnixSocket] | None = net.extra.get("unix_names")
    if names is None:
        names = net.extra["unix_names"] = {}
    return names


def bind_path(task: Task, socket: UnixSocket, name: bytes) -> Path:
    """Make the socket's file; raises EADDRINUSE and what mknod(2) does. Its place, pinned."""
    try:
        path = make_node(task, AT_FDCWD, name, S_IFSOCK | socket.inode.mode & 0o777)
    except LinuxError as error:
        raise LinuxError(EADDRINUSE) if error.errno == EEXIST else error from None
    inode = path.dentry.inode
    assert inode is not None
    if inode.extra is None:
        inode.extra = {}
    inode.extra["socket"] = socket
    path.dentry.pins += 1
    return path


def bind_abstract(net: NetNamespace, socket: UnixSocket, name: bytes) -> None:
    """Take an abstract name; raises EADDRINUSE."""
    if abstract_names(net).setdefault(name, socket) is not socket:
        raise LinuxError(EADDRINUSE)


def autobind(net: NetNamespace, socket: UnixSocket) -> bytes:
    """Take a free abstract name of five hexadecimal digits; raises ENOSPC when there is none."""
    names = abstract_names(net)
    first = int.from_bytes(urandom(4), "little") % _AUTOBIND_NAMES
    for step in range(_AUTOBIND_NAMES):
        name = b"\0%05x" % ((first + step) % _AUTOBIND_NAMES)
        if name not in names:
            names[name] = socket
            return name
    raise LinuxError(ENOSPC)


def find(task: Task, name: bytes, kind: int) -> UnixSocket:
    """The socket bound to ``name``. Raises ECONNREFUSED, EPROTOTYPE if it is of another kind, EACCES and what
    a walk raises (unix_find_other)."""
    found: UnixSocket | None
    if name[:1] == b"\0":
        found = abstract_names(task.nsproxy.net).get(name)
    else:
        inode = lookup(task, AT_FDCWD, name).dentry.inode
        assert inode is not None
        if not allowed(inode, task.cred, MAY_WRITE):
            raise LinuxError(EACCES)
        found = inode.extra.get("socket") if inode.extra and inode.is_socket() else None
    if found is None:
        raise LinuxError(ECONNREFUSED)
    if found.kind != kind:
        raise LinuxError(EPROTOTYPE)
    return found
