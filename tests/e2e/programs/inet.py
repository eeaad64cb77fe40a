"""What Internet sockets do, printed: run natively and in a sandbox the output must be the same.

usage: inet.py GROUP. Everything stays on the loopback interface; ports are chosen by the system, not printed.
"""

import array
import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from socket import AF_INET, AF_INET6, AF_UNIX, SO_ERROR, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, SOL_SOCKET

LOCAL = "127.0.0.1"
libc = ctypes.CDLL(None, use_errno=True)
EVENTS = {
    "IN": 1, "PRI": 2, "OUT": 4, "ERR": 8, "HUP": 16, "RDNORM": 64, "RDBAND": 128, "WRNORM": 256, "WRBAND": 512,
    "RDHUP": 8192,
}  # fmt: skip


def show(what, *values):
    print(what, *values, flush=True)


def attempt(what, call, *args):
    """Print what ``call`` answers, or the name of its error."""
    try:
        result = call(*args)
    except OSError as error:
        result = errno.errorcode.get(error.errno, type(error).__name__)
    show(what, result)


def names(events):
    return "|".join(name for name, bit in EVENTS.items() if events & bit) or "0"


def ready(sock, timeout=0):
    """All that poll(2) has to say about a socket."""
    poll = select.poll()
    poll.register(sock, 0x23DF)
    found = poll.poll(timeout)
    return names(found[0][1]) if found else "0"


def listener(family=AF_INET, backlog=8):
    sock = socket.socket(family, SOCK_STREAM)
    sock.bind((LOCAL if family == AF_INET else "::1", 0))
    sock.listen(backlog)
    return sock


def pair(family=AF_INET):
    server = listener(family)
    client = socket.socket(family, SOCK_STREAM)
    client.connect(server.getsockname())
    accepted, _ = server.accept()
    server.close()
    return client, accepted


def settle(sock, wanted, patience=5.0):
    """Wait until poll(2) reports ``wanted``: what was sent takes its time even on the loopback."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if EVENTS[wanted] & sum(EVENTS[n] for n in ready(sock).split("|") if n != "0"):
            return
        time.sleep(0.002)
    show("never", wanted)


def raw_connect(sock, address):
    result = libc.connect(sock.fileno(), address, len(address))
    return result if result == 0 else errno.errorcode[ctypes.get_errno()]


def raw_bind(sock, address):
    result = libc.bind(sock.fileno(), address, len(address))
    return result if result == 0 else errno.errorcode[ctypes.get_errno()]


def errors():
    for family, kind, protocol in [
        (AF_INET, SOCK_STREAM, 17), (AF_INET, SOCK_DGRAM, 6), (AF_INET, SOCK_STREAM, -1), (AF_INET, 5, 0),
        (AF_INET, SOCK_STREAM, 1000), (AF_INET, 4, 0), (AF_INET6, SOCK_DGRAM, 1), (AF_INET, SOCK_RAW, 0),
        (AF_INET6, SOCK_STREAM, 6), (AF_INET, SOCK_DGRAM, 17),
    ]:  # fmt: skip
        attempt(f"socket {family} {kind} {protocol}", lambda *a: bool(socket.socket(*a)), family, kind, protocol)
    tcp = socket.socket(AF_INET, SOCK_STREAM)
    show("new", ready(tcp), tcp.getsockname())
    attempt("getpeername", tcp.getpeername)
    attempt("accept", tcp.accept)
    attempt("shutdown", tcp.shutdown, 2)
    attempt("recv", tcp.recv, 1)
    attempt("send", tcp.send, b"x", socket.MSG_NOSIGNAL)
    gone = socket.socket(AF_INET, SOCK_STREAM)
    gone.bind((LOCAL, 0))
    refused = gone.getsockname()
    attempt("bind in use", tcp.bind, refused)
    attempt("bind twice", gone.bind, (LOCAL, 0))
    attempt("bind elsewhere", tcp.bind, ("198.51.100.1", 0))
    attempt("refused", tcp.connect, refused)
    attempt("refused again", tcp.connect, refused)
    show("after", ready(tcp))
    for length in (0, 1, 2, 8, 15):
        show("short connect", length, raw_connect(tcp, struct.pack("<H14x", AF_INET)[:length]))
        show("short bind", length, raw_bind(tcp, struct.pack("<H14x", AF_INET)[:length]))
    for family in (0, 1, 10, 16, 17, 99):
        show("family", family, raw_connect(tcp, struct.pack("<HH4B8x", family, 1, 127, 0, 0, 1)))
        fresh = socket.socket(AF_INET, SOCK_STREAM)
        show("family bind", family, raw_bind(fresh, struct.pack("<HH4B8x", family, 0, 127, 0, 0, 1)))
    attempt("listen connected", pair()[0].listen, 1)
    client, server = pair()
    attempt("connect twice", client.connect, server.getsockname())
    server.close()
    settle(client, "RDHUP")
    show("peer closed", ready(client))
    attempt("first send", client.send, b"x")
    time.sleep(0.05)  # the answer is a reset
    caught = []
    signal.signal(signal.SIGPIPE, lambda *a: caught.append(a[0]))
    attempt("second send", client.send, b"x")
    attempt("without a signal", client.send, b"x", socket.MSG_NOSIGNAL)
    show("signals", caught)
    udp = socket.socket(AF_INET, SOCK_DGRAM)
    attempt("no destination", udp.send, b"x")
    attempt("too long", udp.sendto, bytes(70000), (LOCAL, 9))
    attempt("port 0", udp.sendto, b"x", (LOCAL, 0))
    attempt("broadcast", udp.sendto, b"x", ("255.255.255.255", 9))
    attempt("udp listen", udp.listen, 1)
    attempt("udp accept", udp.accept)
    udp.connect(refused)
    attempt("to nobody", udp.send, b"x")
    settle(udp, "ERR")
    show("unreachable", ready(udp))
    attempt("told", udp.send, b"x")
    time.sleep(0.02)
    show("SO_ERROR", errno.errorcode.get(udp.getsockopt(SOL_SOCKET, SO_ERROR)), udp.getsockopt(SOL_SOCKET, SO_ERROR))
    show("dissolve", raw_connect(udp, struct.pack("<H14x", 0)))
    attempt("dissolved", udp.getpeername)


def streams():
    for family in (AF_INET, AF_INET6):
        client, server = pair(family)
        show("fresh", ready(client), ready(server))
        client.sendall(b"0123456789")
        settle(server, "IN")
        show("readable", ready(server))
        show("FIONREAD", struct.unpack("i", fcntl.ioctl(server, 0x541B, bytes(4)))[0])
        show("peek", server.recv(4, socket.MSG_PEEK), server.recv(4), server.recv(100, socket.MSG_PEEK))
        show("trunc", server.recv(3, socket.MSG_TRUNC))
        show("from", server.recvfrom(1)[1:])
        show("msg", server.recvmsg(100))
        attempt("dontwait", server.recv, 1, socket.MSG_DONTWAIT)
        server.setblocking(False)
        attempt("nonblocking", server.recv, 1)
        attempt("nothing wanted", server.recv, 0)
        server.setblocking(True)
        late = threading.Timer(0.05, client.sendall, [b"abcd"])
        late.start()
        show("wait", server.recv(100))
        late.join()
        client.sendall(b"abc")
        late = threading.Timer(0.05, client.sendall, [b"defg"])
        late.start()
        show("waitall", server.recv(7, socket.MSG_WAITALL))
        late.join()
        client.sendall(b"abc")
        client.shutdown(socket.SHUT_WR)
        show("waitall to the end", server.recv(7, socket.MSG_WAITALL))
        show("half closed", ready(server), server.recv(1), ready(client))
        server.sendall(b"still")
        show("other way", client.recv(10))
        server.shutdown(socket.SHUT_RDWR)
        settle(client, "HUP")
        show("closed", ready(client), ready(server))
        attempt("end", client.recv, 1)
    client, server = pair()
    client.send(b"!", socket.MSG_OOB)
    settle(server, "PRI")
    show("urgent", ready(server), struct.unpack("i", fcntl.ioctl(server, 0x8905, bytes(4)))[0])
    attempt("oob", server.recv, 1, socket.MSG_OOB)
    attempt("no oob", server.recv, 1, socket.MSG_OOB)
    server.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    show("linger", struct.unpack("ii", server.getsockopt(SOL_SOCKET, socket.SO_LINGER, 8)))
    server.close()
    settle(client, "ERR")
    show("reset", ready(client))
    show("SO_ERROR", errno.errorcode[client.getsockopt(SOL_SOCKET, SO_ERROR)], ready(client))
    attempt("recv", client.recv, 1)
    client, server = pair()
    client.setblocking(False)
    sent = 0
    try:
        while True:
            sent += client.send(bytes(1 << 16))
    except BlockingIOError:
        show("full", ready(client), struct.unpack("i", fcntl.ioctl(client, 0x5411, bytes(4)))[0] > 0)
    got = 0
    while got < sent:
        got += len(server.recv(1 << 20))
    settle(client, "OUT")
    show("drained", ready(client), got == sent)
    # Blocking transfer that is larger than any buffer, both ways at once.
    client, server = pair()
    data = os.urandom(5 << 20)
    writer = threading.Thread(target=client.sendall, args=(data,))
    writer.start()
    parts = []
    while sum(map(len, parts)) < len(data):
        parts.append(server.recv(300000))
    writer.join()
    show("large", b"".join(parts) == data)
    server.setsockopt(SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
    server.sendall(b"last words")
    server.close()
    show("lingered", client.recv(100), client.recv(100))
    client, server = pair()
    client.sendmsg([b"a", b"", b"bc"])
    show("vector", server.recvmsg_into([bytearray(1), bytearray(5)])[0])
    os.write(client.fileno(), b"written")
    show("read", os.read(server.fileno(), 100))
    with open("/etc/passwd", "rb") as file:
        text = file.read()
        client.sendfile(file)
        show("sendfile", server.recv(len(text), socket.MSG_WAITALL) == text)


def connecting():
    server = listener()
    sock = socket.socket(AF_INET, SOCK_STREAM)
    sock.setblocking(False)
    show("started", errno.errorcode.get(sock.connect_ex(server.getsockname())))
    settle(sock, "OUT")
    show("SO_ERROR", sock.getsockopt(SOL_SOCKET, SO_ERROR), ready(sock))
    show("again", errno.errorcode.get(sock.connect_ex(server.getsockname()), 0))
    show("again", errno.errorcode.get(sock.connect_ex(server.getsockname()), 0))
    show("peer", sock.getpeername() == server.getsockname())
    gone = socket.socket(AF_INET, SOCK_STREAM)
    gone.bind((LOCAL, 0))
    sock = socket.socket(AF_INET, SOCK_STREAM)
    sock.setblocking(False)
    show("started", errno.errorcode.get(sock.connect_ex(gone.getsockname())))
    settle(sock, "ERR")
    show("refused", ready(sock))
    show("SO_ERROR", errno.errorcode.get(sock.getsockopt(SOL_SOCKET, SO_ERROR)), ready(sock))
    show("once", sock.getsockopt(SOL_SOCKET, SO_ERROR))
    show("again", errno.errorcode.get(sock.connect_ex(gone.getsockname())))
    server.setblocking(False)
    attempt("accept", lambda: bool(server.accept()))
    attempt("accept", server.accept)
    # Ten tasks in accept(2), ten connections at once: everybody gets one.
    server.setblocking(True)
    got = []
    threads = [threading.Thread(target=lambda: got.append(server.accept())) for _ in range(10)]
    for thread in threads:
        thread.start()
    clients = [socket.create_connection(server.getsockname()) for _ in range(10)]
    for thread in threads:
        thread.join(10)
    show("accepted", len(got), sum(thread.is_alive() for thread in threads), len(clients))
    # Processes that share a listening socket.
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            conn, _ = server.accept()
            conn.sendall(conn.recv(10))
            os._exit(0)
        children.append(pid)
    answers = []
    clients = [socket.create_connection(server.getsockname()) for _ in range(4)]
    for index, client in enumerate(clients):
        client.sendall(b"%d" % index)
    for client in clients:
        answers.append(client.recv(10))
    show("forked", answers, [os.waitpid(pid, 0)[1] for pid in children])
    # What an accepted socket has from the one that listened.
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.setsockopt(SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    server.setsockopt(SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 3, 200000))
    client = socket.create_connection(server.getsockname())
    conn, _ = server.accept()
    show("inherited", conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
         conn.getsockopt(SOL_SOCKET, socket.SO_KEEPALIVE),
         struct.unpack("qq", conn.getsockopt(SOL_SOCKET, socket.SO_RCVTIMEO, 16)))  # fmt: skip
    show("same", conn.getpeername() == client.getsockname(), conn.getsockname() == client.getpeername())


def timeouts():
    client, server = pair()
    client.setsockopt(SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 0, 100000))
    client.setsockopt(SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("qq", 0, 100000))
    started = time.monotonic()
    attempt("recv", client.recv, 1)
    show("in time", 0.09 < time.monotonic() - started < 2)
    started = time.monotonic()
    try:
        while True:
            client.send(bytes(1 << 20))
    except OSError as error:
        show("send", errno.errorcode[error.errno], 0.09 < time.monotonic() - started < 5)
    lonely = listener()
    lonely.setsockopt(SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 0, 100000))
    attempt("accept", lonely.accept)
    udp = socket.socket(AF_INET, SOCK_DGRAM)
    udp.bind((LOCAL, 0))
    udp.setsockopt(SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 0, 100000))
    attempt("udp", udp.recvfrom, 1)
    attempt("bad", udp.setsockopt, SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 0, 2000000))
    # Signals: a handler without SA_RESTART ends a wait, one with it doesn't.
    def handler(*_):
        raise InterruptedError(errno.EINTR, "interrupted")

    signal.signal(signal.SIGALRM, handler)
    client, server = pair()
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    attempt("interrupted recv", client.recv, 1)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    attempt("interrupted accept", listener().accept)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    late = threading.Timer(0.15, server.send, [b"x"])
    late.start()
    show("restarted", client.recv(1))
    late.join()


def epolls():
    client, server = pair()
    epoll = select.epoll()

    def wait(timeout=0.0):
        return sorted(names(events) for _, events in epoll.poll(timeout))

    epoll.register(server, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
    show("et: first", wait(), wait(), wait(0.03))
    client.send(b"ab")
    show("et: data", wait(2), wait(), wait(0.03))
    server.recv(1)
    show("et: half read", wait(0.03))
    client.send(b"c")
    show("et: more", wait(2), wait(0.03))
    server.recv(100)
    show("et: drained", wait(0.03))
    epoll.modify(server, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
    show("et: modified", wait(), wait(0.03))
    client.shutdown(socket.SHUT_WR)
    show("et: end", wait(2), wait(0.03))
    server.shutdown(socket.SHUT_WR)
    settle(server, "HUP")
    show("et: both", wait(2), wait(0.03))
    epoll.unregister(server)
    client, server = pair()
    epoll.register(server, select.EPOLLIN)
    show("lt: nothing", wait(), wait(0.03))
    client.send(b"ab")
    show("lt: data", wait(2), wait(), wait())
    server.recv(1)
    show("lt: half read", wait())
    server.recv(1)
    show("lt: drained", wait(), wait(0.03))
    epoll.modify(server, select.EPOLLIN | select.EPOLLONESHOT)
    client.send(b"a")
    show("oneshot", wait(2), wait(0.03))
    client.send(b"b")
    show("oneshot: off", wait(0.03))
    epoll.modify(server, select.EPOLLIN | select.EPOLLONESHOT)
    show("oneshot: again", wait(), wait(0.03))
    epoll.modify(server, select.EPOLLRDHUP | select.EPOLLET)
    show("rdhup", wait(0.03))
    client.close()
    show("rdhup: closed", wait(2), wait(0.03))
    server.close()
    show("gone", wait(0.03))
    lonely = listener()
    epoll.register(lonely, select.EPOLLIN | select.EPOLLET)
    one = socket.create_connection(lonely.getsockname())
    show("listener", wait(2), wait(0.03))
    two = socket.create_connection(lonely.getsockname())
    show("listener: second", wait(2), wait(0.03))
    lonely.accept()
    lonely.accept()
    show("listener: empty", wait(0.03), bool(one), bool(two))
    udp = socket.socket(AF_INET, SOCK_DGRAM)
    udp.bind((LOCAL, 0))
    epoll.register(udp, select.EPOLLIN | select.EPOLLET)
    udp.sendto(b"1", udp.getsockname())
    show("udp", wait(2), wait(0.03))
    udp.sendto(b"2", udp.getsockname())
    show("udp: second", wait(2), wait(0.03))
    show("udp: data", udp.recv(1), udp.recv(1))
    fresh = socket.socket(AF_INET, SOCK_STREAM)
    epoll.register(fresh, select.EPOLLIN | select.EPOLLOUT)
    show("fresh", wait())
    fresh.setblocking(False)
    fresh.connect_ex(lonely.getsockname())
    settle(fresh, "OUT")
    epoll.unregister(lonely)
    show("connected", wait(2))


def datagrams():
    one, two = (socket.socket(AF_INET, SOCK_DGRAM) for _ in range(2))
    one.bind((LOCAL, 0))
    two.bind((LOCAL, 0))
    show("ready", ready(one))
    two.sendto(b"", one.getsockname())
    settle(one, "IN")
    show("empty", ready(one), one.recvfrom(10)[0], ready(one))
    two.sendto(b"0123456789", one.getsockname())
    show("cut", one.recvmsg(4)[::2], ready(one))
    two.sendto(b"0123456789", one.getsockname())
    settle(one, "IN")
    show("FIONREAD", struct.unpack("i", fcntl.ioctl(one, 0x541B, bytes(4)))[0])
    show("peek", one.recv(3, socket.MSG_PEEK), one.recvfrom(20)[1] == two.getsockname())
    buffer = bytearray(4)
    two.sendto(b"0123456789", one.getsockname())
    show("real length", one.recv_into(buffer, 4, socket.MSG_TRUNC), bytes(buffer))
    two.connect(one.getsockname())
    two.send(b"connected")
    show("recv", one.recv(20))
    one.sendto(b"x" * 60000, two.getsockname())
    show("large", len(two.recv(65536)))
    late = threading.Timer(0.05, two.send, [b"late"])
    late.start()
    show("wait", one.recv(10))
    late.join()
    one.setsockopt(0, 8, 1)  # IP_PKTINFO
    one.setsockopt(0, socket.IP_RECVTOS, 1)
    one.setsockopt(0, 12, 1)  # IP_RECVTTL
    two.send(b"told")
    data, control, flags, _ = one.recvmsg(10, 512)
    show("control", data, [(level, kind, body) for level, kind, body in control], flags)
    two.sendmsg([b"tos"], [(0, socket.IP_TOS, struct.pack("i", 0x10)), (0, socket.IP_TTL, struct.pack("i", 7))])
    show("tos", one.recvmsg(10, 512)[1])
    lo = socket.if_nametoindex("lo")
    info = struct.pack("i4s4s", lo, socket.inet_aton(LOCAL), bytes(4))
    two.sendmsg([b"pktinfo"], [(0, 8, info)])
    show("pktinfo", one.recvmsg(10, 512)[0])
    attempt("bad control", two.sendmsg, [b"x"], [(0, 8, b"short")])
    attempt("unknown control", two.sendmsg, [b"x"], [(0, 99, bytes(4))])
    attempt("other level", two.sendmsg, [b"other"], [(123, 99, bytes(4))])
    show("other level", one.recv(10))
    attempt("descriptor", two.sendmsg, [b"rights"], [(SOL_SOCKET, 1, array.array("i", [0]))])
    show("rights", one.recvmsg(10, 512)[0])
    show("room for none", one.getsockopt(0, 8))
    two.send(b"cut control")
    data, control, flags, _ = one.recvmsg(20, 0)
    show("room for none", data, control, flags)
    one.setsockopt(SOL_SOCKET, socket.SO_TIMESTAMP if hasattr(socket, "SO_TIMESTAMP") else 29, 1)
    two.send(b"stamped")
    show("stamp", [(a, b, len(c)) for a, b, c in one.recvmsg(20, 512)[1]][:1])
    six = socket.socket(AF_INET6, SOCK_DGRAM)
    six.bind(("::1", 0))
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    six.sendmsg([b"six"], [(41, socket.IPV6_HOPLIMIT, struct.pack("i", 9))], 0, six.getsockname())
    show("six", six.recvmsg(10, 512)[:3])
    for _ in range(100):
        two.send(b"x" * 100)
    show("many", sum(len(one.recv(200)) for _ in range(100)))


def sharing():
    """Sockets that go to other processes: fork, and descriptors in messages."""
    client, server = pair()
    left, right = socket.socketpair(AF_UNIX, SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        left.close()
        client.close()
        server.close()
        _, fds, _, _ = socket.recv_fds(right, 10, 1)
        own = socket.socket(fileno=fds[0])
        own.sendall(b"from the child: " + own.recv(100))
        os._exit(0)
    right.close()
    socket.send_fds(left, [b"here"], [server.fileno()])
    server.close()
    client.sendall(b"hello")
    show("answer", client.recv(100, socket.MSG_WAITALL))
    show("child", os.waitpid(pid, 0)[1], client.recv(10))
    show("kind", os.readlink(f"/proc/self/fd/{client.fileno()}").startswith("socket:["))
    copy = socket.fromfd(client.fileno(), AF_INET, SOCK_STREAM)
    client.close()
    show("still open", copy.getsockopt(SOL_SOCKET, SO_ERROR))


def options():
    """Every option of every level, read from new sockets; then those that programs set."""
    for family, kind in ((AF_INET, SOCK_STREAM), (AF_INET, SOCK_DGRAM), (AF_INET6, SOCK_STREAM), (AF_INET6, SOCK_DGRAM)):
        sock = socket.socket(family, kind)
        for level in (0, 1, 6, 17, 41):
            for name in range(90):
                for room in (4, 200):
                    try:
                        value = sock.getsockopt(level, name, room)
                        text = value.hex() if (level, name) not in VARYING else str(len(value))
                    except OSError as error:
                        text = errno.errorcode[error.errno]
                    show("get", family, kind, level, name, room, text)
    tcp, udp = socket.socket(AF_INET, SOCK_STREAM), socket.socket(AF_INET, SOCK_DGRAM)
    for level, name, value in [
        (1, 2, 1), (1, 15, 1), (1, 9, 1), (1, 7, 8192), (1, 8, 8192), (1, 7, -1), (1, 12, 5), (1, 12, 7), (1, 18, 10),
        (1, 6, 1), (1, 29, 1), (1, 35, 1), (1, 3, 1), (1, 4, 1), (1, 36, 0), (1, 1, 0), (1, 10, 1), (1, 99, 1),
        (6, 1, 1), (6, 3, 1), (6, 3, 0), (6, 4, 60), (6, 5, 10), (6, 6, 3), (6, 4, 0), (6, 9, 1), (6, 12, 0), (6, 18, 5000),
        (6, 2, 1000), (6, 2, 1), (6, 25, 16384), (6, 7, 2), (6, 8, 10), (6, 10, 30000), (6, 23, 5), (6, 99, 1),
        (0, 1, 16), (0, 2, 33), (0, 2, 0), (0, 10, 2), (0, 15, 1), (0, 24, 1), (0, 11, 1), (0, 99, 1), (17, 1, 1),
        (41, 26, 1),
    ]:  # fmt: skip
        for sock in (tcp, udp):
            attempt(f"set {level} {name} {value} {sock.type}", sock.setsockopt, level, name, value)
            attempt(f"got {level} {name}", sock.getsockopt, level, name)
    attempt("short", tcp.setsockopt, 1, 2, b"\1")
    attempt("byte", udp.setsockopt, 0, 1, b"\x08")
    attempt("congestion", tcp.setsockopt, 6, 13, b"reno")
    attempt("congestion", tcp.getsockopt, 6, 13, 16)
    attempt("no such", tcp.setsockopt, 6, 13, b"nosuch")
    group = socket.inet_aton("239.1.2.3") + socket.inet_aton(LOCAL)
    attempt("join", udp.setsockopt, 0, socket.IP_ADD_MEMBERSHIP, group)
    attempt("join twice", udp.setsockopt, 0, socket.IP_ADD_MEMBERSHIP, group)
    attempt("leave", udp.setsockopt, 0, socket.IP_DROP_MEMBERSHIP, group)
    attempt("leave twice", udp.setsockopt, 0, socket.IP_DROP_MEMBERSHIP, group)
    client, _server = pair()
    show("TCP_INFO", client.getsockopt(6, 11, 104)[0], len(client.getsockopt(6, 11, 104)))


#: (level, name) whose values differ from one socket, or one moment, to the next.
VARYING = {(6, 24), (1, 49), (1, 57), (1, 55), (6, 11), (6, 26)}


def interfaces():
    show("names", socket.if_nameindex())
    sock = socket.socket(AF_INET, SOCK_DGRAM)
    for request in (0x8913, 0x8915, 0x8919, 0x891B, 0x891D, 0x8921, 0x8927, 0x8933, 0x8942, 0x8970):
        for name in (b"lo", b"nosuch"):
            attempt(f"{request:#x} {name}", fcntl.ioctl, sock, request, name.ljust(40, b"\0"))
    attempt("name", fcntl.ioctl, sock, 0x8910, struct.pack("16si20x", b"", socket.if_nametoindex("lo")))
    attempt("tcgets", fcntl.ioctl, sock, 0x5401, bytes(60))
    buffer = array.array("B", bytes(4096))
    conf = array.array("B", struct.pack("i4xQ", 4096, buffer.buffer_info()[0]))
    attempt("SIOCGIFCONF", fcntl.ioctl, sock, 0x8912, conf)
    show(struct.unpack("i", conf[:4])[0], bytes(buffer).rstrip(b"\0"))
    conf = array.array("B", struct.pack("i4xQ", 0, 0))
    attempt("SIOCGIFCONF length", fcntl.ioctl, sock, 0x8912, conf)
    show(struct.unpack("i", conf[:4])[0])
    netlink = socket.socket(16, SOCK_RAW, 0)
    netlink.bind((0, 0))
    show("bound", netlink.getsockname()[1], netlink.getsockname()[0] != 0)
    request = struct.pack("<IHHIIBxxxI", 24, 22, 0x301, 7, 0, AF_INET, 0)
    netlink.sendto(request, (0, 0))
    data = netlink.recv(65536)
    show("addresses", struct.unpack_from("<HH", data, 4), len(data) > 40)
    netlink.send(struct.pack("<IHHII", 16, 9999, 1, 8, 0))
    while True:
        data = netlink.recv(65536)
        if struct.unpack_from("<I", data, 8)[0] == 8:
            break
    show("unknown", struct.unpack_from("<H", data, 4), struct.unpack_from("<i", data, 16))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
