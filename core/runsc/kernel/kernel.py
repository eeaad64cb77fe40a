"""The kernel: its tasks, and the one loop that everything happens in.

    wait for a guest thread to stop  ->  answer its system call  ->  let it go on

A call that can't be answered at once is a coroutine: it parks, and the loop runs it again when something it
waits for has happened (``run_queue``).
"""

from __future__ import annotations

from collections import deque
from time import monotonic_ns

from runsc.abi.signal import BUS_ADRERR, SIGBUS, SIGKILL, SIGSEGV
from runsc.errors import trace
from runsc.kernel.entry import return_to_user
from runsc.kernel.errors import Interrupted, LinuxError
from runsc.kernel.exit import exit_group
from runsc.kernel.futex import task_exit as futex_task_exit
from runsc.kernel.gate import gated
from runsc.kernel.hostpoll import HostPoller
from runsc.kernel.nsproxy import initial
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.signal import force
from runsc.kernel.syscalls.decl import GONE, REGISTERS_SET
from runsc.kernel.syscalls.table import missing_entry
from runsc.kernel.task import WORK_DEAD
from runsc.kernel.timers import Timers
from runsc.platform import DEAD, FAULT, INTERRUPTED, SYSCALL, AddressSpaceGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runsc.kernel.nsproxy import NsProxy
    from runsc.kernel.observe.events import Events
    from runsc.kernel.pid import PidNamespace
    from runsc.kernel.syscalls.decl import Entry
    from runsc.kernel.task import Task
    from runsc.kernel.thread_group import ThreadGroup
    from runsc.kernel.vfs.notify import Notifier
    from runsc.platform import Platform, Thread

_EIO = 5


class Kernel:
    """One sandbox's kernel.

    ``platform`` runs the guest; ``log`` has debug/info/warning/error; ``table`` answers system calls by
    number. ``console``: the host's terminal, if the sandbox has one.
    """

    __slots__ = (
        "boot_time_ns",
        "closers",
        "config",
        "console",
        "cpus",
        "events",
        "exit_hooks",
        "exit_status",
        "extra",
        "futexes",
        "gated",
        "halted",
        "init_group",
        "initial_fpu",
        "log",
        "missing",
        "notify",
        "nsproxy",
        "pid_ns",
        "platform",
        "poller",
        "run_queue",
        "table",
        "tasks",
        "timers",
        "watched",
    )

    def __init__(self, platform: Platform, log: Any, config: Any, table: list[Entry]) -> None:
        self.platform = platform
        self.log = log
        self.config = config
        self.table = table
        #: the table of tasks with filters or a tracer
        self.gated: list[Entry] = [gated] * len(table)
        #: answers numbers beyond the table
        self.missing: Entry = missing_entry(len(table))
        #: who wants to know of processes, signals, files...; None while nobody does
        self.events: Events | None = None
        #: the numbers of calls whose entry tells somebody (runsc.kernel.observe.watch)
        self.watched: set[int] = set()
        self.timers = Timers()
        self.poller = HostPoller()
        self.run_queue: deque[Task] = deque()
        #: the namespaces of the first process; those of the kernel itself
        self.nsproxy: NsProxy = initial()
        self.pid_ns: PidNamespace = self.nsproxy.pid_for_children
        self.tasks: dict[int, Task] = self.pid_ns.tasks
        self.init_group: ThreadGroup | None = None
        self.exit_status: int | None = None
        self.halted = False
        self.boot_time_ns = monotonic_ns()
        self.console: Any = None
        #: who watches files (inotify); None while nobody does
        self.notify: Notifier | None = None
        self.futexes: Any = None
        self.cpus: tuple[int, ...] = (0,)
        self.initial_fpu = b""
        #: called with each task that ends, while its memory can still be reached (robust futexes,
        #: clear_child_tid)
        self.exit_hooks: list[Callable[[Task], None]] = [futex_task_exit]
        #: called once when the kernel goes down: whoever holds a descriptor of the host gives it back here
        self.closers: list[Callable[[], None]] = []
        #: what modules keep once for each kernel, by name
        self.extra: dict[str, Any] = self.nsproxy.net.extra

    @property
    def network(self) -> Any:
        """Who makes the sockets of the first network namespace."""
        return self.nsproxy.net.network

    @network.setter
    def network(self, network: Any) -> None:
        self.nsproxy.net.network = network

    # -- the loop -----------------------------------------------------------------------------

    def run(self) -> int:
        """Run until the first process has ended; its wait status."""
        wait = self.platform.wait
        queue = self.run_queue
        timers = self.timers
        poll_fd = self.poller.fd
        while not self.halted:
            timeout = timers.run_due() if timers.heap else -1
            # What became ready before is done first; what that makes ready waits until the guest had its
            # turn.
            if queue:
                for _ in range(len(queue)):
                    task = queue.popleft()
                    task.ready = False
                    self.step(task)
                if queue or self.halted:
                    timeout = 0
                elif timers.heap:
                    continue
            thread = wait(poll_fd, timeout)
            if thread is None:
                self.poller.dispatch()
            elif thread.event == SYSCALL:
                self.syscall(thread)
            else:
                self.stopped(thread)
        assert self.exit_status is not None
        return self.exit_status

    def syscall(self, thread: Thread) -> None:
        """Answer a system call."""
        task: Task = thread.owner
        nr = thread.nr
        args = thread.args
        task.syscall_nr = nr
        try:
            table = task.table
            result = table[nr](task, args) if 0 <= nr < len(table) else self.unknown(task, args)
        except LinuxError as error:
            result = -error.errno
        except Exception as error:
            result = self.handler_failed(task, error)
        if type(result) is int:
            if task.work or result >= REGISTERS_SET:
                self.finish(task, result)
            else:
                thread.complete(result)
        else:
            task.coroutine = result  # type: ignore[assignment]
            self.step(task)

    def unknown(self, task: Task, args: tuple[int, int, int, int, int, int]) -> Any:
        """Answer a call whose number is beyond the table; filters and tracers see it too."""
        return self.missing(task, args) if task.table is self.table else gated(task, args)

    def step(self, task: Task) -> None:
        """Let a task that was woken go on: its waiting call, or its way back after a stop."""
        coroutine = task.coroutine
        task.parked = False
        if task.work & WORK_DEAD:
            return
        if coroutine is None:
            state = task.stop_state
            if state is not None:
                task.stop_state = None
                task.state = "R"
                return_to_user(task, *state)
            return
        try:
            coroutine.send(None)
        except StopIteration as stop:
            task.coroutine = None
            self.finish(task, stop.value)
        except LinuxError as error:
            task.coroutine = None
            self.finish(task, -error.errno)
        except Interrupted as interrupted:
            task.coroutine = None
            return_to_user(task, None, interrupted)
        except Exception as error:
            task.coroutine = None
            self.finish(task, self.handler_failed(task, error))
        else:
            if task.work & WORK_DEAD:
                # It ended its own task and then went on to wait.
                coroutine.close()
            else:
                task.parked = True

    def finish(self, task: Task, result: int) -> None:
        """A system call is done."""
        if result >= REGISTERS_SET:
            if result == GONE or task.work & WORK_DEAD:
                return
            return_to_user(task, None)
        elif task.work:
            return_to_user(task, result)
        else:
            task.thread.complete(result)

    def handler_failed(self, task: Task, error: Exception) -> Any:
        """What a call answers when its handler raised something that is no LinuxError."""
        if isinstance(error, OSError) and error.errno:
            return -error.errno
        if isinstance(error, Interrupted):
            return self.interrupted_at_once(error)
        if isinstance(error, AddressSpaceGone):
            self.log.warning(f"{task!r}: its memory is gone; the process is killed")
            exit_group(task, SIGKILL)
            return GONE
        self.log.error(f"system call {task.syscall_nr} of {task!r} failed inside the kernel:\n{trace(error)}")
        return -_EIO

    @staticmethod
    async def interrupted_at_once(error: Interrupted) -> int:
        """A handler that found a signal pending before it had waited at all."""
        raise error

    def stopped(self, thread: Thread) -> None:
        """A guest thread stopped for something other than a system call."""
        task: Task = thread.owner
        if thread.event == FAULT:
            fault = thread.fault
            assert fault is not None
            if fault.signo == SIGSEGV and fault.code == 1 and task.mm.grow_stack(fault.addr):
                thread.resume()
                return
            if fault.signo == SIGBUS and fault.code == BUS_ADRERR:
                fault.addr &= 0xFFFFFFFFFFFFFFFF
            force(task, SigInfo(fault.signo, fault.code, addr=fault.addr))
            return_to_user(task, None)
            thread.fault = None
        elif thread.event == INTERRUPTED:
            return_to_user(task, None)
        elif thread.event == DEAD:
            self.log.warning(f"{task!r} was killed from outside")
            exit_group(task, SIGKILL)
        else:
            raise AssertionError(f"the platform reported an unknown event {thread.event}")

    def close(self) -> None:
        """Give back what the kernel and its parts hold of the host. Idempotent."""
        closers, self.closers = self.closers, []
        for closer in reversed(closers):
            closer()
        self.poller.close()

    # -- tasks --------------------------------------------------------------------------------

    def forget_tid(self, task: Task) -> None:
        """The id of a task that ended may be given again."""
        task.pid.detach(task)

    def init_exited(self, status: int) -> None:
        """The first process has ended: everybody else is killed (zap_pid_ns_processes), the loop ends."""
        self.exit_status = status
        self.halted = True
        for task in list(self.tasks.values()):
            group = task.group
            if not group.zombie:
                group.exiting = True
                group.exit_code = SIGKILL
                for thread in list(group.tasks):
                    from runsc.kernel.exit import exit_task

                    exit_task(thread, SIGKILL)
