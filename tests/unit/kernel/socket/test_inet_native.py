"""Sockets of the loopback, compared with the host's call by call."""

from __future__ import annotations

import itertools
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from netns import DGRAM, STREAM, V4, V6, Sock, pair, same

if TYPE_CHECKING:
    from scenario import Machine

SOL, TCP, IP, IPV6, UDP = 1, 6, 0, 41, 17
LINGER0 = struct.pack("<ii", 1, 0)
SIOCINQ, SIOCOUTQ, SIOCATMARK = 0x541B, 0x5411, 0x8905
OOB, PEEK, TRUNC, WAITALL, ERRQUEUE, MORE = 1, 2, 0x20, 0x100, 0x2000, 0x8000


def test_new_sockets() -> None:
    def scenario(machine: Machine) -> Any:
        answers: list[Any] = []
        for family, kind in itertools.product((V4, V6), (STREAM, DGRAM)):
            sock = Sock(machine, family, kind)
            answers += [sock.poll(), sock.name(), sock.peer(), sock.recv(), sock.send(b"x"), sock.shutdown(2)]
            answers += [sock.number(SIOCINQ), sock.number(SIOCOUTQ), sock.accept(), sock.poll()]
        return answers

    same(scenario)


@pytest.mark.parametrize("family", [V4, V6])
def test_a_connection_from_beginning_to_end(family: int) -> None:
    here = "127.0.0.1" if family == V4 else "::1"

    def scenario(machine: Machine) -> Any:
        server = Sock(machine, family)
        answers: list[Any] = [server.bind(here), server.bind(here), server.accept()]
        answers += [server.listen(), server.poll()]
        answers += [server.accept(), server.peer(), server.recv(), server.send(b"x")]
        client = Sock(machine, family)
        address = server.name()
        answers += [client.connect(address), client.poll(), server.poll()]
        answers += [client.connect(address), client.connect(address), server.connect(address)]
        answers += [client.listen()]
        accepted = server.accept()
        assert isinstance(accepted, Sock)
        answers += [accepted.peer() == client.name(), client.peer() == address, accepted.name() == address]
        answers += [client.send(b"hello"), accepted.poll(), accepted.number(SIOCINQ), accepted.recv(2)]
        answers += [accepted.recv(10, PEEK), accepted.recv(2, TRUNC)[:0], accepted.recv(), accepted.recv()]
        answers += [accepted.recv(5, ERRQUEUE), accepted.send(b""), client.poll(), accepted.poll()]
        answers += [client.shutdown(1), client.poll(), accepted.poll(), client.send(b"x"), accepted.recv()]
        answers += [accepted.send(b"yes"), client.recv(), accepted.shutdown(1), accepted.poll()]
        answers += [client.poll()]
        answers += [client.recv(), accepted.recv(), client.peer(), accepted.peer(), client.shutdown(2)]
        return answers

    same(scenario)


def test_closing_with_nothing_unread() -> None:
    def scenario(machine: Machine) -> Any:
        client, server = pair(machine)
        server.close()
        answers: list[Any] = [client.poll(), client.send(b"x"), client.poll(), client.recv()]
        answers += [client.send(b"x")]
        return [*answers, client.poll(), client.get(SOL, 4), client.peer(), client.shutdown(1)]

    same(scenario)


def test_closing_with_something_unread_resets() -> None:
    def scenario(machine: Machine) -> Any:
        client, server = pair(machine)
        answers: list[Any] = [client.send(b"hello"), server.send(b"yo"), server.close(), client.poll()]
        answers += [client.recv(), client.recv(), client.poll(), client.recv(), client.send(b"x")]
        answers += [client.peer()]
        return answers

    same(scenario)


@pytest.mark.parametrize("first", ["send", "recv", "error", "poll"])
def test_a_reset_is_told_once(first: str) -> None:
    def scenario(machine: Machine) -> Any:
        client, server = pair(machine)
        answers: list[Any] = [server.set(SOL, 13, LINGER0), server.close(), client.poll()]
        if first == "error":
            answers.append(client.get(SOL, 4))
        elif first == "send":
            answers.append(client.send(b"x"))
        elif first == "recv":
            answers.append(client.recv())
        answers += [client.recv(), client.send(b"x"), client.poll(), client.get(SOL, 4)]
        return [*answers, client.number(SIOCINQ)]

    same(scenario)


def test_a_reset_after_the_end_of_file_is_a_broken_pipe() -> None:
    def scenario(machine: Machine) -> Any:
        client, server = pair(machine)
        answers: list[Any] = [server.shutdown(1), client.poll(), client.send(b"unread"), server.close()]
        return [*answers, client.poll(), client.get(SOL, 4), client.recv(), client.send(b"x")]

    same(scenario)


@pytest.mark.parametrize("how", [0, 1, 2])
def test_shutdown(how: int) -> None:
    def scenario(machine: Machine) -> Any:
        client, server = pair(machine)
        answers: list[Any] = [server.shutdown(how), server.poll(), client.poll(), client.send(b"x")]
        answers += [server.poll()]
        answers += [server.recv(), server.recv(), server.send(b"y"), client.recv(), client.recv()]
        return [*answers, server.poll(), client.poll(), client.shutdown(how), client.poll(), server.poll()]

    same(scenario)


def test_shutting_down_a_listening_socket() -> None:
    def scenario(machine: Machine) -> Any:
        server, client = Sock(machine), Sock(machine)
        answers: list[Any] = [server.bind("127.0.0.1"), server.listen(), server.shutdown(1), server.poll()]
        answers += [client.connect(server.name()), client.poll(), server.shutdown(0), server.poll()]
        answers += [client.poll()]
        answers += [server.accept(), client.recv(), server.listen(), server.poll()]
        return answers

    same(scenario)


def test_a_refused_connection() -> None:
    def scenario(machine: Machine) -> Any:
        client = Sock(machine)
        nobody = ("127.0.0.1", 9)
        answers: list[Any] = [client.connect(nobody), client.poll(), client.connect(nobody), client.poll()]
        answers += [client.connect(nobody), client.get(SOL, 4), client.poll(), client.connect(nobody)]
        answers += [client.poll(), client.connect(nobody), client.recv(), client.recv(), client.send(b"x")]
        return answers

    same(scenario)


def test_disconnecting() -> None:
    def scenario(machine: Machine) -> Any:
        client, server = pair(machine)
        answers: list[Any] = [client.send(b"x"), client.disconnect(), client.poll(), server.poll()]
        answers += [server.recv()]
        answers += [server.recv(), client.peer(), client.name()[0], client.get(SOL, 4), client.poll()]
        again = Sock(machine)
        answers += [again.bind("127.0.0.1"), again.listen(), client.connect(again.name()), client.poll()]
        udp = Sock(machine, V4, DGRAM)
        answers += [udp.connect(("127.0.0.2", 9)), udp.name()[0], udp.peer(), udp.disconnect()]
        answers += [udp.name(), udp.peer()]
        return answers

    same(scenario)


def test_connecting_to_oneself() -> None:
    def scenario(machine: Machine) -> Any:
        sock = Sock(machine)
        answers: list[Any] = [sock.bind("127.0.0.1"), sock.connect(sock.name()), sock.poll()]
        answers += [sock.send(b"me")]
        answers += [sock.poll(), sock.recv(), sock.shutdown(1), sock.poll(), sock.recv(), sock.poll()]
        return answers

    same(scenario)


def test_who_waits_to_be_accepted_when_the_listener_closes() -> None:
    def scenario(machine: Machine) -> Any:
        server, first = Sock(machine), Sock(machine)
        answers: list[Any] = [server.bind("127.0.0.1"), server.listen(0), first.connect(server.name())]
        answers += [first.send(b"x"), first.poll(), server.close(), first.poll(), first.recv()]
        answers += [first.send(b"x")]
        return answers

    same(scenario)


def test_a_backlog_that_is_full() -> None:
    def scenario(machine: Machine) -> Any:
        server = Sock(machine)
        answers: list[Any] = [server.bind("127.0.0.1"), server.listen(1)]
        clients = [Sock(machine) for _ in range(3)]
        for client in clients:
            answers += [client.connect(server.name()), client.poll(), client.send(b"x"), client.peer()[0]]
        answers += [clients[2].connect(server.name()), clients[2].recv(), clients[2].shutdown(2)]
        answers += [clients[2].poll()]
        return answers

    same(scenario)


def test_urgent_data() -> None:
    def scenario(machine: Machine) -> Any:
        client, server = pair(machine)
        answers: list[Any] = [server.recv(1, OOB), client.send(b"abc"), client.send(b"d", OOB)]
        answers += [client.send(b"efg")]
        answers += [server.poll(), server.number(SIOCATMARK), server.number(SIOCINQ), server.recv(10, PEEK)]
        answers += [server.recv(10), server.number(SIOCATMARK), server.poll(), server.recv(3, OOB | PEEK)]
        answers += [server.recv(3, OOB), server.poll(), server.recv(3, OOB), server.recv(10)]
        answers += [server.recv(1, OOB)]
        answers += [server.number(SIOCATMARK), server.poll()]
        return answers

    same(scenario)


def test_urgent_data_in_line() -> None:
    def scenario(machine: Machine) -> Any:
        client, server = pair(machine)
        answers: list[Any] = [server.set(SOL, 10), client.send(b"abc"), client.send(b"d", OOB)]
        answers += [client.send(b"efg")]
        answers += [server.poll(), server.recv(10), server.number(SIOCATMARK), server.recv(3, OOB)]
        return [*answers, server.recv(10), server.poll()]

    same(scenario)


ADDRESSES = [
    "127.0.0.1", "127.5.5.5", "127.0.0.0", "127.255.255.255", "0.0.0.0", "10.0.0.1", "255.255.255.255",
    "224.0.0.1", "240.0.0.1", "0.1.2.3",
]  # fmt: skip
ADDRESSES6 = [
    "::1", "::", "fe80::1", "2001::1", "ff02::1", "ff05::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:0.0.0.0",     "::127.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("kind", [STREAM, DGRAM])
@pytest.mark.parametrize("where", ADDRESSES + ADDRESSES6)
def test_addresses(where: str, kind: int) -> None:
    family = V6 if ":" in where else V4

    def scenario(machine: Machine) -> Any:
        sock = Sock(machine, family, kind)
        answers: list[Any] = [sock.connect((where, 9)), sock.name()[0], sock.peer()]
        bound = Sock(machine, family, kind)
        answers += [bound.bind(where), bound.name()[0]]
        if kind == DGRAM:
            answers += [Sock(machine, family, kind).send(b"x", 0, (where, 9)), sock.send(b"x")]
            brave = Sock(machine, family, kind)
            answers += [brave.set(SOL, 6), brave.send(b"x", 0, (where, 9)), brave.connect((where, 9))]
        only6 = Sock(machine, V6, kind)
        if family == V6:
            answers += [only6.set(IPV6, 26), only6.connect((where, 9)), only6.bind(where)]
        return answers

    same(scenario)


def test_bad_addresses() -> None:
    def scenario(machine: Machine) -> Any:
        answers: list[Any] = []
        pack6 = struct.pack("<H26x", V6)
        for family, kind in itertools.product((V4, V6), (STREAM, DGRAM)):
            for raw in (b"\2", b"\2\0\0\7", b"\2\0\0\7\x7f\0\0\1", struct.pack("<H14x", 99), pack6):
                sock = Sock(machine, family, kind)
                addr = machine.put(raw)
                answers.append(machine.call("bind", sock.fd, addr, len(raw)))
                answers.append(machine.call("connect", sock.fd, addr, len(raw)))
                answers.append(machine.call("sendto", sock.fd, addr, 1, 0x4000, addr, len(raw)))
        return answers

    same(scenario)


PLACES = [
    ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.2"), ("::", "0.0.0.0"),
    ("127.0.0.1", "::"), ("::1", "127.0.0.1"), ("::ffff:127.0.0.1", "127.0.0.1"), ("::", "::1"),
    ("::1", "::1"),
]  # fmt: skip


@pytest.mark.parametrize("kind", [STREAM, DGRAM])
@pytest.mark.parametrize(("first", "second"), PLACES)
def test_sharing_ports(first: str, second: str, kind: int) -> None:
    ways = [(), (2,), (15,), (2, 15), (2, "l"), ("l",), (15, "l")]

    def scenario(machine: Machine) -> Any:
        answers: list[Any] = []
        port = 20000
        for one, two in itertools.product(ways, ways):
            if kind == DGRAM and "l" in (*one, *two):
                continue
            port += 1
            socks = []
            for where, how in ((first, one), (second, two)):
                sock = Sock(machine, V6 if ":" in where else V4, kind)
                for option in how:
                    if isinstance(option, int):
                        sock.set(SOL, option)
                answers.append((where, how, sock.bind(where, port)))
                if "l" in how:
                    answers.append(sock.listen())
                socks.append(sock)
            for sock in socks:
                sock.close()
        return answers

    same(scenario)


@pytest.mark.parametrize("reuse", [0, 1])
@pytest.mark.parametrize("ending", ["open", "server first", "client first", "reset"])
def test_ports_of_connections(reuse: int, ending: str) -> None:
    def scenario(machine: Machine) -> Any:
        server = Sock(machine)
        server.set(SOL, 2, reuse)
        answers: list[Any] = [server.bind("127.0.0.1", 20000), server.listen()]
        client = Sock(machine)
        client.connect(("127.0.0.1", 20000))
        accepted = server.accept()
        assert isinstance(accepted, Sock)
        server.close()
        if ending == "reset":
            client.set(SOL, 13, LINGER0)
        if ending != "open":
            for end in (accepted, client) if ending == "server first" else (client, accepted):
                end.close()
        for option, listen in itertools.product((0, 1), (False, True)):
            again = Sock(machine)
            again.set(SOL, 2, option)
            answers += [again.bind("127.0.0.1", 20000), again.listen() if listen else None]
            again.close()
        return answers

    same(scenario)


def test_dual_stack() -> None:
    def scenario(machine: Machine) -> Any:
        server, client = Sock(machine, V6), Sock(machine)
        answers: list[Any] = [server.bind("::"), server.listen()]
        answers += [client.connect(("127.0.0.1", server.name()[1]))]
        accepted = server.accept()
        assert isinstance(accepted, Sock)
        name, peer = accepted.name(), accepted.peer()
        answers += [name[0], peer[0], client.peer()[0], client.send(b"x"), accepted.recv()]
        only = Sock(machine, V6)
        answers += [only.set(IPV6, 26), only.bind("::"), only.listen(), only.set(IPV6, 26, 0)]
        answers += [Sock(machine).connect(("127.0.0.1", only.name()[1]))]
        answers += [Sock(machine, V6).connect(("::1", only.name()[1]))]
        udp6, udp4 = Sock(machine, V6, DGRAM), Sock(machine, V4, DGRAM)
        answers += [udp6.bind("::"), udp4.send(b"four", 0, ("127.0.0.1", udp6.name()[1])), udp6.recv()]
        answers += [udp6.send(b"x", 0, ("::ffff:127.0.0.1", udp4.name()[1])), udp4.recv(), udp4.name()[0]]
        return answers

    same(scenario)


def test_datagrams() -> None:
    def scenario(machine: Machine) -> Any:
        one, two = Sock(machine, V4, DGRAM), Sock(machine, V4, DGRAM)
        answers: list[Any] = [one.bind("127.0.0.1"), one.poll(), two.send(b"hello", 0, one.name())]
        answers += [one.poll()]
        answers += [one.number(SIOCINQ), one.recv(3, PEEK), one.recv(3, TRUNC)[:3], one.recv(), one.poll()]
        answers += [two.send(b"", 0, one.name()), one.number(SIOCINQ), one.poll(), one.recv(), one.recv()]
        answers += [two.connect(one.name()), two.name()[0], two.send(b"x"), one.recv(), one.send(b"x")]
        stranger = Sock(machine, V4, DGRAM)
        answers += [stranger.send(b"no", 0, two.name()), two.recv()]
        answers += [one.send(b"yes", 0, two.name()), two.recv()]
        answers += [two.send(b"x" * 65508), two.send(b"x" * 65507, 0, one.name())]
        answers += [two.send(b"x", OOB), two.recv(1, OOB)]
        answers += [two.shutdown(1), two.send(b"x"), two.poll(), two.shutdown(0), two.recv(), two.poll()]
        return answers

    same(scenario)


def test_nobody_at_the_port() -> None:
    def scenario(machine: Machine) -> Any:
        sock, free = Sock(machine, V4, DGRAM), Sock(machine, V4, DGRAM)
        answers: list[Any] = [free.send(b"x", 0, ("127.0.0.1", 9)), free.poll(), free.get(SOL, 4)]
        answers += [sock.connect(("127.0.0.1", 9)), sock.send(b"x"), sock.poll(), sock.send(b"x")]
        answers += [sock.poll()]
        answers += [sock.send(b"x"), sock.recv(), sock.recv(), sock.send(b"x"), sock.get(SOL, 4), sock.poll()]
        answers += [sock.set(IP, 11), sock.send(b"lost"), sock.poll(), sock.recv(64, ERRQUEUE), sock.poll()]
        answers += [sock.recv(64, ERRQUEUE), sock.recv()]
        return answers

    same(scenario)


def test_corked_datagrams() -> None:
    def scenario(machine: Machine) -> Any:
        one, two = Sock(machine, V4, DGRAM), Sock(machine, V4, DGRAM)
        one.bind("127.0.0.1")
        two.connect(one.name())
        answers: list[Any] = [two.send(b"a", MORE), one.recv(), two.send(b"b"), one.recv()]
        answers += [two.set(UDP, 1), two.send(b"c"), two.send(b"d"), one.recv(), two.set(UDP, 1, 0)]
        answers += [one.recv()]
        answers += [two.set(UDP, 103, 2), two.send(b"abcde"), one.recv(), one.recv(), one.recv(), one.recv()]
        return answers

    same(scenario)


_SKIPPED = {11, 12, 13, 14, 19, 20, 21, 22, 24, 26, 28, 29, 32, 33, 35}
TCP_OPTIONS = [name for name in range(1, 37) if name not in _SKIPPED]


@pytest.mark.parametrize("value", [-1, 0, 1, 5, 100, 40000])
def test_options_of_tcp(value: int) -> None:
    def scenario(machine: Machine) -> Any:
        answers: list[Any] = []
        for name in TCP_OPTIONS:
            sock = Sock(machine)
            answers.append((name, sock.get(TCP, name), sock.get(TCP, name, 1), sock.set(TCP, name, value)))
            if name not in (10, 19, 31):
                answers.append(sock.get(TCP, name))
            answers.append(sock.set(TCP, name, b"\1"))
        return answers

    same(scenario)


IP_OPTIONS = [1, 2, 6, 7, 8, 10, 11, 12, 13, 14, 15, 19, 20, 21, 22, 23, 24, 32, 33, 34, 49, 50]
IPV6_OPTIONS = [2, 16, 17, 18, 19, 23, 24, 25, 26, 29, 49, 51, 66, 67, 70, 78]


@pytest.mark.parametrize("kind", [STREAM, DGRAM])
@pytest.mark.parametrize("value", [-1, 0, 1, 3, 255, 256])
def test_options_of_ip(value: int, kind: int) -> None:
    def scenario(machine: Machine) -> Any:
        answers: list[Any] = []
        for name in IP_OPTIONS:
            sock = Sock(machine, V4, kind)
            answers.append((name, sock.get(IP, name), sock.get(IP, name, 1), sock.set(IP, name, value)))
            answers.append((sock.get(IP, name), sock.get(IP, name, 1), sock.get(IPV6, name)))
        for name in IPV6_OPTIONS:
            sock = Sock(machine, V6, kind)
            answers.append((name, sock.get(IPV6, name), sock.set(IPV6, name, value), sock.get(IPV6, name)))
            answers.append(sock.set(IPV6, name, b"\1"))
        return answers

    same(scenario)


@pytest.mark.parametrize("kind", [STREAM, DGRAM])
def test_options_of_sockets(kind: int) -> None:
    names = [n for n in range(1, 50) if n not in (26, 27, 31, 50)]

    def scenario(machine: Machine) -> Any:
        answers: list[Any] = []
        for family in (V4, V6):
            for name in names:
                sock = Sock(machine, family, kind)
                answers.append((family, name, sock.get(SOL, name, 64), sock.get(SOL, name, 2)))
        sock = Sock(machine, V4, kind)
        answers += [sock.set(SOL, 25, b"lo"), sock.get(SOL, 25, 16), sock.set(SOL, 25, b"eth0")]
        answers += [sock.set(SOL, 25, b"")]
        answers += [sock.get(SOL, 25, 16), sock.set(SOL, 62, 1), sock.get(SOL, 62), sock.set(SOL, 62, 7)]
        for size in (0, 1, 5000, 100000):
            answers += [sock.set(SOL, 7, size), sock.get(SOL, 7), sock.set(SOL, 8, size), sock.get(SOL, 8)]
        return answers

    same(scenario)


def test_groups() -> None:
    group, lo, any_ = socket.inet_aton("224.0.0.99"), socket.inet_aton("127.0.0.1"), bytes(4)

    def scenario(machine: Machine) -> Any:
        one, two, tcp = Sock(machine, V4, DGRAM), Sock(machine, V4, DGRAM), Sock(machine)
        answers: list[Any] = [one.set(IP, 35, group + any_), one.set(IP, 35, group + lo)]
        answers += [one.set(IP, 35, group + lo)]
        answers += [one.set(IP, 35, lo + lo), one.set(IP, 36, bytes((224, 0, 0, 98)) + lo)]
        answers += [tcp.set(IP, 35, group + lo)]
        answers += [one.bind("0.0.0.0"), two.set(IP, 32, lo)]
        answers += [two.send(b"all", 0, ("224.0.0.99", one.name()[1]))]
        answers += [one.recv(), one.set(IP, 36, group + lo)]
        answers += [two.send(b"all", 0, ("224.0.0.99", one.name()[1])), one.recv()]
        six = Sock(machine, V6, DGRAM)
        mreq = socket.inet_pton(V6, "ff02::99")
        answers += [six.set(IPV6, 20, mreq + bytes(4)), six.set(IPV6, 20, mreq + b"\1\0\0\0")]
        answers += [six.set(IPV6, 20, mreq + b"\7\0\0\0"), six.set(IPV6, 21, mreq + b"\1\0\0\0")]
        return answers

    same(scenario)
