"""``--observer=measure:FILE``, and what ``runsc ab`` uses: the entry point."""

from __future__ import annotations

from runsc.errors import RunscError
from runsc.plugins.availability import Availability
from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc_observer_measure.meter import Meter


class MeasurePlugin:
    """The plugin as the loader sees it."""

    api_version = 1
    summary = "where a sandbox's time goes, system call by system call, as JSON"

    @hookimpl
    def check_observer(self) -> Availability:
        return Availability.yes()

    @hookimpl
    def make_observer(self, config: Config, argument: str) -> Meter:
        """``argument``: the file that the figures are written to. Raises ``RunscError``."""
        from runsc_observer_measure.meter import Meter

        if not argument:
            raise RunscError("the observer measure needs a file", "write --observer=measure:FILE")
        try:
            output = open(argument, "wb")  # noqa: SIM115 - the meter closes it
        except OSError as error:
            raise RunscError(
                f"--observer=measure:{argument}: {error.strerror}", "name a file that can be written"
            ) from error
        return Meter(output)
