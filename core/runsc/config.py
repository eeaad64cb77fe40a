"""The configuration of one call of runsc: the flags before the command.

To add a flag: add an attribute to ``Config`` with its default, and a line to ``FLAGS``. A flag that was
renamed keeps its old name as ``alias``. One that only other runtimes give a meaning to is ``inert``.
"""

from __future__ import annotations

import os

from runsc.errors import UsageError
from runsc.flags import BOOL, INT, LIST, REPEAT, STRING, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FLAGS: tuple[Flag, ...] = (
    Flag("root", STRING, "Where the state of containers is kept.", metavar="DIR"),
    Flag("log", STRING, "Append messages for the caller to this file.", metavar="FILE"),
    Flag("log-format", STRING, "How --log is written.", choices=("text", "json")),
    Flag("debug", BOOL, "Log more, and show the traceback of a failure."),
    Flag(
        "debug-log",
        STRING,
        "Where the debug log goes: a directory (ending in /), or a file name, in which %ID%, %COMMAND% and"
        " %TIMESTAMP% are filled in.",
        metavar="PATH",
        alias="debug-log-dir",
    ),
    Flag("debug-log-format", STRING, "How the debug log is written.", choices=("text", "json")),
    Flag("strace", BOOL, "Log every system call, to the debug log, or to stderr if there is none."),
    Flag("strace-syscalls", LIST, "Log these system calls only.", metavar="NAME,NAME..."),
    Flag("strace-log-size", INT, "Show at most this many bytes of a buffer.", metavar="BYTES"),
    Flag(
        "platform",
        STRING,
        "How system calls are intercepted; 'runsc plugins' lists what there is. Without it: systrap"
        " where that works, else ptrace.",
        metavar="NAME",
    ),
    Flag(
        "network",
        STRING,
        "What answers network sockets; 'runsc plugins' lists what there is.",
        metavar="NAME",
    ),
    Flag(
        "observer",
        REPEAT,
        "What watches the sandbox, with its argument if it takes one; may be given again."
        " 'runsc plugins' lists what there is.",
        metavar="NAME[:ARGUMENT]",
    ),
    Flag(
        "trace-session",
        STRING,
        "Write what happens in the sandbox to this file, a JSON object a line (the observer 'trace').",
        metavar="FILE",
    ),
    Flag("net-raw", BOOL, "Let programs with CAP_NET_RAW have raw and packet sockets (--network=sandbox)."),
    Flag("gso", BOOL, "Hand the host TCP segments of up to 64 KiB, to be cut there (--network=sandbox)."),
    Flag("software-gso", BOOL, "Cut large segments here if the host doesn't (no effect: it is never needed).",
         inert=True),
    Flag("gvisor-gro", BOOL, "Put segments together here (no effect: the host does that).", inert=True),
    Flag(
        "tx-checksum-offload", BOOL, "Leave checksums of what is sent to the host (--network=sandbox)."
    ),
    Flag(
        "rx-checksum-offload",
        BOOL,
        "Believe the host that it has looked at checksums of what arrives (--network=sandbox).",
    ),
    Flag("log-packets", BOOL, "Log every packet to the debug log (--network=sandbox)."),
    Flag("pcap-log", STRING, "Write every packet to this file, in pcap format (--network=sandbox).",
         metavar="FILE"),
    Flag(
        "fs",
        STRING,
        "How host files are reached; 'runsc plugins' lists what there is (default: direct for 'do',"
        " gofer9p for containers).",
        metavar="NAME",
    ),
    Flag(
        "overlay2",
        STRING,
        "Where writes to a container's root file system go: 'root:memory' keeps them in memory, to be gone"
        " afterwards, as 'do' always does; 'none' makes them on the host.",
        metavar="MOUNT:MEDIUM",
    ),
    Flag("rootless", BOOL, "Run without privileges. Nothing depends on it: runsc needs none."),
    Flag("ignore-cgroups", BOOL, "Set up no cgroups. Nothing depends on it: none are set up yet."),
    Flag("systemd-cgroup", BOOL, "Let systemd set up cgroups (no effect yet).", inert=True),
    Flag(
        "file-access",
        STRING,
        "Whether others change the root file system meanwhile ('shared'), or not.",
        choices=("exclusive", "shared"),
    ),
    Flag(
        "file-access-mounts",
        STRING,
        "The same for the other mounts of host files.",
        choices=("exclusive", "shared"),
    ),
    Flag(
        "watchdog-action",
        STRING,
        "What to do when a system call hangs (no effect yet).",
        metavar="ACTION",
        choices=("log", "panic"),
        inert=True,
    ),
    Flag(
        "host-uds",
        STRING,
        "Which Unix sockets of the host may be used (no effect yet: none).",
        choices=("none", "open", "create", "all"),
        inert=True,
    ),
    Flag(
        "jail",
        STRING,
        "For debugging: 'off' leaves the sandbox's process unjailed, 'log' logs the host calls it must not"
        " make, and refuses them instead of killing it.",
        choices=("on", "log", "off"),
        hidden=True,
    ),
    Flag("version", BOOL, "Print the version."),
)


class PluginFlags:
    """The values of the flags that plugins brought along, as attributes; those not given are missing."""

#: Which file-system plugin is taken if none is chosen.
FS_OF_DO = "direct"
FS_OF_CONTAINERS = "gofer9p"


class Config:
    """What the flags say. Paths are as the user wrote them, relative ones against the working directory."""

    __slots__ = (
        "debug",
        "debug_log",
        "debug_log_format",
        "file_access",
        "file_access_mounts",
        "fs",
        "gso",
        "gvisor_gro",
        "host_uds",
        "ignore_cgroups",
        "jail",
        "log",
        "log_format",
        "log_packets",
        "net_raw",
        "network",
        "observer",
        "overlay2",
        "pcap_log",
        "platform",
        "plugin_flags",
        "root",
        "rootless",
        "rx_checksum_offload",
        "software_gso",
        "strace",
        "strace_log_size",
        "strace_syscalls",
        "systemd_cgroup",
        "trace_session",
        "tx_checksum_offload",
        "version",
        "watchdog_action",
    )

    def __init__(self) -> None:
        self.root = ""
        self.log = ""
        self.log_format = "text"
        self.debug = False
        self.debug_log = ""
        self.debug_log_format = "text"
        self.strace = False
        self.strace_syscalls: list[str] = []
        self.strace_log_size = 1024
        self.platform = ""
        self.network = "none"
        self.observer: list[str] = []
        self.trace_session = ""
        self.plugin_flags = PluginFlags()
        self.net_raw = False
        self.gso = True
        self.software_gso = True
        self.gvisor_gro = False
        self.tx_checksum_offload = True
        self.rx_checksum_offload = True
        self.log_packets = False
        self.pcap_log = ""
        #: "": FS_OF_DO or FS_OF_CONTAINERS
        self.fs = ""
        self.overlay2 = "none"
        self.rootless = False
        self.ignore_cgroups = False
        self.systemd_cgroup = False
        self.file_access = "exclusive"
        self.file_access_mounts = "shared"
        self.watchdog_action = "log"
        self.host_uds = "none"
        self.jail = "on"
        self.version = False

    @property
    def state_dir(self) -> str:
        """The directory that holds one subdirectory for each container."""
        if self.root:
            return self.root
        if os.geteuid() == 0:
            return "/run/runsc"
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        return os.path.join(runtime, "runsc") if runtime else f"/tmp/runsc-{os.geteuid()}"

    def plugin_flag(self, name: str, default: Any = "") -> Any:
        """The value of a flag that a plugin declares in its ``flags``."""
        return getattr(self.plugin_flags, name.replace("-", "_"), default)

    def observers(self) -> list[tuple[str, str]]:
        """(name, argument) of each observer that was asked for."""
        found = []
        for word in self.observer:
            name, _, argument = word.partition(":")
            found.append((name, argument))
        if self.trace_session:
            found.append(("trace", os.path.abspath(self.trace_session)))
        return found

    def validate(self) -> None:
        """Check what the table can't say. Raises ``UsageError``."""
        mount, colon, medium = self.overlay2.partition(":")
        medium = medium.partition(",")[0]
        known = medium in ("memory", "self") or medium.startswith("dir=/")
        if self.overlay2 != "none" and not (colon and mount in ("root", "all") and known):
            raise UsageError(
                f"--overlay2={self.overlay2}: not understood",
                "write --overlay2=root:memory or --overlay2=none",
            )

    def warnings(self, seen: set[str]) -> list[str]:
        """What the user should know about the flags that were given (``seen``: their names)."""
        lines = [f"--{flag.name} has no effect yet" for flag in FLAGS if flag.inert and flag.name in seen]
        if "overlay2" in seen and self.overlay2 not in ("none", "root:memory", "all:memory"):
            lines.append(f"--overlay2={self.overlay2}: writes are kept in memory, as with root:memory")
        return lines
