"""Mounting a piece of the host's file tree by the direct file system, both halves in this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from runsc.filesystem import host_mount
from runsc_fs_direct.opener import DirectOpener

if TYPE_CHECKING:
    from pathlib import Path

    from runsc.filesystem import HostFiles


def mount_direct(
    files: HostFiles, path: Path | bytes | str, read_only: bool = True, shared: bool = False
) -> Any:
    mount = host_mount(os.fsencode(path), read_only, shared)
    (fd,) = DirectOpener().open([mount])
    return files.mount(fd, mount)
