"""May these credentials do this to an inode? (fs/namei.c: generic_permission, fs/attr.c)"""

from __future__ import annotations

from errno import EACCES, EROFS

from runsc.kernel.credentials import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.vfs.dentry import Mount
    from runsc.kernel.vfs.inode import Inode

MAY_EXEC = 1
MAY_WRITE = 2
MAY_READ = 4


def allowed(inode: Inode, cred: Credentials, mask: int) -> bool:
    """Do the permission bits, or a capability, let ``cred`` do all of ``mask`` (MAY_*)?"""
    mode = inode.mode
    if cred.fsuid == inode.uid:
        bits = mode >> 6
    elif cred.in_group(inode.gid):
        bits = mode >> 3
    else:
        bits = mode
    if bits & mask == mask:
        return True
    if inode.is_dir():
        if cred.inode_capable(CAP_DAC_OVERRIDE, inode.uid, inode.gid):
            return True
        return not mask & MAY_WRITE and cred.inode_capable(CAP_DAC_READ_SEARCH, inode.uid, inode.gid)
    if cred.inode_capable(CAP_DAC_OVERRIDE, inode.uid, inode.gid) and (not mask & MAY_EXEC or mode & 0o111):
        return True
    return mask == MAY_READ and cred.inode_capable(CAP_DAC_READ_SEARCH, inode.uid, inode.gid)


def check(inode: Inode, cred: Credentials, mask: int) -> None:
    """Raise EACCES unless ``allowed``."""
    if not allowed(inode, cred, mask):
        raise LinuxError(EACCES)


def check_mount_write(mount: Mount) -> None:
    """Raise EROFS if nothing can be written through this mount."""
    if mount.read_only():
        raise LinuxError(EROFS)


def owner_or_capable(inode: Inode, cred: Credentials) -> bool:
    """May ``cred`` do what only the owner may (chmod, utimes)?"""
    return cred.fsuid == inode.uid or cred.inode_capable(CAP_FOWNER, inode.uid, inode.gid)
