"""Local sockets: compared with the host's, and their blocking."""

from __future__ import annotations

import os
import random
from errno import EAGAIN, ECONNRESET, EPIPE, ETOOMANYREFS
from struct import pack, unpack
from typing import Any

import pytest
from scenario import HANDLERS, Guest, Host, Machine, same
from support import Buffer, Pending, call, make_task

from runsc.abi.fcntl import O_NONBLOCK
from runsc.abi.poll import POLLHUP, POLLIN, POLLOUT, POLLRDHUP
from runsc.abi.socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    SCM_CREDENTIALS,
    SCM_RIGHTS,
    SIOCINQ,
    SIOCOUTQ,
    SO_ACCEPTCONN,
    SO_DOMAIN,
    SO_PASSCRED,
    SO_PEERCRED,
    SO_PROTOCOL,
    SO_RCVBUF,
    SO_RCVTIMEO,
    SO_SNDBUF,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
)  # fmt: skip
from runsc.kernel.siginfo import SigInfo

KINDS = [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET]
ALL = POLLIN | POLLOUT | POLLRDHUP


def _socket(m: Machine, kind: int, flags: int = SOCK_NONBLOCK) -> int:
    fd = m.call("socket", AF_UNIX, kind | flags, 0)
    assert fd >= 0
    return fd


def _pair(m: Machine, kind: int, flags: int = SOCK_NONBLOCK) -> tuple[int, int]:
    return m.pair("socketpair", AF_UNIX, kind | flags, 0)


def _name(text: bytes) -> bytes:
    return pack("<H", AF_UNIX) + text


def _abstract(m: Machine, tag: bytes) -> bytes:
    """An abstract name that other tests on this host don't use."""
    return _name(b"\0runsc-test-%d-" % os.getpid() + tag)


def _with_name(m: Machine, call_name: str, fd: int, name: bytes, *more: int) -> int:
    return m.call(call_name, fd, m.put(name), len(name), *more)


def _ask_name(m: Machine, call_name: str, fd: int, room: int = 110) -> Any:
    addr, length = m.room(128), m.put(pack("<i", room))
    result = m.call(call_name, fd, addr, length)
    (told,) = m.ints(length, 1)
    return result, told, m.get(addr, max(min(told, room), 0)) if result == 0 else b""


def _send(m: Machine, fd: int, data: bytes, flags: int = MSG_NOSIGNAL, name: bytes = b"") -> int:
    return m.call("sendto", fd, m.put(data), len(data), flags, m.put(name) if name else 0, len(name))


def _recv(m: Machine, fd: int, count: int, flags: int = 0) -> Any:
    addr, name, length = m.room(count), m.room(128), m.put(pack("<i", 128))
    result = m.call("recvfrom", fd, addr, count, flags, name, length)
    if result < 0:
        return result
    (told,) = m.ints(length, 1)
    return result, m.get(addr, min(result, count)), m.get(name, told)


def _header(m: Machine, data: int, size: int, control: int = 0, controllen: int = 0) -> int:
    iov = m.put(pack("<QQ", data, size))
    return m.put(pack("<QI4xQQQQI4x", 0, 0, iov, 1, control, controllen, 0))


def _sendmsg(m: Machine, fd: int, data: bytes, control: bytes = b"") -> int:
    return m.call(
        "sendmsg", fd, _header(m, m.put(data), len(data), m.put(control), len(control)), MSG_NOSIGNAL
    )


def _rights(*fds: int) -> bytes:
    return pack("<Qii", 16 + 4 * len(fds), SOL_SOCKET, SCM_RIGHTS) + pack(f"<{len(fds)}i", *fds)


def _recvmsg(m: Machine, fd: int, size: int, room: int, flags: int = 0) -> Any:
    """(result, data, flags, control messages with their fds left out, fds)."""
    data, control = m.room(size), m.room(room)
    header = _header(m, data, size, control, room)
    result = m.call("recvmsg", fd, header, flags)
    if result < 0:
        return result
    raw = m.get(header, 56)
    (length,) = unpack("<Q", raw[40:48])
    (told,) = unpack("<I", raw[48:52])
    found, fds, at = [], [], 0
    answer = m.get(control, length)
    while at + 16 <= length:
        size_here, level, kind = unpack("<Qii", answer[at : at + 16])
        body = answer[at + 16 : at + size_here]
        found.append((size_here, level, kind))
        if kind == SCM_RIGHTS:
            fds = list(unpack(f"<{len(body) // 4}i", body))
        at += (size_here + 7) & ~7
    return result, m.get(data, max(min(result, size), 0)), told, length, found, fds


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair(kind: int) -> None:
    def scenario(m: Machine) -> Any:
        a, b = _pair(m, kind)
        found: list[Any] = [
            m.poll((a, ALL), (b, ALL)),
            _send(m, a, b"hello"),
            _send(m, a, b"world"),
            _send(m, a, b""),
        ]
        found += [
            m.poll((b, ALL)),
            _recv(m, b, 3, MSG_PEEK),
            _recv(m, b, 3),
            _recv(m, b, 3, MSG_TRUNC),
            _recv(m, b, 100),
        ]
        found += [
            _recv(m, b, 100, MSG_DONTWAIT),
            _recv(m, b, 100),
            m.write(b, b"back"),
            m.read(a, 2),
            m.read(a, 9),
        ]
        found += [_ask_name(m, "getsockname", a), _ask_name(m, "getpeername", a)]
        m.write(a, b"left")
        m.call("close", a)
        found += [
            m.poll((b, ALL)),
            _recv(m, b, 2),
            _recv(m, b, 10),
            _recv(m, b, 10),
            _send(m, b, b"x"),
            m.poll((b, ALL)),
        ]
        return found

    same(scenario)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [0, 1, 2, 3])
def test_shutdown(kind: int, how: int) -> None:
    def scenario(m: Machine) -> Any:
        a, b = _pair(m, kind)
        _send(m, a, b"before")
        found: list[Any] = [m.call("shutdown", a, how), m.poll((a, ALL), (b, ALL))]
        found += [
            _send(m, a, b"x"),
            _send(m, b, b"y"),
            _recv(m, b, 10),
            _recv(m, b, 10),
            _recv(m, a, 10),
            _recv(m, a, 10),
        ]
        return found

    same(scenario)


@pytest.mark.parametrize("kind", KINDS)
def test_unread_data_resets_the_peer(kind: int) -> None:
    def scenario(m: Machine) -> Any:
        a, b = _pair(m, kind)
        _send(m, a, b"never read")
        m.call("close", b)
        return m.poll((a, ALL)), _recv(m, a, 10), _recv(m, a, 10), _send(m, a, b"x")

    found = same(scenario)
    if kind == SOCK_STREAM:
        assert found[1] == -ECONNRESET


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "size", [1, 100, 200, 1000, 2000, 4096, 8192, 16000, 20000, 65536, 200000, 212960, 213000]
)
def test_how_much_fits(kind: int, size: int) -> None:
    def scenario(m: Machine) -> Any:
        a, b = _pair(m, kind)
        data, queued = m.put(bytes(size)), m.room(8)
        results = []
        while True:
            results.append(m.call("sendto", a, data, size, MSG_NOSIGNAL, 0, 0))
            if results[-1] < 0:
                break
        m.call("ioctl", a, SIOCOUTQ, queued)
        m.call("ioctl", b, SIOCINQ, queued + 4)
        return len(results), results[-3:], m.ints(queued, 2), m.poll((a, POLLOUT))

    same(scenario)


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_SEQPACKET])
def test_connecting(kind: int) -> None:
    def scenario(m: Machine) -> Any:
        server, client = _socket(m, kind), _socket(m, kind)
        name = _abstract(m, b"connect-%d" % kind)
        found: list[Any] = [
            m.poll((server, ALL)),
            m.call("listen", server, 1),
            _with_name(m, "connect", client, name),
        ]
        found += [
            _with_name(m, "bind", server, name),
            _with_name(m, "bind", client, name),
            _with_name(m, "connect", client, name),
        ]
        found += [
            m.call("accept4", server, 0, 0, 0),
            m.call("listen", server, 1),
            m.call("accept4", server, 0, 0, 0),
        ]
        found += [
            m.poll((server, ALL)),
            _send(m, client, b"x"),
            _recv(m, client, 1),
            _ask_name(m, "getpeername", client)[0],
        ]
        found += [
            _with_name(m, "connect", client, name),
            m.poll((server, ALL)),
            _with_name(m, "connect", client, name),
        ]
        found += [_with_name(m, "connect", server, name), _recv(m, server, 1), _send(m, server, b"x")]
        more = [_socket(m, kind) for _ in range(3)]
        found += [_with_name(m, "connect", fd, name) for fd in more]
        addr, length = m.room(128), m.put(pack("<i", 128))
        accepted = m.call("accept4", server, addr, length, SOCK_NONBLOCK)
        found += [
            m.ints(length, 1),
            _recv(m, accepted, 5),
            _send(m, client, b"hello"),
            _recv(m, accepted, 10),
        ]
        found += [
            [
                _ask_name(m, call_name, fd)[0]
                for call_name in ("getsockname", "getpeername")
                for fd in (client, accepted)
            ]
        ]
        found += [_send(m, client, b"x", MSG_NOSIGNAL, name), _with_name(m, "connect", more[2], name)]
        m.call("close", server)
        found += [
            m.poll((more[0], ALL)),
            _recv(m, more[0], 1),
            _recv(m, more[0], 1),
            _with_name(m, "connect", more[1], name),
        ]
        return found

    same(scenario)


def test_datagrams() -> None:
    def scenario(m: Machine) -> Any:
        server, client, other = (_socket(m, SOCK_DGRAM) for _ in range(3))
        name, mine = _abstract(m, b"dgram"), _abstract(m, b"client")
        found: list[Any] = [
            _send(m, client, b"x"),
            _send(m, client, b"x", MSG_NOSIGNAL, name),
            m.call("listen", server, 1),
        ]
        _with_name(m, "bind", server, name)
        found += [_send(m, client, b"one", MSG_NOSIGNAL, name), _with_name(m, "bind", client, mine)]
        found += [_send(m, client, b"two", MSG_NOSIGNAL, name), _recv(m, server, 2), _recv(m, server, 9)[:2]]
        found += [_with_name(m, "connect", client, name), _send(m, client, b"three"), m.poll((client, ALL))]
        found += [
            [_send(m, client, b"fill") for _ in range(13)],
            m.poll((client, ALL)),
            _recv(m, server, 9)[:2],
        ]
        found += [m.poll((client, ALL)), _send(m, client, b"more"), m.call("accept4", server, 0, 0, 0)]
        found += [_with_name(m, "connect", server, mine), _send(m, other, b"x", MSG_NOSIGNAL, name)]
        found += [
            _with_name(m, "connect", other, name),
            _with_name(m, "connect", client, pack("<H", 0)),
            _send(m, client, b"x"),
        ]
        m.call("close", server)
        found += [_with_name(m, "connect", client, name), _send(m, client, b"x", MSG_NOSIGNAL, name)]
        return found

    same(scenario)


def test_path_names(tmp_path: Any) -> None:
    def scenario(m: Machine) -> Any:
        base = bytes(tmp_path) + b"/" if isinstance(m, Host) else b"/"
        name = _name(base + b"s\0junk")
        server, client, dgram = _socket(m, SOCK_STREAM), _socket(m, SOCK_STREAM), _socket(m, SOCK_DGRAM)
        found: list[Any] = [_with_name(m, "connect", client, name), _with_name(m, "bind", server, name)]
        found += [_with_name(m, "bind", dgram, name), _with_name(m, "bind", server, _name(base + b"other"))]
        found += [_with_name(m, "connect", client, name), m.call("listen", server, 5)]
        found += [_with_name(m, "connect", dgram, name), _with_name(m, "connect", client, name)]
        found += [
            _ask_name(m, "getpeername", client)[1] - len(base),
            _ask_name(m, "getsockname", server)[2].endswith(b"/s\0"),
        ]
        found += [m.call("open", m.put(base + b"s\0"), 0, 0), m.call("unlink", m.put(base + b"s\0"))]
        fresh = _socket(m, SOCK_STREAM)
        found += [_with_name(m, "connect", fresh, name)]
        m.call("close", m.call("open", m.put(base + b"file\0"), 0o101, 0o644))
        found += [
            _with_name(m, "connect", fresh, _name(base + b"file")),
            _with_name(m, "bind", fresh, _name(base + b"file")),
        ]
        found += [
            _with_name(m, "bind", fresh, _name(base + b"no/such")),
            _with_name(m, "bind", fresh, _name(base + b"q" * 108)),
        ]
        found += [_with_name(m, "bind", fresh, b"\x01\x00x"[:2] + b""), _ask_name(m, "getsockname", fresh)[1]]
        return found

    same(scenario)


def test_bad_addresses() -> None:
    def scenario(m: Machine) -> Any:
        fd = _socket(m, SOCK_STREAM)
        found = [m.call(call_name, fd, 8, 10) for call_name in ("bind", "connect")]
        for name in (b"", b"\x01", b"\x01\x00", b"\x02\x00abc", _name(b"x" * 109), _name(b"x" * 130)):
            found.append(_with_name(m, "connect", fd, name))
        found += [m.call("bind", fd, m.room(10), -1), m.call("getsockname", fd, 8, m.put(pack("<i", 20)))]
        found += [_ask_name(m, "getsockname", fd, -1)[0], m.call("getsockname", fd, m.room(10), 8)]
        found += [m.call("getpeername", 100000, 0, 0), m.call("getpeername", m.pipe()[0], 0, 0)]
        return found

    same(scenario)


def test_arguments_of_socket() -> None:
    def scenario(m: Machine) -> Any:
        tried = []
        for family, kind, protocol in [
            (AF_UNIX, 0, 0),
            (AF_UNIX, 4, 0),
            (AF_UNIX, 3, 0),
            (AF_UNIX, 11, 0),
            (AF_UNIX, 1, 1),
            (AF_UNIX, 1, 2),
            (AF_UNIX, 1 | 0x100, 0),
            (-1, 1, 0),
            (46, 1, 0),
            (AF_UNIX, 1 | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
        ]:
            result = m.call("socket", family, kind, protocol)
            tried.append(min(result, 0))
            tried.append(min(m.call("socketpair", family, kind, protocol, m.room(8)), 0))
        tried.append(m.call("socketpair", AF_UNIX, 1, 0, 8))
        return tried

    same(scenario)


@pytest.mark.parametrize("name", [*range(1, 22), SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN, 59, 66, 67, 999])
def test_options(name: int) -> None:
    def scenario(m: Machine) -> Any:
        fd = _socket(m, SOCK_STREAM)
        found: list[Any] = []

        def ask(room: int = 16) -> None:
            value, length = m.room(32), m.put(pack("<i", room))
            result = m.call("getsockopt", fd, SOL_SOCKET, name, value, length)
            (told,) = m.ints(length, 1)
            found.append((result, told, m.get(value, told) if result == 0 and told > 0 else b""))

        ask()
        for value in (
            pack("<q", 1),
            pack("<i", 1),
            pack("<i", 0),
            pack("<i", -1),
            pack("<qq", 2, 500000),
            pack("<qq", 1, 10**6),
        ):
            if name in (12, SO_SNDBUF, SO_RCVBUF, 18) and len(value) == 4 and value == pack("<i", -1):
                continue  # depends on the host's limits
            found.append(m.call("setsockopt", fd, SOL_SOCKET, name, m.put(value), len(value)))
            ask()
        ask(2)
        ask(-1)
        found += [
            m.call("setsockopt", fd, SOL_SOCKET, name, 8, 16),
            m.call("setsockopt", fd, SOL_SOCKET, name, m.room(4), 3),
        ]
        found += [
            m.call("setsockopt", fd, 6, 1, m.room(4), 4),
            m.call("getsockopt", fd, 6, 1, m.room(4), m.put(pack("<i", 4))),
        ]
        return found

    same(scenario)


@pytest.mark.parametrize("size", [0, 1000, 2000, 50000, 106496, 106497])
def test_buffer_sizes(size: int) -> None:
    def scenario(m: Machine) -> Any:
        fd = _socket(m, SOCK_STREAM)
        found = []
        for name in (SO_SNDBUF, SO_RCVBUF):
            m.call("setsockopt", fd, SOL_SOCKET, name, m.put(pack("<i", size)), 4)
            value = m.room(4)
            m.call("getsockopt", fd, SOL_SOCKET, name, value, m.put(pack("<i", 4)))
            found += m.ints(value, 1)
        return found

    same(scenario)


# -- ancillary data -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("room", [0, 8, 15, 16, 19, 20, 23, 24, 28, 100])
def test_descriptors_travel(kind: int, room: int) -> None:
    def scenario(m: Machine) -> Any:
        a, b = _pair(m, kind)
        r, w = m.pipe(O_NONBLOCK)
        found: list[Any] = [_sendmsg(m, a, b"here", _rights(r, w, w)), m.call("close", r), m.call("close", w)]
        answer = _recvmsg(m, b, 10, room)
        found.append(answer[:5])
        fds = answer[5]
        if len(fds) > 1:
            found += [m.write(fds[1], b"through"), m.read(fds[0], 10), m.call("fcntl", fds[0], 1)]
        return found

    same(scenario)


def test_descriptors_are_barriers_in_a_stream() -> None:
    def scenario(m: Machine) -> Any:
        a, b = _pair(m, SOCK_STREAM)
        r, _w = m.pipe()
        for data, control in (
            (b"one", b""),
            (b"two", _rights(r)),
            (b"three", b""),
            (b"four", _rights(r)),
            (b"five", b""),
        ):
            _sendmsg(m, a, data, control)
        found = []
        for size in (4, 100):
            answer = _recvmsg(m, b, size, 100, MSG_CMSG_CLOEXEC)
            found.append((*answer[:5], [m.call("fcntl", fd, 1) for fd in answer[5]]))
        found.append(_recvmsg(m, b, 3, 100, MSG_PEEK)[:5])
        found += [m.read(b, 2), m.read(b, 100), m.read(b, 1)]
        return found

    same(scenario)


def test_bad_control_messages() -> None:
    def scenario(m: Machine) -> Any:
        a, _b = _pair(m, SOCK_STREAM)
        r, _w = m.pipe()
        return [
            _sendmsg(m, a, b"x", control)
            for control in (
                _rights(100000),
                _rights(r, 100000),
                _rights(*[r] * 254),
                _rights(),
                pack("<Qii", 8, 1, 1),
                pack("<Qii", 100, 1, 1),
                pack("<Qii", 16, 1, 77),
                pack("<Qii", 16, 2, 77),
                pack("<QiiI", 20, 1, SCM_CREDENTIALS, 1),
                b"short",
            )
        ]

    same(scenario)


@pytest.mark.parametrize("kind", KINDS)
def test_credentials(kind: int) -> None:
    def scenario(m: Machine) -> Any:
        a, b = _pair(m, kind)
        me = m.call("getpid")
        _send(m, a, b"none")
        m.call("setsockopt", b, SOL_SOCKET, SO_PASSCRED, m.put(pack("<i", 1)), 4)
        _send(m, a, b"some")
        found: list[Any] = []
        for _ in range(2):
            data, control = m.room(10), m.room(64)
            header = _header(m, data, 10, control, 64)
            result = m.call("recvmsg", b, header, 0)
            pid, uid, gid = m.ints(control + 16, 3)
            found.append(
                (result, m.get(data, max(result, 0)), m.get(control, 16), pid == me, pid and 1, uid, gid)
            )
        value = m.room(12)
        m.call("getsockopt", a, SOL_SOCKET, SO_PEERCRED, value, m.put(pack("<i", 12)))
        pid, uid, gid = m.ints(value, 3)
        found.append((pid == me, uid, gid))
        lone = _socket(m, kind)
        m.call("getsockopt", lone, SOL_SOCKET, SO_PEERCRED, value, m.put(pack("<i", 12)))
        found.append(m.ints(value, 3))
        return found

    same(scenario)


def test_many_messages() -> None:
    def scenario(m: Machine) -> Any:
        a, b = _pair(m, SOCK_SEQPACKET)
        texts = [m.put(text) for text in (b"one", b"three", b"")]
        out = b"".join(
            pack("<QI4xQQQQI4xI4x", 0, 0, m.put(pack("<QQ", text, size)), 1, 0, 0, 0, 9)
            for text, size in zip(texts, (3, 5, 0), strict=True)
        )
        sent = m.put(out)
        found: list[Any] = [
            m.call("sendmmsg", a, sent, 3, 0),
            [m.ints(sent + 64 * i + 56, 1) for i in range(3)],
        ]
        room = m.room(300)
        back = m.put(
            b"".join(
                pack("<QI4xQQQQI4xI4x", 0, 0, m.put(pack("<QQ", room + 100 * i, 4)), 1, 0, 0, 0, 9)
                for i in range(4)
            )
        )
        found += [
            m.call("recvmmsg", b, back, 4, 0, 0),
            [m.ints(back + 64 * i + 48, 3) for i in range(4)],
            m.get(room, 300),
        ]
        found += [m.call("recvmmsg", b, back, 4, 0, 0), m.call("sendmmsg", a, 8, 1, 0)]
        return found

    same(scenario)


@pytest.mark.parametrize("seed", range(6))
def test_random_traffic(seed: int) -> None:
    def scenario(m: Machine) -> Any:
        chance = random.Random(seed)
        ends = _pair(m, KINDS[seed % 3])
        source, target = m.put(chance.randbytes(70000)), m.room(70000)
        seen: list[Any] = []
        for _ in range(500):
            fd = chance.choice(ends)
            size = chance.choice((0, 1, 7, 500, 4096, 5000, 30000, 70000))
            if chance.random() < 0.5:
                seen.append(
                    m.call("sendto", fd, source + chance.randrange(70001 - size), size, MSG_NOSIGNAL, 0, 0)
                )
            else:
                count = m.call("recvfrom", fd, target, size, chance.choice((0, MSG_PEEK, MSG_TRUNC)), 0, 0)
                seen.append((count, hash(m.get(target, max(min(count, size), 0)))))
            seen.append(m.poll((ends[0], ALL), (ends[1], ALL)))
        return seen

    same(scenario)


# -- life -----------------------------------------------------------------------------------------


def test_descriptors_in_flight_are_closed_with_their_message() -> None:
    guest = Guest()
    a, b = _pair(guest, SOCK_STREAM)
    r, w = guest.pipe()
    reader = guest.task.files.get(r)
    _sendmsg(guest, a, b"x", _rights(r))
    guest.call("close", r)
    assert reader.refs == 1
    guest.call("close", a)
    guest.call("close", b)
    assert reader.refs == 0
    assert guest.write(w, b"x") == -EPIPE


def test_a_long_chain_of_sockets_in_flight_is_closed() -> None:
    guest = Guest()
    guest.task.group.limits[7] = (100000, 100000)
    first, second = _pair(guest, SOCK_STREAM)
    for _ in range(3000):
        a, b = _pair(guest, SOCK_STREAM)
        assert _sendmsg(guest, a, b"x", _rights(first, second)) == 1
        guest.call("close", first)
        guest.call("close", second)
        first, second = a, b
        guest.buffer.next = 0x10000000
    guest.call("close", first)
    guest.call("close", second)
    assert guest.task.files.files == {}
    assert guest.task.kernel.extra["in_flight"].counts == {}


def test_too_many_in_flight() -> None:
    guest = Guest()
    task = guest.task
    task.cred = task.cred.copy()
    task.cred.effective = 0
    a, _b = _pair(guest, SOCK_STREAM)
    r, _w = guest.pipe()
    results = []
    for _ in range(12):
        results.append(_sendmsg(guest, a, b"x", _rights(*[r] * 100)))
    assert results == [1] * 11 + [-ETOOMANYREFS]


def test_a_name_is_free_again() -> None:
    guest = Guest()
    name = _abstract(guest, b"free")
    first = _socket(guest, SOCK_STREAM)
    assert _with_name(guest, "bind", first, name) == 0
    guest.call("close", first)
    assert _with_name(guest, "bind", _socket(guest, SOCK_STREAM), name) == 0


def test_autobind() -> None:
    guest = Guest()
    names = set()
    for _ in range(50):
        fd = _socket(guest, SOCK_DGRAM)
        assert _with_name(guest, "bind", fd, _name(b"")) == 0
        result, length, name = _ask_name(guest, "getsockname", fd)
        assert (result, length, name[2]) == (0, 8, 0)
        names.add(name)
    assert len(names) == 50


# -- waiting --------------------------------------------------------------------------------------


def _other(guest: Guest) -> Any:
    other = make_task(guest.task.kernel, parent=guest.task)
    other.files = guest.task.files
    return other


def test_accept_waits() -> None:
    guest = Guest()
    name = _abstract(guest, b"wait")
    server, client = _socket(guest, SOCK_STREAM, 0), _socket(guest, SOCK_STREAM, 0)
    _with_name(guest, "bind", server, name)
    guest.call("listen", server, 0)
    accepting = call(guest.task, HANDLERS["accept"], server, 0, 0)
    assert isinstance(accepting, Pending)
    other = _other(guest)
    assert call(other, HANDLERS["connect"], client, Buffer(other).put(name), len(name)) == 0
    assert accepting.woken()
    assert accepting.step() == client + 1


def test_connect_waits_for_room() -> None:
    guest = Guest()
    name = _abstract(guest, b"room")
    server = _socket(guest, SOCK_STREAM, 0)
    _with_name(guest, "bind", server, name)
    guest.call("listen", server, 0)
    assert _with_name(guest, "connect", _socket(guest, SOCK_STREAM, 0), name) == 0
    other = _other(guest)
    connecting = call(
        other, HANDLERS["connect"], _socket(guest, SOCK_STREAM, 0), Buffer(other).put(name), len(name)
    )
    assert isinstance(connecting, Pending)
    assert guest.call("accept", server, 0, 0) > 0
    assert connecting.woken()
    assert connecting.step() == 0


def test_waitall_waits_for_all() -> None:
    guest = Guest()
    a, b = _pair(guest, SOCK_STREAM, 0)
    room = guest.room(10)
    receiving = call(guest.task, HANDLERS["recvfrom"], b, room, 10, MSG_WAITALL, 0, 0)
    assert isinstance(receiving, Pending)
    sender = guest.task.files.get(a)
    sender.write(guest.task, b"12345")
    assert receiving.step() is None
    sender.write(guest.task, b"6789012")
    assert receiving.step() == 10
    assert guest.get(room, 10) == b"1234567890"


def test_waitall_broken_off_answers_what_there_is() -> None:
    guest = Guest()
    a, b = _pair(guest, SOCK_STREAM, 0)
    receiving = call(guest.task, HANDLERS["recvfrom"], b, guest.room(10), 10, MSG_WAITALL, 0, 0)
    guest.task.files.get(a).write(guest.task, b"123")
    assert receiving.step() is None
    guest.task.send_signal(SigInfo(15))
    assert receiving.step() == 3


def test_a_time_out_answers_eagain_and_eintr() -> None:
    guest = Guest()
    _a, b = _pair(guest, SOCK_STREAM, 0)
    guest.call("setsockopt", b, SOL_SOCKET, SO_RCVTIMEO, guest.put(pack("<qq", 0, 1000)), 16)
    receiving = call(guest.task, HANDLERS["recvfrom"], b, guest.room(10), 10, 0, 0, 0)
    while not receiving.woken():
        guest.task.kernel.timers.run_due()
    assert receiving.step() == -EAGAIN
    guest.call("setsockopt", b, SOL_SOCKET, SO_RCVTIMEO, guest.put(pack("<qq", 60, 0)), 16)
    receiving = call(guest.task, HANDLERS["recvfrom"], b, guest.room(10), 10, 0, 0, 0)
    guest.task.send_signal(SigInfo(15))
    assert receiving.step() == -4


def test_a_large_send_waits_for_the_reader() -> None:
    guest = Guest()
    a, b = _pair(guest, SOCK_STREAM, 0)
    data = os.urandom(700000)
    addr = guest.put(data)
    sending = call(guest.task, HANDLERS["sendto"], a, addr, len(data), 0, 0, 0)
    assert isinstance(sending, Pending)
    reader = guest.task.files.get(b)
    got = b""
    while len(got) < len(data):
        got += reader.read(guest.task, 60000)
        if sending.woken():
            sending.step()
    assert got == data
    assert sending.result == len(data)


def test_sigpipe_for_streams_only() -> None:
    guest = Guest()
    a, b = _pair(guest, SOCK_STREAM, 0)
    guest.call("close", b)
    assert _send(guest, a, b"x", MSG_NOSIGNAL) == -EPIPE
    assert not guest.task.pending.pending
    assert _send(guest, a, b"x", 0) == -EPIPE
    assert guest.task.pending.pending == 1 << 12


def test_closing_wakes_the_peer() -> None:
    guest = Guest()
    a, b = _pair(guest, SOCK_STREAM, 0)
    receiving = call(guest.task, HANDLERS["recvfrom"], b, guest.room(10), 10, 0, 0, 0)
    guest.task.files.close(a, guest.task)
    assert receiving.step() == 0
    assert guest.poll((b, ALL))[1] & POLLHUP
