"""The build backend: setuptools', with an editable install that doesn't slow down every start.

setuptools serves several source roots through an import hook whose own imports (pathlib, re...) would
more than double the start of ``runsc state``. Here an editable install is a plain ``.pth`` file with one
line per root, which costs nothing, and the C engines are built in place.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from setuptools.build_meta import (
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parent.parent
WHEEL = "Wheel-Version: 1.0\nGenerator: runsc build_backend\nRoot-Is-Purelib: false\nTag: py3-none-any\n"

get_requires_for_build_editable = get_requires_for_build_wheel
prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_editable(
    wheel_directory: str,
    config_settings: dict[str, str] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """PEP 660: a wheel that holds the metadata, the ``runsc`` script and the ``.pth`` file."""
    roots = [ROOT / "core", *sorted(path for path in (ROOT / "plugins").iterdir() if path.is_dir())]
    # An engine that was built otherwise may have a name that Python prefers to the new one's.
    for engine in [path for root in roots for path in root.rglob("*.so")]:
        engine.unlink()
    # In place: the engines land beside the Python sources.
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "--force"]
    subprocess.run(command, cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as scratch:
        if metadata_directory is None:
            name = prepare_metadata_for_build_wheel(scratch, config_settings)
            info = Path(scratch, name)
        else:
            info = Path(metadata_directory)
            if not info.name.endswith(".dist-info"):
                info = next(info.glob("*.dist-info"))
        stem = info.name.removesuffix(".dist-info")
        files = {
            f"{info.name}/{path.name}": path.read_bytes()
            for path in sorted(info.iterdir())
            if path.is_file() and path.name not in ("RECORD", "WHEEL")
        }
    # setuptools leaves it; a second description of the distribution would only mislead.
    shutil.rmtree(ROOT / "runsc.egg-info", ignore_errors=True)
    files[f"{info.name}/WHEEL"] = WHEEL.encode()
    files["__editable__.runsc.pth"] = "".join(f"{root}\n" for root in roots).encode()
    files[f"{stem}.data/scripts/runsc"] = (ROOT / "tools" / "runsc").read_bytes()
    return _write_wheel(Path(wheel_directory), f"{stem}-py3-none-any.whl", info.name, files)


def _write_wheel(directory: Path, name: str, info: str, files: dict[str, bytes]) -> str:
    record = []
    with zipfile.ZipFile(directory / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            wheel.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(data)}")
        record.append(f"{info}/RECORD,,")
        wheel.writestr(f"{info}/RECORD", os.linesep.join(record) + os.linesep)
    return name
