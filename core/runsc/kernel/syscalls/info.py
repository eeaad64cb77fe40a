"""What the system is (uname(2), sethostname(2), sysinfo(2), syslog(2))."""

from __future__ import annotations

from errno import EINVAL, EPERM
from os import sysconf
from struct import Struct
from time import monotonic_ns

from runsc.kernel.credentials import CAP_SYS_ADMIN, CAP_SYSLOG
from runsc.kernel.errors import LinuxError
from runsc.kernel.syscalls.decl import PARTIAL, InBuf, Int, OutBuf, OutUtsname, Ptr, syscall
from runsc.kernel.version import MACHINE, RELEASE, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

#: Longest host or domain name, and the size of each field of struct utsname (linux/utsname.h).
NEW_UTS_LEN = 64
_UTSNAME = Struct("65s65s65s65s65s65s")

#: struct sysinfo: uptime, 3 loads, total, free, shared, buffer, total swap, free swap, processes, high
#: memory (total, free), unit.
_SYSINFO = Struct("<q3Q6QH6xQQI4x")

_SIZE_BUFFER = 10
_LOG_SIZE = 1 << 17


@syscall(63)
def uname(task: Task, buf: OutUtsname) -> Result:
    uts = task.nsproxy.uts
    version = VERSION.encode()[:NEW_UTS_LEN]
    fields = (b"Linux", uts.hostname, RELEASE.encode(), version, MACHINE.encode(), uts.domainname)
    task.mm.copy_out(buf, _UTSNAME.pack(*fields))
    return 0


@syscall(170)
def sethostname(task: Task, name: InBuf, length: Int) -> Result:
    task.nsproxy.uts.hostname = _new_name(task, name, length)
    return 0


@syscall(171)
def setdomainname(task: Task, name: InBuf, length: Int) -> Result:
    task.nsproxy.uts.domainname = _new_name(task, name, length)
    return 0


def _new_name(task: Task, name: int, length: int) -> bytes:
    if not task.cred.ns_capable(task.nsproxy.uts.user_ns, CAP_SYS_ADMIN):
        raise LinuxError(EPERM)
    if not 0 <= length <= NEW_UTS_LEN:
        raise LinuxError(EINVAL)
    return task.mm.copy_in(name, length).split(b"\0", 1)[0]


@syscall(99, PARTIAL, "loads are 0; memory is the host's")
def sysinfo(task: Task, info: Ptr) -> Result:
    kernel = task.kernel
    page = sysconf("SC_PAGE_SIZE")
    total = sysconf("SC_PHYS_PAGES") * page
    free = sysconf("SC_AVPHYS_PAGES") * page
    uptime = (monotonic_ns() - kernel.boot_time_ns + 999_999_999) // 1_000_000_000
    processes = min(len(kernel.tasks), 0xFFFF)
    task.mm.copy_out(info, _SYSINFO.pack(uptime, 0, 0, 0, total, free, 0, 0, 0, 0, processes, 0, 0, 1))
    return 0


@syscall(103, PARTIAL, "the log is always empty")
def syslog(task: Task, type_: Int, buf: OutBuf, length: Int) -> Result:
    """The kernel's log is for the host to read, not for guests: they find it empty."""
    if not task.cred.capable(CAP_SYSLOG) and not task.cred.capable(CAP_SYS_ADMIN):
        raise LinuxError(EPERM)
    if type_ in (2, 3, 4):  # READ, READ_ALL, READ_CLEAR
        if not buf or length < 0:
            raise LinuxError(EINVAL)
        if type_ == 2 and length:
            return _wait_for_a_message(task)
        return 0
    if type_ == _SIZE_BUFFER:
        return _LOG_SIZE
    if type_ == 8:  # CONSOLE_LEVEL
        if not 1 <= length <= 8:
            raise LinuxError(EINVAL)
        return 0
    if type_ in (0, 1, 5, 6, 7, 9):  # CLOSE, OPEN, CLEAR, CONSOLE_OFF, CONSOLE_ON, SIZE_UNREAD
        return 0
    raise LinuxError(EINVAL)


async def _wait_for_a_message(task: Task) -> int:
    while True:
        await task.wait(None)
