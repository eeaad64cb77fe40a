"""Watched entries: who is told what, what a verdict does, and that nothing is left of it afterwards."""

from __future__ import annotations

from errno import EACCES, EBADF, EFAULT, EIO, ENOENT
from typing import TYPE_CHECKING, Any

import pytest
from support import Buffer, Pending, make_kernel, make_task

from runsc.errors import RunscError
from runsc.kernel.observe.events import events_of
from runsc.kernel.observe.watch import Judge, WatchedEntry, entry_of, release, unwatch, watch
from runsc.kernel.syscalls.table import dispatch_table
from runsc.observer import Call, Change, Delay, Deny
from runsc.platform import SYSCALL
from runsc.plugins.hookspecs import hookimpl
from runsc.plugins.observers import Observer
from runsc.plugins.scan import Entry

if TYPE_CHECKING:
    from runsc.kernel.task import Task

GETPID, OPEN, READ, PIPE, CLOSE, STAT, EXIT = 39, 2, 0, 22, 3, 4, 60
ENTRY = Entry("observer", "x", "m:X", "dist", "1")


def task_with_table() -> Task:
    return make_task(make_kernel(dispatch_table()))


def run(task: Task, nr: int, *args: int) -> int | None:
    """A call as the loop makes it; its result, None while it waits."""
    thread: Any = task.thread
    thread.event, thread.nr, thread.args = SYSCALL, nr, (*args, *(0,) * (6 - len(args)))
    before = len(thread.results)
    task.kernel.syscall(thread)
    return thread.results[-1] if len(thread.results) > before else None


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def enter(self, task: Task, nr: int, args: tuple[int, ...]) -> None:
        self.seen.append(("enter", nr, args[0]))

    def exit(self, task: Task, nr: int, args: tuple[int, ...], result: int, duration_ns: int) -> None:
        self.seen.append(("exit", nr, result))


def judge(task: Task, number: int, enter: Any = None, exit_: Any = None) -> None:
    entry_of(task.kernel, number).judges.append(Judge("test", enter, exit_))


def test_watcher_is_told_of_entry_and_exit() -> None:
    task = task_with_table()
    recorder = Recorder()
    watch(task.kernel, recorder)
    assert run(task, GETPID) == task.tid
    assert run(task, CLOSE, 99) == -EBADF
    assert run(task, 100_000) == -38
    assert recorder.seen == [
        ("enter", GETPID, 0),
        ("exit", GETPID, task.tid),
        ("enter", CLOSE, 99),
        ("exit", CLOSE, -EBADF),
        ("enter", 100_000, 0),
        ("exit", 100_000, -38),
    ]


def test_unwatch_leaves_the_table_as_it_was() -> None:
    task = task_with_table()
    run(task, GETPID)
    before = list(task.kernel.table)
    missing = task.kernel.missing
    first, second = Recorder(), Recorder()
    watch(task.kernel, first)
    watch(task.kernel, second, [GETPID])
    unwatch(task.kernel, first)
    assert [nr for nr, entry in enumerate(task.kernel.table) if isinstance(entry, WatchedEntry)] == [GETPID]
    assert run(task, GETPID) == task.tid
    assert first.seen == []
    assert len(second.seen) == 2
    unwatch(task.kernel, second)
    assert task.kernel.table == before
    assert task.kernel.missing is missing
    assert not task.kernel.watched


def test_an_entry_that_compiles_itself_does_not_push_the_watched_one_out() -> None:
    task = task_with_table()
    recorder = Recorder()
    watch(task.kernel, recorder, [GETPID])
    run(task, GETPID)
    run(task, GETPID)
    assert len(recorder.seen) == 4


def test_a_waiting_call_is_told_of_when_it_ends() -> None:
    task = task_with_table()
    where = Buffer(task)
    ends = where.room(8)
    assert run(task, PIPE, ends) == 0
    recorder = Recorder()
    watch(task.kernel, recorder, [READ])
    read_end = int.from_bytes(where.get(ends, 4), "little")
    write_end = int.from_bytes(where.get(ends + 4, 4), "little")
    assert run(task, READ, read_end, where.room(4), 4) is None
    assert recorder.seen == [("enter", READ, read_end)]
    task.files.files[write_end].write(task, b"ab")
    task.kernel.step(task)
    assert recorder.seen[1:] == [("exit", READ, 2)]


def test_deny_has_no_effect_but_the_errno() -> None:
    task = task_with_table()
    results: list[int | None] = []
    judge(task, OPEN, lambda call: Deny(EACCES), lambda call: results.append(call.result))
    path = Buffer(task).text(b"/made")
    assert run(task, OPEN, path, 0o101, 0o644) == -EACCES
    assert results == [-EACCES]
    entry = entry_of(task.kernel, OPEN)
    entry.judges.clear()
    release(task.kernel, entry)
    assert run(task, OPEN, path, 0) == -ENOENT


def test_what_is_judged_is_what_is_done() -> None:
    """The guest changes the path while the judge looks: the handler uses the copy that was judged."""
    task = task_with_table()
    where = Buffer(task)
    path = where.text(b"/good")
    other = where.text(b"/evil")
    assert run(task, CLOSE, run(task, OPEN, other, 0o101, 0o644) or 0) == 0
    seen = []

    def look(call: Call) -> None:
        seen.append(call.values[0])
        task.mm.copy_out(path, b"/evil\0")

    judge(task, OPEN, look)
    assert run(task, OPEN, path, 0) == -ENOENT
    assert seen == [b"/good"]


def test_change_gives_the_handler_other_arguments() -> None:
    task = task_with_table()
    where = Buffer(task)
    assert run(task, CLOSE, run(task, OPEN, where.text(b"/there"), 0o101, 0o644) or 0) == 0
    judge(task, STAT, lambda call: Change(path=b"/there"))
    assert run(task, STAT, where.text(b"/nowhere"), where.room(144)) == 0


@pytest.mark.parametrize("change", [Change(nothing=1), Change(path=1)])
def test_a_change_that_does_not_fit_fails_the_call(change: Change) -> None:
    task = task_with_table()
    judge(task, STAT, lambda call: change)
    where = Buffer(task)
    assert run(task, STAT, where.text(b"/"), where.room(144)) == -EIO
    assert any("observer test failed" in text for _level, text in task.kernel.log.lines)
    task.kernel.log.lines.clear()


def test_an_observer_that_raises_has_not_agreed() -> None:
    task = task_with_table()

    def broken(call: Call) -> None:
        raise KeyError("oops")

    judge(task, GETPID, broken)
    assert run(task, GETPID) == -EIO
    assert any("KeyError" in text for _level, text in task.kernel.log.lines)
    task.kernel.log.lines.clear()


def test_delay_makes_the_call_later() -> None:
    task = task_with_table()
    judge(task, GETPID, lambda call: Delay(0.02))
    assert run(task, GETPID) is None
    kernel = task.kernel
    while kernel.timers.heap:
        kernel.timers.run_due()
        if task.ready:
            kernel.run_queue.clear()
            task.ready = False
            kernel.step(task)
            break
    thread: Any = task.thread
    assert thread.results == [task.tid]


def test_a_bad_pointer_is_the_calls_own_error() -> None:
    task = task_with_table()
    calls: list[Call] = []
    judge(task, OPEN, calls.append)
    assert run(task, OPEN, 0xDEAD0000, 0) == -EFAULT
    assert calls == []


def test_arguments_are_decoded() -> None:
    task = task_with_table()
    found: list[dict[str, Any]] = []

    def keep(call: Call) -> None:
        found.append(call.arguments())

    judge(task, STAT, keep, keep)
    where = Buffer(task)
    buffer = where.room(144)
    assert run(task, STAT, where.text(b"/"), buffer) == 0
    assert found[0] == {"path": b"/", "buf": buffer}
    assert found[1]["path"] == b"/"
    assert "st_mode=S_IFDIR" in found[1]["buf"]


class Everything:
    """All hooks, some with fewer parameters than there are."""

    syscalls = ("getpid",)

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @hookimpl
    def syscall_enter(self, call: Call) -> None:
        self.seen.append(call.name)

    @hookimpl
    def process_exited(self, status: int) -> None:
        self.seen.append(("exited", status))

    @hookimpl
    def file_opened(self, path: bytes) -> Deny | None:
        self.seen.append(path)
        return Deny(EACCES) if path == b"/secret" else None

    @hookimpl
    def socket_address(self, operation: str, address: str) -> None:
        self.seen.append((operation, address))


def test_observer_hooks_are_attached() -> None:
    task = task_with_table()
    instance = Everything()
    Observer(ENTRY, instance).attach(task.kernel)
    assert task.kernel.watched == {GETPID}
    where = Buffer(task)
    run(task, GETPID)
    assert run(task, OPEN, where.text(b"/secret"), 0o101, 0o644) == -EACCES
    fd = run(task, OPEN, where.text(b"/fine"), 0o101, 0o644)
    assert fd is not None
    assert fd >= 0
    sock = run(task, 41, 1, 1, 0) or 0
    address = b"\1\0/sock\0"
    assert run(task, 49, sock, where.put(address), len(address)) == 0
    assert instance.seen == ["getpid", b"/secret", b"/fine", ("bind", "unix:/sock")]


def test_a_denied_creation_creates_nothing() -> None:
    task = task_with_table()
    events_of(task.kernel).hooks["file_opened"].append(("test", lambda task, path, flags: Deny(EACCES)))
    path = Buffer(task).text(b"/new")
    assert run(task, OPEN, path, 0o101, 0o644) == -EACCES
    events_of(task.kernel).hooks["file_opened"].clear()
    assert run(task, OPEN, path, 0) == -ENOENT


class Misspelt:
    @hookimpl
    def syscall_entered(self, call: Call) -> None: ...


class WrongParameters:
    @hookimpl
    def syscall_enter(self, call: Call, extra: int) -> None: ...


class Nothing:
    pass


class NoSuchCall:
    syscalls = ("getpid", "frobnicate")

    @hookimpl
    def syscall_exit(self, call: Call) -> None: ...


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Misspelt, "syscall_entered"),
        (WrongParameters, "extra"),
        (Nothing, "implements no hook"),
        (NoSuchCall, "frobnicate"),
    ],
)
def test_a_wrong_observer_is_told_so(kind: type, says: str) -> None:
    with pytest.raises(RunscError, match=says):
        Observer(ENTRY, kind())


def test_pending_is_a_call_that_waits() -> None:
    """The stand-in for waiting calls works with watched entries too."""
    task = task_with_table()
    recorder = Recorder()
    watch(task.kernel, recorder, [READ])
    where = Buffer(task)
    ends = where.room(8)
    run(task, PIPE, ends)
    read_end = int.from_bytes(where.get(ends, 4), "little")
    waiting = task.kernel.table[READ](task, (read_end, where.room(4), 4, 0, 0, 0))
    pending = Pending(task, waiting)  # type: ignore[arg-type]
    assert pending.result is None
    pending.coroutine.close()
    task.coroutine = None
