"""Readiness of host descriptors, for the kernel's loop (one epoll of the sentry's)."""

from __future__ import annotations

from select import EPOLLERR, EPOLLHUP, epoll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Watch:
    """Interest in one host descriptor, level-triggered. ``close`` ends it."""

    __slots__ = ("callback", "events", "fd", "poller")

    def __init__(self, poller: HostPoller, fd: int, events: int, callback: Callable[[int], None]) -> None:
        self.poller = poller
        self.fd = fd
        self.events = events
        self.callback = callback

    def modify(self, events: int) -> None:
        """Change what is waited for; 0 leaves only errors and hang-up, which epoll always reports."""
        if events != self.events:
            self.events = events
            self.poller.epoll.modify(self.fd, events)

    def close(self) -> None:
        """Idempotent."""
        if self.poller.watches.get(self.fd) is self:
            del self.poller.watches[self.fd]
            self.poller.epoll.unregister(self.fd)


class HostPoller:
    """The set of watches. ``fd`` is what ``Platform.wait`` sleeps on besides the guest."""

    __slots__ = ("epoll", "fd", "watches")

    def __init__(self) -> None:
        self.epoll = epoll()
        self.fd = self.epoll.fileno()
        self.watches: dict[int, Watch] = {}

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> Watch:
        """Call ``callback(events)`` from the loop whenever ``fd`` is ready for ``events`` (EPOLLIN...).

        Raises OSError(EPERM) for what epoll refuses (regular files: always ready). One watch a descriptor.
        """
        watch = Watch(self, fd, events, callback)
        self.epoll.register(fd, events)
        self.watches[fd] = watch
        return watch

    def dispatch(self) -> None:
        """Run the callbacks of what is ready now."""
        for fd, events in self.epoll.poll(0, 64):
            watch = self.watches.get(fd)
            if watch is None:
                continue
            watch.callback(events)
            if events & (EPOLLERR | EPOLLHUP) and self.watches.get(fd) is watch and not watch.events:
                # Nobody asks for more than that, and epoll would report it again at once, for ever.
                watch.close()

    def close(self) -> None:
        """Idempotent. The watched descriptors are their owners'."""
        self.watches.clear()
        self.epoll.close()
