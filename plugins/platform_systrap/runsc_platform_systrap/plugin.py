"""The entry point ``runsc.platform: systrap``."""

from __future__ import annotations

from runsc.flags import STRING, Flag
from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.platform import Platform
    from runsc.plugins.availability import Availability


class SystrapPlugin:
    """Guest system calls become signals (seccomp), answered through shared memory."""

    api_version = 1
    summary = "seccomp(2): fast, some 3 us a system call; needs no ptrace(2)"

    flags = (
        Flag(
            "systrap-patch",
            STRING,
            "Whether hot system calls of a program are made to jump into the stub instead of trapping.",
            choices=("on", "off"),
        ),
    )

    @hookimpl
    def check_platform(self) -> Availability:
        from runsc_platform_systrap.check import check

        return check()

    @hookimpl
    def make_platform(self, config: Config) -> Platform:
        from runsc_platform_systrap.platform import SystrapPlatform

        return SystrapPlatform(patch=config.plugin_flag("systrap-patch", "on") == "on")
