"""--network=sandbox: real programs, in a jailed sandbox, over a veth pair to the host's stack."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.netns

#: Run in a namespace of its own; makes another one for the sandbox, with eth0, whose process is $inside.
SETUP = """
ip link set lo up
unshare -n sleep 60 & inside=$!
trap 'kill $inside $server 2>/dev/null' EXIT
while [ "$(readlink /proc/$inside/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add out type veth peer name eth0 netns $inside
ip addr add 10.9.0.1/24 dev out; ip addr add fd09::1/64 dev out nodad; ip link set out up
nsenter -t $inside -n sh -ec "ip addr add 10.9.0.2/24 dev eth0; ip addr add fd09::2/64 dev eth0 nodad
ip link set eth0 up; ip route add default via 10.9.0.1"
sandbox() { nsenter -t $inside -n %s --network=sandbox --platform=%s do -- "$@"; }
"""


def run(runsc: str, platform: str, script: str) -> str:
    """What a script prints that has the setup in front."""
    for name in ("ip", "unshare", "nsenter"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
    whole = SETUP % (shlex.quote(runsc), platform) + script
    line = ["unshare", "-n", "sh", "-ec", whole]
    done = subprocess.run(line, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout


def needs(*names: str) -> None:
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")


def test_what_the_guest_sees_of_its_interfaces(runsc: str, platform: str) -> None:
    out = run(runsc, platform, "sandbox sh -c 'ip -o addr; ip route; cat /proc/net/route | wc -l'")
    assert "eth0    inet 10.9.0.2/24" in out
    assert "default via 10.9.0.1 dev eth0" in out
    assert "10.9.0.0/24 dev eth0" in out


def test_ping_and_fetch(runsc: str, platform: str, tmp_path: Path) -> None:
    needs("ping", "curl", "python3")
    (tmp_path / "file").write_bytes(bytes(range(256)) * 8192)
    script = (
        f"cd {tmp_path}; python3 -m http.server 8000 >/dev/null 2>&1 & server=$!\n"
        "while ! curl -s -o /dev/null http://10.9.0.1:8000/; do sleep 0.1; done\n"
        "sandbox sh -c 'ping -c 2 -i 0.2 -W 2 10.9.0.1 | grep received;"
        " ping -c 1 -W 2 fd09::1 | grep received;"
        " curl -s http://10.9.0.1:8000/file | cksum'; cksum < " + str(tmp_path / "file")
    )
    lines = run(runsc, platform, script).splitlines()
    assert " 2 received" in lines[0]
    assert " 1 received" in lines[1]
    assert lines[2] == lines[3]


def test_a_server_with_corks_answers_clients_that_close(runsc: str, platform: str, tmp_path: Path) -> None:
    """nginx with tcp_nopush closes a corked socket: what it holds must go out at once."""
    needs("nginx", "curl")
    (tmp_path / "index.html").write_text("x" * 1000)
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        "user root; worker_processes 1; daemon off; master_process off; pid /tmp/pid; error_log stderr;\n"
        "events { worker_connections 64; }\n"
        "http { access_log off; tcp_nopush on; sendfile on;\n"
        + "".join(f"{name}_temp_path /tmp/{name};\n" for name in (
            "client_body", "proxy", "fastcgi", "uwsgi", "scgi"
        ))
        + f"server {{ listen 8080; root {tmp_path}; }} }}"
    )
    out = run(
        runsc, platform,
        f"sandbox nginx -c {conf} & server=$!\n"
        "url=http://10.9.0.2:8080/\n"
        "for i in $(seq 100); do curl -s -o /dev/null --max-time 2 $url && break; sleep 0.1; done\n"
        "for i in 1 2 3; do curl -s -H 'Connection: close' --max-time 5 $url | wc -c; done\n"
        "kill $(pgrep -P $server) 2>/dev/null || true",
    )  # fmt: skip
    assert out.split() == ["1000"] * 3


def test_the_hosts_namespace_is_refused_and_left_alone(runsc: str, platform: str) -> None:
    before = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    done = subprocess.run(
        [runsc, "--network=sandbox", f"--platform={platform}", "do", "true"], capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    assert done.returncode == 128
    assert "needs a network namespace of its own" in done.stderr
    after = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    assert after == before


def test_a_namespace_with_a_bridge_is_refused(runsc: str, platform: str) -> None:
    out = run(
        runsc, platform,
        "nsenter -t $inside -n ip link add br0 type bridge; nsenter -t $inside -n ip link set br0 up\n"
        "sandbox true 2>&1 || true; nsenter -t $inside -n ip -o addr show eth0",
    )  # fmt: skip
    assert "it is a host's" in out
    assert "10.9.0.2/24" in out
