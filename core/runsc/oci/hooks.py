"""Hooks: programs of the host's that are run at points of a container's life (runtime specification,
config.md)."""

from __future__ import annotations

import os
import signal
from time import monotonic

from runsc.errors import RunscError
from runsc.oci.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.oci.spec import Hook

#: How much of what a failing hook says is shown.
_SHOWN = 4096


def run_hooks(kind: str, hooks: list[Hook], state: dict[str, Any]) -> None:
    """Run hooks one after the other, each with the container's state on its standard input.

    Raises ``RunscError`` for the first that fails or takes longer than it may.
    """
    for index, hook in enumerate(hooks):
        _run(f"$.hooks.{kind}[{index}]", hook, dumps(state).encode())


def _run(where: str, hook: Hook, state: bytes) -> None:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    said_read, said_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    env = dict(word.partition("=")[::2] for word in hook.env)
    actions = [
        (os.POSIX_SPAWN_DUP2, read_end, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, said_write, 2),
    ]
    try:
        # A state is longer than a pipe only with annotations of 64 KiB; the pipe then takes what the hook
        # reads.
        pid = os.posix_spawn(
            hook.path, hook.args or [hook.path], env, file_actions=actions, setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD), setpgroup=0,
        )  # fmt: skip
    except OSError as error:
        for fd in (read_end, write_end, said_read, said_write):
            os.close(fd)
        raise RunscError(f"{where}: can't run {hook.path}: {error.strerror}", "see config.json") from None
    os.close(read_end)
    os.close(said_write)
    try:
        _feed(write_end, state)
        status = _wait(pid, hook.timeout)
        said = _said(said_read)
    finally:
        os.close(said_read)
    if status is None:
        raise RunscError(f"{where}: {hook.path} took more than {hook.timeout} s", "it was killed")
    code = os.waitstatus_to_exitcode(status)
    if code:
        how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
        raise RunscError(f"{where}: {hook.path}: {how}", said or "it said nothing")


def _feed(fd: int, data: bytes) -> None:
    old = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError:
        pass  # not every hook reads it
    finally:
        signal.signal(signal.SIGPIPE, old)
        os.close(fd)


def _wait(pid: int, timeout: int | None) -> int | None:
    """The hook's wait status; None if it took too long, and was killed."""
    if timeout is None:
        return os.waitpid(pid, 0)[1]
    from select import poll

    pidfd = os.pidfd_open(pid)
    try:
        poller = poll()
        poller.register(pidfd, 1)
        deadline = monotonic() + timeout
        while not poller.poll(max(0, deadline - monotonic()) * 1000):
            if monotonic() >= deadline:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return None
    finally:
        os.close(pidfd)
    return os.waitpid(pid, 0)[1]


def _said(fd: int) -> str:
    try:
        return " ".join(os.read(fd, _SHOWN).decode("utf-8", "replace").split())
    except BlockingIOError:
        return ""
