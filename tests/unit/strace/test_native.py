"""The same system calls, printed by strace(1) natively and by the tracer.

A child makes each call with arguments and buffers that are known here, under strace, and tells what came of
it. The tracer is then told of the same call over the same memory; both lines must be the same, apart from
addresses.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import Buffer, make_task

from runsc.abi.syscalls import NUMBERS
from runsc.kernel.syscalls.table import build_table
from runsc.strace.tracer import Tracer

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Makes the calls it reads from stdin: [number, [argument...]]. An argument is a number or {"hex": buffer}.
CHILD = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
calls = json.load(sys.stdin)
done = []
for index, (number, args) in enumerate(calls):
    buffers = []
    raw = []
    for arg in args:
        if isinstance(arg, dict):
            buffers.append(ctypes.create_string_buffer(bytes.fromhex(arg["hex"]), len(arg["hex"]) // 2))
            raw.append(ctypes.c_void_p(ctypes.addressof(buffers[-1])))
        else:
            raw.append(ctypes.c_long(arg))
    ctypes.set_errno(0)
    libc.close(-1000 - index)
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *raw)
    error = ctypes.get_errno()
    done.append([-error if result == -1 else result, [bytes(b).hex() for b in buffers]])
libc.close(-999)
json.dump(done, open(sys.argv[1], "w"))
"""

ADDRESS = re.compile(r"0x[0-9a-f]{7,}")


def word(*values: int, size: int = 8) -> bytes:
    return b"".join((value & (1 << 8 * size) - 1).to_bytes(size, "little") for value in values)


def text(value: str) -> bytes:
    return value.encode() + b"\0"


AT_FDCWD = -100
NOWHERE = text("/nowhere/at/all")

CALLS: list[tuple[str, Sequence[int | bytes]]] = [
    ("openat", (AT_FDCWD, NOWHERE, 0o77777777, 0o7777)),
    *(("openat", (AT_FDCWD, NOWHERE, 1 << bit, 0o644)) for bit in range(32)),
    ("openat", (AT_FDCWD, NOWHERE, 0o20200000 | 0o4010000 | 2, 0o600)),
    ("openat", (7, 0, 0, 0)),
    ("open", (NOWHERE, 0o101, 0o7)),
    ("open", (NOWHERE, 0o2004000, 0)),
    *(("mmap", (0, 0, 1 << bit, 1 << bit, -1, 4096 << bit)) for bit in range(26)),
    ("mmap", (0, 0, 0, 0x32, 3, 0)),
    ("mprotect", (1, 4096, 0x7)),
    *(("madvise", (1, 0, advice)) for advice in range(26)),
    ("mremap", (1, 2, 3, 1)),
    ("mremap", (1, 2, 3, 3, 4096)),
    ("brk", (0,)),
    *(("access", (NOWHERE, mode)) for mode in (0, 1, 4, 6, 7, 8, 12)),
    *(("faccessat2", (-1, NOWHERE, 4, flags)) for flags in (0, 0x100, 0x200, 0x1300, 0xFFFFFF)),
    ("unlinkat", (-1, NOWHERE, 0x200)),
    ("statx", (-1, NOWHERE, 0, 0x7FF, 0)),
    ("statx", (-1, NOWHERE, 0x2100, 0xFFF, 0)),
    ("statx", (-1, NOWHERE, 0x5000, 0x1003, 0)),
    *(("lseek", (-1, -5, whence)) for whence in range(6)),
    *(("fcntl", (-1, command, 3)) for command in (*range(18), 36, 1024, 1025, 1026, *range(1030, 1035))),
    ("fcntl", (1, 4, 0o6001)),
    ("fcntl", (1, 3)),
    ("fcntl", (1, 5, word(1, 0, size=2) + word(0, size=4) + word(10, 20) + word(0))),
    *(("ioctl", (-1, request, 0)) for request in (0x5401, 0x5413, 0x541B, 0x5421, 0x80045430, 0x12345678)),
    *(("ioctl", (-1, request, 0x5555)) for request in (0xC0045678, 0x40025678)),
    ("ioctl", (-1, 0x5421, word(1, size=4))),
    ("ioctl", (-1, 0x5414, word(24, 80, 1, 2, size=2))),
    ("chmod", (NOWHERE, 0)),
    ("chmod", (NOWHERE, 0o4755)),
    ("chown", (NOWHERE, -1, 5)),
    ("mknod", (NOWHERE, 0o20666, 0x501)),
    ("mknod", (NOWHERE, 0o10600, 0)),
    ("mknodat", (-1, NOWHERE, 0o67777, 0x12345678)),
    ("mkdir", (NOWHERE, 0o1777)),
    ("renameat2", (-1, NOWHERE, -1, text("b"), 3)),
    ("linkat", (-1, NOWHERE, -1, text("b"), 0x400)),
    ("symlink", (text("to"), NOWHERE)),
    ("readlink", (text("/proc/self/fd/0"), bytes(64), 64)),
    ("getcwd", (bytes(256), 256)),
    ("getcwd", (bytes(1), 1)),
    ("umask", (0o22,)),
    ("utimensat", (-1, NOWHERE, word(0, 1, 10**9, 0), 0)),
    ("utimensat", (-1, NOWHERE, word(1, 0x3FFFFFFF, 1, 0x3FFFFFFE), 0x100)),
    ("utimensat", (-1, 0, 0, 0)),
    ("dup3", (-1, 5, 0o2000000)),
    ("dup3", (-1, 5, 0o2004001)),
    ("dup2", (-1, 5)),
    ("pipe2", (word(0), 0o2000000)),
    ("pipe2", (0, 0o4040000)),
    ("fallocate", (-1, 0x43, 1, 2)),
    ("close_range", (5, 4, 6)),
    ("write", (-1, b'a\0\x011\b\a\x7f\xff"\\\n\t\v\f\r9', 15)),
    ("write", (-1, b"x" * 40, 40)),
    ("write", (-1, 16, 5)),
    ("write", (-1, 0, 5)),
    ("read", (0, bytes(16), 16)),
    ("read", (-1, bytes(16), 16)),
    ("pread64", (-1, bytes(16), 16, -1)),
    ("writev", (-1, 0, 0)),
    ("writev", (-1, 16, 3)),
    ("getrandom", (bytes(5), 5, 1)),
    ("getrandom", (bytes(5), 5, 0xF8)),
    ("memfd_create", (text("x"), 0xFFE0)),
    ("prlimit64", (0, 7, 0, bytes(16))),
    ("prlimit64", (0, 99, word(1 << 20, -1), 0)),
    ("prlimit64", (0x7FFFFFFF, 3, word(1024, 1025), 0)),
    ("getrlimit", (4, bytes(16))),
    ("setrlimit", (99, word(5, 2048))),
    ("getrusage", (-1, bytes(144))),
    ("getrusage", (5, bytes(144))),
    ("uname", (bytes(390),)),
    ("uname", (0,)),
    ("getuid", ()),
    ("setresuid", (-1, -1, -1)),
    ("getgroups", (0, 0)),
    ("getgroups", (-5, 0)),
    ("getresuid", (bytes(4), bytes(4), bytes(4))),
    ("setreuid", (-1, -1)),
    ("kill", (0x7FFFFFFF, 0)),
    *(("kill", (0x7FFFFFFF, signo)) for signo in (1, 31, 32, 33, 64, 65, 99, -1)),
    ("tgkill", (-1, 5, 6)),
    ("rt_sigaction", (10, word(0, 0x14000000, 0x1234567, 0), 0, 8)),
    ("rt_sigaction", (12, 0, bytes(32), 8)),
    ("rt_sigaction", (99, word(0x7777777, 0xDC000C07, 0x1234567, 0xFFFFFFFFFFFFFFFF), 0, 8)),
    ("rt_sigaction", (64, word(1, 0, 0, 0x10001), 0, 8)),
    *(("rt_sigprocmask", (99, word((1 << bit) - 1), 0, 8)) for bit in (0, 1, 20, 41, 42, 43, 63, 64)),
    ("rt_sigprocmask", (2, word(0), bytes(8), 8)),
    ("rt_sigprocmask", (0, 0, bytes(8), 8)),
    ("rt_sigpending", (bytes(8), 8)),
    ("rt_sigsuspend", (word(5), 9)),
    ("rt_sigtimedwait", (word(5), 0, word(0, 1), 8)),
    ("sigaltstack", (0, bytes(24))),
    ("sigaltstack", (word(0x1000000, 0xFF, 8192), 0)),
    ("wait4", (-1, bytes(4), 1, 0)),
    ("wait4", (-1, 0, 0xE100000F, 0)),
    ("waitid", (0, 0, 0, 5, 0)),
    ("waitid", (1, 5, bytes(128), 1 << 24 | 0xF, 0)),
    ("futex", (0, 0, 5, 0)),
    ("futex", (8, 129, 5)),
    ("futex", (0, 128, 5, word(1, 2))),
    ("futex", (0, 0x189, 5, 0, 0, -1)),
    ("futex", (0, 138, 5, 0, 0, 5)),
    ("futex", (0, 3, 5, 6, 16)),
    ("futex", (0, 99, 5, 6, 16, 7)),
    *(("clock_gettime", (clock, bytes(16))) for clock in (0, 1, 4, 7, 11, 99)),
    ("clock_nanosleep", (1, 0, word(0, 1), 0)),
    ("clock_nanosleep", (1, 1, word(0, 1), 16)),
    ("nanosleep", (word(0, 1), bytes(16))),
    ("nanosleep", (word(0, -1), 0)),
    ("poll", (word(0xFFFFFFFF, size=4) + word(0, 0, size=2), 1, 0)),
    ("poll", (word(1, size=4) + word(0x3FFF, 0, size=2) + word(0, size=4) + word(1, 0, size=2), 2, 0)),
    ("poll", (0, 0, 0)),
    ("poll", (16, 5, 0)),
    ("select", (3, word(0), word(2), 0, word(0, 5))),
    ("select", (2, 0, 0, word(3), word(0, 0))),
    ("pselect6", (2, 0, word(2), 0, word(0, 5), 0)),
    ("epoll_create1", (0x80001,)),
    ("epoll_ctl", (-1, 1, 5, word(0xFFFFFFFF, size=4) + word(0x500000003))),
    *(("epoll_ctl", (-1, op, 5, 0)) for op in range(5)),
    ("epoll_wait", (-1, bytes(12), 1, 0)),
    ("eventfd2", (5, 0xFFF)),
    ("timerfd_create", (99, 0x80800)),
    ("timerfd_settime", (-1, 3, word(1, 2, 3, 4), 0)),
    ("socket", (1, 0x80801, 0)),
    ("socket", (77, 88, 99)),
    ("socket", (10, 3, 58)),
    ("socketpair", (1, 1, 0, 0)),
    ("bind", (-1, word(1, size=2) + b"/run/x\0", 9)),
    ("bind", (-1, word(1, size=2) + b"\0abstract", 11)),
    ("bind", (-1, word(1, size=2), 2)),
    ("connect", (-1, word(2, size=2) + bytes([0, 80, 127, 0, 0, 1]) + bytes(8), 16)),
    ("connect", (-1, word(10, size=2) + bytes([1, 187]) + bytes(19) + b"\1" + bytes(4), 28)),
    ("sendto", (-1, b"data", 4, 0x4040, 0, 0)),
    ("recvfrom", (-1, bytes(4), 4, 0x40, 0, 0)),
    ("accept4", (-1, 0, 0, 0x80800)),
    ("listen", (-1, 5)),
    ("shutdown", (-1, 1)),
    ("setsockopt", (-1, 1, 2, word(1, size=4), 4)),
    ("setsockopt", (-1, 6, 1, word(1, size=4), 4)),
    ("getsockopt", (-1, 1, 4, bytes(4), word(4, size=4))),
    ("sched_getaffinity", (0, 128, bytes(128))),
    ("sched_getaffinity", (0, 0, bytes(8))),
    ("getsockname", (0, bytes(16), word(16, size=4))),
    ("getpeername", (-1, 0, 0)),
    ("accept", (0, bytes(16), word(16, size=4))),
    ("sendmsg", (-1, 0, 0x4000)),
    ("sendmsg", (-1, 16, 0)),
    ("recvmsg", (-1, bytes(56), 0)),
    ("sched_yield", ()),
    ("prctl", (15, text("thread-name"))),
    ("prctl", (16, bytes(16))),
    ("prctl", (38, 1, 0, 0, 0)),
    ("prctl", (99, 1, 2, 3, 4)),
    ("prctl", (1, 99)),
    ("prctl", (2, bytes(4))),
    ("prctl", (3,)),
    ("prctl", (4, 1)),
    ("arch_prctl", (0x1003, bytes(8))),
    ("arch_prctl", (0x9999, 5)),
    ("set_tid_address", (0,)),
    ("gettid", ()),
    ("sysinfo", (0,)),
    ("statfs", (NOWHERE, 0)),
    ("mount", (NOWHERE, NOWHERE, 0, 0x1005, 0)),
    ("umount2", (NOWHERE, 0xF)),
    ("truncate", (NOWHERE, -1)),
    ("getitimer", (0, bytes(32))),
    ("setitimer", (5, word(1, 2, 3, 4), 0)),
    ("sendfile", (-1, -1, 0, 5)),
    ("flock", (-1, 6)),
    ("splice", (-1, 0, -1, 0, 5, 0xF)),
    ("execve", (NOWHERE, word(0), word(0))),
    ("exit_group", (0,)),
]


def plain(line: str) -> str:
    """A line without addresses, and without the padding in front of the result."""
    return ADDRESS.sub("ADDRESS", re.sub(r"\) +=", ") =", line))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int, list[bytes]]]:
    """(line of strace, result, buffers afterwards) of each call."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    directory = tmp_path_factory.mktemp("strace")
    calls = [
        [NUMBERS[name], [{"hex": arg.hex()} if isinstance(arg, bytes) else arg for arg in args]]
        for name, args in CALLS
        if name != "exit_group"
    ]
    (directory / "calls").write_text(json.dumps(calls))
    with (directory / "calls").open() as stdin, (directory / "out").open("w") as out:
        ran = subprocess.run(
            [
                strace,
                "-s",
                "32",
                "-o",
                directory / "log",
                Path(sys.executable).resolve(),
                "-c",
                CHILD,
                directory / "done",
            ],
            stdin=stdin,
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=60,
            text=True,
        )
    if ran.returncode:
        pytest.skip(f"strace does not work here: {ran.stderr[-300:]}")
    lines = (directory / "log").read_text().splitlines()
    found = []
    for index, (result, buffers) in enumerate(json.loads((directory / "done").read_text())):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"close({-1000 - index}) "))
        # The interpreter may have made calls of its own in between.
        name = CALLS[index][0]
        line = next(line for line in lines[at + 1 :] if line.startswith(f"{name}("))
        found.append((line, result, [bytes.fromhex(buffer) for buffer in buffers]))
    return found


def traced(name: str, args: Sequence[int | bytes], result: int, after: list[bytes]) -> str:
    """The line the tracer writes of the same call."""
    task = make_task()
    task.comm = b"x"
    buffer = Buffer(task)
    raw: list[int] = []
    places = []
    for arg in args:
        if isinstance(arg, bytes):
            raw.append(buffer.put(arg))
            places.append(raw[-1])
        else:
            raw.append(arg & 0xFFFFFFFFFFFFFFFF)
    values: Any = tuple([*raw, 0, 0, 0, 0, 0, 0][:6])
    lines: list[str] = []
    tracer = Tracer(build_table(), lines.append, limit=32)
    tracer.enter(task, NUMBERS[name], values)
    for place, content in zip(places, after, strict=True):
        task.mm.copy_out(place, content)
    tracer.exit(task, NUMBERS[name], values, result, 0)
    return lines[0].removeprefix(f"[{task.tid:4}] x ").removesuffix(" <0.000000>")


IMPLEMENTED = {one.name for one in build_table() if one.handler is not None}
CASES = [
    pytest.param(index, id=f"{index}-{name}")
    for index, (name, _args) in enumerate(CALLS)
    if name != "exit_group"
]


@pytest.mark.parametrize("index", CASES)
def test_lines_are_those_of_strace(native: list[tuple[str, int, list[bytes]]], index: int) -> None:
    name, args = CALLS[index]
    line, result, after = native[index]
    if name not in IMPLEMENTED:
        pytest.skip(f"{name} is not declared: its arguments are shown raw")
    assert plain(traced(name, args, result, after)) == plain(line)
