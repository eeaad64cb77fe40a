"""Options at SOL_TCP (tcp(7), net/ipv4/tcp.c: do_tcp_setsockopt, do_tcp_getsockopt), TCP_INFO among them."""

from __future__ import annotations

from errno import EINVAL, ENOENT, ENOPROTOOPT, EPERM
from struct import Struct

from runsc.abi.inet import (
    IPPROTO_TCP,
    TCP_CA_NAME_MAX,
    TCP_CLOSE,
    TCP_CONGESTION,
    TCP_CORK,
    TCP_DEFER_ACCEPT,
    TCP_FASTOPEN,
    TCP_FASTOPEN_CONNECT,
    TCP_FASTOPEN_NO_COOKIE,
    TCP_INFO,
    TCP_INQ,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    TCP_LINGER2,
    TCP_LISTEN,
    TCP_MAXSEG,
    TCP_NODELAY,
    TCP_NOTSENT_LOWAT,
    TCP_QUICKACK,
    TCP_REPAIR,
    TCP_SYNCNT,
    TCP_THIN_DUPACK,
    TCP_THIN_LINEAR_TIMEOUTS,
    TCP_TIMESTAMP,
    TCP_TX_DELAY,
    TCP_USER_TIMEOUT,
    TCP_WINDOW_CLAMP,
)  # fmt: skip
from runsc.abi.socket import SOMAXCONN
from runsc.kernel.errors import LinuxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.socket.inet.stream import TcpSocket


# Names that only the kernel's own headers have.
TCP_SAVE_SYN = 27
TCP_SAVED_SYN = 28
TCP_ULP = 31

#: Numbers: default, least, most.
_NUMBERS = {
    TCP_NODELAY: (0, None, None), TCP_CORK: (0, None, None), TCP_QUICKACK: (1, None, None),
    TCP_KEEPIDLE: (7200, 1, 32767), TCP_KEEPINTVL: (75, 1, 32767), TCP_KEEPCNT: (9, 1, 127), TCP_SYNCNT:
    (6, 1, 127), TCP_LINGER2: (60, None, None), TCP_DEFER_ACCEPT: (0, None, None), TCP_WINDOW_CLAMP: (0,
    None, None), TCP_USER_TIMEOUT: (0, 0, None), TCP_FASTOPEN: (0, 0, None), TCP_FASTOPEN_CONNECT: (0,
    0, 1), TCP_FASTOPEN_NO_COOKIE: (0, 0, 1), TCP_NOTSENT_LOWAT: (0, None, None), TCP_INQ: (0, 0, 1),
    TCP_THIN_LINEAR_TIMEOUTS: (0, 0, 1), TCP_THIN_DUPACK: (0, 0, 1), TCP_TX_DELAY: (0, 0, 0),
    TCP_SAVE_SYN: (0, 0, 2),
}  # fmt: skip
_SWITCHES = frozenset((TCP_NODELAY, TCP_CORK, TCP_QUICKACK))
#: What congestion controls there are: nothing is ever lost, so their names are all there is to them.
_CONGESTION = (b"cubic", b"reno")
#: The segment size before and after the connection is made.
_MSS_UNKNOWN, _MSS = 536, 32768
#: The loopback's MTU, and what an IPv4 packet of it has for data.
_PMTU, _ADVMSS = 65535, 65483
_FIN_TIMEOUT = 60
_FIN_TIMEOUT_MAX = 120
_RTO_MAX = 120
#: What tcp_info tells that only packets have: time-outs and the round trip in microseconds.
_RTO_US, _ATO_US, _RTT_US = 204000, 40000, 20
#: Time stamps, selective acknowledgements and window scaling are agreed on, each by a factor of 2^10.
_INFO_OPTIONS, _INFO_SCALES = 7, 0xAA

#: struct tcp_info: eight bytes, numbers from tcpi_rto to tcpi_total_retrans, then from tcpi_pacing_rate on.
INFO_HEAD = Struct("<8B24I")
INFO_TAIL = Struct("<4Q6I4Q2I2Q6IHHI")
INFO_SIZE = INFO_HEAD.size + INFO_TAIL.size


def set_tcp(socket: TcpSocket, name: int, value: bytes) -> None:
    """setsockopt(2) at SOL_TCP."""
    key = (IPPROTO_TCP, name)
    if name == TCP_CONGESTION:
        wanted = value[: TCP_CA_NAME_MAX - 1].split(b"\0")[0]
        if not value:
            raise LinuxError(EINVAL)
        if wanted not in _CONGESTION:
            raise LinuxError(ENOENT)
        socket.levels[key] = _CONGESTION.index(wanted)
        return
    if name == TCP_ULP:
        raise LinuxError(ENOENT if value else EINVAL)
    if len(value) < 4:
        raise LinuxError(EINVAL)
    number = int.from_bytes(value[:4], "little", signed=True)
    if name == TCP_MAXSEG:
        if number and not 88 <= number <= 32767:
            raise LinuxError(EINVAL)
        socket.levels[key] = number
        return
    if name in (TCP_TIMESTAMP, TCP_REPAIR):
        raise LinuxError(EPERM)
    if name not in _NUMBERS:
        raise LinuxError(ENOPROTOOPT)
    _, least, most = _NUMBERS[name]
    if (least is not None and number < least) or (most is not None and number > most):
        raise LinuxError(EINVAL)
    if socket.state != TCP_CLOSE and (
        name == TCP_FASTOPEN_CONNECT
        or (name == TCP_FASTOPEN and socket.state != TCP_LISTEN)
        or (name == TCP_WINDOW_CLAMP and not number)
    ):
        raise LinuxError(EINVAL)
    if name in _SWITCHES:
        number = int(number != 0)
    elif name == TCP_LINGER2:
        number = -1 if number < 0 else min(number, _FIN_TIMEOUT_MAX) or _FIN_TIMEOUT
    elif name == TCP_FASTOPEN:
        number = min(number, SOMAXCONN)
    elif name == TCP_DEFER_ACCEPT:
        number = _deferred_seconds(number)
    socket.levels[key] = number


def _deferred_seconds(seconds: int) -> int:
    """Rounded up to whole tries, of which each takes twice as long (secs_to_retrans, retrans_to_secs)."""
    if seconds <= 0:
        return 0
    total = step = tries = 1
    while total < seconds and tries < 255:
        tries += 1
        step = min(step * 2, _RTO_MAX)
        total += step
    return total


def get_tcp(socket: TcpSocket, name: int, length: int) -> bytes:
    """getsockopt(2) at SOL_TCP."""
    key = (IPPROTO_TCP, name)
    levels = socket.levels
    if name == TCP_INFO:
        return socket.wire.info() if socket.wire is not None else tcp_info(socket)
    if name == TCP_CONGESTION:
        return _CONGESTION[levels.get(key, 0)].ljust(TCP_CA_NAME_MAX, b"\0")
    if name in (TCP_ULP, TCP_SAVED_SYN):
        return b""
    if name in (TCP_REPAIR, TCP_THIN_DUPACK):
        number = 0
    elif name == TCP_MAXSEG:
        number = levels.get(key, 0)
        if socket.state not in (TCP_CLOSE, TCP_LISTEN):
            number = min(number or _MSS, _MSS) if socket.wire is None else socket.wire.mss()
        elif not number:
            number = _MSS_UNKNOWN
    elif name == TCP_WINDOW_CLAMP and key not in levels:
        number = 65536 if socket.state not in (TCP_CLOSE, TCP_LISTEN) else 0
    elif name == TCP_QUICKACK:
        number = levels.get(key, 1)
    elif name in _NUMBERS:
        number = levels.get(key, _NUMBERS[name][0])
    else:
        raise LinuxError(ENOPROTOOPT)
    return (number & 0xFFFFFFFF).to_bytes(4, "little")


def tcp_info(socket: TcpSocket) -> bytes:
    """struct tcp_info (linux/tcp.h): the state, the sizes and the counts are the socket's; what only packets
    on a wire have (losses, retransmissions) is 0, and the round trip is that of a loopback."""
    state = socket.state
    if state == TCP_LISTEN:
        counts = (len(socket.accepted), socket.backlog)
        head = INFO_HEAD.pack(state, *[0] * 7, 0, 0, 0, 0, *counts, *[0] * 18)
        return head.ljust(INFO_SIZE, b"\0")
    made = state != TCP_CLOSE or socket.sent > 0 or socket.received > 0
    mss = _MSS if made else _MSS_UNKNOWN
    options, scales = (_INFO_OPTIONS, _INFO_SCALES) if made else (0, 0)
    unsent = socket.unsent_bytes()
    segments_out = -(-socket.sent // _MSS)
    received = socket.received + min(socket.queued, socket.window)
    segments_in = -(-received // _MSS)
    head = INFO_HEAD.pack(
        state, 0, 0, 0, 0, options, scales, 0,
        _RTO_US, _ATO_US, mss, min(mss, _ADVMSS),
        *[0] * 9,
        _PMTU, socket.window, _RTT_US, _RTT_US // 2, 0x7FFFFFFF, 10, _ADVMSS, 3, 0, socket.window, 0,
    )  # fmt: skip
    window = socket.peer.window if socket.peer is not None else 0
    tail = INFO_TAIL.pack(
        0, 0xFFFFFFFFFFFFFFFF, socket.sent - unsent, received,
        segments_out, segments_in, unsent, _RTT_US, segments_in, segments_out,
        0, 0, 0, 0,
        segments_out, 0,
        socket.sent - unsent, 0,
        0, 0, 0, window, socket.window, 0,
        0, 0, 0,
    )  # fmt: skip
    return head + tail
