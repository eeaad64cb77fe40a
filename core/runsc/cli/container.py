"""``state``, ``kill`` and ``delete``: the commands that container engines call all the time."""

from __future__ import annotations

import os

from runsc.errors import RunscError, UsageError
from runsc.flags import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.cli.commands import CommandSpec
    from runsc.config import Config


class Options:
    """The flags of all three."""

    __slots__ = ("all", "force")

    def __init__(self) -> None:
        self.all = False
        self.force = False


def command(config: Config, spec: CommandSpec, words: list[str]) -> int:
    """Run one of them; its exit code. Raises ``RunscError``."""
    options = Options()
    at, _ = parse(spec.flags, words, options)
    if at == len(words):
        raise UsageError(f"{spec.name} needs the id of a container", f"write runsc {spec.name} {spec.usage}")
    container_id = words[at]
    check_id(container_id)
    if not os.path.isdir(os.path.join(config.state_dir, container_id)):
        if options.force:
            return 0
        raise RunscError(f'container "{container_id}" does not exist')
    raise RunscError(f"the command {spec.name} is not implemented yet")


def check_id(container_id: str) -> None:
    """Raise ``UsageError`` unless it can be an id: it becomes the name of a directory."""
    if container_id in (".", "..") or not all(
        c.isascii() and (c.isalnum() or c in "_+-.") for c in container_id
    ):
        raise UsageError(
            f'"{container_id}" can\'t be the id of a container',
            "use letters, digits and the characters _ + - .",
        )
