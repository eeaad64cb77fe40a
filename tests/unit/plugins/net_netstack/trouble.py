"""A link that loses, delays, repeats, breaks and reorders frames in both directions, the same way for a
seed."""

from __future__ import annotations

from random import Random
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from runsc_net_netstack.link import PacketLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from wirenet import World


class Troubled(PacketLink):
    """A link whose frames go through ``fate``."""

    __slots__ = ()
    fate: Callable[[bytes, Callable[[bytes], None]], None]

    def send(self, parts: list[bytes | memoryview]) -> bool:
        Troubled.fate(b"".join(parts), lambda frame: _ignore(PacketLink.send(self, [frame])))
        return True


def _ignore(_result: Any) -> None:
    """For a call whose answer nobody wants."""


class Trouble:
    """Probabilities of what happens to a frame; ``delay`` and ``jitter`` in ms."""

    def __init__(
        self, loss: float = 0, twice: float = 0, broken: float = 0, late: float = 0, delay: float = 0,
        jitter: float = 0,
    ) -> None:  # fmt: skip
        self.loss, self.twice, self.broken, self.late = loss, twice, broken, late
        self.delay, self.jitter = delay, jitter

    def begin(self, world: World, seed: int) -> None:
        """From now on."""
        random = Random(seed)
        timers = world.kernel.timers

        def fate(frame: bytes, onwards: Callable[[bytes], None]) -> None:
            if random.random() < self.loss:
                return
            if random.random() < self.broken and len(frame) > 80:
                if frame[1]:
                    return  # the host would cut it, and make new checksums for what is broken
                at = random.randrange(64, len(frame))
                frame = frame[:at] + bytes((frame[at] ^ 1 << random.randrange(8),)) + frame[at + 1 :]
                frame = bytes((0,)) + frame[1:]  # the link vouches for no checksum
            copies = 2 if random.random() < self.twice else 1
            wait = self.delay + random.uniform(-self.jitter, self.jitter)
            if random.random() < self.late:
                wait += 4
            for _ in range(copies):
                if wait <= 0:
                    onwards(frame)
                else:
                    timers.add(monotonic_ns() + int(wait * 1e6), lambda: onwards(frame))

        Troubled.fate = staticmethod(fate)  # type: ignore[assignment]
        link = world.network.links[0]
        link.__class__ = Troubled
        assert world.stack is not None
        stack = world.stack

        def arrived(which: PacketLink, view: memoryview, start: int, end: int, flags: int) -> None:
            def onwards(frame: bytes) -> None:
                stack.batch()
                stack.frame(which, memoryview(frame), which.header, len(frame), frame[0])
                stack.flush()

            fate(bytes((flags,)) + bytes(view[start - which.header + 1 : end]), onwards)

        link.deliver = arrived
