"""Interfaces through ioctl(2), of a socket of any family (netdevice(7), net/core/dev_ioctl.c)."""

from __future__ import annotations

from errno import EADDRNOTAVAIL, EINVAL, ENODEV, ENOTTY, EOPNOTSUPP, EPERM

from runsc.abi.inet import (
    IFNAMSIZ,
    IFREQ,
    SIOCADDRT,
    SIOCDELRT,
    SIOCETHTOOL,
    SIOCGIFADDR,
    SIOCGIFBRDADDR,
    SIOCGIFCONF,
    SIOCGIFDSTADDR,
    SIOCGIFFLAGS,
    SIOCGIFHWADDR,
    SIOCGIFINDEX,
    SIOCGIFMAP,
    SIOCGIFMETRIC,
    SIOCGIFMTU,
    SIOCGIFNAME,
    SIOCGIFNETMASK,
    SIOCGIFTXQLEN,
    SIOCSIFADDR,
    SIOCSIFFLAGS,
    SIOCSIFMTU,
    SIOCSIFNETMASK,
)  # fmt: skip
from runsc.abi.socket import AF_INET
from runsc.kernel.errors import LinuxError
from runsc.kernel.socket.devices import devices_of
from runsc.kernel.socket.netlink.change import may_change, set_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.devices import Device
    from runsc.kernel.task import Task

_BY_NAME = frozenset((
    SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFDSTADDR, SIOCGIFBRDADDR, SIOCGIFNETMASK, SIOCGIFMETRIC, SIOCGIFMTU,
    SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFTXQLEN, SIOCGIFMAP,
))  # fmt: skip
_CHANGES = frozenset((SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFMTU, SIOCSIFNETMASK, SIOCADDRT, SIOCDELRT))


def interfaces(task: Task, number: int, arg: int) -> int:
    """Answer a request about interfaces; ENOTTY if it is about something else."""
    if number == SIOCGIFCONF:
        return _list(task, arg)
    if number == SIOCGIFNAME:
        index = int.from_bytes(task.mm.copy_in(arg, IFREQ)[IFNAMSIZ : IFNAMSIZ + 4], "little", signed=True)
        device = devices_of(task.nsproxy.net).by_index(index)
        if device is None:
            raise LinuxError(ENODEV)
        task.mm.copy_out(arg, device.name.ljust(IFNAMSIZ, b"\0"))
        return 0
    if number in _BY_NAME:
        name = task.mm.copy_in(arg, IFREQ)[: IFNAMSIZ - 1].split(b"\0")[0]
        device = devices_of(task.nsproxy.net).by_name(name.split(b":")[0])
        if device is None:
            raise LinuxError(ENODEV)
        task.mm.copy_out(arg + IFNAMSIZ, _answer(device, number))
        return 0
    if number == SIOCSIFFLAGS and may_change(task.nsproxy.net, task.cred):
        request = task.mm.copy_in(arg, IFREQ)
        device = devices_of(task.nsproxy.net).by_name(request[: IFNAMSIZ - 1].split(b"\0")[0])
        if device is None:
            raise LinuxError(ENODEV)
        set_flags(task.nsproxy.net, device, int.from_bytes(request[IFNAMSIZ : IFNAMSIZ + 2], "little"))
        return 0
    if number in _CHANGES:
        raise LinuxError(EPERM)
    if number == SIOCETHTOOL:
        raise LinuxError(EOPNOTSUPP)
    raise LinuxError(ENOTTY)


def _sockaddr(ip: bytes) -> bytes:
    return AF_INET.to_bytes(2, "little") + bytes(2) + ip + bytes(8)


def _answer(device: Device, number: int) -> bytes:
    """The union of struct ifreq that answers the request."""
    if number == SIOCGIFFLAGS:
        return (device.flags & 0xFFFF).to_bytes(2, "little")
    if number == SIOCGIFINDEX:
        return device.index.to_bytes(4, "little")
    if number == SIOCGIFMTU:
        return device.mtu.to_bytes(4, "little")
    if number == SIOCGIFMETRIC:
        return bytes(4)
    if number == SIOCGIFTXQLEN:
        return device.txqlen.to_bytes(4, "little")
    if number == SIOCGIFHWADDR:
        return (device.type.to_bytes(2, "little") + device.hardware).ljust(16, b"\0")
    if number == SIOCGIFMAP:
        return bytes(24)
    for address in device.addresses:
        if address.family == AF_INET:
            if number == SIOCGIFNETMASK:
                return _sockaddr(device.netmask(address))
            if number == SIOCGIFBRDADDR:
                return _sockaddr(address.broadcast or bytes(4))
            return _sockaddr(address.ip)
    raise LinuxError(EADDRNOTAVAIL)


def _list(task: Task, arg: int) -> int:
    """SIOCGIFCONF: struct ifconf is a length and the address of an array of struct ifreq, or none to ask how
    long it would be."""
    length = int.from_bytes(task.mm.copy_in(arg, 4), "little", signed=True)
    addr = task.mm.read_u64(arg + 8)
    if length < 0:
        raise LinuxError(EINVAL)
    entries = [
        (device.name.ljust(IFNAMSIZ, b"\0") + _sockaddr(address.ip)).ljust(IFREQ, b"\0")
        for device in devices_of(task.nsproxy.net).devices
        for address in device.addresses
        if address.family == AF_INET
    ]
    if addr:
        entries = entries[: length // IFREQ]
        if entries:
            task.mm.copy_out(addr, b"".join(entries))
    task.mm.write_u32(arg, len(entries) * IFREQ)
    return 0
