"""What a plugin may implement.

A plugin is found by its entry point (groups ``runsc.platform``, ``runsc.filesystem``, ``runsc.network``;
the entry point's name is what users write after ``--platform=``, ``--fs=``, ``--network=``). The entry point
names a class; runsc makes one instance of it without arguments and registers it with a pluggy plugin
manager, so an instance's methods marked with ``hookimpl`` are its implementation::

    from runsc.plugins.availability import Availability
    from runsc.plugins.hookspecs import hookimpl

    class PtracePlugin:
        api_version = 1            # of the contract in runsc.platform (filesystem, network)
        summary = "ptrace(2): works nearly everywhere"

        @hookimpl
        def check_platform(self) -> Availability: ...

        @hookimpl
        def make_platform(self, config: Config) -> Platform: ...

Importing the plugin's module must be cheap and do nothing: ``check_*`` is where things are tried, ``make_*``
where they are made, and heavy imports belong inside them. All hooks are called outside of any system call's
path: what they make is then used directly. A plugin implements the two hooks of its kind, a file system
a third (``open_filesystem``, for its half outside of the sandbox); one class may serve several kinds.

What they make says in ``host_calls()`` and ``capabilities()`` what it needs of the host once the sandbox
runs; everything else is forbidden then, importing modules included. ``make_*`` runs where no host file can
be written but those that the plugin names in its attribute ``opens``, as in ``opens = ("/dev/kvm",)``. A
plugin that writes a file which the user names opens it in a method ``prepare(config)``, which is called
before that.

A hook may raise ``RunscError`` to say what is wrong and what to do about it; anything else it raises is
reported as the plugin's bug.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from runsc.config import Config
    from runsc.filesystem import HostFiles, Opener
    from runsc.kernel.task import Task
    from runsc.network import Network
    from runsc.observer import Call, Verdict
    from runsc.platform import Platform
    from runsc.plugins.availability import Availability

    F = TypeVar("F", bound=Callable[..., Any])

PROJECT = "runsc"

#: What pluggy's markers leave on a function, and where. Importing pluggy takes 15 ms of the 120 that a start
#: may take; so the marks are made here, and pluggy is there to judge them (``runsc.plugins.contract``).
IMPL_MARK = f"{PROJECT}_impl"
SPEC_MARK = f"{PROJECT}_spec"
PLAIN_IMPL = {
    "wrapper": False,
    "hookwrapper": False,
    "optionalhook": False,
    "tryfirst": False,
    "trylast": False,
    "specname": None,
}
FIRST_RESULT = {"firstresult": True, "historic": False, "warn_on_impl": None, "warn_on_impl_args": None}


def hookimpl(function: F) -> F:
    """Mark a method as the implementation of the hook of its name.

    The same as ``pluggy.HookimplMarker("runsc")``, which may be used too.
    """
    setattr(function, IMPL_MARK, dict(PLAIN_IMPL))
    return function


def hookspec(function: F) -> F:
    """Mark a hook: as ``pluggy.HookspecMarker("runsc")(firstresult=True)``."""
    setattr(function, SPEC_MARK, dict(FIRST_RESULT))
    return function


def observation(function: F) -> F:
    """Mark a hook that several may implement: as ``pluggy.HookspecMarker("runsc")``."""
    setattr(function, SPEC_MARK, {**FIRST_RESULT, "firstresult": False})
    return function


class PlatformHooks:
    """A platform: how guest code is run (``--platform``)."""

    @hookspec
    def check_platform(self) -> Availability:
        """Does this platform work here, for this user?

        Called in the process that will hold the sandbox, before anything is made, and by ``runsc plugins``.
        Tries for real, in some milliseconds, and leaves nothing behind.
        """
        raise NotImplementedError

    @hookspec
    def make_platform(self, config: Config) -> Platform:
        """The platform for one sandbox. Called once, in the sandbox's process, after ``check_platform``
        said yes and before the jail is closed: everything it needs of the host is opened here."""
        raise NotImplementedError


class FilesystemHooks:
    """A file system: how the host's files are reached (``--fs``)."""

    @hookspec
    def check_filesystem(self) -> Availability:
        """Does this file system work here, for this user? As ``check_platform``."""
        raise NotImplementedError

    @hookspec
    def open_filesystem(self, config: Config) -> Opener:
        """What opens host files for a sandbox. Called outside of it, in the command's process, which still
        has all of its rights, and once for each sandbox or container."""
        raise NotImplementedError

    @hookspec
    def make_filesystem(self, config: Config) -> HostFiles:
        """What makes file systems out of what was opened, for one sandbox. As ``make_platform``."""
        raise NotImplementedError


class NetworkHooks:
    """A network: what answers AF_INET, AF_INET6... sockets (``--network``)."""

    @hookspec
    def check_network(self) -> Availability:
        """Does this network work here, for this user? As ``check_platform``."""
        raise NotImplementedError

    @hookspec
    def make_network(self, config: Config) -> Network:
        """The network of one sandbox. As ``make_platform``."""
        raise NotImplementedError


class ObserverHooks:
    """An observer: what sees the guest at work (``--observer``); see ``runsc.observer``."""

    @hookspec
    def check_observer(self) -> Availability:
        """Does this observer work here, for this user? As ``check_platform``."""
        raise NotImplementedError

    @hookspec
    def make_observer(self, config: Config, argument: str) -> object:
        """The observer for one sandbox: an object with some of the hooks of ``ObservationHooks``.

        ``argument``: what stands behind the colon in ``--observer=NAME:ARGUMENT``. Called in the sandbox's
        process while it may still open files and import modules. If the object has a method ``close``, that
        is called when the sandbox ends; ``host_calls`` as the other plugins'."""
        raise NotImplementedError


class ObservationHooks:
    """What an observer may implement: all hooks are optional, and each costs only where it is implemented.

    ``task`` is the kernel's (``runsc.kernel.task.Task``): look, don't touch. An object's attribute
    ``syscalls`` (names) narrows the two system-call hooks down; without it they see every call.
    """

    @observation
    def syscall_enter(self, call: Call) -> Verdict:
        """A system call begins; its verdict may deny, change or delay it."""

    @observation
    def syscall_exit(self, call: Call) -> None:
        """It has ended: ``call.result``, ``call.duration_ns``. A call whose thread dies in it never ends."""

    @observation
    def process_started(self, task: Task, thread: bool) -> None:
        """A process was forked, or a thread started (``thread``); it has not run yet."""

    @observation
    def program_executed(self, task: Task, path: bytes, argv: list[bytes]) -> None:
        """execve(2) succeeded: the program at ``path`` takes over."""

    @observation
    def process_exited(self, task: Task, status: int, thread: bool) -> None:
        """A thread has ended with this wait status; not ``thread``: it was the last of its process."""

    @observation
    def signal(self, task: Task, number: int, code: int) -> None:
        """A signal is delivered; ``code``: who sent it (si_code)."""

    @observation
    def file_opened(self, task: Task, path: bytes, flags: int) -> Verdict:
        """A file is about to be opened, created or executed: ``path`` is absolute and without symbolic links,
        ``flags`` are open(2)'s. It may be denied."""

    @observation
    def socket_address(self, task: Task, operation: str, address: str) -> Verdict:
        """A socket is about to ``connect``, ``bind``, ``listen``, or ``send`` to an address:
        ``unix:PATH``, ``IP:PORT``, ``[IP]:PORT``. It may be denied."""
