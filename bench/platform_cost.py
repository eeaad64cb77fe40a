"""What a platform costs, in microseconds, beside the same thing done natively.

    python bench/platform_cost.py [PLATFORM [ROUNDS]]

Prints one line a row: the median of several repetitions. The guests are a few machine instructions;
the kernel is a loop that answers at once.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING

from runsc.abi import registers
from runsc.config import Config
from runsc.plugins.loader import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.platform import AddressSpace, Platform, Thread

CODE = 0x100000
DATA = 0x200000
GETPID_LOOP = b"\xb8\x27\x00\x00\x00\x0f\x05\xeb\xf7"  # 1: mov $39,%eax; syscall; jmp 1b
REPETITIONS = 7


def report(name: str, rounds: int, work: Callable[[int], None]) -> None:
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        work(rounds)
        times.append((time.perf_counter() - start) / rounds * 1e6)
    print(f"{name:28} {statistics.median(times):9.2f}   ({min(times):.2f} - {max(times):.2f})")


def native_getpid(rounds: int) -> None:
    """The same instructions in this process: mov; syscall; dec; jnz."""
    area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(b"\xb8\x27\x00\x00\x00\x0f\x05\x48\xff\xcf\x75\xf4\xc3")
    view = ctypes.c_char.from_buffer(area)
    ctypes.CFUNCTYPE(None, ctypes.c_long)(ctypes.addressof(view))(rounds)
    del view
    area.close()


def native_fork(rounds: int) -> None:
    for _ in range(rounds):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def guest(platform: Platform) -> tuple[AddressSpace, Thread]:
    space = platform.new_address_space()
    thread = space.new_thread()
    space.map(CODE, 0x10000, 7, 0x22, -1, 0)
    space.map(DATA, 0x10000, 3, 0x22, -1, 0)
    space.write(CODE, GETPID_LOOP)
    regs = [0] * registers.COUNT
    regs[registers.RIP] = CODE
    thread.set_regs(regs)
    thread.resume()
    while platform.wait(-1, -1) is None:
        pass
    return space, thread


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "ptrace"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20000
    platform: Platform = load("platform", name).make(Config())
    space, thread = guest(platform)
    wait = platform.wait

    def getpid(count: int) -> None:
        for _ in range(count):
            stopped = wait(-1, -1)
            if stopped is not None:
                stopped.complete(stopped.nr)

    def map_unmap(count: int) -> None:
        for _ in range(count):
            space.map(0x300000, 0x10000, 3, 0x22, -1, 0)
            space.unmap(0x300000, 0x10000)

    def fork(count: int) -> None:
        for _ in range(count):
            child_space, child = space.fork(thread)
            child.release()
            child_space.release()

    def spawn(count: int) -> None:
        for _ in range(count):
            space.spawn(thread).release()

    def new_space(count: int) -> None:
        for _ in range(count):
            platform.new_address_space().release()

    def read(size: int) -> Callable[[int], None]:
        def work(count: int) -> None:
            for _ in range(count):
                space.read(DATA, size)

        return work

    def write(size: int) -> Callable[[int], None]:
        data = bytes(size)

        def work(count: int) -> None:
            for _ in range(count):
                space.write(DATA, data)

        return work

    def registers_both(count: int) -> None:
        for _ in range(count):
            thread.set_regs(thread.get_regs())

    def exchange(count: int) -> None:
        for _ in range(count):
            space.compare_exchange(DATA, 0, 0)

    print(f"{'us':28} {'median':>9}")
    report("native getpid", rounds * 10, native_getpid)
    thread.complete(0)
    report("getpid", rounds, getpid)
    while wait(-1, -1) is None:
        pass
    report("map + unmap 64 KiB", rounds // 10, map_unmap)
    report("compare_exchange", rounds // 10, exchange)
    report("native fork + exit + wait", rounds // 100, native_fork)
    report("fork + release", rounds // 100, fork)
    report("spawn + release", rounds // 100, spawn)
    report("new_address_space + release", rounds // 100, new_space)
    report("read 8", rounds, read(8))
    report("read 32 KiB", rounds // 10, read(32768))
    report("write 8", rounds, write(8))
    report("write 32 KiB", rounds // 10, write(32768))
    report("get_regs + set_regs", rounds, registers_both)
    platform.close()


if __name__ == "__main__":
    main()
