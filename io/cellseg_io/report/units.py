"""The unit of lengths in a report: um where the size of a pixel is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellseg_core.result import Result

__all__ = ["unit_name", "unit_of"]


def unit_of(result: Result) -> float:
    """Return the edge of a pixel in the unit."""
    return 1.0 if result.image.pixel_size is None else result.image.pixel_size


def unit_name(result: Result) -> str:
    """Return the name of the unit."""
    return "px" if result.image.pixel_size is None else "\u00b5m"
