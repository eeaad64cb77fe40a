"""Names of error numbers (errno(3)), and of what becomes of calls that a signal broke off (linux/errno.h)."""

from __future__ import annotations

import errno

ERESTARTSYS = 512
ERESTARTNOINTR = 513
ERESTARTNOHAND = 514
ERESTART_RESTARTBLOCK = 516

#: number -> name. Where one number has two names, the one that Linux itself defines it by.
NAMES: dict[int, str] = {
    **errno.errorcode,
    errno.EAGAIN: "EAGAIN",
    errno.EDEADLK: "EDEADLK",
    errno.EOPNOTSUPP: "EOPNOTSUPP",
    133: "EHWPOISON",
}

#: What becomes of a call that was broken off.
RESTARTS: dict[int, str] = {
    ERESTARTSYS: "ERESTARTSYS (To be restarted if SA_RESTART is set)",
    ERESTARTNOINTR: "ERESTARTNOINTR (To be restarted)",
    ERESTARTNOHAND: "ERESTARTNOHAND (To be restarted if no handler)",
    ERESTART_RESTARTBLOCK: "ERESTART_RESTARTBLOCK (Interrupted by signal)",
}
