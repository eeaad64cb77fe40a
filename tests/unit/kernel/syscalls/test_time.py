"""Clocks, sleeping, and timers: results compared with the host's; signals of timers."""

from __future__ import annotations

from errno import EINVAL
from struct import pack, unpack
from time import clock_gettime_ns, sleep
from typing import Any

import pytest
from scenario import HANDLERS, Guest, Machine, same
from support import Pending, call

from runsc.abi.fcntl import O_NONBLOCK
from runsc.abi.poll import POLLIN
from runsc.abi.signal import SI_TIMER, SIGALRM, SIGUSR1, bit
from runsc.kernel.errors import Restart
from runsc.kernel.itimer import delete_posix_timers, release_timers
from runsc.kernel.siginfo import SigInfo

CLOCKS = range(-8, 14)
SECOND = 10**9


def _run_timers(guest: Guest, seconds: float) -> None:
    """Let time pass, with the kernel's timers running."""
    end = clock_gettime_ns(1) + int(seconds * SECOND)
    while clock_gettime_ns(1) < end:
        guest.task.kernel.timers.run_due()
        sleep(0.0005)
    guest.task.kernel.timers.run_due()


@pytest.mark.parametrize("clock", CLOCKS)
def test_every_clock(clock: int) -> None:
    def scenario(m: Machine) -> Any:
        now, res, bad = m.room(16), m.room(16), m.put(pack("<qq", 0, 2 * SECOND))
        found: list[Any] = [
            m.call("clock_gettime", clock, now),
            m.call("clock_getres", clock, res),
            m.get(res, 16),
        ]
        found += [
            m.call("clock_getres", clock, 0),
            m.call("clock_gettime", clock, 8),
            m.call("clock_settime", clock, 8),
        ]
        found += [m.call("clock_nanosleep", clock, 0, bad, 0), m.call("clock_nanosleep", clock, 1, 8, 0)]
        event, ident = m.put(pack("<Qiii44x", 0, 0, 1, 0)), m.room(4)
        found += [min(m.call("timerfd_create", clock, 0), 0), m.call("timer_create", clock, event, ident)]
        if found[-1] == 0:
            m.call("timer_delete", m.ints(ident, 1)[0])
        found.append(m.call("clock_adjtime", clock, m.room(208)) if clock else 0)
        return found

    same(scenario)


@pytest.mark.parametrize("clock", [0, 1, 4, 5, 6, 7, 11])
def test_the_time_is_the_hosts(clock: int) -> None:
    guest = Guest()
    addr = guest.room(16)
    before = clock_gettime_ns(clock)
    assert guest.call("clock_gettime", clock, addr) == 0
    seconds, nanoseconds = unpack("<qq", guest.get(addr, 16))
    assert before <= seconds * SECOND + nanoseconds <= clock_gettime_ns(clock)


def test_older_ways_to_ask() -> None:
    def scenario(m: Machine) -> Any:
        tv, tz = m.room(16), m.room(8)
        found = [
            m.call("gettimeofday", tv, tz),
            m.get(tz, 8),
            m.call("gettimeofday", 0, 0),
            m.call("gettimeofday", 8, 0),
        ]
        seconds = m.call("time", 0)
        found += [abs(seconds - unpack("<qq", m.get(tv, 16))[0]) <= 1, m.call("time", 8), m.call("times", 8)]
        found += [m.call("settimeofday", m.put(pack("<qq", 0, -1)), 0), m.call("times", m.room(32)) > 0]
        return found

    same(scenario)


def test_sleep_arguments() -> None:
    def scenario(m: Machine) -> Any:
        found = [m.call("nanosleep", m.put(pack("<qq", *ts)), 0) for ts in ((-1, 0), (0, -1), (0, SECOND))]
        return [*found, m.call("nanosleep", 8, 0), m.call("clock_nanosleep", 0, 1, m.room(16), 0)]

    same(scenario)


def test_sleep_ends() -> None:
    guest = Guest()
    started = clock_gettime_ns(1)
    sleeping = call(guest.task, HANDLERS["nanosleep"], guest.put(pack("<qq", 0, 10_000_000)), 0)
    assert isinstance(sleeping, Pending)
    while not sleeping.woken():
        _run_timers(guest, 0.001)
    assert sleeping.step() == 0
    assert clock_gettime_ns(1) - started >= 10_000_000


def test_a_sleep_in_the_past_is_over() -> None:
    guest = Guest()
    assert guest.call("clock_nanosleep", 0, 1, guest.put(pack("<qq", 1000, 0)), 0) == 0


def test_an_interrupted_sleep_tells_what_is_left() -> None:
    guest = Guest()
    left = guest.room(16)
    sleeping = call(guest.task, HANDLERS["nanosleep"], guest.put(pack("<qq", 60, 0)), left)
    guest.task.send_signal(SigInfo(15))
    assert sleeping.step() == -512
    assert isinstance(sleeping.interrupted, Restart)
    assert sleeping.interrupted.resume is not None
    assert 59 <= unpack("<qq", guest.get(left, 16))[0] < 60
    absolute = guest.put(pack("<qq", clock_gettime_ns(1) // SECOND + 60, 0))
    sleeping = Pending(guest.task, HANDLERS["clock_nanosleep"](guest.task, 1, 1, absolute, left))
    assert isinstance(sleeping.interrupted, Restart)
    assert sleeping.interrupted.resume is None


# -- timerfd --------------------------------------------------------------------------------------


def _spec(value: float, interval: float = 0) -> bytes:
    v, i = round(value * SECOND), round(interval * SECOND)
    return pack("<qqqq", i // SECOND, i % SECOND, v // SECOND, v % SECOND)


def test_timerfd() -> None:
    def scenario(m: Machine) -> Any:
        f = m.call("timerfd_create", 1, O_NONBLOCK)
        found: list[Any] = [m.poll((f, POLLIN)), m.read(f, 8), m.read(f, 7), m.write(f, bytes(8))]
        old = m.room(32)
        found += [m.call("timerfd_settime", f, 0, m.put(_spec(0.004, 0.01)), old), m.get(old, 32)]
        if isinstance(m, Guest):
            _run_timers(m, 0.038)
        else:
            sleep(0.038)
        found.append(m.poll((f, POLLIN)))
        ticks = m.read(f, 8)
        # At 4, 14, 24 and 34 ms, and more often if this machine was slow.
        found.append(isinstance(ticks, bytes) and 4 <= ticks[0] < 100)
        found += [
            m.call("timerfd_settime", f, 0, m.put(_spec(0)), old),
            m.call("timerfd_gettime", f, old),
            m.get(old, 32),
        ]
        found += [m.call("timerfd_settime", f, 1, m.put(_spec(0.001)), 0)]
        if isinstance(m, Guest):
            _run_timers(m, 0.002)
        else:
            sleep(0.002)
        found += [
            m.read(f, 8),
            m.call("timerfd_settime", f, 4, m.put(_spec(1)), 0),
            m.call("timerfd_settime", f, 0, 8, 0),
        ]
        found += [
            m.call("timerfd_settime", m.pipe()[0], 0, m.put(_spec(1)), 0),
            m.call("timerfd_settime", 100000, 0, m.put(_spec(1)), 0),
        ]
        found += [m.call("timerfd_create", 1, 1), m.call("timerfd_create", 4, 0)]
        found += [m.call("timerfd_settime", f, 0, m.put(pack("<qqqq", 0, SECOND, 0, 0)), 0)]
        return found

    same(scenario)


# -- timers that send signals ---------------------------------------------------------------------


def test_alarm() -> None:
    guest = Guest()
    assert guest.call("alarm", 100) == 0
    assert guest.call("alarm", 0) == 100
    assert guest.call("alarm", 0) == 0
    value = guest.put(pack("<qqqq", 0, 0, 0, 1000))
    assert guest.call("setitimer", 0, value, 0) == 0
    _run_timers(guest, 0.003)
    assert guest.task.group.pending.pending == bit(SIGALRM)
    assert guest.task.work


def test_setitimer_arguments() -> None:
    def scenario(m: Machine) -> Any:
        old = m.room(32)
        found: list[Any] = []
        for which in (-1, 1, 2, 3):  # not the one that pytest-timeout uses
            m.call("setitimer", which, 0, 0)
            found += [m.call("getitimer", which, old), m.get(old, 32) if 0 < which < 3 else b""]
            found += [
                m.call("setitimer", which, m.put(pack("<qqqq", *spec)), 0)
                for spec in ((0, -1, 0, 0), (0, 0, 0, 10**6), (-1, 0, 0, 0))
            ]
            found += [m.call("getitimer", which, 8), m.call("setitimer", which, 8, 0)]
            found += [
                m.call("setitimer", which, m.put(pack("<qqqq", 7, 5, 100, 0)), 0),
                m.call("getitimer", which, old),
            ]
            spec = unpack("<qqqq", m.get(old, 32))
            found += [spec[:2], 99 <= spec[2] <= 100, m.call("setitimer", which, m.room(32), 0)]
        return found

    same(scenario)


def test_cpu_time_is_looked_at() -> None:
    guest = Guest()
    used = [0, 0]
    type(guest.task.thread).cpu_time_ns = lambda self: (used[0], used[1])  # type: ignore[method-assign]
    try:
        guest.call("setitimer", 2, guest.put(pack("<qqqq", 0, 0, 0, 5000)), 0)
        _run_timers(guest, 0.02)
        assert not guest.task.group.pending.pending
        used[:] = 3_000_000, 3_000_000
        _run_timers(guest, 0.1)
        assert guest.task.group.pending.pending == bit(27)
    finally:
        del type(guest.task.thread).cpu_time_ns


def _create(guest: Guest, signo: int = SIGUSR1, notify: int = 0, tid: int = 0) -> int:
    ident = guest.room(4)
    result = guest.call("timer_create", 1, guest.put(pack("<Qiii44x", 77, signo, notify, tid)), ident)
    return result if result < 0 else guest.ints(ident, 1)[0]


def test_a_posix_timer_sends_its_signal() -> None:
    guest = Guest()
    timer = _create(guest)
    assert guest.call("timer_settime", timer, 0, guest.put(_spec(0.001)), 0) == 0
    _run_timers(guest, 0.004)
    info = guest.task.group.pending.take(bit(SIGUSR1))
    assert info is not None
    assert (info.code, info.value, info.timer_id, info.overrun) == (SI_TIMER, 77, timer, 0)
    assert guest.call("timer_getoverrun", timer) == 0


def test_expirations_of_a_pending_signal_are_counted() -> None:
    guest = Guest()
    timer = _create(guest)
    guest.call("timer_settime", timer, 0, guest.put(_spec(0.001, 0.001)), 0)
    _run_timers(guest, 0.02)
    assert guest.call("timer_getoverrun", timer) == 0
    info = guest.task.group.pending.take(bit(SIGUSR1))
    assert info is not None
    assert 10 <= info.overrun <= 25
    assert guest.call("timer_getoverrun", timer) == info.overrun
    guest.call("timer_delete", timer)


def test_a_short_period_does_not_hang_the_kernel() -> None:
    guest = Guest()
    timer = _create(guest)
    guest.call("timer_settime", timer, 0, guest.put(pack("<qqqq", 0, 1, 0, 1)), 0)
    guest.call("setitimer", 0, guest.put(pack("<qqqq", 0, 1, 0, 1)), 0)
    left = guest.task.kernel.timers.run_due()
    assert left >= 0
    release_timers(guest.task.group)
    assert guest.task.kernel.timers.run_due() == -1


def test_a_thread_is_told() -> None:
    guest = Guest()
    timer = _create(guest, SIGUSR1, 4, guest.task.tid)
    guest.call("timer_settime", timer, 0, guest.put(_spec(0.001)), 0)
    _run_timers(guest, 0.003)
    assert guest.task.pending.pending == bit(SIGUSR1)
    assert not guest.task.group.pending.pending
    assert _create(guest, SIGUSR1, 4, 9999) == -EINVAL


def test_timer_arguments() -> None:
    def scenario(m: Machine) -> Any:
        ident = m.room(4)

        def create(*fields: int) -> int:
            result = m.call("timer_create", 1, m.put(pack("<Qiii44x", *fields)), ident)
            if result == 0:
                m.call("timer_delete", m.ints(ident, 1)[0])
            return result

        found = [
            create(0, *fields)
            for fields in (
                (65, 0, 0),
                (0, 0, 0),
                (10, 2, 0),
                (65, 1, 0),
                (10, 3, 0),
                (10, 5, 0),
                (10, 4, 999999),
            )
        ]
        found += [
            m.call("timer_create", 1, 8, ident),
            m.call("timer_create", 1, 0, 8),
            m.call("timer_create", 99, 0, ident),
        ]
        found += [m.call("timer_settime", 55, 0, m.put(_spec(1)), 0), m.call("timer_gettime", 55, m.room(32))]
        found += [
            m.call("timer_delete", 55),
            m.call("timer_getoverrun", 55),
            m.call("timer_settime", 55, 0, 0, 0),
        ]
        assert m.call("timer_create", 1, m.put(pack("<Qiii44x", 0, 0, 1, 0)), ident) == 0
        (timer,) = m.ints(ident, 1)
        old = m.room(32)
        found += [
            m.call("timer_settime", timer, 0, m.put(pack("<qqqq", 0, 0, 0, SECOND)), 0),
            m.call("timer_settime", timer, 0, 8, 0),
        ]
        found += [
            m.call("timer_settime", timer, 0, m.put(_spec(100, 3)), old),
            m.get(old, 32),
            m.call("timer_gettime", timer, old),
        ]
        spec = unpack("<qqqq", m.get(old, 32))
        found += [
            spec[:2],
            99 <= spec[2] <= 100,
            m.call("timer_delete", timer),
            m.call("timer_delete", timer),
        ]
        return found

    same(scenario)


def test_exec_forgets_timers() -> None:
    guest = Guest()
    timer = _create(guest)
    guest.call("timer_settime", timer, 0, guest.put(_spec(0.001)), 0)
    delete_posix_timers(guest.task.group)
    _run_timers(guest, 0.003)
    assert not guest.task.group.pending.pending
    assert guest.call("timer_delete", timer) == -EINVAL


# -- signalfd -------------------------------------------------------------------------------------


def test_signalfd() -> None:
    guest = Guest()
    guest.task.blocked = bit(SIGUSR1)
    f = guest.call("signalfd4", -1, guest.put(pack("<Q", bit(SIGUSR1))), 8, O_NONBLOCK)
    assert guest.poll((f, POLLIN)) == [0, 0]
    waiting = call(guest.task, HANDLERS["poll"], guest.put(pack("<ihh", f, POLLIN, 0)), 1, -1)
    guest.task.send_signal(SigInfo(SIGUSR1, -1, pid=7, uid=8, value=99))
    assert waiting.woken()
    assert waiting.step() == 1
    record = guest.read(f, 1000)
    assert isinstance(record, bytes)
    assert len(record) == 128
    assert unpack("<IiiII", record[:20]) == (SIGUSR1, 0, -1, 7, 8)
    assert unpack("<iQ", record[44:56]) == (99, 99)
    assert guest.read(f, 1000) == -11
    assert guest.read(f, 127) == -EINVAL


def test_signalfd_arguments() -> None:
    def scenario(m: Machine) -> Any:
        mask = m.put(pack("<Q", 0))
        f = m.call("signalfd4", -1, mask, 8, 0)
        found = [
            m.call("signalfd4", -1, mask, 4, 0),
            m.call("signalfd4", -1, 8, 8, 0),
            m.call("signalfd4", -1, mask, 8, 1),
        ]
        found += [m.call("signalfd4", 100000, mask, 8, 0), m.call("signalfd4", m.pipe()[0], mask, 8, 0)]
        return [*found, m.call("signalfd4", f, mask, 8, 0) == f, m.write(f, b"x" * 128)]

    same(scenario)
