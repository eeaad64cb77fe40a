"""Requests that change a network namespace (rtnetlink(7)): the loopback of one that tasks made themselves can
be set up and down and be given addresses; everything else is not there to be changed."""

from __future__ import annotations

from errno import EADDRNOTAVAIL, EEXIST, EINVAL, ENODEV, EOPNOTSUPP, EPERM

from runsc.abi.inet import IFF_LOWER_UP, IFF_RUNNING, IFF_UP
from runsc.abi.netlink import (
    IFA_ADDRESS,
    IFA_LOCAL,
    IFADDRMSG,
    IFINFOMSG,
    IFLA_IFNAME,
    RTM_DELADDR,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_SETLINK,
)
from runsc.abi.socket import AF_INET, AF_INET6
from runsc.kernel.credentials import CAP_NET_ADMIN
from runsc.kernel.errors import LinuxError
from runsc.kernel.nsproxy import NET_INIT_INO
from runsc.kernel.socket.devices import Address, Devices, devices_of, loopback_device
from runsc.kernel.socket.inet.stack import loopback
from runsc.kernel.socket.netlink.route import attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.credentials import Credentials
    from runsc.kernel.nsproxy import NetNamespace
    from runsc.kernel.socket.devices import Device

_REPLACE = 0x100
_UP = IFF_UP | IFF_RUNNING | IFF_LOWER_UP
#: Most addresses of an interface: a bound on what guests can keep here.
_MAX_ADDRESSES = 1024


def may_change(net: NetNamespace, cred: Credentials) -> bool:
    """Is it a namespace made in the sandbox (the first one is as the host gave it), and ``cred`` its
    administrator's?"""
    return net.inum != NET_INIT_INO and cred.ns_capable(net.user_ns, CAP_NET_ADMIN)


def change(net: NetNamespace, cred: Credentials, kind: int, flags: int, body: bytes) -> None:
    """Carry out a request. Raises EPERM, EINVAL, ENODEV, EEXIST, EADDRNOTAVAIL, EOPNOTSUPP."""
    if not may_change(net, cred):
        raise LinuxError(EPERM)
    if kind in (RTM_NEWLINK, RTM_SETLINK):
        if len(body) < IFINFOMSG.size:
            raise LinuxError(EINVAL)
        _family, _pad, _type, index, wanted, mask = IFINFOMSG.unpack_from(body)
        name = attributes(body[IFINFOMSG.size :]).get(IFLA_IFNAME, b"").split(b"\0")[0]
        devices = devices_of(net)
        device = devices.by_index(index) if index > 0 else devices.by_name(name)
        if device is None:
            raise LinuxError(ENODEV if index > 0 else EOPNOTSUPP)
        set_flags(net, device, wanted & mask | device.flags & ~mask if mask else wanted)
    elif kind in (RTM_NEWADDR, RTM_DELADDR):
        _change_address(net, kind == RTM_NEWADDR, flags, body)
    else:
        raise LinuxError(EOPNOTSUPP)


def _change_address(net: NetNamespace, add: bool, flags: int, body: bytes) -> None:
    if len(body) < IFADDRMSG.size:
        raise LinuxError(EINVAL)
    family, prefix, _flags, scope, index = IFADDRMSG.unpack_from(body)
    given = attributes(body[IFADDRMSG.size :])
    ip = given.get(IFA_LOCAL, given.get(IFA_ADDRESS, b""))
    if len(ip) != {AF_INET: 4, AF_INET6: 16}.get(family, -1) or prefix > 8 * len(ip):
        raise LinuxError(EINVAL)
    device = devices_of(net).by_index(index)
    if device is None:
        raise LinuxError(ENODEV)
    found = [address for address in device.addresses if address.ip == ip]
    if not add:
        if not found:
            raise LinuxError(EADDRNOTAVAIL)
        device.addresses.remove(found[0])
    elif not found:
        if len(device.addresses) >= _MAX_ADDRESSES:
            raise LinuxError(EINVAL)
        device.addresses.append(Address(ip, prefix, scope))
    elif not flags & _REPLACE:
        raise LinuxError(EEXIST)


def set_flags(net: NetNamespace, device: Device, flags: int) -> None:
    """Set the loopback up, with its addresses, or down."""
    up = bool(flags & IFF_UP)
    if up == bool(device.flags & IFF_UP):
        return
    loopback(net).up = up
    devices = devices_of(net)
    if up:
        device.flags |= _UP
        for address in loopback_device().addresses:
            if all(other.ip != address.ip for other in device.addresses):
                device.addresses.append(address)
        devices.routes = Devices().routes
    else:
        device.flags &= ~_UP
        devices.routes = []
        device.addresses = [address for address in device.addresses if address.family == AF_INET]
