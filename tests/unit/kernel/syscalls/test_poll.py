"""poll, select and epoll, compared with the host's where nothing waits; waiting with a second task."""

from __future__ import annotations

from errno import EINTR
from struct import pack, unpack
from time import monotonic_ns, sleep
from typing import Any

import pytest
from scenario import HANDLERS, Guest, Machine, same
from support import Pending, call

from runsc.abi.fcntl import O_CLOEXEC, O_NONBLOCK
from runsc.abi.poll import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLONESHOT,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDNORM,
    POLLWRNORM,
)  # fmt: skip
from runsc.kernel.errors import Restart
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.task import WORK_RESTORE_MASK

SIGUSR1 = 10


def test_poll_of_everything() -> None:
    def scenario(m: Machine) -> Any:
        r, w = m.pipe()
        found = [
            m.poll(
                (r, POLLIN), (w, POLLOUT | POLLIN), (-1, POLLIN), (100000, POLLIN), (r, POLLRDNORM | POLLPRI)
            )
        ]
        m.write(w, b"x")
        found.append(m.poll((r, POLLIN | POLLRDNORM), (w, POLLWRNORM), (r, 0)))
        found.append(
            [m.call("poll", m.room(8), 1 << 30, 0), m.call("poll", 8, 1, 0), m.call("poll", 0, 0, 0)]
        )
        return found

    same(scenario)


def _fds(*numbers: int) -> bytes:
    return sum(1 << number for number in numbers).to_bytes(128, "little")


def test_select_writes_its_sets_back() -> None:
    def scenario(m: Machine) -> Any:
        r, w = m.pipe()
        readable, writable, special = m.put(_fds(r, w)), m.put(_fds(w)), m.put(_fds(r))
        zero = m.room(16)
        n = max(r, w) + 1
        found: list[Any] = [m.call("select", n, readable, writable, special, zero)]
        m.write(w, b"x")
        for addr in (readable, writable, special):
            found.append([bool(m.get(addr, 128)[fd // 8] >> fd % 8 & 1) for fd in (r, w)])
        m.call("close", w)
        readable = m.put(_fds(r))
        found += [
            m.call("select", n, readable, 0, readable, zero),
            m.call("select", n, m.put(_fds(w)), 0, 0, zero),
        ]
        found += [
            m.call("select", -1, 0, 0, 0, zero),
            m.call("select", 0, 0, 0, 0, m.put(pack("<qq", 0, -1))),
        ]
        found += [
            m.call("select", n, 8, 0, 0, zero),
            m.call("pselect6", 0, 0, 0, 0, m.put(pack("<qq", 0, 10**9)), 0),
        ]
        found += [m.call("pselect6", 0, 0, 0, 0, zero, m.put(pack("<QQ", m.room(8), 4)))]
        return found

    same(scenario)


def _add(m: Machine, epoll: int, fd: int, events: int, data: int = 0, op: int = EPOLL_CTL_ADD) -> int:
    return m.call("epoll_ctl", epoll, op, fd, m.put(pack("<IQ", events & 0xFFFFFFFF, data)))


def _wait(m: Machine, epoll: int, count: int = 10) -> Any:
    addr = m.room(12 * 10)
    result = m.call("epoll_wait", epoll, addr, count, 0)
    if result < 0:
        return result
    return [unpack("<IQ", m.get(addr + 12 * index, 12)) for index in range(result)]


def test_epoll_triggers() -> None:
    def scenario(m: Machine) -> Any:
        e = m.call("epoll_create1", O_CLOEXEC)
        r, w = m.pipe()
        found: list[Any] = [
            _add(m, e, r, POLLIN, 1),
            _add(m, e, w, POLLOUT | EPOLLET, 2),
            _wait(m, e),
            _wait(m, e),
        ]
        m.write(w, b"x")
        found += [_wait(m, e), _wait(m, e)]
        m.read(r, 1)
        found += [_wait(m, e)]
        found += [_add(m, e, r, POLLIN | EPOLLONESHOT, 3, EPOLL_CTL_MOD)]
        m.write(w, b"y")
        found += [
            _wait(m, e),
            _wait(m, e),
            _add(m, e, r, POLLIN | EPOLLET, 4, EPOLL_CTL_MOD),
            _wait(m, e),
            _wait(m, e),
        ]
        m.write(w, b"z")
        found += [_wait(m, e)]
        m.call("close", w)
        found += [_wait(m, e), _wait(m, e), _add(m, e, r, 0, 0, EPOLL_CTL_DEL), _wait(m, e)]
        return found

    same(scenario)


def test_epoll_is_fair() -> None:
    def scenario(m: Machine) -> Any:
        e = m.call("epoll_create1", 0)
        for index in range(4):
            r, w = m.pipe()
            _add(m, e, r, POLLIN, index)
            m.write(w, b"x")
        return [_wait(m, e, 3), _wait(m, e, 3), _wait(m, e, 1), _wait(m, e, 10)]

    same(scenario)


def test_epoll_errors() -> None:
    def scenario(m: Machine) -> Any:
        e, other = m.call("epoll_create", 1), m.call("epoll_create1", 0)
        r, w = m.pipe()
        found = [_add(m, e, r, POLLIN), _add(m, e, r, POLLIN), _add(m, e, w, 0, 0, EPOLL_CTL_MOD)]
        found += [
            _add(m, e, w, 0, 0, EPOLL_CTL_DEL),
            _add(m, e, e, POLLIN),
            _add(m, r, w, POLLIN),
            _add(m, 100000, w, POLLIN),
        ]
        found += [_add(m, e, 100000, POLLIN), _add(m, e, w, POLLIN, 0, 9), m.call("epoll_ctl", e, 1, w, 8)]
        found += [_add(m, e, w, POLLOUT | EPOLLEXCLUSIVE | EPOLLET), _add(m, e, w, POLLOUT, 0, EPOLL_CTL_MOD)]
        found += [
            _add(m, e, r, POLLIN | EPOLLEXCLUSIVE, 0, EPOLL_CTL_MOD),
            _add(m, e, other, POLLIN | EPOLLEXCLUSIVE),
        ]
        found += [_add(m, other, r, POLLIN | EPOLLEXCLUSIVE | POLLPRI)]
        found += [
            m.call("epoll_create", 0),
            m.call("epoll_create1", 1),
            m.call("epoll_wait", e, m.room(12), 0, 0),
        ]
        found += [m.call("epoll_wait", r, m.room(12), 1, 0), m.call("epoll_wait", 100000, m.room(12), 1, 0)]
        found += [m.call("epoll_wait", e, 8, 1, 0), _wait(m, e)]
        found += [m.call("epoll_pwait", e, m.room(120), 10, 0, m.room(8), 4)]
        found += [m.call("epoll_pwait2", e, m.room(120), 10, m.put(pack("<qq", 0, -1)), 0, 0)]
        return found

    same(scenario)


@pytest.mark.parametrize("count", range(4, 9))
@pytest.mark.parametrize("upwards", [False, True])
def test_epoll_nesting(count: int, upwards: bool) -> None:
    def scenario(m: Machine) -> Any:
        epolls = [m.call("epoll_create1", 0) for _ in range(count)]
        order = range(count - 1)
        found = [
            _add(m, epolls[i], epolls[i + 1], POLLIN, i) for i in (reversed(order) if upwards else order)
        ]
        found.append(_add(m, epolls[count - 1], epolls[0], POLLIN))
        r, w = m.pipe()
        found.append(_add(m, epolls[count - 1], r, POLLIN, 77))
        found.append(m.poll(*((e, POLLIN) for e in epolls)))
        m.write(w, b"x")
        found.append(m.poll(*((e, POLLIN) for e in epolls)))
        found += [_wait(m, e) for e in epolls]
        m.read(r, 1)
        found += [_wait(m, e) for e in epolls]
        return found

    same(scenario)


def test_closing_takes_a_file_out_of_its_epolls() -> None:
    def scenario(m: Machine) -> Any:
        e = m.call("epoll_create1", 0)
        r, w = m.pipe()
        copy = m.call("dup", r)
        _add(m, e, r, POLLIN, 5)
        m.write(w, b"x")
        m.call("close", r)
        found = [_wait(m, e)]  # another descriptor still holds the file
        m.call("close", copy)
        found.append(_wait(m, e))
        return found

    assert same(scenario) == [[(POLLIN, 5)], []]


def test_a_file_forgets_its_epolls() -> None:
    guest = Guest()
    e = guest.call("epoll_create1", 0)
    r, _w = guest.pipe()
    _add(guest, e, r, POLLIN)
    file = guest.task.files.get(r)
    assert len(file.wait_queue().entries) == 1
    guest.call("close", e)
    assert file.epoll_items is None
    assert file.wait_queue().entries == []


def test_eventfd() -> None:
    def scenario(m: Machine) -> Any:
        f = m.call("eventfd2", 3, O_NONBLOCK)
        top = (1 << 64) - 1
        found: list[Any] = [m.poll((f, POLLIN | POLLOUT)), m.read(f, 8), m.read(f, 8), m.read(f, 7)]
        found += [m.write(f, pack("<Q", value)) for value in (5, top, top - 1, top - 6)]
        found += [m.poll((f, POLLIN | POLLOUT)), m.write(f, b"1234567"), m.read(f, 100)]
        s = m.call("eventfd2", 2, 1 | O_NONBLOCK)
        found += [
            m.read(s, 8),
            m.read(s, 8),
            m.read(s, 8),
            m.call("eventfd2", 0, 2),
            m.call("lseek", s, 0, 0),
        ]
        return found

    same(scenario)


# -- waiting --------------------------------------------------------------------------------------


def test_poll_waits_and_wakes() -> None:
    guest = Guest()
    r, w = guest.pipe()
    entries = guest.put(pack("<ihhihh", r, POLLIN, -1, w, 0, -1))
    waiting = call(guest.task, HANDLERS["poll"], entries, 2, -1)
    assert isinstance(waiting, Pending)
    guest.task.files.get(w).write(guest.task, b"x")
    assert waiting.woken()
    assert waiting.step() == 1
    assert unpack("<ihhihh", guest.get(entries, 16))[2::3] == (POLLIN, 0)


def test_poll_keeps_the_files_it_began_with() -> None:
    guest = Guest()
    r, w = guest.pipe()
    waiting = call(guest.task, HANDLERS["poll"], guest.put(pack("<ihh", r, POLLIN, 0)), 1, -1)
    assert isinstance(waiting, Pending)
    guest.task.files.close(r, guest.task)
    guest.task.files.get(w).write(guest.task, b"x")
    assert waiting.step() == 1


def test_poll_times_out() -> None:
    guest = Guest()
    r, _w = guest.pipe()
    started = monotonic_ns()
    waiting = call(guest.task, HANDLERS["poll"], guest.put(pack("<ihh", r, POLLIN, 5)), 1, 20)
    assert isinstance(waiting, Pending)
    while not waiting.woken():
        sleep(0.002)
        guest.task.kernel.timers.run_due()
    assert waiting.step() == 0
    assert monotonic_ns() - started >= 20_000_000


def test_poll_goes_on_after_a_stop() -> None:
    guest = Guest()
    waiting = call(guest.task, HANDLERS["poll"], 0, 0, 60_000)
    guest.task.send_signal(SigInfo(SIGUSR1))
    assert waiting.step() == -512
    assert isinstance(waiting.interrupted, Restart)
    resume = waiting.interrupted.resume
    guest.task.work = 0
    again = Pending(guest.task, resume(guest.task))
    deadlines = [item[0] for item in guest.task.kernel.timers.heap]
    assert again.result is None
    # The same end, not a new minute.
    assert len(set(deadlines)) == 1


def test_ppoll_has_its_own_mask() -> None:
    guest = Guest()
    guest.task.blocked = 1 << (SIGUSR1 - 1)
    guest.task.send_signal(SigInfo(SIGUSR1))
    guest.task.work = 0
    timeout = guest.put(pack("<qq", 10, 0))
    result = call(guest.task, HANDLERS["ppoll"], 0, 0, timeout, guest.room(8), 8)
    assert result == -512
    assert guest.task.work & WORK_RESTORE_MASK
    assert guest.task.saved_mask == 1 << (SIGUSR1 - 1)
    assert guest.task.blocked == 0
    left = unpack("<qq", guest.get(timeout, 16))
    assert 9 <= left[0] < 10


def test_the_mask_is_back_when_nothing_broke_the_call_off() -> None:
    guest = Guest()
    guest.task.blocked = 4
    zero = guest.room(16)
    assert call(guest.task, HANDLERS["ppoll"], 0, 0, zero, guest.room(8), 8) == 0
    assert guest.task.blocked == 4
    assert not guest.task.work & WORK_RESTORE_MASK


def test_epoll_wait_answers_eintr() -> None:
    guest = Guest()
    e = guest.call("epoll_create1", 0)
    waiting = call(guest.task, HANDLERS["epoll_wait"], e, guest.room(12), 1, -1)
    guest.task.send_signal(SigInfo(SIGUSR1))
    assert waiting.step() == -EINTR


def test_one_event_wakes_one_sleeper() -> None:
    from support import make_task

    guest = Guest()
    e = guest.call("epoll_create1", 0)
    r, w = guest.pipe()
    _add(guest, e, r, POLLIN | EPOLLET)
    other = make_task(guest.task.kernel, parent=guest.task)
    other.files = guest.task.files
    first = call(guest.task, HANDLERS["epoll_wait"], e, guest.room(12), 1, -1)
    second = call(other, HANDLERS["epoll_wait"], e, 0x10000000, 1, -1)
    guest.task.files.get(w).write(guest.task, b"x")
    assert first.woken()
    assert not second.woken()
    assert first.step() == 1


def test_what_the_guest_cannot_take_is_kept() -> None:
    guest = Guest()
    e = guest.call("epoll_create1", 0)
    r, w = guest.pipe()
    _add(guest, e, r, POLLIN | EPOLLET | EPOLLONESHOT, 9)
    guest.write(w, b"x")
    assert guest.call("epoll_wait", e, 0x500, 1, 0) < 0
    assert _wait(guest, e) == [(POLLIN, 9)]
    assert _wait(guest, e) == []


def test_hang_up_and_error_need_no_asking() -> None:
    def scenario(m: Machine) -> Any:
        e = m.call("epoll_create1", 0)
        r, w = m.pipe()
        r2, w2 = m.pipe()
        _add(m, e, r, 0, 1)
        _add(m, e, w2, 0, 2)
        m.call("close", w)
        m.call("close", r2)
        return sorted(_wait(m, e))

    assert same(scenario) == [(POLLERR, 2), (POLLHUP, 1)]
