"""The sandbox's process: loads the plugins, starts the kernel, and reports how it went.

Everything here runs in the process forked by ``runsc.sandbox.boot``; nothing of it returns there.
"""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import signal

from runsc.abi.ioctl import TIOCSCTTY
from runsc.errors import RunscError, trace
from runsc.log import Log
from runsc.sandbox import report
from runsc.sandbox.namespaces import enter_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from runsc.config import Config
    from runsc.filesystem import HostMount
    from runsc.kernel.kernel import Kernel
    from runsc.plugins.loader import Plugin
    from runsc.plugins.observers import Observer
    from runsc.sandbox.command import Command
    from runsc.sandbox.jail.enter import Jail
    from runsc.sandbox.plan import Plan

#: The platform when the user names none, and the one that works nearly everywhere.
FASTEST = "systrap"
FALLBACK = "ptrace"

#: Signals that come to the sandbox's process and are meant for the guest.
FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)


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


def serve(
    config: Config,
    plan: Plan,
    filesystem: Plugin,
    report_fd: int,
    order_fd: int,
    life_fd: int,
    started: float,
) -> NoReturn:
    """Be the sandbox of a container, and end the process with the container's exit code.

    ``report_fd``: where readiness or a failure is told; ``order_fd``: where the command that made this
    process
    says go on (a byte), and then that the container is to outlive it (a second one); ``life_fd``: as long as
    that isn't said, the end of the command is the end of this process.
    """
    code = 1
    try:
        if not plan.attended and not config.debug_log:
            # Standard error is the container's, or its maker's, who waits for it to be closed.
            config.debug = config.strace = False
        log = Log.open(config, "boot", plan.id, started)
    except RunscError as error:
        report.write(report_fd, report.ERROR, error.what, error.remedy)
        os._exit(1)
    try:
        keep = {0, 1, 2, report_fd, order_fd, life_fd, *plan.descriptors(), *log.fds()}
        _close_all_but(keep)
        os.setsid()
        if plan.console >= 0 and not plan.foreground:
            # So that changes of its size are told to this process.
            fcntl.ioctl(plan.console, TIOCSCTTY, 0)
        network = plan.spec.linux.namespaces.get("network")
        if network is not None:
            enter_network(network)
        plan.signals, signal_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

        def ready(kernel: Kernel) -> None:
            _catch_signals(signal_write)
            _await_release(kernel, order_fd, life_fd, report_fd)
            report.write(report_fd, report.READY)

        def wait_for_order() -> None:
            report.write(report_fd, report.LOADED)
            if not os.read(order_fd, 1):
                os._exit(1)

        code = _serve(config, plan, filesystem, log, wait_for_order, ready)
    except RunscError as error:
        log.failure(str(error))
        _tell(report_fd, report.ERROR, error.what, error.remedy)
    except BaseException as error:
        text = trace(error)
        log.failure(text)
        _tell(report_fd, report.BUG, f"{type(error).__name__}: {error}", text)
    else:
        log.info(f"container {plan.id} ended with {code}")
    os._exit(code)


def _tell(fd: int, *fields: str) -> None:
    """Report a failure, if anybody still listens."""
    try:
        report.write(fd, *fields)
    except OSError:
        return


def _catch_signals(write_fd: int) -> None:
    """Have signals that come to this process written to a pipe, one byte each: they are for the container."""

    def caught(_number: int, _frame: object) -> None:
        return

    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    for number in FORWARDED:
        signal.signal(number, caught)


def _await_release(kernel: Kernel, order_fd: int, life_fd: int, report_fd: int) -> None:
    """Let go of the command that made this process, when it says so; closing ``report_fd`` tells it."""
    from select import EPOLLIN

    def ordered(_events: int) -> None:
        if os.read(order_fd, 1):
            fcntl.fcntl(life_fd, fcntl.F_SETFL, os.O_NONBLOCK)
        watch.close()
        os.close(order_fd)
        os.close(report_fd)

    watch = kernel.poller.watch(order_fd, EPOLLIN, ordered)


def _serve(
    config: Config,
    plan: Plan,
    filesystem: Plugin,
    log: Log,
    wait_for_order: Callable[[], None],
    ready: Callable[[Kernel], None],
) -> int:
    def body(made: list[Any], jail: Jail) -> int:
        from runsc.kernel.serve import serve

        platform, files, network = made
        return serve(
            config, plan, platform, files, network, log, lambda: jail.close(made), ready, jail.observers
        )

    log.info(
        f"container {plan.id}: platform {config.platform or FASTEST}, fs {config.fs},"
        f" network {config.network}"
    )
    writable = writable_of(plan.opened, plan.host_mounts)
    listener = plan.listener.fileno()
    return _with_plugins(config, filesystem, log, writable, wait_for_order, body, listener)


def writable_of(opened: Sequence[int], mounts: Sequence[HostMount]) -> list[int]:
    """The descriptors of what is mounted writable."""
    return [fd for fd, mount in zip(opened, mounts, strict=True) if not mount.read_only]


def _run(config: Config, command: Command, filesystem: Plugin, log: Log) -> int:
    def body(made: list[Any], jail: Jail) -> int:
        from runsc.kernel.boot import start

        platform, files, network = made
        return start(
            config, command, platform, files, network, log, lambda: jail.close(made), jail.observers
        )

    log.info(
        f"starting {command.argv!r}: platform {config.platform or FASTEST}, fs {config.fs},"
        f" network {config.network}"
    )
    writable = writable_of(command.opened, command.host_mounts)
    return _with_plugins(config, filesystem, log, writable, lambda: None, body)


def _with_plugins(
    config: Config,
    filesystem: Plugin,
    log: Log,
    writable: list[int],
    wait_for_order: Callable[[], None],
    body: Callable[[list[Any], Jail], int],
    listener: int = -1,
) -> int:
    """Load the plugins, confine the process, make what the plugins are there for, and run ``body`` with it.

    ``filesystem``: the plugin that opened the host's files; ``writable``: what of them may be changed.
    ``wait_for_order`` is called when all is loaded. ``listener``: a socket that commands connect to.
    """
    # Collecting while importing finds nothing and takes a fifth of the time; the kernel enables it again.
    gc.disable()
    _raise_descriptor_limit()
    from runsc.plugins.loader import load
    from runsc.plugins.scan import NETWORK, PLATFORM, scan

    installed = scan()
    plugins = [
        load(PLATFORM, config.platform or FASTEST, installed),
        filesystem,
        load(NETWORK, config.network, installed),
    ]
    __import__("runsc.kernel.boot")
    from runsc.sandbox.jail.enter import Jail

    wait_for_order()
    observers: list[Observer] = []
    if config.observer or config.trace_session:
        from runsc.plugins.observers import make_observers

        observers = make_observers(config, installed)
    for plugin in plugins:
        plugin.prepare(config)
    jail = Jail(config.jail, plugins, log, listener, observers)
    made: list[Any] = []
    try:
        jail.confine(writable)
        for plugin in plugins:
            try:
                made.append(plugin.make(config))
            except RunscError as refusal:
                if plugin is not plugins[0] or config.platform:
                    raise
                log.warning(f"{refusal.what}; using {FALLBACK} instead")
                plugin = plugins[0] = load(PLATFORM, FALLBACK, installed)
                made.append(plugin.make(config))
            log.debug(f"{plugin.entry.kind} {plugin.entry.name} ({plugin.entry.origin}) is up")
        return body(made, jail)
    except RunscError:
        raise
    except Exception as error:
        # From within the jail nothing can be tried out any more; and what it takes was there.
        if not jail.closed:
            _blame(plugins, error)
        raise
    finally:
        for thing in (*observers, *reversed(made)):
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
