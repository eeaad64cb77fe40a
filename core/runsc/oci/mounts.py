"""``mounts`` of config.json, put in terms of mount(2): flags, propagation, and options for the file
system."""

from __future__ import annotations

from runsc.abi.mount import (
    MS_DIRSYNC,
    MS_MANDLOCK,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_PRIVATE,
    MS_RDONLY,
    MS_RELATIME,
    MS_SHARED,
    MS_SLAVE,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
    MS_UNBINDABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.oci.spec import Mount

#: option: (flags to set, flags to clear)
_FLAGS = {
    "defaults": (0, 0),
    "ro": (MS_RDONLY, 0),
    "rw": (0, MS_RDONLY),
    "nosuid": (MS_NOSUID, 0),
    "suid": (0, MS_NOSUID),
    "nodev": (MS_NODEV, 0),
    "dev": (0, MS_NODEV),
    "noexec": (MS_NOEXEC, 0),
    "exec": (0, MS_NOEXEC),
    "sync": (MS_SYNCHRONOUS, 0),
    "async": (0, MS_SYNCHRONOUS),
    "dirsync": (MS_DIRSYNC, 0),
    "mand": (MS_MANDLOCK, 0),
    "nomand": (0, MS_MANDLOCK),
    "noatime": (MS_NOATIME, MS_RELATIME | MS_STRICTATIME),
    "atime": (0, MS_NOATIME),
    "nodiratime": (MS_NODIRATIME, 0),
    "diratime": (0, MS_NODIRATIME),
    "relatime": (MS_RELATIME, 0),
    "norelatime": (0, MS_RELATIME),
    "strictatime": (MS_STRICTATIME, MS_RELATIME | MS_NOATIME),
    "nostrictatime": (0, MS_STRICTATIME),
    "nosymfollow": (MS_NOSYMFOLLOW, 0),
    "symfollow": (0, MS_NOSYMFOLLOW),
    # Recursive forms (mount_setattr(2)): what is bound here has no mounts below that could differ.
    "rro": (MS_RDONLY, 0),
    "rrw": (0, MS_RDONLY),
    "rnosuid": (MS_NOSUID, 0),
    "rsuid": (0, MS_NOSUID),
    "rnodev": (MS_NODEV, 0),
    "rdev": (0, MS_NODEV),
    "rnoexec": (MS_NOEXEC, 0),
    "rexec": (0, MS_NOEXEC),
}
_PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE,
    "shared": MS_SHARED,
    "rshared": MS_SHARED,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE,
}
#: Accepted, and without meaning here: bind mounts are made whole anyway, and ids are not mapped.
_NOTHING = frozenset(
    ("bind", "rbind", "remount", "iversion", "noiversion", "lazytime", "nolazytime", "idmap", "ridmap",
     "loud", "silent", "acl", "noacl", "z", "Z", "copyup", "nocopy")
)  # fmt: skip


def known_options() -> list[str]:
    """Every option that is understood, for ``runsc features``."""
    return sorted({*_FLAGS, *_PROPAGATION, *_NOTHING, "tmpcopyup"} - {"loud", "silent"})


class MountOptions:
    """``flags``: MS_* of the mount; ``propagation``: MS_SHARED... or 0; ``data``: what is the file system's
    own; ``copy_up``: a tmpfs starts with what the directory below it holds."""

    __slots__ = ("copy_up", "data", "flags", "propagation")

    def __init__(self, options: list[str]) -> None:
        self.flags = 0
        self.propagation = 0
        self.copy_up = False
        self.data: list[tuple[bytes, bytes | None]] = []
        for option in options:
            change = _FLAGS.get(option)
            if change is not None:
                self.flags = self.flags & ~change[1] | change[0]
            elif option in _PROPAGATION:
                self.propagation = _PROPAGATION[option]
            elif option == "tmpcopyup":
                self.copy_up = True
            elif option not in _NOTHING:
                key, equals, value = option.partition("=")
                self.data.append((key.encode(), value.encode() if equals else None))
        if not self.flags & (MS_NOATIME | MS_STRICTATIME):
            self.flags |= MS_RELATIME

    def read_only(self) -> bool:
        return bool(self.flags & MS_RDONLY)


def parse_options(mount: Mount) -> MountOptions:
    """The options of one mount."""
    return MountOptions(mount.options)
