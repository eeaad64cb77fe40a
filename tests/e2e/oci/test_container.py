"""What a container's program finds: user, limits, mounts, devices, terminal."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bundle, Runtime


def test_user_and_surroundings(runtime: Runtime, bundle: Bundle) -> None:
    process = bundle.config["process"]
    process["user"] = {"uid": 65534, "gid": 65534, "additionalGids": [7, 9], "umask": 0o27}
    process["cwd"] = "/tmp/made/for/it"
    process["env"].append("A=b c")
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]
    process["oomScoreAdj"] = 123
    bundle.config["domainname"] = "home"
    bundle.shell(
        "id; pwd; umask; echo $A $HOME; ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; hostname;"
        "cat /proc/sys/kernel/domainname; grep NoNewPrivs /proc/self/status"
    )
    code, out, err = runtime.run(bundle)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "uid=65534(nobody) gid=65534(nogroup) groups=7,9",
        "/tmp/made/for/it",
        "0027",
        "b c /nohome",
        "77",
        "88",
        "123",
        "box",
        "home",
        "NoNewPrivs:\t1",
    ]


def test_capabilities(runtime: Runtime, bundle: Bundle) -> None:
    bundle.shell("grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status")
    wanted = f"{1 << 29 | 1 << 5 | 1 << 10:016x}"
    assert runtime.run(bundle)[1] == f"CapPrm:\t{wanted}\nCapEff:\t{wanted}\nCapBnd:\t{wanted}\n"


def test_the_root_is_written_to(runtime: Runtime, bundle: Bundle) -> None:
    bundle.shell("mkdir /made; echo here >/made/file; ln -s file /made/link; chmod 640 /made/file")
    assert runtime.run(bundle) == (0, "", "")
    made = bundle.root / "made"
    assert (made / "link").read_text() == "here\n"
    assert stat.S_IMODE((made / "file").stat().st_mode) == 0o640


def test_a_root_in_memory_is_not(runtime: Runtime, bundle: Bundle) -> None:
    bundle.shell("echo here >/made; cat /made")
    assert runtime.run(bundle, flags=["--overlay2=root:memory"]) == (0, "here\n", "")
    assert not (bundle.root / "made").exists()


def test_a_read_only_root(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = True
    bundle.mount("/not/there/before", "tmpfs", "tmpfs", "size=1m")
    bundle.shell("touch /x; touch /not/there/before/x && echo made; mount | grep ' / '")
    code, out, err = runtime.run(bundle)
    assert code == 0
    assert err == "touch: /x: Read-only file system\n"
    assert out.startswith("made\n")
    assert " (ro" in out
    assert not (bundle.root / "not").exists()


def test_binds(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a").write_text("from the host\n")
    (tmp_path / "file").write_text("nameserver 1.2.3.4\n")
    bundle.mount("/rw", "bind", str(tmp_path / "dir"), "rbind", "rprivate")
    bundle.mount("/ro", "bind", str(tmp_path / "dir"), "rbind", "ro")
    bundle.mount("/etc/resolv.conf", "bind", str(tmp_path / "file"), "bind", "ro")
    bundle.shell(
        "cat /rw/a /ro/a /etc/resolv.conf; echo to the host >/rw/b; touch /ro/c; echo x >>/etc/resolv.conf"
    )
    code, out, err = runtime.run(bundle)
    assert code == 1
    assert out == "from the host\nfrom the host\nnameserver 1.2.3.4\n"
    assert err.count("Read-only file system") + err.count("Permission denied") == 2, err
    assert (tmp_path / "dir" / "b").read_text() == "to the host\n"
    assert not (tmp_path / "dir" / "c").exists()


def test_a_tmpfs_has_its_options(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/run", "tmpfs", "tmpfs", "nosuid", "noexec", "size=1m", "mode=711")
    bundle.shell(
        "stat -c %a /run; mount | grep ' /run '; dd if=/dev/zero of=/run/x bs=1M count=2 2>&1 | head -1"
    )
    _code, out, _err = runtime.run(bundle)
    lines = out.splitlines()
    assert lines[0] == "711"
    assert lines[1].startswith("tmpfs on /run type tmpfs (rw,nosuid,noexec")
    assert "No space left on device" in lines[2]


def test_devices(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o620, "uid": 1, "gid": 2},
        {"path": "/dev/deep/pipe", "type": "p"},
    ]
    bundle.shell(
        "ls -ln /dev/fuse | tr -s ' '| cut -d' ' -f1,3-6; test -p /dev/deep/pipe && echo pipe;"
        "echo gone >/dev/null; head -c 4 /dev/zero | wc -c; readlink /dev/fd; readlink /dev/ptmx"
    )
    code, out, err = runtime.run(bundle)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "crw--w---- 1 2 10, 229",
        "pipe",
        "4",
        "/proc/self/fd",
        "pts/ptmx",
    ]


def test_masked_and_read_only_paths(runtime: Runtime, bundle: Bundle) -> None:
    bundle.config["linux"]["maskedPaths"] = ["/etc/passwd", "/var", "/nowhere"]
    bundle.config["linux"]["readonlyPaths"] = ["/tmp"]
    (bundle.root / "var" / "secret").write_text("secret")
    bundle.shell("cat /etc/passwd; ls /var; touch /var/x; touch /tmp/x; touch /root/x && echo ok")
    code, out, err = runtime.run(bundle)
    assert (code, out) == (0, "ok\n")
    assert err.count("Read-only file system") == 2
    assert os.listdir(bundle.root / "tmp") == []


def test_passed_descriptors(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.shell("cat <&3; cat <&9")
    (tmp_path / "three").write_text("third\n")
    (tmp_path / "four").write_text("ninth\n")
    words = ["run", f"--bundle={bundle.write()}", "--preserve-fds=1", "--pass-fd=4:9", "box"]
    script = f'exec "$0" "$@" 3<{tmp_path}/three 4<{tmp_path}/four'
    done = subprocess.run(["sh", "-c", script, *runtime.words, *words], capture_output=True, timeout=30)
    assert (done.stdout, done.stderr) == (b"third\nninth\n", b"")
