"""What is known of containers outside of them: a directory for each below ``--root``, with a file in it.

``state.json`` is replaced whole (rename(2)) by whoever holds the container's lock, so that a command that was
killed leaves the old one or the new one. Whether the container's process still lives is looked up, not noted.
"""

from __future__ import annotations

import os
import time
from fcntl import LOCK_EX, flock

from runsc.errors import RunscError, UsageError
from runsc.oci.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

CREATING = "creating"
CREATED = "created"
RUNNING = "running"
PAUSED = "paused"
STOPPED = "stopped"

FILE = "state.json"
LOCK = "lock"
#: The socket that the sandbox's kernel answers on.
SOCKET = "control.sock"

_MAX_ID = 1024
#: Our own part of the file, beside what the runtime specification has.
_OWN = "runsc"


class Record:
    """One container.

    ``pid``: its process on the host, 0 before there is one; ``started``: when that began (clock ticks since
    the host's boot), so that another process with the same number isn't taken for it. ``sandbox``: the id of
    the container whose process runs the kernel: the same as ``id`` except in pods. ``extra``: what the parts
    of runsc note for later commands, by name.
    """

    __slots__ = (
        "annotations", "bundle", "created", "directory", "extra", "id", "owner", "pid", "rootfs", "sandbox",
        "started", "status", "version",
    )  # fmt: skip

    def __init__(self, container_id: str, directory: str) -> None:
        self.id = container_id
        self.directory = directory
        self.status = CREATING
        self.version = "1.2.0"
        self.pid = 0
        self.started = 0
        self.bundle = ""
        self.rootfs = ""
        self.created = now()
        self.owner = ""
        self.sandbox = container_id
        self.annotations: dict[str, str] = {}
        self.extra: dict[str, Any] = {}

    def document(self) -> dict[str, Any]:
        """The state as the runtime specification has it, with what runc adds."""
        state: dict[str, Any] = {"ociVersion": self.version, "id": self.id}
        # A dead container's process id may be somebody else's by now.
        status = self.now()
        state["status"] = status
        state["pid"] = 0 if status == STOPPED else self.pid
        state["bundle"] = self.bundle
        state["rootfs"] = self.rootfs
        state["created"] = self.created
        if self.annotations:
            state["annotations"] = self.annotations
        state["owner"] = self.owner
        return state

    def now(self) -> str:
        """The status: what was noted last, unless the process has ended."""
        if self.pid and not alive(self.pid, self.started):
            return STOPPED
        return self.status

    def save(self) -> None:
        """Write the file. The caller holds the lock."""
        own = {
            "started": self.started, "sandbox": self.sandbox, "status": self.status, "pid": self.pid,
            "extra": self.extra,
        }  # fmt: skip
        text = dumps({**self.document(), _OWN: own}, 1) + "\n"
        path = os.path.join(self.directory, FILE)
        new = f"{path}.{os.getpid()}"
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
            os.rename(new, path)
        except OSError as error:
            remedy = "make room there, or choose another --root"
            raise RunscError(f"can't write {path}: {error.strerror}", remedy) from None

    def set_process(self, pid: int) -> None:
        """Note the container's process."""
        self.pid = pid
        self.started = start_time(pid)


class Store:
    """The containers below one directory."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = root

    def directory(self, container_id: str) -> str:
        return os.path.join(self.root, container_id)

    def ids(self) -> list[str]:
        """The ids of all containers."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunscError(f"can't read {self.root}: {error.strerror}", "choose another --root") from None
        return sorted(name for name in names if os.path.isdir(os.path.join(self.root, name)))

    def make(self, container_id: str) -> Record:
        """A new container's directory. Raises ``RunscError`` if there is one of that id."""
        check_id(container_id)
        directory = self.directory(container_id)
        try:
            os.makedirs(self.root, 0o711, exist_ok=True)
            os.mkdir(directory, 0o700)
        except FileExistsError:
            remedy = f"choose another id, or 'runsc delete {container_id}' first"
            raise RunscError(f'container "{container_id}" already exists', remedy) from None
        except OSError as error:
            raise RunscError(f"can't make {directory}: {error.strerror}", "choose another --root") from None
        return Record(container_id, directory)

    def load(self, container_id: str) -> Record:
        """A container. Raises ``RunscError`` if there is none of that id."""
        check_id(container_id)
        directory = self.directory(container_id)
        try:
            with open(os.path.join(directory, FILE), "rb") as file:
                document = loads(file.read())
        except FileNotFoundError:
            if not os.path.isdir(directory):
                raise NoContainer(container_id) from None
            # Made, and nothing noted yet: by a command that runs now, or that was killed.
            return Record(container_id, directory)
        except (OSError, ValueError) as error:
            remedy = f"'runsc delete --force {container_id}' removes what is there"
            raise RunscError(f"can't read the state of {container_id!r}: {error}", remedy) from None
        record = Record(container_id, directory)
        own = document[_OWN]
        record.version = document["ociVersion"]
        record.bundle = document["bundle"]
        record.rootfs = document["rootfs"]
        record.created = document["created"]
        record.annotations = document.get("annotations", {})
        record.owner = document["owner"]
        record.status = own["status"]
        record.pid = own["pid"]
        record.started = own["started"]
        record.sandbox = own["sandbox"]
        record.extra = own["extra"]
        return record

    def remove(self, record: Record) -> None:
        """Take a container's directory away, whatever is in it. Idempotent."""
        try:
            names = os.listdir(record.directory)
        except FileNotFoundError:
            return
        # The state last: as long as it is there, the next delete knows what to look for.
        for name in sorted(names, key=lambda name: name == FILE):
            try:
                os.unlink(os.path.join(record.directory, name))
            except FileNotFoundError:
                continue
        try:
            os.rmdir(record.directory)
        except FileNotFoundError:
            return


class NoContainer(RunscError):
    """There is no container of that id."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f'container "{container_id}" does not exist')


class Lock:
    """Held by whoever changes a container: ``with Lock(directory):``. Freed when its holder dies."""

    __slots__ = ("directory", "fd")

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.fd = -1

    def __enter__(self) -> Lock:
        try:
            path = os.path.join(self.directory, LOCK)
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise NoContainer(os.path.basename(self.directory)) from None
        flock(self.fd, LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        self.fd = -1


def check_id(container_id: str) -> None:
    """Raise ``UsageError`` unless it can be an id: it becomes the name of a directory."""
    if (
        container_id in (".", "..", "")
        or len(container_id) > _MAX_ID
        or not all(c.isascii() and (c.isalnum() or c in "_+-.") for c in container_id)
    ):
        raise UsageError(
            f'"{container_id}" can\'t be the id of a container',
            "use letters, digits and the characters _ + - .",
        )


def now() -> str:
    """The time, as RFC 3339 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09d}Z"


def _stat(pid: int) -> list[bytes]:
    """/proc/PID/stat from the third field on (proc(5)); empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 if it isn't there."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def alive(pid: int, started: int) -> bool:
    """Does the process that began then still run? One that nobody has waited for yet does not."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X") and int(fields[19]) == started
