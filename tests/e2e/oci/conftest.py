"""Bundles made of busybox, and runsc called as an engine calls it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

PLATFORMS = os.environ.get("RUNSC_PLATFORMS", "systrap,ptrace").split(",")
BUSYBOX = shutil.which("busybox")

#: A command that takes longer hangs.
PATIENCE = 40.0

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system that is busybox; tests copy it."""
    if BUSYBOX is None:
        pytest.skip("busybox-static is not installed")
    root = tmp_path_factory.mktemp("busybox")
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"):
        (root / name).mkdir()
    shutil.copy(BUSYBOX, root / "bin" / "busybox")
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nohome:/bin/sh\n"
    )
    root.chmod(0o755)
    (root / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    return root


class Bundle:
    """A bundle; ``config`` is what its config.json will hold."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        shutil.copytree(root, path / "rootfs", symlinks=True)
        self.root = path / "rootfs"
        self.root.chmod(0o755)
        caps = dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES)
        self.config: dict[str, Any] = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["true"],
                "env": ["PATH=/bin", "TERM=xterm"],
                "cwd": "/",
                "capabilities": caps,
                "noNewPrivileges": True,
            },
            "root": {"path": "rootfs"},
            "hostname": "box",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
                },
                {
                    "destination": "/dev/pts",
                    "type": "devpts",
                    "source": "devpts",
                    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
                },
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
        }

    def shell(self, script: str) -> Bundle:
        """The process is a shell that runs this."""
        self.config["process"]["args"] = ["sh", "-c", script]
        return self

    def mount(self, destination: str, kind: str, source: str, *options: str) -> None:
        """One more mount."""
        self.config["mounts"].append(
            {"destination": destination, "type": kind, "source": source, "options": list(options)}
        )

    def write(self) -> Path:
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self.path


@pytest.fixture
def bundle(tmp_path: Path, busybox_root: Path) -> Bundle:
    """A bundle to be changed."""
    path = tmp_path / "bundle"
    path.mkdir()
    return Bundle(path, busybox_root)


class Runtime:
    """runsc with a state directory of its own."""

    def __init__(self, runsc: str, platform: str, root: Path) -> None:
        self.words = [runsc, f"--root={root}", f"--platform={platform}"]
        self.root = root

    def call(
        self, *words: str, stdin: bytes = b"", flags: Sequence[str] = (), **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; nothing is checked."""
        return subprocess.run(
            [*self.words, *flags, *words], input=stdin, capture_output=True, timeout=PATIENCE, **options
        )

    def ok(self, *words: str, **options: Any) -> str:
        """Run a command that must succeed; its output."""
        done = self.call(*words, **options)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.decode()

    def run(
        self, bundle: Bundle, *words: str, stdin: bytes = b"", flags: Sequence[str] = ()
    ) -> tuple[int, str, str]:
        """``runsc run``: (code, stdout, stderr)."""
        done = self.call("run", f"--bundle={bundle.write()}", *words, "box", stdin=stdin, flags=flags)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def create(self, bundle: Bundle, output: Path, *words: str, container_id: str = "box") -> None:
        """``runsc create`` with the container's output going to a file."""
        with output.open("wb") as file:
            command = [*self.words, "create", f"--bundle={bundle.write()}", *words, container_id]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=PATIENCE
            )
        assert done.returncode == 0, output.read_text()

    def state(self, container_id: str = "box") -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.ok("state", container_id))
        return state

    def wait_for(self, status: str, container_id: str = "box") -> None:
        """Wait until a container is in this state."""
        until(lambda: self.state(container_id)["status"] == status, f"{container_id} is never {status}")


def until(holds: Callable[[], bool], otherwise: str, seconds: float = 15) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


@pytest.fixture(params=PLATFORMS)
def runtime(
    request: pytest.FixtureRequest, runsc: str, tmp_path: Path, no_process_left: None
) -> Iterator[Runtime]:
    """runsc; what a test leaves running is ended."""
    runtime = Runtime(runsc, str(request.param), tmp_path / "state")
    yield runtime
    if runtime.root.is_dir():
        for name in os.listdir(runtime.root):
            runtime.ok("delete", "--force", name)
