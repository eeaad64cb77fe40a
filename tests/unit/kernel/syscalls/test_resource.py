"""Limits, usage, nice values, scheduling."""

from __future__ import annotations

import resource as host
from errno import E2BIG, EACCES, EFAULT, EINVAL, EPERM, ESRCH
from struct import pack, unpack
from typing import TYPE_CHECKING

from support import Buffer, call, make_task

from runsc.abi.resource import RLIM_NLIMITS, pack_rusage
from runsc.kernel.syscalls import identity, resource, sched
from runsc.kernel.thread_group import RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_RTPRIO

if TYPE_CHECKING:
    from runsc.kernel.task import Task

INFINITY = (1 << 64) - 1


def get(task: Task, kind: int) -> tuple[int, int]:
    at = Buffer(task).room(16)
    assert call(task, resource.getrlimit, kind, at) == 0
    soft, hard = unpack("<QQ", task.mm.copy_in(at, 16))
    return soft, hard


def put(task: Task, kind: int, soft: int, hard: int) -> int:
    result = call(task, resource.setrlimit, kind, Buffer(task).put(pack("<QQ", soft, hard)))
    assert isinstance(result, int)
    return result


def test_limits() -> None:
    task = make_task()
    assert put(task, RLIMIT_NOFILE, 10, 20) == 0
    assert get(task, RLIMIT_NOFILE) == (10, 20)
    assert put(task, RLIMIT_NOFILE, 21, 20) == -EINVAL
    assert put(task, RLIMIT_NOFILE, 30, 30) == 0
    assert put(task, RLIMIT_NOFILE, 1, (1 << 20) + 1) == -EPERM
    assert put(task, RLIM_NLIMITS, 1, 1) == -EINVAL
    call(task, identity.setuid, 1)
    assert put(task, RLIMIT_NOFILE, 1, 31) == -EPERM
    assert put(task, RLIMIT_NOFILE, 1, 29) == 0
    assert put(task, RLIMIT_NOFILE, 1, 30) == -EPERM
    assert call(task, resource.getrlimit, 99, 0) == -EINVAL
    assert call(task, resource.getrlimit, 1, 0) == -EFAULT
    assert call(task, resource.setrlimit, 99, 0) == -EFAULT


def test_limits_of_another_process() -> None:
    task = make_task()
    other = make_task(task.kernel, parent=task)
    buffer = Buffer(task)
    old, new = buffer.room(16), buffer.put(pack("<QQ", 5, 6))
    assert call(task, resource.prlimit64, other.tid, RLIMIT_NOFILE, new, old) == 0
    assert unpack("<QQ", buffer.get(old, 16)) == (1024, 1048576)
    assert other.group.limits[RLIMIT_NOFILE] == (5, 6)
    assert call(task, resource.prlimit64, 999, 99, 0, 0) == -ESRCH
    assert call(task, resource.prlimit64, 999, 99, 1, 0) == -EFAULT
    call(task, identity.setuid, 1)
    assert call(task, resource.prlimit64, other.tid, 99, 0, old) == -EPERM
    assert call(task, resource.prlimit64, 0, 99, 0, old) == -EINVAL


def test_usage_is_laid_out_as_the_host_does_it() -> None:
    packed = pack_rusage(1_500_000_000, 2_000_001_000, 77)
    assert len(packed) == 144
    assert unpack("<18q", packed)[:5] == (1, 500000, 2, 1, 77)
    assert host.RUSAGE_THREAD == 1
    task = make_task()
    at = Buffer(task).room(160)
    for who in (0, 1, -1):
        task.mm.copy_out(at, b"\xff" * 160)
        assert call(task, resource.getrusage, who, at) == 0
        assert task.mm.copy_in(at + 144, 16) == b"\xff" * 16
    assert call(task, resource.getrusage, 2, at) == -EINVAL
    assert call(task, resource.getrusage, 0, 1) == -EFAULT


def test_nice_values() -> None:
    task = make_task()
    child = make_task(task.kernel, parent=task)
    assert call(task, resource.getpriority, 0, 0) == 20
    assert call(task, resource.setpriority, 0, 0, -100) == 0
    assert call(task, resource.getpriority, 0, 0) == 40
    assert call(task, resource.setpriority, 1, 0, 19) == 0
    assert (task.nice, child.nice) == (19, 19)
    assert call(task, resource.setpriority, 0, child.tid, 3) == 0
    assert call(task, resource.getpriority, 1, task.group.process_group.pgid) == 17
    assert call(task, resource.getpriority, 2, 0) == 17
    assert call(task, resource.getpriority, 2, 4242) == -ESRCH
    assert call(task, resource.getpriority, 3, 0) == -EINVAL
    assert call(task, resource.setpriority, 0, 999, 0) == -ESRCH


def test_nice_values_of_the_unprivileged() -> None:
    task = make_task(uid=1)
    other = make_task(task.kernel, uid=2, parent=task)
    assert call(task, resource.setpriority, 0, 0, 5) == 0
    assert call(task, resource.setpriority, 0, 0, 4) == -EACCES
    task.group.limits[RLIMIT_NICE] = (17, 20)
    assert call(task, resource.setpriority, 0, 0, 3) == 0
    assert call(task, resource.setpriority, 0, 0, 2) == -EACCES
    assert call(task, resource.setpriority, 0, other.tid, 19) == -EPERM


def test_io_priorities() -> None:
    task = make_task()
    assert call(task, resource.ioprio_get, 1, 0) == 0
    for good in (1 << 13 | 4, 2 << 13 | 7, 3 << 13, 0):
        assert call(task, resource.ioprio_set, 1, 0, good) == 0
        assert call(task, resource.ioprio_get, 1, 0) == good
    for bad in (5, 4 << 13, 7 << 13, -1):
        assert call(task, resource.ioprio_set, 1, 0, bad) == -EINVAL
    assert call(task, resource.ioprio_set, 9, 0, 0) == -EINVAL
    assert call(task, resource.ioprio_get, 1, 999) == -ESRCH
    plain = make_task(uid=3)
    assert call(plain, resource.ioprio_set, 1, 0, 1 << 13) == -EPERM


def test_affinity() -> None:
    task = make_task()
    task.kernel.cpus = (0, 1, 70)
    task.cpu_mask = 0
    buffer = Buffer(task)
    at = buffer.room(128)
    assert call(task, sched.sched_getaffinity, 0, 8, at) == -EINVAL
    assert call(task, sched.sched_getaffinity, 0, 12, at) == -EINVAL
    assert call(task, sched.sched_getaffinity, 0, 128, at) == 16
    assert buffer.get(at, 16) == (1 << 70 | 3).to_bytes(16, "little")
    assert call(task, sched.sched_setaffinity, 0, 1, buffer.put(b"\2")) == 0
    assert call(task, sched.sched_getaffinity, 0, 16, at) == 16
    assert buffer.get(at, 16) == (2).to_bytes(16, "little")
    assert call(task, sched.sched_setaffinity, 0, 1, buffer.put(b"\4")) == -EINVAL
    assert call(task, sched.sched_setaffinity, 0, 8, 1) == -EFAULT
    assert call(task, sched.sched_setaffinity, 999, 1, buffer.put(b"\2")) == -ESRCH
    other = make_task(task.kernel, uid=5)
    assert call(other, sched.sched_setaffinity, task.tid, 1, Buffer(other).put(b"\1")) == -EPERM
    cpu = buffer.room(8)
    assert call(task, sched.getcpu, cpu, cpu + 4, 0) == 0
    assert unpack("<II", buffer.get(cpu, 8)) == (1, 0)


def set_scheduler(task: Task, policy: int, priority: int, pid: int = 0) -> int:
    at = Buffer(task).put(pack("<i", priority))
    result = call(task, sched.sched_setscheduler, pid, policy, at)
    assert isinstance(result, int)
    return result


def test_policies() -> None:
    task = make_task()
    assert call(task, sched.sched_getscheduler, 0) == 0
    assert set_scheduler(task, 1, 50) == 0
    assert call(task, sched.sched_getscheduler, 0) == 1
    at = Buffer(task).room(4)
    assert call(task, sched.sched_getparam, 0, at) == 0
    assert unpack("<i", task.mm.copy_in(at, 4)) == (50,)
    assert set_scheduler(task, 1, 0) == set_scheduler(task, 0, 1) == set_scheduler(task, 1, 100) == -EINVAL
    assert set_scheduler(task, 6, 0) == set_scheduler(task, 77, 0) == set_scheduler(task, -5, 0) == -EINVAL
    assert set_scheduler(task, 0, 0, pid=999) == -ESRCH
    assert call(task, sched.sched_setscheduler, 0, 0, 0) == -EINVAL
    assert call(task, sched.sched_setscheduler, 0, 0, 1) == -EFAULT
    assert set_scheduler(task, 0x40000002, 7) == 0
    assert call(task, sched.sched_getscheduler, 0) == 0x40000002
    assert call(task, sched.sched_setparam, 0, Buffer(task).put(pack("<i", 9))) == 0
    assert (task.policy, task.sched_priority) == (0x40000002, 9)


def test_policies_of_the_unprivileged() -> None:
    task = make_task(uid=1)
    assert set_scheduler(task, 3, 0) == 0
    assert set_scheduler(task, 1, 1) == -EPERM
    task.group.limits[RLIMIT_RTPRIO] = (10, 10)
    assert set_scheduler(task, 1, 10) == 0
    assert set_scheduler(task, 1, 11) == -EPERM
    assert set_scheduler(task, 5, 0) == 0
    assert set_scheduler(task, 0, 0) == -EPERM
    task.group.limits[RLIMIT_NICE] = (20, 20)
    assert set_scheduler(task, 0, 0) == 0
    other = make_task(task.kernel, uid=2)
    assert set_scheduler(task, 0, 0, pid=other.tid) == -EPERM


def test_attributes() -> None:
    task = make_task()
    buffer = Buffer(task)
    attr = buffer.put(pack("<IIQiIQQQ", 48, 0, 1, 7, 0, 0, 0, 0))
    assert call(task, sched.sched_setattr, 0, attr, 0) == 0
    out = buffer.room(64)
    assert call(task, sched.sched_getattr, 0, out, 56, 0) == 0
    assert unpack("<IIQiIQQQ", buffer.get(out, 48)) == (48, 0, 1, 7, 0, 0, 0, 0)
    assert call(task, sched.sched_getattr, 0, out, 47, 0) == -EINVAL
    assert call(task, sched.sched_getattr, 0, out, 48, 1) == -EINVAL
    small = buffer.put(pack("<I", 20))
    assert call(task, sched.sched_setattr, 0, small, 0) == -E2BIG
    assert unpack("<I", buffer.get(small, 4)) == (56,)
    large = buffer.put(pack("<IIQiIQQQ", 64, 0, 0, 0, 0, 0, 0, 0) + bytes(8) + b"\1" + bytes(7))
    assert call(task, sched.sched_setattr, 0, large, 0) == -E2BIG
    assert call(task, sched.sched_setattr, 0, attr, 1) == -EINVAL


def test_ranges_and_slices() -> None:
    task = make_task()
    assert [call(task, sched.sched_get_priority_max, policy) for policy in (0, 1, 2, 3, 5, 6)] == [
        0,
        99,
        99,
        0,
        0,
        0,
    ]
    assert [call(task, sched.sched_get_priority_min, policy) for policy in (0, 1, 2)] == [0, 1, 1]
    assert call(task, sched.sched_get_priority_max, 4) == -EINVAL
    assert call(task, sched.sched_get_priority_min, -1) == -EINVAL
    at = Buffer(task).room(16)
    set_scheduler(task, 2, 1)
    assert call(task, sched.sched_rr_get_interval, 0, at) == 0
    assert unpack("<qq", task.mm.copy_in(at, 16)) == (0, 100_000_000)
    assert call(task, sched.sched_rr_get_interval, -1, at) == -EINVAL
    assert call(task, sched.sched_yield) == 0
