"""What a process is doing: stat, status, statm and the one-line files (proc(5), fs/proc/array.c)."""

from __future__ import annotations

from os import major, minor

from runsc.abi.signal import NSIG, SIG_DFL, SIG_IGN
from runsc.kernel.fs.proc.access import may_access
from runsc.kernel.mm.vma import PAGE, PROT_EXEC, PROT_WRITE
from runsc.kernel.thread_group import (
    RLIM_INFINITY,
    RLIMIT_RSS,
    RLIMIT_SIGPENDING,
)
from runsc.kernel.tty.tty import Tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.mm.mm import MemoryManager
    from runsc.kernel.pid import Pid, PidNamespace
    from runsc.kernel.task import Task

#: Nanoseconds of a clock tick (USER_HZ is 100).
TICK = 10_000_000

_STATE_NAMES = {
    "R": "R (running)",
    "S": "S (sleeping)",
    "D": "D (disk sleep)",
    "T": "T (stopped)",
    "t": "t (tracing stop)",
    "Z": "Z (zombie)",
    "X": "X (dead)",
}
_SCHED_FIFO, _SCHED_RR = 1, 2

_LIMIT_NAMES = (
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
)


def state_of(task: Task) -> str:
    """The state letter. A stopped process is that, whatever its threads were doing."""
    group = task.group
    if group.zombie:
        return "Z"
    if group.stopped:
        return "T"
    return task.state


def memory_of(task: Task) -> MemoryManager | None:
    """The task's memory, unless it has none any more."""
    return None if task.group.zombie or task.mm.released else task.mm


def signal_sets(task: Task) -> tuple[int, int]:
    """The sets of ignored and of caught signals."""
    ignored = caught = 0
    for signo in range(1, NSIG + 1):
        handler = task.sighand.actions[signo].handler
        if handler == SIG_IGN:
            ignored |= 1 << (signo - 1)
        elif handler != SIG_DFL:
            caught |= 1 << (signo - 1)
    return ignored, caught


def parent_pid(task: Task, ns: PidNamespace) -> int:
    parent = task.group.parent
    return parent.leader.pid.nr(ns) if parent is not None else 0


def levels(pid: Pid, ns: PidNamespace) -> str:
    """The numbers of ``pid`` from ``ns`` down to its own namespace, each after a tabulator."""
    if not pid.nr(ns):
        return "\t0"
    return "".join(f"\t{number}" for number in pid.numbers[ns.level :])


def start_ticks(task: Task, thread: bool) -> int:
    """When it began, in ticks since boot."""
    began = task.start_time if thread else task.group.start_time
    return max(began - task.kernel.boot_time_ns, 0) // TICK


def printable(comm: bytes) -> str:
    """A name as status shows it: newlines and backslashes are escaped."""
    return comm.decode("utf-8", "surrogateescape").replace("\\", "\\\\").replace("\n", "\\n")


class MemoryFigures:
    """Sizes in kB. How what is resident divides into file pages and others isn't known to the kernel:
    file pages are counted as far as the file areas reach, the rest is anonymous."""

    __slots__ = ("data", "exe", "lib", "locked", "resident", "resident_file", "size", "stack")

    def __init__(self, mm: MemoryManager) -> None:
        files = code = 0
        self.data = self.stack = self.locked = 0
        total = 0
        for vma in mm.vmas:
            pages = vma.end - vma.start
            total += pages
            if vma.file is not None:
                files += pages
            if vma.locked:
                self.locked += pages // 1024
            if vma.prot & PROT_EXEC and not vma.prot & PROT_WRITE:
                code += pages
            elif vma.start <= mm.stack_start <= vma.end or vma.grows_down:
                self.stack += pages // 1024
            elif vma.prot & PROT_WRITE and not vma.shared:
                self.data += pages // 1024
        text = _pages_up(mm.end_code) - (mm.start_code & -PAGE)
        self.exe = min(text, code) // 1024
        self.lib = (code - min(text, code)) // 1024
        self.size = total // 1024
        self.resident = min(mm.space.resident_bytes(), total) // 1024
        self.resident_file = min(self.resident, files // 1024)


def _pages_up(value: int) -> int:
    return (value + PAGE - 1) & -PAGE


def show_stat(target: Task, reader: Task, ns: PidNamespace, thread: bool = False) -> str:
    """/proc/PID/stat (``thread``: /proc/PID/task/TID/stat) with the ids of ``ns``. Addresses are 0
    for who may not look into the process."""
    group = target.group
    allowed = may_access(reader, target)
    mm = memory_of(target)
    user, system = target.thread.cpu_time_ns() if thread else group.cpu_time_ns()
    tty = group.session.tty
    tty_nr, tty_pgrp = 0, -1
    if isinstance(tty, Tty):
        number = tty.rdev
        tty_nr = minor(number) & 0xFF | major(number) << 8 | (minor(number) & ~0xFF) << 12
        tty_pgrp = tty.foreground.pid.nr(ns) if tty.foreground is not None else -1
    ignored, caught = signal_sets(target)
    realtime = target.policy in (_SCHED_FIFO, _SCHED_RR)
    priority = -1 - target.sched_priority if realtime else 20 + target.nice
    rss_limit = group.limits[RLIMIT_RSS][0]
    addresses = mm is not None and allowed
    fields: list[int | str] = [
        (target if thread else group.leader).pid.nr(ns),
        f"({target.comm.decode('utf-8', 'surrogateescape')})",
        state_of(target),
        parent_pid(target, ns),
        group.process_group.pid.nr(ns),
        group.session.pid.nr(ns),
        tty_nr,
        tty_pgrp,
        0x400000,  # PF_RANDOMIZE
        0, 0, 0, 0,  # page faults are the host's business
        user // TICK,
        system // TICK,
        0 if thread else group.child_cpu_ns // TICK,
        0 if thread else group.child_sys_ns // TICK,
        priority,
        0 if realtime else target.nice,
        len(group.tasks) if not group.zombie else 1,
        0,
        start_ticks(target, thread),
        mm.virtual_bytes() if mm is not None else 0,
        mm.space.resident_bytes() // PAGE if mm is not None else 0,
        rss_limit,
    ]  # fmt: skip
    if mm is not None and addresses:
        fields += [mm.start_code, mm.end_code, mm.stack_start, 0, 0]
    else:
        fields += [1 if mm is not None else 0, 1 if mm is not None else 0, 0, 0, 0]
    fields += [
        target.pending.pending & 0x7FFFFFFF,
        target.blocked & 0x7FFFFFFF,
        ignored & 0x7FFFFFFF,
        caught & 0x7FFFFFFF,
        0, 0, 0,
        group.exit_signal if not thread else -1,
        0,  # the processor it last ran on
        target.sched_priority,
        target.policy,
        0, 0, 0,
    ]  # fmt: skip
    if mm is not None and addresses:
        fields += [
            mm.start_data, mm.end_data, mm.brk_start, mm.arg_start, mm.arg_end, mm.env_start, mm.env_end,
        ]  # fmt: skip
    else:
        fields += [0] * 7
    fields.append(group.exit_code if allowed and group.zombie else 0)
    return " ".join(map(str, fields)) + "\n"


def cpu_mask(mask: int, count: int) -> str:
    """A CPU mask in groups of 32 bits, as long as the number of CPUs asks."""
    digits = max((count + 3) // 4, 1)
    text = f"{mask:0{digits}x}"
    groups = []
    while text:
        groups.append(text[-8:])
        text = text[:-8]
    return ",".join(reversed(groups))


def cpu_list(cpus: list[int]) -> str:
    """CPU numbers as ranges: 0-3,8."""
    parts: list[str] = []
    index = 0
    while index < len(cpus):
        last = index
        while last + 1 < len(cpus) and cpus[last + 1] == cpus[last] + 1:
            last += 1
        parts.append(str(cpus[index]) if last == index else f"{cpus[index]}-{cpus[last]}")
        index = last + 1
    return ",".join(parts)


def show_status(target: Task, reader: Task, ns: PidNamespace, thread: bool = False) -> str:
    """/proc/PID/status."""
    group, cred = target.group, target.cred
    users, groups = reader.cred.user_ns.uid, reader.cred.user_ns.group_id
    zombie = group.zombie
    pid = target.pid if thread else group.leader.pid
    highest = max(target.files.files, default=0) if target.files.users > 0 else 0
    slots = 64
    while slots <= highest:
        slots *= 2
    lines = [f"Name:\t{printable(target.comm)}\n"]
    if not zombie:
        lines.append(f"Umask:\t{target.fs.umask:04o}\n")
    lines.append(
        f"State:\t{_STATE_NAMES[state_of(target)]}\n"
        f"Tgid:\t{group.leader.pid.nr(ns)}\nNgid:\t0\nPid:\t{pid.nr(ns)}\n"
        f"PPid:\t{parent_pid(target, ns)}\nTracerPid:\t0\n"
        f"Uid:\t{users(cred.uid)}\t{users(cred.euid)}\t{users(cred.suid)}\t{users(cred.fsuid)}\n"
        f"Gid:\t{groups(cred.gid)}\t{groups(cred.egid)}\t{groups(cred.sgid)}\t{groups(cred.fsgid)}\n"
        f"FDSize:\t{0 if zombie else slots}\n"
        f"Groups:\t{' '.join(str(groups(gid)) for gid in cred.groups)} \n"
        f"NStgid:{levels(group.leader.pid, ns)}\nNSpid:{levels(pid, ns)}\n"
        f"NSpgid:{levels(group.process_group.pid, ns)}\nNSsid:{levels(group.session.pid, ns)}\n"
    )
    mm = memory_of(target)
    if mm is not None:
        lines.append(_memory_lines(mm, target))
    ignored, caught = signal_sets(target)
    queued = sum(task.pending.count() for task in group.tasks) + group.pending.count()
    cpus = len(target.kernel.cpus)
    allowed = target.cpu_mask
    allowed_list = cpu_list([cpu for cpu in range(allowed.bit_length()) if allowed >> cpu & 1])
    lines.append(
        f"Threads:\t{max(len(group.tasks), 1)}\n"
        f"SigQ:\t{queued}/{group.limits[RLIMIT_SIGPENDING][0]}\n"
        f"SigPnd:\t{target.pending.pending:016x}\nShdPnd:\t{group.pending.pending:016x}\n"
        f"SigBlk:\t{target.blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        f"CapInh:\t{cred.inheritable:016x}\nCapPrm:\t{cred.permitted:016x}\nCapEff:\t{cred.effective:016x}\n"
        f"CapBnd:\t{cred.bounding:016x}\nCapAmb:\t{cred.ambient:016x}\n"
        f"NoNewPrivs:\t{int(cred.no_new_privs)}\nSeccomp:\t{target.seccomp_mode}\n"
        f"Seccomp_filters:\t{target.seccomp.depth if target.seccomp is not None else 0}\n"
        "Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\tconditional enabled\n"
        f"Cpus_allowed:\t{cpu_mask(allowed, cpus)}\n"
        f"Cpus_allowed_list:\t{allowed_list}\n"
        "Mems_allowed:\t00000000,00000001\nMems_allowed_list:\t0\n"
        "voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n"
    )
    return "".join(lines)


def _memory_lines(mm: MemoryManager, target: Task) -> str:
    figures = MemoryFigures(mm)
    peak = max(mm.peak_pages * PAGE // 1024, figures.size)
    rows = (
        ("VmPeak", peak),
        ("VmSize", figures.size),
        ("VmLck", figures.locked),
        ("VmPin", 0),
        ("VmHWM", max(mm.peak_resident() // 1024, figures.resident)),
        ("VmRSS", figures.resident),
        ("RssAnon", figures.resident - figures.resident_file),
        ("RssFile", figures.resident_file),
        ("RssShmem", 0),
        ("VmData", figures.data),
        ("VmStk", figures.stack),
        ("VmExe", figures.exe),
        ("VmLib", figures.lib),
        ("VmPTE", max(figures.resident // 512, 4)),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    )
    text = "".join(f"{name}:\t{value:8} kB\n" for name, value in rows)
    return text + "CoreDumping:\t0\nTHP_enabled:\t1\n"


def show_statm(target: Task, reader: Task) -> str:
    """/proc/PID/statm, in pages."""
    mm = memory_of(target)
    if mm is None:
        return "0 0 0 0 0 0 0\n"
    figures = MemoryFigures(mm)
    return (
        f"{figures.size // 4} {figures.resident // 4} {figures.resident_file // 4} {figures.exe // 4} 0"
        f" {(figures.data + figures.stack) // 4} 0\n"
    )


def show_limits(target: Task, reader: Task) -> str:
    """/proc/PID/limits."""
    lines = [f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}\n"]
    for (name, unit), (soft, hard) in zip(_LIMIT_NAMES, target.group.limits, strict=True):
        values = ["unlimited" if value >= RLIM_INFINITY else str(value) for value in (soft, hard)]
        tail = f"{unit:<10}\n" if unit else "\n"
        lines.append(f"{name:<25} {values[0]:<20} {values[1]:<20} {tail}")
    return "".join(lines)


def show_schedstat(target: Task, reader: Task) -> str:
    """/proc/PID/schedstat: time on a CPU, time waiting for one (unknown), number of turns (unknown)."""
    return f"{sum(target.group.cpu_time_ns())} 0 0\n"


def show_oom_score(target: Task, reader: Task) -> str:
    """/proc/PID/oom_score: how large a part of memory it uses, moved by oom_score_adj (oom_badness)."""
    from runsc.kernel.fs.proc.hostfacts import host_facts

    total = host_facts(target.kernel).total_memory()
    mm = memory_of(target)
    points = 1000 * mm.space.resident_bytes() // total if mm is not None else 0
    return f"{max((1000 + points + target.group.oom_score_adj) * 2 // 3, 0) if mm is not None else 0}\n"
