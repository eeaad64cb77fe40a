"""The host's interfaces, for requests that don't come through a socket of ours: local sockets answer
netdevice(7) too, and the C library asks them first."""

from __future__ import annotations

import os
from struct import Struct

from runsc.abi.socket import AF_INET, AF_INET6, AF_NETLINK, SOCK_RAW
from runsc.kernel.socket.devices import Address, Device, Devices
from runsc_net_hostpassthrough._hostsock import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NLMSGHDR = Struct("<IHHII")
_IFINFOMSG = Struct("<BxHiII")
_IFADDRMSG = Struct("<BBBBI")
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22
_IFLA_ADDRESS, _IFLA_BROADCAST, _IFLA_IFNAME, _IFLA_MTU, _IFLA_TXQLEN = 1, 2, 3, 4, 13
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_TYPE_MASK = 0x3FFF
_ROOM = 1 << 16
_SEQUENCE = 1


class HostDevices(Devices):
    """The interfaces, asked of the host anew whenever one is looked for."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        super().__init__()
        self._buffer = ffi.new("char[]", _ROOM)
        self.refresh()

    def by_name(self, name: bytes) -> Device | None:
        self.refresh()
        return super().by_name(name)

    def by_index(self, index: int) -> Device | None:
        self.refresh()
        return super().by_index(index)

    def refresh(self) -> None:
        """Read the list; it stays as it is if the host doesn't answer."""
        fd = lib.nh_socket(AF_NETLINK, SOCK_RAW, 0)
        if fd < 0:
            return
        try:
            found: dict[int, Device] = {}
            for kind, body in self._dump(fd, _RTM_GETLINK):
                if kind == _RTM_NEWLINK and len(body) >= _IFINFOMSG.size:
                    device = _device(body)
                    found[device.index] = device
            for kind, body in self._dump(fd, _RTM_GETADDR):
                if kind == _RTM_NEWADDR and len(body) >= _IFADDRMSG.size:
                    _add_address(found, body)
        finally:
            os.close(fd)
        if found:
            self.devices[:] = found.values()

    def _dump(self, fd: int, kind: int) -> Iterator[tuple[int, bytes]]:
        """(type, body) of each message of the answer."""
        body = bytes(_IFINFOMSG.size)
        request = _NLMSGHDR.pack(_NLMSGHDR.size + len(body), kind, _NLM_F_REQUEST_DUMP, _SEQUENCE, 0) + body
        if lib.nh_send(fd, request, len(request), 0) < 0:
            return
        while (length := lib.nh_recv(fd, self._buffer, _ROOM, 0)) > 0:
            data = bytes(ffi.buffer(self._buffer, length))
            at = 0
            while at + _NLMSGHDR.size <= len(data):
                size, what, _flags, _sequence, _port = _NLMSGHDR.unpack_from(data, at)
                if size < _NLMSGHDR.size or what in (_NLMSG_DONE, _NLMSG_ERROR):
                    return
                yield what, data[at + _NLMSGHDR.size : at + size]
                at += (size + 3) & ~3


def _attributes(data: bytes, at: int) -> dict[int, bytes]:
    """The attributes (struct rtattr) from ``at`` on, by type."""
    found: dict[int, bytes] = {}
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 2], "little")
        if size < 4:
            break
        kind = int.from_bytes(data[at + 2 : at + 4], "little") & _TYPE_MASK
        found[kind] = data[at + 4 : at + size]
        at += (size + 3) & ~3
    return found


def _device(body: bytes) -> Device:
    _family, kind, index, flags, _change = _IFINFOMSG.unpack_from(body)
    values = _attributes(body, _IFINFOMSG.size)
    return Device(
        index,
        values.get(_IFLA_IFNAME, b"").rstrip(b"\0"),
        kind,
        flags,
        int.from_bytes(values.get(_IFLA_MTU, b""), "little"),
        values.get(_IFLA_ADDRESS, bytes(6)),
        values.get(_IFLA_BROADCAST, bytes(6)),
        int.from_bytes(values.get(_IFLA_TXQLEN, b""), "little"),
    )


def _add_address(devices: dict[int, Device], body: bytes) -> None:
    family, prefix, _flags, scope, index = _IFADDRMSG.unpack_from(body)
    values = _attributes(body, _IFADDRMSG.size)
    ip = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS) or b""
    device = devices.get(index)
    if device is not None and len(ip) == {AF_INET: 4, AF_INET6: 16}.get(family):
        device.addresses.append(Address(ip, prefix, scope, values.get(_IFA_BROADCAST, b"")))
