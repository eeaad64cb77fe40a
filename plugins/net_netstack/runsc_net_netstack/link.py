"""A link: frames in and out of a packet socket (packet(7)) that is bound to one interface.

With PACKET_VNET_HDR each frame has a struct virtio_net_hdr in front. It lets one frame carry a TCP segment
of up to 64 KiB, which the host cuts (GSO) or has put together (GRO), and leaves checksums to the host or to
the hardware. If the host doesn't know that option, checksums are computed here and segments fit the MTU.
"""

from __future__ import annotations

import os
from _socket import SOCK_RAW, socket
from errno import EAGAIN, ENETDOWN
from select import EPOLLIN
from struct import Struct

from runsc.errors import RunscError
from runsc_net_netstack._netio import ffi, lib
from runsc_net_netstack.checksum import total

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runsc.kernel.hostpoll import HostPoller, Watch
    from runsc_net_netstack.rtnetlink import HostLink

AF_PACKET = 17
_SOCK_CLOEXEC, _SOCK_NONBLOCK = 0o2000000, 0o4000
_ETH_P_ALL = 3
_SOL_SOCKET, _SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 1, 33, 32
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 1, 15, 23
_PACKET_MR_ALLMULTI = 2
_MREQ = Struct("<iHH8s")

#: struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
VNET = Struct("<BBHHHH")
NEEDS_CSUM, DATA_VALID = 1, 2
GSO_NONE, GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_UDP_L4 = 0, 1, 3, 4, 5

#: Room for one frame: 64 KiB, the headers, and the virtio header.
SLOT = 65536 + 128
BATCH = 32
#: How many batches are taken before the guest has its turn again.
_ROUNDS = 2
_BUFFER = 4 << 20


class Arena:
    """Where frames of all links are received: one batch at a time, and none is kept."""

    __slots__ = ("data", "lengths", "view")

    def __init__(self) -> None:
        self.data = ffi.new("unsigned char[]", BATCH * SLOT)
        self.lengths = ffi.new("uint32_t[]", BATCH)
        self.view = memoryview(ffi.buffer(self.data))


class PacketLink:
    """The packet socket of one interface.

    ``header``: the size of what is in front of each frame; ``gso``: the longest packet that may be handed
    over (without gso: 0); ``csum``: may checksums be left to the host when sending; ``dropped``: frames
    that the host didn't take."""

    __slots__ = (
        "arena", "begin", "csum", "deliver", "dropped", "failed", "fd", "flush", "gso", "hardware",
        "header", "in_octets", "in_packets", "index", "mtu", "name", "out_octets", "out_packets", "socket",
        "taps", "watch",
    )  # fmt: skip

    def __init__(self, link: HostLink, arena: Arena, gso: bool, tx_csum: bool) -> None:
        """Raises ``RunscError`` if there can't be such a socket."""
        self.name = link.name.decode("ascii", "replace")
        self.index = link.index
        self.mtu = link.mtu
        self.hardware = link.hardware
        self.arena = arena
        try:
            # Bound to its interface before it takes any protocol: else it would see all of them.
            self.socket = socket(AF_PACKET, SOCK_RAW | _SOCK_CLOEXEC | _SOCK_NONBLOCK, 0)
        except OSError as error:
            raise RunscError(
                f"no packet socket for {self.name}: {error.strerror}",
                "start runsc with CAP_NET_RAW in its network namespace, or use --network=host or none",
            ) from error
        self.fd = self.socket.fileno()
        try:
            self.socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            self.header = VNET.size
        except OSError:
            self.header = 0
        for level, name, value in (
            (_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1),
            (_SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER),
            (_SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER),
        ):
            try:
                self.socket.setsockopt(level, name, value)
            except OSError:
                continue  # an older host, or not its administrator: it works without
        allmulti = _MREQ.pack(self.index, _PACKET_MR_ALLMULTI, 0, bytes(8))
        self.socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, allmulti)
        self.socket.bind((link.name.decode(), _ETH_P_ALL))
        self.csum = tx_csum and self.header > 0
        self.gso = min(link.gso_max, 65535) if gso and self.csum else 0
        self.dropped = self.in_packets = self.in_octets = self.out_packets = self.out_octets = 0
        self.watch: Watch | None = None
        self.deliver: Callable[[PacketLink, memoryview, int, int, int], None] | None = None
        self.flush: Callable[[], None] | None = None
        self.begin: Callable[[], None] | None = None
        self.failed: Callable[[str, Exception], None] = _raise
        #: who sees every frame: pcap, the log, packet sockets
        self.taps: list[Any] = []

    def start(
        self, poller: HostPoller, deliver: Callable[[PacketLink, memoryview, int, int, int], None],
        flush: Callable[[], None], begin: Callable[[], None], failed: Callable[[str, Exception], None],
    ) -> None:  # fmt: skip
        """Begin to receive: ``begin()`` before each batch, ``deliver(link, view, start, end, flags)`` for
        each frame of it, ``flush()`` after it. ``flags``: of the virtio header."""
        self.deliver = deliver
        self.flush = flush
        self.begin = begin
        self.failed = failed
        self.watch = poller.watch(self.fd, EPOLLIN, self._ready)

    def _ready(self, _events: int) -> None:
        assert self.deliver is not None
        assert self.flush is not None
        assert self.begin is not None
        arena = self.arena
        deliver, view, header, lengths = self.deliver, arena.view, self.header, arena.lengths
        for _ in range(_ROUNDS):
            count = lib.ns_receive(self.fd, arena.data, SLOT, BATCH, lengths)
            if count <= 0:
                if count not in (-EAGAIN, -ENETDOWN, 0):
                    self.dropped += 1
                return
            self.in_packets += count
            self.begin()
            for number in range(count):
                start = number * SLOT
                length = lengths[number]
                if length > SLOT or length < header:
                    self.dropped += 1
                    continue
                self.in_octets += length - header
                if self.taps:
                    frame = bytes(view[start + header : start + length])
                    if header:
                        frame = whole(bytes(view[start : start + header]), frame)
                    for tap in list(self.taps):
                        tap.frame(self, frame, False)
                try:
                    deliver(self, view, start + header, start + length, view[start] if header else 0)
                except Exception as error:
                    # A bug of ours must not be a way to end the sandbox from outside: the frame is lost.
                    self.failed("a frame", error)
            try:
                self.flush()
            except Exception as error:
                self.failed("what a batch of frames left to do", error)
            if count < BATCH:
                return

    def send(self, parts: list[bytes | memoryview]) -> bool:
        """Send one frame, the virtio header in front if there is one; False if the host had no room."""
        if self.taps:
            self._tapped(b"".join(parts))
        try:
            sent = os.writev(self.fd, parts)
        except OSError:
            # The queue is full, the link is down, or its MTU has become smaller: lost, as on any link.
            self.dropped += 1
            return False
        self.out_packets += 1
        self.out_octets += sent - self.header
        return True

    def _tapped(self, frame: bytes) -> None:
        """Show a frame that goes out to those who watch."""
        if self.header:
            frame = whole(frame[: VNET.size], frame[VNET.size :])
        for tap in list(self.taps):
            tap.frame(self, frame, True)

    def close(self) -> None:
        """Idempotent."""
        if self.watch is not None:
            self.watch.close()
            self.watch = None
        self.socket.close()


def _raise(_what: str, error: Exception) -> None:
    raise error


def whole(vnet: bytes, frame: bytes) -> bytes:
    """A frame with the checksum filled in that was left to the link."""
    flags, _, _, _, start, offset = VNET.unpack(vnet)
    at = start + offset
    if not flags & NEEDS_CSUM or at + 2 > len(frame):
        return frame
    check = total(frame[start:]) ^ 0xFFFF
    return frame[:at] + (check or 0xFFFF).to_bytes(2, "big") + frame[at + 2 :]
