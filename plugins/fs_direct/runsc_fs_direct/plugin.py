"""``--fs=direct``: the entry point."""

from __future__ import annotations

from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.filesystem import HostFiles, Opener
    from runsc.plugins.availability import Availability


class DirectPlugin:
    """The plugin as the loader sees it."""

    api_version = 2
    summary = "host files by the sandbox's own system calls, one name at a time"

    @hookimpl
    def check_filesystem(self) -> Availability:
        from runsc_fs_direct.hostfiles import DirectFiles

        return DirectFiles.check()

    @hookimpl
    def open_filesystem(self, config: Config) -> Opener:
        from runsc_fs_direct.opener import DirectOpener

        return DirectOpener()

    @hookimpl
    def make_filesystem(self, config: Config) -> HostFiles:
        from runsc_fs_direct.hostfiles import DirectFiles

        return DirectFiles()
