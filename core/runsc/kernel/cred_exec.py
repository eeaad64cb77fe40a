"""What a new program's credentials are (fs/exec.c: bprm_fill_uid, commoncap.c: cap_bprm_creds_from_file).

Capabilities of files (security.capability) are not looked at.
"""

from __future__ import annotations

from stat import S_ISGID, S_ISUID, S_IXGRP

from runsc.abi.capability import SECBIT_KEEP_CAPS, SECBIT_NOROOT
from runsc.kernel.credentials import CAP_SETUID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials


def exec_credentials(
    old: Credentials, mode: int, owner: int, group: int, nosuid: bool, shared_fs: bool = False
) -> tuple[Credentials, bool]:
    """The credentials after execve of a file with ``mode``, ``owner`` and ``group``; is AT_SECURE set?

    ``nosuid``: the file is on a mount whose set-id bits don't count; ``shared_fs``: somebody outside the
    process shares its root and working directory (CLONE_FS), so that nothing may be gained.
    """
    new = old.copy()
    root = old.user_ns.make_uid(0)
    if not nosuid and not old.no_new_privs and old.user_ns.has_ids(owner, group):
        if mode & S_ISUID:
            new.euid = owner
        if mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP:
            new.egid = group
    new.permitted = 0
    effective = False
    if not new.securebits & SECBIT_NOROOT and root in (new.uid, new.euid):
        new.permitted = new.bounding | new.inheritable
        effective = new.euid == root
    set_id = new.euid != old.uid or new.egid != old.gid
    gained = bool(new.permitted & ~old.permitted)
    if (set_id or gained) and (old.no_new_privs or shared_fs):
        if old.no_new_privs or not old.own_capable(CAP_SETUID):
            new.euid, new.egid = new.uid, new.gid
        new.permitted &= old.permitted
    new.suid = new.fsuid = new.euid
    new.sgid = new.fsgid = new.egid
    if set_id:
        new.ambient = 0
    new.permitted |= new.ambient
    new.effective = new.permitted if effective else new.ambient
    new.securebits &= ~SECBIT_KEEP_CAPS
    secure = set_id or (new.uid != root and (effective or bool(new.permitted & ~new.ambient)))
    return new, secure
