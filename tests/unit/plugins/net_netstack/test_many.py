"""Many connections at once, floods, and what is left behind."""

from __future__ import annotations

import os
import resource
import socket
from typing import TYPE_CHECKING

import pytest
from wirenet import GUEST4, HOST4, V4, wired

if TYPE_CHECKING:
    from wirenet import World

pytestmark = pytest.mark.netns
COUNT = 1500


def _room() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def test_connections_from_outside_all_at_once() -> None:
    def scenario(world: World) -> None:
        _room()
        world.host_run("sysctl -qw net.ipv4.tcp_max_syn_backlog=8192 || true")
        listener = world.sock(V4)
        assert listener.bind(GUEST4, 80) == 0
        assert listener.listen(4096) == 0
        hosts = []
        for _ in range(COUNT):
            host = world.host(V4)
            host.connect_ex((GUEST4, 80))
            hosts.append(host)
        file = world.file(listener)
        accepted = []

        def step() -> bool:
            while file.accepted:
                child = file.accept(world.task, 0)
                child.get()
                accepted.append(child)
            return len(accepted) == COUNT

        world.pump(step, 30)
        assert world.stack is not None
        for number, host in enumerate(hosts):
            host.send(b"%d" % number)
        world.pump(lambda: all(child.queued for child in accepted), 20)
        for child in accepted:
            child.send(world.task, child.recv_plain(world.task, 100), 0)
        for number, host in enumerate(hosts):
            assert world.hosted(lambda host=host: host.recv(100)) == b"%d" % number  # type: ignore[misc]
        for child in accepted:
            child.put()
        for host in hosts:
            assert world.hosted(lambda host=host: host.recv(100)) == b""  # type: ignore[misc]
            host.close()
        # We closed first: what is left waits, and nothing else does.
        world.pump(lambda: len(world.stack.loopback.timewait) == COUNT, 10)  # type: ignore[union-attr]
        assert not world.stack.tcp.requests.found
        assert not world.stack.tcp.acks

    wired(scenario)


def test_connections_to_outside_one_after_the_other() -> None:
    def scenario(world: World) -> None:
        server = world.host(V4)
        server.bind((HOST4, 0))
        server.listen(64)
        where = server.getsockname()
        for _ in range(300):
            guest = world.sock(V4)
            assert guest.connect(where) == "EINPROGRESS"
            host = world.hosted(server.accept)[0]
            host.send(b"bye")
            host.close()
            assert world.waited(lambda guest=guest: guest.recv(10)) == b"bye"  # type: ignore[misc]
            assert world.waited(lambda guest=guest: guest.recv(10)) == b""  # type: ignore[misc]
            assert guest.close() == 0
        assert world.stack is not None
        connections = world.stack.loopback.connections
        world.pump(lambda: not connections, 5)

    wired(scenario)


def test_a_flood_of_syns_leaves_room_for_the_honest() -> None:
    """Far more half-open connections than the backlog: cookies answer them, and cost no memory."""

    def scenario(world: World) -> int:
        from runsc_net_netstack.tcp.segment import HEADER, SYN

        listener = world.sock(V4)
        assert listener.bind(GUEST4, 80) == 0
        assert listener.listen(16) == 0
        stack = world.stack
        assert stack is not None
        world.host_run("iptables -A INPUT -p tcp --dport 10000:14000 -j DROP 2>/dev/null || true")
        source, own = bytes(10) + b"\xff\xff" + socket.inet_aton("10.9.0.77"), bytes(10) + b"\xff\xff" + (
            socket.inet_aton(GUEST4)
        )
        for port in range(10000, 12000):
            segment = HEADER.pack(port, 80, port * 7, 0, 5 << 4, SYN, 65535, 0, 0)
            stack.tcp.receive(source, own, memoryview(segment), 0, 20, True, world.network.links[0].index)
        assert len(stack.tcp.requests.found) <= 16
        assert stack.counters["SyncookiesSent"] > 1900
        host = world.host(V4)
        host.connect_ex((GUEST4, 80))
        guest = world.waited(listener.accept)
        assert stack.counters["SyncookiesRecv"] == 1
        host.send(b"honest")
        assert world.waited(lambda: guest.recv(10)) == b"honest"
        guest.send(b"x" * 100_000)
        got = 0
        while got < 60_000:
            got += len(world.hosted(lambda: host.recv(1 << 17)))
        return stack.counters["SyncookiesRecv"]

    assert wired(scenario) == 1


def test_nothing_is_left_of_a_network() -> None:
    def scenario(world: World) -> tuple[int, int]:
        before = len(os.listdir("/proc/self/fd"))
        guest, host = world.pair(V4, True)
        guest.send(b"hello")
        host.close()
        world.idle(0.05)
        guest.close()
        world.network.close()
        return before, len(os.listdir("/proc/self/fd"))

    before, after = wired(scenario)
    assert after == before - 1  # the link's
