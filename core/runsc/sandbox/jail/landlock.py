"""A Landlock domain for the sandbox's process (landlock(7); Linux 5.13 and later, for any user).

What seccomp can't see, this forbids: which process a signal or a ptrace request goes to, and what lies behind
a path. Reading files is left alone: which ones can be read is the file system's affair.

Linux lets a process trace and signal only within its own domain and those nested in it, so the guest
processes must be made after this, by whoever entered it.
"""

from __future__ import annotations

import os
import stat

from runsc.errors import RunscError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# LANDLOCK_ACCESS_FS_*: bits 2 and 3 are reading files and listing directories.
_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ = 3 << 2
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15
_MAKE_AND_REMOVE = 0x1FF0  # bits 4 to 12
_REFER = 1 << 13

#: What a file that isn't a directory can be granted.
_FILE_ACCESS = _WRITE_FILE | _TRUNCATE | _IOCTL_DEV

_SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0
_SCOPE_SIGNAL = 1 << 1

#: From which version on (ABI): bits of file access.
_ACCESS_SINCE = ((1, _EXECUTE | _WRITE_FILE | _MAKE_AND_REMOVE), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
_SCOPES_SINCE = 6


def enter_trees(trees: Iterable[tuple[int, bool]]) -> str:
    """Enter a new domain in which no file can be reached but what lies beneath these descriptors, each of
    them perhaps read-only. As ``enter_domain``: what isn't forbidden, in a few words. Raises
    ``RunscError``."""
    from runsc._native import lib

    abi = lib.rn_landlock_abi()
    if abi <= 0:
        return "no Landlock on this host"
    access = _READ
    for since, bits in _ACCESS_SINCE:
        if abi >= since:
            access |= bits
    scopes = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL if abi >= _SCOPES_SINCE else 0
    size = 24 if scopes else 16 if abi >= 4 else 8
    ruleset = _checked("landlock_create_ruleset", lib.rn_landlock_ruleset(access, 0, scopes, size))
    try:
        for fd, read_only in trees:
            granted = _READ if read_only else access & ~_EXECUTE & ~_IOCTL_DEV
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                granted &= _FILE_ACCESS | _READ_FILE
            _add(ruleset, fd, granted)
        _checked("landlock_restrict_self", lib.rn_landlock_restrict(ruleset))
    finally:
        os.close(ruleset)
    return ""


def enter_domain(
    writable: Iterable[bytes] = (), devices: Iterable[int] = (0, 1, 2), beneath: Iterable[int] = ()
) -> str:
    """Enter a new domain. What it doesn't forbid, in a few words ("" if it is complete).

    ``writable``: host paths below which files may still be changed (a device node counts as a path);
    ``devices``: descriptors whose device node, if they are one (a terminal), may be opened again;
    ``beneath``: descriptors of directories and files that may be changed, and made and removed beneath.
    no_new_privs must be set. Raises ``RunscError`` if the host has Landlock but doesn't let us.
    """
    from runsc._native import lib

    abi = lib.rn_landlock_abi()
    if abi <= 0:
        return "no Landlock on this host: other processes of this user are within reach"
    access = 0
    for since, bits in _ACCESS_SINCE:
        if abi >= since:
            access |= bits
    scopes = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL if abi >= _SCOPES_SINCE else 0
    # struct landlock_ruleset_attr grew with the network (version 4) and the scopes.
    size = 24 if scopes else 16 if abi >= 4 else 8
    ruleset = _checked("landlock_create_ruleset", lib.rn_landlock_ruleset(access, 0, scopes, size))
    try:
        for fd in devices:
            _allow_device(ruleset, fd, access & _FILE_ACCESS)
        for path in writable:
            _allow_path(ruleset, path, access & ~_EXECUTE)
        for fd in beneath:
            _allow_tree(ruleset, fd, access & ~_EXECUTE)
        _checked("landlock_restrict_self", lib.rn_landlock_restrict(ruleset))
    finally:
        os.close(ruleset)
    return "" if scopes else f"Landlock version {abi} of this host does not keep signals in"


def _allow_device(ruleset: int, fd: int, access: int) -> None:
    try:
        if not stat.S_ISCHR(os.fstat(fd).st_mode):
            return
        node = os.open(f"/proc/self/fd/{fd}", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # closed, or /proc is hidden: then nobody opens it again that way
    _add_and_close(ruleset, node, access)


def _allow_path(ruleset: int, path: bytes, access: int) -> None:
    try:
        node = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what isn't there can't be written to; who needs it will say so
    if not stat.S_ISDIR(os.fstat(node).st_mode):
        access &= _FILE_ACCESS
    _add_and_close(ruleset, node, access)


def _allow_tree(ruleset: int, fd: int, access: int) -> None:
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        _add(ruleset, fd, access & ~_IOCTL_DEV)
    elif stat.S_ISREG(mode):
        _add(ruleset, fd, access & (_WRITE_FILE | _TRUNCATE))


def _add_and_close(ruleset: int, node: int, access: int) -> None:
    try:
        _add(ruleset, node, access)
    finally:
        os.close(node)


def _add(ruleset: int, node: int, access: int) -> None:
    from runsc._native import lib

    _checked("landlock_add_rule", lib.rn_landlock_allow(ruleset, access, node))


def _checked(what: str, result: int) -> int:
    if result < 0:
        raise RunscError(
            f"the sandbox's process can't be confined: {what}: {os.strerror(-result)}",
            "report this, with the host's kernel and how runsc was started",
        )
    return result
