"""A network plugin that attacks the host: the stand-in for a sandbox's process that a guest has taken over.

When a guest asks for a socket, the attack that ``HOSTILE_ATTACK`` names is made, from inside the jail, with
all that the process holds. How it went is written to stderr: ``result N`` or ``errno N``. ``HOSTILE_VICTIM``
is the pid of a process outside.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
from typing import TYPE_CHECKING, Any

from runsc.abi.syscalls import NUMBERS
from runsc.kernel.errors import LinuxError
from runsc.network import Network
from runsc.plugins.availability import Availability
from runsc.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.config import Config

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
AT_FDCWD = -100
O_NOFOLLOW = os.O_NOFOLLOW
HERE = os.path.dirname(os.path.abspath(__file__))
NEW_FILE = os.path.join(HERE, "made-by-the-attack").encode()

#: mov %edi,%eax; int $0x80; ret - a system call of a 32-bit program, by its number.
CALL_32 = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
CALL_32.write(b"\x89\xf8\xcd\x80\xc3")
CODE_AT = ctypes.addressof(ctypes.c_char.from_buffer(CALL_32))
call_32 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(CODE_AT)
GETPID_32 = 20
X32 = 0x40000000


def call(name: str, *args: Any) -> int:
    """A raw system call; raises OSError."""
    return numbered(NUMBERS[name], *args)


def numbered(number: int, *args: Any) -> int:
    words = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    words += [ctypes.c_long(0)] * (6 - len(words))
    result: int = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def write_victim(victim: int) -> int:
    """process_vm_writev(2) to an address that is surely mapped: what counts is whether it gets that far."""
    buffer = ctypes.create_string_buffer(8)
    local = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
    remote = (ctypes.c_ulong * 2)(0x1000, 8)
    return call("process_vm_writev", victim, local, 1, remote, 1, 0)


def read_victim(victim: int) -> int:
    buffer = ctypes.create_string_buffer(8)
    local = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
    remote = (ctypes.c_ulong * 2)(0x1000, 8)
    return call("process_vm_readv", victim, local, 1, remote, 1, 0)


#: A directory's descriptor that the process holds, as a file system has them.
HELD = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

#: name: what is done, given the victim's pid.
ATTACKS: dict[str, Callable[[int], object]] = {
    "nothing": lambda _: 0,
    # Files by path.
    "openat": lambda _: os.open("/etc/hostname", os.O_RDONLY),
    "open": lambda _: call("open", b"/etc/hostname", 0),
    "openat2": lambda _: call("openat2", AT_FDCWD, b"/etc/hostname", bytes(24), 24),
    "openat-32bit-dirfd": lambda _: call("openat", 0x7_FFFF_FF9C, b"/etc/hostname", O_NOFOLLOW),
    "openat-following": lambda _: call("openat", HELD, b"etc/hostname", 0),
    "openat-writing": lambda _: call("openat", HELD, NEW_FILE, O_NOFOLLOW | os.O_WRONLY),
    "openat-creating": lambda _: call("openat", HELD, NEW_FILE, O_NOFOLLOW | os.O_CREAT, 0o666),
    "openat-tmpfile": lambda _: call(
        "openat", HELD, HERE.encode(), O_NOFOLLOW | os.O_TMPFILE | os.O_RDWR, 0o666
    ),
    "mkdirat": lambda _: call("mkdirat", HELD, NEW_FILE, 0o777),
    "mknodat": lambda _: call("mknodat", HELD, NEW_FILE, 0o100666, 0),
    "unlinkat": lambda _: call("unlinkat", HELD, NEW_FILE, 0),
    "renameat2": lambda _: call("renameat2", HELD, b"a", HELD, b"b", 0),
    "stat": lambda _: os.stat("/etc/hostname"),
    "access": lambda _: call("access", b"/etc/hostname", 0),
    "readlink": lambda _: call("readlink", b"/proc/self/exe", bytes(100), 100),
    "chdir": lambda _: os.chdir("/etc"),
    "chroot": lambda _: os.chroot("/etc"),
    "chmod": lambda _: os.chmod(HERE, 0o755),
    "listdir": lambda _: os.listdir("/"),
    "open_by_handle_at": lambda _: call("open_by_handle_at", HELD, bytes(16), 0),
    "name_to_handle_at": lambda _: call("name_to_handle_at", HELD, b"etc", bytes(200), bytes(8), 0),
    # Processes.
    "execve": lambda _: os.execv("/bin/true", ["true"]),
    "execveat": lambda _: call("execveat", os.memfd_create("x"), b"", None, None, 0x1000),
    "fork": lambda _: os.fork(),
    "vfork": lambda _: call("vfork"),
    "clone": lambda _: call("clone", signal.SIGCHLD, 0, 0, 0, 0),
    "clone3": lambda _: call("clone3", bytes(88), 88),
    "kill": lambda victim: os.kill(victim, signal.SIGTERM),
    "kill-9": lambda victim: os.kill(victim, signal.SIGKILL),
    "kill-9-all": lambda _: os.kill(-1, signal.SIGKILL),
    "kill-group": lambda victim: os.kill(-victim, signal.SIGKILL),
    "tgkill": lambda victim: call("tgkill", victim, victim, signal.SIGTERM),
    "tkill": lambda victim: call("tkill", victim, signal.SIGTERM),
    "rt_sigqueueinfo": lambda victim: call("rt_sigqueueinfo", victim, signal.SIGTERM, bytes(128)),
    "pidfd_open": lambda victim: call("pidfd_open", victim, 0),
    "ptrace-attach": lambda victim: call("ptrace", 16, victim, 0, 0),
    "ptrace-seize": lambda victim: call("ptrace", 0x4206, victim, 0, 0),
    "process_vm_readv": read_victim,
    "process_vm_writev": write_victim,
    "prlimit64": lambda victim: call("prlimit64", victim, 7, 0, bytes(16)),
    "prlimit64-own": lambda _: call("prlimit64", 0, 7, bytes(16), 0),
    "setpriority": lambda victim: call("setpriority", 0, victim, 19),
    "sigio-to-victim": lambda victim: fcntl.fcntl(0, fcntl.F_SETOWN, victim),
    # Network.
    "socket": lambda _: call("socket", 2, 1, 0),
    "socket-unix": lambda _: call("socket", 1, 1, 0),
    "socketpair": lambda _: call("socketpair", 1, 1, 0, bytes(8)),
    "connect": lambda _: call("connect", 0, bytes(16), 16),
    "sendto": lambda _: call("sendto", 0, b"x", 1, 0, bytes(16), 16),
    "sendmsg": lambda _: call("sendmsg", 0, bytes(56), 0),
    # Rights and the machine.
    "mount": lambda _: call("mount", b"none", b"/mnt", b"tmpfs", 0, 0),
    "umount2": lambda _: call("umount2", b"/proc", 2),
    "unshare": lambda _: call("unshare", 0x10000000),
    "setns": lambda _: call("setns", 0, 0),
    "pivot_root": lambda _: call("pivot_root", b"/", b"/"),
    "setuid": lambda _: os.setuid(0),
    "setresgid": lambda _: os.setresgid(0, 0, 0),
    "capset": lambda _: call("capset", bytes(8), bytes(24)),
    "prctl": lambda _: call("prctl", 38, 1, 0, 0, 0),
    "seccomp": lambda _: call("seccomp", 0, 0, 0),
    "bpf": lambda _: call("bpf", 0, bytes(128), 128),
    "perf_event_open": lambda _: call("perf_event_open", bytes(128), 0, -1, -1, 0),
    "io_uring_setup": lambda _: call("io_uring_setup", 1, bytes(120)),
    "userfaultfd": lambda _: call("userfaultfd", 0),
    "keyctl": lambda _: call("keyctl", 0, 0),
    "init_module": lambda _: call("init_module", bytes(8), 8, b""),
    "reboot": lambda _: call("reboot", 0, 0, 0, 0),
    "sethostname": lambda _: call("sethostname", b"x", 1),
    "tiocsti": lambda _: fcntl.ioctl(0, 0x5412, b"x"),
    "tiocsctty": lambda _: fcntl.ioctl(0, 0x540E, 0),
    # Code, and other doors to the kernel.
    "mmap-exec": lambda _: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "mprotect-exec": lambda _: call("mprotect", CODE_AT, 4096, 7),
    "int80": lambda _: call_32(GETPID_32),
    "x32": lambda _: numbered(X32 | NUMBERS["getpid"]),
    "no-such-call": lambda _: numbered(400),
    "import": lambda _: __import__("http.client"),
}  # fmt: skip


class HostileNetwork(Network):
    """Attacks at the first socket."""

    __slots__ = ()

    name = "hostile"

    @classmethod
    def check(cls) -> Availability:
        return Availability.yes()

    def socket(self, *_args: object) -> Any:
        attack = ATTACKS[os.environ["HOSTILE_ATTACK"]]
        try:
            result = attack(int(os.environ.get("HOSTILE_VICTIM", "0")))
        except OSError as error:
            os.write(2, b"errno %d\n" % (error.errno or 0))
        except ImportError as error:
            os.write(2, f"ImportError {error}\n".encode())
        else:
            os.write(2, f"result {result!r}\n".encode())
        raise LinuxError(97)

    def close(self) -> None:
        """Nothing to do."""


class HostilePlugin:
    """The plugin as the loader sees it."""

    api_version = 1
    summary = "for tests"

    @hookimpl
    def check_network(self) -> Availability:
        return Availability.yes()

    @hookimpl
    def make_network(self, config: Config) -> Network:
        return HostileNetwork()
