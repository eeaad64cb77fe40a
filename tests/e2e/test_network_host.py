"""--network=host: real programs on the loopback, inside, outside and across."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conftest import Outcome

PROGRAM = str(Path(__file__).parent / "programs" / "inet.py")
PYTHON = "/usr/bin/python3"
HOST = ("--network=host",)
LOCAL = "127.0.0.1"

#: A server that tells its port: files, and any path answered with what was posted to it.
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self): self.answer(b"hello from " + self.path.encode())
    def do_POST(self): self.answer(self.rfile.read(int(self.headers["Content-Length"])))
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""

needs_python = pytest.mark.skipif(not os.access(PYTHON, os.X_OK), reason="needs /usr/bin/python3")


@contextmanager
def running(argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended at the end of the block."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                pytest.fail(f"{argv!r} did not end on SIGTERM")


@pytest.fixture
def inside(runsc: str, platform: str, no_process_left: None) -> Callable[..., list[str]]:
    """``inside(*argv)``: the words that run it in a sandbox."""

    def words(*argv: str) -> list[str]:
        return [runsc, f"--platform={platform}", *HOST, "do", "--", *argv]

    return words


def free_port() -> int:
    """A port that nobody listens on (for programs that can't tell which one they got)."""
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        port: int = probe.getsockname()[1]
        return port


def reachable(port: int, patience: float = 20.0) -> None:
    """Wait until somebody listens, without connecting: some servers serve one connection only."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                _slot, address, _remote, state = line.split()[:4]
                if state == "0A" and address.endswith(f":{port:04X}"):
                    return
        time.sleep(0.02)
    pytest.fail(f"nobody listens on port {port}")


@needs_python
@pytest.mark.parametrize(
    "group",
    ["errors", "streams", "connecting", "timeouts", "epolls", "datagrams", "sharing", "interfaces"],
)
def test_calls_answer_as_linux_does(
    group: str, run_native: Callable[..., Outcome], run_sandboxed: Callable[..., Outcome]
) -> None:
    expected = run_native([PYTHON, PROGRAM, group])
    got = run_sandboxed([PYTHON, PROGRAM, group], flags=HOST)
    assert got.stdout.decode().splitlines() == expected.stdout.decode().splitlines()
    assert (got.code, got.stderr) == (expected.code, expected.stderr) == (0, b"")


@needs_python
def test_options_read_as_on_linux_or_are_refused(
    run_native: Callable[..., Outcome], run_sandboxed: Callable[..., Outcome]
) -> None:
    """What differs is ENOPROTOOPT, and only of options that no program depends on."""
    expected = run_native([PYTHON, PROGRAM, "options"]).stdout.decode().splitlines()
    outcome = run_sandboxed([PYTHON, PROGRAM, "options"], flags=HOST)
    got = outcome.stdout.decode().splitlines()
    assert (outcome.code, outcome.stderr, len(got)) == (0, b"", len(expected))
    differing = [(a, b) for a, b in zip(expected, got, strict=True) if a != b]
    assert all(b.endswith("ENOPROTOOPT") for _, b in differing)
    # An option that the host knows must not be missing among those that programs use.
    missing = {tuple(map(int, b.split()[3:5])) for _, b in differing if b.startswith("get")}
    used = {(1, name) for name in range(1, 22)} | {(6, name) for name in range(1, 14)}
    assert not missing & (used | {(0, 1), (0, 2), (41, 26)})


@needs_python
def test_http_from_outside(inside: Callable[..., list[str]]) -> None:
    with running(inside(PYTHON, "-c", SERVER)) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        for number in range(20):
            with urllib.request.urlopen(f"http://{LOCAL}:{port}/{number}", timeout=10) as answer:
                assert answer.read() == b"hello from /%d" % number
        body = os.urandom(3 << 20)
        request = urllib.request.Request(f"http://{LOCAL}:{port}/", data=body)
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.read() == body


@needs_python
def test_http_from_inside(inside: Callable[..., list[str]], run_sandboxed: Callable[..., Outcome]) -> None:
    with running([PYTHON, "-c", SERVER]) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        url = f"http://{LOCAL}:{port}/"
        client = (
            "import os, sys, urllib.request\n"
            "body = bytes(range(256)) * 8192\n"
            "for data in (None, body):\n"
            f"    with urllib.request.urlopen('{url}', data=data, timeout=20) as answer:\n"
            "        print(answer.status, answer.read() in (b'hello from /', body))\n"
        )
        assert run_sandboxed([PYTHON, "-c", client], flags=HOST) == (0, b"200 True\n200 True\n", b"")
        curl = shutil.which("curl")
        if curl is not None:
            outcome = run_sandboxed([curl, "-sS", url + "from/curl"], flags=HOST)
            assert outcome == (0, b"hello from /from/curl", b"")


@needs_python
def test_udp_echo_from_outside(inside: Callable[..., list[str]]) -> None:
    echo = (
        "import socket\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "sock.bind(('127.0.0.1', 0))\n"
        "print(sock.getsockname()[1], flush=True)\n"
        "while True:\n"
        "    sock.sendto(*sock.recvfrom(65536))\n"
    )
    with running(inside(PYTHON, "-c", echo)) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        assert server.stdout is not None
        client.settimeout(10)
        client.connect((LOCAL, int(server.stdout.readline())))
        for size in (0, 1, 1000, 60000):
            data = os.urandom(size)
            client.send(data)
            assert client.recv(65536) == data


@needs_python
def test_a_waiting_server_uses_no_processor(inside: Callable[..., list[str]]) -> None:
    """A socket that stays writable, one that has unread data, and a listener, all watched by an epoll."""
    waiter = (
        "import select, socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "one = socket.create_connection(server.getsockname())\n"
        "two, _ = server.accept()\n"
        "epoll = select.epoll()\n"
        "epoll.register(server, select.EPOLLIN)\n"
        "epoll.register(one, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)\n"
        "two.send(b'unread')\n"
        "while epoll.poll(0.2): pass\n"
        "print('waiting', flush=True)\n"
        "print(epoll.poll(-1))\n"
    )

    def used(pid: int) -> int:
        """Ticks of the process and all below it."""
        total = 0
        pids = [pid]
        while pids:
            one = pids.pop()
            for task in os.listdir(f"/proc/{one}/task"):
                fields = Path(f"/proc/{one}/task/{task}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
                pids += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
        return total

    with running(inside(PYTHON, "-c", waiter)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        time.sleep(0.3)
        before = used(process.pid)
        time.sleep(1)
        assert used(process.pid) - before <= 2


@pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox")
def test_busybox_httpd(inside: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("page")
    port = free_port()
    with running(inside("busybox", "httpd", "-f", "-p", f"{LOCAL}:{port}", "-h", str(tmp_path))):
        reachable(port)
        for _ in range(5):
            with urllib.request.urlopen(f"http://{LOCAL}:{port}/index.html", timeout=10) as answer:
                assert answer.read() == b"page"


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="needs iperf3")
@pytest.mark.parametrize("direction", ["send", "receive"])
def test_iperf3(direction: str, inside: Callable[..., list[str]]) -> None:
    port = free_port()
    options = ["-R"] if direction == "receive" else []
    with running(inside("iperf3", "-s", "-p", str(port))):
        reachable(port)
        command = ["iperf3", "-c", LOCAL, "-p", str(port), "-n", "64M", *options]
        client = subprocess.run(command, capture_output=True, text=True, timeout=40)
        assert client.returncode == 0, client.stdout + client.stderr
        client = subprocess.run(inside(*command), capture_output=True, text=True, timeout=40)
        assert client.returncode == 0, client.stdout + client.stderr


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
@pytest.mark.parametrize("words", [["link"], ["-4", "addr"], ["route"], ["-6", "addr"]])
def test_interfaces_are_the_hosts(
    words: list[str], run_native: Callable[..., Outcome], run_sandboxed: Callable[..., Outcome]
) -> None:
    assert run_sandboxed(["ip", *words], flags=HOST) == run_native(["ip", *words])


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
def test_the_hosts_interfaces_are_not_the_guests_to_change(run_sandboxed: Callable[..., Outcome]) -> None:
    outcome = run_sandboxed(["ip", "addr", "add", "127.9.9.9/8", "dev", "lo"], flags=HOST)
    assert (outcome.code, outcome.stderr) == (2, b"RTNETLINK answers: Operation not permitted\n")


def test_the_tables_of_proc_net_are_the_hosts(run_sandboxed: Callable[..., Outcome]) -> None:
    with socket.create_server((LOCAL, 0)) as server:
        line = f"0100007F:{server.getsockname()[1]:04X} 00000000:0000 0A"
        outcome = run_sandboxed(["cat", "/proc/net/tcp"], flags=HOST)
        assert (outcome.code, outcome.stderr) == (0, b"")
        assert outcome.stdout.decode().count(line) == 1
