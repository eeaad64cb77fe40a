"""/dev as a container finds it: device nodes, the links into /proc, and the places for devpts, shm and
mqueue."""

from __future__ import annotations

from os import makedev
from stat import S_IFCHR

from runsc.kernel.credentials import ALL_CAPS, Credentials
from runsc.kernel.fs.devpts import DevPts
from runsc.kernel.fs.tmpfs import Tmpfs
from runsc.kernel.vfs.dentry import MS_NODEV, MS_NOEXEC, MS_NOSUID, Dentry, Mount, Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.kernel import Kernel
    from runsc.kernel.vfs.namespace import MountNamespace

#: name, major, minor; all are 0666 (runtime-spec, config-linux.md: Default Devices).
_NODES = (
    (b"null", 1, 3),
    (b"zero", 1, 5),
    (b"full", 1, 7),
    (b"random", 1, 8),
    (b"urandom", 1, 9),
    (b"tty", 5, 0),
)

_LINKS = (
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"ptmx", b"pts/ptmx"),
)


def make_dev(kernel: Kernel) -> Tmpfs:
    """A tmpfs with what belongs into /dev."""
    cred = Credentials(0, 0, (), ALL_CAPS)
    dev = Tmpfs(size=64 << 20, mode=0o755)
    root = dev.root_inode
    for name, major, minor in _NODES:
        root.create(name, S_IFCHR | 0o666, cred, makedev(major, minor))
    for name, target in _LINKS:
        root.symlink(name, target, cred)
    for name in (b"pts", b"shm", b"mqueue"):
        root.mkdir(name, 0o755, cred)
    return dev


def mount_dev(kernel: Kernel, namespace: MountNamespace, at: Path, shm_size: int = 64 << 20) -> None:
    """Mount /dev on ``at``, with devpts and shm (of ``shm_size`` bytes)."""
    dev = namespace.mount(make_dev(kernel), at, MS_NOSUID)
    kernel.extra["dev_mount"] = dev
    namespace.mount(DevPts(kernel), _below(namespace, dev, b"pts"), MS_NOSUID | MS_NOEXEC)
    shm = Tmpfs(size=shm_size, source="shm")
    namespace.mount(shm, _below(namespace, dev, b"shm"), MS_NOSUID | MS_NODEV | MS_NOEXEC)


def mount_console(kernel: Kernel, namespace: MountNamespace) -> None:
    """Put the sandbox's terminal on /dev/console, so that ttyname(3) finds it; nothing without a /dev of
    ours."""
    dev: Mount | None = kernel.extra.get("dev_mount")
    if dev is None:
        return
    root = dev.root.inode
    assert root is not None
    root.create(b"console", S_IFCHR | 0o620, Credentials(0, 0, (), ALL_CAPS), makedev(5, 1))
    namespace.mount(kernel.console.node_fs(), _below(namespace, dev, b"console"), MS_NOSUID | MS_NOEXEC)


def _below(namespace: MountNamespace, mount: Mount, name: bytes) -> Path:
    """The entry ``name`` of the root of ``mount``."""
    root = mount.root
    dentry = root.children.get(name)
    if dentry is None or dentry.inode is None:
        assert root.inode is not None
        dentry = Dentry(name, root, root.inode.lookup(name))
        namespace.cache.add(dentry)
    return Path(mount, dentry)
