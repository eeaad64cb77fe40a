"""The entry point ``runsc.platform: ptrace``."""

from __future__ import annotations

from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.platform import Platform
    from runsc.plugins.availability import Availability


class PtracePlugin:
    """Guest threads run under PTRACE_SYSEMU: needs nothing but ptrace(2)."""

    api_version = 1
    summary = "ptrace(2): works nearly everywhere, some 12 us a system call"

    @hookimpl
    def check_platform(self) -> Availability:
        from runsc_platform_ptrace.check import check

        return check()

    @hookimpl
    def make_platform(self, config: Config) -> Platform:
        from runsc_platform_ptrace.platform import PtracePlatform

        return PtracePlatform()
