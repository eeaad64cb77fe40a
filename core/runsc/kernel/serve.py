"""A kernel for containers: brought up with the first one in it, which waits to be started; the loop; the
end."""

from __future__ import annotations

import gc
import os

from runsc.abi.mount import MS_RELATIME
from runsc.kernel.boot import forward_signals, new_kernel, shut_down, start_observers
from runsc.kernel.container import Container, exit_code, install_files, new_process, prepare
from runsc.kernel.container_root import mount_all
from runsc.kernel.handlers import HANDLERS, containers
from runsc.kernel.spawn import container_namespaces
from runsc.kernel.vfs.namespace import MountNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from runsc.config import Config
    from runsc.filesystem import HostFiles
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import NsProxy
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File
    from runsc.kernel.vfs.inode import FileSystem
    from runsc.network import Network
    from runsc.oci.spec import Spec
    from runsc.platform import Platform
    from runsc.plugins.observers import Observer
    from runsc.sandbox.plan import Plan


def serve(
    config: Config,
    plan: Plan,
    platform: Platform,
    filesystem: HostFiles,
    network: Network,
    log: Any,
    close_jail: Callable[[], None],
    ready: Callable[[Kernel], None],
    observers: Sequence[Observer] = (),
) -> int:
    """Bring a kernel up with the container of ``plan``, and run it until that has ended; its exit code.

    ``ready`` is called when the container is made and the jail is closed: from then on commands are answered.
    Raises ``RunscError`` if the container can't be made.
    """
    from runsc.sandbox.control import Server

    kernel = new_kernel(config, platform, network, log)
    try:
        container = make_container(kernel, plan, filesystem)
        start_observers(kernel, config, log, observers)
        server = Server(kernel, plan.listener, HANDLERS)
        close_jail()
        process = plan.spec.process
        assert process is not None
        container.program = prepare(container.init.leader, process)
        forward_signals(kernel, plan.signals)
        ready(kernel)
        gc.freeze()
        gc.enable()
        status = kernel.run()
        container.status = status
        for tell in container.ended:
            tell(status)
        server.close()
    finally:
        shut_down(kernel)
    return exit_code(status)


def make_container(kernel: Kernel, plan: Plan, filesystem: HostFiles) -> Container:
    """A container with its mounts and its first process, which has everything but a program."""
    spec = plan.spec
    systems = [filesystem.mount(fd, mount) for fd, mount in zip(plan.opened, plan.host_mounts, strict=True)]
    root = over_memory(systems[0]) if plan.overlay else systems[0]
    host = {index: systems[place] for index, place in plan.places.items()}
    namespace = MountNamespace(root, MS_RELATIME)
    container = Container(kernel, plan.id, spec, namespace, _namespaces(kernel, spec))
    task = new_process(container)
    container.init = task.group
    kernel.init_group = task.group
    containers(kernel)[plan.id] = container
    warnings: list[str] = []
    mount_all(task, spec, host, warnings)
    for line in warnings:
        kernel.log.warning(line)
    _give_streams(kernel, plan, task)
    return container


def _namespaces(kernel: Kernel, spec: Spec) -> NsProxy:
    """The namespaces that a spec asks for. One that it doesn't name is the sandbox's own, never the
    host's."""
    wanted = spec.linux.namespaces
    own_name = spec.hostname or spec.domainname or "uts" in wanted
    hostname = os.fsencode(spec.hostname) or kernel.nsproxy.uts.hostname
    proxy = container_namespaces(
        kernel, hostname if own_name else None, pid="pid" in wanted, ipc="ipc" in wanted
    )
    if spec.domainname:
        proxy.uts.domainname = os.fsencode(spec.domainname)
    return proxy


def over_memory(lower: FileSystem) -> FileSystem:
    """A layer in memory that takes all writing, above ``lower``."""
    from runsc.kernel.fs.overlay import Overlay
    from runsc.kernel.fs.tmpfs import Tmpfs

    return Overlay(Tmpfs(mode=0o755).root(), [lower.root()])


def _give_streams(kernel: Kernel, plan: Plan, task: Task) -> None:
    """Descriptors 0, 1, 2, and what was passed on purpose."""
    from runsc.kernel.fs.hostfile import host_stdio
    from runsc.kernel.stdio import mount_console, open_console

    files: dict[int, File] = {}
    process = plan.spec.process
    assert process is not None
    if process.terminal:
        bridge, files = open_console(kernel, task, plan.console, process)
        mount_console(task, bridge)
        kernel.extra["bridge"] = bridge
    else:
        for fd in range(3):
            files[fd] = host_stdio(kernel, fd)
    for number, fd in plan.passed.items():
        files[number] = host_stdio(kernel, fd)
    install_files(task, files)
    # Nothing of the caller's stays open but what the container has; 0 and 1 were taken over.
    with open("/dev/null", "r+b", buffering=0) as null:
        for fd in range(3) if process.terminal else (2,):
            if not plan.attended or fd != 2:
                os.dup2(null.fileno(), fd)
