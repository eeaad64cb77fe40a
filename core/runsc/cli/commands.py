"""The commands there are, as a table: ``main`` runs them, ``app`` shows their help."""

from __future__ import annotations

from runsc.flags import BOOL, INT, REPEAT, STRING, Flag

FORMAT = Flag("format", STRING, "How to print it.", choices=("text", "json"))


TABLE = Flag("format", STRING, "How to print it.", choices=("table", "json"), alias="f")

#: Commands that look at containers, or hold them.
INSPECTING = ("ps", "list", "wait", "pause", "resume", "events", "update", "features", "spec")

#: Of what makes a container.
CREATING = (
    Flag("bundle", STRING, "The bundle: a directory with a config.json (default: this one).", metavar="DIR",
         alias="b"),
    Flag("console-socket", STRING, "Send the terminal's master to this Unix socket.", metavar="PATH"),
    Flag("pid-file", STRING, "Write the id of the container's process here.", metavar="FILE"),
    Flag("preserve-fds", INT, "Pass this many descriptors on, from 3 upwards.", metavar="N"),
    Flag("pass-fd", REPEAT, "Pass a descriptor on; may be given again.", metavar="HOST[:GUEST]"),
    Flag("no-pivot", BOOL, "For other runtimes; nothing is pivoted here."),
    Flag("no-new-keyring", BOOL, "For other runtimes; there are no keyrings here."),
)  # fmt: skip


class CommandSpec:
    """One command.

    ``usage``: the words that follow its flags; ``ready``: False if it is known but not there yet.
    """

    __slots__ = ("flags", "help", "name", "ready", "usage")

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - the word that fits
        usage: str = "",
        flags: tuple[Flag, ...] = (),
        ready: bool = True,
    ) -> None:
        self.name = name
        self.help = help
        self.usage = usage
        self.flags = flags
        self.ready = ready


#: How a command is run on the host's files.
DO_FLAGS: tuple[Flag, ...] = (
    Flag("root", STRING, "The directory that is the sandbox's root.", metavar="DIR"),
    Flag("cwd", STRING, "The working directory in the sandbox (default: this one).", metavar="DIR"),
    Flag("env", REPEAT, "Set an environment variable; may be given again.", metavar="NAME=VALUE"),
    Flag("user", STRING, "Run as this user, by number (default: yours).", metavar="UID[:GID]"),
    Flag(
        "volume",
        REPEAT,
        "Mount a directory or file of the host, writable unless :ro is added; may be given again.",
        metavar="SOURCE[:PLACE][:ro]",
    ),
)

COMMANDS: tuple[CommandSpec, ...] = (
    CommandSpec(
        "do",
        "Run a command in a sandbox, on the host's files. What it writes stays in memory.",
        "CMD [ARG...]",
        DO_FLAGS,
    ),
    CommandSpec(
        "ab",
        "Run a command under several configurations in turn, and tell what differs.",
        "CMD [ARG...]",
        (
            Flag(
                "variant",
                REPEAT,
                "A configuration: FLAG=VALUE,... of runsc, 'default', 'native', or runtime=PATH of another"
                " OCI runtime. NAME: in front names it. The first one is the baseline.",
                metavar="VARIANT",
            ),
            Flag("runs", INT, "How often each is run.", metavar="N"),
            Flag("warmup", INT, "How often each is run before that counts.", metavar="N"),
            Flag("workload", STRING, "A file with lines NAME: COMMAND, instead of CMD.", metavar="FILE"),
            Flag("json", STRING, "Write the figures to this file.", metavar="FILE"),
            Flag("html", STRING, "Write a page with plots to this file.", metavar="FILE"),
        ),
    ),
    CommandSpec(
        "profile",
        "Run a command as 'do' does, and print the OCI seccomp profile that it needs.",
        "CMD [ARG...]",
        DO_FLAGS,
    ),
    CommandSpec("plugins", "List the installed plugins, and whether they work here.", "", (FORMAT,)),
    CommandSpec("syscalls", "List the system calls, and how much of each there is.", "", (FORMAT,)),
    CommandSpec("state", "Print the state of a container.", "ID"),
    CommandSpec(
        "kill",
        "Send a signal to a container.",
        "ID [SIGNAL]",
        (
            Flag("all", BOOL, "Send it to all processes of the container.", alias="a"),
            Flag("pid", INT, "Send it to this process of the container.", metavar="PID"),
        ),
    ),
    CommandSpec(
        "delete",
        "Remove a container.",
        "ID",
        (Flag("force", BOOL, "Kill it first; no error if it doesn't exist.", alias="f"),),
    ),
    CommandSpec("create", "Create a container from a bundle.", "ID", CREATING),
    CommandSpec("start", "Start a created container.", "ID"),
    CommandSpec(
        "run",
        "Create a container, start it, wait for it and delete it.",
        "ID",
        (
            *CREATING,
            Flag("detach", BOOL, "Leave it running.", alias="d"),
            Flag("keep", BOOL, "Do not delete it when it has ended."),
        ),
    ),
    CommandSpec(
        "exec",
        "Run a command in a running container.",
        "ID CMD [ARG...]",
        (
            Flag(
                "process",
                STRING,
                "Take what to run from this file, like process of config.json.",
                metavar="FILE",
                alias="p",
            ),
            Flag("user", STRING, "Run as this user, by number.", metavar="UID[:GID]", alias="u"),
            Flag("cwd", STRING, "The working directory.", metavar="DIR"),
            Flag(
                "env",
                REPEAT,
                "Set an environment variable; may be given again.",
                metavar="NAME=VALUE",
                alias="e",
            ),
            Flag("tty", BOOL, "On a terminal of its own.", alias="t"),
            Flag("detach", BOOL, "Leave it running.", alias="d"),
            Flag("pid-file", STRING, "Write the id of the host's process for it here.", metavar="FILE"),
            Flag("console-socket", STRING, "Send the terminal's master to this Unix socket.", metavar="PATH"),
            Flag("cap", REPEAT, "Add a capability; may be given again.", metavar="CAP", alias="c"),
            Flag("additional-gids", REPEAT, "Add a group; may be given again.", metavar="GID", alias="g"),
            Flag("no-new-privs", BOOL, "Let it gain no privileges by set-id programs."),
            Flag("preserve-fds", INT, "Pass this many descriptors on, from 3 upwards.", metavar="N"),
            Flag("pass-fd", REPEAT, "Pass a descriptor on; may be given again.", metavar="HOST[:GUEST]"),
            Flag("process-label", STRING, "For SELinux, which isn't in the sandbox.", metavar="LABEL"),
            Flag("apparmor", STRING, "For AppArmor, which isn't in the sandbox.", metavar="PROFILE"),
            Flag("cgroup", REPEAT, "All processes of a sandbox are in one.", metavar="PATH"),
            Flag("ignore-paused", BOOL, "For other runtimes: a paused container runs nothing."),
        ),
    ),
    CommandSpec(
        "list",
        "List the containers.",
        "",
        (TABLE, Flag("quiet", BOOL, "Only their ids.", alias="q")),
    ),
    CommandSpec("ps", "List the processes of a container.", "ID", (TABLE,)),
    CommandSpec("pause", "Pause a container.", "ID"),
    CommandSpec("resume", "Resume a paused container.", "ID"),
    CommandSpec("wait", "Wait for a container to end, and print its exit code.", "ID"),
    CommandSpec(
        "events",
        "Print figures of a container.",
        "ID",
        (
            Flag("stats", BOOL, "Print them once, not again and again."),
            Flag("interval", STRING, "How often.", metavar="TIME"),
        ),
    ),
    CommandSpec(
        "update",
        "Change limits of a container.",
        "ID",
        (
            Flag(
                "resources",
                STRING,
                "Take them from this file, like linux.resources of config.json (-: standard input).",
                metavar="FILE",
                alias="r",
            ),
            Flag("memory", STRING, "Bytes of memory.", metavar="N"),
            Flag("memory-reservation", STRING, "Bytes of memory, if it gets tight.", metavar="N"),
            Flag("memory-swap", STRING, "Bytes of memory and swap together.", metavar="N"),
            Flag("cpu-shares", STRING, "Weight of its CPU time.", metavar="N"),
            Flag("cpu-quota", STRING, "CPU time in each period, in microseconds.", metavar="N"),
            Flag("cpu-period", STRING, "The period, in microseconds.", metavar="N"),
            Flag("cpuset-cpus", STRING, "On which CPUs it runs.", metavar="LIST"),
            Flag("cpuset-mems", STRING, "From which nodes its memory comes.", metavar="LIST"),
            Flag("pids-limit", STRING, "How many tasks it may have.", metavar="N"),
            Flag("kernel-memory", STRING, "For other runtimes.", metavar="N"),
            Flag("blkio-weight", STRING, "For other runtimes.", metavar="N"),
            Flag("cpu-rt-period", STRING, "For other runtimes.", metavar="N"),
            Flag("cpu-rt-runtime", STRING, "For other runtimes.", metavar="N"),
        ),
    ),
    CommandSpec(
        "spec",
        "Write a config.json to start from.",
        "",
        (
            Flag("bundle", STRING, "In this directory (default: this one).", metavar="DIR", alias="b"),
            Flag("rootless", BOOL, "One for an ordinary user."),
        ),
    ),
    CommandSpec("features", "Print what this runtime supports."),
    CommandSpec("checkpoint", "Save a container.", "ID", ready=False),
    CommandSpec("restore", "Restore a saved container.", "ID", ready=False),
)


def command(name: str) -> CommandSpec | None:
    """The command of that name."""
    for spec in COMMANDS:
        if spec.name == name:
            return spec
    return None
