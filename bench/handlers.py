"""What the kernel itself costs: each call of the benchmark answered without a guest, a platform or copies.

    python bench/handlers.py [ROW...]

Guest memory is one bytearray, a thread is a stand-in that does nothing. So what is left is dispatch,
conversion and handler: the part that is Python. Microseconds of processor time per round, the best of
several; a round of several calls says so.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from struct import unpack_from
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/unit/kernel"))

from support import FakePlatform, FakeSpace, FakeThread, make_kernel, make_task

from runsc.abi.registers import RSP
from runsc.kernel.syscalls.table import dispatch_table
from runsc.platform import SYSCALL, AddressSpace, Thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task

BASE = 0x10000000
SIZE = 1 << 20


class FlatSpace(FakeSpace):
    """All of guest memory in one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = bytearray(SIZE)

    def read(self, addr: int, length: int) -> bytes:
        at = addr - BASE
        return bytes(self.memory[at : at + length])

    def write(self, addr: int, data: bytes | bytearray | memoryview) -> int:
        at = addr - BASE
        self.memory[at : at + len(data)] = data
        return len(data)

    def spawn(self, parent: Thread) -> Thread:
        return QuietThread(parent.get_regs())

    def fork(self, parent: Thread) -> tuple[AddressSpace, Thread]:
        child = FlatSpace.__new__(FlatSpace)
        child.memory = self.memory
        child.pages = {}
        return child, QuietThread(parent.get_regs())


class QuietThread(FakeThread):
    """Keeps the last result only."""

    def complete(self, result: int) -> None:
        self.result = result


class Machine:
    """A kernel with one task."""

    def __init__(self) -> None:
        self.kernel: Kernel = make_kernel(dispatch_table())
        self.task: Task = make_task(self.kernel)
        self.space = FlatSpace()
        self.task.mm.space = self.space
        self.thread = QuietThread()
        self.thread.owner = self.task
        self.thread.event = SYSCALL
        self.task.thread = self.thread

    def call(self, nr: int, *args: int) -> int:
        """One system call, as the loop makes it."""
        self.thread.nr = nr
        self.thread.args = (*args, *(0,) * (6 - len(args)))
        self.kernel.syscall(self.thread)
        return self.thread.result

    def call_as(self, task: Task, nr: int, *args: int) -> None:
        """The same of another task."""
        thread = task.thread
        thread.nr = nr
        thread.args = (*args, *(0,) * (6 - len(args)))  # type: ignore[assignment]
        self.kernel.syscall(thread)

    def newest(self) -> Task:
        """The task that was made last."""
        return next(reversed(self.kernel.tasks.values()))

    def put(self, at: int, data: bytes) -> int:
        self.space.memory[at : at + len(data)] = data
        return BASE + at


def rows(m: Machine) -> dict[str, Callable[[], object]]:
    """The rows: name -> one round."""
    name = m.put(0, b"/tmp/name\0")
    null = m.put(64, b"/dev/null\0")
    deep = m.put(128, b"/usr/share/doc/readme\0")
    for path in (b"/tmp\0", b"/dev\0", b"/usr\0", b"/usr/share\0", b"/usr/share/doc\0"):
        m.call(83, m.put(256, path), 0o755)
    m.call(133, null, 0o20666, 0x103)
    m.call(85, deep, 0o644)
    buf = BASE + 8192
    null_fd = m.call(2, null, 2)
    file_fd = m.call(2, name, 0o102, 0o644)
    m.call(1, file_fd, buf, 8192)
    m.call(22, BASE + 512)
    m.call(53, 1, 1, 0, BASE + 520)
    read_end, write_end, left, right = unpack_from("<4i", m.space.memory, 512)
    epoll = m.call(291, 0)
    m.call(284, 0)
    event = m.call(290, 1, 0)
    m.put(600, (1).to_bytes(4, "little") + bytes(8))
    m.call(233, epoll, 1, event, BASE + 600)
    assert min(null_fd, file_fd, read_end, left, epoll, event) >= 0

    def open_close() -> None:
        m.call(3, m.call(2, name, 0))

    def create_unlink() -> None:
        m.call(3, m.call(2, new, 0o302, 0o644))
        m.call(87, new)

    def pipe_self() -> None:
        m.call(1, write_end, buf, 1)
        m.call(0, read_end, buf, 1)

    def unix_rr() -> None:
        m.call(1, left, buf, 1)
        m.call(0, right, buf, 1)

    new = m.put(300, b"/tmp/new\0")
    m.put(700, (BASE + 4096).to_bytes(8, "little") + (0x04000000).to_bytes(8, "little"))
    m.put(716, (BASE + 4200).to_bytes(8, "little") + bytes(8))
    m.call(13, 10, BASE + 700, 0, 8)

    tid = m.task.tid

    def signal_self() -> None:
        m.call(234, tid, tid, 10)
        regs = m.thread.regs
        regs[RSP] += 8
        m.call(15)

    def fork_wait() -> None:
        m.call(57)
        child = m.newest()
        m.call_as(child, 231, 0)
        m.call(61, -1 & 0xFFFFFFFFFFFFFFFF, 0, 0, 0)

    def thread() -> None:
        m.call(56, 0x3D0F00, BASE + 65536, BASE + 800, BASE + 804, 0)
        child = m.newest()
        m.call_as(child, 60, 0)

    return {
        "getpid": lambda: m.call(39),
        "sched_yield": lambda: m.call(24),
        "clock_gettime": lambda: m.call(228, 1, buf),
        "write_null": lambda: m.call(1, null_fd, buf, 1),
        "stat": lambda: m.call(4, name, buf),
        "stat_deep": lambda: m.call(4, deep, buf),
        "fstat": lambda: m.call(5, file_fd, buf),
        "open_close (2)": open_close,
        "pread_4k": lambda: m.call(17, file_fd, buf, 4096, 0),
        "pwrite_4k": lambda: m.call(18, file_fd, buf, 4096, 0),
        "create_unlink (3)": create_unlink,
        "pipe_self (2)": pipe_self,
        "unix_rr (2)": unix_rr,
        "epoll_wait_ready": lambda: m.call(232, epoll, buf, 8, 0),
        "sigprocmask": lambda: m.call(14, 0, 0, buf, 8),
        "futex_wake": lambda: m.call(202, buf, 1, 1),
        "signal_self (2)": signal_self,
        "fork_wait (3)": fork_wait,
        "thread (2)": thread,
    }


def main(words: list[str]) -> None:
    machine = Machine()
    for row, function in rows(machine).items():
        if words and not any(row.startswith(word) for word in words):
            continue
        best = 1e9
        for _ in range(9):
            started = time.thread_time()
            for _ in range(5000):
                function()
            best = min(best, (time.thread_time() - started) / 5000)
        print(f"{row:20} {best * 1e6:7.2f}")


if __name__ == "__main__":
    assert FakePlatform.name == "fake"
    main(sys.argv[1:])
