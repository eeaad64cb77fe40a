"""Docker's name server: a listener on the loopback of the namespace that the sandbox was given."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from netns import DGRAM
from wirenet import V4, World, wired

if TYPE_CHECKING:
    from typing import Any

pytestmark = pytest.mark.netns
WHERE = ("127.0.0.11", 53)
QUERY = b"\x12\x34\x01\x00" + bytes(8) + b"\3abc\0\0\1\0\1"


class WithDns(World):
    """A name server listens inside before the network is taken over."""

    def prepare(self) -> None:
        self.udp = socket.socket(V4, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.udp.bind(WHERE)
        self.tcp = socket.socket(V4, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.tcp.bind(WHERE)
        self.tcp.listen(8)


def dns(scenario: Any) -> Any:
    return wired(scenario, world=WithDns)


def test_queries_of_several_go_out_and_come_back_each_to_its_own() -> None:
    def scenario(world: WithDns) -> None:
        guests = [world.sock(V4, DGRAM) for _ in range(3)]
        for guest in guests:
            assert guest.connect(WHERE) == 0
            assert guest.send(QUERY) == len(QUERY)
        seen = [world.hosted(lambda: world.udp.recvfrom(512)) for _ in guests]
        assert len({query[:2] for query, _ in seen}) == 3
        assert all(query[2:] == QUERY[2:] for query, _ in seen)
        for number, (query, source) in reversed(list(enumerate(seen))):
            world.udp.sendto(query[:2] + b"\x81\x80" + bytes(8) + b"answer %d" % number, source)
        for number, guest in enumerate(guests):
            assert world.waited(lambda guest=guest: guest.recv(512)) == (  # type: ignore[misc]
                QUERY[:2] + b"\x81\x80" + bytes(8) + b"answer %d" % number
            )
            assert guest.peer() == WHERE
        # One nobody asked for, one that is no answer, and one whose asker is gone.
        address = seen[0][1]
        for bad in (b"\0\1" + bytes(20), b"x", b""):
            world.udp.sendto(bad, address)
        assert guests[0].send(QUERY) == len(QUERY)
        query, address = world.hosted(lambda: world.udp.recvfrom(512))
        assert guests[0].close() == 0
        world.udp.sendto(query, address)
        world.idle(0.05)
        assert guests[1].recv(512) == "EAGAIN"

    dns(scenario)


def test_over_tcp_and_again() -> None:
    def scenario(world: WithDns) -> None:
        for _ in range(40):  # more than there are sockets for at once
            guest = world.sock(V4)
            assert guest.connect(WHERE) == "EINPROGRESS"
            server = world.hosted(world.tcp.accept)[0]
            world.pump(lambda guest=guest: int(guest.poll(), 16) & 4)  # type: ignore[misc]
            assert guest.send(QUERY) == len(QUERY)
            assert world.hosted(lambda server=server: server.recv(512)) == QUERY  # type: ignore[misc]
            server.send(b"answer")
            server.close()
            assert world.waited(lambda guest=guest: guest.recv(512)) == b"answer"  # type: ignore[misc]
            assert world.waited(lambda guest=guest: guest.recv(512)) == b""  # type: ignore[misc]
            assert guest.close() == 0
        before = len(os.listdir("/proc/self/fd"))
        guest = world.sock(V4)
        guest.connect(WHERE)
        guest.close()
        assert len(os.listdir("/proc/self/fd")) == before

    dns(scenario)


def test_other_ports_are_refused() -> None:
    def scenario(world: WithDns) -> None:
        guest = world.sock(V4, DGRAM)
        assert guest.connect(("127.0.0.11", 54)) == 0
        assert guest.send(QUERY) == len(QUERY)
        assert guest.recv(10) == "ECONNREFUSED"
        guest = world.sock(V4)
        assert guest.connect(("127.0.0.11", 54)) == "EINPROGRESS"
        assert world.waited(lambda: guest.connect(("127.0.0.11", 54))) == "ECONNREFUSED"

    dns(scenario)
