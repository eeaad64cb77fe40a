"""Futexes: results compared with the host's, sleeping and waking among several tasks."""

from __future__ import annotations

from errno import EAGAIN, EINVAL, ESRCH, ETIMEDOUT
from struct import pack
from typing import Any

import pytest
from scenario import HANDLERS, Guest, Machine, same
from support import FakeThread, Pending, call, make_task

from runsc.abi.futex import (
    FUTEX_CLOCK_REALTIME,
    FUTEX_CMP_REQUEUE,
    FUTEX_LOCK_PI,
    FUTEX_OWNER_DIED,
    FUTEX_PRIVATE_FLAG,
    FUTEX_REQUEUE,
    FUTEX_TRYLOCK_PI,
    FUTEX_UNLOCK_PI,
    FUTEX_WAIT,
    FUTEX_WAIT_BITSET,
    FUTEX_WAITERS,
    FUTEX_WAKE,
    FUTEX_WAKE_BITSET,
    FUTEX_WAKE_OP,
)
from runsc.kernel.errors import Restart, RestartAlways
from runsc.kernel.futex import task_exit
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.task import WORK_DEAD

WORD = 0x10080000
OTHER = WORD + 4


class Threads:
    """Tasks of one process, and the words they share."""

    def __init__(self, count: int) -> None:
        self.guest = Guest()
        main = self.guest.task
        self.tasks = [main]
        for _ in range(count - 1):
            task = make_task(main.kernel, parent=main)
            task.mm = main.mm.grab()
            task.group.tasks.remove(task)
            task.group = main.group
            main.group.tasks.append(task)
            self.tasks.append(task)

    def set(self, addr: int, value: int) -> None:
        self.tasks[0].mm.write_u32(addr, value)

    def get(self, addr: int) -> int:
        return self.tasks[0].mm.read_u32(addr)

    def futex(self, index: int, addr: int, op: int, value: int = 0, *more: int) -> Any:
        return call(self.tasks[index], HANDLERS["futex"], addr, op, value, *more)


def test_results_without_sleepers() -> None:
    def scenario(m: Machine) -> Any:
        word = m.put(pack("<II", 5, 7))
        soon, bad = m.put(pack("<qq", 0, 1000)), m.put(pack("<qq", 0, 10**9))
        found = [
            m.call("futex", word, FUTEX_WAIT, 6, 0, 0, 0),
            m.call("futex", word, FUTEX_WAIT, 5, bad, 0, 0),
        ]
        for op in (*range(15), 99):
            for flag in (0, FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME):
                if op in (6, 8, 11, 12, 13):
                    continue  # the holder is another task there; 11 and 12 are missing here
                # For REQUEUE and CMP_REQUEUE the fourth argument is a count, not an address.
                fourth = 0 if op in (3, 4) else soon
                found.append((op, flag, m.call("futex", word, op | flag, 6, fourth, word + 4, 9)))
        found += [
            m.call("futex", addr, op, 1, 0, 0, 1)
            for addr in (word + 1, 8, 1 << 60)
            for op in (0, 1, 129, 10, 6)
        ]
        found += [
            m.call("futex", word, FUTEX_WAIT_BITSET, 5, 0, 0, 0),
            m.call("futex", word, FUTEX_WAKE_BITSET, 5, 0, 0, 0),
        ]
        found += [
            m.call("futex", word, FUTEX_REQUEUE, -1, 0, word + 4, 0),
            m.call("futex", word, FUTEX_REQUEUE, 0, -1, word + 4),
        ]
        found += [m.call("futex", word, FUTEX_CMP_REQUEUE, 1, 1, word + 4, 4)]
        return found

    same(scenario)


@pytest.mark.parametrize("op", range(8))
@pytest.mark.parametrize("comparison", range(7))
def test_wake_op(op: int, comparison: int) -> None:
    def scenario(m: Machine) -> Any:
        found = []
        for value, argument, against in (
            (5, 3, 5),
            (0xFFFFFFFF, 0xFFF, 0xFFF),
            (0x80000000, 1, 0),
            (7, 0x7FF, 0x801),
        ):
            for shift in (0, 8):
                if shift and argument > 31:
                    continue  # the host logs this
                word = m.put(pack("<II", 0, value))
                encoded = (op | shift) << 28 | comparison << 24 | argument << 12 | against
                found.append((m.call("futex", word, FUTEX_WAKE_OP, 1, 1, word + 4, encoded), m.get(word, 8)))
        return found

    if op < 5 and comparison < 6:
        same(scenario)
    else:
        assert {result for result, _ in scenario(Guest())} == {-38}


def test_wait_and_wake() -> None:
    threads = Threads(4)
    threads.set(WORD, 1)
    sleepers = [threads.futex(i, WORD, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 1) for i in range(3)]
    assert all(isinstance(sleeper, Pending) for sleeper in sleepers)
    assert threads.futex(3, WORD, FUTEX_WAKE, 2) == 2
    assert [sleeper.woken() for sleeper in sleepers] == [True, True, False]
    assert [sleepers[0].step(), sleepers[1].step()] == [0, 0]
    assert threads.futex(3, WORD, FUTEX_WAKE, 2) == 1
    assert threads.futex(3, WORD, FUTEX_WAKE, 2) == 0


def test_bit_sets() -> None:
    threads = Threads(3)
    first = threads.futex(0, WORD, FUTEX_WAIT_BITSET, 0, 0, 0, 1)
    second = threads.futex(1, WORD, FUTEX_WAIT_BITSET, 0, 0, 0, 2)
    assert threads.futex(2, WORD, FUTEX_WAKE_BITSET, 9, 0, 0, 2) == 1
    assert (first.woken(), second.woken()) == (False, True)


def test_requeue() -> None:
    threads = Threads(4)
    sleepers = [threads.futex(i, WORD, FUTEX_WAIT, 0) for i in range(3)]
    assert threads.futex(3, WORD, FUTEX_CMP_REQUEUE, 1, 1, OTHER, 0) == 2
    assert [sleeper.woken() for sleeper in sleepers] == [True, False, False]
    assert threads.futex(3, OTHER, FUTEX_WAKE, 9) == 1
    assert sleepers[1].woken()
    assert threads.futex(3, WORD, FUTEX_WAKE, 9) == 1


def test_a_sleeper_that_gives_up_is_queued_no_more() -> None:
    threads = Threads(2)
    timeout = threads.guest.put(pack("<qq", 0, 5_000_000))
    sleeper = threads.futex(0, WORD, FUTEX_WAIT, 0, timeout)
    while not sleeper.woken():
        threads.tasks[0].kernel.timers.run_due()
    assert sleeper.step() == -ETIMEDOUT
    assert threads.futex(1, WORD, FUTEX_WAKE, 1) == 0
    assert threads.tasks[0].kernel.futexes.waiters == {}


def test_a_signal_restarts_the_wait() -> None:
    threads = Threads(2)
    plain = threads.futex(0, WORD, FUTEX_WAIT, 0)
    threads.tasks[0].send_signal(SigInfo(15), False)
    assert plain.step() == -512
    assert not isinstance(plain.interrupted, Restart)
    timed = threads.futex(1, WORD, FUTEX_WAIT, 0, threads.guest.put(pack("<qq", 60, 0)))
    threads.tasks[1].send_signal(SigInfo(15), False)
    assert timed.step() == -512
    assert isinstance(timed.interrupted, Restart)
    threads.tasks[1].work = 0
    again = Pending(threads.tasks[1], timed.interrupted.resume(threads.tasks[1]))  # type: ignore[operator]
    assert threads.futex(0, WORD, FUTEX_WAKE, 1) == 1
    assert again.step() == 0


def test_a_wake_counts_for_more_than_a_signal() -> None:
    threads = Threads(2)
    sleeper = threads.futex(0, WORD, FUTEX_WAIT, 0)
    assert threads.futex(1, WORD, FUTEX_WAKE, 1) == 1
    threads.tasks[0].send_signal(SigInfo(15), False)
    assert sleeper.step() == 0


def test_other_processes_have_other_words() -> None:
    threads = Threads(1)
    stranger = make_task(threads.tasks[0].kernel, parent=threads.tasks[0])
    sleeper = threads.futex(0, WORD, FUTEX_WAIT, 0)
    assert call(stranger, HANDLERS["futex"], WORD, FUTEX_WAKE, 9) == 0
    assert not sleeper.woken()


def test_wait_for_several() -> None:
    threads = Threads(2)
    waiters = threads.guest.put(pack("<QQIIQQII", 0, WORD, 2, 0, 0, OTHER, 2 | 128, 0))
    waiting = call(threads.tasks[0], HANDLERS["futex_waitv"], waiters, 2, 0, 0, 0)
    assert isinstance(waiting, Pending)
    assert threads.futex(1, OTHER, FUTEX_WAKE, 1) == 1
    assert waiting.step() == 1
    assert threads.futex(1, WORD, FUTEX_WAKE, 1) == 0
    threads.set(OTHER, 1)
    assert call(threads.tasks[0], HANDLERS["futex_waitv"], waiters, 2, 0, 0, 0) == -EAGAIN
    assert call(threads.tasks[0], HANDLERS["futex_waitv"], waiters, 0, 0, 0, 0) == -EINVAL


def test_priority_inheritance() -> None:
    threads = Threads(3)
    tids = [task.tid for task in threads.tasks]
    assert threads.futex(0, WORD, FUTEX_LOCK_PI) == 0
    assert threads.get(WORD) == tids[0]
    assert threads.futex(0, WORD, FUTEX_LOCK_PI) == -35
    assert threads.futex(1, WORD, FUTEX_TRYLOCK_PI) == -EAGAIN
    second = threads.futex(1, WORD, FUTEX_LOCK_PI)
    third = threads.futex(2, WORD, FUTEX_LOCK_PI)
    assert threads.get(WORD) == tids[0] | FUTEX_WAITERS
    assert threads.futex(1, WORD, FUTEX_UNLOCK_PI) == -1
    assert threads.futex(0, WORD, FUTEX_UNLOCK_PI) == 0
    assert threads.get(WORD) == tids[1] | FUTEX_WAITERS
    assert second.step() == 0
    threads.tasks[2].send_signal(SigInfo(15), False)
    assert third.step() == -512
    assert isinstance(third.interrupted, RestartAlways)
    assert threads.futex(1, WORD, FUTEX_UNLOCK_PI) == 0
    assert threads.get(WORD) == 0
    threads.set(WORD, 12345)
    assert threads.futex(0, WORD, FUTEX_LOCK_PI) == -ESRCH


def test_the_owner_of_a_lock_dies() -> None:
    threads = Threads(2)
    assert threads.futex(0, WORD, FUTEX_LOCK_PI) == 0
    waiting = threads.futex(1, WORD, FUTEX_LOCK_PI)
    threads.tasks[0].work |= WORK_DEAD
    task_exit(threads.tasks[0])
    assert waiting.step() == 0
    assert threads.get(WORD) == threads.tasks[1].tid | FUTEX_OWNER_DIED


# -- robust lists, clear_child_tid ----------------------------------------------------------------


def test_robust_locks_are_released() -> None:
    threads = Threads(2)
    dying, other = threads.tasks
    memory = dying.mm
    head, entry, pending = WORD + 0x100, WORD + 0x200, WORD + 0x300
    memory.copy_out(head, pack("<QqQ", entry, 16, pending))
    memory.copy_out(entry, pack("<QQI", head, 0, dying.tid | FUTEX_WAITERS))
    memory.copy_out(pending, pack("<QQI", 0, 0, dying.tid))
    assert call(dying, HANDLERS["set_robust_list"], head, 24) == 0
    sleeper = call(other, HANDLERS["futex"], entry + 16, FUTEX_WAIT, dying.tid | FUTEX_WAITERS)
    task_exit(dying)
    assert sleeper.step() == 0
    assert memory.read_u32(entry + 16) == FUTEX_WAITERS | FUTEX_OWNER_DIED
    assert memory.read_u32(pending + 16) == FUTEX_OWNER_DIED


@pytest.mark.parametrize("first", [0, 8, WORD + 0x200, (1 << 64) - 8, WORD + 0x201])
@pytest.mark.parametrize("offset", [0, 16, -(1 << 63), (1 << 63) - 1, 3])
def test_a_hostile_robust_list_ends(first: int, offset: int) -> None:
    threads = Threads(2)
    dying = threads.tasks[0]
    head, entry = WORD + 0x100, WORD + 0x200
    dying.mm.copy_out(head, pack("<QqQ", first, offset, first))
    dying.mm.copy_out(entry, pack("<QQI", entry, 0, dying.tid))  # a loop
    dying.robust_list = (head, 24)
    task_exit(dying)
    assert dying.robust_list == (0, 0)


def test_joiners_wake() -> None:
    threads = Threads(2)
    dying, joiner = threads.tasks
    dying.clear_child_tid = WORD
    threads.set(WORD, dying.tid)
    joining = call(joiner, HANDLERS["futex"], WORD, FUTEX_WAIT, dying.tid)
    task_exit(dying)
    assert threads.get(WORD) == 0
    assert joining.step() == 0


@pytest.mark.parametrize("addr", [8, 1 << 63, WORD + 1])
def test_a_bad_address_to_clear_hurts_nobody(addr: int) -> None:
    threads = Threads(2)
    threads.tasks[0].clear_child_tid = addr
    task_exit(threads.tasks[0])
    assert isinstance(threads.tasks[0].thread, FakeThread)
    assert not [line for line in threads.tasks[0].kernel.log.lines if line[0] == "error"]
