"""Character devices, by number: the memory devices (null(4), full(4), random(4)) and the way to terminals
(tty(4))."""

from __future__ import annotations

from errno import EINVAL, ENODEV, ENOSPC, ENXIO, EPERM
from os import major, minor, urandom
from stat import S_IFCHR, S_IFMT

from runsc.abi.ioctl import (
    RNDADDENTROPY,
    RNDADDTOENTCNT,
    RNDCLEARPOOL,
    RNDGETENTCNT,
    RNDRESEEDCRNG,
    RNDZAPENTCNT,
)  # fmt: skip
from runsc.abi.poll import POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from runsc.kernel.credentials import CAP_SYS_ADMIN
from runsc.kernel.errors import LinuxError
from runsc.kernel.vfs.file import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path
    from runsc.kernel.vfs.inode import Inode
    from runsc.kernel.wait import WaitQueue

# Major numbers (Documentation/admin-guide/devices.txt).
MEM_MAJOR = 1
TTYAUX_MAJOR = 5
UNIX98_PTY_SLAVE_MAJOR = 136

#: Reads are made in one piece up to this many bytes; a longer one is short, which read(2) allows, so that
#: a guest can't make the kernel build gigabytes at once. Zeroes cost no memory until they are looked at,
#: random bytes do.
MAX_ZEROES = 256 << 20
MAX_RANDOM = 32 << 20

#: Entropy that a seeded generator reports, in bits (drivers/char/random.c: POOL_BITS).
POOL_BITS = 256

_ZEROES = bytes(65536)


class DeviceFile(File):
    """A memory device: any offset is as good as another, and lseek(2) answers 0 (null_lseek)."""

    __slots__ = ()

    seekable = True
    #: No poll method: always ready, and epoll refuses it.
    is_regular = True

    def lseek(self, task: Task, offset: int, whence: int) -> int:
        self.pos = 0
        return 0

    def read(self, task: Task, count: int) -> bytes:
        return self.pread(task, count, 0)

    def write(self, task: Task, data: bytes) -> int:
        return self.pwrite(task, data, 0)

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        raise LinuxError(ENODEV)


class NullFile(DeviceFile):
    """/dev/null: takes everything, holds nothing."""

    __slots__ = ()

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        return b""

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        return len(data)

    def read(self, task: Task, count: int) -> bytes:
        return b""

    def write(self, task: Task, data: bytes) -> int:
        return len(data)

    def partial_input(self, data: bytes, wanted: int) -> bytes:
        """Linux doesn't look at what is written here."""
        return bytes(wanted)


class ZeroFile(DeviceFile):
    """/dev/zero: zeroes without end; mapped, it is anonymous memory."""

    __slots__ = ()

    #: The memory manager makes anonymous memory of a mapping.
    maps_zero = True

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        if count <= len(_ZEROES):
            return _ZEROES[:count]
        return bytes(min(count, MAX_ZEROES))

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        return len(data)

    def partial_input(self, data: bytes, wanted: int) -> bytes:
        """Linux doesn't look at what is written here."""
        return bytes(wanted)


class FullFile(ZeroFile):
    """/dev/full: reads as zeroes, and has no room."""

    __slots__ = ()

    maps_zero = False

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        raise LinuxError(ENOSPC)


class RandomFile(DeviceFile):
    """/dev/urandom: the host's generator. What is written would stir the pool; the host needs no help."""

    __slots__ = ()

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        return urandom(min(count, MAX_RANDOM))

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        return len(data)

    def partial_input(self, data: bytes, wanted: int) -> bytes:
        """What there is, as far as it goes."""
        return data or super().partial_input(data, wanted)

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        """random(4). The pool is the host's: an administrator's requests are checked and change nothing."""
        if request == RNDGETENTCNT:
            task.mm.write_u32(arg, POOL_BITS)
            return 0
        if request in (RNDADDTOENTCNT, RNDADDENTROPY, RNDZAPENTCNT, RNDCLEARPOOL, RNDRESEEDCRNG):
            if not task.cred.capable(CAP_SYS_ADMIN):
                raise LinuxError(EPERM)
            if request in (RNDADDTOENTCNT, RNDADDENTROPY):
                count = task.mm.read_u32(arg)
                if count & 0x80000000:
                    raise LinuxError(EINVAL)
            return 0
        raise LinuxError(EINVAL)


class BlockingRandomFile(RandomFile):
    """/dev/random: as urandom, since the host's generator has long been seeded; but it can be polled."""

    __slots__ = ()

    is_regular = False

    def poll(self, task: Task | None = None) -> int:
        return POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM

    def wait_queue(self) -> WaitQueue | None:
        return None


_MEMORY_DEVICES: dict[int, Callable[[Inode, int, Path], File]] = {
    3: NullFile,
    5: ZeroFile,
    7: FullFile,
    8: BlockingRandomFile,
    9: RandomFile,
}


def open_device(inode: Inode, path: Path, flags: int, task: Task) -> File:
    """Open the device that a node's ``rdev`` says; raises ENXIO for one that isn't there.

    ``inode`` is a character or block device node of any file system.
    """
    if S_IFMT(inode.mode) != S_IFCHR:
        raise LinuxError(ENXIO)
    number = major(inode.rdev), minor(inode.rdev)
    if number[0] == MEM_MAJOR:
        make = _MEMORY_DEVICES.get(number[1])
        if make is None:
            raise LinuxError(ENXIO)
        return make(inode, flags, path)
    if number == (TTYAUX_MAJOR, 0):
        from runsc.kernel.tty.tty import open_controlling_terminal

        return open_controlling_terminal(inode, path, flags, task)
    if number == (TTYAUX_MAJOR, 1):
        return _open_console(inode, path, flags, task)
    if number == (TTYAUX_MAJOR, 2):
        from runsc.kernel.fs.devpts import instance_of

        return instance_of(task, path).open_master(inode, path, flags, task)
    if number[0] == UNIX98_PTY_SLAVE_MAJOR:
        from runsc.kernel.fs.devpts import instance_of

        return instance_of(task, path).open_slave(number[1], inode, path, flags, task)
    raise LinuxError(ENXIO)


def _open_console(inode: Inode, path: Path, flags: int, task: Task) -> File:
    """/dev/console: the terminal on which the sandbox was started; ENXIO without one."""
    from runsc.kernel.tty.tty import take_controlling_terminal

    console = task.kernel.console
    if console is None:
        raise LinuxError(ENXIO)
    file: File = console.reopen(inode, path, flags)
    take_controlling_terminal(task, console.tty, flags)
    return file
