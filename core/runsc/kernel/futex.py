"""Futexes (futex(7), kernel/futex/): who sleeps on which word.

The kernel has one thread: nothing can come between the look at a word and the sleep, except the guest's other
threads writing to the word itself; those then make a system call to wake, which is answered after the sleeper
is queued. Where the kernel writes to a word, it does so by compare-and-exchange.

A word's key is its place in the mapped file for a shared mapping, and its address in its address space
otherwise.
"""

from __future__ import annotations

from errno import EAGAIN, EDEADLK, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH

from runsc.abi.futex import (
    FUTEX_BITSET_MATCH_ANY,
    FUTEX_OP_ADD,
    FUTEX_OP_ANDN,
    FUTEX_OP_CMP_EQ,
    FUTEX_OP_CMP_GE,
    FUTEX_OP_CMP_GT,
    FUTEX_OP_CMP_LE,
    FUTEX_OP_CMP_LT,
    FUTEX_OP_CMP_NE,
    FUTEX_OP_OPARG_SHIFT,
    FUTEX_OP_OR,
    FUTEX_OP_SET,
    FUTEX_OP_XOR,
    FUTEX_OWNER_DIED,
    FUTEX_TID_MASK,
    FUTEX_WAITERS,
    ROBUST_LIST_HEAD,
    ROBUST_LIST_LIMIT,
)  # fmt: skip
from runsc.kernel.errors import LinuxError
from runsc.kernel.mm.usercopy import USER_END
from runsc.kernel.mm.vma import PROT_READ, PROT_WRITE
from runsc.kernel.task import WORK_DEAD
from runsc.platform import AddressSpaceGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task

    Key: TypeAlias = tuple[object, int]


class FutexWaiter:
    """A task asleep on a word (struct futex_q). ``woken``: somebody woke it, and it is queued no more.

    ``addr``: the word's address in the task's memory; ``owner``: of a priority-inheritance lock, the task
    that
    held it when this one came.
    """

    __slots__ = ("addr", "bitset", "key", "owner", "task", "woken")

    def __init__(
        self, task: Task, key: Key, addr: int, bitset: int = FUTEX_BITSET_MATCH_ANY, owner: Task | None = None
    ) -> None:
        self.task = task
        self.key = key
        self.addr = addr
        self.bitset = bitset
        self.owner = owner
        self.woken = False


class Futexes:
    """All sleepers of one kernel, by key, in the order in which they came."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: dict[Key, list[FutexWaiter]] = {}

    def add(self, waiter: FutexWaiter) -> None:
        queue = self.waiters.get(waiter.key)
        if queue is None:
            self.waiters[waiter.key] = [waiter]
        else:
            queue.append(waiter)

    def remove(self, waiter: FutexWaiter) -> None:
        """Take a sleeper out that gives up; nothing if it was woken."""
        queue = self.waiters.get(waiter.key)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self.waiters[waiter.key]

    def wake(self, key: Key, count: int, bitset: int = FUTEX_BITSET_MATCH_ANY) -> int:
        """Wake up to ``count`` (at least one) sleepers whose bit sets meet ``bitset``; how many. Raises
        EINVAL if
        one sleeps in FUTEX_LOCK_PI."""
        queue = self.waiters.get(key)
        if queue is None:
            return 0
        woken = 0
        for waiter in tuple(queue):
            if waiter.owner is not None:
                raise LinuxError(EINVAL)
            if not waiter.bitset & bitset:
                continue
            queue.remove(waiter)
            waiter.woken = True
            waiter.task.wake()
            woken += 1
            if woken >= count:
                break
        if not queue:
            del self.waiters[key]
        return woken

    def requeue(self, key: Key, target: Key, addr: int, wake: int, requeue: int) -> int:
        """Wake ``wake`` sleepers and let ``requeue`` more sleep on ``target`` instead; how many in all."""
        queue = self.waiters.get(key)
        if queue is None:
            return 0
        done = 0
        for waiter in tuple(queue):
            if done >= wake + requeue:
                break
            if waiter.owner is not None:
                raise LinuxError(EINVAL)
            done += 1
            if done <= wake:
                queue.remove(waiter)
                waiter.woken = True
                waiter.task.wake()
            elif key != target:
                queue.remove(waiter)
                waiter.key = target
                waiter.addr = addr
                self.add(waiter)
        if not queue:
            del self.waiters[key]
        return done

    # -- priority inheritance: the owner stands in the word -----------------------------------

    def lock_pi(self, task: Task, key: Key, addr: int, wait: bool) -> FutexWaiter | None:
        """Take the lock, or queue for it: None if ``task`` has it now. Raises EDEADLK, ESRCH, and EAGAIN
        if the lock
        is taken and not ``wait``."""
        queue = self.waiters.get(key, ())
        if queue and any(waiter.owner is None for waiter in queue):
            raise LinuxError(EINVAL)
        while True:
            word = task.mm.read_u32(addr)
            holder = word & FUTEX_TID_MASK
            if holder == task.vtid:
                raise LinuxError(EDEADLK)
            if not holder:
                new = task.vtid | word & FUTEX_OWNER_DIED | (FUTEX_WAITERS if queue else 0)
                if compare_exchange(task, addr, word, new):
                    return None
                continue
            owner = task.pid_ns.tasks.get(holder)
            if owner is None or owner.work & WORK_DEAD:
                raise LinuxError(ESRCH)
            if not wait:
                raise LinuxError(EAGAIN)
            if word & FUTEX_WAITERS or compare_exchange(task, addr, word, word | FUTEX_WAITERS):
                waiter = FutexWaiter(task, key, addr, owner=owner)
                self.add(waiter)
                return waiter

    def unlock_pi(self, task: Task, key: Key, addr: int) -> None:
        """Give the lock to the first who waits. Raises EPERM if ``task`` doesn't hold it."""
        while True:
            word = task.mm.read_u32(addr)
            if word & FUTEX_TID_MASK != task.vtid:
                raise LinuxError(EPERM)
            if self._hand_over(task, key, addr, word, 0):
                return

    def _hand_over(self, task: Task, key: Key, addr: int, word: int, bits: int) -> bool:
        """Put the next owner, or none, in a word that reads ``word``; False if it doesn't any more."""
        queue = self.waiters.get(key)
        if not queue:
            return compare_exchange(task, addr, word, bits)
        first = queue[0]
        if first.owner is None:
            raise LinuxError(EINVAL)
        more = FUTEX_WAITERS if len(queue) > 1 else 0
        if not compare_exchange(task, addr, word, first.task.vtid | bits | more):
            return False
        del queue[0]
        for waiter in queue:
            waiter.owner = first.task
        if not queue:
            del self.waiters[key]
        first.woken = True
        first.task.wake()
        return True

    def owner_died(self, task: Task) -> None:
        """Locks with waiters that ``task`` holds go to the next ones, marked FUTEX_OWNER_DIED
        (exit_pi_state_list)."""
        held = [(key, queue[0]) for key, queue in self.waiters.items() if queue[0].owner is task]
        for key, first in held:
            word = first.task.mm.read_u32(first.addr)
            while word & FUTEX_TID_MASK in (task.vtid, 0):
                if self._hand_over(first.task, key, first.addr, word, FUTEX_OWNER_DIED):
                    break
                word = first.task.mm.read_u32(first.addr)


def futexes(kernel: Kernel) -> Futexes:
    """The kernel's futexes."""
    found: Futexes | None = kernel.futexes
    if found is None:
        found = kernel.futexes = Futexes()
    return found


def key_of(task: Task, addr: int, private: bool, write: bool = False) -> Key:
    """The key of the word at ``addr``; raises EINVAL if it isn't aligned, EFAULT if it can't be a word of
    the guest's
    (get_futex_key). ``private``: the caller says that only its own process uses it."""
    mm = task.mm
    if addr & 3:
        raise LinuxError(EINVAL)
    if private:
        if addr > USER_END:
            raise LinuxError(EFAULT)  # access_ok: what is above our own end is not looked at
        return mm, addr
    if addr >= mm.space.task_size:
        raise LinuxError(EFAULT)
    vma = mm.vmas.find(addr)
    if vma is None or not vma.prot & (PROT_WRITE if write else PROT_READ | PROT_WRITE):
        raise LinuxError(EFAULT)
    if vma.file is None and not vma.prot & PROT_WRITE:
        raise LinuxError(EFAULT)  # memory of one's own that never changes makes no futex
    if vma.shared and vma.file is not None:
        return vma.file.inode, vma.offset + addr - vma.start
    return mm, addr


def compare_exchange(task: Task, addr: int, expected: int, new: int) -> bool:
    """Change the word at ``addr`` from ``expected`` to ``new``; False if it reads otherwise. Raises
    EFAULT."""
    try:
        return task.mm.space.compare_exchange(addr, expected, new) == expected
    except OSError:
        raise LinuxError(EFAULT) from None


def _signed(value: int, bits: int) -> int:
    top = 1 << (bits - 1)
    return ((value & ((1 << bits) - 1)) ^ top) - top


def wake_op(task: Task, addr: int, encoded: int) -> bool:
    """Do the operation of FUTEX_WAKE_OP on the word at ``addr``; how its comparison with the old value
    comes out.

    ``encoded``: operation, comparison and two 12-bit numbers, as FUTEX_OP() puts them together. Raises
    ENOSYS."""
    operation = encoded >> 28 & 7
    comparison = encoded >> 24 & 15
    argument = _signed(encoded >> 12, 12)
    if encoded >> 28 & FUTEX_OP_OPARG_SHIFT:
        argument = 1 << (argument & 31)
    if operation > FUTEX_OP_XOR or comparison > FUTEX_OP_CMP_GE:
        raise LinuxError(ENOSYS)
    while True:
        old = task.mm.read_u32(addr)
        if operation == FUTEX_OP_SET:
            new = argument
        elif operation == FUTEX_OP_ADD:
            new = old + argument
        elif operation == FUTEX_OP_OR:
            new = old | argument
        elif operation == FUTEX_OP_ANDN:
            new = old & ~argument
        else:
            new = old ^ argument
        if compare_exchange(task, addr, old, new & 0xFFFFFFFF):
            break
    value = _signed(old, 32)
    against = _signed(encoded, 12)
    if comparison == FUTEX_OP_CMP_EQ:
        return value == against
    if comparison == FUTEX_OP_CMP_NE:
        return value != against
    if comparison == FUTEX_OP_CMP_LT:
        return value < against
    if comparison == FUTEX_OP_CMP_LE:
        return value <= against
    if comparison == FUTEX_OP_CMP_GT:
        return value > against
    return value >= against


# -- the end of a task ----------------------------------------------------------------------------


def task_exit(task: Task) -> None:
    """What a task that ends, or execs, owes to others while its memory can still be reached: robust locks,
    locks with priority inheritance, and the word that pthread_join(3) waits on. Never raises."""
    try:
        if task.robust_list[0]:
            exit_robust_list(task)
        if futexes(task.kernel).waiters:
            futexes(task.kernel).owner_died(task)
        if task.clear_child_tid:
            wake_clear_child_tid(task)
    except (LinuxError, OSError, AddressSpaceGone) as error:
        task.kernel.log.debug(f"{task!r}: its memory can't be reached at exit: {error!r}")


def wake_clear_child_tid(task: Task) -> None:
    """Write 0 to the address of set_tid_address(2) and wake who waits there, if the memory has other users
    (mm_release)."""
    addr, task.clear_child_tid = task.clear_child_tid, 0
    if not addr or task.mm.users <= 1:
        return
    task.mm.space.write(addr, bytes(4))
    if not addr & 3 and task.mm.vmas.find(addr) is not None:
        futexes(task.kernel).wake(key_of(task, addr, False), 1)


def exit_robust_list(task: Task) -> None:
    """Walk the list of locks that the task holds; each is marked FUTEX_OWNER_DIED and one sleeper woken.

    The list is the guest's: it may be a loop or end anywhere. Raises LinuxError where it can't be read."""
    head, _length = task.robust_list
    task.robust_list = (0, 0)
    mm = task.mm
    entry, offset, pending = mm.unpack(head, ROBUST_LIST_HEAD)
    for _ in range(ROBUST_LIST_LIMIT):
        at = entry & ~1
        if at == head:
            break
        following = mm.read_u64(at)
        if at != pending & ~1 and not _lock_holder_died(task, at + offset, bool(entry & 1), False):
            return
        entry = following
    if pending & ~1:
        _lock_holder_died(task, (pending & ~1) + offset, bool(pending & 1), True)


def _lock_holder_died(task: Task, addr: int, pi: bool, pending: bool) -> bool:
    """handle_futex_death. False: the walk is to end."""
    addr &= 0xFFFFFFFFFFFFFFFF
    if addr & 3:
        return False
    while True:
        word = task.mm.read_u32(addr)
        if pending and not pi and not word:
            # It was between the unlock and the wake-up.
            futexes(task.kernel).wake(key_of(task, addr, False), 1)
            return True
        if word & FUTEX_TID_MASK != task.vtid:
            return True
        if compare_exchange(task, addr, word, word & FUTEX_WAITERS | FUTEX_OWNER_DIED):
            break
    if not pi and word & FUTEX_WAITERS:
        futexes(task.kernel).wake(key_of(task, addr, False), 1)
    return True
