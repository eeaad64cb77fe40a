"""The sandbox's process: loads the plugins, starts the kernel, and reports how it went.

Everything here runs in the process forked by ``runsc.sandbox.boot``; nothing of it returns there.
"""

from __future__ import annotations

import gc
import os
import resource

from runsc.errors import RunscError, trace
from runsc.log import Log
from runsc.sandbox import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from runsc.config import Config
    from runsc.plugins.loader import Plugin
    from runsc.sandbox.command import Command


def main(
    config: Config, command: Command, filesystem: Plugin, report_fd: int, keep: set[int], started: float
) -> NoReturn:
    """Run ``command`` and end the process.

    ``filesystem``: the plugin that opened ``command.opened``; ``report_fd``: where the outcome goes;
    ``keep``: other descriptors that must stay open.
    """
    try:
        log = Log.open(config, "boot", "", started)
    except RunscError as error:
        report.write(report_fd, report.ERROR, error.what, error.remedy)
        os._exit(1)
    try:
        _close_all_but({0, 1, 2, report_fd, *keep, *log.fds()})
        code = _run(config, command, filesystem, log)
    except RunscError as error:
        log.failure(str(error))
        report.write(report_fd, report.ERROR, error.what, error.remedy)
    except BaseException as error:
        text = trace(error)
        log.failure(text)
        report.write(report_fd, report.BUG, f"{type(error).__name__}: {error}", text)
    else:
        log.info(f"the program ended with {code}")
        report.write(report_fd, report.EXIT, str(code))
        os._exit(0)
    os._exit(1)


def _run(config: Config, command: Command, filesystem: Plugin, log: Log) -> int:
    # Collecting while importing finds nothing and takes a fifth of the time; the kernel enables it again.
    gc.disable()
    _raise_descriptor_limit()
    from runsc.plugins.loader import load
    from runsc.plugins.scan import NETWORK, PLATFORM, scan

    log.info(
        f"starting {command.argv!r}: platform {config.platform}, fs {config.fs}, network {config.network}"
    )
    installed = scan()
    plugins = [
        load(PLATFORM, config.platform, installed),
        filesystem,
        load(NETWORK, config.network, installed),
    ]
    from runsc.kernel.boot import start
    from runsc.sandbox.jail.enter import Jail

    jail = Jail(config.jail, plugins, log)
    made: list[Any] = []
    try:
        jail.confine(
            fd
            for fd, mount in zip(command.opened, command.host_mounts, strict=True)
            if not mount.read_only
        )
        for plugin in plugins:
            made.append(plugin.make(config))
            log.debug(f"{plugin.entry.kind} {plugin.entry.name} ({plugin.entry.origin}) is up")
        platform, files, network = made
        return start(config, command, platform, files, network, log, lambda: jail.close(made))
    except RunscError:
        raise
    except Exception as error:
        # From within the jail nothing can be tried out any more; and what it takes was there.
        if not jail.closed:
            _blame(plugins, error)
        raise
    finally:
        for thing in reversed(made):
            thing.close()


def _blame(plugins: list[Plugin], error: Exception) -> None:
    """Raise ``RunscError`` if a plugin says that it doesn't work here: then that is why.

    Asking only now, and not before the start, saves each start 10 ms of trying things out.
    """
    for plugin in plugins:
        refusal = plugin.refusal()
        if refusal is not None:
            raise refusal from error


def _raise_descriptor_limit() -> None:
    """As many descriptors as we may have: all guest files are ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _close_all_but(keep: set[int]) -> None:
    """Close every descriptor that isn't in ``keep``: what the caller left open is none of the guest's."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:
                continue  # the one that listed the directory is closed already
