"""What waits on the loopback, printed: natively in a network namespace of its own and in a sandbox the output
must be the same.

usage: loopback.py
"""

import errno
import os
import select
import signal
import socket
import struct
import threading
import time

HOME = "127.0.0.1"


def pair(family=socket.AF_INET):
    listener = socket.create_server((HOME if family == socket.AF_INET else "::1", 0), family=family)
    client = socket.create_connection(listener.getsockname()[:2])
    server, _ = listener.accept()
    listener.close()
    return client, server


def attempt(call, *args):
    try:
        return call(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)


def later(call, *args, after=0.1):
    def run():
        time.sleep(after)
        call(*args)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def waiting_for_data():
    client, server = pair()
    thread = later(client.sendall, b"late")
    print("recv", server.recv(10))
    thread.join()
    thread = later(client.sendall, b"five")
    time.sleep(0.02)
    client.sendall(b"one ")
    print("all", server.recv(8, socket.MSG_WAITALL))
    thread.join()
    thread = later(client.close)
    print("end", server.recv(10))
    thread.join()


def waiting_for_connections():
    listener = socket.create_server((HOME, 0), backlog=0)
    clients = []
    thread = later(lambda: clients.append(socket.create_connection(listener.getsockname())))
    _server, address = listener.accept()
    thread.join()
    print("accepted", address == clients[0].getsockname())
    listener.settimeout(0.05)
    print("time-out", attempt(listener.accept))
    listener.settimeout(None)
    thread = later(listener.shutdown, socket.SHUT_RD)
    print("shut down", attempt(listener.accept))
    thread.join()


def a_full_backlog():
    listener = socket.create_server((HOME, 0), backlog=0)
    first = socket.create_connection(listener.getsockname())
    second = socket.socket()
    second.setblocking(False)
    print("no room", attempt(second.connect, listener.getsockname()), select.select([], [second], [], 0.1)[1])
    print("still none", attempt(second.connect, listener.getsockname()), attempt(second.getpeername))
    server, _ = listener.accept()
    # Natively this takes until the SYN is sent again.
    print("room", bool(select.select([], [second], [], 5)[1]), second.getpeername() == listener.getsockname())
    server.close()
    first.close()


def flow_control():
    client, server = pair()
    data = os.urandom(20_000_000)
    got = bytearray()
    client.setblocking(False)
    sent = client.send(data)
    while True:
        try:
            sent += client.send(data[sent : sent + 100_000])
        except BlockingIOError:
            break
    print("stuck", 0 < sent < len(data), bool(select.select([], [client], [], 0)[1]))
    client.setblocking(True)

    def write():
        client.sendall(data[sent:])
        client.close()

    thread = threading.Thread(target=write)
    thread.start()
    while part := server.recv(1 << 16):
        got += part
    thread.join()
    print("whole", bytes(got) == data)
    client, server = pair()
    client.settimeout(0.1)
    print("time-out", attempt(client.sendall, data))
    thread = later(server.close)
    client.settimeout(None)
    print("gone", attempt(client.sendall, data))
    thread.join()


def closing_after_corking():
    client, server = pair()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    client.send(b"head")
    client.send(b"body")
    client.close()
    print("corked", server.recv(100, socket.MSG_WAITALL))


def deferred():
    listener = socket.socket()
    listener.bind((HOME, 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
    listener.listen()
    client = socket.create_connection(listener.getsockname())
    print("nothing yet", select.select([listener], [], [], 0.1)[0])
    client.send(b"now")
    print("now", bool(select.select([listener], [], [], 1)[0]), listener.accept()[0].recv(10))


def fast_open():
    listener = socket.socket()
    listener.bind((HOME, 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
    listener.listen()
    client = socket.socket()
    print("sent", client.sendto(b"early", socket.MSG_FASTOPEN, listener.getsockname()))
    print("early", listener.accept()[0].recv(10))


def broken_pipes():
    told = []
    signal.signal(signal.SIGPIPE, lambda *_: told.append("SIGPIPE"))
    client, server = pair()
    server.close()
    print("first", attempt(client.send, b"x"))
    print("then", attempt(client.send, b"x"), told)
    print("quiet", attempt(client.send, b"x", socket.MSG_NOSIGNAL), told)
    print("write", attempt(os.write, client.fileno(), b"x"), told)


def urgent_signals():
    told = []
    signal.signal(signal.SIGURG, lambda *_: told.append("SIGURG"))
    client, server = pair()
    import fcntl

    fcntl.fcntl(server, fcntl.F_SETOWN, os.getpid())
    client.send(b"!", socket.MSG_OOB)
    time.sleep(0.05)
    print("urgent", told, server.recv(1, socket.MSG_OOB))


def edge_triggered():
    client, server = pair()
    poll = select.epoll()
    poll.register(server, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)
    print([event for _, event in poll.poll(0)], poll.poll(0))
    client.send(b"x")
    print([event for _, event in poll.poll(1)], poll.poll(0))
    client.send(b"y")
    print([event for _, event in poll.poll(1)], poll.poll(0))
    client.shutdown(socket.SHUT_WR)
    print([event for _, event in poll.poll(1)], poll.poll(0))
    server.close()


def datagrams():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((HOME, 0))
    one.setsockopt(socket.IPPROTO_IP, 8, 1)
    one.setsockopt(socket.IPPROTO_IP, 12, 1)
    one.setsockopt(socket.IPPROTO_IP, 13, 1)
    two = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    two.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
    thread = later(two.sendto, b"late", one.getsockname())
    data, control, flags, address = one.recvmsg(100, 200)
    thread.join()
    print(data, control, flags, address == (HOME, two.getsockname()[1]))
    info = struct.pack("<i4s4s", 0, socket.inet_aton("127.0.0.9"), bytes(4))
    two.sendmsg([b"from nine"], [(socket.IPPROTO_IP, 8, info)], 0, one.getsockname())
    print(one.recvfrom(100)[1][0])
    one.settimeout(0.05)
    print("time-out", attempt(one.recv, 1))
    six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    six.bind(("::", 0))
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    two.sendto(b"four", (HOME, six.getsockname()[1]))
    print(six.recvmsg(100, 200)[:3])
    other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    other.sendto(b"six", ("::1", six.getsockname()[1]))
    print(six.recvmsg(100, 200)[:3])


def echo():
    ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    ping.sendto(struct.pack(">BBHHH", 8, 0, 0, 0, 3) + b"data", (HOME, 0))
    data, address = ping.recvfrom(100)
    print(data[:2], data[4:6] == ping.getsockname()[1].to_bytes(2, "big"), data[6:], address)


def interfaces():
    print(socket.if_nameindex(), socket.if_nametoindex("lo"), attempt(socket.if_nametoindex, "eth0"))
    print(socket.getaddrinfo(None, 80, type=socket.SOCK_STREAM))


for scenario in (
    waiting_for_data, waiting_for_connections, a_full_backlog, flow_control, closing_after_corking, deferred,
    fast_open, broken_pipes, urgent_signals, edge_triggered, datagrams, echo, interfaces,
):  # fmt: skip
    print("--", scenario.__name__, flush=True)
    scenario()
