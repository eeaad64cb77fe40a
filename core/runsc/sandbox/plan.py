"""What a sandbox is to be made of: put together by the command, used in the sandbox's process."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from runsc.filesystem import HostMount
    from runsc.oci.spec import Spec


class Plan:
    """The first container of a sandbox.

    ``listener``: the bound socket that commands will connect to. ``console``: a terminal of the host's for a
    process with ``terminal``, -1 without. ``passed``: further descriptors for the process, by the number that
    it is to find them under. ``overlay``: writes to the root stay in memory. ``host_mounts``: the root, and
    the
    bind mounts, which ``places`` has by their index in ``spec.mounts``; ``opened``: a descriptor for each,
    from
    the file-system plugin's outer half. ``signals``: where the numbers of signals that come to the sandbox's
    process can be read.
    """

    __slots__ = (
        "attended", "console", "foreground", "host_mounts", "id", "listener", "opened", "overlay", "passed",
        "places", "signals", "spec",
    )  # fmt: skip

    def __init__(self, container_id: str, spec: Spec, listener: socket) -> None:
        self.id = container_id
        self.spec = spec
        self.listener = listener
        self.console = -1
        #: the command stays with the container
        self.attended = False
        #: the console is the terminal of the command, which stays and tells of changes of its size
        self.foreground = False
        self.passed: dict[int, int] = {}
        self.overlay = False
        self.host_mounts: list[HostMount] = []
        self.opened: list[int] = []
        self.places: dict[int, int] = {}
        self.signals = -1

    def descriptors(self) -> set[int]:
        """What must stay open in the sandbox's process."""
        return {fd for fd in (self.listener.fileno(), self.console) if fd >= 0} | {
            *self.passed.values(),
            *self.opened,
        }
