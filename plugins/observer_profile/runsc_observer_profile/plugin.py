"""``--observer=profile:FILE``, and what ``runsc profile`` uses: the entry point."""

from __future__ import annotations

from runsc.errors import RunscError
from runsc.plugins.availability import Availability
from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc_observer_profile.collector import Collector


class ProfilePlugin:
    """The plugin as the loader sees it."""

    api_version = 1
    summary = "the OCI seccomp profile that a program needs"

    @hookimpl
    def check_observer(self) -> Availability:
        return Availability.yes()

    @hookimpl
    def make_observer(self, config: Config, argument: str) -> Collector:
        """``argument``: the file that the profile is written to. Raises ``RunscError``."""
        from runsc_observer_profile.collector import Collector

        if not argument:
            raise RunscError("the observer profile needs a file", "write --observer=profile:FILE")
        try:
            output = open(argument, "wb")  # noqa: SIM115 - the collector closes it
        except OSError as error:
            raise RunscError(
                f"--observer=profile:{argument}: {error.strerror}", "name a file that can be written"
            ) from error
        return Collector(output)
