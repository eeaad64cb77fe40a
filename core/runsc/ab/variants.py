"""What is compared: a variant is a name and a way to run a command.

====================  ==================================================================================
``KEY=VALUE,...``     this runsc with these flags: ``platform=systrap,network=host``; its name is the text
``default``           this runsc without flags
``native``            the command itself, without any sandbox
``runtime=PATH FLAG``  another OCI runtime (runc, another runsc) with its flags, if any; it is given a
bundle that
                      shows the host's files
====================  ==================================================================================

A name of one's own stands in front: ``fast:platform=systrap``.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys

from runsc.config import FLAGS
from runsc.errors import RunscError, UsageError, did_you_mean
from runsc.flags import BOOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: What of the host the bundle of another runtime shows, read-only.
SHOWN = ("/bin", "/etc", "/lib", "/lib64", "/opt", "/root", "/sbin", "/usr", "/var")


class Variant:
    """One configuration. ``ours``: it is run by this runsc, which can tell where its time goes."""

    __slots__ = ("_counter", "_prefix", "_runtime", "name", "ours")

    def __init__(
        self, name: str, prefix: Sequence[str], ours: bool = False, runtime: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.ours = ours
        self._prefix = list(prefix)
        self._runtime = runtime
        self._counter = 0

    def command(self, argv: Sequence[str], scratch: str, extra: Sequence[str] = ()) -> list[str]:
        """What to execute. ``scratch``: a directory for what it takes; ``extra``: flags of runsc's own."""
        if self._runtime:
            self._counter += 1
            bundle = make_bundle(os.path.join(scratch, self.name.replace("/", "_")), argv)
            container = f"ab-{os.getpid()}-{self._counter}"
            state = os.path.join(scratch, "state")
            return [*self._runtime, "--root", state, "run", "--bundle", bundle, container]
        if self.ours:
            return [*self._prefix, *extra, "do", "--", *argv]
        return [*self._prefix, *argv]


def parse(text: str) -> Variant:
    """The variant that a user writes as ``text``. Raises ``UsageError``, ``RunscError``."""
    name, colon, rest = text.partition(":")
    if not colon or "=" in name:
        name, rest = text, text
    if rest == "native":
        return Variant(name, [])
    if rest.startswith("runtime="):
        path, *flags = shlex.split(rest[len("runtime=") :]) or [""]
        found = shutil.which(path)
        if found is None:
            raise RunscError(f"--variant={text}: there is no program {path}", "give the runtime's path")
        shown = " ".join([os.path.basename(path), *flags])
        return Variant(shown if name == text else name, [], runtime=[found, *flags])
    flags = [] if rest == "default" else [_flag(text, word) for word in rest.split(",")]
    return Variant(name, [*this_runsc(), *flags], ours=True)


def _flag(text: str, word: str) -> str:
    """``KEY=VALUE`` as a flag before the command; raises ``UsageError``."""
    key, equals, _value = word.partition("=")
    known = {flag.name: flag for flag in FLAGS}
    if key not in known:
        raise UsageError(
            f"--variant={text}: runsc has no flag --{key}",
            did_you_mean(key, list(known), "--") or "write native, default, runtime=PATH or FLAG=VALUE,...",
        )
    if not equals and known[key].kind != BOOL:
        raise UsageError(f"--variant={text}: {key} needs a value", f"write {key}=VALUE")
    return f"--{word}"


def this_runsc() -> list[str]:
    """How this very runsc is started again."""
    program = sys.argv[0]
    if os.path.basename(program).startswith("runsc") and os.access(program, os.X_OK):
        return [os.path.abspath(program)]
    return [sys.executable, "-c", "from runsc.cli.main import main; main()"]


def make_bundle(directory: str, argv: Sequence[str]) -> str:
    """An OCI bundle whose root shows the host's files read-only, with a /tmp of its own; its directory."""
    root = os.path.join(directory, "rootfs")
    os.makedirs(root, exist_ok=True)
    mounts: list[dict[str, object]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
    ]
    for path in SHOWN:
        if os.path.isdir(path):
            mounts.append(
                {
                    "destination": path,
                    "type": "bind",
                    "source": os.path.realpath(path),
                    "options": ["rbind", "ro"],
                }
            )
    caps = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(argv),
            "env": [f"PATH={os.environ.get('PATH', os.defpath)}"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), caps),
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "ab",
        "mounts": mounts,
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
    }
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    return directory
