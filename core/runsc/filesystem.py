"""The contract of a file-system plugin.

A file-system plugin brings the host's files into the sandbox. It is chosen by ``--fs=NAME``; what it
makes are file systems of the kernel's kind (``runsc.kernel.vfs.inode``), so that the kernel treats host
files as it treats its own.

Life
    ``make_filesystem(config)`` runs before the sandbox is closed and answers a ``HostFiles``; its
    ``mount`` opens what it needs of the host then. After the jail is closed, only what was opened before
    can be reached.

Trust
    The guest chooses names and contents. No name, symbolic link or race may lead outside the directory
    that was given to ``mount``: a symbolic link is returned as such, and the kernel walks it inside.

Errors
    Operations raise ``LinuxError``, or ``OSError`` of the host call, whose errno the guest sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.kernel.vfs.inode import FileSystem
    from runsc.plugins.availability import Availability, HostCall

#: The version of this contract; a plugin declares the one it was written for.
API_VERSION = 1


class HostFiles(ABC):
    """Makes file systems out of host directories."""

    __slots__ = ()

    name: str

    @classmethod
    @abstractmethod
    def check(cls) -> Availability:
        """Does it work here, for this user?"""

    def host_calls(self) -> Sequence[HostCall]:
        """The host system calls it makes once the sandbox runs, each with its reason.

        Asked when the jail is closed, after the last ``mount``: where nothing is mounted writable, nothing
        that writes needs to be allowed."""
        return ()

    def capabilities(self) -> Sequence[int]:
        """The Linux capabilities (CAP_* numbers) it needs once the sandbox runs, if the user has them.

        Everything else is given up. Asked when the jail is closed."""
        return ()

    @abstractmethod
    def mount(self, path: bytes, read_only: bool, shared: bool = False) -> FileSystem:
        """A file system whose root is the host directory (or file) ``path``.

        ``read_only``: nothing below is ever changed through it. ``shared``: others change it meanwhile, so
        names and attributes are looked up anew each time. Raises ``RunscError`` if it can't be opened.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back every host descriptor. Idempotent."""
