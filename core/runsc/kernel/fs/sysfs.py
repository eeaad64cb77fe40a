"""/sys: what libraries and tools ask of the machine: CPUs, memory settings, the loopback interface
(sysfs(5)).

The host's values are read at boot, through an allow-list of files; nothing here can be written.
"""

from __future__ import annotations

import os

from runsc.kernel.fs.proc.hostfacts import host_facts
from runsc.kernel.fs.proc.node import ProcDir, ProcFile, ProcFs, ProcLink
from runsc.kernel.fs.proc.status import cpu_list, cpu_mask
from runsc.kernel.vfs.inode import StatFs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task

SYSFS_MAGIC = 0x62656572
_CPU = "devices/system/cpu"
_HUGE = "kernel/mm/transparent_hugepage"

#: Files that are copied from the host for each CPU, below its directory.
_CPU_FILES = (
    "topology/core_cpus",
    "topology/core_cpus_list",
    "topology/core_id",
    "topology/core_siblings",
    "topology/core_siblings_list",
    "topology/die_id",
    "topology/package_cpus",
    "topology/package_cpus_list",
    "topology/physical_package_id",
    "topology/thread_siblings",
    "topology/thread_siblings_list",
    "cpufreq/cpuinfo_max_freq",
    "cpufreq/cpuinfo_min_freq",
)
_CACHE_FILES = (
    "coherency_line_size",
    "id",
    "level",
    "number_of_sets",
    "physical_line_partition",
    "shared_cpu_list",
    "shared_cpu_map",
    "size",
    "type",
    "ways_of_associativity",
)
#: Files that are copied from the host as they are, if it has them.
_PLAIN_FILES = (
    f"{_CPU}/kernel_max",
    f"{_CPU}/smt/active",
    f"{_CPU}/smt/control",
    f"{_HUGE}/defrag",
    f"{_HUGE}/enabled",
    f"{_HUGE}/hpage_pmd_size",
    f"{_HUGE}/khugepaged/defrag",
    f"{_HUGE}/khugepaged/max_ptes_none",
    f"{_HUGE}/shmem_enabled",
    f"{_HUGE}/use_zero_page",
)
#: Directories that are there and empty.
_EMPTY = ("block", "bus", "class/net", "dev/block", "dev/char", "firmware", "fs/cgroup", "module", "power")

#: The loopback interface, as Linux makes it.
_LOOPBACK = {
    "addr_len": "6",
    "address": "00:00:00:00:00:00",
    "broadcast": "00:00:00:00:00:00",
    "carrier": "1",
    "flags": "0x9",
    "ifindex": "1",
    "iflink": "1",
    "mtu": "65536",
    "operstate": "unknown",
    "tx_queue_len": "1000",
    "type": "772",
}


class SysFs(ProcFs):
    """A sysfs: a tree of files with fixed text."""

    __slots__ = ()

    def statfs(self) -> StatFs:
        return StatFs(SYSFS_MAGIC)


def read_host(cpus: tuple[int, ...]) -> dict[str, bytes]:
    """The files of the host's /sys that guests may see, by their path below it."""
    found: dict[str, bytes] = {}
    for path in _PLAIN_FILES:
        _copy(path, found)
    vulnerabilities = f"{_CPU}/vulnerabilities"
    for name in _list(vulnerabilities):
        _copy(f"{vulnerabilities}/{name}", found)
    for cpu in cpus:
        for name in _CPU_FILES:
            _copy(f"{_CPU}/cpu{cpu}/{name}", found)
        for index in _list(f"{_CPU}/cpu{cpu}/cache"):
            if index.startswith("index") and index[5:].isdigit():
                for name in _CACHE_FILES:
                    _copy(f"{_CPU}/cpu{cpu}/cache/{index}/{name}", found)
    for node in _list("devices/system/node"):
        if node == "node0":
            for name in ("distance", "meminfo"):
                _copy(f"devices/system/node/{node}/{name}", found)
    return found


def _list(path: str) -> list[str]:
    try:
        return sorted(os.listdir(f"/sys/{path}"))
    except OSError:
        return []


def _copy(path: str, found: dict[str, bytes]) -> None:
    try:
        with open(f"/sys/{path}", "rb") as file:
            found[path] = file.read(4096)
    except OSError:
        return  # the host hasn't this one: neither has the guest


def make_sysfs(kernel: Kernel) -> SysFs:
    """A sysfs with what the host told at boot."""
    facts = host_facts(kernel)
    if not facts.sys:
        facts.sys = read_host(kernel.cpus)
    fs = SysFs(kernel, "sysfs")
    root = ProcDir(fs, 0o555, 1)
    fs.root_inode = root
    files = dict(facts.sys)
    cpus = (cpu_list(list(kernel.cpus)) + "\n").encode()
    for name in ("online", "possible", "present"):
        files[f"{_CPU}/{name}"] = cpus
    files[f"{_CPU}/offline"] = files[f"{_CPU}/isolated"] = b"\n"
    for name in ("online", "possible", "has_cpu", "has_memory", "has_normal_memory"):
        files[f"devices/system/node/{name}"] = b"0\n"
    files["devices/system/node/node0/cpulist"] = cpus
    mask = sum(1 << cpu for cpu in kernel.cpus)
    files["devices/system/node/node0/cpumap"] = cpu_mask(mask, mask.bit_length()).encode() + b"\n"
    for name, value in _LOOPBACK.items():
        files[f"devices/virtual/net/lo/{name}"] = value.encode() + b"\n"
    for path, text in sorted(files.items()):
        directory, name = os.path.split(path)
        _directory(fs, root, directory).add(name, ProcFile(fs, _constant(text)))
    for path in (*_EMPTY, *(f"{_CPU}/cpu{cpu}" for cpu in kernel.cpus)):
        _directory(fs, root, path)
    _directory(fs, root, "class/net").add("lo", ProcLink(fs, _target(b"../../devices/virtual/net/lo")))
    return fs


def _directory(fs: ProcFs, root: ProcDir, path: str) -> ProcDir:
    """The directory ``path``, made if it isn't there."""
    at = root
    for name in path.split("/"):
        found = at.entries.get(name.encode())
        if found is None:
            found = ProcDir(fs, 0o755)
            at.add(name, found)
        assert isinstance(found, ProcDir)
        at = found
    return at


def _constant(text: bytes) -> Callable[[Task], bytes]:
    return lambda reader: text


def _target(text: bytes) -> Callable[[Task | None], bytes]:
    return lambda reader: text
