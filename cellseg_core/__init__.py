"""Nucleus segmentation and single-cell quantification for highly multiplexed tissue images.

The public names below load on first use: ``import cellseg_core`` takes no heavy package in.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellseg_core.component import Component
    from cellseg_core.hookspecs import hookimpl
    from cellseg_core.image import Image
    from cellseg_core.pipeline import Pipeline
    from cellseg_core.protocols import Segmentation
    from cellseg_core.reading import read_image, read_images
    from cellseg_core.result import Result
    from cellseg_core.table import CellTable

    __version__: str

__all__ = [
    "CellTable",
    "Component",
    "Image",
    "Pipeline",
    "Result",
    "Segmentation",
    "__version__",
    "hookimpl",
    "read_image",
    "read_images",
]

_HOME = {
    "CellTable": "table",
    "Component": "component",
    "Image": "image",
    "Pipeline": "pipeline",
    "Result": "result",
    "Segmentation": "protocols",
    "hookimpl": "hookspecs",
    "read_image": "reading",
    "read_images": "reading",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("cellseg-core")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
