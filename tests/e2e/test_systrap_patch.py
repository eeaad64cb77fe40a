"""Patched call sites: the same results with and without, and a program that reads its own code through the
kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

#: Makes system calls often enough for their sites to be patched, with signals, threads and forks in
#: between; then compares the C library in memory, as the kernel shows it, with the file.
PROGRAM = """
import os, signal, threading
caught = []
signal.signal(signal.SIGALRM, lambda number, frame: caught.append(number))
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
pids = {os.getppid() for _ in range(3000)}
read, write = os.pipe()
for number in range(3000):
    assert os.write(write, b"%04d" % number) == 4
    assert os.read(read, 4) == b"%04d" % number
threads = [threading.Thread(target=lambda: [os.getppid() for _ in range(500)]) for _ in range(4)]
[thread.start() for thread in threads]
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if {os.getppid() for _ in range(50)} == {os.getppid()} else 1)
    assert os.waitpid(child, 0)[1] == 0
[thread.join() for thread in threads]
signal.setitimer(signal.ITIMER_REAL, 0)
for line in open("/proc/self/maps"):
    if "libc.so" in line and " r-xp " in line:
        where, _flags, offset, _device, _inode, path = line.split()
        start, end = (int(part, 16) for part in where.split("-"))
        memory = os.open("/proc/self/mem", os.O_RDONLY)
        shown = os.pread(memory, end - start, start)
        with open(path, "rb") as file:
            file.seek(int(offset, 16))
            print(shown == file.read(end - start))
print(len(pids), bool(caught))
"""


@pytest.mark.parametrize("patch", ["on", "off"])
def test_nobody_notices(run_sandboxed: Callable[..., Any], patch: str) -> None:
    outcome = run_sandboxed(
        ["/usr/bin/python3", "-c", PROGRAM], platform="systrap", flags=[f"--systrap-patch={patch}"]
    )
    assert outcome == (0, b"True\n1 True\n", b"")


def test_another_value_is_refused(run_sandboxed: Callable[..., Any]) -> None:
    outcome = run_sandboxed(["/bin/true"], flags=["--systrap-patch=perhaps"])
    assert outcome.code == 128
    assert b"--systrap-patch=perhaps: no such choice: there are on, off" in outcome.stderr
