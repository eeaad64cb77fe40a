"""Printing the guest's system calls and signals the way strace(1) does."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.log import Log
    from runsc.strace.tracer import Tracer


def make_tracer(config: Config, log: Log) -> Tracer:
    """The tracer that --strace, --strace-syscalls and --strace-log-size ask for; raises RunscError for a name
    that is no system call's."""
    from runsc.errors import RunscError
    from runsc.kernel.syscalls.table import build_table
    from runsc.strace.tracer import Tracer, UnknownSyscall

    try:
        return Tracer(build_table(), log.strace, config.strace_syscalls, config.strace_log_size)
    except UnknownSyscall as error:
        raise RunscError(f"--strace-syscalls: {error}", "runsc syscalls lists their names") from None
