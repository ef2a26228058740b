"""The segmenters that come with cellseg."""

from __future__ import annotations

from cellseg_core.component import Component
from cellseg_core.hookspecs import hookimpl

__all__ = ["cellseg_segmenters"]


@hookimpl
def cellseg_segmenters() -> list[Component]:
    """Return the built-in segmenters."""
    return [
        Component(
            name="watershed",
            factory="cellseg_backends.watershed:WatershedSegmenter",
            description="classical: local and global thresholds, seeded watershed; no training",
        ),
    ]
