"""Collects the names of the system calls that were made; writes the profile when the sandbox ends.

The profile's form is ``linux.seccomp`` of the OCI runtime specification (config-linux.md, "Seccomp"), as
Docker's ``--security-opt seccomp=FILE`` takes it too.
"""

from __future__ import annotations

import json

from runsc.plugins.hookspecs import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from runsc.observer import Call

#: What a container engine's own runtime calls between installing a profile and running the program,
#: whatever the program: without these no container starts.
RUNTIME = frozenset(
    (
        "capget", "capset", "chdir", "close", "close_range", "execve", "exit", "exit_group", "fchdir",
        "fstat", "fstatfs", "futex", "getdents64", "getppid", "mount", "mprotect", "newfstatat", "openat",
        "openat2", "pipe2", "pivot_root", "prctl", "read", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
        "sethostname", "setgid", "setgroups", "setresgid", "setresuid", "setuid", "umask", "write",
    )
)

#: "Operation not permitted": what a refused call answers.
_EPERM = 1


class Collector:
    """Writes to ``output``, which it closes."""

    __slots__ = ("_output", "names")

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self.names: set[str] = set()

    @hookimpl
    def syscall_enter(self, call: Call) -> None:
        self.names.add(call.name)

    def close(self) -> None:
        """Write the profile."""
        text = json.dumps(profile(self.names | RUNTIME), indent=2)
        self._output.write(text.encode() + b"\n")
        self._output.close()


def profile(names: set[str]) -> dict[str, object]:
    """A profile that allows these calls and refuses all others."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": sorted(names), "action": "SCMP_ACT_ALLOW"}],
    }
