"""Going in: first the domain, then, when everything is open and imported, the rest."""

from __future__ import annotations

import os
from time import perf_counter_ns

from runsc.errors import RunscError
from runsc.sandbox.jail.bpf import KILL_PROCESS, TRAP, assemble
from runsc.sandbox.jail.capabilities import give_up_all_but
from runsc.sandbox.jail.core_calls import control_calls, core_calls
from runsc.sandbox.jail.landlock import enter_domain
from runsc.sandbox.jail.preload import import_all, leave_files_alone, read_time_zone
from runsc.sandbox.jail.rules import CORE, absent_calls, allow_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from runsc.log import Log
    from runsc.plugins.loader import Plugin
    from runsc.plugins.observers import Observer
    from runsc.sandbox.jail.bpf import AllowList

#: Values of ``--jail``. With LOG, refused host calls are written to the debug log and answered EPERM.
ON = "on"
LOG = "log"
OFF = "off"


class Jail:
    """The jail of this process, for the chosen plugins and ``observers``. ``listener``: the socket that
    commands connect to, if there is one.

    ``confine`` goes before the plugins make anything, ``close`` before the first guest program is looked at.
    """

    __slots__ = ("closed", "listener", "log", "mode", "observers", "plugins")

    def __init__(
        self,
        mode: str,
        plugins: Sequence[Plugin],
        log: Log,
        listener: int = -1,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.mode = mode
        self.plugins = plugins
        self.log = log
        self.closed = False
        self.listener = listener
        self.observers = observers
        if mode == OFF:
            log.warning("the sandbox's process is not jailed (--jail=off)")

    def confine(self, writable: Iterable[int] = ()) -> None:
        """Enter a domain that the guest processes will be in too. Raises ``RunscError``.

        ``writable``: descriptors of what is mounted writable: the files beneath stay within reach. One that
        isn't a file's (a connection to a process that keeps the files) gives no right, and needs none."""
        if self.mode == OFF:
            return
        from runsc._native import lib

        result = lib.rn_no_new_privs()
        if result < 0:
            raise _cannot("prctl(PR_SET_NO_NEW_PRIVS)", result)
        opens = ["/dev/null"]  # takes the place of a standard descriptor that the guest closes
        for plugin in self.plugins:
            opens += getattr(plugin.instance, "opens", ())
        missing = enter_domain([os.fsencode(path) for path in opens], beneath=writable)
        if missing:
            self.log.info(f"jail: {missing}")

    def close(self, made: Sequence[Any]) -> None:
        """Close it. ``made``: what the plugins made, in their order. Raises ``RunscError``."""
        if self.mode == OFF:
            return
        started = perf_counter_ns()
        import_all()
        read_time_zone()
        imported = perf_counter_ns()
        allowed = self._allowed(made)
        program = assemble(allowed, TRAP if self.mode == LOG else KILL_PROCESS, absent_calls(allowed))
        kept = give_up_all_but(number for thing in made for number in thing.capabilities())
        leave_files_alone(self.log.warning)
        self.closed = True
        self._install(program)
        if self.log.verbose:
            ended = perf_counter_ns()
            self.log.debug(
                f"jail closed in {(ended - started) / 1e6:.1f} ms ({(imported - started) / 1e6:.1f} of it"
                f" importing): {len(program) // 8} instructions, capabilities {kept:#x}"
            )

    def _allowed(self, made: Sequence[Any]) -> AllowList:
        declared = [(CORE, "the core", core_calls(os.getpid()))]
        if self.listener >= 0:
            declared.append((CORE, "the core", control_calls(self.listener)))
        pairs = [(plugin.entry, thing) for plugin, thing in zip(self.plugins, made, strict=True)]
        for entry, thing in (*pairs, *((observer.entry, observer) for observer in self.observers)):
            who = f"{entry.kind} {entry.name} ({entry.origin})"
            declared.append((entry.kind, who, thing.host_calls()))
        return allow_list(declared)

    def _install(self, program: bytes) -> None:
        from runsc._native import ffi, lib

        if self.mode == LOG:
            result = lib.rn_report_refused(self.log.debug_fd if self.log.debug_fd >= 0 else 2)
            if result < 0:
                raise _cannot("sigaction(SIGSYS)", result)
        result = lib.rn_seccomp(ffi.from_buffer(program), len(program) // 8)
        if result > 0:
            raise RunscError(
                f"the sandbox can't be jailed: thread {result} does not take the seccomp filter",
                "report this, with the plugins that were chosen",
            )
        if result < 0:
            raise _cannot("seccomp", result)


def _cannot(what: str, result: int) -> RunscError:
    return RunscError(
        f"the sandbox can't be jailed: {what}: {os.strerror(-result)}",
        "run it on a Linux kernel with seccomp filters, and where seccomp(2) is allowed",
    )
