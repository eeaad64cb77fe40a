"""The stand-ins themselves: memory that faults where it should, calls that wait and are woken."""

from __future__ import annotations

from errno import EFAULT

from support import Buffer, Pending, call, make_kernel, make_task

from runsc.kernel.syscalls import memory, process, wait


def test_memory_faults_beyond_what_is_mapped() -> None:
    task = make_task(make_kernel())
    assert call(task, memory.munmap, 0x10000000 + 4096, 4096) == 0
    buffer = Buffer(task)
    at = buffer.text(b"abc")
    assert task.mm.copy_in_path(at) == b"abc"
    assert task.mm.space.read(0x10000000 + 4090, 100) == bytes(6)
    assert call(task, wait.wait4, -1, 0, 1, 0) == -10


def test_a_call_that_waits_is_woken() -> None:
    parent = make_task(make_kernel())
    child = make_task(parent.kernel, parent=parent)
    out = Buffer(parent).room(8)
    waiting = call(parent, wait.wait4, -1, out, 0, 0)
    assert isinstance(waiting, Pending)
    assert not waiting.woken()
    call(child, process.exit_group_, 7)
    assert waiting.woken()
    assert waiting.step() == child.tid
    assert parent.mm.read_u32(out) == 7 << 8


def test_unmapped_status_pointer() -> None:
    parent = make_task(make_kernel())
    child = make_task(parent.kernel, parent=parent)
    call(child, process.exit_group_, 7)
    assert call(parent, wait.wait4, -1, 0x20000000, 0, 0) == -EFAULT
