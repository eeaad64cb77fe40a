"""What is to be run in a sandbox."""

from __future__ import annotations

from runsc.filesystem import HostMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Command:
    """A program and the circumstances it starts in.

    ``argv``: the program's name (looked up in the guest's PATH if it has no slash) and its arguments;
    ``env``: ``NAME=value``; ``cwd``: the working directory in the guest; ``groups``: supplementary groups.
    ``root``: the host directory that becomes the guest's root; ``volumes``: what else of the host is
    mounted, each with its place in the guest. ``opened``: a descriptor for ``root`` and each volume, in this
    order, from the file-system plugin's outer half.
    ``nofile``: RLIMIT_NOFILE (soft, hard) that runsc itself was started with; the sandbox's process raises
    its own, and a guest must not see that.
    ``signals``: a descriptor of the sandbox's process, non-blocking: each byte read is the number of a
    signal that was sent to runsc and is meant for the guest; -1 if there is none.
    """

    __slots__ = (
        "argv",
        "cwd",
        "env",
        "gid",
        "groups",
        "nofile",
        "opened",
        "root",
        "signals",
        "uid",
        "volumes",
    )

    def __init__(
        self,
        argv: list[bytes],
        env: list[bytes],
        cwd: bytes = b"/",
        uid: int = 0,
        gid: int = 0,
        groups: tuple[int, ...] = (),
        root: HostMount | None = None,
        volumes: Sequence[tuple[bytes, HostMount]] = (),
    ) -> None:
        if not argv:
            raise ValueError("a command has at least its program's name")
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.root = root or HostMount(b"/")
        self.volumes = tuple(volumes)
        self.opened: list[int] = []
        self.nofile = (1024, 4096)
        self.signals = -1

    @property
    def host_mounts(self) -> tuple[HostMount, ...]:
        """What of the host's files is to be opened, in the order of ``opened``."""
        return (self.root, *(mount for _place, mount in self.volumes))
