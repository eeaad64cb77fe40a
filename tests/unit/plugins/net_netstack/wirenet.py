"""A sandbox's stack in this process, and the host's own at the other end of a veth pair.

A scenario runs in a forked child, in two network namespaces of its own: the stack has the one with ``eth0``,
the child's own sockets are made in the other. Needs root, or a host that lets users make namespaces.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import socket
import subprocess
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from netns import NONBLOCK, STREAM, Sock
from scenario import Guest

from runsc.config import Config
from runsc_net_netstack.network import SandboxNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.socket.inet.stream import TcpSocket
    from runsc.kernel.task import Task

_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
HOST4, GUEST4, HOST6, GUEST6 = "10.9.0.1", "10.9.0.2", "fd09::1", "fd09::2"
V4, V6 = socket.AF_INET, socket.AF_INET6


class Wired(Guest):
    """Our kernel, with the sandbox's network."""

    def __init__(self, network: SandboxNetwork) -> None:
        super().__init__()
        kernel = self.task.kernel
        kernel.network = network
        network.start(kernel)

    def call(self, name: str, *args: int) -> int:
        result = super().call(name, *args)
        self.task.work = 0
        return result


class World:
    """Both ends. ``guest`` makes calls of our kernel; ``host`` sockets are Python's."""

    def __init__(self, mtu: int, flags: dict[str, Any]) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self._unshare(_CLONE_NEWNET | (_CLONE_NEWUSER if os.geteuid() else 0))
        self.outside = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._unshare(_CLONE_NEWNET)
        self.inside = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        run = self.inside_run
        run("ip link set lo up")
        run(f"ip link add eth0 mtu {mtu} type veth peer name host0 mtu {mtu}")
        run(f"ip link set host0 netns /proc/{os.getpid()}/fd/{self.outside}")
        if mtu >= 1280:
            run(f"ip addr add {GUEST6}/64 dev eth0 nodad")
        run(f"ip addr add {GUEST4}/24 dev eth0; ip link set eth0 up; ip route add default via {HOST4}")
        self.host_run("ip link set lo up")
        if mtu >= 1280:
            self.host_run(f"ip addr add {HOST6}/64 dev host0 nodad")
        self.host_run(f"ip addr add {HOST4}/24 dev host0; ip link set host0 up")
        time.sleep(0.05)
        self.prepare()
        config = Config()
        for name, value in flags.items():
            setattr(config, name, value)
        self.network = SandboxNetwork(config)
        self._enter(self.outside)
        self.guest = Wired(self.network)
        self.kernel = self.guest.task.kernel
        self.task: Task = self.guest.task
        self.stack = self.network.stack

    def prepare(self) -> None:
        """Inside, before the sandbox's network is made."""

    def _unshare(self, flags: int) -> None:
        if self.libc.unshare(flags):
            raise OSError(ctypes.get_errno(), "unshare")

    def _enter(self, fd: int) -> None:
        if self.libc.setns(fd, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    @staticmethod
    def _in(fd: int, script: str) -> None:
        line = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{fd}", "sh", "-ec", script]
        subprocess.run(line, check=True, capture_output=True)

    def inside_run(self, script: str) -> None:
        self._in(self.inside, script)

    def host_run(self, script: str) -> None:
        """A shell script in the host's namespace."""
        self._in(self.outside, script)

    def pump(self, until: Callable[[], Any], seconds: float = 10) -> Any:
        """Run the kernel's loop until there is something; its answer. Fails when the time is up."""
        end = time.monotonic() + seconds
        poller, timers = self.kernel.poller, self.kernel.timers
        while True:
            wait = timers.run_due() if timers.heap else -1
            poller.dispatch()
            found = until()
            if found:
                return found
            left = end - time.monotonic()
            assert left > 0, "nothing happened"
            if wait < 0 or wait > 5_000_000:
                select.select([poller.fd], [], [], min(left, 0.005))

    def idle(self, seconds: float) -> None:
        """Let time pass."""
        end = time.monotonic() + seconds
        self.pump(lambda: time.monotonic() >= end, seconds + 5)

    def waited(self, action: Callable[[], Any]) -> Any:
        """Repeat a call of the guest's until it isn't EAGAIN."""
        out: list[Any] = []

        def tried() -> bool:
            result = action()
            if result in ("EAGAIN", "EALREADY", "EINPROGRESS"):
                return False
            out.append(result)
            return True

        self.pump(tried)
        return out[0]

    def hosted(self, action: Callable[[], Any]) -> Any:
        """Repeat a call of a host socket until it doesn't block."""
        out: list[Any] = []

        def tried() -> bool:
            try:
                out.append(action())
            except (BlockingIOError, InterruptedError):
                return False
            return True

        self.pump(tried)
        return out[0]

    def sock(self, family: int = V4, kind: int = STREAM, protocol: int = 0) -> Sock:
        """A socket of the guest's, non-blocking."""
        return Sock(self.guest, family, kind, protocol)

    def file(self, sock: Sock) -> TcpSocket:
        """The file behind a socket of the guest's, for data that is too much for calls."""
        found: TcpSocket = self.task.files.get(sock.fd)  # type: ignore[assignment]
        return found

    @staticmethod
    def host(family: int = V4, kind: int = STREAM, protocol: int = 0) -> socket.socket:
        """A socket of the host's, non-blocking."""
        return socket.socket(family, kind | NONBLOCK, protocol)

    def pair(self, family: int = V4, outwards: bool = True) -> tuple[Sock, socket.socket]:
        """A connection, begun by the guest or by the host."""
        host_ip, guest_ip = (HOST4, GUEST4) if family == V4 else (HOST6, GUEST6)
        if outwards:
            server = self.host(family)
            server.bind((host_ip, 0))
            server.listen(5)
            guest = self.sock(family)
            assert guest.connect((host_ip, server.getsockname()[1])) == "EINPROGRESS"
            host = self.hosted(server.accept)[0]
            host.setblocking(False)
            server.close()
            self.pump(lambda: int(guest.poll(), 16) & 4)
            return guest, host
        listener = self.sock(family)
        assert listener.bind(guest_ip) == 0
        assert listener.listen() == 0
        host = self.host(family)
        assert host.connect_ex(listener.name()) == 115
        guest = self.waited(listener.accept)
        listener.close()
        return guest, host

    def close(self) -> None:
        self.guest.close()
        self.network.close()


def wired(
    scenario: Callable[[Any], Any], mtu: int = 1500, *, world: type[World] = World, **flags: Any
) -> Any:
    """What a scenario answers; skips the test where there are no namespaces."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            try:
                made = world(mtu, flags)
            except (OSError, subprocess.CalledProcessError) as error:
                output = getattr(error, "stderr", b"")
                answer: tuple[str, Any] = ("skip", f"{error} {output!r}")
            else:
                try:
                    answer = ("done", scenario(made))
                finally:
                    made.close()
        except BaseException:
            answer = ("failed", traceback.format_exc())
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        sys.stdout.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        kind, result = pickle.load(pipe)
    os.waitpid(pid, 0)
    if kind == "skip":
        pytest.skip(f"no network namespaces: {result}")
    assert kind == "done", result
    return result
