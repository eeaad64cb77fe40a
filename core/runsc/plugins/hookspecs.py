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
be written but those that the plugin names in its attribute ``opens``, as in ``opens = ("/dev/kvm",)``.

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
    from runsc.network import Network
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
