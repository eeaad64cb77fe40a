"""A container's life, from outside: create, start, kill, delete. (runtime specification, runtime.md:
Lifecycle)

Every step is noted before it is taken as far as somebody who comes after must clean it up, so that a command
may be killed anywhere and ``delete --force`` still finds everything.
"""

from __future__ import annotations

import os
import time

from runsc.errors import RunscError
from runsc.oci.state import CREATED, PAUSED, RUNNING, SOCKET, STOPPED, Lock, Store, alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.filesystem import HostMount
    from runsc.log import Log
    from runsc.oci.spec import Hook, Spec
    from runsc.oci.state import Record
    from runsc.sandbox.client import Connection
    from runsc.sandbox.launch import Launch
    from runsc.sandbox.plan import Plan

SIGKILL = 9

#: How long a killed process may take to be gone, in seconds.
_PATIENCE = 10.0


class Making:
    """What ``create`` and ``run`` were told beside id and bundle. ``passed``: guest's number: descriptor."""

    __slots__ = ("console", "console_socket", "foreground", "passed", "pid_file")

    def __init__(self) -> None:
        self.console_socket = ""
        self.pid_file = ""
        #: may it use this process's terminal; and does it (then a descriptor, else -1)
        self.foreground = False
        self.console = -1
        self.passed: dict[int, int] = {}


def create(
    config: Config, container_id: str, bundle: str, making: Making, log: Log, started: float
) -> tuple[Record, Launch]:
    """Make a container, ready to be started; its sandbox's process is a child of this one.

    Raises ``RunscError``; then nothing of it is left.
    """
    from runsc.oci.spec import load

    bundle = os.path.abspath(bundle)
    spec = load(bundle)
    if spec.process is None:
        raise RunscError(f"{bundle}/config.json: $.process: is missing", "say what the container is to run")
    for line in spec.warnings:
        log.warning(line)
    store = Store(config.state_dir)
    record = store.make(container_id)
    with Lock(record.directory):
        launch: Launch | None = None
        try:
            note(record, spec, bundle)
            record.save()
            plan = make_plan(config, record, spec, making)
            launch = fork(config, plan, started)
            record.set_process(launch.pid)
            record.save()
            launch.wait_loaded()
            for kind in ("prestart", "createRuntime", "createContainer"):
                run(kind, spec.hooks.get(kind, []), record)
            launch.go()
            record.status = CREATED
            record.save()
            if making.pid_file:
                write_pid_file(making.pid_file, launch.pid)
            launch.release()
        except BaseException:
            if launch is not None:
                launch.kill()
            store.remove(record)
            raise
    return record, launch


def note(record: Record, spec: Spec, bundle: str) -> None:
    """Put into the record what later commands need."""
    record.version = spec.version
    record.bundle = bundle
    record.rootfs = spec.root.path
    record.annotations = spec.annotations
    hooks = spec.raw.get("hooks") or {}
    record.extra["hooks"] = {kind: hooks[kind] for kind in ("poststart", "poststop") if hooks.get(kind)}


def make_plan(config: Config, record: Record, spec: Spec, making: Making) -> Plan:
    """What the sandbox is to be made of. Its socket is bound here."""
    from runsc.oci.console import own_line, terminal_for
    from runsc.sandbox.client import listen
    from runsc.sandbox.plan import Plan

    process = spec.process
    assert process is not None
    plan = Plan(record.id, spec, listen(os.path.join(record.directory, SOCKET)))
    plan.overlay = config.overlay2 != "none"
    plan.host_mounts, plan.places = host_mounts(config, spec, plan.overlay)
    plan.passed = making.passed
    plan.attended = making.foreground
    if process.terminal:
        if making.console_socket:
            plan.console = terminal_for(process, making.console_socket)
        elif making.foreground:
            plan.console = making.console = own_line()
            plan.foreground = True
        else:
            raise RunscError("the process wants a terminal", "give --console-socket, or run it on a terminal")
    return plan


def fork(config: Config, plan: Plan, started: float) -> Launch:
    """Start the sandbox's process."""
    from runsc.config import FS_OF_CONTAINERS
    from runsc.plugins.loader import load
    from runsc.plugins.scan import FILESYSTEM
    from runsc.sandbox.boot import open_files
    from runsc.sandbox.launch import Launch

    config.fs = config.fs or FS_OF_CONTAINERS
    filesystem = load(FILESYSTEM, config.fs)
    _opener, plan.opened = open_files(filesystem, config, plan.host_mounts)
    launch = Launch(config, plan, filesystem, started)
    plan.listener.close()
    for fd in (*plan.opened, plan.console):
        if fd >= 0:
            os.close(fd)
    return launch


def host_mounts(config: Config, spec: Spec, overlay: bool) -> tuple[list[HostMount], dict[int, int]]:
    """What a container is to reach of the host's files: its root, then its bind mounts; and where those stand
    in ``spec.mounts``, by their place in that list. Raises ``RunscError``."""
    from runsc.filesystem import DIRECTORY, HostMount, host_mount
    from runsc.oci.mounts import parse_options

    root = os.fsencode(spec.root.path)
    shared = config.file_access == "shared"
    mounts = [HostMount(root, spec.root.readonly or overlay, shared, DIRECTORY)]
    places = {}
    for index, mount in enumerate(spec.mounts):
        if mount.is_bind():
            source = os.path.join(os.fsencode(spec.bundle), os.fsencode(mount.source))
            places[index] = len(mounts)
            shared = config.file_access_mounts == "shared"
            mounts.append(host_mount(source, parse_options(mount).read_only(), shared))
    return mounts, places


def run(kind: str, hooks: list[Hook], record: Record) -> None:
    """Run hooks of one kind."""
    if hooks:
        from runsc.oci.hooks import run_hooks

        run_hooks(kind, hooks, record.document())


def write_pid_file(path: str, pid: int) -> None:
    """Write a process id, in one step. Raises ``RunscError``."""
    new = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, str(pid).encode())
        finally:
            os.close(fd)
        os.rename(new, path)
    except OSError as error:
        raise RunscError(f"can't write {path}: {error.strerror}", "choose another --pid-file") from None


def control(store: Store, record: Record) -> Connection:
    """A connection to the kernel of a container's sandbox. Raises ``Gone``."""
    from runsc.sandbox.client import Connection

    return Connection(os.path.join(store.directory(record.sandbox), SOCKET))


def start(config: Config, container_id: str, log: Log) -> None:
    """Run the program of a created container. Raises ``RunscError``; then nothing of it runs."""
    store = Store(config.state_dir)
    record = store.load(container_id)
    with Lock(record.directory):
        record = store.load(container_id)
        status = record.now()
        if status != CREATED:
            raise RunscError(
                f"cannot start a container that is {status}", "only a created one can be started"
            )
        with control(store, record) as connection:
            connection.call({"do": "start", "id": container_id})
        record.status = RUNNING
        record.save()
    from_file = record.extra.get("hooks", {}).get("poststart", [])
    if from_file:
        try:
            run("poststart", parse_hooks(from_file), record)
        except RunscError as error:
            # The specification has it: logged, and the container goes on.
            log.warning(str(error))


def parse_hooks(documents: list[object]) -> list[Hook]:
    """Hooks that were noted in a record."""
    from runsc.oci.node import Node
    from runsc.oci.spec import Hook

    return [Hook.parse(Node(document)) for document in documents]


def kill(config: Config, container_id: str, signo: int, everybody: bool = False, pid: int = 0) -> None:
    """Send a signal. A container that has ended already is as dead as a signal could make it."""
    store = Store(config.state_dir)
    record = store.load(container_id)
    status = record.now()
    if status == STOPPED:
        return
    from runsc.sandbox.client import Gone

    if status not in (CREATED, RUNNING, PAUSED):
        raise RunscError(f"cannot kill a container that is {status}", "'runsc delete --force' ends it")
    try:
        with control(store, record) as connection:
            request = {"do": "signal", "id": container_id, "signal": signo, "all": everybody, "pid": pid}
            connection.call(request)
    except Gone:
        if record.now() != STOPPED and signo == SIGKILL:
            kill_process(record)


def kill_process(record: Record) -> None:
    """End a container's process on the host, whatever it is at, and wait until it has."""
    deadline = time.monotonic() + _PATIENCE
    delay = 0.001
    while record.pid and alive(record.pid, record.started):
        try:
            os.kill(record.pid, SIGKILL)
        except ProcessLookupError:
            return
        if time.monotonic() > deadline:
            raise RunscError(
                f"process {record.pid} of container {record.id} does not end",
                "look for what holds it (ps -l)",
            )
        time.sleep(delay)
        delay = min(delay * 2, 0.05)


def delete(config: Config, container_id: str, force: bool, log: Log) -> None:
    """Remove a container and everything of it. With ``force`` it is killed first, and may be missing."""
    store = Store(config.state_dir)
    try:
        record = store.load(container_id)
        with Lock(record.directory):
            _delete(store, container_id, force, log)
    except RunscError:
        if not force or os.path.isdir(store.directory(container_id)):
            raise


def _delete(store: Store, container_id: str, force: bool, log: Log) -> None:
    record = store.load(container_id)
    status = record.now()
    if status in (RUNNING, PAUSED) and not force:
        raise RunscError(
            f"cannot delete container {container_id} that is not stopped: {status}",
            f"kill it first, or write runsc delete --force {container_id}",
        )
    kill_process(record)
    hooks = record.extra.get("hooks", {}).get("poststop", [])
    if hooks:
        record.status = STOPPED
        try:
            run("poststop", parse_hooks(hooks), record)
        except RunscError as error:
            log.warning(str(error))
    store.remove(record)
