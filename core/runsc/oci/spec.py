"""config.json: what a container is to be (OCI runtime specification 1.2, config.md and config-linux.md).

Every field that means something here becomes an attribute; the whole document is checked before anything is
made. ``warnings`` of a ``Spec`` names what is asked for and isn't there.
"""

from __future__ import annotations

import os

from runsc.errors import RunscError
from runsc.oci.jsontext import loads
from runsc.oci.node import INT64, UINT32, UINT64, Node, SpecError, show, wrong
from runsc.oci.process import Process
from runsc.oci.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The version that is written into states, and the newest one understood.
VERSION = "1.2.0"

CONFIG = "config.json"

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_DEVICE_TYPES = ("c", "b", "u", "p")


class Root:
    """The root file system: ``path`` on the host, absolute once the spec was loaded from a bundle."""

    __slots__ = ("path", "readonly")

    def __init__(self, path: str, readonly: bool = False) -> None:
        self.path = path
        self.readonly = readonly

    @classmethod
    def parse(cls, node: Node) -> Root:
        path = node.text("path")
        if not path:
            raise SpecError(node.of("path"), "is empty")
        return cls(path, node.flag("readonly"))


class Mount:
    """One of ``mounts``, in the order in which they are made."""

    __slots__ = ("destination", "options", "source", "type")

    def __init__(self, destination: str, type: str, source: str, options: list[str]) -> None:  # noqa: A002
        self.destination = destination
        self.type = type
        self.source = source
        self.options = options

    @classmethod
    def parse(cls, node: Node) -> Mount:
        # Before 1.0 a destination could be relative, and runtimes still take it as below the root.
        destination = node.text("destination")
        if not destination:
            raise SpecError(node.of("destination"), "is empty")
        if not destination.startswith("/"):
            destination = "/" + destination
        for name in ("uidMappings", "gidMappings"):
            node.children(name, IdMapping.parse)
        return cls(destination, node.text("type", ""), node.text("source", ""), node.texts("options"))

    def is_bind(self) -> bool:
        """Does it show a directory or file of the host?"""
        return self.type == "bind" or "bind" in self.options or "rbind" in self.options


class Hook:
    """A program of the host's to be run at some point. ``timeout``: seconds, None for no limit."""

    __slots__ = ("args", "env", "path", "timeout")

    def __init__(self, path: str, args: list[str], env: list[str], timeout: int | None) -> None:
        self.path = path
        self.args = args
        self.env = env
        self.timeout = timeout

    @classmethod
    def parse(cls, node: Node) -> Hook:
        return cls(
            node.absolute("path"),
            node.texts("args"),
            node.texts("env"),
            node.number("timeout", 1, UINT32),
        )


class IdMapping:
    """A range of user or group ids."""

    __slots__ = ("container", "host", "size")

    def __init__(self, container: int, host: int, size: int) -> None:
        self.container = container
        self.host = host
        self.size = size

    @classmethod
    def parse(cls, node: Node) -> IdMapping:
        return cls(
            node.needed("containerID", 0, UINT32),
            node.needed("hostID", 0, UINT32),
            node.needed("size", 0, UINT32),
        )


class Device:
    """A device node to be made. ``kind``: c, b, u or p."""

    __slots__ = ("gid", "kind", "major", "minor", "mode", "path", "uid")

    def __init__(self, path: str, kind: str, major: int, minor: int, mode: int, uid: int, gid: int) -> None:
        self.path = path
        self.kind = kind
        self.major = major
        self.minor = minor
        self.mode = mode
        self.uid = uid
        self.gid = gid

    @classmethod
    def parse(cls, node: Node) -> Device:
        kind = node.text("type")
        if kind not in _DEVICE_TYPES:
            raise wrong(node.of("type"), "c, b, u or p", kind)
        if kind != "p" and not (node.has("major") and node.has("minor")):
            raise node.missing("major" if not node.has("major") else "minor")
        return cls(
            node.absolute("path"),
            kind,
            node.number("major", -INT64, INT64) or 0,
            node.number("minor", -INT64, INT64) or 0,
            _default(node.number("fileMode", 0, UINT32), 0o666) & 0o7777,
            _default(node.number("uid", 0, UINT32), 0),
            _default(node.number("gid", 0, UINT32), 0),
        )


class Linux:
    """``linux``. ``namespaces``: which are new ("") or joined (a path), by type."""

    __slots__ = (
        "cgroups_path", "devices", "gid_mappings", "masked_paths", "namespaces", "readonly_paths",
        "resources", "rootfs_propagation", "seccomp", "sysctl", "uid_mappings",
    )  # fmt: skip

    def __init__(self) -> None:
        self.namespaces: dict[str, str] = {}
        self.uid_mappings: list[IdMapping] = []
        self.gid_mappings: list[IdMapping] = []
        self.devices: list[Device] = []
        self.cgroups_path = ""
        self.resources = Resources()
        self.masked_paths: list[str] = []
        self.readonly_paths: list[str] = []
        self.sysctl: dict[str, str] = {}
        self.rootfs_propagation = ""
        self.seccomp: Node | None = None

    @classmethod
    def parse(cls, node: Node) -> Linux:
        new = cls()
        for item, path in node.items("namespaces"):
            entry = Node(item, path)
            kind = entry.text("type")
            if kind not in NAMESPACES:
                raise wrong(entry.of("type"), f"one of {', '.join(NAMESPACES)}", kind)
            if kind in new.namespaces:
                raise SpecError(entry.of("type"), f"{show(kind)} is there twice")
            where = entry.text("path", "")
            if where and not where.startswith("/"):
                raise wrong(entry.of("path"), "an absolute path", where)
            new.namespaces[kind] = where
        new.uid_mappings = node.children("uidMappings", IdMapping.parse)
        new.gid_mappings = node.children("gidMappings", IdMapping.parse)
        new.devices = node.children("devices", Device.parse)
        new.cgroups_path = node.text("cgroupsPath", "")
        new.resources = node.parsed("resources", Resources.parse) or new.resources
        new.masked_paths = node.texts("maskedPaths")
        new.readonly_paths = node.texts("readonlyPaths")
        new.sysctl = node.mapping("sysctl")
        new.rootfs_propagation = node.text("rootfsPropagation", "")
        new.seccomp = node.child("seccomp")
        return new


class Spec:
    """A whole config.json. ``raw``: the document it was made from; ``bundle``: the directory it came from."""

    __slots__ = (
        "annotations",
        "bundle", "domainname", "hooks", "hostname", "linux", "mounts", "process", "raw", "root",
        "version", "warnings",
    )  # fmt: skip

    def __init__(self, process: Process | None, root: Root) -> None:
        self.version = VERSION
        self.process = process
        self.root = root
        self.hostname = ""
        self.domainname = ""
        self.mounts: list[Mount] = []
        self.hooks: dict[str, list[Hook]] = {}
        self.annotations: dict[str, str] = {}
        self.linux = Linux()
        self.warnings: list[str] = []
        self.raw: dict[str, Any] = {}
        self.bundle = "/"

    @classmethod
    def parse(cls, document: Any) -> Spec:
        """Check a document. Raises ``SpecError``."""
        node = Node(document)
        version = node.text("ociVersion")
        if version.partition(".")[0] != "1":
            raise SpecError(node.of("ociVersion"), f"version {show(version)} is not one of 1.x")
        root = node.parsed("root", Root.parse)
        if root is None:
            raise node.missing("root")
        new = cls(node.parsed("process", Process.parse), root)
        new.version = version
        new.raw = document
        new.hostname = node.text("hostname", "")
        new.domainname = node.text("domainname", "")
        new.mounts = node.children("mounts", Mount.parse)
        new.annotations = node.mapping("annotations")
        hooks = node.child("hooks")
        if hooks is not None:
            new.hooks = {name: hooks.children(name, Hook.parse) for name in HOOKS if hooks.has(name)}
        new.linux = node.parsed("linux", Linux.parse) or new.linux
        if new.process is not None:
            new.warnings += new.process.warnings
        new.warnings += new.linux.resources.warnings
        return new


def load(bundle: str) -> Spec:
    """The spec of a bundle directory. Raises ``RunscError``."""
    path = os.path.join(bundle, CONFIG)
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        remedy = "a bundle is a directory with a config.json: 'runsc spec' makes one"
        raise RunscError(f"can't read {path}: {error.strerror}", remedy) from None
    try:
        spec = Spec.parse(loads(text))
    except SpecError as error:
        raise RunscError(f"{path}: {error}", "see the OCI runtime specification, config.md") from None
    except ValueError as error:
        raise RunscError(f"{path} is not JSON: {error}", "write it anew") from None
    spec.bundle = bundle
    spec.root.path = os.path.normpath(os.path.join(bundle, spec.root.path))
    if not os.path.isdir(spec.root.path):
        raise RunscError(f"{path}: $.root.path: {spec.root.path} is not a directory", "put the root there")
    return spec


def _default(value: int | None, default: int) -> int:
    return default if value is None else value


__all__ = ["UINT64", "Spec", "load"]
