"""What the kernel does for the commands outside: start, signal, exec, ps and so on
(``runsc.sandbox.control``)."""

from __future__ import annotations

from runsc.abi.signal import NSIG
from runsc.errors import RunscError
from runsc.kernel.container import (
    exit_code,
    install_files,
    kill_group,
    new_process,
    prepare,
    send_from_outside,
    when_ended,
)
from runsc.kernel.freezer import freeze, thaw
from runsc.oci.node import Node
from runsc.oci.process import Process
from runsc.oci.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.kernel.container import Container
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.thread_group import ThreadGroup
    from runsc.kernel.vfs.file import File
    from runsc.sandbox.control import Handler, Request


def containers(kernel: Kernel) -> dict[str, Container]:
    """The kernel's containers, by id."""
    found: dict[str, Container] = kernel.extra.setdefault("containers", {})
    return found


def container_of(request: Request) -> Container:
    """The container that a request is about. Raises ``RunscError``."""
    container = containers(request.kernel).get(str(request.body["id"]))
    if container is None:
        raise RunscError(f'container "{request.body["id"]}" does not exist in this sandbox')
    return container


def start(request: Request) -> dict[str, Any]:
    """Let a created container's program run."""
    container = container_of(request)
    if container.started:
        raise RunscError(f'container "{container.id}" has been started already')
    container.started = True
    container.program.go()
    return {}


def signal(request: Request) -> dict[str, Any]:
    """Send a signal: to the first process, one of its processes (``pid``), or all of them."""
    container = container_of(request)
    signo = int(request.body["signal"])
    if not 0 < signo <= NSIG:
        raise RunscError(f"there is no signal {signo}")
    if request.body.get("all"):
        for group in container.groups():
            send_from_outside(group, signo)
    elif request.body.get("pid"):
        send_from_outside(_process(container, int(request.body["pid"])), signo)
    else:
        send_from_outside(container.init, signo)
    return {}


def _process(container: Container, pid: int) -> ThreadGroup:
    for group in container.groups():
        if container.number(group) == pid:
            return group
    raise RunscError(f'container "{container.id}" has no process {pid}', "'runsc ps' shows which it has")


def wait(request: Request) -> dict[str, Any] | None:
    """Answer when the container has ended."""
    container = container_of(request)
    if container.status is not None:
        return {"exit": exit_code(container.status)}
    client = request.client
    container.ended.append(lambda status: client.answer({"exit": exit_code(status)}))
    return None


def execute(request: Request) -> dict[str, Any] | None:
    """Start a process in a running container; it is told when it has ended."""
    from runsc.kernel.stdio import open_console, received_file

    container = container_of(request)
    if not container.started or container.status is not None:
        raise RunscError(f'container "{container.id}" is not running', "start it first")
    kernel, client = request.kernel, request.client
    process = Process.parse(Node(request.body["process"], "$"))
    task = new_process(container)
    group = task.group
    files: dict[int, File] = {}
    try:
        if request.body.get("tty"):
            client.bridge, files = open_console(kernel, task, request.take(0), process)
        else:
            private = request.body.get("private", [])
            for index, number in enumerate(request.body.get("numbers", [0, 1, 2])):
                own = index < len(private) and bool(private[index])
                files[int(number)] = received_file(kernel, request.take(index), own)
        install_files(task, files)
        ready = prepare(task, process)
    except BaseException:
        kill_group(group)
        raise
    when_ended(group, lambda status: client.answer({"exit": exit_code(status)}))
    client.group = group
    client.gone = lambda: kill_group(group)
    ready.go()
    client.answer({"pid": container.number(group)})
    return None


def signal_started(request: Request) -> dict[str, Any] | None:
    """Send a signal to the process that was started on this connection. There is no answer."""
    group, signo = request.client.group, int(request.body["signal"])
    if group is not None and 0 < signo <= NSIG:
        send_from_outside(group, signo)
    return None


def resize(request: Request) -> dict[str, Any] | None:
    """The terminal of the process that was started on this connection has another size. There is no
    answer."""
    if request.client.bridge is not None:
        request.client.bridge.take_size()
    return None


def processes(request: Request) -> dict[str, Any]:
    """What runs in a container."""
    container = container_of(request)
    return {
        "processes": [
            {
                "host": group.leader.thread.host_pid(),
                "pid": container.number(group),
                "ppid": container.number(group.parent),
                "uid": group.leader.cred.uid,
                "command": group.leader.comm.decode("utf-8", "replace"),
                "threads": len(group.tasks),
                "state": group.leader.state,
                "time": sum(group.cpu_time_ns()),
            }
            for group in container.groups()
        ]
    }


def pause(request: Request) -> dict[str, Any]:
    """Let no task of a container run until it is resumed."""
    container = container_of(request)
    container.frozen = True
    for group in container.groups():
        freeze(group)
    return {}


def resume(request: Request) -> dict[str, Any]:
    """Let a paused container go on."""
    container = container_of(request)
    container.frozen = False
    for group in container.groups():
        thaw(group)
    return {}


def stats(request: Request) -> dict[str, Any]:
    """CPU time (ns), memory (bytes), tasks."""
    container = container_of(request)
    groups = container.groups()
    times = [group.cpu_time_ns() for group in groups]
    return {
        "user": sum(user for user, _system in times),
        "system": sum(system for _user, system in times),
        "memory": sum({id(g.leader.mm): g.leader.mm.space.resident_bytes() for g in groups}.values()),
        "memory_limit": container.spec.linux.resources.memory_limit or 0,
        "tasks": sum(len(group.tasks) for group in groups),
        "tasks_limit": container.spec.linux.resources.pids_limit or 0,
    }


def update(request: Request) -> dict[str, Any]:
    """Change what the container sees of its limits, and how many tasks it may have."""
    container = container_of(request)
    container.spec.linux.resources.merge(Resources.parse(Node(request.body["resources"])))
    return {}


HANDLERS: dict[str, Handler] = {
    "start": start,
    "signal": signal,
    "wait": wait,
    "exec": execute,
    "kill": signal_started,
    "resize": resize,
    "pause": pause,
    "ps": processes,
    "resume": resume,
    "stats": stats,
    "update": update,
}
