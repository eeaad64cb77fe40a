"""Settings of /proc/sys that programs write: what Linux refuses is refused, and what is set takes effect."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Sandbox

pytestmark = pytest.mark.root

#: Run in a sandbox alone: natively it would change the machine.
SETTINGS = r"""
import errno, fcntl, mmap, os, socket, subprocess

def put(name, value):
    fd = os.open("/proc/sys/" + name, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        os.close(fd)
    return "ok"

def get(name):
    return open("/proc/sys/" + name).read()

for name in ("vm/swappiness", "vm/max_map_count", "fs/pipe-max-size", "net/core/somaxconn", "kernel/pid_max"):
    assert put(name, "x") == put(name, "-1") == "EINVAL", name
assert put("vm/swappiness", "201") == "EINVAL"
assert put("vm/swappiness", " 0x10\n") == "ok" and get("vm/swappiness") == "16\n"
assert put("vm/overcommit_memory", "3") == "EINVAL"
assert put("kernel/core_pattern", "/tmp/core.%p\nrest") == "ok"
assert get("kernel/core_pattern") == "/tmp/core.%p\n"

# The number of areas.
before = len(open("/proc/self/maps").readlines())
assert put("vm/max_map_count", str(before + 50)) == "ok"
kept = []
try:
    while len(kept) < 200:
        # Neighbours of another kind: no two of them become one.
        kept.append(mmap.mmap(-1, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | (len(kept) % 2) * mmap.PROT_WRITE))
except OSError as error:
    assert error.errno == errno.ENOMEM
assert 20 < len(kept) < 60, len(kept)
assert put("vm/max_map_count", "65530") == "ok"
del kept

# How much memory is promised.
size = 64 << 20
assert put("vm/overcommit_kbytes", "1000") == put("vm/overcommit_memory", "2") == "ok"
try:
    mmap.mmap(-1, size, mmap.MAP_PRIVATE)
    raise AssertionError("promised")
except OSError as error:
    assert error.errno == errno.ENOMEM
assert put("vm/overcommit_memory", "1") == "ok"
mmap.mmap(-1, 1 << 45, mmap.MAP_PRIVATE).close()
assert put("vm/overcommit_memory", "0") == "ok"
try:
    mmap.mmap(-1, 1 << 45, mmap.MAP_PRIVATE)
    raise AssertionError("promised")
except OSError as error:
    assert error.errno == errno.ENOMEM

# Pipes.
assert put("fs/pipe-max-size", "70000") == "ok" and get("fs/pipe-max-size") == "131072\n"
reader, writer = os.pipe()
if os.fork() == 0:
    os.setuid(1000)
    assert fcntl.fcntl(writer, 1031, 131072) == 131072
    try:
        fcntl.fcntl(writer, 1031, 131073)
    except PermissionError:
        os._exit(0)
    os._exit(1)
assert os.wait()[1] == 0

# Sockets.
assert put("net/core/somaxconn", "2") == put("net/core/wmem_max", "10000") == "ok"
server = socket.socket(socket.AF_UNIX)
server.bind("\0runsc-sysctl")
server.listen(100)
clients = []
for _ in range(10):
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    clients.append(client)
    try:
        client.connect("\0runsc-sysctl")
    except BlockingIOError:
        break
assert len(clients) == 4, len(clients)
client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
assert client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 20000

# Tasks.
tasks = len([name for name in os.listdir("/proc") if name.isdigit()])
assert put("kernel/threads-max", str(tasks)) == "ok"
try:
    os.fork()
    raise AssertionError("forked")
except BlockingIOError:
    pass
assert put("kernel/threads-max", "1000") == "ok"
assert put("kernel/pid_max", "100") == "EINVAL" and put("kernel/pid_max", "400") == "ok"
pids = set()
for _ in range(120):
    pid = os.fork()
    if not pid:
        os._exit(0)
    pids.add(pid)
    os.wait()
assert max(pids) < 400
os.setuid(1000)
try:
    open("/proc/sys/vm/swappiness", "w")
    raise AssertionError("anybody may")
except PermissionError:
    print("all is well")
"""


def test_settings_take_effect(sandbox: Sandbox) -> None:
    done = sandbox.run([sys.executable, "-c", SETTINGS])
    assert done == (0, b"all is well\n", b"")
