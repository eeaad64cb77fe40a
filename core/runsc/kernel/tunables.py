"""Settings of the whole kernel that /proc/sys changes and that take effect (sysctl(8))."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel

#: vm.overcommit_memory
OVERCOMMIT_GUESS, OVERCOMMIT_ALWAYS, OVERCOMMIT_NEVER = range(3)


class Tunables:
    """Names as in /proc/sys, without the directory."""

    __slots__ = (
        "aio_max_nr", "file_max", "lease_break_time", "leases_enable", "max_dgram_qlen", "max_map_count",
        "nr_open", "overcommit_kbytes", "overcommit_memory", "overcommit_ratio", "pipe_max_size",
        "rmem_default", "rmem_max", "somaxconn", "threads_max", "wmem_default", "wmem_max",
    )  # fmt: skip

    def __init__(self) -> None:
        self.max_map_count = 65530
        self.overcommit_memory = OVERCOMMIT_GUESS
        self.overcommit_ratio = 50
        self.overcommit_kbytes = 0
        self.aio_max_nr = 65536
        self.file_max = 0x7FFFFFFFFFFFFFFF
        self.nr_open = 1048576
        self.pipe_max_size = 1048576
        self.lease_break_time = 45
        self.leases_enable = 1
        self.max_dgram_qlen = 10
        self.somaxconn = 4096
        self.threads_max = 60000
        self.rmem_default = self.rmem_max = self.wmem_default = self.wmem_max = 212992


def tunables(kernel: Kernel) -> Tunables:
    """The kernel's settings."""
    found: Tunables | None = kernel.extra.get("tunables")
    if found is None:
        found = kernel.extra["tunables"] = Tunables()
    return found
