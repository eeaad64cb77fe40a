"""What a formatter sees of a system call: its arguments, its result, and guest memory that can be looked at.

Looking never fails: what can't be read is None, and the formatter prints the address instead.
"""

from __future__ import annotations

from runsc.kernel.errors import LinuxError
from runsc.platform import AddressSpaceGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.mm.mm import MemoryManager

    #: The text of argument ``index`` of the call in view.
    Formatter = Callable[["View", int], str]


class View:
    """One call. ``result`` is None until the call has ended; ``limit``: most bytes shown of a buffer."""

    __slots__ = ("args", "length", "limit", "mm", "result")

    def __init__(self, mm: MemoryManager, args: tuple[int, ...], limit: int) -> None:
        self.mm = mm
        self.args = args
        self.limit = limit
        self.result: int | None = None
        #: what a length that the kernel changes was before the call
        self.length: int | None = None

    @property
    def failed(self) -> bool:
        """Has it not ended, or ended with an error?"""
        return self.result is None or -4096 < self.result < 0

    def read_some(self, addr: int, length: int) -> bytes:
        """As much of ``length`` bytes as can be read."""
        if length <= 0:
            return b""
        try:
            return self.mm.copy_in_partial(addr, length)
        except (LinuxError, OSError, AddressSpaceGone):
            return b""

    def read(self, addr: int, length: int) -> bytes | None:
        """Exactly ``length`` bytes, or None."""
        data = self.read_some(addr, length)
        return data if len(data) == length else None

    def text(self, addr: int, limit: int) -> tuple[bytes, bool] | None:
        """The string at ``addr``, and whether it goes on behind ``limit`` bytes; None if it can't be read."""
        parts = []
        left = limit
        while left > 0:
            step = min(left, 4096 - (addr & 4095))
            data = self.read_some(addr, step)
            end = data.find(0)
            if end >= 0:
                parts.append(data[:end])
                return b"".join(parts), False
            if len(data) < step:
                return None
            parts.append(data)
            addr += step
            left -= step
        following = self.read_some(addr, 1)
        return b"".join(parts), following != b"\0"
