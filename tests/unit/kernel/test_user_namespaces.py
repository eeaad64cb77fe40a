"""User namespaces: maps, and what capabilities in them reach (user_namespaces(7))."""

from __future__ import annotations

from errno import EINVAL, EPERM

import pytest
from support import call, make_task

from runsc.kernel.credentials import ALL_CAPS, CAP_KILL, CAP_SYS_ADMIN, Credentials
from runsc.kernel.errors import LinuxError
from runsc.kernel.namespaces import in_user_ns
from runsc.kernel.syscalls import identity, namespaces, signal
from runsc.kernel.user_ns import INIT_USER_NS, UserNamespace, parse_map, write_map, write_setgroups

CLONE_NEWUSER, CLONE_NEWUTS, CLONE_NEWNS = 0x10000000, 0x4000000, 0x20000
ROOT = Credentials(0, 0, (), ALL_CAPS)


def made(owner: int = 1000) -> UserNamespace:
    return UserNamespace(INIT_USER_NS, owner, owner, 9)


def errno_of(function: object, *args: object) -> int:
    with pytest.raises(LinuxError) as caught:
        function(*args)  # type: ignore[operator]
    return caught.value.errno


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\n", b"0 0", b"0 0 1 1", b"a 0 1", b"-1 0 1", b"0 0 0", b"1 0 4294967295", b"0 1 4294967295",
        b"0 0 10\n5 20 1\n", b"0 0 10\n20 9 1\n", b"0 0 1\n" * 341, b"0 0 1\n0 0 1", b" " * 4096,
    ],
)  # fmt: skip
def test_bad_maps(text: bytes) -> None:
    assert errno_of(parse_map, text) == EINVAL


def test_maps_translate_both_ways() -> None:
    ns = made()
    write_map(ns, ROOT, b"0 1000 1\n  1 100000 65535\n", groups=False)
    assert [ns.make_uid(uid) for uid in (0, 1, 65535, 65536)] == [1000, 100000, 165534, 0xFFFFFFFF]
    assert [ns.uid(uid) for uid in (1000, 100000, 165534, 165535, 0)] == [0, 1, 65535, 65534, 65534]
    assert errno_of(write_map, ns, ROOT, b"0 0 1", False) == EPERM


def test_nested_maps_are_of_the_parent_s_ids() -> None:
    outer = made()
    write_map(outer, ROOT, b"0 5000 100", groups=False)
    inner = UserNamespace(outer, 5000, 5000, 10)
    root_of_outer = in_user_ns(Credentials(5000, 5000), outer)
    assert errno_of(write_map, inner, root_of_outer, b"0 90 20", False) == EPERM
    write_map(inner, root_of_outer, b"0 10 20", groups=False)
    assert inner.make_uid(3) == 5013


def test_an_ordinary_user_maps_only_itself() -> None:
    user = Credentials(1000, 1000)
    inside = in_user_ns(user, ns := made())
    for text in (b"0 0 1", b"0 1000 2", b"0 1001 1"):
        assert errno_of(write_map, ns, inside, text, False) == EPERM
    write_map(ns, inside, b"0 1000 1", groups=False)
    assert errno_of(write_map, ns, inside, b"0 1000 1", True) == EPERM
    write_setgroups(ns, b"deny\n")
    write_map(ns, inside, b"0 1000 1", groups=True)
    assert not ns.may_setgroups()
    assert errno_of(write_setgroups, ns, b"allow") == EPERM
    assert errno_of(write_setgroups, ns, b"maybe") == EINVAL
    assert errno_of(write_setgroups, ns, b"allow     ") == EINVAL


def test_setgroups_cannot_be_denied_once_groups_are_mapped() -> None:
    ns = made()
    write_map(ns, ROOT, b"0 0 10", groups=True)
    assert errno_of(write_setgroups, ns, b"deny") == EPERM
    assert ns.may_setgroups()


def test_nobody_else_writes_a_map() -> None:
    stranger = in_user_ns(Credentials(1000, 1000), made())
    assert errno_of(write_map, made(), stranger, b"0 1000 1", False) == EPERM
    assert errno_of(write_map, made(1000), Credentials(1001, 1001), b"0 1001 1", False) == EPERM
    assert errno_of(write_map, INIT_USER_NS, ROOT, b"0 0 1", False) == EPERM


def test_root_s_id_needs_setfcap() -> None:
    ns = made(0)
    inside = in_user_ns(ROOT, ns)
    ns.could_setfcap = False
    assert errno_of(write_map, ns, inside, b"0 0 1", False) == EPERM
    write_map(ns, ROOT, b"0 0 1", groups=False)


def test_capabilities_reach_down_not_up() -> None:
    outer = made(1000)
    inner = UserNamespace(outer, 1000, 1000, 10)
    owner, other = Credentials(1000, 1000), Credentials(1001, 1001)
    inside = in_user_ns(owner, outer)
    assert inside.ns_capable(outer, CAP_KILL)
    assert inside.ns_capable(inner, CAP_KILL)
    assert not inside.ns_capable(INIT_USER_NS, CAP_KILL)
    assert not inside.capable(CAP_KILL)
    assert owner.ns_capable(outer, CAP_SYS_ADMIN)
    assert owner.ns_capable(inner, CAP_SYS_ADMIN)
    assert not other.ns_capable(outer, CAP_SYS_ADMIN)
    assert ROOT.ns_capable(inner, CAP_SYS_ADMIN)
    assert not in_user_ns(owner, inner).ns_capable(outer, CAP_SYS_ADMIN)
    assert not in_user_ns(other, made()).ns_capable(outer, CAP_SYS_ADMIN)


def test_a_new_namespace_gives_every_capability_and_no_id() -> None:
    task = make_task(uid=1000, gid=1000)
    assert call(task, namespaces.unshare, CLONE_NEWUTS) == -EPERM
    assert call(task, namespaces.unshare, CLONE_NEWUSER | CLONE_NEWUTS) == 0
    assert task.cred.effective == ALL_CAPS
    assert call(task, identity.getuid) == 65534
    assert call(task, identity.setuid, 0) == -EINVAL
    write_map(task.cred.user_ns, task.cred, b"7 1000 1", groups=False)
    assert call(task, identity.getuid) == call(task, identity.geteuid) == 7
    assert call(task, identity.setuid, 1000) == -EINVAL
    assert task.nsproxy.uts.user_ns is task.cred.user_ns
    assert call(task, namespaces.unshare, CLONE_NEWUTS) == 0


def test_a_namespace_s_root_kills_nobody_outside() -> None:
    task = make_task(uid=1000, gid=1000)
    other = make_task(task.kernel, uid=1001, gid=1001)
    assert call(task, namespaces.unshare, CLONE_NEWUSER) == 0
    assert call(task, signal.kill, other.tid, 9) == -EPERM


def test_mount_namespaces_are_taken_down_with_their_last_user() -> None:
    task = make_task()
    first = task.fs.namespace
    root = first.root.root
    pins = root.pins
    assert call(task, namespaces.unshare, CLONE_NEWNS) == 0
    copy = task.fs.namespace
    assert copy is not first
    assert first.family.members == {first, copy}
    task.fs.move(first, first.root_path(), first.root_path())
    assert first.family.members == {first}
    assert root.pins == pins
