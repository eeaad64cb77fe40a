"""Every packet written down: to a file in pcap format (``--pcap-log``), and in words to the debug log
(``--log-packets``)."""

from __future__ import annotations

import os
from struct import Struct
from time import time_ns

from runsc.errors import RunscError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc_net_netstack.link import PacketLink

_FILE = Struct("<IHHiIII")
_RECORD = Struct("<IIII")
#: The format's magic number with nanoseconds, and the number of Ethernet.
_MAGIC, _ETHERNET = 0xA1B23C4D, 1
_SNAPLEN = 262144
_PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 136: "UDPLITE"}
_FLAGS = "FSRPAUEC"


class Pcap:
    """A file that takes frames. Opened before the jail is closed."""

    __slots__ = ("fd",)

    def __init__(self, path: str) -> None:
        """Raises ``RunscError``."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self.fd = os.open(path, flags, 0o600)
            os.write(self.fd, _FILE.pack(_MAGIC, 2, 4, 0, 0, _SNAPLEN, _ETHERNET))
        except OSError as error:
            raise RunscError(
                f"--pcap-log={path}: {error.strerror}", "name a file in a directory that can be written"
            ) from error

    def frame(self, link: PacketLink, frame: bytes, outgoing: bool) -> None:
        seconds, ns = divmod(time_ns(), 1_000_000_000)
        size = len(frame)
        try:
            os.writev(self.fd, [_RECORD.pack(seconds, ns, size, size), frame])
        except OSError:
            return  # the disk is full: packets go on without being written down

    def close(self) -> None:
        """Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Words:
    """Tells the log of each frame in a line."""

    __slots__ = ("tell",)

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell

    def frame(self, link: PacketLink, frame: bytes, outgoing: bool) -> None:
        self.tell(f"{link.name} {'out' if outgoing else 'in'}: {describe(frame)}")

    def close(self) -> None:
        """There is nothing to give back."""


def _ip(raw: bytes) -> str:
    if len(raw) == 4:
        return ".".join(map(str, raw))
    return ":".join(raw[at : at + 2].hex() for at in range(0, 16, 2))


def describe(frame: bytes) -> str:
    """A frame in words."""
    kind = frame[12:14]
    if kind == b"\x08\x06" and len(frame) >= 42:
        operation = {1: "who has", 2: "reply"}.get(frame[21], str(frame[21]))
        return f"ARP {operation} {_ip(frame[38:42])} from {_ip(frame[28:32])} {frame[22:28].hex(':')}"
    if kind == b"\x08\x00" and len(frame) >= 34:
        start = 14 + (frame[14] & 15) * 4
        protocol, source, target = frame[23], frame[26:30], frame[30:34]
        if (frame[20] & 0x3F or frame[21]) and (frame[20] & 0x1F or frame[21]):
            return f"IPv4 {_ip(source)} > {_ip(target)} fragment of protocol {protocol}, {len(frame)} bytes"
    elif kind == b"\x86\xdd" and len(frame) >= 54:
        start = 54
        protocol, source, target = frame[20], frame[22:38], frame[38:54]
    else:
        return f"Ethernet type {kind.hex()}, {len(frame)} bytes"
    name = _PROTOCOLS.get(protocol, f"protocol {protocol}")
    ends = f"{_ip(source)} > {_ip(target)}"
    if protocol in (6, 17, 136) and len(frame) >= start + 8:
        ends = (
            f"{_ip(source)}:{int.from_bytes(frame[start : start + 2], 'big')} > "
            f"{_ip(target)}:{int.from_bytes(frame[start + 2 : start + 4], 'big')}"
        )
    if protocol == 6 and len(frame) >= start + 20:
        seq = int.from_bytes(frame[start + 4 : start + 8], "big")
        ack = int.from_bytes(frame[start + 8 : start + 12], "big")
        flags = "".join(letter for bit, letter in enumerate(_FLAGS) if frame[start + 13] >> bit & 1)
        length = len(frame) - start - (frame[start + 12] >> 4) * 4
        window = int.from_bytes(frame[start + 14 : start + 16], "big")
        return f"{name} {ends} [{flags}] seq {seq} ack {ack} win {window} length {length}"
    if protocol in (1, 58) and len(frame) >= start + 2:
        return f"{name} {ends} type {frame[start]} code {frame[start + 1]}, {len(frame) - start} bytes"
    return f"{name} {ends}, {len(frame) - start} bytes"
