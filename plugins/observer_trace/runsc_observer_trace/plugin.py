"""``--observer=trace:FILE``, ``--trace-session=FILE``: the entry point."""

from __future__ import annotations

from runsc.errors import RunscError
from runsc.plugins.availability import Availability
from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc_observer_trace.session import Session


class TracePlugin:
    """The plugin as the loader sees it."""

    api_version = 1
    summary = "what happens in the sandbox, a JSON object a line"

    @hookimpl
    def check_observer(self) -> Availability:
        return Availability.yes()

    @hookimpl
    def make_observer(self, config: Config, argument: str) -> Session:
        """``argument``: the file. Raises ``RunscError`` if it can't be written."""
        from runsc_observer_trace.session import Session

        if not argument:
            raise RunscError("the observer trace needs a file", "write --trace-session=FILE")
        try:
            output = open(argument, "wb", buffering=1 << 16)  # noqa: SIM115 - the session closes it
        except OSError as error:
            raise RunscError(
                f"--trace-session={argument}: {error.strerror}", "name a file that can be written"
            ) from error
        return Session(output)
