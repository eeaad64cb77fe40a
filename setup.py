"""Where the packages lie and which C engines are built; everything else is in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

packages: list[str] = []
package_dir: dict[str, str] = {}
for root in ["core", *sorted(str(p.relative_to(HERE)) for p in HERE.glob("plugins/*") if p.is_dir())]:
    for package in find_packages(str(HERE / root)):
        packages.append(package)
        package_dir[package] = f"{root}/{package.replace('.', '/')}"

builders = [*HERE.glob("core/build_*.py"), *HERE.glob("plugins/*/build_*.py")]
engines = sorted(str(path.relative_to(HERE)) for path in builders)

setup(
    packages=packages,
    package_dir=package_dir,
    package_data={"runsc": ["py.typed"]},
    cffi_modules=[f"{path}:ffi" for path in engines],
    scripts=["tools/runsc"],
    zip_safe=False,
)
