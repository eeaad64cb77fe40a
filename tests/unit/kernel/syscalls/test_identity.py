"""Ids and capabilities (the whole set of rules is compared with the host's in the end-to-end tests)."""

from __future__ import annotations

from errno import EFAULT, EINVAL, EPERM, ESRCH
from struct import pack, unpack
from typing import TYPE_CHECKING

import pytest
from support import Buffer, call, make_task

from runsc.abi.capability import SECBIT_KEEP_CAPS, SECBIT_NO_SETUID_FIXUP, VERSION_1, VERSION_3
from runsc.kernel.cred_change import FS_CAPS
from runsc.kernel.credentials import ALL_CAPS, CAP_CHOWN, CAP_KILL, CAP_SETUID
from runsc.kernel.syscalls import capability, identity

if TYPE_CHECKING:
    from runsc.kernel.task import Task

NO_ID = 0xFFFFFFFF


def uids(task: Task) -> tuple[int, int, int, int]:
    cred = task.cred
    return cred.uid, cred.euid, cred.suid, cred.fsuid


def gids(task: Task) -> tuple[int, int, int, int]:
    cred = task.cred
    return cred.gid, cred.egid, cred.sgid, cred.fsgid


def test_root_becomes_somebody_for_good() -> None:
    task = make_task()
    task.cred.ambient = 1
    assert call(task, identity.setuid, 1000) == 0
    assert uids(task) == (1000,) * 4
    assert (task.cred.permitted, task.cred.effective, task.cred.ambient) == (0, 0, 0)
    assert call(task, identity.setuid, 0) == -EPERM
    assert task.group.dumpable == 0


def test_root_becomes_somebody_for_a_while() -> None:
    task = make_task()
    assert call(task, identity.setreuid, NO_ID, 1000) == 0
    assert uids(task) == (0, 1000, 1000, 1000)
    assert (task.cred.permitted, task.cred.effective) == (ALL_CAPS, 0)
    assert call(task, identity.setuid, 5) == -EPERM
    assert call(task, identity.setuid, 0) == 0
    assert task.cred.effective == ALL_CAPS


def test_keep_caps_keeps_the_permitted_set_only() -> None:
    task = make_task()
    task.cred.securebits = SECBIT_KEEP_CAPS
    task.cred.ambient = 1
    call(task, identity.setresuid, 1, 1, 1)
    assert (task.cred.permitted, task.cred.effective, task.cred.ambient) == (ALL_CAPS, 0, 0)


def test_no_setuid_fixup_leaves_capabilities_alone() -> None:
    task = make_task()
    task.cred.securebits = SECBIT_NO_SETUID_FIXUP
    call(task, identity.setuid, 1)
    call(task, identity.setfsuid, 2)
    assert (task.cred.permitted, task.cred.effective) == (ALL_CAPS, ALL_CAPS)


def test_the_file_system_uid_takes_its_capabilities_along() -> None:
    task = make_task()
    assert call(task, identity.setfsuid, 7) == 0
    assert task.cred.effective == ALL_CAPS & ~FS_CAPS
    assert call(task, identity.setfsuid, 0) == 7
    assert task.cred.effective == ALL_CAPS


def test_setfsuid_never_fails() -> None:
    task = make_task(uid=5)
    assert call(task, identity.setfsuid, 6) == 5
    assert call(task, identity.setfsuid, NO_ID) == 5
    assert uids(task) == (5,) * 4
    assert call(task, identity.setfsgid, 6) == 0
    assert gids(task) == (0,) * 4


@pytest.mark.parametrize("handler", [identity.setuid, identity.setgid])
def test_nobody_can_have_the_id_that_means_no_change(handler: object) -> None:
    assert call(make_task(), handler, NO_ID) == -EINVAL


def test_the_unprivileged_may_swap_what_they_have() -> None:
    task = make_task()
    call(task, identity.setresuid, 1, 2, 3)
    assert uids(task) == (1, 2, 3, 2)
    assert call(task, identity.setreuid, 2, 1) == 0
    assert uids(task) == (2, 1, 1, 1)
    assert call(task, identity.setreuid, 3, NO_ID) == -EPERM
    assert call(task, identity.setresuid, 1, 2, 9) == -EPERM
    assert uids(task) == (2, 1, 1, 1)
    assert call(task, identity.setresuid, NO_ID, NO_ID, 2) == 0
    assert uids(task) == (2, 1, 2, 1)


def test_group_ids() -> None:
    task = make_task()
    assert call(task, identity.setresgid, 1, 2, 3) == 0
    assert gids(task) == (1, 2, 3, 2)
    call(task, identity.setuid, 9)
    assert call(task, identity.setgid, 3) == 0
    assert gids(task) == (1, 3, 3, 3)
    assert call(task, identity.setgid, 2) == -EPERM
    assert call(task, identity.setregid, 3, 1) == 0
    assert gids(task) == (3, 1, 1, 1)
    assert call(task, identity.setregid, 7, NO_ID) == -EPERM
    assert call(task, identity.setresgid, NO_ID, 7, NO_ID) == -EPERM


def test_getting_all_three() -> None:
    task = make_task()
    call(task, identity.setresgid, 7, 8, 9)
    call(task, identity.setresuid, 1, 2, 3)
    at = Buffer(task).room(12)
    assert call(task, identity.getresuid, at, at + 4, at + 8) == 0
    assert unpack("<III", task.mm.copy_in(at, 12)) == (1, 2, 3)
    assert call(task, identity.getresgid, at, at + 4, at + 8) == 0
    assert unpack("<III", task.mm.copy_in(at, 12)) == (7, 8, 9)
    assert call(task, identity.getresuid, at, 0, at) == -EFAULT
    ids = [call(task, one) for one in (identity.getuid, identity.geteuid, identity.getgid, identity.getegid)]
    assert ids == [1, 2, 7, 8]


def test_supplementary_groups() -> None:
    task = make_task()
    buffer = Buffer(task)
    given = buffer.put(pack("<4I", 9, 3, 7, 3))
    assert call(task, identity.setgroups, 4, given) == 0
    assert call(task, identity.getgroups, 0, 0) == 4
    assert call(task, identity.getgroups, 3, given) == -EINVAL
    assert call(task, identity.getgroups, -1, given) == -EINVAL
    assert call(task, identity.getgroups, 5, 1) == -EFAULT
    assert call(task, identity.getgroups, 5, given) == 4
    assert unpack("<4I", buffer.get(given, 16)) == (3, 3, 7, 9)
    assert call(task, identity.setgroups, 65537, given) == -EINVAL
    assert call(task, identity.setgroups, 1, buffer.put(pack("<I", NO_ID))) == -EINVAL
    assert call(task, identity.setgroups, 1, 1) == -EFAULT
    call(task, identity.setuid, 1)
    assert call(task, identity.setgroups, 1, 1) == -EPERM


def test_credentials_that_others_hold_do_not_change() -> None:
    task = make_task()
    held = task.cred
    call(task, identity.setuid, 1000)
    assert held.uid == 0
    assert held.effective == ALL_CAPS


def test_a_failed_call_changes_nothing() -> None:
    task = make_task(uid=1, gid=1)
    before = task.cred
    for handler, args in (
        (identity.setuid, (0,)),
        (identity.setreuid, (1, 0)),
        (identity.setresuid, (1, 1, 0)),
        (identity.setregid, (1, 0)),
    ):
        assert call(task, handler, *args) == -EPERM
    assert task.cred is before
    assert task.group.dumpable == 1


def test_capget() -> None:
    task = make_task()
    task.cred.inheritable = 5
    buffer = Buffer(task)
    data = buffer.room(24)
    assert call(task, capability.capget, buffer.put(pack("<Ii", VERSION_3, 0)), data) == 0
    low, high = ALL_CAPS & 0xFFFFFFFF, ALL_CAPS >> 32
    assert unpack("<6I", buffer.get(data, 24)) == (low, low, 5, high, high, 0)
    other = buffer.room(24)
    assert call(task, capability.capget, buffer.put(pack("<Ii", VERSION_1, 0)), other) == 0
    assert unpack("<6I", buffer.get(other, 24)) == (low, low, 5, 0, 0, 0)
    assert call(task, capability.capget, buffer.put(pack("<Ii", VERSION_3, 999)), data) == -ESRCH
    assert call(task, capability.capget, buffer.put(pack("<Ii", VERSION_3, -1)), data) == -EINVAL
    assert call(task, capability.capget, 0, data) == -EFAULT
    assert call(task, capability.capget, buffer.put(pack("<Ii", VERSION_3, 0)), 0) == 0


def test_asking_for_the_version() -> None:
    task = make_task()
    buffer = Buffer(task)
    header = buffer.put(pack("<Ii", 0, 0))
    assert call(task, capability.capget, header, 0) == 0
    assert unpack("<I", buffer.get(header, 4)) == (VERSION_3,)
    header = buffer.put(pack("<Ii", 1, 0))
    assert call(task, capability.capget, header, buffer.room(24)) == -EINVAL
    assert call(task, capability.capset, buffer.put(pack("<Ii", 1, 0)), 0) == -EINVAL


def capset(task: Task, effective: int, permitted: int, inheritable: int, pid: int = 0) -> int:
    buffer = Buffer(task)
    sets = [mask >> 32 * word & 0xFFFFFFFF for word in (0, 1) for mask in (effective, permitted, inheritable)]
    result = call(
        task, capability.capset, buffer.put(pack("<Ii", VERSION_3, pid)), buffer.put(pack("<6I", *sets))
    )
    assert isinstance(result, int)
    return result


def test_capset() -> None:
    task = make_task()
    chown, setuid, kill = 1 << CAP_CHOWN, 1 << CAP_SETUID, 1 << CAP_KILL
    task.cred.ambient = task.cred.inheritable = chown | kill
    assert capset(task, chown, chown | setuid, chown, pid=task.tid) == 0
    assert (task.cred.effective, task.cred.permitted, task.cred.inheritable) == (chown, chown | setuid, chown)
    assert task.cred.ambient == chown
    assert capset(task, kill, kill, 0) == -EPERM
    assert capset(task, kill, chown, 0) == -EPERM
    # Without CAP_SETPCAP only what is permitted can become inheritable.
    assert capset(task, chown, chown, kill) == -EPERM
    assert capset(task, chown, chown, setuid) == 0
    assert capset(task, 0, 0, 0, pid=task.tid + 1) == -EPERM


def test_unknown_capabilities_are_ignored() -> None:
    task = make_task()
    assert capset(task, (1 << 64) - 1, (1 << 64) - 1, 0) == 0
    assert task.cred.effective == ALL_CAPS


def test_the_bounding_set_limits_what_can_be_inherited() -> None:
    task = make_task()
    task.cred.bounding &= ~1
    assert capset(task, ALL_CAPS, ALL_CAPS, 1) == -EPERM
    assert capset(task, ALL_CAPS, ALL_CAPS, 2) == 0
