"""The half outside of the sandbox: forks the gofer, and has a connection to it for each mount."""

from __future__ import annotations

import os

from runsc.errors import RunscError
from runsc.filesystem import Opener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.config import Config
    from runsc.filesystem import HostMount

#: How long the sandbox waits for an answer, in seconds: a disk may be slow, but not for ever.
PATIENCE = 60


class GoferOpener(Opener):
    """One gofer for all mounts of a container."""

    __slots__ = ("config", "pids")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.pids: list[int] = []

    def open(self, mounts: Sequence[HostMount]) -> list[int]:
        # Here, so that the gofer has everything that it needs when it is forked.
        from runsc._native import ffi, lib

        from runsc_fs_gofer9p.server.process import main

        ours: list[int] = []
        theirs: list[tuple[int, int, bool]] = []
        try:
            for mount in mounts:
                try:
                    root = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
                except OSError as error:
                    raise RunscError(
                        f"can't open {os.fsdecode(mount.source)} on the host: {error.strerror}",
                        "check that the path exists and that this user may reach it",
                    ) from error
                pair = ffi.new("int[2]")
                result = lib.rn_socketpair(pair, PATIENCE)
                if result < 0:
                    os.close(root)
                    raise RunscError(
                        f"can't connect to the gofer: {os.strerror(-result)}", "raise the limits of this user"
                    )
                ours.append(pair[0])
                theirs.append((root, pair[1], mount.read_only))
            pid = os.fork()
            if pid == 0:
                main(self.config, theirs)
        except BaseException:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for root, connection, _read_only in theirs:
                os.close(root)
                os.close(connection)
        self.pids.append(pid)
        return ours

    def processes(self) -> Sequence[int]:
        return self.pids
