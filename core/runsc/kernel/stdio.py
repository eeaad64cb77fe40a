"""Standard streams of processes that are started from outside: pipes, files, or a terminal."""

from __future__ import annotations

from runsc.abi.fcntl import AT_FDCWD, O_RDWR
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.devpts import DevPts
from runsc.kernel.fs.hostfile import host_stdio
from runsc.kernel.tty.bridge import Bridge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File
    from runsc.oci.process import Process


def received_file(kernel: Kernel, fd: int, private: bool) -> File:
    """The guest's file for a descriptor that came from outside, which is taken over.

    ``private``: its open file description is ours alone, and non-blocking.
    """
    return host_stdio(kernel, fd, private)


def open_console(kernel: Kernel, task: Task, fd: int, process: Process) -> tuple[Bridge, dict[int, File]]:
    """A terminal of the container's, joined to the host's line ``fd``, as the process's three streams and as
    its session's controlling terminal."""
    from runsc.kernel.vfs.namei import lookup
    from runsc.kernel.vfs.operations import open_inode

    devpts: DevPts | None = None
    try:
        place = lookup(task, AT_FDCWD, b"/dev/pts")
        if isinstance(place.mount.fs, DevPts):
            devpts = place.mount.fs
    except LinuxError:
        pass  # a container without /dev/pts: the terminal has no name there
    named = devpts is not None
    if devpts is None:
        devpts = DevPts(kernel)
    bridge = Bridge(kernel, fd, devpts, task)
    if process.console_size is not None and any(process.console_size):
        bridge.slave.resize((*process.console_size, 0, 0))
    index = bridge.slave.index
    node = devpts.slaves[index]
    node.uid = process.user.uid
    if named:
        path = lookup(task, AT_FDCWD, b"/dev/pts/%d" % index)
        file = open_inode(task, path, O_RDWR)
    else:
        file = devpts.open_slave(index, node, None, O_RDWR, task)
    bridge.slave.attach(task)
    return bridge, {0: file, 1: file, 2: file}


def mount_console(task: Task, bridge: Bridge) -> None:
    """Put a container's terminal on /dev/console too."""
    from runsc.kernel.container_root import NodeFs
    from runsc.kernel.vfs.namei import child_of, lookup

    try:
        at = lookup(task, AT_FDCWD, b"/dev")
        dentry = child_of(task, at, b"console")
        if dentry.inode is None:
            assert at.dentry.inode is not None
            dentry.inode = at.dentry.inode.create(b"console", 0o100620, task.cred)
        path = lookup(task, AT_FDCWD, b"/dev/console")
        task.fs.namespace.mount(NodeFs(bridge.devpts.slaves[bridge.slave.index]), path)
    except (LinuxError, OSError) as error:
        task.kernel.log.debug(f"/dev/console can't be made: {error}")
