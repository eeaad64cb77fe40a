"""Does seccomp(2) do here what the platform needs?"""

from __future__ import annotations

import errno
import platform as host

from runsc.abi import registers
from runsc.platform import SYSCALL, AddressSpaceGone
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
    try:
        with open(path) as f:
            return f.readline().strip()
    except OSError:
        return ""


def _no_template(error: OSError) -> Availability:
    """Why the first stub could not be made."""
    if error.errno == errno.EOPNOTSUPP:
        return Availability.no(
            "the host does not let programs set FS and GS bases themselves (FSGSBASE)",
            "use Linux 5.9 or newer on a processor with FSGSBASE, or --platform=ptrace",
        )
    if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL):
        return Availability.no(
            f"a seccomp filter with user notification cannot be installed: {error.strerror}",
            "use Linux 5.5 or newer, and allow seccomp in the filter of the container runsc runs in, "
            "or choose --platform=ptrace",
        )
    if error.errno == errno.EBUSY:
        return Availability.no(
            "another seccomp supervisor already answers for this process",
            "run runsc outside of the container that has a seccomp listener, or choose --platform=ptrace",
        )
    return Availability.no(
        f"a process to run guests in cannot be made: {error.strerror}",
        "look at the limits on processes, memory and address space (ulimit -a)",
    )


def _no_memory_access() -> Availability:
    scope = _first_line(YAMA)
    if scope in ("2", "3"):
        return Availability.no(
            f"the host forbids access to the memory of guest processes ({YAMA} is {scope})",
            "set kernel.yama.ptrace_scope to 1 or lower in the host's sysctl configuration",
        )
    return Availability.no(
        "the host refuses process_vm_readv and process_vm_writev on our own child process",
        "allow both in the seccomp filter of the container runsc runs in, and look for a security module "
        "that forbids them (SELinux boolean deny_ptrace, AppArmor profile)",
    )


def check() -> Availability:
    """Run one system call of a real guest, and read and write its memory."""
    if host.machine() != "x86_64":
        return Availability.no(
            f"the systrap platform knows x86-64 only, this is {host.machine()}", "use an x86-64 machine"
        )
    try:
        from runsc_platform_systrap.platform import SystrapPlatform
    except ImportError as e:
        return Availability.no(f"the C engine cannot be loaded ({e})", "reinstall runsc with a C compiler")
    try:
        platform = SystrapPlatform()
    except OSError as e:
        return _no_template(e)
    except AddressSpaceGone:
        return Availability.no(
            "the first guest process was killed by the host",
            "look for a seccomp filter or security module around runsc, or choose --platform=ptrace",
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
    except (OSError, AddressSpaceGone) as e:
        return Availability.no(
            f"a guest process cannot be made: {getattr(e, 'strerror', None) or 'it died'}",
            "look at the limits on processes and memory (ulimit -a) and at SELinux's execmem",
        )
    try:
        works = space.write(CODE_AT, CODE) == len(CODE) and space.read(CODE_AT, len(CODE)) == CODE
    except AddressSpaceGone:
        works = False
    if not works:
        return _no_memory_access()
    regs = [0] * registers.COUNT
    regs[registers.RIP] = CODE_AT
    thread.set_regs(regs)
    thread.resume()
    if platform.wait(-1, PATIENCE_NS) is not thread or thread.event != SYSCALL or thread.nr != GETPID:
        return Availability.no(
            "a system call does not become SIGSYS here (an emulator or another sandbox around us?)",
            "run runsc on a Linux kernel of its own, or choose another --platform",
        )
    return Availability.yes()
