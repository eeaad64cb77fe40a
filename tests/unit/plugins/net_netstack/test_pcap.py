"""What ``--pcap-log`` and ``--log-packets`` write."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from netns import DGRAM
from test_against_host import stream, to_guest, to_host
from wirenet import HOST4, HOST6, V4, V6, wired

from runsc_net_netstack.sniffer import describe

if TYPE_CHECKING:
    from pathlib import Path

    from wirenet import World

pytestmark = pytest.mark.netns


def test_tshark_reads_it_and_complains_of_nothing(tmp_path: Path) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    path = tmp_path / "packets.pcap"

    def scenario(world: World) -> None:
        for family, ip in ((V4, HOST4), (V6, HOST6)):
            guest, host = world.pair(family, True)
            to_host(world, guest, host, stream(20_000))
            to_guest(world, guest, host, stream(20_000))
            guest.close()
            host.close()
            datagrams = world.sock(family, DGRAM)
            datagrams.send(stream(3000), 0, (ip, 9))
            world.idle(0.05)

    wired(scenario, pcap_log=str(path))
    line = ["tshark", "-r", str(path)]
    for protocol in ("tcp", "udp", "ip"):
        line += ["-o", f"{protocol}.check_checksum:TRUE"]
    bad = [f"{name}.checksum.status == 0" for name in ("tcp", "udp", "ip", "icmp", "icmpv6")]
    line += ["-Y", " || ".join(["_ws.malformed", "_ws.expert.severity == error", *bad])]
    found = subprocess.run(line, capture_output=True, text=True, check=True)
    assert found.stdout == ""
    count = subprocess.run(["tshark", "-r", str(path)], capture_output=True, text=True, check=True)
    assert len(count.stdout.splitlines()) > 40


def test_words() -> None:
    arp = bytes(12) + b"\x08\x06" + bytes((0, 1, 8, 0, 6, 4, 0, 1)) + bytes(6) + b"\x0a\0\0\1" + bytes(6) + (
        b"\x0a\0\0\2"
    )
    assert describe(arp) == "ARP who has 10.0.0.2 from 10.0.0.1 00:00:00:00:00:00"
    for size in range(70):
        describe(bytes(12) + b"\x08\x00" + bytes(size))
        describe(bytes(12) + b"\x86\xdd" + bytes(size))
    assert describe(b"") == "Ethernet type , 0 bytes"
