"""A kernel without a platform, for unit tests: guest memory is a dictionary of pages, threads are lists of
registers."""

from __future__ import annotations

from errno import EFAULT
from typing import TYPE_CHECKING, Any

from runsc.abi.registers import COUNT, RSP
from runsc.kernel.credentials import ALL_CAPS, Credentials
from runsc.kernel.errors import Interrupted, LinuxError
from runsc.kernel.kernel import Kernel
from runsc.kernel.mm.mm import MemoryManager
from runsc.kernel.mm.vma import MAP_PRIVATE
from runsc.kernel.signal import SignalHandlers, SignalQueue
from runsc.kernel.task import Task
from runsc.kernel.thread_group import ProcessGroup, Session, ThreadGroup, default_limits
from runsc.kernel.tunables import tunables
from runsc.kernel.vfs.fdtable import FdTable, FsContext
from runsc.kernel.vfs.namespace import MountNamespace
from runsc.platform import AddressSpace, Platform, Thread

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from runsc.kernel.vfs.inode import FileSystem

PAGE = 4096


class FakeSpace(AddressSpace):
    """Guest memory: page number -> [bytearray, prot]. Private and anonymous only."""

    min_address = 65536
    task_size = 0x7FFF_FFFF_0000
    initial_areas: Sequence[tuple[int, int, str]] = ()
    vdso = 0

    def __init__(self) -> None:
        self.pages: dict[int, list[Any]] = {}
        self.released = False

    def map(self, addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> None:
        for page in range(addr // PAGE, (addr + length) // PAGE):
            self.pages[page] = [bytearray(PAGE), prot]

    def unmap(self, addr: int, length: int) -> None:
        for page in range(addr // PAGE, (addr + length) // PAGE):
            self.pages.pop(page, None)

    def protect(self, addr: int, length: int, prot: int) -> None:
        for page in range(addr // PAGE, (addr + length) // PAGE):
            self.pages[page][1] = prot

    def move(self, old: int, old_len: int, new: int, new_len: int, keep: bool = False) -> None:
        taken = [self.pages.pop(old // PAGE + i) for i in range(old_len // PAGE)]
        prot = taken[0][1]
        for index in range(new_len // PAGE):
            self.pages[new // PAGE + index] = taken[index] if index < len(taken) else [bytearray(PAGE), prot]
        if keep:
            self.map(old, old_len, prot, MAP_PRIVATE, -1, 0)

    def advise(self, addr: int, length: int, advice: int) -> None:
        if advice == 4:
            for page in range(addr // PAGE, (addr + length) // PAGE):
                self.pages[page][0] = bytearray(PAGE)

    def sync(self, addr: int, length: int, flags: int) -> None:
        return

    def residency(self, addr: int, length: int) -> bytes:
        return bytes(1 for _ in range(length // PAGE))

    def read(self, addr: int, length: int) -> bytes:
        parts = []
        while length > 0:
            page = self.pages.get(addr // PAGE)
            if page is None or not page[1] & 1:
                break
            start = addr % PAGE
            part = bytes(page[0][start : start + min(length, PAGE - start)])
            parts.append(part)
            addr += len(part)
            length -= len(part)
        return b"".join(parts)

    def _write(self, addr: int, data: bytes | bytearray | memoryview, need: int) -> int:
        done = 0
        while done < len(data):
            page = self.pages.get((addr + done) // PAGE)
            if page is None or page[1] & need != need:
                break
            start = (addr + done) % PAGE
            count = min(len(data) - done, PAGE - start)
            page[0][start : start + count] = bytes(data[done : done + count])
            done += count
        return done

    def write(self, addr: int, data: bytes | bytearray | memoryview) -> int:
        return self._write(addr, data, 2)

    def poke(self, addr: int, data: bytes) -> int:
        return self._write(addr, data, 0)

    def compare_exchange(self, addr: int, expected: int, new: int) -> int:
        found = self.read(addr, 4)
        if len(found) < 4:
            raise OSError(EFAULT, "no such word")
        value = int.from_bytes(found, "little")
        if value == expected and self.write(addr, new.to_bytes(4, "little")) < 4:
            raise OSError(EFAULT, "the word cannot be written")
        return value

    def new_thread(self) -> Thread:
        return FakeThread()

    def spawn(self, parent: Thread) -> Thread:
        return FakeThread(parent.get_regs())

    def fork(self, parent: Thread) -> tuple[AddressSpace, Thread]:
        child = FakeSpace()
        child.pages = {number: [bytearray(page[0]), page[1]] for number, page in self.pages.items()}
        return child, FakeThread(parent.get_regs())

    def reset(self) -> None:
        self.pages.clear()

    def resident_bytes(self) -> int:
        return len(self.pages) * PAGE

    def release(self) -> None:
        self.released = True


class FakeThread(Thread):
    """Registers, and a record of what was done: ``results`` of completed calls, ``interrupts``,
    ``running``."""

    def __init__(self, regs: Sequence[int] | None = None) -> None:
        self.regs = list(regs) if regs is not None else [0] * COUNT
        self.owner = None
        self.event = 0
        self.fault = None
        self.results: list[int] = []
        self.running = False
        self.interrupts = 0
        self.released = False
        self.fpu = bytes(464) + (7).to_bytes(8, "little") + bytes(832 - 472)

    def complete(self, result: int) -> None:
        self.results.append(result)
        self.running = True

    def resume(self) -> None:
        self.running = True

    def get_regs(self) -> list[int]:
        return list(self.regs)

    def set_regs(self, regs: Sequence[int]) -> None:
        self.regs = list(regs)

    def get_fpu(self) -> bytes:
        return self.fpu

    def set_fpu(self, area: bytes) -> None:
        self.fpu = area

    def interrupt(self) -> None:
        self.interrupts += 1

    def release(self) -> None:
        self.released = True


class FakePlatform(Platform):
    """Makes fake address spaces; ``wait`` is never reached in a unit test."""

    name = "fake"

    @classmethod
    def check(cls) -> Any:
        from runsc.plugins.availability import Availability

        return Availability.yes()

    def new_address_space(self) -> AddressSpace:
        return FakeSpace()

    def wait(self, poll_fd: int, timeout_ns: int) -> Thread | None:
        raise AssertionError("no guest code runs in a unit test")

    def close(self) -> None:
        return


class ListLog:
    """Keeps (level, message) pairs."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def debug(self, text: str) -> None:
        self.lines.append(("debug", text))

    def info(self, text: str) -> None:
        self.lines.append(("info", text))

    def warning(self, text: str) -> None:
        self.lines.append(("warning", text))

    def error(self, text: str) -> None:
        self.lines.append(("error", text))


#: Kernels made by the test that runs; ``close_kernels`` ends them.
KERNELS: list[Kernel] = []


def close_kernels() -> None:
    """Close what the kernels of a test hold: open files, memory, the poller."""
    while KERNELS:
        kernel = KERNELS.pop()
        for task in list(kernel.tasks.values()):
            task.files.close_all(task)
            if not task.mm.released:
                task.mm.released = True
                task.mm.release_areas()
        kernel.close()


def make_kernel(table: Any = None) -> Kernel:
    """A kernel whose handlers are called by ``call``; errors in its log fail the test through
    ``check_log``."""
    kernel = Kernel(FakePlatform(), ListLog(), None, table if table is not None else [])
    kernel.initial_fpu = FakeThread().fpu
    kernel.extra["hwcap"] = (0, 0, 2048)
    KERNELS.append(kernel)
    return kernel


def make_task(
    kernel: Kernel | None = None,
    root: FileSystem | None = None,
    uid: int = 0,
    gid: int = 0,
    parent: Task | None = None,
) -> Task:
    """A task of its own process, with 1 MiB of memory at 0x10000000 (see ``buffer``) and ``root`` (a Tmpfs
    if None) as /.

    ``parent``: the new process is its child and shares its file tree.
    """
    kernel = kernel or make_kernel()
    space = FakeSpace()
    task = Task(kernel, kernel.pid_ns.allocate(), space.new_thread(), kernel.nsproxy)
    task.mm = MemoryManager(space, tunables(kernel))
    task.cred = Credentials(uid, gid, (), ALL_CAPS if uid == 0 else 0)
    task.pending = SignalQueue()
    task.sighand = SignalHandlers()
    task.files = FdTable()
    task.cpu_mask = 1
    group = ThreadGroup(kernel, task, parent.group if parent else None, default_limits())
    group.exit_signal = 17
    task.group = group
    if parent is not None:
        task.fs = parent.fs.fork()
        parent.group.children.append(group)
        parent.group.process_group.add(group)
    else:
        if root is None:
            from runsc.kernel.fs.tmpfs import Tmpfs

            root = Tmpfs()
        namespace = MountNamespace(root)
        at = namespace.root_path()
        task.fs = FsContext(namespace, at, at)
        ProcessGroup(task.pid, Session(task.pid, group)).add(group)
        kernel.init_group = kernel.init_group or group
    task.pid.attach(task)
    task.mm.map(0x10000000, 1 << 20, 3, MAP_PRIVATE, None, 0)
    regs = task.thread.get_regs()
    regs[RSP] = 0x10000000 + (1 << 20) - 4096
    task.thread.set_regs(regs)
    return task


class Buffer:
    """Hands out places in a task's memory."""

    def __init__(self, task: Task, start: int = 0x10000000) -> None:
        self.task = task
        self.next = start

    def put(self, data: bytes) -> int:
        """Copy ``data`` to a place of its own; the address."""
        addr = self.next
        self.next += (len(data) + 63) & ~63 or 64
        self.task.mm.copy_out(addr, data)
        return addr

    def text(self, text: bytes) -> int:
        """A string with its NUL."""
        return self.put(text + b"\0")

    def room(self, size: int) -> int:
        """``size`` zero bytes."""
        return self.put(bytes(size))

    def get(self, addr: int, size: int) -> bytes:
        return self.task.mm.copy_in(addr, size)


class Pending:
    """A call that waits. ``step`` lets it look again; ``result`` is set when it is done."""

    def __init__(self, task: Task, coroutine: Coroutine[Any, Any, int]) -> None:
        self.task = task
        self.coroutine = coroutine
        self.result: int | None = None
        self.interrupted: Interrupted | None = None
        task.coroutine = coroutine
        self.step()

    def step(self) -> int | None:
        """Run until it waits again or ends; its result (a negative errno for an error), or None."""
        self.task.parked = False
        self.task.ready = False
        if self.task in self.task.kernel.run_queue:
            self.task.kernel.run_queue.remove(self.task)
        try:
            self.coroutine.send(None)
        except StopIteration as stop:
            self.result = stop.value
        except LinuxError as error:
            self.result = -error.errno
        except Interrupted as interrupted:
            self.interrupted = interrupted
            self.result = -512
        else:
            self.task.parked = True
            return None
        self.task.coroutine = None
        return self.result

    def woken(self) -> bool:
        """Has something asked it to look again?"""
        return self.task.ready


def call(task: Task, handler: Any, *args: int) -> Any:
    """Call a handler with raw arguments (as registers hold them), through its declaration.

    The result, -errno, or a ``Pending`` if it waits. ``handler``: the decorated function.
    """
    from runsc.kernel.syscalls.decl import compile_entry

    entry = compile_entry(handler.__syscalls__[0])
    padded = [arg & 0xFFFFFFFFFFFFFFFF for arg in args] + [0] * (6 - len(args))
    raw = (padded[0], padded[1], padded[2], padded[3], padded[4], padded[5])
    try:
        result = entry(task, raw)
    except LinuxError as error:
        return -error.errno
    except OSError as error:
        return -(error.errno or 5)
    if isinstance(result, int):
        return result
    pending = Pending(task, result)
    return pending.result if pending.result is not None else pending


def run_ready(task: Task) -> None:
    """Let every task on the run queue look again, as the kernel's loop does."""
    queue = task.kernel.run_queue
    while queue:
        other = queue.popleft()
        other.ready = False
        task.kernel.step(other)
