"""What is run, where, and what comes of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from compat.places import Place

PASS = "pass"
FAIL = "fail"
SKIP = "skip"
HANG = "hang"  #: did not end in its time
CRASH = "crash"  #: took the program that runs it down
ABSENT = "absent"  #: not reached, or not there


class Outcome(NamedTuple):
    """How one test ended. ``detail``: the last lines of what it said; ``seconds``: how long it took."""

    status: str
    detail: str = ""
    seconds: float = 0.0


class Unit(NamedTuple):
    """What is started at once: ``suite`` and ``name`` as the command line names them;
    ``seconds``: how long it may take."""

    suite: str
    name: str
    seconds: float


class Suite(Protocol):
    """A family of units."""

    name: str

    def version(self) -> str:
        """What is installed, for the report; "" if it isn't."""

    def units(self) -> Sequence[Unit]:
        """What it consists of, on this machine."""

    def run(self, unit: Unit, place: Place, only: Sequence[str] = ()) -> dict[str, Outcome]:
        """Run a unit (or only these tests of it) at a place: test -> outcome."""
