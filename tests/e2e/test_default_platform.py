"""Without --platform: the fastest one that works here, also where little is allowed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from runsc.abi.syscalls import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.conftest import Outcome

    Run = Callable[..., Outcome]

#: What Docker's default profile refuses (EPERM) to a container without capabilities (moby/profiles/seccomp,
#: default_linux.go), of the calls that a program could have a reason for.
DOCKER_REFUSES = """
acct add_key bpf chroot clock_adjtime clock_settime create_module delete_module fanotify_init finit_module
fsconfig fsmount fsopen fspick get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup
ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind mount mount_setattr move_mount
move_pages
nfsservctl open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise quotactl
quotactl_fd reboot request_key set_mempolicy setdomainname sethostname setns settimeofday swapoff swapon
syslog umount2 unshare userfaultfd vhangup
""".split()  # noqa: SIM905

#: Runs a program without capabilities, without a way to get any, and under a filter: the calls whose numbers
#: are given are answered EPERM; clone3, ENOSYS; clone of name spaces, EPERM.
CONFINE = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def must(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "prctl, capset")
refused, command = [int(n) for n in sys.argv[1].split(",") if n], sys.argv[2:]
if os.geteuid() == 0:
    for capability in range(64):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
must(libc.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS
must(libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24)))
LOAD, IF, ANY, RETURN = 0x20, 0x15, 0x45, 0x06
EPERM, ENOSYS, ALLOW, NAMESPACES = 0x50001, 0x50026, 0x7FFF0000, 0x7E020000
code = [(LOAD, 0, 0, 0)]
for number in refused:
    code += [(IF, 0, 1, number), (RETURN, 0, 0, EPERM)]
code += [(IF, 0, 1, 435), (RETURN, 0, 0, ENOSYS), (IF, 0, 3, 56), (LOAD, 0, 0, 16), (ANY, 0, 1, NAMESPACES)]
code += [(RETURN, 0, 0, EPERM), (RETURN, 0, 0, ALLOW)]
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
must(libc.prctl(22, 2, struct.pack("=HxxxxxxQ", len(code), ctypes.addressof(program)), 0, 0))
os.execv(command[0], command)
"""

def confined(refused: list[str], *command: str) -> list[str]:
    numbers = ",".join(str(NUMBERS[name]) for name in refused)
    return [sys.executable, "-c", CONFINE, numbers, *command]


def log_of(directory: Path) -> str:
    return "".join(path.read_text() for path in directory.iterdir())


@pytest.fixture
def start(runsc: str, run_native: Run, tmp_path: Path) -> Callable[..., tuple[Outcome, str]]:
    """``start(refused, *flags)``: a program in a sandbox, in a container where these calls are refused too;
    and the log."""

    def run(refused: list[str], *flags: str) -> tuple[Outcome, str]:
        logs = tmp_path / "log"
        logs.mkdir()
        script = "echo one | cat; (echo two; exec cat /dev/null); kill -9 $$ & wait; echo three"
        words = [runsc, "--debug", f"--debug-log={logs}/", *flags, "do", "--", "/bin/sh", "-c", script]
        return run_native(confined([*DOCKER_REFUSES, *refused], *words)), log_of(logs)

    return run


def test_the_fastest(start: Callable[..., tuple[Outcome, str]]) -> None:
    outcome, log = start([])
    assert outcome == (128 + 9, b"one\ntwo\n", b"")
    assert "platform systrap (" in log
    assert "does not work" not in log


@pytest.mark.parametrize("refused", ["eventfd2", "seccomp", "process_vm_readv", "process_vm_writev"])
def test_another_where_that_does_not_work(start: Callable[..., tuple[Outcome, str]], refused: str) -> None:
    outcome, log = start([refused], "--jail=off")
    reasons = [line for line in log.splitlines() if "platform systrap does not work here" in line]
    assert len(reasons) == 1
    assert "using ptrace instead" in reasons[0]
    if refused == "eventfd2":  # the others are needed by ptrace, too
        assert outcome == (128 + 9, b"one\ntwo\n", b"")


def test_the_one_that_was_named_or_none(start: Callable[..., tuple[Outcome, str]]) -> None:
    outcome, _ = start(["seccomp"], "--jail=off", "--platform=systrap")
    assert outcome.code == 128
    assert b"\nrunsc: platform systrap does not work here: " in outcome.stderr
