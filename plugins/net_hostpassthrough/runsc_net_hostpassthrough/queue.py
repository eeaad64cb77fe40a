"""Who waits on a host socket, and how the host is asked to tell."""

from __future__ import annotations

from runsc.abi.poll import (
    EPOLLET,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDHUP,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)  # fmt: skip
from runsc.kernel.fs.epoll import EpollItem
from runsc.kernel.wait import ALL, WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.hostpoll import HostPoller, Watch
    from runsc.kernel.wait import WaitEntry

_FAILED = POLLERR | POLLHUP
_READ = POLLIN | POLLRDNORM | POLLRDBAND | POLLPRI | POLLRDHUP | EPOLLET
_WRITE = POLLOUT | POLLWRNORM | POLLWRBAND
_BOTH = _READ | _WRITE


class SocketQueue(WaitQueue):
    """The wait queue of a host socket: it watches the descriptor from the first one who waits on, until an
    event finds nobody there.

    Edge-triggered: an event comes once for each change, which is what a guest's edge-triggered epoll must
    see, and a socket that stays writable keeps nothing awake. A task that comes to wait may have missed a
    change: it looked at the socket before, and the host's kernel doesn't stand still meanwhile. So the watch
    is set anew for it, upon which the host reports what is ready already.
    Datagram sockets report room for writing after each datagram that was sent (sock_def_write_space): they
    are only asked for it if somebody waits for that.
    """

    __slots__ = ("fd", "poller", "settling", "watch")

    def __init__(self, poller: HostPoller, fd: int) -> None:
        super().__init__()
        self.poller = poller
        self.fd = fd
        self.watch: Watch | None = None
        self.settling = False

    def add(self, entry: WaitEntry) -> None:
        watch = self.watch
        if type(entry) is EpollItem:
            if watch is None:
                self.watch = self.poller.watch(self.fd, _BOTH, self.ready)
            else:
                watch.modify(_BOTH)
            # An epoll looks for itself at what is ready when it gets a new file. Were it told of that as
            # well, an edge-triggered one would report it twice.
            self.settling = True
            self.poller.dispatch()
            self.settling = False
        else:
            events = _BOTH if entry.mask & _WRITE else _READ
            if watch is None:
                self.watch = self.poller.watch(self.fd, events, self.ready)
            else:
                watch.events = events | watch.events if self.entries else events
                self.poller.epoll.modify(self.fd, watch.events)
        self.entries.append(entry)

    def ready(self, events: int) -> None:
        """Something happened on the host."""
        if self.entries:
            self.wake(ALL if events & _FAILED else events & 0xFFFF)
        elif not self.settling:
            self.end()

    def end(self) -> None:
        """Watch no more. Idempotent."""
        if self.watch is not None:
            self.watch.close()
            self.watch = None
