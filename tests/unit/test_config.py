"""The configuration and its flag table."""

from __future__ import annotations

import os

import pytest

from runsc.config import FLAGS, Config
from runsc.errors import UsageError
from runsc.flags import BOOL, INT, LIST, REPEAT, STRING, names, parse

TYPES = {BOOL: bool, INT: int, LIST: list, REPEAT: list, STRING: str}


def test_every_flag_sets_an_attribute_of_its_type_and_every_attribute_has_a_flag() -> None:
    config = Config()
    for flag in FLAGS:
        assert type(getattr(config, flag.attr)) is TYPES[flag.kind], flag.name
        if flag.choices:
            assert getattr(config, flag.attr) in flag.choices
    assert sorted(flag.attr for flag in FLAGS) == sorted({*Config.__slots__} - {"plugin_flags"})


def test_names_are_unique() -> None:
    spellings = names(FLAGS)
    assert len(spellings) == len(set(spellings))


def test_all_flags_at_once() -> None:
    words = [
        "--root=/r", "--log", "/l", "--log-format=json", "--debug", "--debug-log-dir=/d/", "--strace=true",
        "--strace-syscalls=read,write", "--strace-log-size=99", "--platform=p", "--network=n", "--fs=f",
        "--overlay2=all:dir=/tmp", "--file-access-mounts=exclusive", "--rootless", "--ignore-cgroups",
        "--systemd-cgroup",
        "--net-raw", "--gso=false", "--software-gso=false", "--gvisor-gro", "--tx-checksum-offload=false",
        "--rx-checksum-offload=false", "--log-packets", "--pcap-log=/p", "--observer=o", "--trace-session=/t",
        "--file-access=shared", "--watchdog-action=panic", "--host-uds=all", "--debug-log-format=json", "do",
    ]  # fmt: skip
    config = Config()
    at, seen = parse(FLAGS, words, config)
    assert words[at:] == ["do"]
    config.validate()
    assert config.debug_log == "/d/"
    assert config.strace_syscalls == ["read", "write"]
    assert config.strace_log_size == 99
    assert (config.platform, config.network, config.fs) == ("p", "n", "f")
    shown = {flag.name for flag in FLAGS if not getattr(flag, "hidden", False)}
    assert seen == shown - {"version"}


def test_flags_without_effect_are_said_to_have_none() -> None:
    config = Config()
    _, seen = parse(FLAGS, ["--host-uds=all", "--overlay2=root:self", "--debug", "--rootless"], config)
    assert config.warnings(seen) == [
        "--host-uds has no effect yet",
        "--overlay2=root:self: writes are kept in memory, as with root:memory",
    ]


@pytest.mark.parametrize("value", ["none", "root:memory", "all:self", "root:dir=/x", "root:memory,size=2g"])
def test_overlay_values(value: str) -> None:
    config = Config()
    config.overlay2 = value
    config.validate()


@pytest.mark.parametrize("value", ["", "memory", "root", "root:", "half:memory", "root:dir=x", "root:disk"])
def test_bad_overlay_values(value: str) -> None:
    config = Config()
    config.overlay2 = value
    with pytest.raises(UsageError):
        config.validate()


def test_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert config.state_dir == "/run/runsc"
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert config.state_dir == "/run/user/7/runsc"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert config.state_dir == "/tmp/runsc-7"
    config.root = "/elsewhere"
    assert config.state_dir == "/elsewhere"
