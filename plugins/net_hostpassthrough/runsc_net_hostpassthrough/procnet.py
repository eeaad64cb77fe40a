"""The tables of /proc/net, as the host has them: opened before the jail is closed, read anew each time."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Files and how many lines of heading they have, which /proc/net of the sandbox writes itself.
_HEADINGS = {
    "arp": 1, "if_inet6": 0, "ipv6_route": 0, "raw": 1, "raw6": 1, "route": 1, "tcp": 1, "tcp6": 1, "udp": 1,
    "udp6": 1,
}  # fmt: skip
_DEV_HEADING = 2
_DEV_COUNTERS = 16
#: The most that is read of a table.
_LIMIT = 1 << 22
_PIECE = 1 << 16


class HostTables:
    """Open files of the host's /proc/net; those it hasn't are left out."""

    __slots__ = ("fds",)

    def __init__(self) -> None:
        self.fds: dict[str, int] = {}
        for name in (*_HEADINGS, "dev"):
            try:
                self.fds[name] = os.open(f"/proc/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # the host was built or started without it, or hides it

    def providers(self) -> dict[str, Callable[[], object]]:
        """What ``kernel.extra["proc_net"]`` holds."""
        found: dict[str, Callable[[], object]] = {
            name: self._lines_of(name, heading) for name, heading in _HEADINGS.items() if name in self.fds
        }
        if "dev" in self.fds:
            found["dev"] = self.counters
        return found

    def _lines_of(self, name: str, heading: int) -> Callable[[], str]:
        def lines() -> str:
            return "".join(self.read(name).splitlines(keepends=True)[heading:])

        return lines

    def read(self, name: str) -> str:
        """The table's text."""
        fd = self.fds[name]
        os.lseek(fd, 0, os.SEEK_SET)
        parts = []
        left = _LIMIT
        while left > 0 and (part := os.read(fd, min(_PIECE, left))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts).decode("latin-1")

    def counters(self) -> list[tuple[str, tuple[int, ...]]]:
        """The interfaces of /proc/net/dev with their counters."""
        found = []
        for line in self.read("dev").splitlines()[_DEV_HEADING:]:
            name, colon, numbers = line.partition(":")
            values = numbers.split()
            if colon and len(values) == _DEV_COUNTERS:
                found.append((name.strip(), tuple(int(value) for value in values)))
        return found

    def close(self) -> None:
        """Idempotent."""
        while self.fds:
            os.close(self.fds.popitem()[1])
