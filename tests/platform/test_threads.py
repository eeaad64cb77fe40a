"""Threads and processes: spawn, fork, interrupt, release."""

from __future__ import annotations

import errno
import os
import struct
import time

import pytest

from runsc.abi import registers
from runsc.platform import DEAD, INTERRUPTED, SYSCALL

CODE = 0x100000
CODE2 = 0x108000
DATA = 0x200000
PAGE = 4096
ANON = 0x22


def test_new_thread(platform):
    space = platform.new_address_space()
    regs = space.new_thread().get_regs()
    ours = {registers.CS, registers.SS, registers.EFLAGS, registers.ORIG_RAX, registers.DS, registers.ES}
    assert not any(value for i, value in enumerate(regs) if i not in ours)


def test_spawn_copies_registers_and_shares_memory(guest, asm):
    thread = guest.run(asm.call(56), rbx=11, r14=22, rsp=33, fs_base=0x1000, gs_base=0x2000)
    child = guest.space.spawn(thread)
    assert child.get_regs() == thread.get_regs()
    assert child.host_pid() != thread.host_pid() or child.host_pid() == 0
    guest.run(asm.mov("rdi", DATA) + asm.mov("rax", 0x55) + asm.STORE + asm.call(1), child, CODE2)
    assert guest.space.read(DATA, 1) == b"\x55"
    thread.complete(5)
    assert guest.wait() is thread
    assert guest.reg("rbx", thread) == 11


def test_spawned_child_goes_on_like_its_parent(guest, asm):
    """The usual clone: same place, another result, another stack."""
    code = asm.call(56) + b"\x48\x89\x07" + asm.call(60)  # mov %rax,(%rdi)
    thread = guest.run(code, rsp=0x1000)
    child = guest.space.spawn(thread)
    regs = child.get_regs()
    regs[registers.RAX] = 0
    regs[registers.RSP] = 0x9000
    regs[registers.RDI] = DATA + 8
    child.set_regs(regs)
    child.resume()
    regs = thread.get_regs()
    regs[registers.RAX] = 1234
    regs[registers.RDI] = DATA
    thread.set_regs(regs)
    thread.resume()
    assert {guest.expect_syscall(60) for _ in range(2)} == {thread, child}
    assert struct.unpack("<QQ", guest.space.read(DATA, 16)) == (1234, 0)
    assert guest.reg("rsp", child) == 0x9000


def test_fork_is_copy_on_write(guest, asm, new_guest):
    guest.space.write(DATA, b"parent")
    thread = guest.run(asm.call(57) + asm.LOAD + asm.call(60), rbx=11, rdi=DATA, fs_base=0x1000)
    space, child = guest.space.fork(thread)
    assert space is not guest.space
    assert child.get_regs() == thread.get_regs()
    space.write(DATA, b"child!")
    assert guest.space.read(DATA, 6) == b"parent"
    guest.space.write(DATA, b"again.")
    assert space.read(DATA, 6) == b"child!"
    assert (space.vdso, space.task_size) == (guest.space.vdso, guest.space.task_size)
    child.complete(0)
    thread.complete(7)
    for _ in range(2):
        guest.expect_syscall(60)
    guest.space.map(0x300000, PAGE, 3, ANON, -1, 0)
    assert space.read(0x300000, 1) == b""
    space.release()


def test_fork_shares_shared_memory(guest, asm):
    fd = os.memfd_create("shared")
    os.ftruncate(fd, PAGE)
    guest.space.map(0x300000, PAGE, 3, 1, fd, 0)
    os.close(fd)
    space, _child = guest.space.fork(guest.thread)
    space.write(0x300000, b"seen")
    assert guest.space.read(0x300000, 4) == b"seen"


def test_fork_from_a_spawned_thread(guest, asm):
    second = guest.space.spawn(guest.thread)
    guest.run(asm.call(57), second, rbx=3)
    space, child = guest.space.fork(second)
    assert guest.reg("rbx", child) == 3
    guest.thread.release()
    third = space.spawn(child)
    third.resume()
    assert guest.wait() is third


def test_parent_must_belong_to_the_space(guest, platform):
    other = platform.new_address_space()
    for call in (other.spawn, other.fork):
        with pytest.raises(OSError) as caught:
            call(guest.thread)
        assert caught.value.errno == errno.EINVAL


def test_threads_run_in_parallel_and_are_served_fairly(guest, asm):
    threads = [guest.thread] + [guest.space.spawn(guest.thread) for _ in range(7)]
    seen = dict.fromkeys(threads, 0)
    for i, thread in enumerate(threads):
        guest.start(asm.call_loop(i), thread, CODE + i * PAGE)
    for _ in range(4000):
        thread = guest.wait()
        assert threads[thread.nr] is thread
        seen[thread] += 1
        thread.complete(0)
    assert min(seen.values()) > 100, seen.values()


def test_processes_are_served_fairly(platform, new_guest, asm):
    guests = [new_guest(platform) for _ in range(8)]
    seen = [0] * len(guests)
    for i, guest in enumerate(guests):
        guest.start(asm.call_loop(i))
    for _ in range(4000):
        thread = guests[0].wait()
        seen[thread.nr] += 1
        thread.complete(0)
    assert min(seen) > 100, seen


def test_interrupt_of_a_computing_thread(guest, asm):
    guest.start(asm.COUNT)
    for _ in range(100):  # on a busy machine it may not have run at all
        time.sleep(0.01)
        guest.thread.interrupt()
        assert guest.wait() is guest.thread
        assert guest.thread.event == INTERRUPTED
        count = guest.reg("rbx")
        guest.thread.resume()
        if count > 1000:
            break
    assert count > 1000
    guest.thread.interrupt()
    assert guest.wait().event == INTERRUPTED
    assert guest.reg("rbx") >= count
    guest.expect_nothing(5_000_000)


def test_interrupt_twice_is_once(guest, asm):
    guest.start(asm.COUNT)
    for _ in range(3):
        guest.thread.interrupt()
    assert guest.wait().event == INTERRUPTED
    guest.thread.resume()
    guest.expect_nothing(20_000_000)


def test_interrupt_of_a_stopped_thread_does_nothing(guest, asm):
    thread = guest.run(asm.call_loop(39))
    thread.interrupt()
    thread.complete(0)
    assert guest.expect_syscall(39) is thread
    thread.interrupt()
    guest.start(asm.COUNT, thread)
    guest.expect_nothing(20_000_000)


def test_interrupt_races_with_system_calls(guest, asm):
    """No stale INTERRUPTED: after any event an uninterrupted thread only makes system calls."""
    guest.start(asm.call_loop(39))
    interrupted = 0
    for i in range(3000):
        guest.thread.interrupt()
        thread = guest.wait()
        if thread.event == INTERRUPTED:
            interrupted += 1
            thread.resume()
            assert guest.wait().event == SYSCALL
        else:
            assert thread.event == SYSCALL
        thread.complete(i)
        assert guest.wait().event == SYSCALL
        thread.complete(i)
    assert interrupted > 0


def test_interrupt_keeps_the_result_of_a_call(guest, asm):
    """A thread stopped between its call's completion and its next instruction."""
    code = asm.call(39) + asm.mov("rdi", DATA) + asm.STORE + asm.call(60)
    for result in (5, -512, -514, -516):
        thread = guest.run(code)
        thread.complete(result)
        thread.interrupt()
        while guest.wait().event == INTERRUPTED:
            thread.set_regs(thread.get_regs())
            thread.resume()
        assert thread.nr == 60
        assert struct.unpack("<q", guest.space.read(DATA, 8)) == (result,)


def test_release_of_a_stopped_thread(guest, asm):
    second = guest.space.spawn(guest.thread)
    pid = second.host_pid()
    second.release()
    second.release()
    guest.run(asm.call(60))
    wait_until(lambda: guest.platform.wait(-1, 1_000_000) is None and not os.path.exists(f"/proc/{pid}"))


def test_release_of_a_running_thread(guest, asm):
    second = guest.space.spawn(guest.thread)
    pid = second.host_pid()
    guest.start(asm.COUNT, second, CODE2)
    second.release()
    wait_until(lambda: guest.platform.wait(-1, 1_000_000) is None and not os.path.exists(f"/proc/{pid}"))
    assert guest.run(asm.call(60)) is guest.thread


def test_release_while_an_event_is_waiting(guest, asm):
    second = guest.space.spawn(guest.thread)
    guest.start(asm.call(1), second, CODE2)
    guest.start(asm.call(2))
    time.sleep(0.02)
    assert guest.wait() in (guest.thread, second)
    second.release()
    for _ in range(3):
        thread = guest.platform.wait(-1, 10_000_000)
        assert thread in (None, guest.thread)


def test_leader_ends_first(guest, asm):
    """The first thread's end leaves the others and the memory intact."""
    second = guest.space.spawn(guest.thread)
    third = guest.space.spawn(guest.thread)
    guest.thread.release()
    assert guest.run(asm.call(39), second, CODE2) is second
    guest.space.map(0x300000, PAGE, 3, ANON, -1, 0)
    assert guest.space.write(0x300000, b"x") == 1
    assert guest.space.read(0x300000, 1) == b"x"
    assert guest.space.compare_exchange(0x300000, 0x78, 5) == 0x78
    assert guest.space.resident_bytes() > 0
    third.release()
    space, child = guest.space.fork(second)
    assert space.read(0x300000, 1) == b"\5"
    child.complete(0)
    guest.wait()
    guest.space.reset()
    assert guest.space.read(0x300000, 1) == b""
    second.release()
    guest.space.release()
    guest.expect_nothing(10_000_000)


def test_space_outlives_its_last_thread(guest, asm):
    guest.space.write(DATA, b"kept")
    guest.thread.release()
    assert guest.space.read(DATA, 4) == b"kept"
    guest.space.map(0x300000, PAGE, 3, ANON, -1, 0)
    guest.space.release()
    guest.space.release()
    guest.expect_nothing(10_000_000)


def test_space_outlives_its_last_running_thread(guest, asm):
    guest.start(asm.COUNT)
    guest.thread.release()
    guest.space.write(DATA, b"kept")
    guest.space.map(0x300000, PAGE, 3, ANON, -1, 0)
    assert guest.space.read(DATA, 4) == b"kept"
    guest.expect_nothing(10_000_000)
    guest.space.release()


@pytest.mark.parametrize("state", ["stopped", "running", "calling", "waiting", "interrupted", "fault"])
def test_release_of_a_space_in_every_state(guest, asm, new_guest, state):
    other = new_guest(guest.platform)
    pid = guest.thread.host_pid()
    second = guest.space.spawn(guest.thread)
    if state == "running":
        guest.start(asm.COUNT)
        guest.start(asm.COUNT, second)
    elif state == "calling":
        guest.start(asm.call_loop(39))
        guest.start(asm.call_loop(39), second)
    elif state == "waiting":
        guest.start(asm.call(39))
        time.sleep(0.01)
    elif state == "interrupted":
        guest.start(asm.COUNT)
        guest.thread.interrupt()
    elif state == "fault":
        guest.run(asm.UD2)
    guest.space.release()
    guest.thread.release()
    second.release()
    wait_until(lambda: guest.platform.wait(-1, 1_000_000) is None and not os.path.exists(f"/proc/{pid}"))
    assert other.run(asm.call(60)) is other.thread


def test_killed_by_the_host(guest, asm, new_guest):
    other = new_guest(guest.platform)
    second = guest.space.spawn(guest.thread)
    guest.start(asm.COUNT)
    os.kill(guest.host_process(), 9)
    dead = [guest.wait() for _ in range(2)]
    assert {t.event for t in dead} == {DEAD}
    assert set(dead) == {guest.thread, second}
    assert_gone(guest)
    for thread in dead:
        thread.release()
    guest.space.release()
    assert other.run(asm.call(60)) is other.thread


def test_killed_while_stopped(guest, asm):
    thread = guest.run(asm.call(39))
    os.kill(guest.host_process(), 9)
    time.sleep(0.01)
    assert_gone(guest)
    thread.complete(0)
    thread.interrupt()
    assert guest.wait() is thread
    assert thread.event == DEAD
    thread.release()
    guest.space.release()


def test_killed_before_its_system_call_was_taken(guest, asm):
    guest.start(asm.call(39))
    time.sleep(0.01)
    os.kill(guest.host_process(), 9)
    events = [guest.wait().event]
    if events == [SYSCALL]:
        guest.thread.complete(0)
        events.append(guest.wait().event)
    assert events[-1] == DEAD


def test_released_after_a_death_nobody_was_told_of(guest, asm):
    os.kill(guest.host_process(), 9)
    time.sleep(0.01)
    assert_gone(guest)
    guest.thread.release()
    guest.space.release()
    guest.expect_nothing(10_000_000)


def test_signals_from_the_host_are_ignored(guest, asm):
    guest.start(asm.call_loop(39))
    for signo in (1, 2, 3, 4, 5, 7, 8, 10, 11, 13, 15, 17, 18, 19, 20, 21, 22, 34, 64):
        os.kill(guest.host_process(), signo)
        for _ in range(20):
            guest.expect_syscall(39).complete(0)
    guest.expect_syscall(39)
    for signo in (19, 5, 11, 18):
        os.kill(guest.host_process(), signo)
    guest.space.map(0x300000, PAGE, 3, ANON, -1, 0)
    guest.space.write(0x300000, bytes(4))
    assert guest.space.compare_exchange(0x300000, 0, 1) == 0
    space, child = guest.space.fork(guest.thread)
    child.complete(0)
    assert guest.wait() is child
    space.release()


def test_a_computing_thread_ignores_stop_signals(guest, asm):
    guest.start(asm.COUNT)
    for signo in (19, 20, 18, 15):
        os.kill(guest.host_process(), signo)
    guest.expect_nothing(20_000_000)
    guest.thread.interrupt()
    assert guest.wait().event == INTERRUPTED
    first = guest.reg("rbx")
    guest.thread.resume()
    time.sleep(0.01)
    guest.thread.interrupt()
    assert guest.wait().event == INTERRUPTED
    assert guest.reg("rbx") > first


def test_interrupt_is_not_lost_to_an_ignored_signal(guest, asm):
    guest.start(asm.COUNT)
    pid = guest.host_process()
    for _ in range(300):
        os.kill(pid, 15)
        guest.thread.interrupt()
        os.kill(pid, 19)
        assert guest.wait().event == INTERRUPTED
        guest.thread.resume()


def test_interrupt_is_not_lost_to_a_host_call(guest, asm):
    guest.start(asm.COUNT)
    for i in range(300):
        guest.thread.interrupt()
        guest.space.compare_exchange(DATA, i, i + 1)
        assert guest.wait().event == INTERRUPTED
        guest.thread.resume()
        guest.space.compare_exchange(DATA, i, i)
    assert guest.space.read(DATA, 2) == (300).to_bytes(2, "little")


def test_many_processes(platform, new_guest, asm):
    guests = [new_guest(platform) for _ in range(100)]
    for i, guest in enumerate(guests):
        guest.start(asm.call(i))
    assert {guests[0].wait().nr for _ in guests} == set(range(100))
    for guest in guests[::2]:
        guest.space.release()
        guest.thread.release()
    for guest in guests[1::2]:
        guest.thread.complete(0)
    assert {guests[0].wait() for _ in guests[1::2]} == {g.thread for g in guests[1::2]}


def test_processes_come_and_go(guest, asm):
    thread = guest.run(asm.call(57) + asm.call(60))
    for _ in range(300):
        space, child = guest.space.fork(thread)
        child.complete(0)
        assert guest.expect_syscall(60) is child
        child.release()
        space.release()


def test_threads_come_and_go(guest, asm):
    thread = guest.run(asm.call(56) + asm.call(60))
    for _ in range(300):
        child = guest.space.spawn(thread)
        child.complete(0)
        assert guest.expect_syscall(60) is child
        child.release()


def test_cpu_time(guest, asm):
    guest.start(asm.COUNT)
    time.sleep(0.1)
    guest.thread.interrupt()
    guest.wait()
    user, system = guest.thread.cpu_time_ns()
    assert 10_000_000 < user + system < 2_000_000_000
    second = guest.space.spawn(guest.thread)
    user2, system2 = second.cpu_time_ns()
    assert user2 + system2 < user + system


def assert_gone(guest):
    from runsc.platform import AddressSpaceGone

    with pytest.raises(AddressSpaceGone):
        guest.space.map(0x300000, PAGE, 3, ANON, -1, 0)
    with pytest.raises(AddressSpaceGone):
        guest.space.compare_exchange(DATA, 0, 1)
    for call in (guest.space.spawn, guest.space.fork):
        with pytest.raises(AddressSpaceGone):
            call(guest.thread)
    with pytest.raises(AddressSpaceGone):
        guest.space.read(DATA, 4)
    with pytest.raises(AddressSpaceGone):
        guest.space.write(DATA, b"1234")
    with pytest.raises(AddressSpaceGone):
        guest.space.poke(DATA, b"1234")
    with pytest.raises(AddressSpaceGone):
        guest.space.residency(DATA, PAGE)
    assert guest.space.resident_bytes() == 0


def wait_until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "did not happen"


def test_many_threads(guest, asm):
    """More than fit where the first ones are kept; then a fork from the last one, and new ones for old."""
    thread = guest.run(asm.call(56) + asm.call_loop(39), fs_base=0x1000)
    threads = [guest.space.spawn(thread) for _ in range(100)]
    for other in threads:
        other.complete(0)
    for _ in range(500):
        guest.expect_syscall(39).complete(0)
    seen = set()
    while len(seen) < 100:
        seen.add(guest.expect_syscall(39))
    assert seen == set(threads)
    last = threads[-1]
    space, child = guest.space.fork(last)
    assert guest.reg("fs_base", child) == 0x1000
    child.complete(0)
    assert guest.expect_syscall(39) is child
    second = space.spawn(child)
    second.complete(0)
    assert guest.expect_syscall(39) is second
    space.release()
    for other in threads[::2]:
        other.release()
    again = [guest.space.spawn(last) for _ in range(120)]
    for other in again:
        other.complete(0)
    assert {guest.expect_syscall(39) for _ in again} == set(again)
    guest.space.release()
