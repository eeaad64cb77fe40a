"""``--fs=gofer9p``: the entry point."""

from __future__ import annotations

from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.filesystem import HostFiles, Opener
    from runsc.plugins.availability import Availability


class GoferPlugin:
    """The plugin as the loader sees it."""

    api_version = 2
    summary = "host files through a process of their own, which speaks 9P2000.L"

    @hookimpl
    def check_filesystem(self) -> Availability:
        from runsc_fs_gofer9p.hostfiles import GoferFiles

        return GoferFiles.check()

    @hookimpl
    def open_filesystem(self, config: Config) -> Opener:
        from runsc_fs_gofer9p.opener import GoferOpener

        return GoferOpener(config)

    @hookimpl
    def make_filesystem(self, config: Config) -> HostFiles:
        from runsc_fs_gofer9p.hostfiles import GoferFiles

        return GoferFiles()
