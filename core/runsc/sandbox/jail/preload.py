"""What Python would open files for later on: imported, read or switched off before the jail is closed."""

from __future__ import annotations

import importlib
import os
import sys
import time
import warnings
from importlib.machinery import BuiltinImporter

from runsc.errors import trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn, TextIO

#: Modules that the kernel imports inside functions: not every sandbox needs them, or it breaks a cycle. A
#: test looks for such imports in the sources and compares.
LAZY = (
    "runsc.kernel.fs.devices",
    "runsc.kernel.fs.devpts",
    "runsc.kernel.fs.devtmpfs",
    "runsc.kernel.fs.hostfile",
    "runsc.kernel.fs.overlay",
    "runsc.kernel.fs.overlay.copyup",
    "runsc.kernel.fs.overlay.file",
    "runsc.kernel.fs.proc",
    "runsc.kernel.fs.sysfs",
    "runsc.kernel.hostjob",
    "runsc.kernel.mm.exec",
    "runsc.kernel.socket.inet.proc",
    "runsc.kernel.socket.isolated",
    "runsc.kernel.tty.hosttty",
)


def import_all() -> None:
    """Import what is imported late."""
    for name in LAZY:
        importlib.import_module(name)


def read_time_zone() -> None:
    """Have the C library read the time zone once and for all.

    With TZ unset, every strftime(3) looks whether /etc/localtime has changed.
    """
    os.environ.setdefault("TZ", ":/etc/localtime")
    time.tzset()


def leave_files_alone(report: Callable[[str], None]) -> None:
    """From here on Python opens no file of its own accord.

    Tracebacks go without source lines; what nobody catches (in ``__del__``, say) and warnings go to
    ``report``; an import that would need a file raises ``ImportError`` and is reported too.
    """

    def no_lines(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
        return []

    def no_check(filename: str | None = None) -> None:
        return None

    linecache: Any = sys.modules.get("linecache")
    if linecache is not None:
        # A plugin imported traceback, perhaps. There is no official way to say that sources can't be read.
        linecache.updatecache = no_lines
        linecache.checkcache = no_check

    def unraisable(what: sys.UnraisableHookArgs) -> None:
        error = what.exc_value
        text = what.exc_type.__name__ if error is None else trace(error)
        report(f"{what.err_msg or 'ignored exception'} ({what.object!r}):\n{text}")

    def show_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        report(f"{filename}:{lineno}: {category.__name__}: {message}")

    sys.unraisablehook = unraisable
    warnings.showwarning = show_warning
    sys.meta_path[:] = [BuiltinImporter, ImportGuard(report)]


class ImportGuard:
    """The finder of all modules but the interpreter's own: it finds nothing, and says so."""

    __slots__ = ("report",)

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> NoReturn:
        """Raises ``ImportError``. ``ModuleNotFoundError`` would let callers take it for an absent option."""
        what = f"{name} was imported after the jail was closed: it must be imported before"
        self.report(what)
        raise ImportError(what, name=name)
