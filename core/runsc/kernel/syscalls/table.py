"""Which system calls there are, and what answers each number.

The handlers declare themselves (``decl.syscall``); this module gathers them. A number that no handler
claims is answered ENOSYS, and the log says so once.
"""

from __future__ import annotations

from errno import ENOSYS
from importlib import import_module

from runsc.abi.syscalls import LAST, NAMES
from runsc.kernel.syscalls.decl import NONE, Declaration, lazy_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Entry
    from runsc.kernel.task import Task

#: The modules of this package that declare handlers, in alphabetical order.
MODULES: tuple[str, ...] = (
    "aio",
    "attributes",
    "capability",
    "descriptors",
    "directory",
    "epoll",
    "eventfd",
    "exec",
    "fcntl",
    "futex",
    "handles",
    "identity",
    "info",
    "inotify",
    "ioctl",
    "link",
    "locks",
    "memfd",
    "memory",
    "mempolicy",
    "message",
    "mount",
    "mqueue",
    "msg",
    "namespaces",
    "open",
    "pidfd",
    "pipe",
    "pkeys",
    "poll",
    "prctl",
    "privileged",
    "process",
    "process_memory",
    "random",
    "read_write",
    "resource",
    "sched",
    "seccomp",
    "select",
    "sem",
    "shm",
    "signal",
    "signalfd",
    "socket",
    "splice",
    "stat",
    "statfs",
    "sync",
    "time",
    "timer",
    "timerfd",
    "wait",
    "xattr",
)

#: Calls that stay without a handler on purpose, and why.
REASONS: dict[str, str] = {
    "_sysctl": "removed in Linux 5.5",
    "afs_syscall": "never implemented by Linux",
    "create_module": "removed in Linux 2.6",
    "epoll_ctl_old": "never implemented by Linux",
    "epoll_wait_old": "never implemented by Linux",
    "fanotify_init": "as in a kernel without CONFIG_FANOTIFY; inotify(7) is there",
    "fanotify_mark": "as in a kernel without CONFIG_FANOTIFY; inotify(7) is there",
    "get_kernel_syms": "removed in Linux 2.6",
    "get_thread_area": "for 32-bit programs",
    "getpmsg": "never implemented by Linux",
    "nfsservctl": "removed in Linux 3.1",
    "putpmsg": "never implemented by Linux",
    "query_module": "removed in Linux 2.6",
    "quotactl": "as in a kernel without CONFIG_QUOTA",
    "quotactl_fd": "as in a kernel without CONFIG_QUOTA",
    "rseq": "glibc goes on without it",
    "security": "never implemented by Linux",
    "set_thread_area": "for 32-bit programs",
    "lookup_dcookie": "removed in Linux 6.7",
    "memfd_secret": "off by default in Linux, too",
    "tuxcall": "never implemented by Linux",
    "io_uring_enter": "disabled, as with kernel.io_uring_disabled",
    "io_uring_register": "disabled, as with kernel.io_uring_disabled",
    "io_uring_setup": "disabled, as with kernel.io_uring_disabled",
    "membarrier": "a barrier between guest threads can't be made from outside",
    "modify_ldt": "no 16-bit segments, as in a kernel without CONFIG_MODIFY_LDT_SYSCALL",
    "userfaultfd": "the host does the paging",
    "uselib": "removed from x86-64 kernels",
    "vserver": "never implemented by Linux",
}


class DuplicateSyscall(Exception):
    """Two handlers claim one number."""


def declarations() -> dict[int, Declaration]:
    """What the handlers of ``MODULES`` declare, by number; imports them.

    Raises ``DuplicateSyscall``; ValueError for a number or name that x86-64 does not have; ImportError for a
    module that isn't there.
    """
    found: dict[int, Declaration] = {}
    for module_name in MODULES:
        module = import_module(f"runsc.kernel.syscalls.{module_name}")
        for value in vars(module).values():
            # A handler imported from another module is that module's to declare.
            if getattr(value, "__module__", None) != module.__name__:
                continue
            for declaration in getattr(value, "__syscalls__", ()):
                _claim(found, declaration, module_name)
    return found


def _claim(found: dict[int, Declaration], declaration: Declaration, module_name: str) -> None:
    number = declaration.number
    where = f"{module_name}.{declaration.name}"
    other = found.get(number)
    if other is declaration:
        return  # one handler under two names in its module
    if other is not None:
        raise DuplicateSyscall(f"system call {number}: {where} and {other.name} both claim it")
    if NAMES.get(number) != declaration.name:
        raise ValueError(f"{where}: system call {number} is {NAMES.get(number, 'nothing')}")
    found[number] = declaration


def build_table() -> list[Declaration]:
    """Every system call of x86-64 in the order of its number, implemented or not.

    Use ``number``, ``name``, ``support`` (full, partial, none) and ``note`` of each.
    """
    found = declarations()
    return [
        found.get(number) or Declaration(number, name, None, NONE, REASONS.get(name, ""))
        for number, name in sorted(NAMES.items())
    ]


def dispatch_table() -> list[Entry]:
    """What the dispatcher calls, by number, for 0 to ``LAST``; beyond, use a ``missing_entry``.

    Make one for each kernel: the entries of missing calls remember whether they have been logged.
    """
    found = declarations()
    table: list[Entry] = []
    for number in range(LAST + 1):
        if number in found:
            table.append(lazy_entry(found[number], table))
        else:
            table.append(missing_entry(number, NAMES.get(number, "")))
    return table


def missing_entry(number: int, name: str = "") -> Entry:
    """An entry that answers ENOSYS, and the first time tells the log who called it and with what."""
    told = False

    def entry(task: Task, args: tuple[int, int, int, int, int, int]) -> int:
        nonlocal told
        if not told:
            told = True
            listed = ", ".join(f"{arg:#x}" for arg in args)
            who = task.comm.decode("utf-8", "backslashreplace")
            task.kernel.log.info(
                f"system call {number} ({name or 'unknown'}) is not implemented; first called by {who} "
                f"[{task.tid}] with ({listed})"
            )
        return -ENOSYS

    return entry
