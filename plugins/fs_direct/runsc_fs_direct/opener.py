"""The half outside of the sandbox: a descriptor for each mount."""

from __future__ import annotations

import os
import stat
from errno import EACCES, EPERM, EROFS, ETXTBSY

from runsc.errors import RunscError
from runsc.filesystem import DIRECTORY, Opener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.filesystem import HostMount

_NOT_WRITABLE = (EACCES, EPERM, EROFS, ETXTBSY)


class DirectOpener(Opener):
    """Opens directories to look names up in (O_PATH), and regular files for what may be done with them."""

    __slots__ = ()

    def open(self, mounts: Sequence[HostMount]) -> list[int]:
        opened: list[int] = []
        try:
            for mount in mounts:
                opened.append(_open(mount))
        except OSError as error:
            for fd in opened:
                os.close(fd)
            raise RunscError(
                f"can't open {os.fsdecode(mount.source)} on the host: {error.strerror}",
                "check that the path exists and that this user may reach it",
            ) from error
        return opened


def _open(mount: HostMount) -> int:
    if mount.kind == DIRECTORY:
        return os.open(mount.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    fd = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return fd  # never opened on the host, so that its attributes are all that is needed
    try:
        # What O_PATH found, and nothing that has taken its place since.
        path = f"/proc/self/fd/{fd}"
        if not mount.read_only:
            try:
                return os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                # As with any mount of what this user may only read: writing will fail, not mounting.
                if error.errno not in _NOT_WRITABLE:
                    raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)
