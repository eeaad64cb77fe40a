"""/proc/net: interfaces, and the tables of sockets, as far as the sandbox has them (proc_pid_net(5))."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runsc.kernel.task import Task

    Show = Callable[[Task], str | bytes]

_DEV_HEAD = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls"
    " carrier compressed\n"
)
#: Widths of the sixteen columns (net/core/net-procfs.c).
_DEV_WIDTHS = (7, 7, 4, 4, 4, 5, 10, 9, 8, 7, 4, 4, 4, 5, 7, 10)
_TCP_HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    "                                                     \n"
)
_TCP6_HEAD = (
    "  sl  local_address                         remote_address                        st tx_queue rx_queue "
    "tr"
    " tm->when retrnsmt   uid  timeout inode\n"
)
_UDP_HEAD = (
    "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref "
    "pointer"
    " drops            \n"
)
_RAW_HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref"
    " pointer drops\n"
)
_UDP6_HEAD = (
    "  sl  local_address                         remote_address                        st tx_queue rx_queue "
    "tr"
    " tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
)
_ROUTE_HEAD = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    "                                                       \n"
)
_UNIX_HEAD = "Num       RefCount Protocol Flags    Type St Inode Path\n"
_ARP_HEAD = "IP address       HW type     Flags       HW address            Mask     Device\n"
_PACKET_HEAD = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"
_NETLINK_HEAD = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"

#: What a network plugin's tables may add: the file's name, and the lines behind its heading.
_TABLES = (
    ("arp", _ARP_HEAD),
    ("if_inet6", ""),
    ("ipv6_route", ""),
    ("netlink", _NETLINK_HEAD),
    ("packet", _PACKET_HEAD),
    ("raw", _RAW_HEAD),
    ("raw6", _UDP6_HEAD),
    ("route", _ROUTE_HEAD),
    ("tcp", _TCP_HEAD),
    ("tcp6", _TCP6_HEAD),
    ("udp", _UDP_HEAD),
    ("udp6", _UDP6_HEAD),
    ("unix", _UNIX_HEAD),
)


def net_files(target: Task) -> list[tuple[str, Show]]:
    """Name and text of each file. ``extra["proc_net"]`` of the namespace may hold functions that make the
    lines of a table, by its name; who implements sockets puts them there."""

    def table(name: str, head: str) -> Show:
        def show(reader: Task) -> str:
            lines: Callable[[], str] | None = _tables(target).get(name)
            return head + (lines() if lines is not None else "")

        return show

    files = [(name, table(name, head)) for name, head in _TABLES]
    files.append(("dev", lambda reader: show_dev(target)))
    files.append(("sockstat", lambda reader: _tables(target).get("sockstat", _no_sockets)()))
    files.append(("snmp", lambda reader: _SNMP))
    return sorted(files)


def _tables(target: Task) -> dict[str, Any]:
    """The tables of the network namespace that ``target`` is in."""
    found: dict[str, Any] = target.nsproxy.net.extra.get("proc_net", {})
    return found


def _no_sockets() -> str:
    return (
        "sockets: used 0\n"
        "TCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\n"
        "FRAG: inuse 0 memory 0\n"
    )


_SNMP = (
    "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards "
    "InDelivers"
    " OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails"
    " FragOKs FragFails FragCreates\n"
    "Ip: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab "
    "InSegs OutSegs"
    " RetransSegs InErrs OutRsts InCsumErrors\n"
    "Tcp: 1 200 120000 -1 0 0 0 0 0 0 0 0 0 0 0\n"
    "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti"
    " MemErrors\n"
    "Udp: 0 0 0 0 0 0 0 0 0\n"
)


def show_dev(target: Task) -> str:
    """/proc/net/dev: each interface with its sixteen counters."""
    counters: Callable[[], list[tuple[str, tuple[int, ...]]]] | None = _tables(target).get("dev")
    interfaces = counters() if counters is not None else [("lo", (0,) * 16)]
    lines = [_DEV_HEAD]
    for name, values in interfaces:
        columns = " ".join(f"{value:{width}}" for value, width in zip(values, _DEV_WIDTHS, strict=True))
        lines.append(f"{name:>6}: {columns}\n")
    return "".join(lines)
