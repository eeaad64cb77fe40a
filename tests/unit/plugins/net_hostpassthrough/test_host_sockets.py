"""Host sockets under the kernel's calls, without a platform: what reaches the host, and who is woken when."""

from __future__ import annotations

import os
import select
import socket
from errno import EACCES, EAFNOSUPPORT, EINPROGRESS, EINVAL, ENOPROTOOPT, EPERM
from struct import pack, unpack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Buffer, Pending, call, make_kernel, make_task

from runsc.abi.socket import CMSGHDR
from runsc.kernel.credentials import Credentials
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls import epoll as epoll_calls
from runsc.kernel.syscalls import message, read_write
from runsc.kernel.syscalls import socket as socket_calls
from runsc.sandbox.jail.rules import allow_list
from runsc_net_hostpassthrough.control import checked_control
from runsc_net_hostpassthrough.host_calls import host_calls
from runsc_net_hostpassthrough.netlink import NLMSGHDR, NetlinkSocket
from runsc_net_hostpassthrough.network import HostNetwork
from runsc_net_hostpassthrough.options import OPTIONS
from runsc_net_hostpassthrough.sock import HostSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.task import Task

INET, STREAM, DGRAM = socket.AF_INET, socket.SOCK_STREAM, socket.SOCK_DGRAM
EPOLL_EVENT = 12


class World:
    """A task with the host's network."""

    def __init__(self, uid: int = 0) -> None:
        self.kernel = make_kernel()
        self.network = HostNetwork()
        self.kernel.network = self.network
        self.network.start(self.kernel)
        self.task = make_task(self.kernel, uid=uid)
        self.memory = Buffer(self.task)

    def new(self, kind: int = STREAM, family: int = INET) -> int:
        fd = call(self.task, socket_calls.socket, family, kind, 0)
        assert isinstance(fd, int)
        assert fd >= 0
        return fd

    def file(self, fd: int) -> HostSocket:
        file = self.task.files.get(fd)
        assert isinstance(file, HostSocket)
        return file

    def bind(self, fd: int, port: int = 0) -> int:
        address = pack("<H", INET) + pack(">H", port) + bytes((127, 0, 0, 1)) + bytes(8)
        result: int = call(self.task, socket_calls.bind, fd, self.memory.put(address), len(address))
        return result

    def listener(self) -> tuple[int, tuple[str, int]]:
        fd = self.new()
        assert self.bind(fd) == 0
        assert call(self.task, socket_calls.listen, fd, 8) == 0
        return fd, ("127.0.0.1", unpack(">H", self.file(fd).getsockname()[2:4])[0])

    def loop(self, patience: float = 5.0) -> None:
        """What the kernel's loop does when the host has news."""
        select.select([self.kernel.poller.fd], [], [], patience)
        self.kernel.poller.dispatch()


@pytest.fixture
def world(no_descriptor_left: None) -> Iterator[World]:
    made = World()
    yield made
    made.network.close()
    made.network.close()
    made.kernel.poller.close()


def failing(call_: Any, *args: Any) -> int:
    with pytest.raises(LinuxError) as caught:
        call_(*args)
    return caught.value.errno


def test_it_works_here() -> None:
    assert HostNetwork.check().works


def test_a_read_waits_for_the_host(world: World) -> None:
    fd, address = world.listener()
    with socket.create_connection(address) as peer:
        accepted = call(world.task, socket_calls.accept, fd, 0, 0)
        room = world.memory.room(100)
        pending = call(world.task, read_write.read, accepted, room, 100)
        assert isinstance(pending, Pending)
        peer.send(b"late")
        world.loop()
        assert pending.woken()
        assert pending.step() == 4
        assert world.memory.get(room, 4) == b"late"


def test_a_change_between_looking_and_waiting_is_seen(world: World) -> None:
    """MSG_WAITALL has a part, and the end came before it waits for more: no further event will."""
    fd, address = world.listener()
    with socket.create_connection(address) as peer:
        accepted = call(world.task, socket_calls.accept, fd, 0, 0)
        room = world.memory.room(100)
        pending = call(world.task, message.recvfrom, accepted, room, 100, socket.MSG_WAITALL, 0, 0)
        assert isinstance(pending, Pending)
        peer.send(b"part")
        select.select([world.kernel.poller.fd], [], [], 5)
        peer.shutdown(socket.SHUT_WR)
        world.kernel.poller.dispatch()
        pending.step()
        world.kernel.poller.dispatch()
        assert pending.result == 4 or pending.step() == 4


def test_an_accept_wakes_the_next_one(world: World) -> None:
    """Two connections may come as one event: who takes one sees to it that the other is taken."""
    fd, address = world.listener()
    other = make_task(world.kernel, parent=world.task)
    other.files = world.task.files
    first = call(world.task, socket_calls.accept, fd, 0, 0)
    second = call(other, socket_calls.accept, fd, 0, 0)
    assert isinstance(first, Pending)
    assert isinstance(second, Pending)
    with socket.create_connection(address), socket.create_connection(address):
        world.loop()
        assert first.result is None
        results = [first.step(), second.step() if second.woken() else None]
        assert all(result is not None and result >= 0 for result in results)


def test_an_edge_is_told_once(world: World) -> None:
    fd, address = world.listener()
    epoll = call(world.task, epoll_calls.epoll_create1, 0)
    room = world.memory.room(EPOLL_EVENT * 8)

    def ready() -> int:
        world.loop(0.02)
        count = call(world.task, epoll_calls.epoll_wait, epoll, room, 8, 0)
        assert isinstance(count, int)
        return count

    with socket.create_connection(address) as peer:
        accepted = call(world.task, socket_calls.accept, fd, 0, 0)
        event = pack("<IQ", select.EPOLLIN | select.EPOLLOUT | select.EPOLLET & 0xFFFFFFFF, 7)
        assert call(world.task, epoll_calls.epoll_ctl, epoll, 1, accepted, world.memory.put(event)) == 0
        assert [ready(), ready(), ready()] == [1, 0, 0]
        peer.send(b"x")
        assert [ready(), ready()] == [1, 0]


def test_a_socket_nobody_waits_for_is_not_watched(world: World) -> None:
    fd, address = world.listener()
    with socket.create_connection(address) as peer:
        accepted = call(world.task, socket_calls.accept, fd, 0, 0)
        room = world.memory.room(10)
        pending = call(world.task, read_write.read, accepted, room, 10)
        peer.send(b"1")
        world.loop()
        assert pending.step() == 1
        assert world.file(accepted).queue.watch is not None
        peer.send(b"2")
        world.loop()
        assert world.file(accepted).queue.watch is None


def test_a_refused_connection(world: World) -> None:
    fd = world.new()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        address = pack("<H", INET) + pack(">H", port) + bytes((127, 0, 0, 1)) + bytes(8)
        result = call(world.task, socket_calls.connect, fd, world.memory.put(address), 16)
        if isinstance(result, Pending):
            world.loop()
            result = result.step()
        assert result == -111


def test_what_needs_a_capability(world: World) -> None:
    stranger = make_task(world.kernel, uid=1000)
    stranger.cred = Credentials(1000, 1000)
    world.network.first_free_port = 1024
    world.network.ping_groups = (1, 0)
    tcp = world.file(world.new())
    low = pack("<H", INET) + pack(">H", 80) + bytes((127, 0, 0, 1)) + bytes(8)
    assert failing(tcp.bind, stranger, low) == EACCES
    make = world.network.socket
    assert failing(make, world.kernel, stranger, INET, socket.SOCK_RAW, 1) == EPERM
    assert failing(make, world.kernel, stranger, INET, DGRAM, 1) == EACCES
    assert failing(tcp.setsockopt, stranger, 1, 36, pack("i", 5)) == EPERM  # SO_MARK
    assert failing(tcp.setsockopt, stranger, 1, 12, pack("i", 7)) == EPERM  # SO_PRIORITY
    assert failing(tcp.setsockopt, stranger, 1, 32, pack("i", 7)) == EPERM  # SO_SNDBUFFORCE
    assert failing(tcp.setsockopt, stranger, 0, 19, pack("i", 1)) == EPERM  # IP_TRANSPARENT
    tcp.setsockopt(stranger, 1, 12, pack("i", 6))


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_PACKET, socket.AF_VSOCK, 44, -1])
def test_no_other_family_of_the_host(world: World, family: int) -> None:
    assert failing(world.network.socket, world.kernel, world.task, family, STREAM, 0) == EAFNOSUPPORT


def test_the_host_never_lingers(world: World) -> None:
    """close(2) of a host socket with SO_LINGER would stop the kernel for all guests."""
    file = world.file(world.new())
    file.setsockopt(world.task, 1, socket.SO_LINGER, pack("ii", 1, 30))
    assert file.getsockopt(world.task, 1, socket.SO_LINGER, 8) == pack("ii", 1, 30)
    with socket.socket(fileno=os.dup(file.fd)) as host:
        assert host.getsockopt(1, socket.SO_LINGER, 8)[:4] == bytes(4)
        file.setsockopt(world.task, 1, socket.SO_LINGER, pack("ii", 1, 0))
        assert host.getsockopt(1, socket.SO_LINGER, 8) == pack("ii", 1, 0)


@pytest.mark.parametrize("option", [(1, 26), (1, 46), (1, 50), (6, 35), (6, 31), (0, 64), (1, 9999), (7, 1)])
def test_options_with_pointers_or_that_spin_stay_here(world: World, option: tuple[int, int]) -> None:
    file = world.file(world.new())
    assert failing(file.setsockopt, world.task, *option, bytes(16)) == ENOPROTOOPT
    assert failing(file.getsockopt, world.task, *option, 16) == ENOPROTOOPT


def test_the_jail_lets_it_do_what_it_does_and_no_more() -> None:
    allowed = allow_list([("network", "host", host_calls())])
    assert len(allowed) > 10
    socket_checks = [{check.index: check.values for check in checks} for checks in allowed[41]]
    assert {family for checks in socket_checks for family in checks[0]} == {2, 10, 16}
    for checks in allowed[54]:
        values = {check.index: check.values for check in checks}
        assert all((values[1][0], name) in OPTIONS or name == socket.SO_LINGER for name in values[2])


def test_close_gives_everything_back(world: World) -> None:
    fds = [world.new(), world.new(DGRAM), world.listener()[0]]
    files: list[HostSocket] = [world.file(fd) for fd in fds]
    host = [file.fd for file in files]
    world.network.close()
    for number in host:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(number)
    assert [file.fd for file in files] == [-1, -1, -1]


# -- netlink --------------------------------------------------------------------------------------


def netlink(world: World) -> NetlinkSocket:
    file = world.network.socket(world.kernel, world.task, socket.AF_NETLINK, socket.SOCK_RAW, 0)
    assert isinstance(file, NetlinkSocket)
    file.get()
    return file


def test_netlink_passes_questions_only(world: World) -> None:
    file = netlink(world)
    question = NLMSGHDR.pack(24, 22, 0x301, 5, 0) + bytes(8)
    change = NLMSGHDR.pack(24, 20, 0x5, 6, 0) + bytes(8)
    assert file.send(world.task, change + question, 0) == 48
    kind, sequence, error = unpack("<HxxI4xi", file.recv(world.task, 65536, 0).data[4:20])
    assert (kind, sequence, error) == (2, 6, -EPERM)
    answer = file.recv(world.task, 65536, 0).data
    assert NLMSGHDR.unpack_from(answer)[1] == 20
    assert NLMSGHDR.unpack_from(answer)[3] == 5
    elsewhere = pack("<HxxII", socket.AF_NETLINK, 4711, 0)
    assert failing(file.send, world.task, question, 0, elsewhere) == EPERM
    file.put()


@given(st.binary(max_size=200))
def test_netlink_takes_any_bytes(data: bytes) -> None:
    world = World()
    try:
        file = netlink(world)
        assert file.send(world.task, data, 0) == len(data)
    finally:
        world.network.close()
        world.kernel.poller.close()


# -- control messages -----------------------------------------------------------------------------


def test_control_messages_are_written_anew() -> None:
    task: Task = make_task()
    good = CMSGHDR.pack(20, 0, 2) + pack("<i4x", 7)
    rights = CMSGHDR.pack(20, 1, 1) + pack("<i4x", 0)
    unknown = CMSGHDR.pack(16, 99, 1)
    assert checked_control(task, rights + good + unknown).control == good
    assert failing(checked_control, task, CMSGHDR.pack(15, 0, 2)) == EINVAL
    assert failing(checked_control, task, CMSGHDR.pack(24, 0, 2)) == EINVAL
    assert failing(checked_control, task, CMSGHDR.pack(16, 0, 2)) == EINVAL
    mark = CMSGHDR.pack(20, 1, 36) + pack("<i4x", 1)
    assert checked_control(task, mark).control == mark
    task.cred = Credentials(1000, 1000)
    assert failing(checked_control, task, mark) == EPERM


@given(st.binary(max_size=300))
def test_any_control_buffer_is_refused_or_becomes_a_valid_one(data: bytes) -> None:
    task = make_task()
    refused = 0
    control = b""
    try:
        control = checked_control(task, data).control
    except LinuxError as error:
        refused = error.errno
    assert refused in (0, EINVAL, EPERM)
    assert len(control) % 8 == 0
    assert checked_control(task, control).control == control


def test_connect_in_progress_is_finished_by_asking_again(world: World) -> None:
    fd = world.new()
    file = world.file(fd)
    file.flags |= os.O_NONBLOCK
    _listener, address = world.listener()
    raw = pack("<H", INET) + pack(">H", address[1]) + bytes((127, 0, 0, 1)) + bytes(8)
    assert failing(file.connect, world.task, raw) == EINPROGRESS
    select.select([], [file.fd], [], 5)
    file.finish_connect(world.task)
    assert file.getpeername() == raw
