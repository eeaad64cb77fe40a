"""What may be declared, and what is made of it."""

from __future__ import annotations

import os

import pytest

from runsc.abi.syscalls import NUMBERS
from runsc.errors import RunscError
from runsc.plugins.availability import ArgCheck, HostCall, int_argument, without
from runsc.sandbox.jail.core_calls import core_calls
from runsc.sandbox.jail.rules import FORBIDDEN, IMPLIED, NEEDS_CHECKS, RESERVED, allow_list


def declare(kind: str, *calls: HostCall) -> dict[int, list[tuple[ArgCheck, ...]]]:
    return allow_list([(kind, f"{kind} evil (evil 1.0)", calls)])


def test_names_are_known() -> None:
    for name in (*FORBIDDEN, *IMPLIED, *NEEDS_CHECKS, *RESERVED):
        assert name in NUMBERS, name


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
@pytest.mark.parametrize("kind", ["core", "platform", "filesystem", "network"])
def test_what_nobody_may_declare(kind: str, name: str) -> None:
    with pytest.raises(RunscError, match=rf"evil \(evil 1.0\) asks for the host call {name}: nobody"):
        declare(kind, HostCall(name, "please", without(0, 1)))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_what_one_kind_only_may_declare(name: str) -> None:
    call = HostCall(name, "please", without(0, 1))
    for kind in ("platform", "filesystem", "network"):
        if RESERVED[name] == kind:
            assert NUMBERS[name] in declare(kind, call)
        else:
            with pytest.raises(RunscError, match=f"only a {RESERVED[name]} may make it"):
                declare(kind, call)


@pytest.mark.parametrize("name", sorted(NEEDS_CHECKS))
def test_what_needs_checks(name: str) -> None:
    with pytest.raises(RunscError, match="it must say with which arguments"):
        declare(RESERVED.get(name, "filesystem"), HostCall(name, "please"))


def test_an_unknown_call() -> None:
    with pytest.raises(RunscError, match="there is no such call"):
        declare("filesystem", HostCall("openat3", "please"))


def test_a_call_without_a_reason() -> None:
    with pytest.raises(ValueError, match="say why"):
        HostCall("read", "")


def test_checks_that_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="never"):
        ArgCheck(0, 1, (2,))
    with pytest.raises(ValueError, match="never"):
        ArgCheck(0, 1, ())
    with pytest.raises(ValueError, match="no such"):
        ArgCheck(6, 1, (1,))


def test_checks_are_added_to_whoever_declares() -> None:
    (way,) = declare("filesystem", HostCall("openat", "open", without(2, 3)))[NUMBERS["openat"]]
    assert way[:2] == IMPLIED["openat"]
    assert len(way) == 3


def test_declarations_of_one_call_add_up() -> None:
    first = HostCall("fcntl", "one", int_argument(1, 1))
    second = HostCall("fcntl", "two", int_argument(1, 2))
    declared = [("core", "the core", [first]), ("filesystem", "f", [second])]
    assert allow_list(declared)[NUMBERS["fcntl"]] == [first.checks, second.checks]


def test_the_core_and_our_plugins_keep_the_rules() -> None:
    from runsc_fs_direct.hostfiles import READ_CALLS, WRITE_CALLS
    from runsc_net_none.plugin import NoNetwork
    from runsc_platform_ptrace.platform import PtracePlatform

    core = core_calls(os.getpid())
    ptrace = PtracePlatform.host_calls()
    none = NoNetwork().host_calls()
    allowed = allow_list(
        [
            ("core", "c", core),
            ("platform", "p", ptrace),
            ("filesystem", "f", READ_CALLS),
            ("network", "n", none),
        ]
    )
    writing = allow_list([("filesystem", "f", READ_CALLS + WRITE_CALLS)])
    # What changes files is there only for who mounts something writable.
    for name in ("mkdirat", "unlinkat", "renameat2", "fchmod", "fchownat", "fsetxattr"):
        assert NUMBERS[name] not in allowed
        assert NUMBERS[name] in writing
    assert all(call.why for call in (*core, *ptrace, *READ_CALLS, *WRITE_CALLS))
    for name in ("ptrace", "kill", "tgkill", "openat", "ioctl", "fcntl", "mmap", "mprotect", "prlimit64"):
        assert all(allowed[NUMBERS[name]]), f"{name} is allowed whatever its arguments"
