"""The table of system calls: complete, without contradictions, honest about what is missing."""

from __future__ import annotations

import sys
from errno import ENOSYS
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runsc.abi.syscalls import LAST, NAMES
from runsc.kernel.syscalls import table
from runsc.kernel.syscalls.decl import FULL, NONE, PARTIAL, Int, Uid, syscall

if TYPE_CHECKING:
    from collections.abc import Callable


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)


def task_with_log() -> Any:
    platform = SimpleNamespace(prepare=lambda number, copies: None)
    return SimpleNamespace(tid=7, comm=b"guest", kernel=SimpleNamespace(log=Log(), platform=platform))


def module_with(monkeypatch: pytest.MonkeyPatch, name: str, *handlers: Callable[..., Any]) -> None:
    module = ModuleType(f"runsc.kernel.syscalls.{name}")
    for handler in handlers:
        handler.__module__ = module.__name__
        setattr(module, handler.__name__, handler)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_every_call_is_listed_once_in_order() -> None:
    listed = table.build_table()
    assert [one.number for one in listed] == sorted(NAMES)
    assert all(one.name == NAMES[one.number] for one in listed)
    assert all(one.support in (FULL, PARTIAL, NONE) for one in listed)
    assert all(one.note for one in listed if one.support == PARTIAL)


def test_what_has_no_handler_is_not_claimed_to_be_supported() -> None:
    assert all((one.handler is None) == (one.support == NONE) for one in table.build_table())


def test_the_reasons_are_of_existing_calls_that_have_no_handler() -> None:
    by_name = {one.name: one for one in table.build_table()}
    assert {name for name in table.REASONS if by_name[name].handler is not None} == set()


def test_modules_are_in_order_and_there() -> None:
    assert list(table.MODULES) == sorted(set(table.MODULES))
    table.declarations()


def test_a_module_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MODULES", ("not_there",))
    with pytest.raises(ModuleNotFoundError):
        table.build_table()


def test_two_handlers_of_one_number_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @syscall(39)
    def getpid(task: Any) -> int:
        return 1

    @syscall(39, name="getpid")
    def other(task: Any) -> int:
        return 2

    module_with(monkeypatch, "one", getpid)
    module_with(monkeypatch, "two", other)
    monkeypatch.setattr(table, "MODULES", ("one", "two"))
    with pytest.raises(table.DuplicateSyscall, match="39"):
        table.dispatch_table()


def test_a_wrong_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @syscall(40)
    def getpid(task: Any) -> int:
        return 1

    module_with(monkeypatch, "one", getpid)
    monkeypatch.setattr(table, "MODULES", ("one",))
    with pytest.raises(ValueError, match="sendfile"):
        table.build_table()


def test_entries_convert_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    @syscall(105)
    def setuid(task: Any, uid: Uid) -> int:
        seen.append(uid)
        return 0

    @syscall(109)
    def setpgid(task: Any, pid: Int, pgid: Int) -> int:
        seen.append((pid, pgid))
        return 0

    # Annotations are evaluated in the globals of the module that declares them.
    for handler in (setuid, setpgid):
        assert all(isinstance(value, str) for value in handler.__annotations__.values())
    module_with(monkeypatch, "one", setuid, setpgid)
    monkeypatch.setattr(table, "MODULES", ("one",))
    entries = table.dispatch_table()
    ones = 0xFFFFFFFFFFFFFFFF
    entries[105](task_with_log(), (ones, 0, 0, 0, 0, 0))
    entries[109](task_with_log(), (ones, 0x1_0000_0005, 0, 0, 0, 0))
    assert seen == [0xFFFFFFFF, (-1, 5)]


def test_missing_calls_answer_enosys_and_are_logged_once() -> None:
    task = task_with_log()
    entries = table.dispatch_table()
    assert len(entries) == LAST + 1
    args = (1, 2, 0xFF, 4, 5, 6)
    assert [entries[400](task, args) for _ in range(3)] == [-ENOSYS] * 3
    assert len(task.kernel.log.lines) == 1
    assert "400 (unknown)" in task.kernel.log.lines[0]
    assert "(0x1, 0x2, 0xff, 0x4, 0x5, 0x6)" in task.kernel.log.lines[0]
    assert table.missing_entry(180, "nfsservctl")(task, args) == -ENOSYS
    assert "180 (nfsservctl)" in task.kernel.log.lines[1]


def test_two_tables_log_each_for_itself() -> None:
    first, second = task_with_log(), task_with_log()
    for task in (first, second):
        table.dispatch_table()[400](task, (0,) * 6)
    assert len(first.kernel.log.lines) == len(second.kernel.log.lines) == 1
