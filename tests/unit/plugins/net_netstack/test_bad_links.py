"""Links that lose, delay, reorder and repeat packets, and links of all sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from test_against_host import stream, to_guest, to_host
from trouble import Trouble
from wirenet import V4, V6, wired

if TYPE_CHECKING:
    from wirenet import World

pytestmark = pytest.mark.netns

TROUBLES = {
    "loss": Trouble(loss=0.03),
    "reorder": Trouble(late=0.1),
    "jitter": Trouble(delay=3, jitter=2),
    "duplicates": Trouble(twice=0.2),
    "corruption": Trouble(broken=0.02),
    "all": Trouble(delay=2, jitter=1, loss=0.02, twice=0.03, late=0.05, broken=0.01),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
@pytest.mark.parametrize("gso", [True, False], ids=["gso", "mss"])
def test_what_is_sent_arrives_all_the_same(trouble: Trouble, gso: bool, seed: int) -> None:
    def scenario(world: World) -> dict[str, int]:
        if not gso:
            world.host_run("ethtool -K host0 tso off gso off gro off")
        guest, host = world.pair(V4, True)
        trouble.begin(world, seed)
        data = stream(400_000)
        to_host(world, guest, host, data)
        to_guest(world, guest, host, data)
        assert world.stack is not None
        return dict(world.stack.counters)

    counters = wired(scenario, gso=gso)
    assert not counters.get("InternalErrors")
    if not gso and (trouble.loss or trouble.broken):
        assert counters["RetransSegs"] > 0


@pytest.mark.parametrize("mtu", [576, 1280, 9000, 65535])
@pytest.mark.parametrize("family", [V4, V6], ids=["ipv4", "ipv6"])
def test_every_size_of_link(mtu: int, family: int) -> None:
    if family == V6 and mtu < 1280:
        pytest.skip("IPv6 needs links of 1280 bytes")

    def scenario(world: World) -> None:
        guest, host = world.pair(family, True)
        data = stream(1_000_000)
        to_host(world, guest, host, data)
        to_guest(world, guest, host, data)

    wired(scenario, mtu)


@pytest.mark.parametrize("tx_checksum_offload", [True, False])
@pytest.mark.parametrize("rx_checksum_offload", [True, False])
def test_checksums_in_software(tx_checksum_offload: bool, rx_checksum_offload: bool) -> None:
    def scenario(world: World) -> None:
        world.host_run("ethtool -K host0 tx off rx off >/dev/null 2>&1 || true")
        guest, host = world.pair(V4, True)
        data = stream(300_000)
        to_host(world, guest, host, data)
        to_guest(world, guest, host, data)

    wired(scenario, tx_checksum_offload=tx_checksum_offload, rx_checksum_offload=rx_checksum_offload)


def test_a_smaller_mtu_on_the_way() -> None:
    """The next hop is a router whose other link is narrow: it says so, and segments become smaller."""

    def scenario(world: World) -> int:
        world.host_run(
            "ip addr add 10.77.0.1/32 dev lo; ip route add 10.78.0.0/24 dev lo mtu 900;"
            "ip link add narrow type veth peer name far; ip link set narrow mtu 900 up; ip link set far up;"
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter;"
            "echo 0 > /proc/sys/net/ipv4/conf/narrow/rp_filter; ip route replace 10.78.0.0/24 dev narrow"
        )
        # Whoever is there doesn't matter: a datagram that is too large must come back as EMSGSIZE.
        guest = world.sock(V4, 2)
        assert guest.set(0, 10, 2) == 0  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        assert guest.connect(("10.78.0.5", 7)) == 0
        assert guest.send(bytes(1200)) == 1200
        assert world.waited(lambda: guest.recv(10)) == "EMSGSIZE"
        mtu = int.from_bytes(guest.get(0, 14), "little")  # type: ignore[arg-type]
        assert guest.send(bytes(1200)) == "EMSGSIZE"
        return mtu

    assert wired(scenario) == 900
