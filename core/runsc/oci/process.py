"""``process`` of config.json, and of ``runsc exec --process``: what to run, and as whom."""

from __future__ import annotations

from runsc.oci.node import UINT32, UINT64, Node, SpecError, show, wrong

#: linux/capability.h, in the order of their numbers.
CAPABILITIES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT
SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP
MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
""".split()  # noqa: SIM905 - a list of words reads better than one of quotes

#: setrlimit(2), in the order of their numbers.
LIMITS = """
CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME
""".split()  # noqa: SIM905

SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


class User:
    """Numbers; ``umask`` is None where none is asked for."""

    __slots__ = ("gid", "groups", "uid", "umask")

    def __init__(
        self, uid: int = 0, gid: int = 0, groups: tuple[int, ...] = (), umask: int | None = None
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.umask = umask

    @classmethod
    def parse(cls, node: Node) -> User:
        return cls(
            node.number("uid", 0, UINT32 - 1) or 0,
            node.number("gid", 0, UINT32 - 1) or 0,
            tuple(node.numbers("additionalGids", 0, UINT32 - 1)),
            node.number("umask", 0, 0o777),
        )


class Process:
    """A process to start.

    ``capabilities``: the five sets as bit masks, by name; None where nothing is said: then it has none.
    ``rlimits``: (soft, hard) by RLIMIT_* number. ``console_size``: (rows, columns) or None. ``warnings``:
    what is asked for and doesn't exist.
    """

    __slots__ = (
        "args", "capabilities", "console_size", "cwd", "env", "no_new_privileges", "oom_score_adj", "rlimits",
        "terminal", "user", "warnings",
    )  # fmt: skip

    def __init__(self, args: list[str], cwd: str = "/") -> None:
        self.args = args
        self.cwd = cwd
        self.env: list[str] = []
        self.user = User()
        self.terminal = False
        self.console_size: tuple[int, int] | None = None
        self.capabilities: dict[str, int] | None = None
        self.rlimits: dict[int, tuple[int, int]] = {}
        self.no_new_privileges = False
        self.oom_score_adj: int | None = None
        self.warnings: list[str] = []

    @classmethod
    def parse(cls, node: Node) -> Process:
        args = node.texts("args")
        if not args:
            raise SpecError(node.of("args"), "is missing or empty")
        if not args[0]:
            raise SpecError(node.of("args[0]"), "is empty")
        new = cls(args, node.absolute("cwd"))
        new.env = node.texts("env")
        new.user = node.parsed("user", User.parse) or new.user
        new.terminal = node.flag("terminal")
        size = node.child("consoleSize")
        if size is not None:
            new.console_size = size.needed("height", 0, 0xFFFF), size.needed("width", 0, 0xFFFF)
        sets = node.child("capabilities")
        if sets is not None:
            new.capabilities = {name: new._mask(sets, name) for name in SETS}
        for item, path in node.items("rlimits"):
            new._rlimit(Node(item, path))
        new.no_new_privileges = node.flag("noNewPrivileges")
        new.oom_score_adj = node.number("oomScoreAdj", -1000, 1000)
        for name in ("apparmorProfile", "selinuxLabel"):
            if node.text(name, ""):
                new.warnings.append(f"{node.of(name)} has no effect: the sandbox's kernel has no such module")
        return new

    def _mask(self, node: Node, name: str) -> int:
        mask = 0
        for i, word in enumerate(node.texts(name)):
            number = capability(word)
            if number < 0:
                self.warnings.append(f"{node.of(name)}[{i}]: there is no capability {word}")
            else:
                mask |= 1 << number
        return mask

    def _rlimit(self, node: Node) -> None:
        kind = node.text("type")
        name = kind.removeprefix("RLIMIT_")
        if name == kind or name not in LIMITS:
            raise wrong(node.of("type"), "the name of a limit, as RLIMIT_NOFILE", kind)
        number = LIMITS.index(name)
        if number in self.rlimits:
            raise SpecError(node.of("type"), f"{show(kind)} is there twice")
        soft, hard = node.needed("soft", 0, UINT64), node.needed("hard", 0, UINT64)
        if soft > hard:
            raise SpecError(node.of("soft"), f"{soft} is above the hard limit, {hard}")
        self.rlimits[number] = soft, hard


def capability(name: str) -> int:
    """The number of a capability ("CAP_KILL" or "KILL"), -1 if there is none of that name."""
    word = name.upper().removeprefix("CAP_")
    return CAPABILITIES.index(word) if word in CAPABILITIES else -1
