"""``create``, ``start``, ``run``, ``state``, ``kill``, ``delete``: a container's life, as engines call it."""

from __future__ import annotations

import os

from runsc.errors import RunscError, UsageError
from runsc.flags import parse
from runsc.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.cli.commands import CommandSpec
    from runsc.config import Config
    from runsc.oci.lifecycle import Making


class Options:
    """The flags of these commands."""

    __slots__ = (
        "all", "bundle", "console_socket", "detach", "force", "keep", "no_new_keyring", "no_pivot", "pass_fd",
        "pid", "pid_file", "preserve_fds",
    )  # fmt: skip

    def __init__(self) -> None:
        self.all = False
        self.bundle = ""
        self.console_socket = ""
        self.detach = False
        self.force = False
        self.keep = False
        self.no_new_keyring = False
        self.no_pivot = False
        self.pass_fd: list[str] = []
        self.pid = 0
        self.pid_file = ""
        self.preserve_fds = 0


def command(config: Config, spec: CommandSpec, words: list[str], started: float) -> int:
    """Run one of them; its exit code. Raises ``RunscError``."""
    options = Options()
    at, _ = parse(spec.flags, words, options)
    if at == len(words):
        raise UsageError(f"{spec.name} needs the id of a container", f"write runsc {spec.name} {spec.usage}")
    container_id = words[at]
    rest = words[at + 1 :]
    if len(rest) > (spec.name == "kill"):
        raise UsageError(f"{spec.name}: {rest[-1]!r} is too much", f"write runsc {spec.name} {spec.usage}")
    return _COMMANDS[spec.name](config, container_id, options, rest, started)


def _state(config: Config, container_id: str, _options: Options, _rest: list[str], _started: float) -> int:
    from runsc.oci.jsontext import dumps
    from runsc.oci.state import Store

    print(dumps(Store(config.state_dir).load(container_id).document(), 2))
    return 0


def _kill(config: Config, container_id: str, options: Options, rest: list[str], _started: float) -> int:
    from runsc.oci.lifecycle import kill

    kill(config, container_id, signal_number(rest[0] if rest else "TERM"), options.all, options.pid)
    return 0


def signal_number(text: str) -> int:
    """The signal that ``text`` names: 15, TERM or SIGTERM. Raises ``UsageError``."""
    from runsc.abi.signal import NAMES, NSIG

    if text.isascii() and text.isdigit():
        if 0 < int(text) <= NSIG:
            return int(text)
    else:
        name = "SIG" + text.upper().removeprefix("SIG")
        if name in NAMES:
            return NAMES.index(name)
    raise UsageError(f"there is no signal {text!r}", "write a number, or a name as TERM")


def _delete(config: Config, container_id: str, options: Options, _rest: list[str], started: float) -> int:
    from runsc.oci.lifecycle import delete

    delete(config, container_id, options.force, Log.open(config, "delete", container_id, started))
    return 0


def _start(config: Config, container_id: str, _options: Options, _rest: list[str], started: float) -> int:
    from runsc.oci.lifecycle import start

    start(config, container_id, Log.open(config, "start", container_id, started))
    return 0


def _create(config: Config, container_id: str, options: Options, _rest: list[str], started: float) -> int:
    from runsc.oci.lifecycle import create

    log = Log.open(config, "create", container_id, started)
    create(config, container_id, options.bundle or os.getcwd(), _making(options, False), log, started)
    return 0


def _run(config: Config, container_id: str, options: Options, _rest: list[str], started: float) -> int:
    from runsc.oci.foreground import attend
    from runsc.oci.lifecycle import create, delete, start

    log = Log.open(config, "run", container_id, started)
    making = _making(options, not options.detach)
    record, launch = create(config, container_id, options.bundle or os.getcwd(), making, log, started)
    if options.detach:
        try:
            start(config, record.id, log)
        except BaseException:
            delete(config, record.id, True, log)
            raise
        return 0
    try:
        return attend(launch, making.console, lambda: start(config, record.id, log))
    finally:
        if not options.keep:
            delete(config, record.id, True, log)


def _making(options: Options, foreground: bool) -> Making:
    from runsc.oci.lifecycle import Making

    making = Making()
    making.pid_file = options.pid_file
    making.console_socket = options.console_socket
    making.foreground = foreground
    making.passed = passed_descriptors(options.preserve_fds, options.pass_fd)
    return making


def passed_descriptors(preserve: int, pass_fd: list[str]) -> dict[int, int]:
    """What --preserve-fds and --pass-fd pass on: a copy of each descriptor, by the number in the guest."""
    passed = {}
    for number in range(3, 3 + preserve):
        passed[number] = _passed(number, f"--preserve-fds={preserve}")
    for text in pass_fd:
        host, colon, guest = text.partition(":")
        if not (host.isdigit() and (guest.isdigit() or not colon)):
            raise UsageError(
                f"--pass-fd={text}: not understood", "write --pass-fd=HOST or --pass-fd=HOST:GUEST"
            )
        passed[int(guest or host)] = _passed(int(host), f"--pass-fd={text}")
    return passed


def _passed(fd: int, flag: str) -> int:
    try:
        return os.dup(fd)
    except OSError:
        raise RunscError(f"{flag}: descriptor {fd} is not open", "open it, or pass fewer") from None


_COMMANDS = {
    "create": _create, "delete": _delete, "kill": _kill, "run": _run, "start": _start, "state": _state,
}  # fmt: skip
