"""epoll_create(2), epoll_ctl(2), epoll_wait(2) and their kin."""

from __future__ import annotations

from errno import EBADF, EFAULT, EINTR, EINVAL, EPERM
from time import monotonic_ns

from runsc.abi.fcntl import O_CLOEXEC, O_PATH
from runsc.abi.poll import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLONESHOT,
    EPOLLWAKEUP,
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
)  # fmt: skip
from runsc.kernel.clock import copy_in_timespec
from runsc.kernel.errors import Interrupted, LinuxError
from runsc.kernel.fs.anon import anon_inodes
from runsc.kernel.fs.epoll import EPOLL_EVENT, Epoll
from runsc.kernel.mm.usercopy import USER_END
from runsc.kernel.sigmask import copy_in_sigset, with_mask
from runsc.kernel.syscalls.decl import (
    EpollOp,
    Fd,
    FdFlags,
    InEpollEvent,
    InSigset,
    Int,
    InTimespec,
    OutEpollEvents,
    Size,
    syscall,
)  # fmt: skip
from runsc.kernel.vfs.install import install

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

#: INT_MAX / sizeof(struct epoll_event).
_MAX_EVENTS = 0x7FFFFFFF // 12
_EXCLUSIVE_OK = POLLIN | POLLOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE
_NOT_LEVEL = EPOLLET | EPOLLONESHOT
_pack = EPOLL_EVENT.pack


def _create(task: Task, cloexec: bool) -> int:
    return install(task, Epoll(anon_inodes(task.kernel).anon_inode), cloexec)


@syscall(213)
def epoll_create(task: Task, size: Int) -> Result:
    """epoll_create(2): the size is a hint that must be positive."""
    if size <= 0:
        raise LinuxError(EINVAL)
    return _create(task, False)


@syscall(291)
def epoll_create1(task: Task, flags: FdFlags) -> Result:
    """epoll_create1(2): EPOLL_CLOEXEC."""
    if flags & ~O_CLOEXEC:
        raise LinuxError(EINVAL)
    return _create(task, bool(flags & O_CLOEXEC))


@syscall(233)
def epoll_ctl(task: Task, epfd: Fd, op: EpollOp, fd: Fd, event: InEpollEvent) -> Result:
    """epoll_ctl(2)."""
    events = data = 0
    if op != EPOLL_CTL_DEL:
        events, data = task.mm.unpack(event, EPOLL_EVENT)
    epoll = task.files.get(epfd)
    target = task.files.get(fd)
    queue = target.wait_queue()
    if queue is None:
        # What can't be waited for: regular files, directories, /dev/null.
        raise LinuxError(EPERM)
    if epoll is target or not isinstance(epoll, Epoll):
        raise LinuxError(EINVAL)
    if events & EPOLLEXCLUSIVE and op != EPOLL_CTL_DEL:
        if op == EPOLL_CTL_MOD or isinstance(target, Epoll) or events & ~_EXCLUSIVE_OK:
            raise LinuxError(EINVAL)
    if op == EPOLL_CTL_ADD:
        epoll.add(task, target, fd, queue, events, data)
    elif op == EPOLL_CTL_MOD:
        epoll.modify(task, target, fd, events, data)
    elif op == EPOLL_CTL_DEL:
        epoll.delete(target, fd)
    else:
        raise LinuxError(EINVAL)
    return 0


def _report(task: Task, epoll: Epoll, addr: int, limit: int) -> int:
    """Write what is ready now to the guest; how many events. Raises EFAULT if not one could be written."""
    found = epoll.collect(task, limit)
    if not found:
        return 0
    if len(found) == 1:
        item, events = found[0]
        raw = _pack(events, item.data)
    else:
        raw = b"".join([_pack(events, item.data) for item, events in found])
    written = task.mm.space.write(addr, raw)
    if written != len(raw):
        count = max(written, 0) // 12
        epoll.give_back(found[count:])
        if not count:
            raise LinuxError(EFAULT)
        return count
    if epoll.ready and epoll.waiters.entries:
        # Another sleeper can take what is left.
        epoll.waiters.wake(POLLIN | POLLRDNORM)
    return len(found)


def _epoll_of(task: Task, epfd: int, addr: int, limit: int) -> Epoll:
    if limit <= 0 or limit > _MAX_EVENTS:
        raise LinuxError(EINVAL)
    if addr + limit * 12 > USER_END:
        raise LinuxError(EFAULT)
    file = task.files.files.get(epfd)
    if type(file) is not Epoll:
        raise LinuxError(EBADF if file is None or file.flags & O_PATH else EINVAL)
    return file


def _do_wait(task: Task, epoll: Epoll, addr: int, limit: int, deadline: int | None, now: bool) -> Result:
    if epoll.ready:
        count = _report(task, epoll, addr, limit)
        if count:
            return count
    if now:
        # What has happened on the host may not have been looked at yet, and nobody waits for it.
        task.kernel.poller.dispatch()
        return _report(task, epoll, addr, limit) if epoll.ready else 0
    return _wait(task, epoll, addr, limit, deadline)


async def _wait(task: Task, epoll: Epoll, addr: int, limit: int, deadline: int | None) -> int:
    epoll.get()
    try:
        while await task.wait(epoll.waiters, POLLIN | POLLRDNORM, deadline, exclusive=True):
            if epoll.ready:
                count = _report(task, epoll, addr, limit)
                if count:
                    return count
        return _report(task, epoll, addr, limit)
    except Interrupted:
        # What is there counts for more than the signal, and may have been announced to this task alone.
        count = _report(task, epoll, addr, limit) if epoll.ready else 0
        if not count:
            raise
        return count
    finally:
        epoll.put()


async def _not_restarted(call: Coroutine[Any, Any, int]) -> int:
    """epoll_wait is never made again after a signal."""
    try:
        return await call
    except Interrupted as interrupted:
        raise LinuxError(EINTR) from interrupted


def _wait_masked(
    task: Task, epfd: int, addr: int, limit: int, deadline: int | None, now: bool, mask: int | None
) -> Result:
    epoll = _epoll_of(task, epfd, addr, limit)
    result = with_mask(task, mask, _do_wait, task, epoll, addr, limit, deadline, now)
    return result if isinstance(result, int) else _not_restarted(result)


@syscall(232)
def epoll_wait(task: Task, epfd: Fd, events: OutEpollEvents, maxevents: Int, timeout: Int) -> Result:
    """epoll_wait(2)."""
    epoll = _epoll_of(task, epfd, events, maxevents)
    ready = epoll.ready
    if ready:
        item = ready[0]
        if len(ready) == 1 and not item.events & _NOT_LEVEL and not item.dead:
            # One level-triggered file: it stays where it is.
            found = item.file.poll(task) & item.mask
            if found:
                task.mm.copy_out(events, _pack(found, item.data))
                return 1
        count = _report(task, epoll, events, maxevents)
        if count:
            return count
    if timeout == 0:
        return 0
    deadline = None if timeout < 0 else monotonic_ns() + timeout * 1_000_000
    return _not_restarted(_wait(task, epoll, events, maxevents, deadline))


@syscall(281)
def epoll_pwait(
    task: Task, epfd: Fd, events: OutEpollEvents, maxevents: Int, timeout: Int, mask: InSigset,
    sigsetsize: Size,
) -> Result:  # fmt: skip
    """epoll_pwait(2)."""
    blocked = copy_in_sigset(task, mask, sigsetsize)
    deadline = None if timeout < 0 else monotonic_ns() + timeout * 1_000_000
    return _wait_masked(task, epfd, events, maxevents, deadline, timeout == 0, blocked)


@syscall(441)
def epoll_pwait2(
    task: Task, epfd: Fd, events: OutEpollEvents, maxevents: Int, timeout: InTimespec, mask: InSigset,
    sigsetsize: Size,
) -> Result:  # fmt: skip
    """epoll_pwait2(2): the time-out is a timespec."""
    ns = copy_in_timespec(task, timeout) if timeout else None
    blocked = copy_in_sigset(task, mask, sigsetsize)
    deadline = None if ns is None else monotonic_ns() + ns
    return _wait_masked(task, epfd, events, maxevents, deadline, ns == 0, blocked)
