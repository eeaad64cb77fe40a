"""The half in the sandbox: file systems on connections to gofers."""

from __future__ import annotations

import os

from runsc.errors import RunscError
from runsc.filesystem import HostFiles
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.hostfs.filesystem import HostFs
from runsc.kernel.fs.hostfs.ops import OPENED
from runsc.kernel.fs.hostfs.watch import HostWatcher
from runsc.plugins.availability import Availability, HostCall
from runsc_fs_gofer9p.connection import Connection
from runsc_fs_gofer9p.ops import GoferOps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.filesystem import HostMount
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.vfs.inode import FileSystem

#: Opened files are used as what they are; names go to the gofer.
CALLS = (
    HostCall("sendmsg", "ask the gofer"),
    HostCall("recvmsg", "its answers, and opened files with them"),
    HostCall("close", "give descriptors back"),
    HostCall("fstat", "attributes of an open file"),
    HostCall("lseek", "find holes in sparse files"),
    HostCall("pread64", "read file data"),
    HostCall("pwrite64", "write file data"),
    HostCall("ftruncate", "set a file's size"),
    HostCall("fallocate", "reserve space, punch holes"),
    HostCall("fsync", "make data durable"),
    HostCall("fdatasync", "make data durable"),
)


class GoferFiles(HostFiles):
    """Host files by gofers: one, or several where containers have joined later."""

    __slots__ = ("kernel", "mounted", "watchers")

    name = "gofer9p"

    def __init__(self) -> None:
        self.mounted: list[HostFs] = []
        #: by the number of the gofer
        self.watchers: dict[int, HostWatcher] = {}
        self.kernel: Kernel | None = None

    @classmethod
    def check(cls) -> Availability:
        try:
            os.close(os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            why = f"/proc can't be used ({error.strerror})"
            return Availability.no(why, "mount /proc, or use --fs=direct")
        note = "" if os.geteuid() == 0 else "files keep the host's access rights for this user"
        return Availability.yes(note)

    def host_calls(self) -> Sequence[HostCall]:
        return CALLS

    def mount(self, fd: int, mount: HostMount) -> FileSystem:
        connection = Connection(fd, os.fsdecode(mount.source), self._report)
        try:
            ops = GoferOps(connection)
            ident, events = ops.watches()
            watcher = self.watchers.get(ident)
            if watcher is None and events >= 0:
                watcher = self.watchers[ident] = HostWatcher(events)
                if self.kernel is not None:
                    watcher.start(self.kernel)
            elif events >= 0:
                os.close(events)
            fs = HostFs("gofer9p", ops, mount, ops.stat(ops.root, OPENED), watcher)
        except (LinuxError, OSError) as error:
            connection.close()
            raise RunscError(
                f"can't use {os.fsdecode(mount.source)} on the host: {os.strerror(error.errno or 0)}",
                "see the gofer's log: run it again with --debug-log=DIR/",
            ) from error
        self.mounted.append(fs)
        return fs

    def _report(self, message: str) -> None:
        if self.kernel is not None:
            self.kernel.log.warning(message)

    def start(self, kernel: Kernel) -> None:
        self.kernel = kernel
        for watcher in self.watchers.values():
            watcher.start(kernel)

    def close(self) -> None:
        while self.mounted:
            self.mounted.pop().release()
        for watcher in self.watchers.values():
            watcher.close()
        self.watchers.clear()
