"""io_setup(2), io_submit(2), io_getevents(2), io_pgetevents(2), io_cancel(2), io_destroy(2) (fs/aio.c)."""

from __future__ import annotations

from errno import EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EOPNOTSUPP
from time import monotonic_ns

from runsc.abi.fcntl import O_APPEND
from runsc.abi.poll import POLLERR, POLLHUP
from runsc.kernel.aio import IOCB, AioContext, AioPoll, in_use
from runsc.kernel.clock import copy_in_timespec
from runsc.kernel.errors import Interrupted, LinuxError, WouldBlock
from runsc.kernel.fs.eventfd import EventFd
from runsc.kernel.io import check_range, import_vector, pread_vector, pwrite_vector, read_vector, write_vector
from runsc.kernel.mm.vma import MAP_PRIVATE, PROT_READ, PROT_WRITE
from runsc.kernel.sigmask import copy_in_sigset, with_mask
from runsc.kernel.syscalls.decl import InTimespec, Long, Ptr, UInt, ULong, syscall
from runsc.kernel.tunables import tunables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task
    from runsc.kernel.vfs.file import File

_PREAD, _PWRITE, _FSYNC, _FDSYNC = range(4)
_POLL = 5
_PREADV, _PWRITEV = 7, 8
_FLAG_RESFD = 1
_RWF_DSYNC, _RWF_SYNC = 2, 4
_RWF_KNOWN = 0x1F
_PAGE = 4096
_EVENT_SIZE = 32
_LONG_MAX = 0x7FFFFFFFFFFFFFFF


def _context(task: Task, address: int) -> AioContext:
    found = task.mm.aio.get(address) if task.mm.aio is not None else None
    if found is None:
        raise LinuxError(EINVAL)
    return found


@syscall(206)
def io_setup(task: Task, nr_events: UInt, ctxp: Ptr) -> int:
    """io_setup(2)."""
    mm = task.mm
    if mm.read_u64(ctxp) or not nr_events or nr_events > 0x10000000:
        raise LinuxError(EINVAL)
    if in_use(task.kernel) + nr_events > tunables(task.kernel).aio_max_nr:
        raise LinuxError(EAGAIN)
    length = (32 + nr_events * _EVENT_SIZE + _PAGE - 1) & -_PAGE
    address = mm.place(0, length)
    mm.map(address, length, PROT_READ | PROT_WRITE, MAP_PRIVATE, None, 0, "/[aio] (deleted)")
    try:
        mm.write_u64(ctxp, address)
    except LinuxError:
        mm.unmap(address, length)
        raise
    if mm.aio is None:
        mm.aio = {}
    mm.aio[address] = AioContext(nr_events, max(nr_events, 4 * len(task.kernel.cpus)) * 2)
    return 0


@syscall(207)
def io_destroy(task: Task, ctx: ULong) -> int:
    """io_destroy(2)."""
    context = _context(task, ctx)
    assert task.mm.aio is not None
    del task.mm.aio[ctx]
    context.release()
    vma = task.mm.vmas.find(ctx)
    if vma is not None and vma.start == ctx and vma.name.startswith("/[aio]"):
        task.mm.unmap(vma.start, vma.end - vma.start)
    return 0


@syscall(209)
def io_submit(task: Task, ctx: ULong, nr: Long, iocbpp: Ptr) -> int:
    """io_submit(2): how many were taken; the error of the first."""
    if nr < 0:
        raise LinuxError(EINVAL)
    context = _context(task, ctx)
    done = 0
    try:
        while done < min(nr, context.limit):
            _submit(task, context, task.mm.read_u64(iocbpp + 8 * done))
            done += 1
    except LinuxError:
        if not done:
            raise
    return done


def _submit(task: Task, context: AioContext, addr: int) -> None:
    mm = task.mm
    data, _key, rw_flags, opcode, _prio, fd, buf, nbytes, offset, reserved, flags, resfd = mm.unpack(
        addr, IOCB
    )
    if reserved or nbytes > _LONG_MAX:
        raise LinuxError(EINVAL)
    if context.full():
        raise LinuxError(EAGAIN)
    file = task.files.get((fd ^ 0x80000000) - 0x80000000)
    eventfd: File | None = None
    if flags & _FLAG_RESFD:
        eventfd = task.files.get((resfd ^ 0x80000000) - 0x80000000)
        if not isinstance(eventfd, EventFd):
            raise LinuxError(EINVAL)
    mm.write_u32(addr + 8, 0)
    if opcode == _POLL:
        if buf > 0xFFFF or offset or nbytes or rw_flags:
            raise LinuxError(EINVAL)
        events = buf | POLLERR | POLLHUP
        ready = file.poll(task) & events
        if ready or file.wait_queue() is None:
            context.complete(task, data, addr, ready, eventfd)
        else:
            AioPoll(context, file, events, data, addr, eventfd)
        return
    if opcode in (_FSYNC, _FDSYNC):
        if buf or offset or nbytes or rw_flags:
            raise LinuxError(EINVAL)
        if not file.is_regular:
            raise LinuxError(EINVAL)
        context.complete(task, data, addr, _synchronise(file, opcode == _FDSYNC), eventfd)
        return
    if opcode not in (_PREAD, _PWRITE, _PREADV, _PWRITEV):
        raise LinuxError(EINVAL)
    if rw_flags & ~_RWF_KNOWN:
        raise LinuxError(EOPNOTSUPP)
    reads = opcode in (_PREAD, _PREADV)
    if not (file.readable() if reads else file.writable()):
        raise LinuxError(EBADF)
    if file.inode.is_dir():
        raise LinuxError(EINVAL)
    if opcode in (_PREAD, _PWRITE):
        count = check_range(buf, nbytes)
        entries, total = [(buf, count)], count
    else:
        entries, total = import_vector(task, buf, nbytes)
    if offset < 0 and file.seekable:
        raise LinuxError(EINVAL)
    result = _transfer(task, file, reads, entries, total, offset)
    if not reads and rw_flags & (_RWF_DSYNC | _RWF_SYNC) and result > 0 and file.is_regular:
        _synchronise(file, not rw_flags & _RWF_SYNC)
    context.complete(task, data, addr, result, eventfd)


def _synchronise(file: File, datasync: bool) -> int:
    try:
        file.fsync(datasync)
    except (LinuxError, OSError) as error:
        return -(error.errno or 5)
    return 0


def _transfer(
    task: Task, file: File, reads: bool, entries: list[tuple[int, int]], total: int, offset: int
) -> int:
    """Read or write now; the result of the event. What would have to wait answers EAGAIN."""
    try:
        if file.seekable:
            move = pread_vector if reads else pwrite_vector
            if not reads and file.flags & O_APPEND:
                file.inode.refresh()
            return move(task, file, entries, total, offset)
        stream = read_vector if reads else write_vector
        result = stream(task, file, entries, total, True)
        assert isinstance(result, int)
        return result
    except WouldBlock:
        return -EAGAIN
    except (LinuxError, OSError) as error:
        return -(error.errno or 5)


@syscall(210)
def io_cancel(task: Task, ctx: ULong, iocb: Ptr, result: Ptr) -> int:
    """io_cancel(2): only polls can be; EINPROGRESS means that it was."""
    key = task.mm.read_u32(iocb + 8)
    if key:
        raise LinuxError(EINVAL)
    for poll in _context(task, ctx).polls:
        if poll.iocb == iocb:
            poll.cancel()
    raise LinuxError(EINVAL)


@syscall(208)
def io_getevents(
    task: Task, ctx: ULong, min_nr: Long, nr: Long, events: Ptr, timeout: InTimespec
) -> Result:
    """io_getevents(2)."""
    limit = copy_in_timespec(task, timeout) if timeout else None
    return _get_events(task, ctx, min_nr, nr, events, limit)


@syscall(333)
def io_pgetevents(
    task: Task, ctx: ULong, min_nr: Long, nr: Long, events: Ptr, timeout: InTimespec, usig: Ptr
) -> Result:
    """io_pgetevents(2): with a signal mask for the time of the call."""
    limit = copy_in_timespec(task, timeout) if timeout else None
    mask = None
    if usig:
        raw = task.mm.copy_in(usig, 16)
        mask = copy_in_sigset(task, int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little"))
    return with_mask(task, mask, _get_events, task, ctx, min_nr, nr, events, limit)


def _get_events(task: Task, ctx: int, least: int, most: int, addr: int, limit: int | None) -> Result:
    context = _context(task, ctx)
    if not 0 <= least <= most:
        raise LinuxError(EINVAL)
    done = _reap(task, context, most, addr)
    if done >= least or limit == 0:
        return done
    return _wait_for_events(task, context, least, most, addr, done, limit)


def _reap(task: Task, context: AioContext, most: int, addr: int) -> int:
    """Hand over up to ``most`` events; raises EFAULT if not even one can be."""
    done = 0
    while context.events and done < most:
        try:
            task.mm.copy_out(addr + done * _EVENT_SIZE, context.events[0])
        except LinuxError:
            if not done:
                raise LinuxError(EFAULT) from None
            break
        context.events.popleft()
        done += 1
    return done


async def _wait_for_events(
    task: Task, context: AioContext, least: int, most: int, addr: int, done: int, limit: int | None
) -> int:
    deadline = None if limit is None else monotonic_ns() + limit
    while done < least:
        try:
            woken = await task.wait(context.queue, deadline=deadline)
        except Interrupted:
            if done:
                return done
            raise LinuxError(EINTR) from None
        if context.released:
            if done:
                return done
            raise LinuxError(EINVAL)
        done += _reap(task, context, most - done, addr + done * _EVENT_SIZE)
        if not woken:
            break
    return done
