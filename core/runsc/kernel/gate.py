"""The way of a system call of a task that a tracer watches or a seccomp filter judges
(kernel/entry/common.c).

Such a task has ``Kernel.gated`` for its dispatch table, all of whose entries are ``gated``; for everybody
else nothing of this is in the way.
"""

from __future__ import annotations

from runsc.kernel.seccomp.filter import judge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.syscalls.decl import Result
    from runsc.kernel.task import Task

    Args = tuple[int, int, int, int, int, int]


def gated(task: Task, args: Args) -> Result:
    """Ask the tracer, then the filters, then make the call."""
    ptrace = task.ptrace
    if ptrace is not None and ptrace.watches_calls():
        return ptrace.traced_call(args)
    return filtered(task, args)


def filtered(task: Task, args: Args) -> Result:
    """Ask the filters, then make the call."""
    if task.seccomp_mode:
        answer = judge(task, args)
        if answer is not None:
            return answer
    return call(task, args)


def call(task: Task, args: Args) -> Result:
    """Make the call."""
    kernel, number = task.kernel, task.syscall_nr
    table = kernel.table
    return table[number](task, args) if 0 <= number < len(table) else kernel.missing(task, args)
