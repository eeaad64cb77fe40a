"""The host system calls of the network, for the jail's allow-list."""

from __future__ import annotations

from runsc.plugins.availability import HostCall, argument, int_argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SOL_SOCKET, _SO_ERROR = 1, 4


def host_calls() -> Sequence[HostCall]:
    """The list. No socket is made, named or connected: those there are were made before."""
    return (
        HostCall("recvmmsg", "frames from the links"),
        HostCall("sendmmsg", "frames to the links"),
        HostCall("writev", "a frame to a link: headers, and the data where it is"),
        HostCall("close", "the links, in the end"),
        HostCall("connect", "Docker's name server: the sockets for it were made before, in its namespace"),
        HostCall("sendto", "queries to Docker's name server", argument(4, 0)),
        HostCall("recvfrom", "answers of Docker's name server", argument(4, 0)),
        HostCall("shutdown", "the end of a query over TCP"),
        HostCall(
            "getsockopt", "how a connection to Docker's name server went", int_argument(1, _SOL_SOCKET),
            int_argument(2, _SO_ERROR),
        ),
    )
