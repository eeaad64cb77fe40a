"""ioctl(2) requests of sockets: queues, and what interfaces there are (netdevice(7)); nothing is changed."""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENOTTY, EPERM
from struct import Struct

from runsc.abi.socket import SIOCGIFCONF, SIOCINQ, SIOCOUTQ
from runsc.kernel.errors import LinuxError
from runsc_net_hostpassthrough._hostsock import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.task import Task

SIOCATMARK = 0x8905
SIOCGIFNAME = 0x8910
SIOCOUTQNSD = 0x894B

#: Those that answer an int.
NUMBERS = (SIOCINQ, SIOCOUTQ, SIOCATMARK, SIOCOUTQNSD)
#: Those that fill in a struct ifreq: NAME, FLAGS, ADDR, DSTADDR, BRDADDR, NETMASK, METRIC, MTU, HWADDR,
#: INDEX, TXQLEN, MAP. All of them read a name from it, but SIOCGIFNAME, which reads an index.
INTERFACE = (
    SIOCGIFNAME, 0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8933, 0x8942, 0x8970,
)  # fmt: skip
#: Those that would change something: routes, interfaces, neighbours.
CHANGES = frozenset((
    0x890B, 0x890C, 0x8914, 0x8916, 0x8918, 0x891A, 0x891C, 0x891E, 0x8922, 0x8923, 0x8924, 0x8931, 0x8932,
    0x8934, 0x8936, 0x8937, 0x8943, 0x8953, 0x8955, 0x8971,
))  # fmt: skip

_IFREQ_SIZE = 40
_IFCONF = Struct("<i4xQ")
#: The longest list of interfaces that is handed out.
_IFCONF_MAX = 1 << 16
_SIZE_OF_INT = 4


def socket_ioctl(task: Task, fd: int, request: int, arg: int) -> int:
    """Answer a request about the host socket ``fd``. Raises ENOTTY for what is not a socket's, EPERM for
    what would change the host."""
    if request in NUMBERS:
        answer = ffi.new("char[]", _SIZE_OF_INT)
        _checked(lib.nh_ioctl(fd, request, answer))
        task.mm.copy_out(arg, bytes(ffi.buffer(answer)))
        return 0
    if request in INTERFACE:
        asked = task.mm.copy_in(arg, _IFREQ_SIZE)
        # The kernel looks at the first 20 bytes, and the rest is the answer's.
        answer = ffi.new("char[]", asked[:20] + bytes(_IFREQ_SIZE - 20))
        _checked(lib.nh_ioctl(fd, request, answer))
        task.mm.copy_out(arg, bytes(ffi.buffer(answer, _IFREQ_SIZE)))
        return 0
    if request == SIOCGIFCONF:
        return _list_interfaces(task, fd, arg)
    if request in CHANGES:
        raise LinuxError(EPERM)
    raise LinuxError(ENOTTY)


def _list_interfaces(task: Task, fd: int, arg: int) -> int:
    """SIOCGIFCONF: addresses of all interfaces, or with no buffer how long the list is."""
    length, buffer = task.mm.unpack(arg, _IFCONF)
    if not buffer:
        task.mm.write_u32(arg, _checked(lib.nh_ifconf(fd, ffi.NULL, 0)))
        return 0
    if length < 0:
        raise LinuxError(EINVAL)
    room = min(length, _IFCONF_MAX)
    found = ffi.new("char[]", room or 1)
    used = _checked(lib.nh_ifconf(fd, found, room))
    if not 0 <= used <= room:
        raise LinuxError(EFAULT)
    task.mm.copy_out(buffer, bytes(ffi.buffer(found, used)))
    task.mm.write_u32(arg, used)
    return 0


def _checked(result: int) -> int:
    if result < 0:
        raise LinuxError(-result)
    return result
