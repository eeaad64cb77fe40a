"""Local sockets that only messages keep alive, in circles: found and closed (net/unix/garbage.c)."""

from __future__ import annotations

from runsc.hints import cast
from runsc.kernel.socket.scm import in_flight

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.scm import InFlight, Rights
    from runsc.kernel.socket.unix import UnixSocket
    from runsc.kernel.socket.unixmessage import Message
    from runsc.kernel.vfs.file import File


def _messages(socket: UnixSocket) -> Iterator[Message]:
    """What waits in a socket, and in connections that nobody has accepted from it."""
    yield from socket.messages
    for embryo in socket.connections:
        yield from embryo.messages


def _held(socket: UnixSocket) -> Iterator[File]:
    """The files that messages in ``socket`` hold."""
    for message in _messages(socket):
        if message.rights is not None:
            yield from message.rights.files


def collect_sometimes(kernel: Kernel, flight: InFlight) -> None:
    """``collect`` at one of so many closes that it takes no more time than they do."""
    flight.closes += 1
    if flight.closes * 8 >= len(flight.sockets):
        flight.closes = 0
        collect(kernel)


def collect(kernel: Kernel) -> None:
    """Close the sockets in flight that nobody can receive any more.

    A candidate is held by messages alone. What a message outside the candidates holds is alive, and so is
    all that is in the queue of one that is alive; the messages in the others are thrown away."""
    flight = in_flight(kernel)
    candidates = {file for file, count in flight.sockets.items() if file.refs == count}
    if not candidates:
        return
    inside = dict.fromkeys(candidates, 0)
    for file in candidates:
        for held in _held(cast("UnixSocket", file)):
            if held in inside:
                inside[held] += 1
    alive = [file for file in candidates if flight.sockets[file] > inside[file]]
    dead = candidates - set(alive)
    while alive:
        for held in _held(cast("UnixSocket", alive.pop())):
            if held in dead:
                dead.remove(held)
                alive.append(held)
    doomed: list[Rights] = []
    for file in dead:
        for message in _messages(cast("UnixSocket", file)):
            if message.rights is not None:
                doomed.append(message.rights)
                message.rights = None
    for rights in doomed:
        rights.discard()
