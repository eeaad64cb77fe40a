"""The loopback of ``--network=none``: programs do there what they do natively with nothing but a loopback."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Outcome

    Run = Callable[..., Outcome]

PROGRAM = Path(__file__).parent / "programs" / "loopback.py"
PYTHON = "/usr/bin/python3"
#: As in a container: everybody may use ICMP sockets.
UP = "ip link set lo up && echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range"


def needs(*names: str) -> None:
    """Skip where a program isn't installed."""
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")


def isolated(run_native: Run, script: str) -> Outcome:
    """Run a shell script natively, with nothing but a loopback; skips where that can't be had."""
    needs("unshare", "ip")
    if run_native(["unshare", "-n", "sh", "-c", UP]).code:
        pytest.skip("no network namespace")
    return run_native(["unshare", "-n", "sh", "-c", f"{UP} && {{ {script}\n}}"])


def same(run_native: Run, run_sandboxed: Run, script: str) -> None:
    expected = isolated(run_native, script)
    assert expected.stdout
    assert run_sandboxed(["/bin/sh", "-c", script]) == expected


def test_what_waits(run_native: Run, run_sandboxed: Run) -> None:
    needs(PYTHON)
    same(run_native, run_sandboxed, f"{PYTHON} {PROGRAM}")


@pytest.mark.parametrize(
    "script",
    [
        "ip addr",
        "ip -s link show lo",
        "ip route show table all; ip -6 route show table local; ip rule; ip -6 rule",
        "ip route get 127.0.0.5; ip route get 8.8.8.8",
        "ip link show eth0 2>&1; ip neigh",
        "cat /proc/net/if_inet6 /proc/net/route /proc/net/dev",
    ],
)
def test_interfaces_and_routes(run_native: Run, run_sandboxed: Run, script: str) -> None:
    needs("ip")
    same(run_native, run_sandboxed, script)


ASYNCIO = """
import asyncio
async def handle(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async def one(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = bytes([number]) * 300000
        writer.write(data)
        writer.write_eof()
        got = await reader.read()
        writer.close()
        return got == data
    print(await asyncio.gather(*[one(number) for number in range(20)]))
asyncio.run(main())
"""

HTTP = """
import http.server, threading, urllib.request
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"
print(urllib.request.urlopen(base + "/etc/hostname").read() == open("/etc/hostname", "rb").read())
try:
    urllib.request.urlopen(base + "/nothing/there")
except urllib.error.HTTPError as error:
    print(error.code)
"""

PERL = """
use IO::Socket::INET;
$s = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1", ReuseAddr => 1) or die;
if (!fork) {
    $c = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $s->sockport) or die;
    print $c "hi\\n"; print "got ", scalar <$c>; exit
}
$a = $s->accept; $l = <$a>; print $a "echo $l"; close $a; wait
"""


@pytest.mark.parametrize("script", [ASYNCIO, HTTP], ids=["asyncio", "http.server"])
def test_python(run_native: Run, run_sandboxed: Run, script: str) -> None:
    needs(PYTHON)
    same(run_native, run_sandboxed, f"cd / && {PYTHON} - 2>/dev/null <<\\END\n{script}\nEND")


def test_perl(run_native: Run, run_sandboxed: Run) -> None:
    needs("perl")
    same(run_native, run_sandboxed, f"perl - <<\\END\n{PERL}\nEND")


def test_busybox(run_native: Run, run_sandboxed: Run) -> None:
    needs("busybox")
    script = (
        "cd /etc; busybox httpd -f -p 127.0.0.1:8080 -h /etc & server=$!; sleep 0.3; "
        "busybox wget -q -O - http://127.0.0.1:8080/hostname; busybox netstat -tln | grep 8080; "
        "kill $server; wait; "
        "(echo hello | busybox nc -l -p 8081) & sleep 0.3; busybox nc 127.0.0.1 8081 </dev/null; wait; "
        "busybox nc 127.0.0.1 8082 </dev/null 2>&1"
    )
    same(run_native, run_sandboxed, script)


def test_nothing_else_is_reachable(run_sandboxed: Run) -> None:
    needs("curl")
    done = run_sandboxed(["curl", "-sS", "-m", "5", "http://192.0.2.1/"])
    assert done.code == 7
    assert b"Couldn't connect" in done.stderr
