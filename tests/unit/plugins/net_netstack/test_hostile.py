"""Frames that nobody well-meaning sends: no exception escapes, and nothing of them is kept."""

from __future__ import annotations

from struct import pack
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import make_task

from runsc_net_netstack import arp
from runsc_net_netstack.checksum import checksum, total
from runsc_net_netstack.fragments import MAX_BYTES, Fragments
from runsc_net_netstack.namespace import Namespace
from runsc_net_netstack.netstack import NetStack
from runsc_net_netstack.rtnetlink import HostAddress, HostRoute, attributes
from runsc_net_netstack.tcp import segment
from runsc_net_netstack.tcp.reassembly import Reassembly

OWN4, OWN6 = b"\x0a\x09\0\2", b"\xfd\x09" + bytes(13) + b"\2"
PEER4, PEER6 = b"\x0a\x09\0\1", b"\xfd\x09" + bytes(13) + b"\1"
MAC = b"\x02\0\0\0\0\2"
#: Options of IPv4 or TCP: whole words of noise.
OPTIONS = st.binary(max_size=12).map(lambda data: data * 4)
FAST = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


class FakeLink:
    """A link that keeps what is sent."""

    def __init__(self) -> None:
        self.index, self.name, self.mtu, self.hardware = 2, "eth0", 1500, MAC
        self.header, self.gso, self.csum = 0, 0, False
        self.sent: list[bytes] = []

    def send(self, parts: list[Any]) -> bool:
        if len(self.sent) < 1000:
            self.sent.append(b"".join(parts))
        return True

    def start(self, *_: Any) -> None:
        """Nothing ever comes by itself."""

    def close(self) -> None:
        """There is nothing to close."""


def _address(ip: bytes) -> HostAddress:
    family = 2 if len(ip) == 4 else 10
    prefix = 24 if family == 2 else 64
    return HostAddress(pack("<BBBBI", family, prefix, 0, 0, 2) + pack("<HH", 4 + len(ip), 1) + ip)


def _route(network: bytes, prefix: int) -> HostRoute:
    family = 2 if len(network) == 4 else 10
    body = pack("<BBBBBBBBI", family, prefix, 0, 0, 254, 2, 0, 1, 0)
    return HostRoute(body + pack("<HH", 4 + len(network), 1) + network + pack("<HHI", 8, 4, 2))


def make_stack() -> tuple[NetStack, Any]:
    """A stack with one link, and that."""
    link: Any = FakeLink()
    addresses = [_address(OWN4), _address(OWN6)]
    routes = [_route(b"\x0a\x09\0\0", 24), _route(b"\xfd\x09" + bytes(14), 64)]
    task = make_task()
    stack = NetStack(task.kernel, [link], Namespace([], addresses, routes, [], False), True)
    stack.start()
    return stack, link


STACK, LINK = make_stack()


def deliver(frame: bytes) -> None:
    STACK.batch()
    STACK.frame(LINK, memoryview(frame), 0, len(frame), 0)
    STACK.flush()


def ipv4(protocol: int, payload: bytes, fragment: int = 0, ident: int = 1, options: bytes = b"") -> bytes:
    size = 20 + len(options)
    total_size = size + len(payload)
    head = pack(
        "!BBHHHBBH4s4s", 0x40 | size // 4, 0, total_size, ident, fragment, 64, protocol, 0, PEER4, OWN4
    )
    head += options
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    return MAC + bytes(6) + b"\x08\x00" + head + payload


def ipv6(following: int, payload: bytes) -> bytes:
    head = pack("!IHBB16s16s", 6 << 28, len(payload), following, 255, PEER6, OWN6)
    return MAC + bytes(6) + b"\x86\xdd" + head + payload


def summed(start: int, payload: bytes, at: int) -> bytes:
    """The payload with a right checksum at an offset."""
    if len(payload) < at + 2:
        return payload
    payload = payload[:at] + b"\0\0" + payload[at + 2 :]
    return payload[:at] + checksum(payload, start).to_bytes(2, "big") + payload[at + 2 :]


@FAST
@given(st.binary(max_size=120), st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\0\0"]))
def test_noise(data: bytes, kind: bytes) -> None:
    deliver(MAC + bytes(6) + kind + data)
    deliver(data)


@FAST
@given(st.sampled_from([1, 2, 6, 17, 136, 47]), st.binary(max_size=100), OPTIONS)
def test_ipv4_with_noise_inside(protocol: int, payload: bytes, options: bytes) -> None:
    at = {1: 2, 2: 2, 6: 16, 17: 6, 136: 6}.get(protocol, 0)
    start = 0 if protocol in (1, 2) else STACK.pseudo(
        bytes(10) + b"\xff\xff" + PEER4, bytes(10) + b"\xff\xff" + OWN4, protocol, len(payload)
    )
    deliver(ipv4(protocol, summed(start, payload, at), options=options[:40]))


@FAST
@given(st.sampled_from([0, 6, 17, 43, 44, 58, 60, 59, 99]), st.binary(max_size=120))
def test_ipv6_with_noise_inside(protocol: int, payload: bytes) -> None:
    deliver(ipv6(protocol, payload))
    start = STACK.pseudo(PEER6, OWN6, protocol, len(payload))
    deliver(ipv6(protocol, summed(start, payload, {6: 16, 17: 6, 58: 2}.get(protocol, 0))))


@FAST
@given(st.integers(0, 255), st.integers(0, 255), st.binary(min_size=4, max_size=90), st.booleans())
def test_icmp_messages_that_quote_noise(kind: int, code: int, rest: bytes, v4: bool) -> None:
    if v4:
        deliver(ipv4(1, summed(0, bytes((kind, code, 0, 0)) + rest, 2)))
    else:
        message = bytes((kind, code, 0, 0)) + rest
        deliver(ipv6(58, summed(STACK.pseudo(PEER6, OWN6, 58, len(message)), message, 2)))


FRAGMENT = st.tuples(st.integers(0, 0x1FFF), st.booleans(), st.binary(max_size=64), st.integers(0, 3))


@FAST
@given(st.lists(FRAGMENT, max_size=12))
def test_fragments_of_all_shapes(fragments: list[tuple[int, bool, bytes, int]]) -> None:
    for offset, more, data, ident in fragments:
        deliver(ipv4(17, data, offset | (0x2000 if more else 0), ident))
        deliver(ipv6(44, bytes((17, 0)) + (offset << 3 | more).to_bytes(2, "big") + pack("!I", ident) + data))
    for waiting in (STACK.fragments, STACK.fragments6):
        held = sum(len(piece) for partial in waiting.partials.values() for _, piece in partial.pieces)
        assert held == waiting.bytes <= MAX_BYTES


@FAST
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), max_size=20), st.randoms())
def test_fragments_become_the_packet_or_nothing(cuts: list[tuple[int, int]], random: Any) -> None:
    whole = bytes(range(256)) * 2
    fragments = Fragments(STACK.kernel.timers)
    pieces = [(at, whole[at : at + 64]) for at in range(0, 512, 64)]
    pieces += [(at * 8, whole[at * 8 : at * 8 + count * 8]) for at, count in cuts]
    random.shuffle(pieces)
    for at, data in pieces:
        found = fragments.add((b"", b"", 1, 1), at, at + len(data) < 512, data, "head", 0)
        if found is not None:
            assert found[0] == whole
    fragments.add((b"", b"", 2, 2), 0, True, bytes(8), None, 1 << 60)
    assert list(fragments.partials) == [(b"", b"", 2, 2)]  # what was left has expired


@FAST
@given(st.binary(max_size=60))
def test_tcp_options(data: bytes) -> None:
    found = segment.parse(memoryview(data), 0, len(data))
    assert -1 <= found.mss <= 65535
    assert found.wscale <= 14


@FAST
@given(st.binary(max_size=60))
def test_arp(data: bytes) -> None:
    arp.parse(memoryview(data), 0, len(data))


@FAST
@given(st.binary(max_size=60))
def test_attributes_of_netlink(data: bytes) -> None:
    attributes(data)


@FAST
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20)), max_size=30))
def test_segments_out_of_order(places: list[tuple[int, int]]) -> None:
    whole = bytes(range(100))
    waiting = Reassembly()
    for start, count in places:
        waiting.add(start, whole[start : start + count])
        assert waiting.size == sum(right - left for left, right in waiting.ranges)
        assert all(a[1] < b[0] for a, b in zip(waiting.ranges, waiting.ranges[1:], strict=False))
    covered = {at for start, count in places for at in range(start, start + count)}
    end = 1
    while end in covered:
        end += 1
    assert b"".join(waiting.take(1)) == whole[1:end]
    assert waiting.size == len([at for at in covered if at >= end])


@FAST
@given(st.binary(max_size=99), st.integers(0, 0xFFFF))
def test_the_checksum_is_that_of_the_rfc(data: bytes, initial: int) -> None:
    words = data + bytes(len(data) % 2)
    number = initial + sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2))
    while number > 0xFFFF:
        number = (number & 0xFFFF) + (number >> 16)
    assert total(data, initial) == number


@FAST
@given(st.lists(st.tuples(
    st.sampled_from(["S", "A", "F", "R", "SA", "FA", "U", "PA", ""]), st.integers(-70000, 70000),
    st.integers(-70000, 70000), st.integers(0, 65535), st.binary(max_size=40), OPTIONS,
), max_size=20))  # fmt: skip
def test_a_connection_takes_any_segments(script: list[tuple[str, int, int, int, bytes, bytes]]) -> None:
    """Segments around the right numbers, to a listener and to what becomes of it."""
    from netns import Sock
    from scenario import Guest

    stack, link = make_stack()
    guest = Guest.__new__(Guest)
    Guest.__init__(guest)
    stack.kernel.close()
    kernel = guest.task.kernel
    namespace = Namespace([], [_address(OWN4)], [_route(b"\x0a\x09\0\0", 24)], [], False)
    stack = NetStack(kernel, [link], namespace, True)
    stack.start()

    class Net:
        @staticmethod
        def socket(kernel: Any, task: Any, family: int, kind: int, protocol: int) -> Any:
            from runsc.kernel.socket.inet.family import inet_socket

            return inet_socket(kernel, task, family, kind, protocol)

    kernel.network = Net()
    listener = Sock(guest)
    assert listener.bind("10.9.0.2", 80) == 0
    assert listener.listen() == 0
    src, dst = bytes(10) + b"\xff\xff" + PEER4, bytes(10) + b"\xff\xff" + OWN4
    bits = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}
    for flags, seq, ack, window, data, options in [("S", 0, 0, 1000, b"", b""), *script]:
        found = stack.loopback.connections.get(((dst, 80), (src, 999)))
        iss = found.wire.iss if found is not None and getattr(found, "wire", None) is not None else 0
        iss = getattr(stack.tcp.requests.find((dst, 80), (src, 999)), "iss", iss)
        head = segment.HEADER.pack(
            999, 80, seq & 0xFFFFFFFF, iss + ack & 0xFFFFFFFF, (20 + len(options[:40])) // 4 << 4,
            sum(bits[letter] for letter in flags), window, 0, 1,
        )  # fmt: skip
        whole = head + options[:40] + data
        stack.batch()
        stack.tcp.receive(src, dst, memoryview(whole), 0, len(whole), True, 2)
        stack.flush()
    for child in list(world_sockets(stack)):
        assert child.queued == sum(map(len, child.chunks)) - child.offset
    guest.close()
    stack.close()


def world_sockets(stack: NetStack) -> list[Any]:
    return [found for found in stack.loopback.connections.values() if hasattr(found, "chunks")]
