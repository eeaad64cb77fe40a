"""Flags that plugins bring along.

A plugin's class may have an attribute ``flags``, a tuple of ``runsc.flags.Flag``. They stand before the
command as runsc's own do; the first of a flag's choices is its default; the plugin asks for their values by
``config.plugin_flag(name, default)``. They are looked for only when a flag is met that runsc doesn't know,
and for help: nobody else pays for importing the plugins.
"""

from __future__ import annotations

from runsc.config import FLAGS
from runsc.errors import RunscError
from runsc.flags import Flag, names
from runsc.plugins.loader import import_target
from runsc.plugins.scan import scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.plugins.scan import Entry


def contributed(installed: list[Entry] | None = None) -> tuple[Flag, ...]:
    """The flags of all installed plugins; of a name that is taken already, the first one counts.

    A plugin that can't be imported has none: whoever chooses it is told why.
    """
    taken = set(names(FLAGS))
    found = []
    for entry in scan() if installed is None else installed:
        try:
            declared = getattr(import_target(entry), "flags", ())
        except RunscError:
            continue
        for flag in declared:
            if isinstance(flag, Flag) and flag.name not in taken:
                taken.add(flag.name)
                found.append(_held(flag))
    return tuple(found)


def _held(flag: Flag) -> Flag:
    """The same flag, for the place where the values of plugins' flags are kept."""
    return Flag(
        flag.name,
        flag.kind,
        flag.help,
        metavar=flag.metavar,
        choices=flag.choices,
        hidden=flag.hidden,
        holder="plugin_flags",
    )
