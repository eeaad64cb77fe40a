"""poll(2) and ppoll(2) (fs/select.c)."""

from __future__ import annotations

from errno import EFAULT, EINVAL
from struct import Struct
from time import monotonic_ns

from runsc.abi.fcntl import O_PATH
from runsc.abi.poll import POLLERR, POLLHUP, POLLNVAL
from runsc.kernel.clock import copy_in_timespec, pack_timespec
from runsc.kernel.errors import Interrupted, LinuxError, Restart
from runsc.kernel.mm.usercopy import USER_END
from runsc.kernel.mm.vma import PROT_WRITE
from runsc.kernel.sigmask import copy_in_sigset, with_mask
from runsc.kernel.syscalls.decl import InOutPollfds, InSigset, Int, InTimespec, Size, UInt, syscall
from runsc.kernel.thread_group import RLIMIT_NOFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

POLLFD = Struct("<ihH")
_ALWAYS = POLLERR | POLLHUP


def _scan(task: Task, entries: list[tuple[int, int, int]]) -> list[int] | None:
    """The returned events of each entry (fd, events, ...); None if there are none at all."""
    files = task.files.files
    found = []
    ready = False
    for fd, events, _ in entries:
        if fd < 0:
            found.append(0)
            continue
        file = files.get(fd)
        if file is None or file.flags & O_PATH:
            found.append(POLLNVAL)
            ready = True
            continue
        revents = file.poll(task) & (events | _ALWAYS)
        found.append(revents)
        if revents:
            ready = True
    return found if ready else None


def check_writable(task: Task, addr: int, length: int) -> None:
    """Raise EFAULT unless the guest may write all of ``[addr, addr + length)``."""
    end = addr + length
    if end > USER_END:
        raise LinuxError(EFAULT)
    vmas = task.mm.vmas
    vma = vmas.find(addr)
    while addr < end:
        if vma is None or not vma.prot & PROT_WRITE:
            raise LinuxError(EFAULT)
        addr = vma.end
        vma = vmas.find(addr)


def _write_back(task: Task, addr: int, entries: list[tuple[int, int, int]], found: list[int] | None) -> int:
    """Write the returned events where they differ from what stands there; how many entries have any.

    Raises EFAULT where they can't be written, whether or not they differ.
    """
    count = 0
    space = task.mm.space
    check_writable(task, addr, 8 * len(entries))
    at = addr + 6
    for index, entry in enumerate(entries):
        revents = found[index] if found is not None else 0
        if revents:
            count += 1
        if revents != entry[2] and space.write(at, revents.to_bytes(2, "little")) != 2:
            raise LinuxError(EFAULT)
        at += 8
    return count


def do_poll(task: Task, addr: int, count: int, deadline: int | None, now: bool) -> Result:
    """Poll ``count`` entries at ``addr`` until ``deadline`` (monotonic ns, None: for ever); ``now``: only
    look."""
    if count > task.limit(RLIMIT_NOFILE):
        raise LinuxError(EINVAL)
    raw = task.mm.copy_in(addr, 8 * count)
    if count == 1:
        entries = [POLLFD.unpack(raw)]
    else:
        entries = list(POLLFD.iter_unpack(raw))
    found = _scan(task, entries)
    if now or found is not None:
        return _write_back(task, addr, entries, found)
    return _wait(task, addr, entries, deadline)


async def _wait(task: Task, addr: int, entries: list[tuple[int, int, int]], deadline: int | None) -> int:
    """Sleep on every file until one has something to tell; the files stay open meanwhile."""
    files: list[tuple[File, int]] = []
    for fd, events, _ in entries:
        file = task.files.files.get(fd) if fd >= 0 else None
        if file is not None:
            files.append((file.get(), events | _ALWAYS))
    try:
        queues = [(queue, events) for file, events in files if (queue := file.wait_queue()) is not None]
        # The set was scanned before this coroutine first ran, in the same turn of the loop.
        while await task.wait_any(queues, deadline):
            found = _scan_held(task, entries, files)
            if found is not None:
                return _write_back(task, addr, entries, found)
    except Interrupted:
        _write_back(task, addr, entries, None)
        raise
    finally:
        for file, _ in files:
            file.put()
    return _write_back(task, addr, entries, _scan_held(task, entries, files))


def _scan_held(
    task: Task, entries: list[tuple[int, int, int]], files: list[tuple[File, int]]
) -> list[int] | None:
    """As ``_scan``, over the files that the descriptors meant when the call began."""
    held = iter(files)
    found = []
    ready = False
    for fd, _, _ in entries:
        revents = 0
        if fd >= 0:
            file, mask = next(held)
            revents = file.poll(task) & mask
        found.append(revents)
        if revents:
            ready = True
    return found if ready else None


@syscall(7)
def poll(task: Task, fds: InOutPollfds, nfds: UInt, timeout: Int) -> Result:
    """poll(2). Broken off by a signal without a handler it goes on to the end of its time."""
    if timeout < 0:
        deadline = None
    else:
        deadline = monotonic_ns() + timeout * 1_000_000 if timeout else 0
    result = do_poll(task, fds, nfds, deadline, timeout == 0)
    if isinstance(result, int):
        return result
    return _restartable(result, fds, nfds, deadline)


async def _restartable(call: Coroutine[Any, Any, int], addr: int, count: int, deadline: int | None) -> int:
    try:
        return await call
    except Interrupted as interrupted:
        raise Restart(_poll_again(addr, count, deadline)) from interrupted


def _poll_again(addr: int, count: int, deadline: int | None) -> Callable[[Task], Result]:
    """What restart_syscall(2) does for poll (do_restart_poll)."""

    def again(task: Task) -> Result:
        result = do_poll(task, addr, count, deadline, False)
        return result if isinstance(result, int) else _restartable(result, addr, count, deadline)

    return again


@syscall(271)
def ppoll(
    task: Task, fds: InOutPollfds, nfds: UInt, timeout: InTimespec, mask: InSigset, sigsetsize: Size
) -> Result:  # fmt: skip
    """ppoll(2); the time left is written back to ``timeout``, as Linux does and glibc hides."""
    ns = copy_in_timespec(task, timeout) if timeout else None
    blocked = copy_in_sigset(task, mask, sigsetsize)
    return timed_call(
        task, ns, timeout, pack_timespec, blocked,
        lambda deadline, now: do_poll(task, fds, nfds, deadline, now),
    )  # fmt: skip


def timed_call(
    task: Task, ns: int | None, addr: int, pack: Callable[[int], bytes], mask: int | None,
    call: Callable[[int | None, bool], Result],
) -> Result:  # fmt: skip
    """Run ``call(deadline, now)`` of ppoll, select or pselect for ``ns`` from now (None: for ever) under the
    signal ``mask``; then write the time left to ``addr`` (poll_select_finish)."""
    deadline = None if ns is None else monotonic_ns() + ns
    result = with_mask(task, mask, call, deadline, ns == 0)
    if isinstance(result, int):
        if ns:
            assert deadline is not None
            _write_time_left(task, addr, deadline, pack)
        return result
    return _finish_timed(task, result, addr if ns else 0, deadline, pack)


async def _finish_timed(
    task: Task, call: Coroutine[Any, Any, int], addr: int, deadline: int | None, pack: Callable[[int], bytes]
) -> int:
    try:
        result = await call
    except Interrupted as interrupted:
        if addr and deadline is not None and not _write_time_left(task, addr, deadline, pack):
            # Made again, the call would wait its whole time once more.
            from errno import EINTR

            raise LinuxError(EINTR) from interrupted
        raise Restart(None) from interrupted
    if addr and deadline is not None:
        _write_time_left(task, addr, deadline, pack)
    return result


def _write_time_left(task: Task, addr: int, deadline: int, pack: Callable[[int], bytes]) -> bool:
    """False if it can't be written, which is no error: the struct may be constant."""
    data = pack(max(deadline - monotonic_ns(), 0))
    return task.mm.space.write(addr, data) == len(data)
