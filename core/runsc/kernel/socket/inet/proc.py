"""The tables of internet sockets in /proc/net, and what else is there of the loopback (proc_pid_net(5))."""

from __future__ import annotations

from runsc.abi.inet import TCP_LISTEN
from runsc.abi.socket import AF_INET, AF_INET6
from runsc.kernel.socket.devices import RT_TABLE_LOCAL, RTN_LOCAL, devices_of
from runsc.kernel.socket.inet.addresses import ANY4, ANY6
from runsc.kernel.socket.inet.stack import TimeWait, loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.nsproxy import NetNamespace
    from runsc.kernel.socket.inet.addresses import Endpoint
    from runsc.kernel.socket.inet.datagram import UdpSocket
    from runsc.kernel.socket.inet.stream import TcpSocket

#: Lines of the IPv4 tables are padded to this (TMPSZ).
_TCP_WIDTH, _UDP_WIDTH, _ROUTE_WIDTH = 149, 127, 127


def install(net: Kernel | NetNamespace) -> None:
    """Register the tables, and count what goes through the interface."""
    stack = loopback(net)
    devices = devices_of(net)

    def counters() -> tuple[int, int, int, int]:
        return stack.packets, stack.octets, stack.packets, stack.octets

    for device in devices.devices:
        if device.name == b"lo":
            device.counters = counters
    tables = net.extra.setdefault("proc_net", {})
    tables["tcp"] = lambda: _tcp(net, AF_INET)
    tables["tcp6"] = lambda: _tcp(net, AF_INET6)
    tables["udp"] = lambda: _udp(net, AF_INET)
    tables["udp6"] = lambda: _udp(net, AF_INET6)
    tables["dev"] = lambda: _dev(net)
    tables["if_inet6"] = lambda: _if_inet6(net)
    tables["route"] = lambda: _route(net)
    tables["ipv6_route"] = lambda: _ipv6_route(net)
    tables["sockstat"] = lambda: _sockstat(net)


def _hex(endpoint: Endpoint, family: int) -> str:
    """An endpoint as the tables show it: words of the address as the processor reads them, and the port."""
    ip, port = endpoint
    if family == AF_INET:
        ip = ip[12:]
    words = "".join(f"{int.from_bytes(ip[at : at + 4], 'little'):08X}" for at in range(0, len(ip), 4))
    return f"{words}:{port:04X}"


def _entries(net: Kernel | NetNamespace) -> Iterator[TcpSocket | TimeWait]:
    """Listening sockets, then connections."""
    stack = loopback(net)
    stack.expire()
    for listeners in stack.listeners.values():
        yield from listeners
    yield from list(stack.connections.values())


def _tcp(net: Kernel | NetNamespace, family: int) -> str:
    """/proc/net/tcp, tcp6 (tcp4_seq_show)."""
    lines: list[str] = []
    anywhere = (ANY4 if family == AF_INET else ANY6, 0)
    for entry in _entries(net):
        if entry.family != family:
            continue
        local, remote = _hex(entry.local, family), _hex(entry.remote or anywhere, family)
        if isinstance(entry, TimeWait):
            rest = "00000000:00000000 03:00000000 00000000     0        0 0 3 0000000000000000"
        else:
            if entry.state == TCP_LISTEN:
                sent, waiting, tail = 0, len(entry.accepted), "100 0 0 10 0"
            else:
                sent, waiting, tail = entry.unsent_bytes(), entry.pending_bytes(), "20 0 0 10 -1"
            ino = 0 if entry.gone else entry.inode.ino
            rest = (
                f"{sent:08X}:{waiting:08X} 00:00000000 00000000 {entry.uid:5d} {0:8d} {ino} 1 "
                f"0000000000000000 {tail}"
            )
        line = f"{len(lines):4d}: {local} {remote} {entry.state:02X} {rest}"
        lines.append((line.ljust(_TCP_WIDTH) if family == AF_INET else line) + "\n")
    return "".join(lines)


def _udp(net: Kernel | NetNamespace, family: int) -> str:
    """/proc/net/udp, udp6 (udp4_format_sock)."""
    lines = []
    anywhere = (ANY4 if family == AF_INET else ANY6, 0)
    for port, owners in sorted(loopback(net).udp.owners.items()):
        for owner in owners:
            socket: UdpSocket = owner  # type: ignore[assignment]
            if socket.family != family:
                continue
            line = (
                f"{port:5d}: {_hex(socket.local, family)} {_hex(socket.remote or anywhere, family)} "
                f"{socket.state:02X} 00000000:{socket.used:08X} 00:00000000 00000000 {socket.uid:5d} {0:8d} "
                f"{socket.inode.ino} 2 0000000000000000 {socket.dropped}"
            )
            lines.append((line.ljust(_UDP_WIDTH) if family == AF_INET else line) + "\n")
    return "".join(lines)


def _dev(net: Kernel | NetNamespace) -> list[tuple[str, tuple[int, ...]]]:
    found = []
    for device in devices_of(net).devices:
        received, in_octets, sent, out_octets = device.counters()
        values = (in_octets, received, *[0] * 6, out_octets, sent, *[0] * 6)
        found.append((device.name.decode("ascii", "replace"), values))
    return found


def _if_inet6(net: Kernel | NetNamespace) -> str:
    """Address, interface, prefix, scope, flags (permanent), name."""
    return "".join(
        f"{address.ip.hex()} {device.index:02x} {address.prefix:02x} "
        f"{0x10 if address.ip == bytes(15) + bytes((1,)) else 0:02x} 80 {device.name.decode():>8}\n"
        for device in devices_of(net).devices
        for address in device.addresses
        if address.family == AF_INET6
    )


def _route(net: Kernel | NetNamespace) -> str:
    """/proc/net/route: the main table (fib_route_seq_show)."""
    devices = devices_of(net)
    lines = []
    for route in devices.routes:
        device = devices.by_index(route.index)
        if route.family != AF_INET or route.table == RT_TABLE_LOCAL or device is None:
            continue
        mask = 0xFFFFFFFF << (32 - route.prefix) & 0xFFFFFFFF
        gateway = int.from_bytes(route.gateway, "little")
        line = (
            f"{device.name.decode()}\t{int.from_bytes(route.network, 'little'):08X}\t{gateway:08X}\t"
            f"{3 if gateway else 1:04X}\t0\t0\t{route.priority}\t"
            f"{int.from_bytes(mask.to_bytes(4, 'big'), 'little'):08X}\t0\t0\t0"
        )
        lines.append(line.ljust(_ROUTE_WIDTH) + "\n")
    return "".join(lines)


def _ipv6_route(net: Kernel | NetNamespace) -> str:
    """/proc/net/ipv6_route: the routes, behind each other (rt6_info_route)."""
    devices = devices_of(net)
    lines = []
    for route in devices.routes:
        device = devices.by_index(route.index)
        if route.family == AF_INET6 and device is not None:
            flags = 0x80200001 if route.kind == RTN_LOCAL else 0x00000001
            gateway = (route.gateway or bytes(16)).hex()
            lines.append(
                f"{route.network.hex()} {route.prefix:02x} {bytes(16).hex()} 00 {gateway} "
                f"{route.priority:08x} 00000002 00000000 {flags:08x} {device.name.decode():>8}\n"
            )
    return "".join(lines)



def _sockstat(net: Kernel | NetNamespace) -> str:
    """/proc/net/sockstat: the protocols' lines."""
    stack = loopback(net)
    tcp = [entry for entry in _entries(net) if not isinstance(entry, TimeWait)]
    orphans = sum(1 for entry in tcp if entry.gone)
    udp = sum(len(owners) for owners in stack.udp.owners.values())
    waiting = len(stack.connections) + sum(map(len, stack.listeners.values())) - len(tcp)
    return (
        f"sockets: used {len(tcp) + udp}\n"
        f"TCP: inuse {len(tcp)} orphan {orphans} tw {waiting} alloc {len(tcp)} mem 0\n"
        f"UDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
    )
