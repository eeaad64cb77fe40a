"""The standard descriptors that a sandbox inherits: pipes, files, sockets, devices and terminals of the host.

O_NONBLOCK belongs to the open file description, which the caller of runsc shares: setting it there would
change the caller's. So pipes and terminals are opened anew through /proc/self/fd where that is possible,
at boot; where it isn't, nothing is read or written unless poll(2) says that it won't block, and pipes get
at most PIPE_BUF bytes at once.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
from errno import EACCES, EINVAL, ENODEV, ENOTTY, EPERM
from select import EPOLLET
from stat import S_IFCHR, S_ISCHR, S_ISFIFO, S_ISREG, S_ISSOCK

from runsc.abi.fcntl import O_ACCMODE, O_APPEND, O_NONBLOCK, O_RDWR, O_TRUNC
from runsc.abi.ioctl import FIONREAD
from runsc.abi.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP, POLLRDNORM, POLLWRNORM
from runsc.abi.socket import MSG_DONTWAIT, MSG_NOSIGNAL
from runsc.kernel.errors import WOULD_BLOCK, LinuxError
from runsc.kernel.vfs.file import ALWAYS_READY, SEEK_CUR, SEEK_END, SEEK_SET, File
from runsc.kernel.vfs.inode import FileSystem, Inode, SetAttr, Stat, StatFs
from runsc.kernel.wait import ALL, WaitEntry, WaitQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket

    from runsc.kernel.hostpoll import Watch
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.dentry import Path

PIPE_BUF = 4096
#: The most that one call of ours moves: the kernel's loop must come round again.
MAX_TRANSFER = 1 << 20

_PTMX_RDEV = os.makedev(5, 2)
_READ_EVENTS = POLLIN | POLLRDNORM
_WRITE_EVENTS = POLLOUT | POLLWRNORM
_HOST_EVENTS = POLLIN | POLLOUT | POLLPRI | POLLERR | POLLHUP | POLLRDHUP

#: Devices that have the same name everywhere.
_DEVICE_NAMES = {
    os.makedev(1, 3): "/dev/null",
    os.makedev(1, 5): "/dev/zero",
    os.makedev(1, 7): "/dev/full",
    os.makedev(1, 8): "/dev/random",
    os.makedev(1, 9): "/dev/urandom",
}

PIPE, REGULAR, SOCKET, TERMINAL, DEVICE = range(5)


def _socket_of(fd: int) -> socket:
    """A socket object over a copy of ``fd``. Few sandboxes have one, and the module takes 3 ms to import."""
    from socket import socket

    return socket(fileno=os.dup(fd))


class HostQueue(WaitQueue):
    """A wait queue that watches its host descriptor only while somebody is in it.

    Edge-triggered: who waits has looked before, and one that stays in the queue for long (an epoll) must
    not keep the loop awake because the descriptor is writable all the time.
    """

    __slots__ = ("fd", "kernel", "watch")

    def __init__(self, kernel: Kernel, fd: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.fd = fd
        self.watch: Watch | None = None

    def add(self, entry: WaitEntry) -> None:
        super().add(entry)
        if self.watch is None:
            events = select.EPOLLIN | select.EPOLLOUT | select.EPOLLPRI | select.EPOLLRDHUP | EPOLLET
            self.watch = self.kernel.poller.watch(self.fd, events, self._ready)

    def remove(self, entry: WaitEntry) -> None:
        super().remove(entry)
        if not self.entries and self.watch is not None:
            self.watch.close()
            self.watch = None

    def _ready(self, events: int) -> None:
        mask = events & 0xFFFF
        if events & (select.EPOLLERR | select.EPOLLHUP):
            mask = ALL
        if events & select.EPOLLIN:
            mask |= _READ_EVENTS
        if events & select.EPOLLOUT:
            mask |= _WRITE_EVENTS
        self.wake(mask)


class HostHandle:
    """A host descriptor that is ours, and what it is. ``nonblocking``: reads and writes can't block.

    ``fd`` is closed when the last open file that uses it is.
    """

    __slots__ = (
        "access", "fd", "host_rdev", "inode", "kernel", "kind", "nonblocking", "pollable", "poller", "queue",
        "sock",
        "users",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, fd: int, private: bool | None = None) -> None:
        """``private``: is the open file description ours alone, and non-blocking? None: try to make it so."""
        st = os.fstat(fd)
        self.kernel = kernel
        self.host_rdev = st.st_rdev
        self.access = fcntl.fcntl(fd, fcntl.F_GETFL) & O_ACCMODE
        self.nonblocking = bool(private)
        if S_ISREG(st.st_mode):
            self.kind = REGULAR
        elif S_ISFIFO(st.st_mode):
            self.kind = PIPE
        elif S_ISSOCK(st.st_mode):
            self.kind = SOCKET
        elif S_ISCHR(st.st_mode) and os.isatty(fd) and st.st_rdev != _PTMX_RDEV:
            self.kind = TERMINAL
        else:
            self.kind = DEVICE
        if self.kind in (PIPE, TERMINAL) and private is None:
            fd = self._reopen(fd)
        self.fd = fd
        self.sock = _socket_of(fd) if self.kind == SOCKET else None
        self.pollable = self.kind != REGULAR and (self.kind != DEVICE or _can_poll(kernel, fd))
        self.users = 0
        self.inode = HostInode(self, st)
        self.queue = HostQueue(kernel, fd)
        self.poller = select.poll()
        self.poller.register(fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP)

    def _reopen(self, fd: int) -> int:
        """A description of our own with O_NONBLOCK, if the host lets us; ``fd`` is closed then."""
        flags = self.access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            new = os.open(f"/proc/self/fd/{fd}", flags)
        except OSError as error:
            # Another user's terminal, or a pipe whose other end is closed: poll before each transfer instead.
            self.kernel.log.debug(f"descriptor {fd} can't be opened anew: {error}")
            return fd
        os.close(fd)
        self.nonblocking = True
        return new

    def get(self) -> HostHandle:
        self.users += 1
        return self

    def put(self) -> None:
        self.users -= 1
        if self.users == 0:
            if self.sock is not None:
                self.sock.close()
            os.close(self.fd)
            self.fd = -1

    def ready(self) -> int:
        """The poll(2) events that hold on the host now."""
        for _fd, events in self.poller.poll(0):
            return events
        return 0

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes; raises ``WOULD_BLOCK``."""
        count = min(count, MAX_TRANSFER)
        try:
            if self.sock is not None:
                return self.sock.recv(count, MSG_DONTWAIT)
            if not self.nonblocking and self.kind != REGULAR:
                if not self.ready() & (POLLIN | POLLHUP | POLLERR):
                    raise WOULD_BLOCK
            return os.read(self.fd, count)
        except BlockingIOError:
            raise WOULD_BLOCK from None

    def write(self, data: bytes) -> int:
        """Write what can be; raises ``WOULD_BLOCK``."""
        try:
            if self.sock is not None:
                return self.sock.send(data, MSG_DONTWAIT | MSG_NOSIGNAL)
            if not self.nonblocking and self.kind != REGULAR:
                if not self.ready() & (POLLOUT | POLLERR | POLLHUP):
                    raise WOULD_BLOCK
                data = data[:PIPE_BUF]
            return os.write(self.fd, data)
        except BlockingIOError:
            raise WOULD_BLOCK from None


def _can_poll(kernel: Kernel, fd: int) -> bool:
    """Does the host's epoll take it (a device with a poll method)?"""
    try:
        kernel.poller.watch(fd, 0, lambda _events: None).close()
    except PermissionError:
        return False
    return True


class HostFs(FileSystem):
    """The file system that inherited files appear to be on."""

    __slots__ = ("root_inode",)

    def __init__(self) -> None:
        super().__init__("host", cached=False)
        self.root_inode: Inode | None = None

    def root(self) -> Inode:
        assert self.root_inode is not None
        return self.root_inode

    def statfs(self) -> StatFs:
        return StatFs(0x01021994)


class HostInode(Inode):
    """The inode of an inherited file: type, size and times as on the host."""

    __slots__ = ("handle", "host_mode")

    def __init__(self, handle: HostHandle, st: os.stat_result) -> None:
        super().__init__(HostFs(), st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_rdev)
        self.handle = handle
        self.fs.dev = st.st_dev
        if handle.kind == PIPE:
            # To the VFS it is a device: opening it anew means this pipe, not a FIFO of the guest's.
            self.mode = S_IFCHR | stat.S_IMODE(st.st_mode)
        self.host_mode = st.st_mode
        self._take(st)

    def _take(self, st: os.stat_result) -> None:
        self.nlink = st.st_nlink
        self.size = st.st_size
        self.atime, self.mtime, self.ctime = st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns

    def refresh(self) -> None:
        if self.handle.fd >= 0:
            self._take(os.fstat(self.handle.fd))

    def stat(self) -> Stat:
        self.refresh()
        return Stat(
            self.fs.dev, self.ino, self.host_mode, self.nlink, self.uid, self.gid, self.rdev, self.size, 4096,
            (self.size + 511) // 512, self.atime, self.mtime, self.ctime,
        )  # fmt: skip

    def setattr(self, attr: SetAttr) -> None:
        """Size and times can be changed through a descriptor that may write; the owner and mode are the
        host's."""
        if attr.mode is not None or attr.uid is not None or attr.gid is not None:
            raise LinuxError(EPERM)
        if attr.size is not None:
            self.truncate(attr.size)
        if attr.atime is not None or attr.mtime is not None:
            st = os.fstat(self.handle.fd)
            os.utime(
                self.handle.fd,
                ns=(
                    st.st_atime_ns if attr.atime is None else attr.atime,
                    st.st_mtime_ns if attr.mtime is None else attr.mtime,
                ),
            )

    def truncate(self, size: int) -> None:
        if self.handle.kind != REGULAR:
            raise LinuxError(EINVAL)
        os.ftruncate(self.handle.fd, size)

    def open(self, path: Path, flags: int, task: Task) -> File:
        """/proc/self/fd/N, /dev/stdout: another open file of the same object, with an offset of its own."""
        handle = self.handle
        if handle.fd < 0:
            raise LinuxError(ENODEV)
        wanted = flags & O_ACCMODE
        if handle.access != O_RDWR and wanted != handle.access:
            raise LinuxError(EACCES)
        if handle.kind == SOCKET:
            from errno import ENXIO

            raise LinuxError(ENXIO)
        if handle.kind == TERMINAL:
            from runsc.kernel.tty.hosttty import HostTtyFile, tty_of

            return HostTtyFile(handle, tty_of(handle), flags, path)
        if handle.kind == REGULAR:
            return HostRegularFile(handle, flags & ~O_TRUNC, False, path)
        return _plain_file(handle, flags, path)

    def host_fd(self, writable: bool) -> int:
        if self.handle.kind != REGULAR:
            raise LinuxError(ENODEV)
        if writable and self.handle.access != O_RDWR:
            raise LinuxError(EACCES)
        return self.handle.fd


class HostFile(File):
    """An inherited pipe, socket or device."""

    __slots__ = ("handle",)

    def __init__(self, handle: HostHandle, flags: int, path: Path | None = None) -> None:
        super().__init__(handle.inode, flags, path)
        self.handle = handle.get()

    def release(self) -> None:
        self.handle.put()

    def read(self, task: Task, count: int) -> bytes:
        return self.handle.read(count) if count else b""

    def write(self, task: Task, data: bytes) -> int:
        return self.handle.write(data)

    def poll(self, task: Task | None = None) -> int:
        events = self.handle.ready()
        mask = events & _HOST_EVENTS
        if events & POLLIN:
            mask |= POLLRDNORM
        if events & POLLOUT:
            mask |= POLLWRNORM
        return mask

    def wait_queue(self) -> WaitQueue | None:
        return self.handle.queue

    def ioctl(self, task: Task, request: int, arg: int) -> int:
        if request == FIONREAD and self.handle.kind in (PIPE, SOCKET):
            task.mm.copy_out(arg, fcntl.ioctl(self.handle.fd, FIONREAD, bytes(4)))
            return 0
        raise LinuxError(ENOTTY)

    def describe(self) -> str:
        name = _DEVICE_NAMES.get(self.inode.rdev) if self.handle.kind == DEVICE else None
        if name is not None:
            return name
        kind = {PIPE: "pipe", SOCKET: "socket"}.get(self.handle.kind, "host")
        return f"{kind}:[{self.inode.ino}]"


class HostDeviceFile(HostFile):
    """An inherited device without a poll method (/dev/null): always ready."""

    __slots__ = ()

    seekable = True
    is_regular = True

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        return os.pread(self.handle.fd, min(count, MAX_TRANSFER), offset)

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        return os.pwrite(self.handle.fd, data, offset)

    def lseek(self, task: Task, offset: int, whence: int) -> int:
        self.pos = os.lseek(self.handle.fd, offset, whence)
        return self.pos

    def partial_input(self, data: bytes, wanted: int) -> bytes:
        """What there is, as far as it goes."""
        return data or super().partial_input(data, wanted)

    def poll(self, task: Task | None = None) -> int:
        return ALWAYS_READY

    def wait_queue(self) -> WaitQueue | None:
        return None


class HostRegularFile(HostFile):
    """An inherited regular file. ``shared_offset``: its offset is the host's, which others (the shell
    that redirected the output of several commands into one file) count on."""

    __slots__ = ("shared_offset",)

    seekable = True
    is_regular = True

    def __init__(self, handle: HostHandle, flags: int, shared_offset: bool, path: Path | None = None) -> None:
        super().__init__(handle, flags, path)
        self.shared_offset = shared_offset

    def read(self, task: Task, count: int) -> bytes:
        if self.shared_offset:
            return self.handle.read(count)
        return super(HostFile, self).read(task, count)

    def partial_input(self, data: bytes, wanted: int) -> bytes:
        """What there is, as far as it goes."""
        return data or super().partial_input(data, wanted)

    def write(self, task: Task, data: bytes) -> int:
        if self.shared_offset:
            return self.handle.write(data)
        return super(HostFile, self).write(task, data)

    def pread(self, task: Task, count: int, offset: int) -> bytes:
        return os.pread(self.handle.fd, min(count, MAX_TRANSFER), offset)

    def pwrite(self, task: Task, data: bytes, offset: int) -> int:
        return os.pwrite(self.handle.fd, data, offset)

    def lseek(self, task: Task, offset: int, whence: int) -> int:
        if not self.shared_offset:
            return super().lseek(task, offset, whence)
        if whence not in (SEEK_SET, SEEK_CUR, SEEK_END, os.SEEK_DATA, os.SEEK_HOLE):
            raise LinuxError(EINVAL)
        self.pos = os.lseek(self.handle.fd, offset, whence)
        return self.pos

    def fsync(self, datasync: bool) -> None:
        if datasync:
            os.fdatasync(self.handle.fd)
        else:
            os.fsync(self.handle.fd)

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        if mode:
            from errno import EOPNOTSUPP

            raise LinuxError(EOPNOTSUPP)
        os.posix_fallocate(self.handle.fd, offset, length)

    def poll(self, task: Task | None = None) -> int:
        return ALWAYS_READY

    def wait_queue(self) -> WaitQueue | None:
        return None


def _plain_file(handle: HostHandle, flags: int, path: Path | None = None) -> File:
    return HostFile(handle, flags, path) if handle.pollable else HostDeviceFile(handle, flags, path)


def host_stdio(kernel: Kernel, fd: int, private: bool | None = None) -> File:
    """The guest's file for the host's descriptor ``fd``, which is taken over: it is closed when the guest
    has closed the file everywhere. The first terminal becomes ``kernel.console``.

    ``private``: is the open file description ours alone, and non-blocking? None, at boot, when /proc and
    the terminal can still be opened: make it so, if possible.
    """
    handle = HostHandle(kernel, _take_over(fd), private)
    status = fcntl.fcntl(handle.fd, fcntl.F_GETFL)
    flags = handle.access | status & O_APPEND
    if not handle.nonblocking:
        flags |= status & O_NONBLOCK
    if handle.kind == TERMINAL:
        from runsc.kernel.tty.hosttty import HostTtyFile, tty_of

        return HostTtyFile(handle, tty_of(handle), flags)
    if handle.kind == REGULAR:
        return HostRegularFile(handle, flags, True)
    return _plain_file(handle, flags)


def _take_over(fd: int) -> int:
    """A number of our own for ``fd``, which then isn't what it was: the guest's file alone is to keep a
    pipe open.

    Numbers 0 and 1 stay in use, or the next file opened would get them. Standard error stays as it is,
    for what we ourselves may have to say."""
    own = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    if fd in (0, 1):
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, fd)
        os.close(null)
    elif fd > 2:
        os.close(fd)
    return own


def attach_console(kernel: Kernel, task: Task) -> None:
    """Make the console, if there is one, the controlling terminal of the first task's session, and give
    it its name in /dev."""
    if kernel.console is not None:
        from runsc.kernel.fs.devtmpfs import mount_console

        kernel.console.attach(task)
        mount_console(kernel, task.fs.namespace)
