"""Wait queues: who wants to know when something changes (kernel/sched/wait.c).

The kernel has one thread, so nothing can change between looking and queueing: a sleeper looks,
joins the queue, parks, and looks again when it is woken. Wake-ups may be spurious.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: A wake-up that concerns everybody, whatever they wait for (poll(2) event bits otherwise).
ALL = 0xFFFFFFFF
#: More than there are exclusive entries: wake all of them.
EVERYBODY = 1 << 30


class WaitEntry:
    """One who waits: ``callback(mask)`` runs when an event of ``mask`` happens.

    ``exclusive`` entries are woken one at a time (EPOLLEXCLUSIVE, accept): the callback answers
    True if it took the wake-up for itself.
    """

    __slots__ = ("callback", "exclusive", "mask")

    def __init__(
        self, callback: Callable[[int], bool | None], mask: int = ALL, exclusive: bool = False
    ) -> None:
        self.callback = callback
        self.mask = mask
        self.exclusive = exclusive


class WaitQueue:
    """The entries that wait on one object, in the order in which they came."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[WaitEntry] = []

    def add(self, entry: WaitEntry) -> None:
        self.entries.append(entry)

    def remove(self, entry: WaitEntry) -> None:
        """Take an entry out; one that is not there any more is no error."""
        if entry in self.entries:
            self.entries.remove(entry)

    def wake(self, mask: int = ALL, exclusive: int = 1) -> None:
        """Tell every entry that waits for an event of ``mask``, and ``exclusive`` of the exclusive ones."""
        if not self.entries:
            return
        # A callback may take entries out of the queue, or put new ones in: go through a copy.
        for entry in tuple(self.entries):
            if not entry.mask & mask:
                continue
            if entry.exclusive:
                if exclusive > 0 and entry.callback(mask):
                    exclusive -= 1
            else:
                entry.callback(mask)
