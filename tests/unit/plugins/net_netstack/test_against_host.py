"""The sandbox's stack against the host's, over a veth pair."""

from __future__ import annotations

import socket
from hashlib import sha256
from struct import pack
from typing import TYPE_CHECKING

import pytest
from netns import DGRAM
from wirenet import GUEST4, GUEST6, HOST4, HOST6, V4, V6, wired

from runsc.kernel.errors import WouldBlock

if TYPE_CHECKING:
    from netns import Sock
    from wirenet import World

pytestmark = pytest.mark.netns
BOTH = pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])
WAYS = pytest.mark.parametrize("outwards", [True, False], ids=["out", "in"])


def stream(size: int) -> bytes:
    """Bytes of which each piece is different."""
    return b"".join(pack(">I", number) for number in range(-(-size // 4)))[:size]


def to_host(world: World, guest: Sock, host: socket.socket, data: bytes) -> None:
    """Send data to the host, and check that it arrives."""
    sent, got = 0, bytearray()
    file = world.file(guest)

    def step() -> bool:
        nonlocal sent
        try:
            while sent < len(data):
                sent += file.send(world.task, data[sent : sent + 200_000], 0)
        except WouldBlock:
            pass  # no room for now
        try:
            while True:
                part = host.recv(1 << 20)
                assert part
                got.extend(part)
        except BlockingIOError:
            pass  # nothing more for now
        return len(got) >= len(data)

    world.pump(step, 30)
    assert sha256(got).digest() == sha256(data).digest()


def to_guest(world: World, guest: Sock, host: socket.socket, data: bytes) -> None:
    """The other way."""
    sent, got = 0, bytearray()
    file = world.file(guest)

    def step() -> bool:
        nonlocal sent
        try:
            while sent < len(data):
                sent += host.send(data[sent : sent + 200_000])
        except BlockingIOError:
            pass  # no room for now
        try:
            while True:
                part = file.recv_plain(world.task, 1 << 16)
                assert part
                got.extend(part)
        except WouldBlock:
            pass  # nothing more for now
        return len(got) >= len(data)

    world.pump(step, 30)
    assert sha256(got).digest() == sha256(data).digest()


@BOTH
@WAYS
def test_a_connection_carries_data_both_ways_and_ends(family: int, outwards: bool) -> None:
    def scenario(world: World) -> None:
        guest, host = world.pair(family, outwards)
        data = stream(3_000_000)
        to_host(world, guest, host, data)
        to_guest(world, guest, host, data)
        assert guest.shutdown(1) == 0
        assert world.hosted(lambda: host.recv(10)) == b""
        host.send(b"still there")
        assert world.waited(lambda: guest.recv(64)) == b"still there"
        host.close()
        assert world.waited(lambda: guest.recv(64)) == b""
        guest.close()

    wired(scenario)


@BOTH
def test_nobody_listens(family: int) -> None:
    def scenario(world: World) -> None:
        host_ip, guest_ip = (HOST4, GUEST4) if family == V4 else (HOST6, GUEST6)
        guest = world.sock(family)
        assert guest.connect((host_ip, 9)) == "EINPROGRESS"
        assert world.waited(lambda: guest.connect((host_ip, 9))) == "ECONNREFUSED"
        host = world.host(family)
        host.connect_ex((guest_ip, 9))
        world.pump(lambda: host.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 111)

    wired(scenario)


@BOTH
@pytest.mark.parametrize("size", [0, 1, 1000, 5000, 60000])
def test_datagrams(family: int, size: int) -> None:
    def scenario(world: World) -> None:
        host_ip, guest_ip = (HOST4, GUEST4) if family == V4 else (HOST6, GUEST6)
        host, guest = world.host(family, DGRAM), world.sock(family, DGRAM)
        host.bind((host_ip, 0))
        assert guest.bind(guest_ip) == 0
        data = stream(size)
        assert guest.send(data, 0, (host_ip, host.getsockname()[1])) == size
        got, source = world.hosted(lambda: host.recvfrom(65536))
        assert got == data
        assert source[:2] == guest.name()
        host.sendto(data, guest.name())
        assert world.waited(lambda: guest.recv(65536)) == data

    wired(scenario)


@BOTH
def test_a_port_nobody_has(family: int) -> None:
    def scenario(world: World) -> None:
        host_ip, guest_ip = (HOST4, GUEST4) if family == V4 else (HOST6, GUEST6)
        guest = world.sock(family, DGRAM)
        assert guest.connect((host_ip, 9)) == 0
        assert guest.send(b"x") == 1
        assert world.waited(lambda: guest.recv(10)) == "ECONNREFUSED"
        host = world.host(family, DGRAM)
        host.connect((guest_ip, 9))
        host.send(b"x")
        world.pump(lambda: host.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 111)

    wired(scenario)


@BOTH
def test_ping(family: int) -> None:
    def scenario(world: World) -> None:
        host_ip, guest_ip = (HOST4, GUEST4) if family == V4 else (HOST6, GUEST6)
        request, reply = (8, 0) if family == V4 else (128, 129)
        guest = world.sock(family, DGRAM, 1 if family == V4 else 58)
        message = bytes((request, 0, 0, 0, 0, 0, 0, 7)) + b"payload"
        assert guest.send(message, 0, (host_ip, 0)) == len(message)
        answer = world.waited(lambda: guest.recv(100))
        assert (answer[0], answer[7:]) == (reply, b"\x07payload")
        world.host_run("echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range")
        host = world.host(family, DGRAM, 1 if family == V4 else 58)
        host.sendto(message, (guest_ip, 0))
        answer = world.hosted(lambda: host.recv(100))
        assert (answer[0], answer[7:]) == (reply, b"\x07payload")

    wired(scenario)
