"""``ps``, ``list``, ``wait``, ``pause``, ``resume``, ``events``, ``update``, ``features``, ``spec``: looking
at containers, and holding them."""

from __future__ import annotations

import os
import sys
import time

from runsc.errors import RunscError, UsageError
from runsc.flags import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runsc.cli.commands import CommandSpec
    from runsc.config import Config


class Options:
    """The flags of these commands."""

    __slots__ = (
        "blkio_weight", "bundle", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares",
        "cpuset_cpus", "cpuset_mems", "format", "interval", "kernel_memory", "memory", "memory_reservation",
        "memory_swap", "pids_limit", "quiet", "resources", "rootless", "stats",
    )  # fmt: skip

    def __init__(self) -> None:
        self.blkio_weight = ""
        self.bundle = ""
        self.cpu_period = ""
        self.cpu_quota = ""
        self.cpu_rt_period = ""
        self.cpu_rt_runtime = ""
        self.cpu_shares = ""
        self.cpuset_cpus = ""
        self.cpuset_mems = ""
        self.format = "table"
        self.interval = "5s"
        self.kernel_memory = ""
        self.memory = ""
        self.memory_reservation = ""
        self.memory_swap = ""
        self.pids_limit = ""
        self.quiet = False
        self.resources = ""
        self.rootless = False
        self.stats = False


def command(config: Config, spec: CommandSpec, words: list[str], started: float) -> int:
    """Run one of them; its exit code. Raises ``RunscError``."""
    options = Options()
    at, seen = parse(spec.flags, words, options)
    rest = words[at:]
    wants_id = spec.usage.startswith("ID")
    if wants_id and not rest:
        raise UsageError(f"{spec.name} needs the id of a container", f"write runsc {spec.name} {spec.usage}")
    if spec.name != "ps" and len(rest) > wants_id:
        raise UsageError(f"{spec.name}: {rest[-1]!r} is too much", f"write runsc {spec.name} {spec.usage}")
    return _COMMANDS[spec.name](config, rest[0] if wants_id else "", options, seen)


def _call(config: Config, container_id: str, request: dict[str, Any]) -> dict[str, Any]:
    from runsc.oci.lifecycle import control
    from runsc.oci.state import Store

    store = Store(config.state_dir)
    record = store.load(container_id)
    with control(store, record) as connection:
        return connection.call({**request, "id": container_id})


def _ps(config: Config, container_id: str, options: Options, _seen: set[str]) -> int:
    from runsc.cli.listing import columns
    from runsc.oci.jsontext import dumps

    found = _call(config, container_id, {"do": "ps"})["processes"]
    if options.format == "json":
        print(dumps([process["host"] for process in found]))
        return 0
    rows = [
        (
            str(process["uid"]), str(process["host"]), str(process["pid"]), str(process["ppid"]),
            str(process["threads"]), process["state"], _clock(process["time"]), process["command"],
        )
        for process in found
    ]  # fmt: skip
    header = ("UID", "PID", "NSPID", "PPID", "NLWP", "S", "TIME", "CMD")
    sys.stdout.write(columns(header, rows))
    return 0


def _clock(nanoseconds: int) -> str:
    seconds = nanoseconds // 10**9
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _list(config: Config, _none: str, options: Options, _seen: set[str]) -> int:
    from runsc.cli.listing import columns
    from runsc.oci.jsontext import dumps
    from runsc.oci.state import NoContainer, Store

    store = Store(config.state_dir)
    states = []
    for container_id in store.ids():
        try:
            states.append(store.load(container_id).document())
        except NoContainer:
            continue  # deleted meanwhile
    if options.quiet:
        for state in states:
            print(state["id"])
    elif options.format == "json":
        print(dumps(states))
    else:
        names = ("id", "pid", "status", "bundle", "created", "owner")
        rows = [tuple(str(state[name]) for name in names) for state in states]
        sys.stdout.write(columns(tuple(name.upper() for name in names), rows))
    return 0


def _wait(config: Config, container_id: str, _options: Options, _seen: set[str]) -> int:
    from runsc.oci.jsontext import dumps

    answer = _call(config, container_id, {"do": "wait"})
    print(dumps({"id": container_id, "exitStatus": answer["exit"]}))
    return 0


def _hold(config: Config, container_id: str, what: str) -> int:
    from runsc.oci.lifecycle import control
    from runsc.oci.state import PAUSED, RUNNING, Lock, Store

    store = Store(config.state_dir)
    record = store.load(container_id)
    with Lock(record.directory):
        record = store.load(container_id)
        status, wanted = record.now(), (RUNNING if what == "pause" else PAUSED)
        if status != wanted:
            raise RunscError(f"cannot {what} a container that is {status}", f"it must be {wanted}")
        with control(store, record) as connection:
            connection.call({"do": what, "id": container_id})
        record.status = PAUSED if what == "pause" else RUNNING
        record.save()
    return 0


def _pause(config: Config, container_id: str, _options: Options, _seen: set[str]) -> int:
    return _hold(config, container_id, "pause")


def _resume(config: Config, container_id: str, _options: Options, _seen: set[str]) -> int:
    return _hold(config, container_id, "resume")


def _events(config: Config, container_id: str, options: Options, _seen: set[str]) -> int:
    from runsc.oci.events import statistics
    from runsc.oci.jsontext import dumps
    from runsc.oci.state import STOPPED, Store

    seconds = _seconds(options.interval)
    store = Store(config.state_dir)
    while True:
        record = store.load(container_id)
        if record.now() == STOPPED:
            if options.stats:
                raise RunscError(f"container {container_id} is not running", "start it first")
            return 0
        print(dumps({"type": "stats", "id": container_id, "data": statistics(store, record)}), flush=True)
        if options.stats:
            return 0
        time.sleep(seconds)


def _seconds(text: str) -> float:
    """A length of time as Go writes it: 500ms, 5s, 1m."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        number = text.removesuffix(unit)
        if number != text and number.isascii() and number.isdigit() and int(number):
            return int(number) * factor
    raise UsageError(f"--interval={text}: not a length of time", "write for example --interval=5s")


def _update(config: Config, container_id: str, options: Options, seen: set[str]) -> int:
    from runsc.oci.events import update
    from runsc.oci.jsontext import loads

    if options.resources:
        path = "/dev/stdin" if options.resources == "-" else options.resources
        try:
            with open(path, "rb") as file:
                document = loads(file.read())
        except OSError as error:
            raise RunscError(
                f"--resources={options.resources}: {error.strerror}", "name a JSON file, or -"
            ) from None
        except ValueError as error:
            raise RunscError(f"--resources={options.resources} is not JSON: {error}") from None
    else:
        document = _from_flags(options, seen)
    update(config, container_id, document)
    return 0


#: flag: (where its value goes, in linux.resources)
_PLACES = {
    "memory": ("memory", "limit"), "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"), "cpu-shares": ("cpu", "shares"), "cpu-quota": ("cpu", "quota"),
    "cpu-period": ("cpu", "period"), "cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems"),
    "pids-limit": ("pids", "limit"),
}  # fmt: skip


def _from_flags(options: Options, seen: set[str]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for flag, (section, field) in _PLACES.items():
        if flag not in seen:
            continue
        text: str = getattr(options, flag.replace("-", "_"))
        value: int | str = text
        if not flag.startswith("cpuset"):
            try:
                value = int(text)
            except ValueError:
                raise UsageError(f"--{flag}={text}: not a number", f"write --{flag}=N") from None
        document.setdefault(section, {})[field] = value
    return document


def _features(_config: Config, _none: str, _options: Options, _seen: set[str]) -> int:
    from runsc.oci.features import FEATURES
    from runsc.oci.jsontext import dumps

    print(dumps(FEATURES, 2))
    return 0


def _spec(_config: Config, _none: str, options: Options, _seen: set[str]) -> int:
    from runsc.oci.features import example
    from runsc.oci.jsontext import dumps

    path = os.path.join(options.bundle, "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise RunscError(f"{path} is there already", "remove it first") from None
    except OSError as error:
        raise RunscError(f"can't write {path}: {error.strerror}", "choose another --bundle") from None
    with os.fdopen(fd, "w") as file:
        file.write(dumps(example(options.rootless), 4) + "\n")
    return 0


_COMMANDS = {
    "events": _events, "features": _features, "list": _list, "pause": _pause, "ps": _ps, "resume": _resume,
    "spec": _spec, "update": _update, "wait": _wait,
}  # fmt: skip
