"""The jail seen from inside: code that runs in the place of the sandbox's process attacks the host.

The code is a network plugin of a distribution made on the spot (``hostile/hostile_network.py``); a guest sets
it off by asking for a socket.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Outcome

    Run = Callable[..., Outcome]
    Attack = Callable[[str, str], Outcome]

HOSTILE = Path(__file__).parent / "hostile" / "hostile_network.py"
SET_OFF = "import socket\ntry: socket.socket(socket.AF_INET)\nexcept OSError as error: print(error.errno)"
KILLED = b"the sandbox's process died (killed because it made a host call that its jail forbids)"

FATAL = """
openat open openat2 openat-32bit-dirfd openat-following openat-writing openat-creating openat-tmpfile
mkdirat mknodat unlinkat renameat2 stat access readlink chdir chroot chmod listdir open_by_handle_at
name_to_handle_at execve execveat fork vfork clone clone3 kill kill-9 kill-9-all kill-group tgkill tkill
rt_sigqueueinfo pidfd_open ptrace-attach ptrace-seize prlimit64 prlimit64-own setpriority sigio-to-victim
socket socket-unix socketpair connect sendto sendmsg mount umount2 unshare setns pivot_root setuid setresgid
capset prctl seccomp bpf perf_event_open io_uring_setup userfaultfd keyctl init_module reboot sethostname
tiocsti tiocsctty mmap-exec mprotect-exec int80 x32 no-such-call
""".split()  # noqa: SIM905

#: What the filter can't see; the Landlock version from which on it fails (EPERM).
CONFINED = {"process_vm_readv": 1, "process_vm_writev": 1}


#: Platforms that run guests in threads of the sandbox's process.
MAKES_THREADS = ("kvm",)


def kernel_version() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int(minor)


def landlock_version() -> int:
    from runsc._native import lib

    return max(int(lib.rn_landlock_abi()), 0)


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user, outside."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture
def attack(run_sandboxed: Run, tmp_path: Path, victim: subprocess.Popen[bytes]) -> Attack:
    """``attack(name, jail)``: make one of the attacks, with ``--jail=jail``. The victim must survive."""
    shutil.copy(HOSTILE, tmp_path)
    info = tmp_path / "hostile-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[runsc.network]\nhostile = hostile_network:HostilePlugin\n")

    def run(name: str, jail: str) -> Outcome:
        env = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(tmp_path),
            "HOSTILE_ATTACK": name,
            "HOSTILE_VICTIM": str(victim.pid),
        }
        flags = ["--network=hostile", f"--jail={jail}"]
        options = ["--env=PYTHONPATH="]
        done: Outcome = run_sandboxed(
            ["/usr/bin/python3", "-c", SET_OFF], env=env, flags=flags, options=options
        )
        assert victim.poll() is None
        assert not (tmp_path / "made-by-the-attack").exists()
        return done

    return run


@pytest.fixture(autouse=True)
def _python() -> None:
    if not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip("needs /usr/bin/python3")


def test_the_stand_in_runs_in_the_jail(attack: Attack) -> None:
    assert attack("nothing", "on") == (0, b"97\n", b"result 0\n")


@pytest.mark.parametrize("name", FATAL)
def test_a_forbidden_call_kills(attack: Attack, name: str, platform: str) -> None:
    if name == "kill-9" and kernel_version() < (5, 19):
        pytest.skip("an older kernel needs kill(2) to end guest processes")
    if name == "clone3" and platform in MAKES_THREADS:
        # Answered as if the host hadn't got it, so that the C library makes a clone, whose flags are seen.
        assert attack(name, "on") == (0, b"97\n", b"errno 38\n")
        return
    code, out, err = attack(name, "on")
    assert code == 128
    assert out == b""
    assert KILLED in err
    assert b"result" not in err
    assert b"errno" not in err


@pytest.mark.parametrize("name", CONFINED)
def test_others_are_out_of_reach(attack: Attack, name: str, platform: str) -> None:
    if platform in MAKES_THREADS:  # its guests are not processes, so it needs none of these
        code, out, err = attack(name, "on")
        assert (code, out) == (128, b"")
        assert KILLED in err
        return
    if landlock_version() < CONFINED[name]:
        pytest.skip(f"needs Landlock version {CONFINED[name]}")
    assert attack(name, "on") == (0, b"97\n", b"errno 1\n")


def test_an_import_is_refused_and_told(attack: Attack) -> None:
    code, out, err = attack("import", "on")
    assert (code, out) == (0, b"97\n")
    assert b"ImportError http was imported after the jail was closed" in err


@pytest.mark.parametrize("name", ["stat", "socket-unix", "openat", "mmap-exec", "prlimit64"])
def test_without_a_jail_the_same_attacks_succeed(attack: Attack, name: str) -> None:
    """What the tests above see is the jail's doing."""
    code, out, err = attack(name, "off")
    assert (code, out) == (0, b"97\n")
    assert err.startswith(b"result ")


def test_refused_calls_can_be_logged(attack: Attack) -> None:
    code, out, err = attack("socket", "log")
    assert (code, out) == (0, b"97\n")
    assert re.search(rb"jail: refused host call 41\(0x2, 0x1, 0x0, ", err)
    assert err.endswith(b"errno 1\n")


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.usefixtures("no_process_left")
def test_what_the_processes_hold(runsc: str, platform: str) -> None:
    """The kernel's own word on it: seccomp, no_new_privs, capabilities; stubs hold nothing."""
    words = [runsc, f"--platform={platform}", "do", "--", "/bin/sh", "-c", "echo ready; exec sleep 60"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (sentry,) = children(process.pid)
        own = status(sentry)
        stubs = [status(pid) for pid in children(sentry)]
        threads = [
            status(int(path.name))
            for path in Path(f"/proc/{sentry}/task").iterdir()
            if int(path.name) != sentry
        ]
        process.terminate()
        process.wait(20)
    assert own["NoNewPrivs"] == "1"
    assert own["Seccomp"] == "2"
    # For root, the direct file system reads what root may read (CAP_DAC_READ_SEARCH).
    allowed = 1 << 2 if os.geteuid() == 0 else 0
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(own[name], 16) & ~allowed == 0, name
    if os.geteuid() == 0:
        assert int(own["CapBnd"], 16) & ~allowed == 0
    assert threads if platform in MAKES_THREADS else stubs
    for thread in threads:
        assert [thread[name] for name in ("NoNewPrivs", "Seccomp", "CapPrm", "CapEff")] == [
            own[name] for name in ("NoNewPrivs", "Seccomp", "CapPrm", "CapEff")
        ]
    for stub in stubs:
        assert stub["NoNewPrivs"] == "1"
        assert stub["Seccomp"] == "2"
        assert int(stub["CapPrm"], 16) == int(stub["CapEff"], 16) == int(stub["CapInh"], 16) == 0


@pytest.mark.root
def test_root_reads_what_others_keep_to_themselves(run_sandboxed: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    os.chown(secret, 12345, 12345)
    secret.chmod(0o400)
    assert run_sandboxed(["cat", str(secret)]).stdout == b"mine"


def test_a_time_stamp_needs_no_file(run_sandboxed: Run, tmp_path: Path) -> None:
    """The log's lines have local times, for which the C library would look at /etc/localtime."""
    environment = {"PATH": "/usr/bin:/bin"}
    flags = [f"--debug-log={tmp_path}/%COMMAND%", "--debug", "--strace"]
    assert run_sandboxed(["true"], env=environment, flags=flags).code == 0
    assert re.search(r"^I\d{4} ..:..:.*exit_group\(0\)", (tmp_path / "boot").read_text(), re.MULTILINE)
