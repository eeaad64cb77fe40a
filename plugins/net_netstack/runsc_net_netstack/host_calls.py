"""The host system calls of the network, for the jail's allow-list."""

from __future__ import annotations

from runsc.plugins.availability import HostCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def host_calls() -> Sequence[HostCall]:
    """The list. No socket is made, named or connected: those there are were made before."""
    return (
        HostCall("recvmmsg", "frames from the links"),
        HostCall("sendmmsg", "frames to the links"),
        HostCall("writev", "a frame to a link: headers, and the data where it is"),
        HostCall("close", "the links, in the end"),
    )
