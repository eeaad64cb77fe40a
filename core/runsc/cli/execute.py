"""``runsc exec``."""

from __future__ import annotations

import os

from runsc.errors import RunscError, UsageError
from runsc.flags import parse
from runsc.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.cli.commands import CommandSpec
    from runsc.config import Config


class Options:
    """The flags of ``exec``."""

    __slots__ = (
        "additional_gids", "apparmor", "cap", "cgroup", "console_socket", "cwd", "detach", "env",
        "ignore_paused", "no_new_privs", "pass_fd", "pid_file", "preserve_fds", "process", "process_label",
        "tty", "user",
    )  # fmt: skip

    def __init__(self) -> None:
        self.additional_gids: list[str] = []
        self.apparmor = ""
        self.cap: list[str] = []
        self.cgroup: list[str] = []
        self.console_socket = ""
        self.cwd = ""
        self.detach = False
        self.env: list[str] = []
        self.ignore_paused = False
        self.no_new_privs = False
        self.pass_fd: list[str] = []
        self.pid_file = ""
        self.preserve_fds = 0
        self.process = ""
        self.process_label = ""
        self.tty = False
        self.user = ""


def command(config: Config, spec: CommandSpec, words: list[str], started: float) -> int:
    """Run it; the process's exit code. Raises ``RunscError``."""
    options = Options()
    at, seen = parse(spec.flags, words, options)
    if at == len(words):
        raise UsageError("exec needs the id of a container", f"write runsc exec {spec.usage}")
    container_id, args = words[at], words[at + 1 :]
    if args[:1] == ["--"]:
        args = args[1:]
    from runsc.cli.lifecycle import passed_descriptors
    from runsc.oci.execute import Execution, execute

    log = Log.open(config, "exec", container_id, started)
    document = _given(options.process) if options.process else _assembled(config, container_id, options, args)
    if "tty" in seen or not options.process:
        document["terminal"] = options.tty
    execution = Execution(document)
    execution.detach = options.detach
    execution.pid_file = options.pid_file
    execution.console_socket = options.console_socket
    execution.passed = passed_descriptors(options.preserve_fds, options.pass_fd)
    return execute(config, container_id, execution, log)


def _given(path: str) -> dict[str, Any]:
    from runsc.oci.jsontext import loads

    try:
        with open(path, "rb") as file:
            document = loads(file.read())
    except OSError as error:
        raise RunscError(
            f"--process={path}: {error.strerror}", "name a file like process of config.json"
        ) from None
    except ValueError as error:
        raise RunscError(f"--process={path} is not JSON: {error}", "write it anew") from None
    if not isinstance(document, dict):
        raise RunscError(f"--process={path}: not an object", "it is to be like process of config.json")
    return document


def _assembled(config: Config, container_id: str, options: Options, args: list[str]) -> dict[str, Any]:
    """The process of the container's config.json, with what the flags change."""
    from runsc.oci.jsontext import loads
    from runsc.oci.process import CAPABILITIES, capability
    from runsc.oci.state import Store

    if not args:
        raise UsageError("exec needs a command", "write runsc exec ID CMD [ARG...]")
    record = Store(config.state_dir).load(container_id)
    try:
        with open(os.path.join(record.bundle, "config.json"), "rb") as file:
            document: dict[str, Any] = dict(loads(file.read())["process"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunscError(
            f"can't read what {container_id} runs from its bundle: {error}", "give --process=FILE"
        ) from None
    document["args"] = args
    document.pop("consoleSize", None)
    if options.cwd:
        document["cwd"] = options.cwd
    if options.env:
        document["env"] = _merged(document.get("env") or [], options.env)
    user = dict(document.get("user") or {})
    if options.user:
        from runsc.cli.do import parse_user

        uid, gid = parse_user(options.user)
        user = {"uid": uid, "gid": gid if ":" in options.user else 0}
    if options.additional_gids:
        user["additionalGids"] = [_number(word, "additional-gids") for word in options.additional_gids]
    document["user"] = user
    if options.no_new_privs:
        document["noNewPrivileges"] = True
    if options.cap:
        words = [word for item in options.cap for word in item.split(",")]
        for word in words:
            if capability(word) < 0:
                raise UsageError(f"--cap={word}: no such capability", "write for example --cap=CAP_KILL")
        sets = dict(document.get("capabilities") or {})
        for name in ("bounding", "effective", "permitted"):
            more = ["CAP_" + CAPABILITIES[capability(word)] for word in words]
            sets[name] = [*(sets.get(name) or []), *more]
        document["capabilities"] = sets
    return document


def _merged(env: list[str], changes: list[str]) -> list[str]:
    values = dict(word.partition("=")[::2] for word in env)
    for change in changes:
        name, equals, value = change.partition("=")
        if not name or not equals:
            raise UsageError(f"--env={change}: not understood", "write --env=NAME=VALUE")
        values[name] = value
    return [f"{name}={value}" for name, value in values.items()]


def _number(text: str, flag: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--{flag}={text}: not a number", f"write --{flag}=N")
    return int(text)
