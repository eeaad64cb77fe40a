"""What proc and sysfs tell of the machine: read from the host at boot, before the sandbox is closed."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel

_MEMINFO = (
    "MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached", "Active", "Inactive",
    "Active(anon)", "Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable", "Mlocked",
    "SwapTotal", "SwapFree", "Dirty", "Writeback", "AnonPages", "Mapped", "Shmem", "KReclaimable",
    "Slab", "SReclaimable", "SUnreclaim", "KernelStack", "PageTables", "NFS_Unstable", "Bounce",
    "WritebackTmp", "CommitLimit", "Committed_AS", "VmallocTotal", "VmallocUsed", "VmallocChunk",
    "Percpu", "HardwareCorrupted", "AnonHugePages", "ShmemHugePages", "ShmemPmdMapped", "FileHugePages",
    "FilePmdMapped", "HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp",
    "Hugepagesize", "Hugetlb",
)  # fmt: skip


class HostFacts:
    """``cpuinfo``: /proc/cpuinfo of the CPUs that the sandbox may use; ``memory_fd``: the host's
    /proc/meminfo, kept open (-1 where there is none); ``sys``: files of the host's /sys, by path."""

    __slots__ = ("cpuinfo", "memory_fd", "sys")

    def __init__(self, cpus: tuple[int, ...]) -> None:
        self.cpuinfo = _select_cpus(_read("/proc/cpuinfo"), cpus)
        try:
            self.memory_fd = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.memory_fd = -1
        self.sys: dict[str, bytes] = {}

    def close(self) -> None:
        """Idempotent."""
        fd, self.memory_fd = self.memory_fd, -1
        if fd >= 0:
            os.close(fd)

    def memory(self) -> dict[str, int]:
        """The host's meminfo, in kB (HugePages_* count pages), in the order in which Linux prints it."""
        text = os.pread(self.memory_fd, 16384, 0).decode() if self.memory_fd >= 0 else ""
        found: dict[str, int] = {}
        for line in text.splitlines():
            name, _, rest = line.partition(":")
            words = rest.split()
            if words and words[0].isdigit():
                found[name] = int(words[0])
        if "MemTotal" not in found:
            page = os.sysconf("SC_PAGE_SIZE") // 1024
            found["MemTotal"] = os.sysconf("SC_PHYS_PAGES") * page
            found["MemFree"] = found["MemAvailable"] = os.sysconf("SC_AVPHYS_PAGES") * page
        return {name: found.get(name, 0) for name in _MEMINFO}

    def total_memory(self) -> int:
        """Bytes of memory."""
        return self.memory()["MemTotal"] * 1024


def host_facts(kernel: Kernel) -> HostFacts:
    """The kernel's one set of facts, read the first time."""
    facts: HostFacts | None = kernel.extra.get("host_facts")
    if facts is None:
        facts = kernel.extra["host_facts"] = HostFacts(kernel.cpus)
        kernel.closers.append(facts.close)
    return facts


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _select_cpus(text: str, cpus: tuple[int, ...]) -> str:
    """The blocks of the CPUs in ``cpus``, with the numbers that sched_getaffinity(2) has for them."""
    blocks = []
    for block in text.split("\n\n"):
        first, _, _rest = block.partition("\n")
        name, _, value = first.partition(":")
        if name.strip() == "processor" and value.strip().isdigit() and int(value) in cpus:
            blocks.append(block + "\n\n")
    return "".join(blocks) or text
