"""What a run was made with: versions of cellseg, Python and the packages that touch numbers."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["environment"]

_PACKAGES = (
    "cellseg-core",
    "numpy",
    "scipy",
    "scikit-image",
    "tifffile",
    "imagecodecs",
    "pandas",
    "pillow",
    "fcswrite",
)


def environment() -> dict[str, Any]:
    """Return versions and platform, as ``run.json`` records them."""
    packages = {}
    for package in _PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cellseg": packages.get("cellseg-core", "unknown"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
    }
