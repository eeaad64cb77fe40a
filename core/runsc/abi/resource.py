"""Resource limits and usage (getrlimit(2), getrusage(2), getpriority(2); linux/resource.h)."""

from __future__ import annotations

from struct import Struct

#: struct rlimit, soft and hard: 64 bit each, as prlimit64(2) has them too.
RLIMIT = Struct("<QQ")
RLIM_NLIMITS = 16

RUSAGE_SELF = 0
RUSAGE_CHILDREN = -1
RUSAGE_THREAD = 1

PRIO_PROCESS = 0
PRIO_PGRP = 1
PRIO_USER = 2

#: struct rusage: user time, system time (seconds, microseconds each), maxrss (KiB), and 13 more counts.
RUSAGE = Struct("<18q")

#: Highest hard limit of descriptors (fs.nr_open).
NR_OPEN = 1048576


def pack_rusage(user_ns: int, system_ns: int, maxrss_kib: int = 0) -> bytes:
    """A struct rusage; what nobody counts (faults, switches, blocks) is 0."""
    user, system = user_ns // 1000, system_ns // 1000
    return RUSAGE.pack(
        user // 1_000_000, user % 1_000_000, system // 1_000_000, system % 1_000_000, maxrss_kib, *(0,) * 13
    )
