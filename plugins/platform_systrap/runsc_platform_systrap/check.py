"""Does ptrace(2) do here what the platform needs?"""

from __future__ import annotations

import contextlib
import errno
import platform as host

from runsc.abi import registers
from runsc.platform import SYSCALL
from runsc.plugins.availability import Availability

CODE_AT = 0x100000
#: mov $39,%eax; syscall; int3
CODE = b"\xb8\x27\x00\x00\x00\x0f\x05\xcc"
GETPID = 39
PROT_RWX = 7
MAP_PRIVATE_ANONYMOUS = 0x22
PATIENCE_NS = 2_000_000_000

YAMA = "/proc/sys/kernel/yama/ptrace_scope"


def _first_line(path: str) -> str:
    with contextlib.suppress(OSError), open(path) as f:
        return f.readline().strip()
    return ""


def _refused(what: str) -> Availability:
    """EPERM: find out who says so."""
    scope = _first_line(YAMA)
    if scope == "3":
        return Availability.no(
            f"the host forbids ptrace altogether ({YAMA} is 3)",
            "set kernel.yama.ptrace_scope to 1 or lower in the host's sysctl configuration and reboot, "
            "or choose another --platform",
        )
    if scope == "2":
        return Availability.no(
            f"the host allows ptrace only with CAP_SYS_PTRACE ({YAMA} is 2)",
            "run `sysctl kernel.yama.ptrace_scope=1` as root, or run runsc with CAP_SYS_PTRACE",
        )
    filtered = next((v for k, v in _status() if k == "Seccomp"), "0") == "2"
    if filtered:
        return Availability.no(
            f"{what} is refused by a seccomp filter on this process",
            "allow ptrace, process_vm_readv and process_vm_writev in the filter of the container runsc "
            "runs in (docker run --security-opt seccomp=unconfined, or --cap-add SYS_PTRACE)",
        )
    return Availability.no(
        f"the host refuses {what} on our own child process",
        "look for a security module that forbids it (SELinux boolean deny_ptrace, AppArmor profile), "
        "or choose another --platform",
    )


def _status() -> list[tuple[str, str]]:
    try:
        with open("/proc/self/status") as f:
            return [(k, v.strip()) for k, _, v in (line.partition(":") for line in f)]
    except OSError:
        return []


def check() -> Availability:
    """Run one system call of a real guest, and read and write its memory."""
    if host.machine() != "x86_64":
        return Availability.no(
            f"the ptrace platform knows x86-64 only, this is {host.machine()}", "use an x86-64 machine"
        )
    try:
        from runsc_platform_systrap.platform import SystrapPlatform
    except ImportError as e:
        return Availability.no(f"the C engine cannot be loaded ({e})", "reinstall runsc with a C compiler")
    try:
        platform = SystrapPlatform()
    except OSError as e:
        if e.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            return _refused("ptrace")
        return Availability.no(
            f"a process to run guests in cannot be made: {e.strerror}",
            "look at the limits on processes, memory and address space (ulimit -a)",
        )
    try:
        return _try(platform)
    finally:
        platform.close()


def _try(platform: object) -> Availability:
    from runsc_platform_systrap.platform import SystrapPlatform

    assert isinstance(platform, SystrapPlatform)
    try:
        space = platform.new_address_space()
        thread = space.new_thread()
        space.map(CODE_AT, 4096, PROT_RWX, MAP_PRIVATE_ANONYMOUS, -1, 0)
    except OSError as e:
        return Availability.no(
            f"a guest process cannot be made: {e.strerror}",
            "look at the limits on processes and memory (ulimit -a) and at SELinux's execmem",
        )
    if space.write(CODE_AT, CODE) != len(CODE) or space.read(CODE_AT, len(CODE)) != CODE:
        return _refused("process_vm_writev")
    regs = [0] * registers.COUNT
    regs[registers.RIP] = CODE_AT
    thread.set_regs(regs)
    thread.resume()
    if platform.wait(-1, PATIENCE_NS) is not thread or thread.event != SYSCALL or thread.nr != GETPID:
        return Availability.no(
            "PTRACE_SYSEMU does not stop a system call here (an emulator or another sandbox around us?)",
            "run runsc on a Linux kernel of its own, or choose another --platform",
        )
    return Availability.yes()
