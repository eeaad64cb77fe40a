"""Nested pid namespaces: a number at each level, an init that adopts and can't be killed from inside, and
takes all with it. Expected is what pid_namespaces(7) says and Linux does for the children of unshare(1)."""

from __future__ import annotations

from errno import EEXIST, EINVAL, ENOENT, ENOMEM, EPERM, ESRCH
from typing import TYPE_CHECKING

import pytest
from support import Buffer, call, make_kernel, make_task

from runsc.abi.signal import SI_USER, SIGCHLD, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1
from runsc.kernel.credentials import ALL_CAPS, Credentials
from runsc.kernel.errors import LinuxError
from runsc.kernel.exit import exit_group
from runsc.kernel.fs.proc import make_proc
from runsc.kernel.pid import PidNamespace
from runsc.kernel.signal import Action, SigInfo, force, send_as
from runsc.kernel.spawn import container_namespaces, spawn
from runsc.kernel.syscalls import info, prctl, process, signal, wait
from runsc.kernel.thread_group import default_limits

if TYPE_CHECKING:
    from runsc.kernel.task import Task

PR_SET_CHILD_SUBREAPER = 36
HANDLER = Action(0x400000)


class World:
    """The first process of a kernel (``outer``), and a container with an ``init`` and its ``child``."""

    def __init__(self) -> None:
        self.kernel = make_kernel()
        self.kernel.pid_ns.last = 1
        self.outer = make_task(self.kernel)
        self.nsproxy = container_namespaces(self.kernel, b"box")
        self.ns = self.nsproxy.pid_for_children
        self.init = self.start()
        self.child = self.fork(self.init)

    def start(self) -> Task:
        """A process started in the container from outside."""
        task = spawn(
            self.kernel, self.nsproxy, Credentials(0, 0, (), ALL_CAPS), self.outer.fs.fork(), default_limits()
        )
        task.mm.map(0x10000000, 1 << 20, 3, 2, None, 0)
        return task

    def fork(self, task: Task) -> Task:
        number = call(task, process.fork)
        assert number > 0
        return self.task(task, number)

    @staticmethod
    def task(reader: Task, number: int) -> Task:
        found = reader.pid_ns.find_task(number)
        assert found is not None
        return found


@pytest.fixture
def world() -> World:
    return World()


def ids(task: Task) -> list[int]:
    return [
        call(task, process.getpid),
        call(task, process.gettid),
        call(task, process.getppid),
        call(task, process.getpgrp),
        call(task, process.getsid, 0),
    ]


def test_ids_count_from_one_in_each_namespace(world: World) -> None:
    assert ids(world.outer) == [2, 2, 1, 2, 2]
    assert ids(world.init) == [1, 1, 0, 1, 1]
    assert ids(world.child) == [2, 2, 1, 1, 1]
    assert (world.init.tid, world.child.tid) == (3, 4)
    assert world.kernel.pid_ns.find_task(4) is world.child
    assert world.kernel.pid_ns.id_of(world.child) == 4
    assert world.ns.id_of(world.outer) == 0
    assert world.ns.find_group(2) is world.child.group
    assert world.ns.find_process_group(1) is world.init.group.process_group
    assert world.ns.find_process_group(2) is None


def test_who_is_started_from_outside_has_no_parent(world: World) -> None:
    late = world.start()
    assert ids(late) == [3, 3, 0, 3, 3]
    assert late.group.parent is None
    assert not late.group.unkillable


def test_a_group_from_above_has_no_number(world: World) -> None:
    child = world.child
    child.group.process_group.remove(child.group)
    world.outer.group.process_group.add(child.group)
    assert call(child, process.getpgrp) == 0
    assert call(child, process.getsid, 0) == 0
    assert call(child, process.setsid) == 2
    assert ids(child)[3:] == [2, 2]
    assert world.kernel.pid_ns.find_process_group(4) is child.group.process_group


def test_a_process_group_keeps_its_number_from_being_given_again(world: World) -> None:
    leader, member = world.fork(world.init), world.fork(world.init)
    assert call(leader, process.setpgid, 0, 0) == 0
    assert call(world.init, process.setpgid, member.vtid, leader.vtid) == 0
    number = leader.vtid
    exit_group(leader, 0)
    assert call(world.init, wait.wait4, number, 0, 0, 0) == number
    assert world.ns.find_task(number) is None
    assert number in world.ns.pids
    world.ns.last = number - 1
    assert world.fork(world.init).vtid != number
    exit_group(member, 0)
    assert call(world.init, wait.wait4, member.vtid, 0, 0, 0) == member.vtid
    assert number not in world.ns.pids


def test_waiting_tells_the_number_that_the_waiter_knows(world: World) -> None:
    exit_group(world.child, 7 << 8)
    buffer = Buffer(world.init)
    status = buffer.room(4)
    assert call(world.init, wait.wait4, 4, status, 1, 0) == -10
    assert call(world.init, wait.wait4, 2, status, 0, 0) == 2
    assert buffer.get(status, 4) == (7 << 8).to_bytes(4, "little")
    assert world.kernel.pid_ns.find_task(4) is None


def test_sigchld_names_the_child_as_its_parent_does(world: World) -> None:
    world.init.sighand.actions[SIGCHLD] = HANDLER
    exit_group(world.child, 0)
    (found,) = world.init.group.pending.infos[SIGCHLD]
    assert found.pid == 2


def test_init_is_immune_to_signals_from_its_own_namespace(world: World) -> None:
    init = world.init
    for signo in (SIGKILL, SIGSTOP, SIGTERM, SIGUSR1):
        assert call(world.child, signal.kill, 1, signo) == 0
        assert not init.group.pending.pending
    init.sighand.actions[SIGTERM] = HANDLER
    assert call(world.child, signal.kill, 1, SIGTERM) == 0
    (found,) = init.group.pending.infos[SIGTERM]
    assert (found.pid, found.code) == (2, SI_USER)


def test_from_above_only_kill_and_stop_get_through(world: World) -> None:
    init = world.init
    assert call(world.outer, signal.kill, init.tid, SIGTERM) == 0
    assert not init.group.pending.pending
    init.sighand.actions[SIGUSR1] = HANDLER
    assert call(world.outer, signal.kill, init.tid, SIGUSR1) == 0
    (found,) = init.group.pending.infos[SIGUSR1]
    assert found.pid == 0
    assert call(world.outer, signal.kill, init.tid, SIGKILL) == 0
    assert SIGKILL in init.group.pending.infos


def test_the_sandbox_s_user_is_above_all(world: World) -> None:
    send_as(None, world.init, SigInfo(SIGTERM, SI_USER))
    assert not world.init.group.pending.pending
    send_as(None, world.init, SigInfo(SIGKILL, SI_USER))
    assert SIGKILL in world.init.group.pending.infos


def test_a_fault_ends_init_all_the_same(world: World) -> None:
    force(world.init, SigInfo(11, 1, addr=8))
    assert not world.init.group.unkillable
    assert 11 in world.init.pending.infos


def test_nobody_outside_can_be_named_from_inside(world: World) -> None:
    late = world.start()
    assert call(world.child, signal.kill, world.child.tid, 0) == -ESRCH
    assert call(world.child, signal.tgkill, 3, 2, 0) == -ESRCH
    assert call(late, signal.tgkill, 3, 3, 0) == 0
    assert call(world.child, process.getpgid, world.outer.tid + 20) == -ESRCH


def test_kill_everybody_spares_init_and_those_outside(world: World) -> None:
    second = world.fork(world.init)
    for task in (world.init, world.child, second, world.outer):
        task.sighand.actions[SIGUSR1] = HANDLER
    assert call(second, signal.kill, -1, SIGUSR1) == 0
    assert SIGUSR1 in world.child.group.pending.infos
    for task in (world.init, second, world.outer):
        assert not task.group.pending.pending


def test_orphans_go_to_init(world: World) -> None:
    grandchild = world.fork(world.child)
    assert call(grandchild, process.getppid) == 2
    exit_group(world.child, 0)
    assert grandchild.group.parent is world.init.group
    assert call(grandchild, process.getppid) == 1


def test_orphans_go_to_the_nearest_subreaper_of_their_namespace(world: World) -> None:
    middle = world.fork(world.child)
    grandchild = world.fork(middle)
    assert call(world.child, prctl.prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    exit_group(middle, 0)
    assert call(grandchild, process.getppid) == 2
    assert grandchild.group.parent is world.child.group


def test_a_subreaper_above_adopts_nobody_from_below(world: World) -> None:
    assert call(world.outer, prctl.prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    world.outer.nsproxy = world.outer.nsproxy.replace(pid_for_children=world.ns)
    inside = world.task(world.outer, call(world.outer, process.fork))
    assert inside.pid_ns is world.ns
    assert call(inside, process.getppid) == 0
    grandchild = world.fork(inside)
    exit_group(inside, 0)
    assert grandchild.group.parent is world.init.group


def test_init_takes_all_with_it(world: World) -> None:
    grandchild = world.fork(world.child)
    late = world.start()
    seen: list[int] = []
    late.group.ended = lambda group: seen.append(group.exit_code)
    exit_group(world.init, 0)
    assert not world.ns.tasks
    assert not world.ns.pids
    assert list(world.kernel.tasks.values()) == [world.outer]
    assert sorted(world.kernel.pid_ns.pids) == [2]
    assert seen == [SIGKILL]
    assert grandchild.group.exit_code == SIGKILL
    with pytest.raises(LinuxError) as caught:
        world.start()
    assert caught.value.errno == ENOMEM


def test_namespaces_below_go_too(world: World) -> None:
    world.child.nsproxy = world.child.nsproxy.replace(
        pid_for_children=PidNamespace(world.ns, world.ns.user_ns, inum=5)
    )
    deepest = world.task(world.child, call(world.child, process.fork))
    assert deepest.pid.numbers == (5, 3, 1)
    assert deepest.group.is_init()
    assert deepest.group.unkillable
    assert world.ns.contains(deepest.pid_ns)
    assert not deepest.pid_ns.contains(world.ns)
    exit_group(world.init, 0)
    assert deepest.group.zombie
    assert not deepest.pid_ns.tasks


def test_children_of_processes_outside_stay_until_those_wait(world: World) -> None:
    world.outer.nsproxy = world.outer.nsproxy.replace(pid_for_children=world.ns)
    number = call(world.outer, process.fork)
    exit_group(world.init, 0)
    buffer = Buffer(world.outer)
    status = buffer.room(4)
    assert call(world.outer, wait.wait4, -1, status, 0, 0) == number
    assert buffer.get(status, 4) == SIGKILL.to_bytes(4, "little")
    assert call(world.outer, process.fork) == -ENOMEM


def test_no_threads_where_children_go_elsewhere(world: World) -> None:
    flags = 0x10000 | 0x800 | 0x100
    assert call(world.outer, process.clone_, flags, 0, 0, 0, 0) > 0
    world.outer.nsproxy = world.outer.nsproxy.replace(pid_for_children=world.ns)
    assert call(world.outer, process.clone_, flags, 0, 0, 0, 0) == -EINVAL


def test_a_failed_fork_leaves_no_number(world: World) -> None:
    before = dict(world.kernel.pid_ns.pids)
    world.child.mm.space.fork = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        call(world.child, process.fork)
    assert world.kernel.pid_ns.pids == before


def test_numbers_can_be_wanted(world: World) -> None:
    assert world.ns.allocate((50, 60)).numbers == (60, 50)
    for wanted, errno in (((50,), EEXIST), ((0,), EINVAL), ((99999,), EINVAL)):
        with pytest.raises(LinuxError) as caught:
            world.ns.allocate(wanted)
        assert caught.value.errno == errno


def test_host_names_are_the_container_s_own(world: World) -> None:
    buffer = Buffer(world.child)
    assert call(world.child, info.sethostname, buffer.put(b"inner"), 5) == 0
    assert world.init.nsproxy.uts.hostname == b"inner"
    assert world.outer.nsproxy.uts.hostname == b"runsc"


def test_proc_shows_the_namespace_it_was_mounted_for(world: World) -> None:
    inner, outer = make_proc(world.kernel, world.ns), make_proc(world.kernel)

    def listed(fs: object) -> list[bytes]:
        return [entry.name for entry in fs.root().readdir(world.outer) if entry.name.isdigit()]  # type: ignore[attr-defined]

    assert listed(inner) == [b"1", b"2"]
    assert listed(outer) == [b"2", b"3", b"4"]
    assert inner.root().lookup(b"self", world.child).readlink(world.child) == b"2"
    assert outer.root().lookup(b"self", world.child).readlink(world.child) == b"4"
    with pytest.raises(LinuxError) as caught:
        inner.root().lookup(b"self", world.outer).readlink(world.outer)
    assert caught.value.errno == ENOENT

    def status(fs: object, number: bytes) -> dict[str, str]:
        node = fs.root().lookup(number, world.outer).lookup(b"status", world.outer)  # type: ignore[attr-defined]
        return dict(line.split(":\t", 1) for line in node.show(world.outer).splitlines())

    shown = status(inner, b"2")
    assert [shown[key] for key in ("Tgid", "Pid", "PPid", "NSpid", "NSsid")] == ["2", "2", "1", "2", "1"]
    shown = status(outer, b"4")
    assert [shown[key] for key in ("Tgid", "Pid", "PPid")] == ["4", "4", "3"]
    assert [shown[key] for key in ("NSpid", "NSsid")] == ["4\t2", "3\t1"]


def test_a_process_may_still_not_be_signalled_by_a_stranger(world: World) -> None:
    user = world.start()
    user.cred = Credentials(1000, 1000)
    assert call(user, signal.kill, 2, SIGTERM) == -EPERM
