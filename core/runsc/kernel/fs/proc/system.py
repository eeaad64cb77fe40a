"""Files about the whole system: meminfo, stat, uptime and their like (proc(5))."""

from __future__ import annotations

from time import monotonic_ns, time_ns

from runsc.kernel.fs.proc.hostfacts import host_facts
from runsc.kernel.fs.proc.status import TICK, state_of
from runsc.kernel.version import RELEASE, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel

_HUGE_PAGE_COUNTS = ("HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp")

FILESYSTEMS = (
    "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\tdevpts\nnodev\toverlay\nnodev\t9p\n"
)

DEVICES = (
    "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n128 ptm\n136 pts\n\n"
    "Block devices:\n"
)


def uptime_ns(kernel: Kernel) -> int:
    """How long the sandbox has been up."""
    return monotonic_ns() - kernel.boot_time_ns


def cpu_times(kernel: Kernel) -> tuple[int, int, int]:
    """(user, system, idle) ticks of all CPUs together: of the guest's processes, and the rest of the time."""
    user = system = 0
    init = kernel.init_group
    groups = {task.group for task in kernel.tasks.values()}
    for group in groups:
        more_user, more_system = group.cpu_time_ns()
        user += more_user + (group.child_cpu_ns if group is init else 0)
        system += more_system + (group.child_sys_ns if group is init else 0)
    total = uptime_ns(kernel) * len(kernel.cpus)
    return user // TICK, system // TICK, max(total - user - system, 0) // TICK


def show_meminfo(kernel: Kernel) -> str:
    """/proc/meminfo: the host's."""
    lines = []
    for name, value in host_facts(kernel).memory().items():
        label = name + ":"
        if name in _HUGE_PAGE_COUNTS:
            lines.append(f"{label:<16}{value:8}\n")
        elif name.startswith("Vmalloc"):
            lines.append(
                f"{label:<15}{value:>12} kB\n" if name == "VmallocTotal" else f"{label:<16}{value:8} kB\n"
            )
        else:
            lines.append(f"{label:<16}{value:8} kB\n")
    return "".join(lines)


def show_stat(kernel: Kernel) -> str:
    """/proc/stat: CPU time is the guest's; interrupts and switches aren't counted."""
    user, system, idle = cpu_times(kernel)
    cpus = kernel.cpus
    lines = [f"cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n"]
    for index, cpu in enumerate(cpus):
        # Which of them ran what isn't known: an even share, the first gets what is left over.
        shares = [
            part // len(cpus) + (part % len(cpus) if index == 0 else 0) for part in (user, system, idle)
        ]
        lines.append(f"cpu{cpu} {shares[0]} 0 {shares[1]} {shares[2]} 0 0 0 0 0 0\n")
    states = [state_of(task) for task in kernel.tasks.values()]
    booted = (time_ns() - uptime_ns(kernel)) // 1_000_000_000
    lines.append(
        f"intr 0\nctxt 0\nbtime {booted}\nprocesses {kernel.pid_ns.last}\n"
        f"procs_running {max(states.count('R'), 1)}\nprocs_blocked {states.count('D')}\n"
        "softirq 0 0 0 0 0 0 0 0 0 0 0\n"
    )
    return "".join(lines)


def show_uptime(kernel: Kernel) -> str:
    """/proc/uptime: since boot, and idle time of all CPUs, in seconds."""
    up = uptime_ns(kernel) // TICK
    idle = cpu_times(kernel)[2]
    return f"{up // 100}.{up % 100:02} {idle // 100}.{idle % 100:02}\n"


def show_loadavg(kernel: Kernel) -> str:
    """/proc/loadavg: averages aren't kept; runnable and existing tasks, and the last process id."""
    states = [state_of(task) for task in kernel.tasks.values()]
    return f"0.00 0.00 0.00 {max(states.count('R'), 1)}/{len(states)} {kernel.pid_ns.last}\n"


def show_version(kernel: Kernel) -> str:
    return f"Linux version {RELEASE} (runsc@runsc) (Python) {VERSION}\n"


def show_vmstat(kernel: Kernel) -> str:
    """/proc/vmstat: what can be told from meminfo, in pages; traffic isn't counted."""
    memory = host_facts(kernel).memory()
    pages = (
        ("nr_free_pages", "MemFree"),
        ("nr_inactive_anon", "Inactive(anon)"),
        ("nr_active_anon", "Active(anon)"),
        ("nr_inactive_file", "Inactive(file)"),
        ("nr_active_file", "Active(file)"),
        ("nr_unevictable", "Unevictable"),
        ("nr_slab_reclaimable", "SReclaimable"),
        ("nr_slab_unreclaimable", "SUnreclaim"),
        ("nr_anon_pages", "AnonPages"),
        ("nr_mapped", "Mapped"),
        ("nr_file_pages", "Cached"),
        ("nr_dirty", "Dirty"),
        ("nr_writeback", "Writeback"),
        ("nr_shmem", "Shmem"),
        ("nr_page_table_pages", "PageTables"),
    )
    text = "".join(f"{name} {memory[key] // 4}\n" for name, key in pages)
    counters = ("pgpgin", "pgpgout", "pswpin", "pswpout", "pgfault", "pgmajfault", "oom_kill")
    return text + "".join(f"{name} 0\n" for name in counters)


def show_cpuinfo(kernel: Kernel) -> str:
    return host_facts(kernel).cpuinfo


def show_cgroups(kernel: Kernel) -> str:
    return "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
