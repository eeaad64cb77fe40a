"""Waiting: descriptors, time, signals to the process itself, idleness."""

from __future__ import annotations

import os
import select
import signal
import threading
import time

import pytest

MS = 1_000_000


@pytest.fixture
def epoll():
    poll = select.epoll()
    r, w = os.pipe()
    poll.register(r, select.EPOLLIN)
    yield poll, r, w
    poll.close()
    os.close(r)
    os.close(w)


def test_timeout(platform):
    start = time.monotonic()
    assert platform.wait(-1, 30 * MS) is None
    assert 0.03 <= time.monotonic() - start < 1
    assert platform.wait(-1, 0) is None


def test_timeout_while_a_guest_computes(guest, asm):
    guest.start(asm.COUNT)
    guest.expect_nothing(MS)
    start = time.monotonic()
    assert guest.platform.wait(-1, 30 * MS) is None
    assert 0.03 <= time.monotonic() - start < 1


def test_only_look(guest, asm):
    guest.start(asm.COUNT)
    start = time.monotonic()
    for _ in range(100):
        assert guest.platform.wait(-1, 0) is None
    assert time.monotonic() - start < 0.5
    guest.thread.interrupt()
    time.sleep(0.02)
    assert guest.platform.wait(-1, 0) is guest.thread


def test_poll_fd_readable(guest, asm, epoll):
    poll, _r, w = epoll
    guest.start(asm.COUNT)
    guest.expect_nothing(10 * MS)
    assert not poll.poll(0)
    os.write(w, b"x")
    start = time.monotonic()
    assert guest.platform.wait(poll.fileno(), 5000 * MS) is None
    assert time.monotonic() - start < 1
    assert poll.poll(0)


def test_poll_fd_becomes_readable(platform, epoll):
    poll, _r, w = epoll
    timer = threading.Timer(0.05, os.write, (w, b"x"))
    timer.start()
    start = time.monotonic()
    assert platform.wait(poll.fileno(), -1) is None
    assert 0.03 < time.monotonic() - start < 2
    timer.join()


def test_neither_starves_the_other(guest, asm, epoll):
    poll, r, w = epoll
    guest.start(asm.call_loop(39))
    guest.expect_syscall(39).complete(0)
    os.write(w, b"x")
    events = readable = 0
    while events + readable < 1000:
        thread = guest.platform.wait(poll.fileno(), -1)
        if thread is None:
            readable += 1
        else:
            events += 1
            thread.complete(0)
    assert events > 100
    assert readable > 20
    os.read(r, 1)


def test_event_while_asleep(guest, asm):
    # some 100 ms of counting down, then a call
    code = asm.mov("rcx", 200_000_000) + b"\x48\xff\xc9\x75\xfb" + asm.call(60)
    guest.start(code)
    assert guest.wait() is guest.thread
    assert guest.thread.nr == 60


def test_signal_interrupts_the_wait(platform):
    got = []
    old = signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    start = time.monotonic()
    while not got:
        assert platform.wait(-1, 5000 * MS) is None
    assert time.monotonic() - start < 2
    timer.join()
    signal.signal(signal.SIGUSR1, old)


def test_signal_and_stop_at_the_same_time(guest, asm):
    """A signal to ourselves is not slept over because a guest's stop came with it."""
    got = []
    old = signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
    guest.start(asm.call_loop(39))
    for i in range(300):
        guest.expect_syscall(39).complete(i)
        if i % 3 == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
    thread = guest.expect_syscall(39)
    count = len(got)
    timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    start = time.monotonic()
    while len(got) == count:
        assert guest.platform.wait(-1, 5000 * MS) is None
    assert time.monotonic() - start < 2
    thread.complete(0)
    timer.join()
    signal.signal(signal.SIGUSR1, old)


def test_signals_during_host_calls(guest, asm):
    """A storm of signals to ourselves disturbs nothing."""
    count = []
    old = signal.signal(signal.SIGALRM, lambda *_: count.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        thread = guest.run(asm.call_loop(39))
        for _ in range(500):
            guest.space.map(0x300000, 4096, 3, 0x22, -1, 0)
            guest.space.unmap(0x300000, 4096)
            child = guest.space.spawn(thread)
            child.release()
            thread.complete(0)
            while (got := guest.platform.wait(-1, 1000 * MS)) is None:
                pass
            assert got is thread
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert count


def test_other_threads_of_the_process(guest, asm):
    """SIGCHLD may be caught by any thread: the wait still ends."""
    stop = threading.Event()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    others = [threading.Thread(target=stop.wait) for _ in range(4)]
    for other in others:
        other.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    code = asm.mov("rcx", 2_000_000) + b"\x48\xff\xc9\x75\xfb" + asm.call(60)
    for _ in range(30):
        guest.start(code)
        assert guest.wait() is guest.thread
    stop.set()
    for other in others:
        other.join()


def test_children_of_the_process_are_left_alone(guest, asm):
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    time.sleep(0.02)
    guest.start(asm.call_loop(39))
    for _ in range(500):
        guest.expect_syscall(39).complete(0)
    assert guest.platform.wait(-1, 0) in (None, guest.thread)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_idle_uses_no_processor_time(guest, asm):
    guest.run(asm.call(0))
    before = time.process_time()
    guest.expect_nothing(300 * MS)
    assert time.process_time() - before < 0.005


def test_a_computing_guest_costs_us_nothing(guest, asm):
    guest.start(asm.COUNT)
    before = time.thread_time()
    for _ in range(30):
        guest.expect_nothing(10 * MS)
    assert time.thread_time() - before < 0.02


def test_wait_after_close(platform):
    platform.close()
    assert platform.wait(-1, 0) is None
    platform.close()
