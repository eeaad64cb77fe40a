"""``--platform=count``: another platform, counted, and slowed down if wanted.

    runsc --platform=count do -- ls
    runsc --platform=count --count-inner=ptrace --count-delay=100 do -- ls

Shows how a platform is wrapped: address spaces and threads are the inner platform's, so only what goes
through the platform itself is in the way, and that is ``wait``, which every switch goes through. The counts
go to stderr when the sandbox ends.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from runsc.flags import INT, STRING, Flag
from runsc.platform import DEAD, FAULT, INTERRUPTED, SYSCALL, Platform
from runsc.plugins.availability import Availability, HostCall
from runsc.plugins.hookspecs import hookimpl
from runsc.plugins.loader import Plugin, load
from runsc.plugins.scan import PLATFORM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.config import Config
    from runsc.platform import AddressSpace, CopyAhead, Thread

NAMES = {SYSCALL: "syscall", FAULT: "fault", INTERRUPTED: "interrupted", DEAD: "dead"}


class CountPlatform(Platform):
    """``inner``, with a count of its events by kind, written to ``output`` at the end."""

    __slots__ = ("counts", "delay", "inner", "output")

    name = "count"

    def __init__(self, inner: Platform, delay: float, output: int) -> None:
        self.inner = inner
        self.delay = delay
        self.output = output
        self.counts = dict.fromkeys(NAMES, 0)

    @classmethod
    def check(cls) -> Availability:
        """The plugin asks the inner platform's plugin."""
        return Availability.yes()

    def host_calls(self) -> Sequence[HostCall]:  # type: ignore[override]
        calls = list(self.inner.host_calls())
        if self.delay:
            calls.append(HostCall("clock_nanosleep", "the delay of each switch"))
        return calls

    def capabilities(self) -> Sequence[int]:
        return self.inner.capabilities()

    def new_address_space(self) -> AddressSpace:
        return self.inner.new_address_space()

    def prepare(self, nr: int, ranges: Sequence[CopyAhead]) -> None:
        self.inner.prepare(nr, ranges)

    def wait(self, poll_fd: int, timeout_ns: int) -> Thread | None:
        thread = self.inner.wait(poll_fd, timeout_ns)
        if thread is not None:
            self.counts[thread.event] += 1
            if self.delay:
                time.sleep(self.delay)
        return thread

    def close(self) -> None:
        self.inner.close()
        if self.output >= 0:
            lines = [f"{name} {self.counts[event]}\n" for event, name in NAMES.items()]
            os.write(self.output, "".join(lines).encode())
            os.close(self.output)
            self.output = -1


class CountPlugin:
    """The plugin as runsc's loader sees it."""

    api_version = 1
    summary = "another platform, its switches counted"
    flags = (
        Flag("count-inner", STRING, "The platform that is counted.", metavar="NAME"),
        Flag("count-delay", INT, "Delay each switch by so many microseconds.", metavar="US"),
    )

    @staticmethod
    def inner(config: Config | None) -> Plugin:
        name = config.plugin_flag("count-inner", "ptrace") if config else "ptrace"
        return load(PLATFORM, name)

    @hookimpl
    def check_platform(self) -> Availability:
        return self.inner(None).check()

    @hookimpl
    def make_platform(self, config: Config) -> Platform:
        inner = self.inner(config).make(config)
        return CountPlatform(inner, config.plugin_flag("count-delay", 0) / 1e6, os.dup(2))
