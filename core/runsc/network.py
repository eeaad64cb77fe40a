"""The contract of a network plugin.

A network answers the sockets that reach other machines (AF_INET, AF_INET6, AF_PACKET, AF_NETLINK...). It is
chosen by ``--network=NAME``. Local sockets (AF_UNIX) are the kernel's own and never get here.

``make_network(config)`` runs before the jail is closed and may open what it needs of the host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runsc.kernel.kernel import Kernel
    from runsc.kernel.socket.file import SocketFile
    from runsc.kernel.task import Task
    from runsc.plugins.availability import Availability, HostCall

#: The version of this contract; a plugin declares the one it was written for.
API_VERSION = 1


class Network(ABC):
    """The network of one sandbox."""

    __slots__ = ()

    #: The name users choose it by.
    name: str

    @classmethod
    @abstractmethod
    def check(cls) -> Availability:
        """Does it work here, for this user?"""

    @classmethod
    def host_calls(cls) -> Sequence[HostCall]:
        """The host system calls it makes once the sandbox runs, each with its reason."""
        return ()

    def capabilities(self) -> Sequence[int]:
        """The Linux capabilities (CAP_* numbers) it needs once the sandbox runs, if the user has them.

        Everything else is given up. Asked when the jail is closed."""
        return ()

    def start(self, kernel: Kernel) -> None:  # noqa: B027 - most have nothing to do
        """The kernel that it is for is there, but runs no program yet: enter interfaces
        (``runsc.kernel.socket.devices``) and the tables of /proc/net (``kernel.extra["proc_net"]``)."""

    @abstractmethod
    def socket(self, kernel: Kernel, task: Task, family: int, kind: int, protocol: int) -> SocketFile:
        """A new socket for ``task``, as socket(2): ``kind`` is SOCK_STREAM... without SOCK_CLOEXEC and
        SOCK_NONBLOCK. What a socket does is written down in ``runsc.kernel.socket.file``; its inode comes
        from ``runsc.kernel.fs.anon``. Host descriptors are watched by ``kernel.poller``.

        Raises ``LinuxError``: EAFNOSUPPORT for a family it doesn't have, EPROTONOSUPPORT,
        ESOCKTNOSUPPORT, EACCES as Linux does.
        """

    @abstractmethod
    def close(self) -> None:
        """End every connection and give back what the host lent. Idempotent."""
