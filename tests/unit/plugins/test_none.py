"""The network that is none."""

from __future__ import annotations

from errno import EAFNOSUPPORT, EINVAL, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT
from socket import (
    AF_INET,
    AF_INET6,
    AF_PACKET,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
)

import pytest
from support import make_task

from runsc.config import Config
from runsc.kernel.errors import LinuxError
from runsc.plugins.loader import load


@pytest.mark.parametrize("family", [AF_PACKET, 0, -1, 1000])
@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM, 99])
def test_families_that_are_not_there(family: int, kind: int) -> None:
    network = load("network", "none").make(Config())
    task = make_task()
    with pytest.raises(LinuxError) as caught:
        network.socket(task.kernel, task, family, kind, 0)
    assert caught.value.errno == EAFNOSUPPORT
    network.close()
    network.close()


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
@pytest.mark.parametrize(("kind", "protocol"), [(SOCK_STREAM, IPPROTO_TCP), (SOCK_DGRAM, IPPROTO_UDP)])
def test_the_loopback_is_there(family: int, kind: int, protocol: int) -> None:
    network = load("network", "none").make(Config())
    task = make_task()
    for wanted in (0, protocol):
        made = network.socket(task.kernel, task, family, kind, wanted)
        assert (made.family, made.kind, made.protocol) == (family, kind, protocol)
        made.get().put()
    network.close()


@pytest.mark.parametrize(
    ("kind", "protocol", "error"),
    [
        (SOCK_STREAM, IPPROTO_UDP, EPROTONOSUPPORT),
        (SOCK_DGRAM, IPPROTO_TCP, EPROTONOSUPPORT),
        (SOCK_STREAM, -1, EINVAL),
        (SOCK_STREAM, 300, EINVAL),
        (SOCK_SEQPACKET, 0, ESOCKTNOSUPPORT),
        (SOCK_RAW, 0, EPROTONOSUPPORT),
        (SOCK_RAW, 1, EPERM),
    ],
)
def test_protocols_that_are_not_there(kind: int, protocol: int, error: int) -> None:
    network = load("network", "none").make(Config())
    task = make_task()
    with pytest.raises(LinuxError) as caught:
        network.socket(task.kernel, task, AF_INET, kind, protocol)
    assert caught.value.errno == error
    network.close()
