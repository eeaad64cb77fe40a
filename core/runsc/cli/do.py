"""``runsc do``: a command in a sandbox of its own, on the host's files."""

from __future__ import annotations

import os

from runsc.errors import RunscError, UsageError
from runsc.flags import Flag, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.config import Config
    from runsc.filesystem import HostMount
    from runsc.sandbox.command import Command

#: The largest user or group number; the next one, -1, means "none" to Linux.
MAX_ID = 0xFFFFFFFE


class Options:
    """The flags of ``do``."""

    __slots__ = ("cwd", "env", "root", "user", "volume")

    def __init__(self) -> None:
        self.root = "/"
        self.cwd = ""
        self.env: list[str] = []
        self.user = ""
        self.volume: list[str] = []


def do(config: Config, flags: tuple[Flag, ...], words: list[str], started: float) -> int:
    """Run the command; its exit code. Raises ``RunscError``."""
    options = Options()
    at, _ = parse(flags, words, options)
    if at == len(words):
        raise UsageError("do needs a command", "write runsc do -- CMD ARGS")
    command = make_command(options, words[at:], config)
    from runsc.log import Log
    from runsc.sandbox.boot import run

    log = Log.open(config, "do", "", started)
    log.debug(f"do {command.argv!r} on {command.root!r} in {command.cwd!r}")
    code = run(config, command, log, started)
    log.debug(f"exit code {code}")
    return code


def make_command(options: Options, words: list[str], config: Config) -> Command:
    """What is to be run, from the flags and this process's surroundings. Raises ``RunscError``."""
    from runsc.filesystem import HostMount
    from runsc.sandbox.command import Command

    root = os.path.abspath(options.root)
    if not os.path.isdir(root):
        problem = "is not a directory" if os.path.exists(root) else "does not exist"
        raise RunscError(f"--root={options.root}: {problem}", "give the directory that is to be the root")
    if options.cwd:
        cwd = options.cwd
        if not cwd.startswith("/"):
            raise UsageError(f"--cwd={cwd}: not an absolute path", "give the path as it is in the sandbox")
    elif root == "/":
        try:
            cwd = os.getcwd()
        except FileNotFoundError:
            raise RunscError(
                "the working directory is gone", "change to another one, or give --cwd"
            ) from None
    else:
        cwd = "/"
    uid, gid, groups = os.geteuid(), os.getegid(), tuple(os.getgroups())
    if options.user:
        uid, gid = parse_user(options.user)
        groups = ()
    return Command(
        [os.fsencode(word) for word in words],
        make_environment(options.env),
        os.fsencode(cwd),
        uid,
        gid,
        groups,
        HostMount(os.fsencode(root), read_only=True, shared=config.file_access == "shared"),
        [parse_volume(text, config.file_access_mounts == "shared") for text in options.volume],
    )


def parse_volume(text: str, shared: bool) -> tuple[bytes, HostMount]:
    """``SOURCE[:PLACE][:ro]``: the place in the sandbox, and what is mounted there. Raises ``RunscError``."""
    from runsc.filesystem import host_mount

    source, _, rest = text.partition(":")
    place, _, options = rest.partition(":")
    if place in ("ro", "rw") and not options:
        place, options = "", place
    place = place or source
    if options not in ("", "ro", "rw") or not source.startswith("/") or not place.startswith("/"):
        raise UsageError(
            f"--volume={text}: not understood", "write --volume=/HOST/PATH[:/PATH][:ro], with absolute paths"
        )
    return os.fsencode(place), host_mount(os.fsencode(source), options == "ro", shared)


def make_environment(changes: list[str]) -> list[bytes]:
    """Our own environment with ``changes`` (NAME=VALUE) made to it."""
    environment = dict(os.environb)
    for change in changes:
        name, equals, value = change.partition("=")
        if not name or not equals:
            raise UsageError(f"--env={change}: not understood", "write --env=NAME=VALUE")
        environment[os.fsencode(name)] = os.fsencode(value)
    return [name + b"=" + value for name, value in environment.items()]


def parse_user(text: str) -> tuple[int, int]:
    """``UID[:GID]``; without a group number, the group has the user's."""
    uid, colon, gid = text.partition(":")
    numbers = []
    for part in (uid, gid) if colon else (uid, uid):
        if not (part.isascii() and part.isdigit()) or int(part) > MAX_ID:
            raise UsageError(
                f"--user={text}: not understood", "write --user=UID or --user=UID:GID, in numbers"
            )
        numbers.append(int(part))
    return numbers[0], numbers[1]
