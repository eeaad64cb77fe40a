"""The contract of a file-system plugin.

A file-system plugin brings the host's files into the sandbox. It is chosen by ``--fs=NAME``. It has two
halves, which meet in one descriptor for each mount:

Outside: ``Opener``
    ``open_filesystem(config)`` is called in the command's process, which has all its rights still, before
    the sandbox is forked (or, for a container that joins a sandbox, in the command that creates it). Its
    ``open`` answers one descriptor for each ``HostMount``: what it is (an O_PATH descriptor, a connection to
    a process of the plugin's) is between the two halves.

Inside: ``HostFiles``
    ``make_filesystem(config)`` is called in the sandbox's process before its jail is closed. Its ``mount``
    makes a file system of the kernel's kind (``runsc.kernel.vfs.inode``) of such a descriptor, so that the
    kernel treats host files as it treats its own. It may be called when the jail is closed already, with a
    descriptor that arrived later; so it opens nothing by path and imports nothing.

Trust
    The guest chooses names and contents. No name, symbolic link or race may lead outside the directory
    that was given: a symbolic link is returned as such, and the kernel walks it inside.

Errors
    Operations raise ``LinuxError``, or ``OSError`` of the host call, whose errno the guest sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.vfs.inode import FileSystem
    from runsc.plugins.availability import Availability, HostCall

#: The version of this contract; a plugin declares the one it was written for.
API_VERSION = 2

#: Kinds of ``HostMount``.
DIRECTORY = "dir"
FILE = "file"


class HostMount:
    """One piece of the host's file tree that a sandbox is given.

    ``source``: its absolute path on the host; symbolic links in it are followed, once, when it is opened.
    ``read_only``: nothing in it is ever changed through this mount. ``shared``: others change it meanwhile,
    so names and attributes are looked up anew each time; else what was looked up may be believed until the
    host says that it has changed. ``kind``: ``DIRECTORY``, or ``FILE`` for anything else (a regular file, a
    device, a socket), which is then the root of its file system.
    """

    __slots__ = ("kind", "read_only", "shared", "source")

    def __init__(
        self, source: bytes, read_only: bool = True, shared: bool = False, kind: str = DIRECTORY
    ) -> None:
        self.source = source
        self.read_only = read_only
        self.shared = shared
        self.kind = kind

    def __repr__(self) -> str:
        access = "ro" if self.read_only else "rw"
        return f"HostMount({self.source!r}, {access}, {self.kind}{', shared' if self.shared else ''})"


class Opener(ABC):
    """The half outside: opens what the sandbox will reach."""

    __slots__ = ()

    @abstractmethod
    def open(self, mounts: Sequence[HostMount]) -> list[int]:
        """A descriptor for each mount, in order; they are the caller's, close-on-exec, and it may send them
        to another process. Called at most once. Raises ``RunscError`` if one can't be opened, and leaves
        nothing open then."""

    def processes(self) -> Sequence[int]:
        """The host ids of the processes that ``open`` forked.

        They end when nobody holds the descriptors any more; the caller waits for them then, and may kill
        them earlier."""
        return ()


class HostFiles(ABC):
    """The half inside: makes file systems out of what was opened."""

    __slots__ = ()

    name: str

    @classmethod
    @abstractmethod
    def check(cls) -> Availability:
        """Does it work here, for this user?"""

    def host_calls(self) -> Sequence[HostCall]:
        """The host system calls it makes once the sandbox runs, each with its reason.

        Asked when the jail is closed, after the first mounts: where nothing is mounted writable, nothing
        that writes needs to be allowed."""
        return ()

    def capabilities(self) -> Sequence[int]:
        """The Linux capabilities (CAP_* numbers) it needs once the sandbox runs, if the user has them.

        Everything else is given up. Asked when the jail is closed."""
        return ()

    @abstractmethod
    def mount(self, fd: int, mount: HostMount) -> FileSystem:
        """A file system of what ``Opener.open`` answered for ``mount``; ``fd`` is taken over in any case.

        Raises ``RunscError`` if that can't be done.
        """

    def start(self, kernel: Kernel) -> None:  # noqa: B027 - most have nothing to listen to
        """The kernel is about to run: what must be listened to on the host can be watched by its loop
        (``kernel.poller``). Called once, after the first mounts and before the jail is closed."""

    @abstractmethod
    def close(self) -> None:
        """Give back every host descriptor. Idempotent."""


def host_mount(source: bytes, read_only: bool, shared: bool) -> HostMount:
    """The mount of ``source`` as what it is: a directory, or anything else. Raises ``RunscError``."""
    import os
    from stat import S_ISDIR

    from runsc.errors import RunscError

    try:
        mode = os.stat(source).st_mode
    except OSError as error:
        raise RunscError(
            f"can't open {os.fsdecode(source)} on the host: {error.strerror}",
            "check that the path exists and that this user may reach it",
        ) from error
    return HostMount(source, read_only, shared, DIRECTORY if S_ISDIR(mode) else FILE)
