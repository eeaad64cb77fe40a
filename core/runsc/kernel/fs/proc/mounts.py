"""The mount table of a process: mounts, mountinfo, mountstats (proc(5), fs/proc_namespace.c)."""

from __future__ import annotations

from os import major, minor

from runsc.kernel.vfs.dentry import (
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_RELATIME,
    Mount,
    Path,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runsc.kernel.task import Task

_OPTIONS = (
    (MS_NOSUID, ",nosuid"),
    (MS_NODEV, ",nodev"),
    (MS_NOEXEC, ",noexec"),
    (MS_NOATIME, ",noatime"),
    (MS_NODIRATIME, ",nodiratime"),
    (MS_RELATIME, ",relatime"),
)


def escape(name: bytes | str) -> str:
    """A name as it stands in a table: blanks, newlines and backslashes in octal (mangle)."""
    if isinstance(name, str):
        name = name.encode("utf-8", "surrogateescape")
    text = name.decode("utf-8", "surrogateescape")
    for char in "\\ \t\n#":
        text = text.replace(char, f"\\{ord(char):03o}")
    return text


def visible(target: Task) -> Iterator[tuple[Mount, str]]:
    """The mounts that the target's root reaches, each with its mount point as seen from there."""
    fs = target.fs
    for mount in fs.namespace.all_mounts():
        if mount is fs.root.mount and fs.root.dentry is mount.root:
            yield mount, "/"
            continue
        place = fs.namespace.path_string(Path(mount, mount.root), fs.root)
        if not place.startswith(b"(unreachable)"):
            yield mount, escape(place)


def _mount_options(mount: Mount) -> str:
    first = "ro" if mount.flags & MS_RDONLY else "rw"
    return first + "".join(text for flag, text in _OPTIONS if mount.flags & flag)


def show_mounts(target: Task, reader: Task) -> str:
    """/proc/PID/mounts: the format of fstab(5)."""
    lines = []
    for mount, place in visible(target):
        options = "ro" if mount.read_only() else "rw"
        options += _mount_options(mount)[2:] + mount.fs.mount_options()
        lines.append(f"{escape(mount.fs.source)} {place} {mount.fs.name} {options} 0 0\n")
    return "".join(lines)


def show_mountinfo(target: Task, reader: Task) -> str:
    """/proc/PID/mountinfo."""
    lines = []
    for mount, place in visible(target):
        parent = mount.parent.ident if mount.parent is not None else 0
        tags = f" shared:{mount.shared}" if mount.shared else ""
        tags += f" master:{mount.master}" if mount.master else ""
        device = f"{major(mount.fs.dev)}:{minor(mount.fs.dev)}"
        super_options = ("ro" if mount.fs.read_only else "rw") + mount.fs.mount_options()
        lines.append(
            f"{mount.ident} {parent} {device} {escape(_root_name(mount))} {place}"
            f" {_mount_options(mount)}{tags} - {mount.fs.name} {escape(mount.fs.source)} {super_options}\n"
        )
    return "".join(lines)


def _root_name(mount: Mount) -> bytes:
    """The path of the mount's root within its file system."""
    names = []
    dentry = mount.root
    while not dentry.is_root():
        names.append(dentry.name)
        dentry = dentry.parent
    return b"/" + b"/".join(reversed(names))


def show_mountstats(target: Task, reader: Task) -> str:
    """/proc/PID/mountstats."""
    return "".join(
        f"device {escape(mount.fs.source)} mounted on {place} with fstype {mount.fs.name}\n"
        for mount, place in visible(target)
    )
