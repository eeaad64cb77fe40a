"""The network that is none."""

from __future__ import annotations

from errno import EAFNOSUPPORT
from socket import AF_INET, AF_INET6, AF_NETLINK, SOCK_DGRAM, SOCK_STREAM

import pytest

from runsc.config import Config
from runsc.kernel.errors import LinuxError
from runsc.plugins.loader import load


@pytest.mark.parametrize("family", [AF_INET, AF_INET6, AF_NETLINK, 0, -1, 1000])
@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM, 99])
def test_there_is_no_family(family: int, kind: int) -> None:
    network = load("network", "none").make(Config())
    with pytest.raises(LinuxError) as caught:
        network.socket(None, None, family, kind, 0)
    assert caught.value.errno == EAFNOSUPPORT
    network.close()
    network.close()
