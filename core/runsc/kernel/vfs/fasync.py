"""Signals that tell of a file's readiness (O_ASYNC), and who gets them: struct fown_struct and kill_fasync of
fs/fcntl.c."""

from __future__ import annotations

from errno import EAGAIN, EINVAL, ENOTTY, ESRCH

from runsc.abi.fcntl import O_ASYNC
from runsc.abi.poll import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLMSG,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)  # fmt: skip
from runsc.abi.signal import (
    SI_KERNEL,
    SI_SIGIO,
    SIGBUS,
    SIGCHLD,
    SIGFPE,
    SIGILL,
    SIGIO,
    SIGSEGV,
    SIGSYS,
    SIGTRAP,
    bit,
)  # fmt: skip
from runsc.kernel.errors import LinuxError
from runsc.kernel.siginfo import SigInfo
from runsc.kernel.wait import ALL, WaitEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.pid import Pid
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File
    from runsc.kernel.wait import WaitQueue

F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP = range(3)

POLL_IN, POLL_OUT, POLL_MSG, POLL_ERR, POLL_PRI, POLL_HUP = range(1, 7)
#: What si_band says of each.
_BANDS = {
    POLL_IN: POLLIN | POLLRDNORM,
    POLL_OUT: POLLOUT | POLLWRNORM | POLLWRBAND,
    POLL_MSG: POLLIN | POLLRDNORM | POLLMSG,
    POLL_ERR: POLLERR,
    POLL_PRI: POLLPRI | POLLRDBAND,
    POLL_HUP: POLLHUP | POLLERR,
}
#: Which of several things that happened at once is told.
_REASONS = (
    (POLLERR, POLL_ERR),
    (POLLPRI, POLL_PRI),
    (POLLIN, POLL_IN),
    (POLLHUP, POLL_HUP),
    (POLLOUT, POLL_OUT),
)
#: Signals that have si_codes of their own, which 1 to 6 would be taken for (sig_specific_sicodes).
_OWN_CODES = sum(map(bit, (SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP, SIGCHLD, SIGSYS)))


def band_of(code: int) -> int:
    """si_band for a POLL_* si_code."""
    return _BANDS[code]


class FileOwner:
    """Who is signalled about a file, and the ids of the one who said so."""

    __slots__ = ("euid", "kind", "pid", "uid")

    def __init__(self, kind: int, pid: Pid, task: Task) -> None:
        self.kind = kind
        self.pid = pid
        self.uid = task.cred.uid
        self.euid = task.cred.euid

    def send(self, info: SigInfo) -> None:
        """Send a signal to all that are meant and may be signalled by who set the owner (sigio_perm)."""
        if self.kind == F_OWNER_PGRP:
            process_group = self.pid.process_group
            targets = [] if process_group is None else [group.leader for group in process_group.members]
        else:
            targets = [] if self.pid.task is None else [self.pid.task]
        for target in targets:
            cred = target.cred
            if not (self.euid == 0 or {self.euid, self.uid} & {cred.suid, cred.uid}):
                continue
            group = self.kind != F_OWNER_TID
            try:
                target.send_signal(info, group)
            except LinuxError as error:
                if error.errno != EAGAIN:
                    raise
                target.send_signal(SigInfo(SIGIO, SI_KERNEL), group)  # the queue is full


def set_owner(task: Task, file: File, kind: int, number: int) -> None:
    """F_SETOWN_EX: ``number`` in the caller's pid namespace, 0 for nobody. Raises ESRCH."""
    if not number:
        file.owner = None
        return
    pid = task.pid_ns.pids.get(number)
    if pid is None or (pid.process_group if kind == F_OWNER_PGRP else pid.task) is None:
        raise LinuxError(ESRCH)
    file.owner = FileOwner(kind, pid, task)


def set_owner_number(task: Task, file: File, number: int) -> None:
    """F_SETOWN, FIOSETOWN: a process, or with a negative number a process group. Raises EINVAL, ESRCH."""
    if number == -0x80000000:
        raise LinuxError(EINVAL)
    set_owner(task, file, F_OWNER_PGRP if number < 0 else F_OWNER_PID, abs(number))


def owner_of(task: Task, file: File) -> tuple[int, int]:
    """F_GETOWN_EX: kind and number as the caller sees them; number 0 if it can't, or the owner is gone."""
    owner = file.owner
    if owner is None:
        return F_OWNER_PID, 0
    there = owner.pid.process_group if owner.kind == F_OWNER_PGRP else owner.pid.task
    return owner.kind, owner.pid.nr(task.pid_ns) if there is not None else 0


def owner_number(task: Task, file: File) -> int:
    """F_GETOWN, FIOGETOWN."""
    kind, number = owner_of(task, file)
    return -number if kind == F_OWNER_PGRP else number


class Fasync(WaitEntry):
    """Sends signals while a file has O_ASYNC; ``fd``: the descriptor by which it was switched on."""

    __slots__ = ("fd", "file", "queue")

    def __init__(self, file: File, queue: WaitQueue, fd: int) -> None:
        mask = ALL
        if not file.writable():
            mask &= ~(POLLOUT | POLLWRNORM | POLLWRBAND)
        if not file.readable():
            mask &= ~(POLLIN | POLLRDNORM)
        super().__init__(self.happened, mask)
        self.file = file
        self.fd = fd
        self.queue = queue
        queue.add(self)

    def happened(self, mask: int) -> bool:
        """Something changed: tell what (kill_fasync)."""
        file = self.file
        owner = file.owner
        if owner is None:
            return False
        if mask == ALL:
            mask = file.poll()
        reason = next((code for event, code in _REASONS if mask & self.mask & event), 0)
        if not reason:
            return False
        signo = file.owner_signal
        if not signo:
            owner.send(SigInfo(SIGIO, SI_KERNEL))
        else:
            code = SI_SIGIO if bit(signo) & _OWN_CODES else reason
            owner.send(SigInfo(signo, code, band=_BANDS[reason], fd=self.fd))
        return False

    def remove(self) -> None:
        """No more signals."""
        self.queue.remove(self)
        # The bound method and this would keep each other alive until the collector comes.
        del self.callback


def set_async(file: File, fd: int, on: bool) -> None:
    """Switch O_ASYNC. Raises ENOTTY for a file that can't tell."""
    if on == bool(file.flags & O_ASYNC):
        return
    queue = file.wait_queue() if file.sends_sigio else None
    if queue is None:
        raise LinuxError(ENOTTY)
    if on:
        file.fasync = Fasync(file, queue, fd)
        file.flags |= O_ASYNC
    else:
        file.flags &= ~O_ASYNC
        if file.fasync is not None:
            file.fasync.remove()
            file.fasync = None
