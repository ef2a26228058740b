"""What a run was made with: versions of packages, and what a segmenter says of itself."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cellseg_core.errors import CellsegError, SegmentationError
from cellseg_core.protocols import Described

__all__ = ["deciding_packages", "environment", "facts_of", "package_versions"]

# They touch the numbers of every run: where one changes, images are done again.
_DECIDING = (
    "cellseg-core",
    "numpy",
    "scipy",
    "scikit-image",
    "tifffile",
    "imagecodecs",
    "pandas",
    "pillow",
    "zarr",
    "numcodecs",
)
# They are recorded, and no image is done again for them alone. What numba compiles follows IEEE
# arithmetic in every version, and networks are not in every run: a segmenter that computes with
# one of these packages has its version among its own facts (see Described).
_RECORDED = ("numba", "keras", "tensorflow", "jax", "torch")


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed; none of them is imported.

    >>> import numpy as np
    >>> package_versions(["numpy", "no-such-package"]) == {"numpy": np.__version__}
    True
    """
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def deciding_packages() -> dict[str, str]:
    """Return the versions of the packages that decide over the results of every run.

    >>> "numpy" in deciding_packages(), "numba" in deciding_packages()
    (True, False)
    """
    return package_versions(_DECIDING)


def environment() -> dict[str, Any]:
    """Return versions and platform, as ``run.json`` records them.

    >>> sorted(environment())
    ['cellseg', 'packages', 'platform', 'python']
    """
    packages = package_versions((*_DECIDING, *_RECORDED))
    return {
        "cellseg": packages.get("cellseg-core", "unknown"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
    }


def facts_of(segmenter: object) -> dict[str, Any]:
    """Return what a segmenter says decides over its results, as JSON holds it.

    Nothing for a segmenter that is not :class:`~cellseg_core.protocols.Described`.

    Raises
    ------
    CellsegError
        As the segmenter raises it, where it could not work.
    SegmentationError
        If it fails otherwise, or if what it returns is not plain.

    >>> facts_of("a segmenter that depends on its options alone")
    {}
    """
    if not isinstance(segmenter, Described):
        return {}
    try:
        facts: dict[str, Any] = json.loads(json.dumps(dict(segmenter.facts()), allow_nan=False))
    except CellsegError:
        raise
    except Exception as error:
        raise SegmentationError(
            f"{type(segmenter).__name__}.facts() failed ({type(error).__name__}: {error}). It "
            "returns a mapping of plain numbers and texts: see Described in "
            "cellseg_core.protocols, and tell the author of this segmenter."
        ) from error
    return facts
