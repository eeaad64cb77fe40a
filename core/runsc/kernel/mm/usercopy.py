"""Copies between the kernel and guest memory: the only way in and out.

What the guest can write is read once, into a copy of ours. Addresses are checked by the address space;
a page that can't be read or written by the guest can't be reached here either.
"""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENAMETOOLONG
from struct import Struct, iter_unpack

from runsc.abi.fcntl import PATH_MAX
from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.platform import AddressSpace

#: No single transfer moves more (linux/fs.h: MAX_RW_COUNT).
MAX_RW_COUNT = 0x7FFFF000

#: The end of what can be a guest's address (TASK_SIZE_MAX); the platform's own pages lie just below it.
USER_END = 0x7FFFFFFFF000

#: Most entries of an iovec (linux/uio.h).
UIO_MAXIOV = 1024


class UserCopy:
    """The copy functions, over one address space (a base of ``MemoryManager``)."""

    __slots__ = ("space",)

    space: AddressSpace

    def copy_in(self, addr: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``addr``; raises EFAULT."""
        if length == 0:
            return b""
        data = self.space.read(addr, length)
        if len(data) != length:
            raise LinuxError(EFAULT)
        return data

    def copy_in_partial(self, addr: int, length: int) -> bytes:
        """As many of ``length`` bytes as can be read; raises EFAULT if that is none."""
        if length == 0:
            return b""
        data = self.space.read(addr, length)
        if not data:
            raise LinuxError(EFAULT)
        return data

    def copy_out(self, addr: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data`` at ``addr``; raises EFAULT (a part may have been written, as in Linux)."""
        if len(data) and self.space.write(addr, data) != len(data):
            raise LinuxError(EFAULT)

    def copy_out_partial(self, addr: int, data: bytes | bytearray | memoryview) -> int:
        """Write as much of ``data`` as can be; raises EFAULT if that is nothing."""
        if not len(data):
            return 0
        count = self.space.write(addr, data)
        if count <= 0:
            raise LinuxError(EFAULT)
        return count

    def copy_in_str(self, addr: int, limit: int) -> bytes:
        """The string at ``addr`` without its NUL; raises EFAULT, or ENAMETOOLONG if there is no NUL within
        ``limit`` bytes."""
        parts = []
        got = 0
        # The first look takes what lies on the same page, which can't fault half-way and is nearly always
        # all.
        step = min(limit, 4096 - (addr & 4095), 256)
        while True:
            data = self.space.read(addr + got, step)
            if not data:
                raise LinuxError(EFAULT)
            end = data.find(0)
            if end >= 0:
                parts.append(data[:end])
                return b"".join(parts) if len(parts) > 1 else parts[0]
            parts.append(data)
            got += len(data)
            if got >= limit:
                raise LinuxError(ENAMETOOLONG)
            step = min(limit - got, 4096 - ((addr + got) & 4095))

    def copy_in_path(self, addr: int) -> bytes:
        """The path name at ``addr``: EFAULT, ENAMETOOLONG from PATH_MAX on."""
        return self.copy_in_str(addr, PATH_MAX)

    def unpack(self, addr: int, layout: Struct) -> tuple[Any, ...]:
        """The struct at ``addr``."""
        return layout.unpack(self.copy_in(addr, layout.size))

    def read_u32(self, addr: int) -> int:
        """The 32-bit word at ``addr``."""
        return int.from_bytes(self.copy_in(addr, 4), "little")

    def read_u64(self, addr: int) -> int:
        """The 64-bit word at ``addr``."""
        return int.from_bytes(self.copy_in(addr, 8), "little")

    def write_u32(self, addr: int, value: int) -> None:
        self.copy_out(addr, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def write_u64(self, addr: int, value: int) -> None:
        self.copy_out(addr, (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little"))

    def copy_in_iovec(self, addr: int, count: int) -> list[tuple[int, int]]:
        """(address, length) of each entry of an iovec; lengths beyond MAX_RW_COUNT in all are cut.

        Raises EINVAL for a bad count or a negative length (readv(2)), EFAULT."""
        if count < 0 or count > UIO_MAXIOV:
            raise LinuxError(EINVAL)
        left = MAX_RW_COUNT
        entries = []
        for base, length in iter_unpack("<QQ", self.copy_in(addr, 16 * count)):
            if length > 0x7FFFFFFFFFFFFFFF:
                raise LinuxError(EINVAL)
            length = min(length, left)
            left -= length
            entries.append((base, length))
        return entries

    def gather(self, entries: list[tuple[int, int]]) -> bytes:
        """What the entries of an iovec point to, joined; short where memory ends, EFAULT if that is at
        once."""
        parts = []
        for base, length in entries:
            if not length:
                continue
            data = self.space.read(base, length)
            if data:
                parts.append(data)
            if len(data) < length:
                break
        return b"".join(parts)

    def scatter(self, entries: list[tuple[int, int]], data: bytes) -> int:
        """Spread ``data`` over the entries; how much was written, EFAULT if nothing could be."""
        done = 0
        view = memoryview(data)
        for base, length in entries:
            part = view[done : done + length]
            if not len(part):
                if done >= len(data):
                    break
                continue
            count = self.space.write(base, part)
            done += max(count, 0)
            if count < len(part):
                if not done:
                    raise LinuxError(EFAULT)
                break
        return done
