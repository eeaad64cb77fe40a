"""Pipes: compared with the host's, and their blocking."""

from __future__ import annotations

import os
import random
from errno import EAGAIN, EBADF, EFAULT, EINVAL, EMFILE, EPIPE
from typing import Any

import pytest
from scenario import HANDLERS, Guest, Machine, same
from support import Buffer, Pending, call, make_task, run_ready

from runsc.abi.fcntl import O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY
from runsc.abi.poll import POLLIN, POLLOUT
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.pipe import FifoOpening, PipeFile, open_fifo
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc.kernel.siginfo import SigInfo


def test_what_is_written_is_read_in_order() -> None:
    def scenario(m: Machine) -> Any:
        r, w = m.pipe()
        m.write(w, b"abc")
        m.write(w, b"defgh")
        return [m.read(r, 4), m.read(r, 100), m.call("close", w), m.read(r, 10)]

    assert same(scenario) == [b"abcd", b"efgh", 0, b""]


@pytest.mark.parametrize(
    "size", [1, 100, 1000, 1024, 4095, 4096, 4097, 5000, 8192, 10000, 65535, 65536, 70000]
)
def test_capacity_counts_pages(size: int) -> None:
    def scenario(m: Machine) -> Any:
        r, w = m.pipe(O_NONBLOCK)
        written = []
        for _ in range(70000):
            result = m.call("write", w, data[m], size)
            written.append(result)
            if result < 0:
                break
        polled = m.poll((w, POLLOUT), (r, POLLIN))
        # Part of a page more is read, and what fits then.
        out = m.room(70000)
        taken = [m.call("read", r, out, 4096), m.call("write", w, data[m], size)]
        taken += [m.call("read", r, out, 70000), m.poll((w, POLLOUT), (r, POLLIN))]
        return written[-3:], len(written), polled, taken

    data: dict[Machine, int] = {}

    def with_data(m: Machine) -> Any:
        data[m] = m.put(bytes(size))
        return scenario(m)

    same(with_data)


@pytest.mark.parametrize("seed", range(6))
def test_random_traffic(seed: int) -> None:
    def scenario(m: Machine) -> Any:
        chance = random.Random(seed)
        direct = O_DIRECT if seed % 2 else 0
        r, w = m.pipe(O_NONBLOCK | direct)
        source = m.put(chance.randbytes(30000))
        target = m.room(30000)
        seen = []
        for _ in range(400):
            size = chance.choice((0, 1, 7, 500, 4000, 4096, 5000, 12288, 30000))
            if chance.random() < 0.55:
                seen.append(m.call("write", w, source + chance.randrange(30001 - size), size))
            else:
                count = m.call("read", r, target, size)
                seen.append(m.get(target, count) if count > 0 else count)
            available = m.room(4)
            m.call("ioctl", r, 0x541B, available)
            seen.append(m.ints(available, 1))
            seen.append(m.poll((r, POLLIN), (w, POLLOUT)))
        return seen

    same(scenario)


def test_packets() -> None:
    def scenario(m: Machine) -> Any:
        r, w = m.pipe(O_NONBLOCK | O_DIRECT)
        m.write(w, b"abc")
        m.write(w, b"defgh")
        m.write(w, bytes(5000))
        return [m.read(r, 2), m.read(r, 100), len(m.read(r, 9000)), len(m.read(r, 9000)), m.read(r, 1)]

    assert same(scenario) == [b"ab", b"defgh", 4096, 904, -EAGAIN]


def test_ends_that_are_gone() -> None:
    def scenario(m: Machine) -> Any:
        r, w = m.pipe()
        found = [m.poll((r, POLLIN), (w, POLLOUT))]
        m.call("close", w)
        found.append(m.poll((r, POLLIN)))
        r, w = m.pipe()
        m.call("close", r)
        found.append(m.poll((w, POLLOUT)))
        if isinstance(m, Guest):
            found.append(m.write(w, b"x"))
            assert m.task.pending.pending == 1 << 12  # SIGPIPE
        else:
            found.append(m.write(w, b"x"))  # Python ignores SIGPIPE
        found.append(m.write(w, b""))
        return found

    assert same(scenario)[-2:] == [-EPIPE, 0]


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 8192, 65537, 1 << 20, -1, (1 << 31) + 1])
def test_capacity_can_be_set(size: int) -> None:
    def scenario(m: Machine) -> Any:
        r, w = m.pipe(O_NONBLOCK)
        before = m.call("fcntl", w, 1032)
        m.write(w, bytes(10000))
        result = m.call("fcntl", r, 1031, size & 0xFFFFFFFF)
        return before, result, m.call("fcntl", w, 1032)

    same(scenario)


def test_only_an_end_for_reading_reads() -> None:
    def scenario(m: Machine) -> Any:
        r, w = m.pipe()
        return [
            m.read(w, 1),
            m.write(r, b"x"),
            m.call("lseek", r, 0, 0),
            m.call("pread64", r, m.room(1), 1, 0),
        ]

    assert same(scenario)[:2] == [-EBADF, -EBADF]


def test_arguments() -> None:
    def scenario(m: Machine) -> Any:
        return [m.call("pipe2", m.room(8), 0x7), m.call("pipe", 8), m.call("pipe2", m.room(8), O_CLOEXEC)]

    assert same(scenario) == [-EINVAL, -EFAULT, 0]


def test_a_fault_leaves_no_descriptor() -> None:
    guest = Guest()
    guest.call("pipe", 8)
    assert guest.task.files.files == {}


def test_no_room_for_the_second_descriptor() -> None:
    guest = Guest()
    guest.task.group.limits[7] = (1, 1)
    assert guest.call("pipe", guest.room(8)) == -EMFILE
    assert guest.task.files.files == {}


# -- blocking -------------------------------------------------------------------------------------


def test_a_reader_waits_for_a_writer() -> None:
    guest = Guest()
    r, w = guest.pipe()
    out = guest.room(10)
    reading = call(guest.task, HANDLERS["read"], r, out, 10)
    assert isinstance(reading, Pending)
    other = make_task(guest.task.kernel, parent=guest.task)
    other.files = guest.task.files
    assert call(other, HANDLERS["write"], w, Buffer(other).put(b"hello"), 5) == 5
    assert reading.woken()
    assert reading.step() == 5
    assert guest.get(out, 5) == b"hello"


def test_a_writer_goes_on_until_all_is_written() -> None:
    guest = Guest()
    r, w = guest.pipe()
    data = os.urandom(150000)
    writing = call(guest.task, HANDLERS["write"], w, guest.put(data), len(data))
    assert isinstance(writing, Pending)
    other = make_task(guest.task.kernel, parent=guest.task)
    other.files = guest.task.files
    buffer = Buffer(other)
    got = b""
    while len(got) < len(data):
        addr = buffer.room(50000)
        count = call(other, HANDLERS["read"], r, addr, 50000)
        got += buffer.get(addr, count)
        buffer.next = addr
        run_ready(guest.task)
    assert got == data
    assert guest.task.thread.results == [150000]


def test_a_signal_ends_the_wait() -> None:
    guest = Guest()
    r, _w = guest.pipe()
    reading = call(guest.task, HANDLERS["read"], r, guest.room(1), 1)
    guest.task.send_signal(SigInfo(15))
    assert reading.woken()
    assert reading.step() == -512


def test_the_end_wakes_a_reader() -> None:
    guest = Guest()
    r, w = guest.pipe()
    reading = call(guest.task, HANDLERS["read"], r, guest.room(1), 1)
    guest.task.files.close(w, guest.task)
    assert reading.step() == 0


# -- FIFOs ----------------------------------------------------------------------------------------


def _fifo() -> tuple[Any, Any]:
    task = make_task(root=Tmpfs())
    assert call(task, HANDLERS["mknod"], Buffer(task).text(b"/fifo"), 0o010644, 0) == 0
    inode = task.fs.root.dentry.children[b"fifo"].inode
    return task, inode


def test_a_fifo_waits_for_its_other_side() -> None:
    task, inode = _fifo()
    reading = open_fifo(inode, None, O_RDONLY, task)
    assert isinstance(reading, FifoOpening)
    assert reading.try_again() is None
    writing = open_fifo(inode, None, O_WRONLY, task)
    assert isinstance(writing, PipeFile)
    writing.get()
    reader = reading.try_again()
    assert isinstance(reader, PipeFile)
    reader.get()
    assert writing.write(task, b"x") == 1
    writing.put()
    assert reader.read(task, 5) == b"x"
    assert reader.read(task, 5) == b""
    reader.put()
    assert "pipe" not in inode.extra


def test_a_partner_that_has_gone_again_still_counts() -> None:
    task, inode = _fifo()
    reading = open_fifo(inode, None, O_RDONLY, task)
    assert isinstance(reading, FifoOpening)
    open_fifo(inode, None, O_WRONLY, task).get().put()  # type: ignore[union-attr]
    assert reading.try_again() is not None


def test_giving_up_takes_the_opener_away() -> None:
    task, inode = _fifo()
    opening = open_fifo(inode, None, O_WRONLY, task)
    assert isinstance(opening, FifoOpening)
    opening.cancel()
    assert "pipe" not in inode.extra
    with pytest.raises(LinuxError) as caught:
        open_fifo(inode, None, O_WRONLY | O_NONBLOCK, task)
    assert caught.value.errno == 6


def test_nonblocking_fifos_as_on_the_host(tmp_path: Any) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def scenario(m: Machine) -> Any:
        if isinstance(m, Guest):
            name = m.put(b"/fifo\0")
            m.call("mknod", name, 0o010644, 0)
        else:
            name = m.put(bytes(path) + b"\0")
        found: list[Any] = [m.call("open", name, O_WRONLY | O_NONBLOCK, 0)]
        r = m.call("open", name, O_RDONLY | O_NONBLOCK, 0)
        found += [m.poll((r, POLLIN)), m.read(r, 1)]
        w = m.call("open", name, O_WRONLY | O_NONBLOCK, 0)
        found += [m.poll((r, POLLIN), (w, POLLOUT)), m.read(r, 1), m.write(w, b"abc")]
        m.call("close", w)
        found += [m.poll((r, POLLIN)), m.read(r, 10), m.poll((r, POLLIN)), m.read(r, 10)]
        both = m.call("open", name, O_RDWR, 0)
        found += [m.poll((both, POLLIN | POLLOUT)), m.write(both, b"x"), m.read(both, 2)]
        return found

    same(scenario)
