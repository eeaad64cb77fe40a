"""/proc/sys: the settings that exist, most of them only to be read (proc_sys(5))."""

from __future__ import annotations

from errno import EINVAL, EPERM
from os import urandom

from runsc.kernel.aio import in_use as aio_in_use
from runsc.kernel.credentials import CAP_SYS_ADMIN
from runsc.kernel.errors import LinuxError
from runsc.kernel.fs.proc.node import ProcDir, ProcFile, ProcFs
from runsc.kernel.fs.proc.settings import ipc_files, tunable_files
from runsc.kernel.tunables import tunables
from runsc.kernel.version import MACHINE, RELEASE, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.task import Task


def random_uuid() -> str:
    """A version 4 UUID (RFC 9562, section 5.4), as the kernel's random/uuid gives."""
    value = bytearray(urandom(16))
    value[6] = value[6] & 0x0F | 0x40
    value[8] = value[8] & 0x3F | 0x80
    digits = value.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


#: Settings with a value that stays. Who may write them in Linux finds them read-only here: they can't
#: take effect.
_FIXED: dict[str, str] = {
    "kernel/arch": MACHINE,
    "kernel/cap_last_cap": "40",
    "kernel/dmesg_restrict": "1",
    "kernel/keys/maxbytes": "20000",
    "kernel/keys/maxkeys": "200",
    "kernel/kptr_restrict": "1",
    "kernel/ngroups_max": "65536",
    "kernel/osrelease": RELEASE,
    "kernel/ostype": "Linux",
    "kernel/overflowgid": "65534",
    "kernel/overflowuid": "65534",
    "kernel/perf_event_paranoid": "4",
    "kernel/printk": "4\t4\t1\t7",
    "kernel/pty/max": "4096",
    "kernel/pty/reserve": "1024",
    "kernel/random/entropy_avail": "256",
    "kernel/random/poolsize": "256",
    "kernel/random/urandom_min_reseed_secs": "60",
    "kernel/random/write_wakeup_threshold": "256",
    "kernel/randomize_va_space": "2",
    "kernel/tainted": "0",
    "kernel/unprivileged_bpf_disabled": "2",
    "kernel/version": VERSION,
    "vm/legacy_va_layout": "0",
    "vm/mmap_min_addr": "65536",
    "fs/dentry-state": "0\t0\t45\t0\t0\t0",
    "fs/epoll/max_user_watches": "1048576",
    "fs/inode-nr": "0\t0",
    "fs/inode-state": "0\t0\t0\t0\t0\t0\t0",
    "fs/inotify/max_queued_events": "16384",
    "fs/inotify/max_user_instances": "128",
    "fs/inotify/max_user_watches": "65536",
    "fs/mount-max": "100000",
    "fs/overflowgid": "65534",
    "fs/overflowuid": "65534",
    "fs/pipe-user-pages-hard": "0",
    "fs/pipe-user-pages-soft": "16384",
    "fs/protected_fifos": "0",
    "fs/protected_hardlinks": "0",
    "fs/protected_regular": "0",
    "fs/protected_symlinks": "0",
    "fs/suid_dumpable": "0",
    "net/core/netdev_max_backlog": "1000",
    "net/core/optmem_max": "131072",
    "net/ipv4/ip_default_ttl": "64",
    "net/ipv4/ip_forward": "0",
    "net/ipv4/ip_local_port_range": "32768\t60999",
    "net/ipv4/ip_local_reserved_ports": "",
    "net/ipv4/ip_nonlocal_bind": "0",
    "net/ipv4/ip_unprivileged_port_start": "1024",
    "net/ipv4/ping_group_range": "0\t2147483647",
    "net/ipv4/tcp_available_congestion_control": "reno cubic",
    "net/ipv4/tcp_congestion_control": "cubic",
    "net/ipv4/tcp_fin_timeout": "60",
    "net/ipv4/tcp_keepalive_intvl": "75",
    "net/ipv4/tcp_keepalive_probes": "9",
    "net/ipv4/tcp_keepalive_time": "7200",
    "net/ipv4/tcp_max_syn_backlog": "2048",
    "net/ipv4/tcp_mem": "287898\t383866\t575796",
    "net/ipv4/tcp_retries2": "15",
    "net/ipv4/tcp_rmem": "4096\t131072\t6291456",
    "net/ipv4/tcp_sack": "1",
    "net/ipv4/tcp_syn_retries": "6",
    "net/ipv4/tcp_syncookies": "1",
    "net/ipv4/tcp_timestamps": "1",
    "net/ipv4/tcp_tw_reuse": "2",
    "net/ipv4/tcp_window_scaling": "1",
    "net/ipv4/tcp_wmem": "4096\t16384\t4194304",
    "user/max_user_namespaces": "0",
}

#: Longest host and domain names (linux/uts.h).
_NEW_UTS_LEN = 64


def make_sysctl(fs: ProcFs, kernel: Kernel) -> ProcDir:
    """The tree of /proc/sys."""
    root = ProcDir(fs)
    files: dict[str, ProcFile] = {name: ProcFile(fs, _line(value)) for name, value in _FIXED.items()}
    files.update(ipc_files(fs))
    files.update(tunable_files(fs, kernel))
    boot_id = random_uuid()
    files["kernel/random/boot_id"] = ProcFile(fs, _line(boot_id))
    files["kernel/random/uuid"] = ProcFile(fs, lambda reader: f"{random_uuid()}\n")
    files["kernel/hostname"] = ProcFile(fs, lambda reader: reader.nsproxy.uts.hostname + b"\n", _set_hostname)
    files["kernel/domainname"] = ProcFile(
        fs, lambda reader: reader.nsproxy.uts.domainname + b"\n", _set_domainname
    )
    files["kernel/ns_last_pid"] = ProcFile(fs, lambda reader: f"{reader.pid_ns.last}\n")
    files["fs/aio-nr"] = ProcFile(fs, lambda reader: f"{aio_in_use(kernel)}\n")
    files["kernel/pty/nr"] = ProcFile(fs, lambda reader: f"{_ptys(reader)}\n")
    settings = tunables(kernel)
    files["fs/file-nr"] = ProcFile(
        fs, lambda reader: f"{_open_files(kernel)}\t0\t{settings.file_max}\n"
    )
    for name, file in sorted(files.items()):
        *parents, last = name.split("/")
        directory = root
        for part in parents:
            found = directory.entries.get(part.encode())
            if found is None:
                found = ProcDir(fs)
                directory.add(part, found)
            assert isinstance(found, ProcDir)
            directory = found
        directory.add(last, file)
    return root


def _line(value: str) -> Callable[[Task], str]:
    return lambda reader: value + "\n"


def _name(task: Task, data: bytes) -> bytes:
    """A name as proc_do_uts_string takes it: the first line, cut to what fits."""
    if not task.cred.capable(CAP_SYS_ADMIN):
        raise LinuxError(EPERM)
    name = data.split(b"\n", 1)[0].split(b"\0", 1)[0]
    if len(name) > _NEW_UTS_LEN:
        raise LinuxError(EINVAL)
    return name


def _set_hostname(task: Task, data: bytes) -> None:
    task.nsproxy.uts.hostname = _name(task, data)


def _set_domainname(task: Task, data: bytes) -> None:
    task.nsproxy.uts.domainname = _name(task, data)


def _ptys(reader: Task) -> int:
    from runsc.kernel.fs.devpts import instance_of

    try:
        return len(instance_of(reader, None).pairs)
    except LinuxError:
        return 0


def _open_files(kernel: Kernel) -> int:
    """Open file descriptions that have a descriptor."""
    return len(
        {
            id(file)
            for task in kernel.tasks.values()
            for file in task.files.files.values()
            if task.files.users > 0
        }
    )
