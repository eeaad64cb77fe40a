"""Network figures of a sandbox over a veth pair, beside the same programs natively in the same namespace.

    python bench/net.py [--platform=NAME] [--seconds=N] [--other=SCRIPT]

Needs root, ip, iperf3, nginx, wrk, redis-server and redis-benchmark. The server (for iperf3 the client) runs
inside, the other end in a namespace of its own outside. ``--other`` is a program that runs its arguments in
another runtime, in the network namespace named runsc-bench-in. One line a figure, a column a runtime; the
load of the machine first.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OUT, IN = "runsc-bench-out", "runsc-bench-in"
RUNSC = Path(sys.executable).parent / "runsc"
NGINX = """user root; worker_processes 1; daemon off; master_process off; pid {dir}/pid; error_log stderr;
events {{ worker_connections 2048; multi_accept on; }}
http {{ access_log off; sendfile on; client_body_temp_path {tmp}/1; proxy_temp_path {tmp}/2;
fastcgi_temp_path {tmp}/3; uwsgi_temp_path {tmp}/4; scgi_temp_path {tmp}/5; server {{ listen 8080
backlog=4096; root {dir}; }} }}
"""


def sh(script: str) -> None:
    subprocess.run(["sh", "-ec", script], check=True, capture_output=True)


def fresh() -> None:
    """Both namespaces, made anew: a sandbox takes the addresses of its own."""
    for name in (OUT, IN):
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    sh(
        f"ip netns add {OUT}; ip netns add {IN}; ip -n {OUT} link add v type veth peer name eth0 netns {IN};"
        f"ip -n {OUT} link set lo up; ip -n {IN} link set lo up; ip -n {OUT} addr add 10.9.0.1/24 dev v;"
        f"ip -n {IN} addr add 10.9.0.2/24 dev eth0; ip -n {OUT} link set v up; ip -n {IN} link set eth0 up"
    )
    time.sleep(0.3)


def outside(*argv: str) -> str:
    done = subprocess.run(["ip", "netns", "exec", OUT, *argv], capture_output=True, text=True, timeout=120)
    return done.stdout.replace("\r", "\n")


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match.group(1) if match else "-"


def iperf(inside: list[str], seconds: int, *more: str) -> str:
    fresh()
    server = subprocess.Popen(["ip", "netns", "exec", OUT, "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    line = [*inside, "iperf3", "-c", "10.9.0.1", "-t", str(seconds), "-f", "m", *more]
    out = subprocess.run(line, capture_output=True, text=True, timeout=60).stdout
    server.terminate()
    server.wait()
    return found(r"([\d.]+) Mbits/sec\s+receiver", out)


def serving(inside: list[str], argv: list[str], wanted: str) -> subprocess.Popen[bytes]:
    """Start a server inside and wait until it answers."""
    fresh()
    server = subprocess.Popen([*inside, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        if outside("timeout", "1", "bash", "-c", f": > /dev/tcp/10.9.0.2/{wanted} && echo ok"):
            break
        time.sleep(0.1)
    return server


def figures(inside: list[str], seconds: int) -> dict[str, str]:
    got = {"iperf3 out, Mbit/s": iperf(inside, seconds), "iperf3 in, Mbit/s": iperf(inside, seconds, "-R")}
    with tempfile.TemporaryDirectory(prefix="runsc-bench-") as directory:
        Path(directory, "index.html").write_text("x" * 612)
        os.chmod(directory, 0o755)
        conf = Path(directory, "nginx.conf")
        conf.write_text(NGINX.format(dir=directory, tmp=directory))
        server = serving(inside, ["nginx", "-c", str(conf)], "8080")
        for count in (8, 1000):
            out = outside("wrk", "-t1", f"-c{count}", f"-d{seconds}", "--latency", "http://10.9.0.2:8080/")
            got[f"requests/s, {count} connections"] = found(r"Requests/sec:\s+([\d.]+)", out)
            for part in ("50%", "99%"):
                got[f"  latency {part}, {count}"] = found(part + r"\s+(\S+)", out)
        out = outside("wrk", "-t1", "-c8", f"-d{seconds}", "-H", "Connection: close", "http://10.9.0.2:8080/")
        got["connections/s"] = found(r"Requests/sec:\s+([\d.]+)", out)
        server.terminate()
        server.wait()
    redis = ["redis-server", "--bind", "10.9.0.2", "--protected-mode", "no", "--save", ""]
    server = serving(inside, redis, "6379")
    out = outside("redis-benchmark", "-h", "10.9.0.2", "-n", "20000", "-t", "ping_mbulk,set", "-q")
    got["redis PING/s"] = found(r"PING_MBULK: ([\d.]+) requests", out)
    got["redis SET/s"] = found(r"SET: ([\d.]+) requests", out)
    server.terminate()
    server.wait()
    return got


def main(words: list[str]) -> None:
    options = dict(word[2:].split("=", 1) for word in words)
    seconds = int(options.get("seconds", "4"))
    enter = ["ip", "netns", "exec", IN]
    platform = options.get("platform", "systrap")
    runtimes = {"native": enter}
    runtimes[platform] = [*enter, str(RUNSC), "--network=sandbox", f"--platform={platform}", "do", "--"]
    if "other" in options:
        runtimes["other"] = [options["other"]]
    print(f"load {os.getloadavg()[0]:.1f}")
    try:
        table = {name: figures(inside, seconds) for name, inside in runtimes.items()}
    finally:
        for name in (OUT, IN):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
    print(f"{'':32}" + "".join(f"{name:>14}" for name in table))
    for row in table["native"]:
        print(f"{row:32}" + "".join(f"{table[name][row]:>14}" for name in table))


if __name__ == "__main__":
    main(sys.argv[1:])
