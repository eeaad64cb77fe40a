"""The gofer's process: set up, closed in, and serving until its last client is gone."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from errno import EBADF
from select import EPOLLIN, epoll
from time import time

from runsc._native import lib

from runsc.errors import trace
from runsc_fs_gofer9p.server.client import Client
from runsc_fs_gofer9p.server.jail import close_jail, leave_the_tree
from runsc_fs_gofer9p.server.node import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from runsc.config import Config

_IGNORED = (
    signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGUSR1, signal.SIGUSR2
)  # fmt: skip


def main(config: Config, mounts: Sequence[tuple[int, int, bool]]) -> NoReturn:
    """Serve and end the process. ``mounts``: an O_PATH descriptor, the server's end of a connection, and
    whether it is read-only."""
    from runsc.log import Log

    log = None
    try:
        log = Log.open(config, "gofer", "", time())
        _detach({fd for mount in mounts for fd in mount[:2]} | set(log.fds()))
        here = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(here)
        roots, missing = leave_the_tree([root for root, _connection, _ro in mounts])
        events = lib.rn_inotify()
        ident = int.from_bytes(os.getrandom(7), "little")
        waiting = epoll()
        clients: dict[int, Client] = {}
        for root, (_root, connection, read_only) in zip(roots, mounts, strict=True):
            clients[connection] = Client(connection, Node(root, None), read_only, here, events, ident)
            waiting.register(connection, EPOLLIN)
        unconfined = close_jail(
            [(root, ro) for root, (_root, _connection, ro) in zip(roots, mounts, strict=True)]
        )
        if log.verbose:
            lacks = ", ".join(filter(None, (missing, unconfined)))
            log.debug(f"gofer serves {len(mounts)} mounts{': ' + lacks if lacks else ''}")
        gc.freeze()
        serve(clients, waiting)
    except BaseException as error:
        # The sandbox will find the connection closed; why is in the log.
        if log is not None:
            log.failure(trace(error))
        os._exit(1)
    os._exit(0)


def serve(clients: dict[int, Client], waiting: epoll) -> None:
    """Until the last client has gone."""
    while clients:
        for fd, _events in waiting.poll():
            client = clients[fd]
            try:
                stays = client.serve()
            except (BrokenPipeError, ConnectionResetError):
                stays = False
            except OSError as error:
                # The connection failed; what goes wrong with files has been answered.
                if error.errno == EBADF:
                    raise
                stays = False
            if not stays:
                del clients[fd]
                waiting.unregister(fd)
                client.close()


def _detach(keep: set[int]) -> None:
    """Let go of the session, of the caller's pipes, and of every descriptor that isn't needed."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        if fd not in keep:
            os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                continue  # the one that listed the directory
    sys.stdin = sys.stdout = sys.stderr = None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
